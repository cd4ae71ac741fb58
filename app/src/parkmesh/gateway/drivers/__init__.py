"""What speaks with devices: a module per device, and the tables that say which kind has which."""
