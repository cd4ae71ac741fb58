"""The plate cameras beside Hikvision's XML: messages in the forms of their makers' documents, and what becomes of them.

Every plate, serial and address is invented.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import plates
from parkmesh.gateway import drivers
from parkmesh.gateway.config import CameraKind
from parkmesh.gateway.drivers import camera_json, hikvision
from parkmesh.gateway.drivers.types import PlateRead, PoisonError
from parkmesh.simulator import camera, camera_messages

KINDS: tuple[CameraKind, ...] = tuple(kind for kind in get_args(CameraKind) if kind != "mapped")
"""Those whose format is known; for the others see test_mapping.py."""
PICTURE = "/9j/" + "A" * 50_000

STREAM = {
    "hook": {"target": "http://192.0.2.20:8100", "id": "camera-1", "event": "recognition"},
    "data": {
        "camera_id": "camera-1",
        "filename": "camera-1_screenshots/26-11-27/05-56-13.606935.jpg",
        "timestamp": "2026-11-27T05:56:13.606935Z",
        "timestamp_local": "2026-11-27 06:56:13.606935+01:00",
        "results": [
            {
                "box": {"xmin": 460, "ymin": 57, "xmax": 557, "ymax": 82},
                "plate": "1234bcd",
                "region": {"code": "es", "score": 0.413},
                "score": 0.839,
                "candidates": [{"plate": "1234bcd", "score": 0.839}, {"plate": "i234bcd", "score": 0.81}],
                "dscore": 0.441,
                "direction": "",
                "source_url": "rtsp://192.0.2.10/stream",
            }
        ],
    },
}
MILESIGHT = {
    "event": "License Plate Recognition",
    "device": "LPR-IN-01",
    "time": "2026-11-27 06:19:57",
    "time_msec": "2026-11-27 06:19:57.267",
    "plate": "1234BCD",
    "type": "Visitor",
    "speed": "-",
    "direction": "Approach",
    "confidence": "0.98",
    "Vehicle Brand": "Seat",
    "plate_image": PICTURE,
    "full_image": PICTURE,
}
AXIS = {
    "packetCounter": "11890300",
    "capture_timestamp": "1795772000252",
    "datetime": "20261127 143320252",
    "plateText": "1234BCD",
    "plateUTF8": "1234BCD",
    "plateConfidence": "0.719034",
    "carState": "update",
    "carMoveDirection": "in",
    "carID": "1144696",
    "camera_info": {"SerialNumber": "ACCC00000001", "ProdShortName": "AXIS P1465-LE-3"},
}
REKOR = {
    "version": 1,
    "data_type": "alpr_group",
    "epoch_start": 1795772000789,
    "epoch_end": 1795772002046,
    "camera_id": 1414799424,
    "best_uuid": "AGENT-1414799424-1795772000789",
    "best_plate_number": "1234BCD",
    "best_confidence": 92.07,
    "best_plate": {"plate": "1234BCD", "confidence": 92.07},
    "candidates": [{"plate": "1234BCD", "confidence": 92.07}, {"plate": "I234BCD", "confidence": 80.57}],
}
DEVICE = "00000000-0000-4000-8000-000000000001"
DAHUA = {
    "Picture": {
        "Plate": {"PlateNumber": "1234BCD", "Confidence": 204, "IsExist": True, "Region": "ESP", "UploadNum": 1},
        "SnapInfo": {
            "AccurateTime": "2026-11-27 13:24:56.123",
            "SnapTime": "2026-11-27 13:24:56",
            "TimeZone": 1,
            "DeviceID": DEVICE,
            "Direction": "Obverse",
        },
        "NormalPic": {"PicName": "full.jpg", "Content": PICTURE},
    }
}
DAHUA_EVENT = {
    "Code": "TrafficJunction",
    "Action": "Pulse",
    "Index": "0",
    "Data": {
        "Code": "TrafficJunction",
        "CommInfo": {"SnapCategory": "Motor"},
        "CountInGroup": 1,
        "GroupID": 175706653,
        "IndexInGroup": 1,
        "JunctionDirection": "Obverse",
        "Lane": 2,
        "Object": {"Confidence": 204, "ObjectType": "Plate", "Text": "1234BCD"},
        "RealUTC": 1706600095,
        "TrafficCar": {"DrivingDirection": ["Approach", "", ""], "PlateNumber": "1234BCD", "PlateColor": "White"},
        "UTC": 1706625295,
        "UTCMS": 250,
        "Picture": PICTURE,
    },
}
FRIGATE = {
    "type": "lpr",
    "id": "1795772000.475377-mxklsc",
    "name": None,
    "plate": "1234BCD",
    "score": 0.95,
    "camera": "driveway_cam",
    "timestamp": 1795772003.748393,
}
HIKVISION = {
    "ipAddress": "192.0.2.10",
    "channelID": 33,
    "dateTime": "2026-11-27T14:51:24+01:00",
    "activePostCount": 1,
    "eventType": "ANPR",
    "eventState": "active",
    "channelName": "Cámara portón",
    "ANPR": {"licensePlate": "1234BCD", "direction": "forward", "confidenceLevel": 93, "line": 1},
    "UUID": "a-uuid",
}
REAL: dict[CameraKind, dict[str, Any]] = {
    "plate_recognizer": STREAM,
    "milesight": MILESIGHT,
    "axis_lpv": AXIS,
    "rekor_scout": REKOR,
    "dahua_itsapi": DAHUA,
    "dahua_events": DAHUA_EVENT,
    "frigate": FRIGATE,
    "hikvision": HIKVISION,
}


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def reads(kind: CameraKind, body: bytes, content_type: str = "application/json") -> list[PlateRead]:
    return [drivers.CAMERAS[kind].parse(message) for message in drivers.messages(kind, body, content_type)]


def read(kind: CameraKind, document: object) -> PlateRead:
    [found] = reads(kind, json.dumps(document).encode())
    return found


def test_every_kind_has_a_real_message_and_a_simulated_one() -> None:
    assert set(REAL) == set(KINDS) == set(drivers.CAMERAS) - {"mapped"}


@pytest.mark.parametrize(
    ("kind", "confidence", "at", "direction", "car", "channel"),
    [
        ("plate_recognizer", 0.839, ms(2026, 11, 27, 5, 56, 13, 606_000), None, None, "camera-1"),
        ("milesight", 0.98, ms(2026, 11, 27, 6, 19, 57, 267_000), "Approach", None, "LPR-IN-01"),
        ("axis_lpv", 0.719034, 1795772000252, "in", "1144696", "ACCC00000001"),
        ("rekor_scout", 0.9207, 1795772000789, None, None, "1414799424"),
        ("dahua_itsapi", 0.8, ms(2026, 11, 27, 13, 24, 56, 123_000), "Obverse", None, DEVICE),
        ("dahua_events", 0.8, ms(2024, 1, 30, 7, 34, 55, 250_000), "Approach", "175706653", "0"),
        ("frigate", 0.95, 1795772003748, None, FRIGATE["id"], "driveway_cam"),
        ("hikvision", 0.93, ms(2026, 11, 27, 13, 51, 24), "forward", None, "33"),
    ],
)  # fmt: skip
def test_a_real_message(
    kind: CameraKind, confidence: float, at: int, direction: str | None, car: str | None, channel: str
) -> None:
    found = read(kind, REAL[kind])
    assert (plates.normalise(found.plate or ""), found.anpr, found.active) == ("1234BCD", True, True)
    assert found.confidence == pytest.approx(confidence)
    assert abs((found.at or 0) - at) <= 1
    assert (found.direction, found.car_id, found.channel) == (direction, car, channel)
    assert read(kind, REAL[kind]).event_id == found.event_id


@pytest.mark.parametrize("kind", KINDS)
def test_however_it_is_written_it_says_the_same(kind: CameraKind) -> None:
    text = json.dumps({**REAL[kind], "note": "Cámara portón"}, ensure_ascii=False)
    plain = json.dumps(REAL[kind]).encode()
    expected = msgspec.structs.replace(reads(kind, text.encode())[0], event_id="")
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    image = b"--b\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff{[\r\n"
    named = [part % (b"json", plain), part % (b'event"; filename="event.json', plain)]
    for body, content_type in [
        (text.encode("latin-1"), "application/json"),
        (text.encode("utf-16"), "application/json"),
        (text.encode("utf-16-le"), ""),
        (text.encode("utf-16-be"), ""),
        (b"\xef\xbb\xbf" + text.encode() + b"\x00\r\n", "text/plain"),
        (text.replace("Cámara", "C\x01\tm\nara").encode(), ""),
        (named[0] + image + b"--b--\r\n", "multipart/form-data; boundary=b"),
        (image + named[1], 'multipart/form-data; boundary="b"'),
        (named[0].replace(b"\r\n", b"\n") + b"--b--\n", "multipart/form-data"),
    ]:
        [found] = reads(kind, body, content_type)
        assert msgspec.structs.replace(found, event_id="") == expected


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_not_kept_and_what_was_kept_stays_as_it_is(kind: CameraKind) -> None:
    [kept] = drivers.messages(kind, json.dumps({**REAL[kind], "image": PICTURE}).encode(), "")
    assert b"AAAAAAAA" not in kept
    assert drivers.CAMERAS[kind].extract(kept, "") == kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", ["12\u00d14BCD", "12\\ud8004BCD", "12\x014BCD", "12?4BCD"])
def test_what_is_unreadable_in_a_plate_does_not_vanish_from_it(kind: CameraKind, broken: str) -> None:
    text = json.dumps(REAL[kind]).replace("1234BCD", broken).replace("1234bcd", broken)
    [found] = reads(kind, text.encode("latin-1"))
    assert found.plate is not None
    assert plates.normalise(found.plate) is None


NEEDED = (
    *("plate", "plateText", "plateUTF8", "PlateNumber", "best_plate_number", "licensePlate"),
    *("data_type", "eventType", "type", "Code"),
)
"""What a message is about, and its plate."""


def spoilt(found: Any, junk: object) -> Any:
    """Return a message with junk in the place of every value but the needed ones."""
    if isinstance(found, list):
        return [spoilt(one, junk) for one in found]
    if isinstance(found, dict):
        return {key: value if key in NEEDED else spoilt(value, junk) for key, value in found.items()}
    return junk


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [None, [], {}, "high", -1, 1e300, True, "NaN", 10**30])
def test_no_field_but_the_plate_is_worth_a_refusal(kind: CameraKind, junk: object) -> None:
    [found] = reads(kind, json.dumps(spoilt(REAL[kind], junk)).encode())
    assert plates.normalise(found.plate or "") == "1234BCD"
    assert found.confidence is None or 0 <= found.confidence <= 1
    assert found.event_id
    assert len(found.event_id) <= 190


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("milesight", {"event": "Vehicle Counting", "All-Car": 3, "region name": "1"}),
        ("axis_lpv", {**AXIS, "carState": "lost"}),
        ("rekor_scout", {"data_type": "heartbeat", "timestamp": 1}),
        ("rekor_scout", {**REKOR, "data_type": "alpr_results"}),
        ("dahua_itsapi", {"Active": True, "DeviceID": "x"}),
        ("dahua_events", {"Code": "Heartbeat"}),
        ("dahua_events", {"Code": "VideoMotion", "Action": "Start", "Index": "0", "Data": {"TrafficCar": {}}}),
        ("dahua_itsapi", {"DeviceName": "c", "DeviceModel": "m", "DeviceID": "x"}),
        ("frigate", {"type": "description", "id": "1", "description": "a car"}),
        ("hikvision", {"eventType": "heartBeat", "eventState": "active"}),
    ],
)
def test_signs_of_life_and_other_events_are_no_plates(kind: CameraKind, document: object) -> None:
    assert not read(kind, document).anpr


@pytest.mark.parametrize("plate", [{"IsExist": False, "PlateNumber": "1234BCD"}, {"PlateNumber": ""}, {}])
def test_a_car_without_a_plate(plate: dict[str, object]) -> None:
    found = read("dahua_itsapi", {"Picture": {**DAHUA["Picture"], "Plate": plate}})
    assert (found.anpr, found.plate) == (True, None)


@pytest.mark.parametrize(
    ("thing", "car", "plate", "confidence"),
    [
        ({"ObjectType": "Plate", "Text": "1234BCD", "Confidence": 90}, {}, "1234BCD", 0.9),
        ({"ObjectType": "Vehicle", "Text": "Toyota", "Confidence": 250}, {"PlateNumber": "1234BCD"}, "1234BCD", None),
        ({"ObjectType": "Plate", "Text": "", "Confidence": 0}, {}, None, None),
        ({"ObjectType": "Plate", "Text": None}, {"PlateNumber": ""}, None, None),
    ],
)
def test_a_plate_on_the_event_stream_and_a_brand_that_is_none(
    thing: dict[str, Any], car: dict[str, Any], plate: str | None, confidence: float | None
) -> None:
    data = {"Object": thing, "TrafficCar": car, "UTC": 1706625295}
    found = read("dahua_events", {**DAHUA_EVENT, "Data": data})
    assert (found.anpr, found.plate, found.confidence, found.at) == (True, plate, confidence, 1706625295000)


def test_three_posts_of_one_car_are_one_event_and_another_car_is_another() -> None:
    again = {"Picture": {**DAHUA["Picture"], "Plate": {**DAHUA["Picture"]["Plate"], "UploadNum": 2}}}
    other = {"Picture": {**DAHUA["Picture"], "Plate": {"PlateNumber": "5678FGH"}}}
    ids = [read("dahua_itsapi", document).event_id for document in (DAHUA, again, other)]
    assert ids[0] == ids[1] != ids[2]


def test_better_reads_of_one_car_are_events_of_their_own() -> None:
    events = [read("axis_lpv", {**AXIS, "carState": state, "packetCounter": count}) for state, count in
              [("new", "1"), ("update", "2"), ("update", "3")]]  # fmt: skip
    assert len({event.event_id for event in events}) == 3
    assert {event.car_id for event in events} == {"1144696"}


def test_several_plates_in_one_post_are_several_reads_the_surest_first() -> None:
    front = STREAM["data"]["results"][0]  # type: ignore[index]
    behind = {**front, "plate": "5678fgh", "dscore": 0.9}
    post = {**STREAM, "data": {**STREAM["data"], "results": [front, behind]}}  # type: ignore[dict-item]
    found = reads("plate_recognizer", json.dumps(post).encode())
    assert [one.plate for one in found] == ["5678fgh", "1234bcd"]
    assert len({one.event_id for one in found}) == 2
    empty = {**STREAM, "data": {**STREAM["data"], "results": []}}  # type: ignore[dict-item]
    assert reads("plate_recognizer", json.dumps(empty).encode()) == []


def test_a_repetition_without_ids_is_the_same_event() -> None:
    bare = {name: value for name, value in HIKVISION.items() if name != "UUID"}
    first, again = (read("hikvision", {**bare, "isDataRetransmission": flag}) for flag in (False, True))
    assert first.event_id == again.event_id
    assert (first.retransmitted, again.retransmitted) == (False, True)
    assert read("hikvision", {"EventNotificationAlert": HIKVISION}).plate == "1234BCD"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b"[1, 2]", b'{"data": 1}', b"junk", b"\xff\xfe{", b"[" * 100_000, b'{"a":' * 40 + b"1"]
)
def test_what_is_no_message_is_refused_in_one_line(kind: CameraKind, body: bytes) -> None:
    with pytest.raises(PoisonError) as caught:
        reads(kind, body)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_message_that_is_too_large_without_its_pictures() -> None:
    with pytest.raises(PoisonError, match="bytes without its pictures"):
        camera_json.kept(json.dumps({"x": ["a" * 1000] * 1000}).encode())


@given(st.sampled_from(KINDS), st.binary(max_size=200), st.sampled_from([b"", b"{", b'{"data":', b"\xff\xfe{\x00"]))
def test_any_bytes_give_a_read_or_a_refusal(kind: CameraKind, body: bytes, start: bytes) -> None:
    with suppress(PoisonError):
        reads(kind, start + body)
    with suppress(PoisonError):
        drivers.CAMERAS[kind].parse(start + body)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=6,
)


@given(st.data(), st.sampled_from(KINDS))
def test_any_value_in_any_place_gives_a_read_or_a_refusal(data: st.DataObject, kind: CameraKind) -> None:
    document = json.loads(json.dumps(REAL[kind]))
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(_VALUES)
    with suppress(PoisonError):
        for found in reads(kind, json.dumps(document).encode("utf-8", "replace")):
            assert found.confidence is None or 0 <= found.confidence <= 1
            assert found.at is None or 0 <= found.at < 2**53
            assert len(found.event_id) <= 190
            msgspec.json.encode(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_simulator_speaks_it(kind: CameraKind) -> None:
    moment = datetime(2026, 11, 27, 14, 51, 24, 250_000, tzinfo=UTC)
    shot = camera.shot("1234 BCD", moment, confidence=91)
    [found] = reads(kind, *camera_messages.message(kind, shot, "7"))
    assert (plates.normalise(found.plate or ""), found.anpr, found.channel) == ("1234BCD", True, "7")
    assert found.confidence == pytest.approx(0.91)
    assert abs((found.at or 0) - ms(2026, 11, 27, 14, 51, 24, 250_000)) <= 1
    again = camera.shot("1234 BCD", moment.replace(second=25), confidence=91)
    assert reads(kind, *camera_messages.message(kind, again, "7"))[0].event_id != found.event_id


def test_hikvisions_xml_and_json_say_the_same() -> None:
    xml = camera.xml(camera.shot("1234BCD", datetime(2026, 11, 27, tzinfo=UTC)))
    found = hikvision.parse(xml)
    document = {
        "EventNotificationAlert": {
            "channelID": 1,
            "dateTime": "2026-11-27T00:00:00+00:00",
            "eventType": "ANPR",
            "ANPR": {"licensePlate": "1234BCD", "direction": "forward", "confidenceLevel": 97,
                     "pictureInfoList": [{"pId": found.event_id.partition(":")[2]}]},
            "UUID": found.event_id.partition(":")[0],
        }
    }  # fmt: skip
    assert read("hikvision", document) == found
