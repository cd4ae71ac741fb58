"""A double of zerotier-one 1.14.1 for the lab: node, self-hosted controller, zerotier-cli and zerotier-idtool.

Built from recorded answers of a real 1.14.1 controller and node, and from the official OpenAPI document of the local
service API. It isn't ZeroTier and doesn't speak ZeroTier's protocol: see README.md beside this package.
"""

VERSION = (1, 14, 1)
VERSION_TEXT = "1.14.1"
PROTOCOL_VERSION = 12
NAME = "zerotier-one double (parkmesh lab)"
