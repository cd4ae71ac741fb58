"""The lab's zerotier-cli 1.14.1, built from the recorded output of the real one and the official OpenAPI.

Asks the daemon on this host and prints as the real one does, its oddities included: an authtoken.secret that ends with
a newline is sent as it is and refused, an unknown command ends with status 0.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import VERSION_TEXT

DEFAULT_HOME = "/var/lib/zerotier-one"
TIMEOUT_SECONDS = 60

HELP = f"""zerotier-cli version {VERSION_TEXT} (parkmesh lab; not ZeroTier's own program)
Usage: zerotier-cli [-switches] <command/path> [<args>]

Available switches:
  -h                      - Display this help
  -v                      - Show version
  -j                      - Display full raw JSON output
  -D<path>                - ZeroTier home path for parameter auto-detect
  -p<port>                - HTTP port (default: auto)
  -T<token>               - Authentication token (default: auto)

Available commands:
  info                    - Display status info
  listpeers               - List all peers
  peers                   - List all peers (prettier)
  listnetworks            - List all networks
  join <network ID>          - Join a network
  leave <network ID>         - Leave a network
  set <network ID> <setting> - Set a network setting
  get <network ID> <setting> - Get a network setting
  listmoons               - List moons (federated root sets)
  orbit <world ID> <seed> - Join a moon via any member root
  deorbit <world ID>      - Leave a moon
"""


class CliError(Exception):
    """Ends the command with a message on standard error and an exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Daemon:
    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self._token = token

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and body of one request. A token with a newline can't be right and counts as refused."""
        if re.search(r"[\r\n]", self._token):
            return 401, "{}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"X-ZT1-Auth": self._token})
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            return 0, "connection failed"
        finally:
            connection.close()


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


def _age(ms: int) -> str:
    return str(int(time.time() * 1000) - ms) if ms else "-1"


def _version_text(peer: dict[str, Any]) -> str:
    return "-" if peer["versionMajor"] < 0 else str(peer["version"])


def _best_path(peer: dict[str, Any]) -> dict[str, Any] | None:
    return next((path for path in peer["paths"] if path["preferred"]), None)


def _status_line(document: dict[str, Any]) -> list[str]:
    state = "ONLINE" if document["online"] else "OFFLINE"
    return [f"200 info {document['address']} {document['version']} {state}"]


def _peer_lines(peers: list[dict[str, Any]]) -> list[str]:
    lines = ["200 listpeers <ztaddr> <path> <latency> <version> <role>"]
    for peer in peers:
        path = _best_path(peer)
        way = "-" if path is None else f"{path['address']};{_age(path['lastSend'])};{_age(path['lastReceive'])}"
        lines.append(f"200 listpeers {peer['address']} {way} {peer['latency']} {_version_text(peer)} {peer['role']}")
    return lines


def _peer_table(peers: list[dict[str, Any]]) -> list[str]:
    lines = ["200 peers", "<ztaddr>   <ver>  <role> <lat> <link>   <lastTX> <lastRX> <path>"]
    for peer in peers:
        path = _best_path(peer)
        start = f"{peer['address']} {_version_text(peer):<6} {peer['role']:<6} {peer['latency']:>5}"
        if path is None:
            lines.append(f"{start} RELAY")
        else:
            sent, received = _age(path["lastSend"]), _age(path["lastReceive"])
            lines.append(f"{start} DIRECT   {sent:<8} {received:<8} {path['address']}")
    return lines


def _network_lines(networks: list[dict[str, Any]]) -> list[str]:
    lines = ["200 listnetworks <nwid> <name> <mac> <status> <type> <dev> <ZT assigned ips>"]
    for network in networks:
        ips = ",".join(network["assignedAddresses"]) or "-"
        fields = [network[name] for name in ("nwid", "name", "mac", "status", "type", "portDeviceName")]
        lines.append(f"200 listnetworks {' '.join(fields)} {ips}")
    return lines


_LISTS = {
    "status": ("/status", _status_line),
    "info": ("/status", _status_line),
    "listpeers": ("/peer", _peer_lines),
    "peers": ("/peer", _peer_table),
    "listnetworks": ("/network", _network_lines),
    "listmoons": ("/moon", lambda moons: [_pretty(moons)]),
}


def _print_failure(daemon: _Daemon, status: int, command: str, text: str) -> None:
    if status:
        print(f"{status} {command} {text}")
        return
    print("Error connecting to the ZeroTier service: connection failed\n")
    print("Please check that the service is running and that TCP port ", end="")
    print(f"{daemon.port} can be contacted via 127.0.0.1.")


def _show(daemon: _Daemon, command: str, as_json: bool) -> int:
    path, lines = _LISTS[command]
    status, body = daemon.ask("GET", path)
    if status != 200:
        _print_failure(daemon, status, command, body)
        return 1
    document = json.loads(body)
    for line in [_pretty(document)] if as_json else lines(document):  # type: ignore[operator]
        print(line)
    return 0


def _network_id(arguments: list[str]) -> str:
    if not arguments or not re.fullmatch(r"[0-9a-fA-F]{16}", arguments[0]):
        print("invalid network id")
        raise CliError("", 2)
    return arguments[0]


def _setting_network_id(arguments: list[str]) -> str:
    if not arguments or len(arguments[0]) != 16:
        raise CliError("invalid format: must be a 16-digit (network) ID", 2)
    return arguments[0]


def _act(daemon: _Daemon, command: str, method: str, path: str, body: Any, as_json: bool) -> int:
    status, text = daemon.ask(method, path, body)
    if status != 200:
        print(f"{status} {command} {text}")
        return 1
    if as_json:
        print(text, end="")
    else:
        print(f"200 {command} OK")
    return 0


def _set(daemon: _Daemon, arguments: list[str]) -> int:
    network_id = _setting_network_id(arguments)
    name, equals, value = arguments[1].partition("=") if len(arguments) == 2 else ("", "", "")
    if not equals:
        raise CliError(HELP, 2)
    if name not in ("allowManaged", "allowGlobal", "allowDefault", "allowDNS"):
        return 0
    status, text = daemon.ask("POST", f"/network/{network_id}", {name: value[:1] in ("1", "t", "T")})
    if status != 200:
        print(f"{status} set {text}")
        return 1
    print(text, end="")
    return 0


def _computed(name: str, addresses: list[str]) -> str:
    """The value of the settings that are no property of the network: ip, ip4, ip6, ip6plane, ip6prefix."""
    hosts = [text.partition("/")[0] for text in addresses]
    versions = {"ip": (4, 6), "ip4": (4,)}.get(name, (6,))
    chosen = [host for host in hosts if ipaddress.ip_address(host).version in versions]
    if name in ("ip6plane", "ip6prefix"):
        chosen = [host for host in chosen if host.startswith("fc")]
        if name == "ip6prefix":
            chosen = [ipaddress.ip_address(host).exploded[:24].rstrip(":") for host in chosen]
            chosen = [":".join(group.lstrip("0") or "0" for group in host.split(":")) for host in chosen]
    return "\n".join(chosen)


def _get(daemon: _Daemon, arguments: list[str]) -> int:
    network_id = _setting_network_id(arguments)
    if len(arguments) != 2:
        raise CliError(HELP, 2)
    name = arguments[1]
    status, text = daemon.ask("GET", "/network")
    if status != 200:
        _print_failure(daemon, status, "get", text)
        return 1
    found = [network for network in json.loads(text) if network["nwid"] == network_id.lower()]
    if not found:
        print("unknown network ID, check that you are a member of the network", file=sys.stderr)
        return 0
    if name in ("ip", "ip4", "ip6", "ip6plane", "ip6prefix"):
        print(_computed(name, found[0]["assignedAddresses"]))
        return 0
    value = found[0].get(name)
    if isinstance(value, bool):
        value = int(value)
    print(value if isinstance(value, str | int) else "error, unknown property name")
    return 0


def _run(daemon: _Daemon, command: str, arguments: list[str], as_json: bool) -> int:
    if command in _LISTS:
        return _show(daemon, command, as_json)
    if command.startswith("/"):
        status, text = daemon.ask("GET", quote(command, safe="/?=&"))
        print(text if status == 200 else f"{status} {command} {text}\n", end="")
        return 0 if status == 200 else 1
    match command:
        case "join":
            return _act(daemon, command, "POST", f"/network/{_network_id(arguments)}", {}, as_json)
        case "leave":
            return _act(daemon, command, "DELETE", f"/network/{_network_id(arguments)}", None, as_json)
        case "orbit" if len(arguments) == 2:
            return _act(daemon, command, "POST", f"/moon/{quote(arguments[0])}", {"seed": arguments[1]}, as_json)
        case "deorbit" if len(arguments) == 1:
            return _act(daemon, command, "DELETE", f"/moon/{quote(arguments[0])}", None, as_json)
        case "set":
            return _set(daemon, arguments)
        case "get":
            return _get(daemon, arguments)
    print(HELP, file=sys.stderr)
    return 0


def _find_daemon(home: str, port: str, token: str) -> _Daemon:
    if not port:
        try:
            port = (Path(home) / "zerotier-one.port").read_text().strip()
        except OSError:
            raise CliError(f"zerotier-cli: missing port and zerotier-one.port not found in {home}", 2) from None
    if not token:
        try:
            token = (Path(home) / "authtoken.secret").read_text()
        except OSError:
            message = f"zerotier-cli: authtoken.secret not found or readable in {home} (try again as root)"
            raise CliError(message, 2) from None
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise CliError(f"zerotier-cli: invalid port {port!r}", 2)
    return _Daemon(int(port), token)


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    home, port, token, as_json = DEFAULT_HOME, "", "", False
    words: list[str] = []
    for argument in arguments:
        if argument == "-h":
            print(HELP)
            return 0
        if argument == "-v":
            print(VERSION_TEXT)
            return 0
        if argument == "-j":
            as_json = True
        elif argument.startswith("-D"):
            home = argument[2:]
        elif argument.startswith("-p"):
            port = argument[2:]
        elif argument.startswith("-T"):
            token = argument[2:]
        elif argument.startswith("-") and not words:
            print(HELP, file=sys.stderr)
            return 2
        else:
            words.append(argument)
    if not words:
        print(HELP, file=sys.stderr)
        return 2
    try:
        return _run(_find_daemon(home, port, token), words[0], words[1:], as_json)
    except CliError as error:
        if str(error):
            print(error, file=sys.stderr)
        return error.status
