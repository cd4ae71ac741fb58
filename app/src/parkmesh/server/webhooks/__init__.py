"""Webhooks: events sent to the programs of integrators, by Standard Webhooks 1.0.0."""

from parkmesh.server.webhooks.deliveries import enqueue
from parkmesh.server.webhooks.endpoints import that_want_passages

__all__ = ["enqueue", "that_want_passages"]
