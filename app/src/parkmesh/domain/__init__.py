"""Pure parking rules shared by server and gateway: no I/O, no clock, no randomness."""
