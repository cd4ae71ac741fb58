"""`cgnat`: put a site of the lab behind a carrier's NAT, or take it out again.

RFC 4787, section 4: a mapping depends on the peer (symmetric: each peer sees another port) or on the inside address
alone, and may preserve the port. Section 5: what comes from anybody else is dropped (address- and port-dependent
filtering), in both variants here.
"""

import subprocess
from typing import Any

from lab.driver.hosts import HOSTS
from lab.machine import engine, packet_rules, state
from lab.machine.errors import LabError
from lab.machine.names import Lab, mac_address
from lab.machine.podman import Podman
from lab.machine.progress import say

SITES = ("site-a", "site-b")
NONE = "none"
KINDS = {"symmetric": "masquerade fully-random", "port-preserving": "masquerade"}
# Its place in both networks; in the core network the sites follow each other.
NUMBER = 30


def put(lab: Lab, site: str, kind: str) -> None:
    """Make a site's way out a NAT of this kind, or none.

    Raises:
        LabError: the lab isn't up, or podman, ip or nft refused something.
    """
    facts = state.require(lab)
    podman, _ = engine.podman_for(lab, write=False)
    name = lab.thing(f"cgnat-{site}")
    podman.run("rm", "--force", "--time=0", "--ignore", name)
    if kind == NONE:
        packet_rules.remove(lab, site)
        _lead(lab, podman, site, facts["networks"][site]["gateway"])
        say(f"{site} is behind no NAT")
        return
    inside, public = _start(lab, podman, name, site, kind, facts)
    bridge = podman.json("network", "inspect", facts["networks"][site]["name"])[0]["network_interface"]
    packet_rules.load(_only_by_the_nat(packet_rules.table_name(lab, site), bridge, facts["networks"][site]["subnet"]))
    _lead(lab, podman, site, inside)
    say(f"{site} is behind a {kind} NAT at {public}")


def _start(lab: Lab, podman: Podman, name: str, site: str, kind: str, facts: dict[str, Any]) -> tuple[str, str]:
    """Start the NAT; returns its address in the site and its public one."""
    networks = facts["networks"]
    inside = _at(networks[site]["subnet"], NUMBER)
    public = _at(networks["core"]["subnet"], NUMBER + SITES.index(site))
    rules = f"""table ip nat {{
  chain out {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {networks[site]["subnet"]} ip daddr != {networks[site]["subnet"]} {KINDS[kind]}
  }}
  chain filter {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr {networks[site]["subnet"]} accept
  }}
}}
"""
    begin = f"ip route replace default via {networks['core']['gateway']} && nft --file - <<'E'\n{rules}E\n"
    podman.run(
        "run",
        "--detach",
        f"--name={name}",
        f"--hostname=cgnat-{site}",
        f"--label={lab.label}",
        f"--network={networks[site]['name']}:ip={inside},mac={mac_address(lab.id, f'{name}-inside')}",
        f"--network={networks['core']['name']}:ip={public},mac={mac_address(lab.id, f'{name}-outside')}",
        "--cap-add=NET_ADMIN",
        "--sysctl=net.ipv4.ip_forward=1",
        # It is the next hop of hosts on its own network.
        "--sysctl=net.ipv4.conf.all.send_redirects=0",
        "--stop-signal=SIGKILL",
        facts["image"],
        "/bin/sh",
        "-euc",
        f"{begin}touch /run/ready\nexec sleep infinity",
    )
    podman.shell(name, "for i in $(seq 100); do [ -e /run/ready ] && exit 0; sleep 0.1; done; exit 1")
    return inside, public


def _at(subnet: str, number: int) -> str:
    return f"{subnet.rsplit('.', 1)[0]}.{number}"


def _only_by_the_nat(table: str, bridge: str, subnet: str) -> str:
    """Rules of this machine: nobody reaches the site's hosts past the NAT."""
    return f"""add table ip {table}
delete table ip {table}
table ip {table} {{
  chain before {{
    type filter hook prerouting priority raw - 1; policy accept;
    iifname != "{bridge}" ip daddr {subnet} drop
  }}
}}
"""


def _lead(lab: Lab, podman: Podman, site: str, hop: str) -> None:
    """Give all hosts of a site their default route."""
    pids = {container.name: container.pid for container in podman.containers(lab.label) if container.running}
    for name in (lab.thing(host.name) for host in HOSTS if host.network == site):
        if name not in pids:
            continue
        command = ["nsenter", f"--net=/proc/{pids[name]}/ns/net", "ip", "-4", "route", "replace", "default", "via", hop]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        if done.returncode:
            raise LabError(f"{name} got no default route: {done.stderr.strip()}")
