"""Reports: what happened in a community on some days, as tables."""
