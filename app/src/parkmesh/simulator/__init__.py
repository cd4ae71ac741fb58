"""Simulated cameras, sensors and relays that speak the real devices' protocols."""
