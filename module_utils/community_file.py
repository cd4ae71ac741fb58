"""Check a community's file: what is wrong with it, where, and what it may say instead.

Pure: text and data in, faults out. The data is what Ansible's loader made of the text; the text tells the lines.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

if TYPE_CHECKING:
    from module_utils import community_spec as spec
else:
    from ansible.module_utils import community_spec as spec

Path = tuple[str | int, ...]

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "contact": (int, str),
    "dict": (dict, Mapping),
    "list": (list,),
}
_WORDS: Final = {
    "str": "a text (numbers in quotes)",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "contact": "a number or a name",
    "dict": "keys with values",
    "list": "a list",
}
# What the file derives; gateway.variables can't say it another time.
DERIVED: Final = (
    "overlay_member",
    "gateway_console",
    "parking_gateway_community",
    "parking_gateway_cameras",
    "parking_gateway_recorders",
    "parking_gateway_readers",
    "parking_gateway_gates",
    "parking_gateway_sensors",
    "parking_gateway_counters",
    "parking_gateway_frigate_cameras",
)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What is wrong at a line of a file (0: the file as a whole)."""

    source: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.text}" if self.line else f"{self.source}: {self.text}"


@dataclass(frozen=True, slots=True)
class File:
    """A community's file: ``name`` is the community's, ``lines`` says at which line each part of ``data`` begins."""

    source: str
    name: str
    data: Any
    lines: Mapping[Path, int]

    def fault(self, path: Path, text: str) -> Fault:
        """What is wrong at a path, with the line of the nearest part that has one."""
        line = next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), 0)
        return Fault(self.source, line, f"{shown(path)}: {text}" if path else text)


def shown(path: Path) -> str:
    """A path as people write it: ``cameras[0].gate``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def lines(text: str, source: str) -> tuple[dict[Path, int], list[Fault]]:
    """Where each key and element of a YAML text begins (lines from 1), and the keys that it has twice.

    A text that is no YAML is a fault, too.
    """
    found: dict[Path, int] = {}
    faults: list[Fault] = []

    def walk(node: yaml.Node, path: Path) -> None:
        found.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*path, str(key.value))
                if below in found:
                    before = f"the key is at line {found[below]} already"
                    faults.append(Fault(source, key.start_mark.line + 1, f"{shown(below)}: {before}"))
                    continue
                found[below] = key.start_mark.line + 1
                walk(value, below)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                walk(value, (*path, index))

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return {}, [Fault(source, mark.line + 1 if mark else 0, f"not YAML: {error.problem}")]
    if root is not None:
        walk(root, ())
    return found, faults


def check(file: File) -> list[Fault]:
    """Everything that is wrong with one file."""
    if not re.fullmatch(spec.NAME, file.name):
        form = spec.FILE["gateway"]["options"]["name"]["form"]
        return [Fault(file.source, 0, f"the file's name is the community's name, which is {form}")]
    if not isinstance(file.data, Mapping):
        return [file.fault((), f"keys with values are expected; allowed: {', '.join(spec.FILE)}")]
    faults = list(_options(file, file.data, spec.FILE, ()))
    # What names what makes sense only in a file of the right form.
    return faults or list(_relations(file))


def check_together(files: Sequence[File]) -> list[Fault]:
    """What two files say though only one may. Each file by itself is right."""
    faults: list[Fault] = []
    seen: dict[tuple[str, Any], File] = {}

    def once(file: File, what: str, value: Any, path: Path) -> None:
        other = seen.setdefault((what, value), file)
        if other is not file:
            faults.append(file.fault(path, f"{what} {value!r} is in {other.source} already"))

    for file in files:
        data = file.data
        once(file, "the community", file.name, ())
        once(file, "the number", data["overlay"]["number"], ("overlay", "number"))
        once(file, "the address", data["overlay"]["ip"], ("overlay", "ip"))
        once(file, "the host", gateway_name(file.name, data), ("gateway", "name"))
        if simulator := data.get("simulator"):
            once(file, "the host", simulator["host"], ("simulator", "host"))
        for index, sensor in enumerate(data.get("sensors") or []):
            if not _is_template(sensor.get("dev_eui", "{{")):
                once(file, "the sensor", sensor["dev_eui"].lower(), ("sensors", index, "dev_eui"))
    return faults


def gateway_name(community: str, data: Mapping[str, Any]) -> str:
    """The gateway's host: named in the file, or after the community."""
    return str(data["gateway"].get("name") or f"gateway-{community}")


def _is_template(value: Any) -> bool:
    """Whether a value is known only later: a template, or an encrypted text."""
    if isinstance(value, str):
        return "{{" in value
    return value is not None and not isinstance(value, bool | int | float | list | Mapping)


def _options(file: File, data: Mapping[str, Any], options: Mapping[str, spec.Option], path: Path) -> Iterable[Fault]:
    for key in data:
        if key not in options:
            near = difflib.get_close_matches(str(key), list(options), 1)
            meant = f" (is {near[0]} meant?)" if near else ""
            yield file.fault((*path, str(key)), f"unknown key{meant}; allowed: {', '.join(options)}")
    for key, option in options.items():
        below = (*path, key)
        if data.get(key) is not None:
            yield from _value(file, data[key], option, below)
        elif option.get("required"):
            yield file.fault(path, f"{key} is missing" if path else f"{key} is missing in the file")


def _value(file: File, value: Any, option: spec.Option, path: Path) -> Iterable[Fault]:
    if _is_template(value) and option["type"] not in ("list", "dict"):
        return
    kind = option["type"]
    fits = isinstance(value, _KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))
    if not fits:
        yield file.fault(path, f"{_WORDS[kind]} is expected, not {_short(value)}")
        return
    if "choices" in option and value not in option["choices"]:
        yield file.fault(path, f"{_short(value)} is not allowed; allowed: {', '.join(option['choices'])}")
    if "pattern" in option and not re.fullmatch(option["pattern"], value):
        yield file.fault(path, f"{_short(value)} is not allowed; allowed: {option['form']}")
    least, most = option.get("least"), option.get("most")
    if (least is not None and value < least) or (most is not None and value > most):
        yield file.fault(path, f"{value} is not allowed; allowed: {least} to {most}")
    if kind == "dict" and "options" in option:
        yield from _options(file, value, option["options"], path)
    if kind == "list":
        element = {"type": option["elements"], **({"options": option["options"]} if "options" in option else {})}
        for index, entry in enumerate(value):
            yield from _value(file, entry, element, (*path, index))


def _short(value: Any) -> str:
    text = repr(value if isinstance(value, bool | int | float) or value is None else str(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _relations(file: File) -> Iterable[Fault]:
    """What doesn't fit together in a file whose keys and values are right, each by itself."""
    data = file.data
    try:
        if not _is_template(data["time_zone"]):
            ZoneInfo(data["time_zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield file.fault(("time_zone",), f"{_short(data['time_zone'])} is no time zone; an example: Europe/Madrid")
    for key in data["gateway"].get("variables") or {}:
        if key in DERIVED:
            yield file.fault(("gateway", "variables", key), "the file's other keys say this")
    gates, lanes, cameras = (data.get(key) or [] for key in ("gates", "lanes", "cameras"))
    recorders, sensors, spaces = (data.get(key) or [] for key in ("recorders", "sensors", "spaces"))
    yield from _once(file, "gates", gates, "name")
    yield from _once(file, "lanes", lanes, "name")
    yield from _once(file, "spaces", spaces, "name")
    for by in ("dev_eui", "topic"):
        yield from _once(file, "sensors", sensors, by)
    counters = data.get("counters") or []
    yield from _once(file, "counters", counters, "name")
    readers = data.get("readers") or []
    yield from _once(file, "readers", readers, "name")
    yield from _once(file, "residents", data.get("residents") or [], "email")
    yield from _once(file, "recorders", recorders, "name")
    yield from _once(file, "cameras", cameras, "name")
    names = {recorder["name"] for recorder in recorders}
    for index, camera in enumerate(cameras):
        if camera["name"] in names:
            yield file.fault(("cameras", index, "name"), f"{camera['name']!r} is the name of a recorder already")
    by_name = {gate["name"]: gate for gate in gates}
    by_lane = {lane["name"]: lane for lane in lanes}
    for index, lane in enumerate(lanes):
        yield from _at_gate(file, lane, by_name, ("lanes", index))
    for index, camera in enumerate(cameras):
        yield from _camera(file, camera, by_name, by_lane, {one["name"]: one for one in recorders}, ("cameras", index))
    for index, recorder in enumerate(recorders):
        if (recorder["kind"] == "mapped") is not ("mapping" in recorder):
            yield file.fault(("recorders", index), "the kind mapped needs a mapping, and no other kind has one")
        if recorder["name"] not in {camera.get("recorder") for camera in cameras}:
            yield file.fault(("recorders", index, "name"), "no camera names this recorder")
    for index, reader in enumerate(readers):
        yield from _at_gate(file, reader, by_name, ("readers", index))
        if "relay" not in by_name.get(reader["gate"], {"relay": None}):
            yield file.fault(("readers", index), "its gate has no relay, so this gateway can't open it")
    for index, gate in enumerate(gates):
        for other in gate.get("interlock") or []:
            yield from _names(
                file, ("gates", index, "interlock"), other, [name for name in by_name if name != gate["name"]]
            )
    for index, sensor in enumerate(sensors):
        if ("dev_eui" in sensor) is ("topic" in sensor):
            yield file.fault(("sensors", index), "it needs a dev_eui or a topic, and not both")
        if (sensor["kind"] == "mapped") is not ("mapping" in sensor):
            yield file.fault(("sensors", index), "the kind mapped needs a mapping, and no other kind has one")
        yield from _names(file, ("sensors", index, "space"), sensor["space"], [space["name"] for space in spaces])
    for index, counter in enumerate(counters):
        for place, point in enumerate(counter["points"]):
            if set(point) not in ({"detector", "direction"}, {"outside", "inside"}):
                yield file.fault(
                    ("counters", index, "points", place), "it needs detector and direction, or outside and inside"
                )


def _once(file: File, key: str, entries: Sequence[Mapping[str, Any]], by: str) -> Iterable[Fault]:
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        if by not in entry:
            continue
        value = str(entry[by]).lower()
        if value in seen:
            before = file.lines.get((key, seen[value], by), 0)
            yield file.fault((key, index, by), f"{entry[by]!r} is at line {before} already")
        seen.setdefault(value, index)


def _names(file: File, path: Path, name: str, known: Sequence[str]) -> Iterable[Fault]:
    if name not in known and not _is_template(name):
        yield file.fault(path, f"there is no {path[-1]} {name!r}; there are: {', '.join(known) or 'none'}")


def _at_gate(file: File, entry: Mapping[str, Any], gates: Mapping[str, Any], path: Path) -> Iterable[Fault]:
    yield from _names(file, (*path, "gate"), entry["gate"], list(gates))
    way = gates.get(entry["gate"], {}).get("direction", "both")
    if way not in ("both", entry["direction"]):
        yield file.fault(
            (*path, "direction"), f"{entry['direction']!r}, but the gate {entry['gate']} is for {way} only"
        )


def _camera(
    file: File,
    camera: Mapping[str, Any],
    gates: Mapping[str, Any],
    lanes: Mapping[str, Any],
    recorders: Mapping[str, Any],
    path: Path,
) -> Iterable[Fault]:
    gate = camera.get("gate")
    if "lane" in camera:
        if "gate" in camera or "direction" in camera:
            yield file.fault(path, "it has a lane, which says gate and direction: leave those out")
        yield from _names(file, (*path, "lane"), camera["lane"], list(lanes))
        gate = lanes.get(camera["lane"], {}).get("gate")
    elif gate is None or "direction" not in camera:
        yield file.fault(path, "it needs a lane, or gate and direction")
    else:
        yield from _at_gate(file, camera, gates, path)
    if gate is not None and gate in gates and "relay" not in gates[gate]:
        yield file.fault(path, f"its gate {gate} has no relay, so this gateway can't open it")
    if ("recorder" in camera) is not ("channel" in camera):
        yield file.fault(path, "it needs both recorder and channel, or neither")
    if "recorder" in camera:
        yield from _names(file, (*path, "recorder"), camera["recorder"], list(recorders))
        kind = recorders.get(camera["recorder"], camera)["kind"]
        if kind != camera["kind"]:
            yield file.fault((*path, "kind"), f"{camera['kind']!r}, but its recorder is of the kind {kind}")
    elif (camera["kind"] == "mapped") is not ("mapping" in camera):
        yield file.fault(path, "the kind mapped needs a mapping, and no other kind has one")
    elif camera["kind"] == "frigate":
        yield file.fault(path, "the kind frigate needs a recorder with a topic")
    if camera.get("rtsp"):
        yield from _stream(file, camera, recorders, path)


def _stream(file: File, camera: Mapping[str, Any], recorders: Mapping[str, Any], path: Path) -> Iterable[Fault]:
    """What is wrong with the stream of a camera that a Frigate reads, whose configuration the gateway's role makes."""
    rtsp, below = camera["rtsp"], (*path, "rtsp")
    if camera["kind"] != "frigate":
        yield file.fault(below, "only a camera of the kind frigate has it")
    channel, topic = camera.get("channel", "{{"), recorders.get(camera.get("recorder", ""), {}).get("topic", "")
    if not _is_template(channel) and not re.fullmatch(spec.FRIGATE_CAMERA, channel):
        yield file.fault((*path, "channel"), f"{channel!r} is no name of a camera in Frigate: letters, digits, _ and -")
    if camera["kind"] == "frigate" and not _is_template(topic) and not topic.endswith(spec.FRIGATE_TOPIC):
        yield file.fault(below, f"the topic of its recorder must be <prefix>{spec.FRIGATE_TOPIC}")
    if not _is_template(rtsp["url"]):
        # An address with an account holds a password, so that it isn't shown.
        if re.search(spec.STREAM_ACCOUNT, rtsp["url"]):
            yield file.fault((*below, "url"), "it has an account: give it as user and password")
        elif not re.fullmatch(spec.STREAM, rtsp["url"]):
            yield file.fault((*below, "url"), f"{_short(rtsp['url'])} is not allowed; allowed: {spec.STREAM_FORM}")
    password = rtsp.get("password", "{{")
    if not _is_template(password) and not re.fullmatch(spec.STREAM_PASSWORD, password):
        yield file.fault((*below, "password"), f"allowed: {spec.STREAM_PASSWORD_FORM}")
    for one, other in (("user", "password"), ("width", "height")):
        if (one in rtsp) is not (other in rtsp):
            yield file.fault(below, f"it needs both {one} and {other}, or neither")
