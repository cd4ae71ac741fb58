"""The connection to PostgreSQL, its schema, and the notifications that it sends."""
