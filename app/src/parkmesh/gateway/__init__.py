"""The community gateway: devices in, decisions at the edge, a durable spool out."""
