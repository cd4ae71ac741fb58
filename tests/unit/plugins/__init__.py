"""Tests of the ZeroTier plugins: rules, clients, modules, inventory and filters."""
