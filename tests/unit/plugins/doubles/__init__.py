"""Doubles of HTTP services for the tests of the ZeroTier plugins."""
