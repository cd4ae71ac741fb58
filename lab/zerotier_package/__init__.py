"""Which ZeroTier the lab runs, and the Debian package of the lab's own."""
