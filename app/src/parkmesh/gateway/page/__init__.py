"""The gateway's page for people on the community's LAN: what it sees, what it decides and why, and what is wrong."""
