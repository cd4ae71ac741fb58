"""The central application: REST, live pages and the edge API, on PostgreSQL."""
