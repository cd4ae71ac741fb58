"""Identity: accounts, sign-in, sessions, keys, and the limits on guessing."""
