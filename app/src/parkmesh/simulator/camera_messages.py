"""The messages of plate cameras, as each brand posts them; sources are named in the gateway's drivers."""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC

from parkmesh.gateway.config import CameraKind
from parkmesh.simulator import camera, jpeg
from parkmesh.simulator.camera import Shot

Message = tuple[bytes, str]
"""A body and its Content-Type."""


def message(kind: CameraKind, event: Shot, channel: str) -> Message:
    """Return what a camera of this kind posts of an event; ``channel`` is the camera's name for itself or at its
    recorder."""
    return _MESSAGES[kind](event, channel)


def streamed(kind: CameraKind, event: Shot, channel: str) -> bytes:
    """Return what a camera of this kind that can't post sends of an event on its stream; ``channel`` as for
    ``message``."""
    if kind == "hikvision":
        return camera.xml(event).replace(b"<channelID>1<", f"<channelID>{channel or 1}<".encode())
    data = json.dumps(_dahua_event(event), indent=3)
    return f"Code=TrafficJunction;action=Pulse;index={channel or 0};data={data}".encode()


def _millis(event: Shot) -> int:
    return int(event.moment.timestamp() * 1000)


def _picture() -> str:
    return base64.b64encode(jpeg.grey(90) * 20).decode()


def _json(document: object) -> Message:
    return json.dumps(document).encode(), "application/json"


def _hikvision(event: Shot, channel: str) -> Message:
    body, content_type = camera.multipart(event)
    number = channel if channel.isdigit() else "1"
    return body.replace(b"<channelID>1<", f"<channelID>{number}<".encode()), content_type


def _plate_recognizer(event: Shot, channel: str) -> Message:
    filename = f"{channel}_screenshots/{event.moment:%y-%m-%d/%H-%M-%S.%f}.jpg"
    plate, score = event.plate.replace(" ", "").lower(), event.confidence / 100
    result = {
        "box": {"xmin": 460, "ymin": 57, "xmax": 557, "ymax": 82},
        "plate": plate,
        "region": {"code": "es", "score": 0.413},
        "score": score,
        "candidates": [{"plate": plate, "score": score}],
        "dscore": 0.84,
        "vehicle": {"score": 0.6, "type": "Sedan", "box": {"xmin": 300, "ymin": 10, "xmax": 700, "ymax": 300}},
        "direction": "",
        "source_url": "rtsp://192.0.2.10/stream",
        "position_sec": 4,
    }
    document = {
        "hook": {"target": "http://gateway", "id": channel, "event": "recognition", "filename": filename},
        "data": {
            "camera_id": channel,
            "filename": filename,
            "timestamp": event.moment.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "timestamp_local": event.moment.isoformat(" "),
            "results": [result],
        },
    }
    return camera.form(
        ('name="json"', "application/json", json.dumps(document).encode()),
        ('name="upload"; filename="picture.jpg"', "image/jpeg", jpeg.grey(90)),
    )


def _milesight(event: Shot, channel: str) -> Message:
    return _json(
        {
            "event": "License Plate Recognition",
            "device": channel,
            "time": f"{event.moment:%Y-%m-%d %H:%M:%S}",
            "time_msec": event.moment.replace(tzinfo=None).isoformat(" ", "milliseconds"),
            "plate": event.plate,
            "type": "Visitor",
            "speed": "-",
            "direction": "Approach",
            "detection_region": 1,
            "region": "ESP",
            "confidence": f"{event.confidence / 100:.2f}",
            "vehicle_type": "Car",
            "plate_image": _picture(),
            "full_image": _picture(),
        }
    )


def _axis_lpv(event: Shot, channel: str) -> Message:
    document = {
        "packetCounter": event.picture_id[-8:],
        "capture_timestamp": str(_millis(event)),
        "frame_timestamp": "0",
        "plateText": event.plate,
        "plateUTF8": event.plate,
        "plateASCII": event.plate,
        "plateCountry": "ESP",
        "plateConfidence": f"{event.confidence / 100:.6f}",
        "carState": "new",
        "carMoveDirection": "unknown",
        "carID": event.uuid[-12:],
        "imageType": "plate",
        "camera_info": {"SerialNumber": channel, "ProdShortName": "AXIS P1465-LE-3"},
    }
    return camera.form(
        ('name="event"; filename="event.json"', "application/json", json.dumps(document).encode()),
        ('name="image"; filename="image.jpg"', "image/jpeg", jpeg.grey(200)),
    )


def _rekor_scout(event: Shot, channel: str) -> Message:
    uuid = f"{event.uuid[:40]}-{_millis(event)}"
    return _json(
        {
            "version": 1,
            "data_type": "alpr_group",
            "epoch_start": _millis(event),
            "epoch_end": _millis(event) + 900,
            "agent_uid": "simulated",
            "site_id": "simulated",
            "camera_id": int(channel) if channel.isdigit() else channel,
            "uuids": [uuid],
            "best_uuid": uuid,
            "best_plate_number": event.plate.replace(" ", ""),
            "best_confidence": float(event.confidence),
            "best_plate": {"plate": event.plate.replace(" ", ""), "confidence": float(event.confidence)},
            "candidates": [],
        }
    )


def _dahua_itsapi(event: Shot, channel: str) -> Message:
    return _json(
        {
            "Picture": {
                "Plate": {
                    "PlateNumber": event.plate,
                    "Confidence": event.confidence,
                    "IsExist": True,
                    "Region": "ESP",
                    "Channel": 0,
                    "UploadNum": 1,
                },
                "SnapInfo": {
                    "AccurateTime": event.moment.replace(tzinfo=None).isoformat(" ", "milliseconds"),
                    "SnapTime": f"{event.moment:%Y-%m-%d %H:%M:%S}",
                    "DeviceID": channel,
                    "Direction": "Obverse",
                    "TriggerSource": "Video",
                },
                "NormalPic": {"PicName": "full.jpg", "Content": _picture()},
                "CutoutPic": {"PicName": "plate.jpg", "Content": _picture()},
            }
        }
    )


def _dahua_event(event: Shot) -> dict[str, object]:
    seconds = int(event.moment.timestamp())
    offset = event.moment.utcoffset()
    plate = event.plate.replace(" ", "")
    return {
        "Code": "TrafficJunction",
        "CommInfo": {"SnapCategory": "Motor"},
        "CountInGroup": 1,
        "EventID": seconds % 100_000,
        "GroupID": int(event.moment.timestamp() * 1000) % 2**31,
        "IndexInGroup": 1,
        "JunctionDirection": "Obverse",
        "Lane": 1,
        "Object": {"Confidence": event.confidence, "ObjectType": "Plate", "Text": plate},
        "RealUTC": seconds,
        "TrafficCar": {"DrivingDirection": ["Approach", "", ""], "PlateNumber": plate, "Speed": 0},
        "UTC": seconds + int(offset.total_seconds() if offset else 0),
        "UTCMS": event.moment.microsecond // 1000,
        "Vehicle": {"Category": "SaloonCar", "Text": "Seat"},
    }


def _dahua_events(event: Shot, channel: str) -> Message:
    """What the gateway makes of an event on the stream."""
    number = channel if channel.isdigit() else "0"
    return _json({"Code": "TrafficJunction", "Action": "Pulse", "Index": number, "Data": _dahua_event(event)})


def _frigate(event: Shot, channel: str) -> Message:
    """What comes on the topic ``frigate/tracked_object_update``."""
    seconds = event.moment.timestamp()
    return _json(
        {
            "type": "lpr",
            "id": f"{seconds:.6f}-{event.uuid[-6:]}",
            "name": None,
            "plate": event.plate.replace(" ", ""),
            "score": event.confidence / 100,
            "camera": channel,
            "timestamp": seconds,
        }
    )


def _mapped(event: Shot, channel: str) -> Message:
    """A camera whose installer wrote the message's template."""
    return _json(
        {
            "plate": event.plate,
            "confidence": event.confidence,
            "time": event.moment.isoformat(),
            "camera": channel,
            "event": event.picture_id,
        }
    )


_MESSAGES: Mapping[CameraKind, Callable[[Shot, str], Message]] = {
    "axis_lpv": _axis_lpv,
    "dahua_events": _dahua_events,
    "dahua_itsapi": _dahua_itsapi,
    "frigate": _frigate,
    "hikvision": _hikvision,
    "mapped": _mapped,
    "milesight": _milesight,
    "plate_recognizer": _plate_recognizer,
    "rekor_scout": _rekor_scout,
}
