"""The wire format between gateways and servers, shared by both so that they cannot disagree."""
