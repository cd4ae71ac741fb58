"""Who somebody is: accounts, sign-in, sessions, keys, and the limits on guessing."""
