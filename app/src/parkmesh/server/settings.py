"""What a server process is told by its environment, checked once at the start."""

import difflib
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal, cast, get_args
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

# A server is reached from its load balancer, which lives in private address space and appends the client's address.
PRIVATE_NETWORKS = "127.0.0.0/8 ::1/128 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7"
MIN_SECRET_LENGTH = 16
SecondFactor = Literal["none", "desk", "staff"]
"""Users for whom a password alone is not enough: none, the operator's desk, or administrators too
(``second_factor``)."""
KEY_REQUESTS_PER_MINUTE = 600
_TLS_OPTIONS = ("", "sslmode", "sslrootcert")
_PREFIX = "PARKMESH_"
KNOWN = frozenset(
    _PREFIX + name
    for name in (
        *("DATABASE_URL", "DATABASE_CA", "APP_PASSWORD", "SESSION_SECRET", "METRICS_TOKEN", "SECOND_FACTOR"),
        *("PUBLIC_URL", "SERVER_ID", "TRUSTED_PROXIES", "DRAIN_SECONDS", "KEY_REQUESTS_PER_MINUTE"),
        *("WEB_HOST", "WEB_PORT", "EDGE_ADDRESS", "EDGE_ADDRESS_FILE", "EDGE_PORT"),
        *("SMTP_URL", "MAIL_FROM", "MAIL_REPLY_TO"),
        *("WEBHOOK_PORTS", "WEBHOOK_NETWORKS", "WEBHOOK_CA"),
    )
)
"""Every variable that a server's environment may have; the migrations' are among them."""


class SettingError(ValueError):
    """A variable of the environment is missing or unusable; the message names it and never shows its value."""


@dataclass(frozen=True)
class MailSettings:
    """How mails are sent. ``tls`` is ``start`` (STARTTLS), ``always`` or ``never`` (a server on a private address)."""

    host: str
    port: int
    tls: Literal["start", "always", "never"]
    user: str | None
    password: str | None = field(repr=False)
    sender: str
    reply_to: str | None


@dataclass(frozen=True)
class WebhookSettings:
    """Where webhooks may be sent: ports, and networks beside the public internet (none but where a deployment has
    receivers of its own). ``ca_file`` has the certificates to trust instead of the system's."""

    ports: frozenset[int] = frozenset({443})
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    ca_file: str | None = None


@dataclass(frozen=True)
class Settings:
    """Settings of ``parkmesh serve``. ``drain_s`` and ``stop_s`` are seconds."""

    database_url: str = field(repr=False)
    session_secret: str = field(repr=False)
    public_url: str | None
    server_id: str
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    drain_s: float
    stop_s: float = 20.0
    metrics_token: str | None = field(default=None, repr=False)
    second_factor: SecondFactor = "none"
    mail: MailSettings | None = None
    webhooks: WebhookSettings = WebhookSettings()
    key_requests_per_minute: int = KEY_REQUESTS_PER_MINUTE

    @property
    def secure_cookies(self) -> bool:
        return (self.public_url or "").startswith("https://")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the texts that no log line may show."""
        others = [self.metrics_token, self.mail.password if self.mail else None]
        return (self.session_secret, *(text for text in others if text), *database_secrets(self.database_url))


def database_secrets(url: str) -> tuple[str, ...]:
    """Return the password in a database address in both its spellings, or nothing."""
    password = urlsplit(url).password
    return (password, unquote(password)) if password else ()


def required(environment: Mapping[str, str], name: str, purpose: str) -> str:
    """Return a variable's value; raise ``SettingError`` naming it and its ``purpose`` where it is absent or empty."""
    value = environment.get(name, "").strip()
    if not value:
        raise SettingError(f"{name} is not set: {purpose}")
    return value


def database_url(environment: Mapping[str, str]) -> str:
    """Return PARKMESH_DATABASE_URL, a ``postgresql://`` address, as the driver takes it.

    PARKMESH_DATABASE_CA, a file of certificates in PEM, makes the driver insist on TLS with a certificate that one of
    them signed for the address's host. The address itself may ask for it: ``?sslmode=verify-full&sslrootcert=…``.
    """
    url = required(environment, "PARKMESH_DATABASE_URL", "the address of the database, postgresql://user:…@host/name")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("postgresql", "postgres") and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise SettingError("PARKMESH_DATABASE_URL is not an address of the form postgresql://user:…@host:port/name")
    options = dict(parse_qsl(parts.query))
    ca_file = environment.get("PARKMESH_DATABASE_CA", "").strip()
    if ca_file:
        if options.get("sslmode", "verify-full") != "verify-full" or options.get("sslrootcert", ca_file) != ca_file:
            raise SettingError("PARKMESH_DATABASE_URL asks for another TLS mode or CA than PARKMESH_DATABASE_CA")
        others = [pair for pair in parts.query.split("&") if pair.partition("=")[0] not in _TLS_OPTIONS]
        query = "&".join([*others, "sslmode=verify-full", f"sslrootcert={quote(ca_file, safe='')}"])
        url = urlunsplit(parts._replace(query=query))
    for name, file in (("PARKMESH_DATABASE_CA", ca_file), ("sslrootcert", options.get("sslrootcert", ""))):
        if file and (wrong := _wrong_with_certificates(file)):
            raise SettingError(f"{name}: {file}: {wrong}")
    return url


def _wrong_with_certificates(file: str) -> str | None:
    """Say why a file holds no certificates to verify with; the driver would say it only at its first connection."""
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        return "not certificates in PEM"
    except OSError as error:
        return error.strerror or "can't be read"
    return None


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the server's settings; raise ``SettingError`` at the first unusable one.

    A variable that no server knows is refused too: most likely a name was misspelt, and the setting would be missing
    silently.
    """
    _check_names(environment)
    url = database_url(environment)
    secret = required(environment, "PARKMESH_SESSION_SECRET", "the key that protects forms, the same on every server")
    if len(secret) < MIN_SECRET_LENGTH:
        raise SettingError(f"PARKMESH_SESSION_SECRET is shorter than {MIN_SECRET_LENGTH} characters")
    public_url = environment.get("PARKMESH_PUBLIC_URL", "").strip() or None
    if public_url and urlsplit(public_url).scheme not in ("http", "https"):
        raise SettingError("PARKMESH_PUBLIC_URL is not an http:// or https:// address")
    try:
        proxies = tuple(
            ip_network(text)
            for text in environment.get("PARKMESH_TRUSTED_PROXIES", PRIVATE_NETWORKS).replace(",", " ").split()
        )
    except ValueError as error:
        raise SettingError(f"PARKMESH_TRUSTED_PROXIES: {error}") from None
    metrics_token = environment.get("PARKMESH_METRICS_TOKEN", "").strip() or None
    if metrics_token is not None and len(metrics_token) < MIN_SECRET_LENGTH:
        raise SettingError(f"PARKMESH_METRICS_TOKEN is shorter than {MIN_SECRET_LENGTH} characters")
    try:
        drain_s = float(environment.get("PARKMESH_DRAIN_SECONDS", "5"))
    except ValueError:
        raise SettingError("PARKMESH_DRAIN_SECONDS is not a number of seconds") from None
    if not 0 <= drain_s <= 600:
        raise SettingError("PARKMESH_DRAIN_SECONDS is not between 0 and 600")
    second_factor = environment.get("PARKMESH_SECOND_FACTOR", "").strip() or "none"
    if second_factor not in get_args(SecondFactor):
        raise SettingError(f"PARKMESH_SECOND_FACTOR is none of {', '.join(get_args(SecondFactor))}")
    address = urlsplit(public_url or "")
    if second_factor != "none" and address.scheme != "https" and address.hostname != "localhost":
        raise SettingError(
            "PARKMESH_SECOND_FACTOR needs a PARKMESH_PUBLIC_URL with https://: passkeys work nowhere else"
        )
    return Settings(
        database_url=url,
        session_secret=secret,
        public_url=public_url,
        server_id=environment.get("PARKMESH_SERVER_ID", "").strip() or socket.gethostname(),
        trusted_proxies=proxies,
        drain_s=drain_s,
        metrics_token=metrics_token,
        second_factor=cast(SecondFactor, second_factor),
        mail=mail_settings(environment),
        webhooks=webhook_settings(environment),
        key_requests_per_minute=_whole_number(
            environment, "PARKMESH_KEY_REQUESTS_PER_MINUTE", KEY_REQUESTS_PER_MINUTE, 10, 100_000
        ),
    )


def _check_names(environment: Mapping[str, str]) -> None:
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name not in KNOWN:
            alike = difflib.get_close_matches(name, sorted(KNOWN), n=1, cutoff=0.85)
            raise SettingError(f"{name} is no setting" + (f": is {alike[0]} meant?" if alike else " of the server"))


def _whole_number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environment.get(name, "").strip() or str(default)
    if not text.isascii() or not text.isdigit() or not least <= int(text[:10]) <= most:
        raise SettingError(f"{name} is not a whole number from {least} to {most}")
    return int(text)


def webhook_settings(environment: Mapping[str, str]) -> WebhookSettings:
    """Return where webhooks may be sent; raise ``SettingError``.

    PARKMESH_WEBHOOK_PORTS are ports beside 443, PARKMESH_WEBHOOK_NETWORKS networks beside the public internet, as
    ``10.1.0.0/16``, PARKMESH_WEBHOOK_CA a file of certificates in PEM instead of the system's.
    """
    try:
        ports = {int(text) for text in environment.get("PARKMESH_WEBHOOK_PORTS", "").replace(",", " ").split()}
    except ValueError:
        ports = {0}
    if not all(0 < port < 65536 for port in ports):
        raise SettingError("PARKMESH_WEBHOOK_PORTS are not port numbers")
    try:
        networks = tuple(
            ip_network(text) for text in environment.get("PARKMESH_WEBHOOK_NETWORKS", "").replace(",", " ").split()
        )
    except ValueError as error:
        raise SettingError(f"PARKMESH_WEBHOOK_NETWORKS: {error}") from None
    ca_file = environment.get("PARKMESH_WEBHOOK_CA", "").strip() or None
    if ca_file and (wrong := _wrong_with_certificates(ca_file)):
        raise SettingError(f"PARKMESH_WEBHOOK_CA: {ca_file}: {wrong}")
    return WebhookSettings(frozenset({443, *ports}), networks, ca_file)


_SMTP = {"smtp+starttls": ("start", 587), "smtps": ("always", 465), "smtp": ("never", 25)}


def mail_settings(environment: Mapping[str, str]) -> MailSettings | None:
    """Return how mails are sent, None where PARKMESH_SMTP_URL is not set; raise ``SettingError``.

    PARKMESH_SMTP_URL is ``smtp+starttls://user:password@host:587``, ``smtps://user:password@host:465`` or, for a server
    at a private address that takes no password, ``smtp://address:port``. PARKMESH_MAIL_FROM is an address or
    ``Name <address>``; PARKMESH_MAIL_REPLY_TO may be another one.
    """
    url = environment.get("PARKMESH_SMTP_URL", "").strip()
    if not url:
        return None
    try:
        parts = urlsplit(url)
        tls, standard = _SMTP[parts.scheme]
        host, port = parts.hostname or "", parts.port or standard
    except (KeyError, ValueError):
        host = ""
    if not host or parts.path not in ("", "/") or parts.query or bool(parts.username) != bool(parts.password):
        # The value may hold a password.
        raise SettingError("PARKMESH_SMTP_URL is not of the form smtp+starttls://user:password@host:587 or smtps://…")
    if tls == "never" and (parts.password or not _private(host)):
        raise SettingError("PARKMESH_SMTP_URL: smtp:// is for a server at a private address and without a password")
    sender = required(environment, "PARKMESH_MAIL_FROM", "the address that mails come from")
    reply_to = environment.get("PARKMESH_MAIL_REPLY_TO", "").strip() or None
    for name, address in (("PARKMESH_MAIL_FROM", sender), ("PARKMESH_MAIL_REPLY_TO", reply_to)):
        if address is not None and not _mail_address(address):
            raise SettingError(f"{name} is not an e-mail address")
    return MailSettings(
        host=host,
        port=port,
        tls=cast(Literal["start", "always", "never"], tls),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        sender=sender,
        reply_to=reply_to,
    )


def _private(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_private
    except ValueError:
        return False


def _mail_address(text: str) -> bool:
    _, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    return bool(local and at and domain) and text.isprintable() and " " not in address
