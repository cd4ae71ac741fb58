"""Gates, credentials, passages, and where vehicles are."""
