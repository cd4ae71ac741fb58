"""The edge door: what gateways call over the overlay. The wire format is ``parkmesh.protocol.edge``."""
