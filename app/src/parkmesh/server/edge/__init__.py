"""The edge API: what gateways call over the overlay. The wire format is ``parkmesh.protocol.edge``."""
