"""HAProxy in the role of an Application Load Balancer: configuration from ELB's records, health back from its counters.

Pure: plain data in, text out. Where ELB and HAProxy differ, the Elastic Load Balancing user guide decides: 'Health
checks for Application Load Balancer target groups' for thresholds and reasons, 'HTTP headers and Application Load
Balancers' for the forwarded headers.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lab.machine.errors import LabError

SOCKET = "/run/haproxy/admin.sock"
STATE_FILE = "/etc/haproxy/servers.state"
HARD_STOP_S = 300
CONNECT_S = 5

Health = tuple[str, str | None, str | None]
REGISTERING: Health = ("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
CHECKING: Health = ("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")


@dataclass(frozen=True)
class Target:
    """A registered target: its id as ELB knows it, and where it listens."""

    id: str
    address: str
    port: int


@dataclass(frozen=True)
class TargetGroup:
    """Targets and how their health is checked. `port` of the check is None for the traffic port."""

    name: str
    arn: str
    path: str
    matcher: str
    interval_s: int
    timeout_s: int
    healthy_count: int
    unhealthy_count: int
    check_port: int | None
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Forward:
    group: str


@dataclass(frozen=True)
class Redirect:
    """A redirect; parts may hold ELB's placeholders, e.g. `#{host}`."""

    status: int
    protocol: str
    host: str
    port: str
    path: str
    query: str


@dataclass(frozen=True)
class Fixed:
    status: int
    content_type: str
    body: str


Action = Forward | Redirect | Fixed


@dataclass(frozen=True)
class Rule:
    """Applies when the path and the host match one of the patterns (`*` and `?`); empty means any."""

    paths: tuple[str, ...]
    hosts: tuple[str, ...]
    action: Action


@dataclass(frozen=True)
class Listener:
    port: int
    rules: tuple[Rule, ...]
    default: Action
    certificate: str = field(default="", repr=False)
    """Of an HTTPS listener: certificate, chain and key, PEM."""

    @property
    def protocol(self) -> str:
        return "https" if self.certificate else "http"


@dataclass(frozen=True)
class Balancer:
    name: str
    listeners: tuple[Listener, ...]
    groups: tuple[TargetGroup, ...]
    idle_timeout_s: int = 60


def config(balancer: Balancer, proven: frozenset[tuple[str, str]]) -> str:
    """haproxy.cfg of a load balancer.

    Args:
        balancer: what ELB has on record.
        proven: (group name, target id) that were healthy before: 'after your target is registered, it must pass one
            health check to be considered healthy', later ones need the healthy threshold.

    Raises:
        LabError: a record holds characters that have no place in a configuration.
    """
    lines = [
        "global",
        "    log stdout format raw daemon notice",
        f"    stats socket {SOCKET} mode 660 level admin expose-fd listeners",
        f"    server-state-file {STATE_FILE}",
        f"    hard-stop-after {HARD_STOP_S}s",
        "",
        "defaults",
        "    mode http",
        "    log global",
        "    option dontlognull",
        f"    timeout connect {CONNECT_S}s",
        f"    timeout client {balancer.idle_timeout_s}s",
        f"    timeout server {balancer.idle_timeout_s}s",
        "    timeout http-request 60s",
        "    option redispatch",
        "    load-server-state-from-file global",
    ]
    for listener in balancer.listeners:
        lines += ["", f"frontend listener-{listener.port}", f"    bind :{listener.port}{_encrypted(listener)}"]
        lines += [
            "    option forwardfor",
            f"    http-request set-header X-Forwarded-Proto {listener.protocol}",
            f"    http-request set-header X-Forwarded-Port {listener.port}",
        ]
        forwards = []
        for number, rule in enumerate(listener.rules):
            names = []
            for kind, patterns, fetch in (
                ("path", rule.paths, "path"),
                ("host", rule.hosts, "req.hdr(host),field(1,:),lower"),
            ):
                if patterns:
                    name = f"{kind}-{number}"
                    names.append(name)
                    expressions = " ".join(_pattern(pattern) for pattern in patterns)
                    lines.append(f"    acl {name} {fetch} -m reg {expressions}")
            # HAProxy takes the first `use_backend` that matches, so other actions have to end the request themselves
            # before a later rule, which is why they exclude what earlier rules took.
            guard = " ".join([*names, *(f"!taken-{earlier}" for earlier in range(number))])
            lines.append(f"    http-request set-var(txn.rule{number}) bool(true) if {guard}")
            lines.append(f"    acl taken-{number} var(txn.rule{number}) -m bool")
            if isinstance(rule.action, Forward):
                forwards.append(f"    use_backend {_word(rule.action.group)} if taken-{number}")
            else:
                lines.append(f"    {_terminal(rule.action, listener)} if taken-{number}")
        lines += _default(listener, forwards)
    for group in balancer.groups:
        lines += ["", *_backend(group, proven)]
    return "\n".join(lines) + "\n"


def _default(listener: Listener, forwards: list[str]) -> list[str]:
    if isinstance(listener.default, Forward):
        return [*forwards, f"    default_backend {_word(listener.default.group)}"]
    untaken = " ".join(f"!taken-{number}" for number in range(len(listener.rules)))
    condition = f" if {untaken}" if untaken else ""
    return [f"    {_terminal(listener.default, listener)}{condition}", *forwards]


def certificate_files(balancer: Balancer) -> dict[str, str]:
    """Path → content of what the configuration names besides: secrets."""
    return {_certificate_file(each): each.certificate for each in balancer.listeners if each.certificate}


def _certificate_file(listener: Listener) -> str:
    return f"/etc/haproxy/listener-{listener.port}.pem"


def _encrypted(listener: Listener) -> str:
    """User guide, "Security policies for your Application Load Balancer": the recommended ones begin with TLS 1.2;
    "HTTPS listeners": HTTP/2 is offered there."""
    if not listener.certificate:
        return ""
    return f" ssl crt {_certificate_file(listener)} ssl-min-ver TLSv1.2 alpn h2,http/1.1"


def _terminal(action: Redirect | Fixed, listener: Listener) -> str:
    if isinstance(action, Fixed):
        # HAProxy takes no empty string for a body.
        body = f" content-type {_quoted(action.content_type)} string {_quoted(action.body)}" if action.body else ""
        return f"http-request return status {action.status}{body}"
    values = {"#{protocol}": listener.protocol, "#{port}": str(listener.port), "#{host}": "%[req.hdr(host),field(1,:)]"}
    values |= {"#{path}": "%[path]", "#{query}": "%[query]"}
    protocol, host, target, path, query = (
        _expand(text, values)
        for text in (
            action.protocol.lower(),
            action.host,
            action.port,
            action.path.replace("/#{path}", "#{path}"),
            action.query,
        )
    )
    suffix = f"?{query}" if query else ""
    return (
        f"http-request redirect code {action.status} location {_quoted(f'{protocol}://{host}:{target}{path}{suffix}')}"
    )


def _expand(text: str, values: Mapping[str, str]) -> str:
    escaped = text.replace("%", "%%")
    for placeholder, value in values.items():
        escaped = escaped.replace(placeholder, value)
    return escaped


def _backend(group: TargetGroup, proven: frozenset[tuple[str, str]]) -> list[str]:
    lines = [
        f"backend {_word(group.name)}",
        "    balance roundrobin",
        "    option httpchk",
        f"    http-check send meth GET uri {_quoted(group.path)} ver HTTP/1.1 hdr Host health-check "
        "hdr User-Agent ELB-HealthChecker/2.0 hdr Connection close",
        f"    http-check expect status {_matcher(group.matcher)}",
        f"    timeout check {group.timeout_s}s",
        # A check of a host that is gone takes as long as this: "timeout check" begins with the connection (HAProxy's
        # configuration manual, "timeout check").
        f"    timeout connect {min(group.timeout_s, CONNECT_S)}s",
    ]
    for target in group.targets:
        rise = group.healthy_count if (group.name, target.id) in proven else 1
        check_port = f" port {group.check_port}" if group.check_port else ""
        lines.append(
            f"    server {_word(target.id)} {_word(target.address)}:{target.port} check inter {group.interval_s}s "
            f"rise {rise} fall {group.unhealthy_count}{check_port}"
        )
    return lines


def _matcher(text: str) -> str:
    if not re.fullmatch(r"[0-9]{3}(-[0-9]{3})?(,[0-9]{3}(-[0-9]{3})?)*", text):
        raise LabError(f"health check matcher {text!r}: give status codes, e.g. 200-299")
    return text


def _pattern(pattern: str) -> str:
    """ELB's wildcards as an anchored regular expression."""
    parts = [{"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern]
    return _quoted("^" + "".join(parts) + "$")


def _quoted(text: str) -> str:
    if "\0" in text or "\n" in text or "\r" in text:
        raise LabError(f"{text!r} has a line break, which a load balancer's configuration can't hold")
    # In single quotes HAProxy expands nothing; a quote itself is written outside of them.
    return "'" + text.replace("'", "'\\''") + "'"


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", text):
        raise LabError(f"{text!r} is no name that a load balancer's configuration can hold")
    return text


def server_states(balancer: Balancer, current: str) -> str:
    """The server-state file for a reload: servers keep their state, new ones start down until a check passes.

    HAProxy takes a new server for healthy until its first check fails; a target gets traffic only once it is healthy.

    Args:
        current: answer of `show servers state`, empty for the first start.
    """
    known: dict[tuple[str, str], list[str]] = {}
    for line in current.splitlines():
        fields = line.split()
        if len(fields) > 20 and not line.startswith("#"):
            known[fields[1], fields[3]] = fields
    lines = ["1"]
    for group in balancer.groups:
        for number, target in enumerate(group.targets, 1):
            kept = known.get((group.name, target.id))
            if kept is not None and kept[4] == target.address and kept[18] == str(target.port):
                lines.append(" ".join(kept))
            else:
                # Operational state 0 (stopped), check enabled and not yet run, traffic port; the rest is neutral.
                server = f"1 {group.name} {number} {target.id} {target.address}"
                lines.append(f"{server} 0 0 1 1 0 6 0 0 6 0 0 0 - {target.port} - 0 0 - - 0")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Measured:
    """One server's counters: its health in HAProxy's words, and how many requests it answered since HAProxy's start."""

    up: bool
    check: str
    code: str
    answered: int = 0


ANSWERS = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")


def measured(statistics: str) -> dict[tuple[str, str], Measured]:
    """(group name, target id) → counters, from the answer of `show stat`."""
    rows = csv.DictReader(statistics.lstrip("# ").splitlines())
    return {
        (row["pxname"], row["svname"]): Measured(
            up=row["status"].startswith("UP"),
            check=row["check_status"].lstrip("* "),
            code=row["check_code"],
            answered=sum(int(row.get(each) or 0) for each in ANSWERS),
        )
        for row in rows
        if row.get("svname") not in (None, "FRONTEND", "BACKEND")
    }


@dataclass
class Verdicts:
    """Turns counters into ELB's states; remembers which targets were healthy before and which are new."""

    proven: set[tuple[str, str]] = field(default_factory=set)
    since: dict[tuple[str, str], float] = field(default_factory=dict)

    def judge(
        self, groups: Iterable[TargetGroup], counters: Mapping[tuple[str, str], Measured], now: float
    ) -> dict[tuple[str, str], Health]:
        """(group name, target id) → (state, reason, description) as DescribeTargetHealth reports them."""
        found: dict[tuple[str, str], Health] = {}
        present = set()
        for group in groups:
            patience = group.interval_s * group.unhealthy_count + group.timeout_s
            for target in group.targets:
                key = (group.name, target.id)
                present.add(key)
                began = self.since.setdefault(key, now)
                counter = counters.get(key)
                if counter is not None and counter.up:
                    self.proven.add(key)
                    found[key] = ("healthy", None, None)
                elif key not in self.proven and (counter is None or now - began < patience):
                    found[key] = REGISTERING if counter is None else CHECKING
                else:
                    found[key] = _unhealthy(counter)
        self.proven &= present
        self.since = {key: began for key, began in self.since.items() if key in present}
        return found


def _unhealthy(counter: Measured | None) -> Health:
    if counter is not None and counter.check == "L7STS":
        return (
            "unhealthy",
            "Target.ResponseCodeMismatch",
            f"Health checks failed with these codes: [{counter.code}]",
        )
    if counter is not None and counter.check in ("L4TOUT", "L6TOUT", "L7TOUT"):
        return ("unhealthy", "Target.Timeout", "Request timed out")
    return ("unhealthy", "Target.FailedHealthChecks", "Health checks failed")
