"""The lab: what stands in for AWS, ZeroTier and hosts on one machine. See docs/lab.md."""
