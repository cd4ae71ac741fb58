"""parkmesh: parking management for many communities (central server, community gateway, device simulator)."""

__version__ = "0.1.0"
