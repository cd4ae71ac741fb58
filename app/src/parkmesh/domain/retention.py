"""How long what tells of people is kept: ``parkmesh retention run`` deletes by these times, and the privacy notice of a
community tells them."""

from datetime import timedelta

UNMATCHED_KEPT = timedelta(hours=72)
"""Passages whose plate matched nothing."""
PASSAGES_KEPT = timedelta(days=30)
OBSERVATIONS_KEPT = timedelta(days=30)
PEOPLE_KEPT = timedelta(days=30)
"""What people wrote or did, after it was over."""
VIOLATIONS_KEPT = timedelta(days=180)
"""Violations that nobody closed, after their last step."""
COUNTERS_KEPT = timedelta(days=1)
ANSWERS_KEPT = timedelta(hours=24)
CHANGES_KEPT = timedelta(days=30)
