"""Cameras that the configuration describes: its small language, what it reads, and what it says of a mistake."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway import config as configuration
from parkmesh.gateway import mapping as paths
from parkmesh.gateway.cli import gateway
from parkmesh.gateway.config import ConfigError
from parkmesh.gateway.drivers import mapped
from parkmesh.gateway.drivers.types import PlateRead, PoisonError
from parkmesh.gateway.mapping import Mapping, MappingError

# Verkada's webhook (apidocs.verkada.com/v1/reference/lpr), with invented values.
VERKADA = {
    "webhook_type": "lpr",
    "webhook_id": "b1946ac9",
    "data": {"camera_id": "c-1", "detected": 1795772865879, "license_plate_number": "1234BCD", "confidence": 0.963},
}
VERKADA_MAPPING = {
    "plate": "data.license_plate_number",
    "confidence": "data.confidence",
    "time": "data.detected",
    "time_format": "ms",
    "event": "webhook_id",
    "channel": "data.camera_id",
    "only": {"webhook_type": ["lpr"]},
}
# AxxonSoft (doc.austingis-mx.com), with invented values.
AXXON = """<?xml version="1.0"?><CAR_PLATE version="1.0" direction="in" cam-id="14" time="2026-11-27T18:37:44.695"
 plate="1234BCD" confidence="99" plateImage="">AAAA</CAR_PLATE>"""
AXXON_MAPPING = {
    "format": "xml",
    "plate": "CAR_PLATE.@plate",
    "confidence": "CAR_PLATE.@confidence",
    "confidence_max": 100,
    "time": "CAR_PLATE.@time",
    "direction": "CAR_PLATE.@direction",
    "channel": "CAR_PLATE.@cam-id",
}
# LILIN's log (LILINOpenGitHub/LILIN-LPR-Camera-SDK), with invented values: numbers as text, microseconds.
LILIN = {"LPR_COUNT": 2, "INFORMATION": [
    {"TS": "1795772865879000", "CAR_ID": "44", "LPR": "1234BCD", "THRESHOLD": "0.795"},
    {"TS": "1795772866000000", "CAR_ID": "45", "LPR": "", "THRESHOLD": "high"},
]}  # fmt: skip
LILIN_MAPPING = {
    "reads": "INFORMATION[*]",
    "plate": "LPR",
    "confidence": "THRESHOLD",
    "time": "TS",
    "time_format": "us",
    "car": "CAR_ID",
    "channel": "$.LPR_COUNT",
}


def reads(fields: dict[str, Any], message: object, content_type: str = "") -> list[PlateRead]:
    fields_read = msgspec.convert(fields, type=Mapping)
    paths.check(fields_read)
    body = message.encode() if isinstance(message, str) else json.dumps(message).encode()
    return [mapped.parse(mapped.extract(one, "")) for one in mapped.read(fields_read, body, content_type)]


def brief(read: PlateRead) -> tuple[object, ...]:
    return read.plate, read.confidence, read.at, read.direction, read.car_id, read.channel


def test_json_and_xml_are_read_by_their_mapping() -> None:
    [verkada] = reads(VERKADA_MAPPING, VERKADA)
    assert brief(verkada) == ("1234BCD", 0.963, 1795772865879, None, None, "c-1")
    [axxon] = reads(AXXON_MAPPING, AXXON)
    assert brief(axxon) == ("1234BCD", 0.99, 1795804664695, "in", None, "14")
    assert [brief(one) for one in reads(LILIN_MAPPING, LILIN)] == [
        ("1234BCD", 0.795, 1795772865879, None, "44", "2"),
        (None, None, 1795772866000, None, "45", "2"),
    ]
    # The same with a picture beside it.
    part = '--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n%s\r\n--b\r\nContent-Type: image/jpeg\r\n\r\n\0\r\n'
    assert reads(VERKADA_MAPPING, part % json.dumps(VERKADA), "multipart/form-data; boundary=b") == [verkada]
    assert reads(AXXON_MAPPING, part % AXXON, "multipart/form-data; boundary=b")[0].plate == "1234BCD"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b", [1]),
        ("$.a.b", [1]),
        ("$", [{"a": {"b": 1}, "c d": [{"e": 2}, {"e": 3}], "f": None}]),
        ('"c d"[0].e', [2]),
        ('"c d"[-1].e', [3]),
        ('"c d"[*].e', [2, 3]),
        ('"c d".e', [2]),
        ('"c d"[2].e', []),
        ("a[0].b", [1]),
        ("a.b.c", []),
        ("f", [None]),
        ("g", []),
    ],
)
def test_what_a_path_finds(path: str, found: list[object]) -> None:
    document = {"a": {"b": 1}, "c d": [{"e": 2}, {"e": 3}], "f": None}
    assert list(paths.every(document, path)) == found


@pytest.mark.parametrize("path", ["a..b", "a b", ".a", "a.", "a[", "a[x]", '"', "a[*", "$a.", "a/b", "a[0]b"])
def test_what_is_no_path_is_told_with_its_place(path: str) -> None:
    with pytest.raises(MappingError, match=r"^path '.*' can't be read from '.+' on$"):
        paths.steps(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mapping": None}, "camera 'cam': the kind mapped needs a mapping, and no other kind has one"),
        ({"kind": "milesight"}, "camera 'cam': the kind mapped needs a mapping, and no other kind has one"),
        ({"mapping": {"plate": "a..b"}}, "camera 'cam': mapping: plate: path 'a..b' can't be read from '..b' on"),
        ({"mapping": {"plate": "a[*].b"}}, "plate: path 'a[*].b' has [*], which only reads can have"),
        ({"mapping": {"plate": "a", "only": {"x[*]": ["1"]}}}, "only: path 'x[*]' has [*]"),
        ({"mapping": {"plate": "a", "reads": "b["}}, "reads: path 'b[' can't be read from '[' on"),
        ({"mapping": {"plate": "a", "time_format": "min"}}, "$.cameras[0].mapping.time_format"),
        ({"mapping": {"plat": "a"}}, "$.cameras[0].mapping"),
        ({"mapping": {"plate": "a", "confidence_max": 0}}, "$.cameras[0].mapping.confidence_max"),
    ],
)
def test_a_wrong_mapping_is_told_before_anything_starts(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configuration.parse(document(**changes), "gateway.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recorder_with_a_mapping_says_where_the_channel_is() -> None:
    camera = {"name": "cam", "gate": "in", "direction": "entry", "kind": "mapped", "recorder": "nvr", "channel": "c-1"}
    recorder = {"name": "nvr", "kind": "mapped", "mapping": VERKADA_MAPPING}
    text = json.loads(document()) | {"cameras": [camera], "recorders": [recorder]}
    assert configuration.parse(json.dumps(text).encode(), "gateway.json").recorders[0].mapping is not None
    recorder["mapping"] = {"plate": "plate"}
    with pytest.raises(ConfigError, match="the mapping of a recorder needs the path of the channel"):
        configuration.parse(json.dumps(text).encode(), "gateway.json")


def document(**changes: object) -> bytes:
    camera = {
        "name": "cam",
        "gate": "in",
        "direction": "entry",
        "kind": "mapped",
        "mapping": VERKADA_MAPPING,
        **changes,
    }
    return json.dumps(
        {
            "name": "gateway-a",
            "community": "a",
            "spool": "spool.db",
            "token_file": "token",
            "servers": ["http://127.0.0.1:1"],
            "cameras": [camera | changes],
            "gates": [{"name": "in", "relay": {"url": "http://127.0.0.1:2"}}],
        }
    ).encode()


def test_try_mapping(tmp_path: Path) -> None:
    config, message = tmp_path / "gateway.json", tmp_path / "message.json"
    config.write_bytes(document())

    def run(text: str, name: str = "cam") -> tuple[int, str]:
        message.write_text(text)
        result = CliRunner().invoke(gateway, ["try-mapping", "--config", str(config), name, str(message)])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    code, output = run(json.dumps(VERKADA).replace("1234BCD", "1234 bcd"))
    [found] = json.loads(output)
    assert code == 0
    del found["event"]
    assert found == {
        "camera": "cam",
        "decided": True,
        "plate": "1234BCD",
        "written": "1234 bcd",
        "confidence": 0.963,
        "time": "2026-11-27T09:47:45.879+00:00",
        "direction": None,
        "car": None,
        "channel": "c-1",
    }
    assert run(json.dumps({"webhook_type": "motion"})) == (0, "[]\n")
    code, output = run(json.dumps({"webhook_type": "lpr", "data": {}}))
    assert (code, "nothing at the path 'data.license_plate_number' of the plate" in output) == (1, True)
    code, output = run("junk")
    assert (code, output.count("\n")) == (1, 1)
    code, output = run("{}", "nobody")
    assert (code, "no sensor's space has the name 'nobody'" in output) == (2, True)


def test_try_mapping_takes_sensors(tmp_path: Path) -> None:
    config, message = tmp_path / "gateway.json", tmp_path / "message.json"
    mapping = {"state": "object.parkingStatus", "occupied": ["BUSY"], "free": ["FREE"]}
    sensor = {"dev_eui": "0004A30B001C0530", "kind": "mapped", "space": "a-01", "mapping": mapping}
    config.write_bytes(json.dumps({**json.loads(document()), "mqtt": {}, "sensors": [sensor]}).encode())

    def run(device: str, word: str) -> tuple[int, str]:
        message.write_text(json.dumps({"deviceInfo": {"devEui": device}, "object": {"parkingStatus": word}}))
        result = CliRunner().invoke(gateway, ["try-mapping", "--config", str(config), "a-01", str(message)])
        return result.exit_code, result.output

    code, output = run("0004a30b001c0530", "BUSY")
    assert (code, json.loads(output)) == (0, {"space": "a-01", "occupied": True, "message": "state"})
    code, output = run("0004a30b001c0530", "DIZZY")
    assert (code, "'DIZZY' at the path 'object.parkingStatus' means neither" in output) == (1, True)
    code, output = run("0004a30b001c0531", "BUSY")
    assert (code, "not from 0004a30b001c0530" in output) == (1, True)


def test_a_message_is_told_from_its_repetition_and_its_plates_from_each_other() -> None:
    first, again = reads(LILIN_MAPPING, LILIN), reads(LILIN_MAPPING, LILIN)
    assert [one.event_id for one in first] == [one.event_id for one in again]
    assert first[0].event_id != first[1].event_id
    better = {**VERKADA, "data": {**VERKADA["data"], "license_plate_number": "1234BCE"}}  # type: ignore[dict-item]
    assert reads(VERKADA_MAPPING, VERKADA)[0].event_id != reads(VERKADA_MAPPING, better)[0].event_id


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (VERKADA_MAPPING, "{"),
        (VERKADA_MAPPING, AXXON),
        (AXXON_MAPPING, json.dumps(VERKADA)),
        (AXXON_MAPPING, AXXON.replace("plate=", "palte=")),
        (AXXON_MAPPING, '<!DOCTYPE x [<!ENTITY a "b">]><CAR_PLATE plate="1">&a;</CAR_PLATE>'),
        (AXXON_MAPPING, "<a>" * 60 + "</a>" * 60),
        (LILIN_MAPPING, json.dumps({"INFORMATION": [{"LPR": "1234BCD"}] * 33})),
        (LILIN_MAPPING, json.dumps({"LPR_COUNT": 0})),
    ],
)
def test_what_a_mapping_does_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PoisonError) as caught:
        reads(fields, message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_text_that_is_too_long_for_a_plate_does_not_become_one() -> None:
    [found] = reads({"plate": "plate"}, {"plate": "1234BCD" + " " * 70 + "x"})
    assert found.plate is not None
    assert found.plate.endswith("?")


def test_a_read_of_the_wrong_form_is_refused() -> None:
    for body in (b"", b"{}", b'{"plate": "1234BCD"}', json.dumps(VERKADA).encode(), b'{"a":' * 5000):
        with pytest.raises(PoisonError):
            mapped.extract(body, "")


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_told(path: str) -> None:
    with suppress(MappingError):
        list(paths.every({"a": [{"b": 1}]}, path))


@given(st.sampled_from([VERKADA_MAPPING, AXXON_MAPPING, LILIN_MAPPING]), st.binary(max_size=200), st.booleans())
def test_any_bytes_give_reads_or_a_refusal(fields: dict[str, Any], body: bytes, begun: bool) -> None:
    with suppress(PoisonError):
        for one in mapped.read(msgspec.convert(fields, type=Mapping), b'{"data":' * begun + body, ""):
            mapped.parse(one)
