"""The lab's ZeroTier, in place of zerotier-one 1.14.1: node, self-hosted controller, zerotier-cli, zerotier-idtool.

Built from recorded answers of a real 1.14.1 controller and node, and from the official OpenAPI document of the local
service API. It isn't ZeroTier and doesn't speak ZeroTier's protocol: see README.md beside this package.
"""

VERSION = (1, 14, 1)
VERSION_TEXT = "1.14.1"
PROTOCOL_VERSION = 12
