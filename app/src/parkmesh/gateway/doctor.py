"""What is wrong with a gateway and what to do about it: judged from what was looked at, without looking itself.

A finding that needs no doing is none: what can't be known here (a card that tells no wear) is said and doesn't count.
The texts are English messages with ``%(name)s`` places; the gateway's page says them in its reader's language.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from parkmesh.domain.community_rules import N_
from parkmesh.gateway.config import Camera, Config
from parkmesh.gateway.host import Readings
from parkmesh.gateway.overlay_path import Overlay

State = Literal["well", "finding", "unknown"]
_CLOCK_OFF_MS, _CAMERA_OFF_MS = 5_000, 60_000
_LIST_OLD_MS = 3_600_000
_BACKLOG, _UNDECIDED = 2_000, 20
_LEAST_FREE, _LEAST_FREE_SHARE = 256 * 1024 * 1024, 0.05
_WORN_PERCENT, _HOT_C = 80, 80.0
_RECENT_MS = 3_600_000


class Finding(Struct, frozen=True):
    """One thing that was looked at: ``check`` is its kind, ``subject`` names it where there are several. ``said`` and
    ``todo`` (empty: nothing) are messages, filled in with ``values``."""

    check: str
    subject: str
    state: State
    said: str
    todo: str = ""
    values: dict[str, str | int] = {}

    def text(self) -> str:
        return self.said % self.values

    def advice(self) -> str:
        return self.todo % self.values


class ServerLook(Struct, frozen=True):
    """What a server of the configuration answered: ``fault`` empty: it did. ``status`` is that of HTTP, 0 without an
    answer; ``skew_ms`` its clock minus ours, None where it doesn't tell."""

    fault: str = ""
    status: int = 0
    skew_ms: int | None = None


class Looks(Struct):
    """Everything that was looked at. ``status`` is the agent's own, or what the spool tells of one that doesn't run
    (``running`` false), or empty. ``cameras`` and ``relays`` have why no connection was had, None where one was;
    a camera that isn't there has no known address. ``list_written`` is when the stored list was written (ms)."""

    now: int
    status: Mapping[str, Any]
    host: Readings = Readings()
    cameras: dict[str, str | None] = {}
    relays: dict[str, str | None] = {}
    servers: dict[str, ServerLook] = {}
    broker: str | None = None
    overlay: Overlay | None = None
    overlay_fault: str = ""
    list_written: int | None = None


def judge(config: Config, looks: Looks) -> list[Finding]:
    """Return what was found, in the order in which a person looks: what is wrong stands among what is well."""
    return [
        *_agent(looks),
        *_cameras(config, looks),
        *_streams(looks),
        *_readers(looks),
        *_wrong_posts(looks),
        *_tls(looks),
        *_relays(looks),
        *_sensors(config, looks),
        *_counters(config, looks),
        *_line(config, looks),
        *_overlay(looks),
        *_list(looks),
        *_records(looks),
        *_clock(looks),
        *_disk(looks),
        *_power(looks),
    ]


def lasting(ms: int) -> str:
    """Return a length of time in its largest unit, short: the units are those of every language here."""
    seconds = max(ms, 0) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _agent(looks: Looks) -> Iterator[Finding]:
    if looks.status.get("running"):
        up = lasting(int(looks.status.get("up_s", 0)) * 1000)
        yield Finding("agent", "", "well", N_("The agent has been running for %(time)s."), values={"time": up})
    else:
        yield Finding(
            "agent",
            "",
            "finding",
            N_("The agent doesn't answer: no gate opens."),
            N_("Start it: systemctl start parkmesh-gateway. If it ends again: journalctl -u parkmesh-gateway -e."),
        )


def _cameras(config: Config, looks: Looks) -> Iterator[Finding]:
    told = looks.status.get("cameras") or {}
    clocks = looks.status.get("camera_clocks") or {}
    silence_ms = int(config.camera_silence_s * 1000)
    up_ms = int(looks.status.get("up_s", 0)) * 1000
    for camera in config.cameras:
        secret = "/…" if camera.secret_path else ""
        values: dict[str, str | int] = {
            "address": f"{_origin(config, camera)}/cameras/{camera.recorder or camera.name}{secret}/events"
        }
        if looks.cameras.get(camera.name) is not None:
            yield Finding(
                "camera",
                camera.name,
                "finding",
                N_("It can't be reached at %(host)s (%(fault)s)."),
                N_("Check its power, its cable and the switch. Look whether it has got another address."),
                values | {"host": _host(camera.host, told, camera.name), "fault": looks.cameras[camera.name] or ""},
            )
        last = (told.get(camera.name) or {}).get("last")
        if not looks.status.get("running"):
            continue
        if last is None and up_ms < silence_ms:
            yield Finding(
                "camera",
                camera.name,
                "unknown",
                N_("It has sent nothing since the agent started %(time)s ago."),
                N_("Press its test button, or drive past it. It must post to %(address)s."),
                values | {"time": lasting(up_ms)},
            )
        elif last is None or looks.now - last > silence_ms:
            yield Finding(
                "camera",
                camera.name,
                "finding",
                N_("It has sent nothing for %(time)s."),
                N_("Look whether it reads plates, and whether it posts to %(address)s. Then press its test button."),
                values | {"time": lasting(up_ms if last is None else looks.now - last)},
            )
        else:
            yield Finding(
                "camera",
                camera.name,
                "well",
                N_("It sent something %(time)s ago."),
                values={"time": lasting(looks.now - last)},
            )
        behind = int((clocks.get(camera.name) or {}).get("behind_ms", 0))
        if abs(behind) > _CAMERA_OFF_MS:
            yield Finding(
                "camera",
                camera.name,
                "finding",
                N_("Its clock is %(time)s off. The gateway allows for it, until the clock jumps."),
                N_("Set the camera's time server (NTP) to a router or server that it reaches."),
                {"time": lasting(abs(behind))},
            )


def _streams(looks: Looks) -> Iterator[Finding]:
    for name, stream in (looks.status.get("streams") or {}).items():
        if stream["fault"]:
            yield Finding(
                "camera",
                str(name),
                "finding",
                N_("Its messages can't be fetched (%(fault)s)."),
                N_("Check its address and the account in the configuration. A camera locks an account for some time."),
                {"fault": str(stream["fault"])},
            )
        elif stream["connected"]:
            yield Finding("camera", str(name), "well", N_("Its messages are fetched."))


def _readers(looks: Looks) -> Iterator[Finding]:
    for name, reader in (looks.status.get("readers") or {}).items():
        if reader["fault"]:
            yield Finding(
                "reader",
                str(name),
                "finding",
                N_("The scanner or keypad isn't there (%(fault)s)."),
                N_("Plug it into the gateway's USB. Compare the configuration's device with /dev/input/by-id."),
                {"fault": str(reader["fault"])},
            )
        elif reader["connected"]:
            yield Finding("reader", str(name), "well", N_("It is plugged in."))


def _origin(config: Config, camera: Camera) -> str:
    tls = camera.tls or any(one.tls for one in config.recorders if one.name == camera.recorder)
    return f"https://<gateway>:{config.listen.tls_port}" if tls else f"http://<gateway>:{config.listen.port}"


def _host(configured: str | None, told: Mapping[str, Any], camera: str) -> str:
    return configured or (told.get(camera) or {}).get("from") or "-"


_ASTRAY = (
    N_("It sends %(method)s %(path)s, which no camera has. Times: %(count)s."),
    N_("Set this device to POST to /cameras/<name>/events of a camera of the configuration."),
)
_LOGIN = N_("Set the user and the password of the configuration's login on this device, with digest.")
_REFUSED = {
    "wrong_login": (N_("It sends %(method)s %(path)s with a wrong user or password. Times: %(count)s."), _LOGIN),
    "no_login": (N_("It sends %(method)s %(path)s and doesn't log in. Times: %(count)s."), _LOGIN),
    "no_tls": (
        N_("It sends %(method)s %(path)s without TLS. Times: %(count)s."),
        N_("Set this device to HTTPS and to the port of TLS, or take tls from the configuration."),
    ),
}
"""What is told of posts that reached a camera's address and weren't taken."""


def _wrong_posts(looks: Looks) -> Iterator[Finding]:
    for stray in (looks.status.get("wrong_posts") or {}).get("senders", []):
        if stray["kind"] in ("test", "unknown_channel") or looks.now - int(stray["last"]) > _RECENT_MS:
            continue
        said, todo = _REFUSED.get(str(stray["kind"]), _ASTRAY)
        yield Finding(
            "wrong posts",
            str(stray["sender"]),
            "finding",
            said,
            todo,
            {"method": str(stray["method"]), "path": str(stray["path"]), "count": int(stray["count"])},
        )


def _tls(looks: Looks) -> Iterator[Finding]:
    tls = looks.status.get("tls")
    if tls and tls["fault"]:
        yield Finding(
            "encryption",
            "",
            "finding",
            N_("No connection over TLS works (%(fault)s)."),
            N_("Run playbooks/deploy-gateways.yml for this gateway: it makes or brings the certificate."),
            {"fault": str(tls["fault"])},
        )
    elif tls:
        yield Finding("encryption", "", "well", N_("The certificate is read."))


def _relays(looks: Looks) -> Iterator[Finding]:
    for gate, fault in looks.relays.items():
        if fault is None:
            yield Finding("relay", gate, "well", N_("The relay takes connections."))
        else:
            yield Finding(
                "relay",
                gate,
                "finding",
                N_("The relay can't be reached: the barrier can't be opened (%(fault)s)."),
                N_("Check its power, its cable or Wi-Fi. Look whether it has got another address."),
                {"fault": fault},
            )


def _sensors(config: Config, looks: Looks) -> Iterator[Finding]:
    if config.mqtt is None:
        return
    if looks.status.get("running") and looks.status.get("mqtt"):
        yield Finding("broker", "", "well", N_("The agent is connected to the broker."))
    else:
        fault = looks.broker or looks.status.get("mqtt_fault") or N_("the agent isn't connected to it")
        if not looks.status.get("running") and looks.broker is None:
            yield Finding("broker", "", "well", N_("The broker takes connections."))
        else:
            yield Finding(
                "broker",
                "",
                "finding",
                N_("No message of a sensor arrives: %(fault)s."),
                N_(
                    "Look at the broker: systemctl status mosquitto. Check its address and the agent's account in the "
                    "configuration."
                ),
                {"fault": fault},
            )
    spaces = {sensor.id: sensor.space for sensor in config.sensors}
    for sensor in looks.status.get("silent_sensors") or []:
        yield Finding(
            "sensor",
            str(sensor),
            "finding",
            N_("Space %(space)s: nothing has come from its sensor for %(time)s."),
            N_("Change its battery. Look in the LoRaWAN server whether it is heard."),
            {"space": spaces.get(sensor, "-"), "time": lasting(int(config.sensor_silence_s * 1000))},
        )


def _counters(config: Config, looks: Looks) -> Iterator[Finding]:
    counters = looks.status.get("counters") or {}
    for counter in config.counters:
        reading = counters.get(counter.name)
        if reading is None:
            continue
        if reading.get("known"):
            yield Finding(
                "counter",
                counter.name,
                "well",
                N_("It has counted %(entries)s in and %(exits)s out."),
                values={"entries": str(reading["entries"]), "exits": str(reading["exits"])},
            )
        else:
            yield Finding(
                "counter",
                counter.name,
                "finding",
                N_("Its loops or light barriers are silent or offline: vehicles may be missed."),
                N_("Look at the power and the network of the device that has their inputs. Then correct the count."),
            )


def _line(config: Config, looks: Looks) -> Iterator[Finding]:
    for server, look in looks.servers.items():
        if look.status in (401, 403):
            yield Finding(
                "server",
                server,
                "finding",
                N_("It doesn't know this gateway's token."),
                N_("Run playbooks/apply-communities.yml: it tells the servers the token's digest."),
            )
        elif look.fault:
            yield Finding(
                "server",
                server,
                "finding" if all(one.fault for one in looks.servers.values()) else "unknown",
                N_("It doesn't answer (%(fault)s)."),
                N_("One server is enough. If none answers: check the line, the router and zerotier-cli status."),
                {"fault": look.fault},
            )
        else:
            yield Finding("server", server, "well", N_("It answers."))
    if not looks.status.get("running"):
        return
    errors = looks.status.get("errors") or {}
    for what, error in errors.items():
        yield Finding(
            "line",
            str(what),
            "finding",
            N_("This can't be exchanged with a server: %(error)s."),
            N_("Gates go on by the list that is here, and records wait. Check the line and the servers."),
            {"error": str(error)},
        )
    if not errors and not looks.status.get("stream", True):
        yield Finding(
            "line",
            "",
            "finding",
            N_("No stream from a server: commands to open don't arrive."),
            N_("Wait a minute: servers end their streams when they are replaced. Then check the line."),
        )
    if not errors and looks.status.get("stream"):
        yield Finding("line", "", "well", N_("Connected to %(server)s."), values={"server": looks.status["server"]})


def _overlay(looks: Looks) -> Iterator[Finding]:
    if looks.overlay_fault:
        yield Finding(
            "overlay",
            "",
            "unknown",
            N_("It isn't known how the servers are reached: %(fault)s."),
            N_("Run this command as root."),
            {"fault": looks.overlay_fault},
        )
    if looks.overlay is None:
        return
    if not looks.overlay.online:
        yield Finding(
            "overlay",
            "",
            "finding",
            N_("The overlay's daemon reaches no root."),
            N_("Check the line. The router must let UDP out to every port."),
        )
    for network, status in looks.overlay.networks.items():
        if status != "OK":
            yield Finding(
                "overlay",
                network,
                "finding",
                N_("The network's state is %(status)s."),
                N_("Admit this member with playbooks/enroll-gateways.yml."),
                {"status": status},
            )
    for server, path in looks.overlay.paths.items():
        if path == "direct":
            yield Finding("overlay path", server, "well", N_("Reached directly."))
        elif path == "relayed":
            yield Finding(
                "overlay path",
                server,
                "finding",
                N_("Reached through a relay: slower, and it may stop."),
                N_("Let the router map UDP port 9993 (UPnP or a rule), or open UDP out. Docs: the overlay."),
            )
        else:
            yield Finding("overlay path", server, "unknown", N_("It isn't known whether the path is direct."))


def _list(looks: Looks) -> Iterator[Finding]:
    version = int(looks.status.get("access_list_version") or 0)
    if not looks.status:
        return
    if not version:
        yield Finding(
            "list",
            "",
            "finding",
            N_("There is no access list: nobody is let in."),
            N_("It comes with the first answer of a server. Check the line and the token."),
        )
        return
    if not looks.status.get("access_list_whole", True):
        yield Finding(
            "list",
            "",
            "finding",
            N_("The stored list is damaged: the gate goes on by its copy."),
            N_("It mends itself with the next answer of a server. If it comes again, replace the disk."),
        )
    confirmed = looks.status.get("last_sync") or looks.list_written
    if confirmed is None:
        yield Finding("list", "", "unknown", N_("Version %(version)s, of unknown age."), values={"version": version})
        return
    values: dict[str, str | int] = {"version": version, "time": lasting(looks.now - int(confirmed))}
    if looks.now - int(confirmed) > _LIST_OLD_MS and looks.status.get("running"):
        yield Finding(
            "list",
            "",
            "finding",
            N_("Version %(version)s. No server has confirmed it for %(time)s."),
            N_("What was changed since isn't known here: new plates are refused, revoked ones open. Mend the line."),
            values,
        )
    else:
        yield Finding("list", "", "well", N_("Version %(version)s, %(time)s old."), values=values)


def _records(looks: Looks) -> Iterator[Finding]:
    status = looks.status
    if not status:
        return
    if status.get("storing", "disk") != "disk":
        yield Finding(
            "records",
            "",
            "finding",
            N_("The disk takes no records: they are in memory (%(fault)s)."),
            N_("Don't switch it off. Make room on the disk, or replace it."),
            {"fault": str(status.get("disk_error"))},
        )
    backlog, undecided, quarantined = (int(status.get(key) or 0) for key in ("backlog", "undecided", "quarantined"))
    if undecided > _UNDECIDED:
        yield Finding(
            "records",
            "",
            "finding",
            N_("%(count)s camera messages wait for a decision."),
            N_("Look at the relays and the disk: a gate waits for one of them."),
            {"count": undecided},
        )
    if quarantined:
        yield Finding(
            "records",
            "",
            "finding",
            N_("%(count)s messages of the last 3 days couldn't be read."),
            N_("Look at the kind of the camera or sensor in the configuration. The journal names the device."),
            {"count": quarantined},
        )
    if backlog > _BACKLOG:
        yield Finding(
            "records",
            "",
            "finding",
            N_("%(count)s records wait for a server."),
            N_("They are safe here. Mend the line; they then go by themselves."),
            {"count": backlog},
        )
    else:
        yield Finding("records", "", "well", N_("%(count)s records wait for a server."), values={"count": backlog})


def _clock(looks: Looks) -> Iterator[Finding]:
    if looks.status.get("clock_doubtful"):
        yield Finding(
            "clock",
            "",
            "finding",
            N_("The clock is known to be wrong, and nobody has told the time."),
            N_("Mend the line, or set the clock: timedatectl set-time. Nobody is refused for it meanwhile."),
        )
        return
    skews = [look.skew_ms for look in looks.servers.values() if look.skew_ms is not None]
    skew = looks.status.get("server_skew_ms") if looks.status.get("last_sync") else min(skews, key=abs, default=None)
    if skew is None:
        yield Finding("clock", "", "unknown", N_("No server has told the time."))
    elif abs(int(skew)) > _CLOCK_OFF_MS:
        yield Finding(
            "clock",
            "",
            "finding",
            N_("The clock is %(time)s off the servers'."),
            N_("Look at chronyc sources. Name a time server in parking_gateway_time_servers."),
            {"time": lasting(abs(int(skew)))},
        )
    else:
        yield Finding("clock", "", "well", N_("%(ms)s ms off the servers'."), values={"ms": abs(int(skew))})


def _disk(looks: Looks) -> Iterator[Finding]:
    host = looks.host
    if host.disk_free is not None and host.disk_size:
        values: dict[str, str | int] = {"free": _size(host.disk_free), "size": _size(host.disk_size)}
        if host.disk_free < _LEAST_FREE or host.disk_free < host.disk_size * _LEAST_FREE_SHARE:
            yield Finding(
                "disk",
                "",
                "finding",
                N_("%(free)s of %(size)s are free."),
                N_("Make room: journalctl --vacuum-size=100M, apt-get clean."),
                values,
            )
        else:
            yield Finding("disk", "", "well", N_("%(free)s of %(size)s are free."), values=values)
    worn = host.worn_percent
    if host.reserve_used in ("warning", "urgent") or (worn or 0) >= _WORN_PERCENT:
        yield Finding(
            "disk wear",
            "",
            "finding",
            N_("The disk is worn: %(worn)s %% of its life, spare blocks: %(reserve)s."),
            N_("Replace the computer or its memory soon. Records without a server are lost with it."),
            {"worn": worn if worn is not None else "-", "reserve": host.reserve_used or "-"},
        )
    elif worn is not None:
        yield Finding("disk wear", "", "well", N_("%(worn)s %% of its life at most."), values={"worn": worn})
    else:
        yield Finding("disk wear", "", "unknown", N_("This disk doesn't tell its wear (SD cards don't)."))


def _power(looks: Looks) -> Iterator[Finding]:
    host = looks.host
    if host.under_voltage or host.had_under_voltage:
        yield Finding(
            "power",
            "",
            "finding",
            N_("The power is too weak now.") if host.under_voltage else N_("The power was too weak since the start."),
            N_("Use the power supply that belongs to the computer, and a short cable. Weak power damages cards."),
        )
    elif host.under_voltage is False:
        yield Finding("power", "", "well", N_("The power is strong enough."))
    else:
        yield Finding("power", "", "unknown", N_("This computer doesn't tell its power."))
    if host.temperature_c is None:
        yield Finding("temperature", "", "unknown", N_("This computer doesn't tell its temperature."))
    elif host.temperature_c >= _HOT_C or host.throttled:
        yield Finding(
            "temperature",
            "",
            "finding",
            N_("%(degrees)s °C: the computer slows down or will."),
            N_("Take it out of the sun, and let air reach it."),
            {"degrees": round(host.temperature_c)},
        )
    else:
        degrees = round(host.temperature_c)
        yield Finding("temperature", "", "well", N_("%(degrees)s °C."), values={"degrees": degrees})


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"
