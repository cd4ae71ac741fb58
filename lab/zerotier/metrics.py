"""GET /metrics: the families of the real daemon's exposition, filled from what lab.zerotier counts."""

from __future__ import annotations

from .node import Node

# Which of lab.zerotier's packet kinds stand for which of the real daemon's packet types.
_TYPES = {
    "hello": ("hello",),
    "ok": ("hello_ok", "whois_ok", "netconf_ack"),
    "whois": ("whois",),
    "rendezvous": ("rendezvous",),
    "frame": ("frame",),
    "network_config_request": ("netconf_request",),
    "network_config": ("netconf",),
}


def _family(name: str, kind: str, text: str, samples: list[tuple[str, int]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return lines + [f"{name}{labels} {value}" for labels, value in samples]


def exposition(node: Node) -> bytes:
    """The text in Prometheus' format."""
    packets = [
        (f'{{direction="{way}",packet_type="{name}"}}', sum(node.packets[way, kind] for kind in kinds))
        for way in ("tx", "rx")
        for name, kinds in _TYPES.items()
    ]
    errors = [('{direction="rx",error_type="unsupported_operation"}', node.packets["rx", "invalid"])]
    data = [
        ('{direction="rx",protocol="udp"}', node.transport.received_bytes),
        ('{direction="tx",protocol="udp"}', node.transport.sent_bytes),
    ]
    peers = [peer for peer in node.peers.values() if peer.last_heard]
    paths = [(f'{{node_id="{peer.address}",status="alive"}}', int(peer.path is not None)) for peer in peers]
    per_peer = [(f'{{direction="rx",node_id="{peer.address}"}}', peer.received) for peer in peers]
    per_peer += [(f'{{direction="tx",node_id="{peer.address}"}}', peer.sent) for peer in peers]
    networks = node.controller.networks
    counters = node.controller.counters
    member_count = sum(len(network.members) for network in networks.values())
    lines = _family("zt_packet", "counter", "ZeroTier packet type counts", packets)
    lines += _family("zt_packet_error", "counter", "ZeroTier packet errors", errors)
    lines += _family("zt_data", "counter", "number of bytes ZeroTier has transmitted or received", data)
    lines += _family(
        "zt_num_networks", "gauge", "number of networks this instance is joined to", [("", len(node.networks))]
    )
    lines += _family("zt_peer_path_count", "gauge", "number of paths to peer", paths)
    lines += _family("zt_peer_packets", "counter", "number of packets to/from a peer", per_peer)
    for name, kind, text, value in (
        ("network_count", "gauge", "number of networks the controller is serving", len(networks)),
        ("member_count", "gauge", "number of network members the controller is serving", member_count),
        ("network_change_count", "counter", "number of times a network configuration is changed", None),
        ("member_change_count", "counter", "number of times a network member configuration is changed", None),
        ("member_auth_count", "counter", "number of network member auths", None),
        ("member_deauth_count", "counter", "number of network member deauths", None),
        ("network_config_request", "counter", "count of config requests handled", None),
    ):
        if value is None:
            value = counters[
                {
                    "network_change_count": "network_changes",
                    "member_change_count": "member_changes",
                    "member_auth_count": "auths",
                    "member_deauth_count": "deauths",
                    "network_config_request": "requests",
                }[name]
            ]
        lines += _family(f"controller_{name}", kind, text, [("", value)])
    return ("\n".join(lines) + "\n").encode()
