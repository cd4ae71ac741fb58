"""A Hikvision plate camera's message, as the real one posts it: multipart with anpr.xml and two pictures."""

import secrets
from datetime import datetime
from xml.sax.saxutils import escape

from msgspec import Struct

from parkmesh.simulator import jpeg


class Shot(Struct, frozen=True):
    """One read. ``moment`` has a zone; ``uuid`` and ``picture_id`` name the event (the same again: a repetition)."""

    plate: str
    moment: datetime
    uuid: str
    picture_id: str
    confidence: int = 97
    direction: str = "forward"
    retransmission: bool = False
    address: str = "192.0.2.10"
    mac: str = "d4:e8:53:bc:4c:02"


def shot(plate: str, moment: datetime, *, confidence: int = 97, retransmission: bool = False) -> Shot:
    """Make a new event with ids like the camera's: its time and a random tail."""
    stamp = moment.strftime("%Y%m%d%H%M%S") + f"{moment.microsecond // 1000:03d}"
    return Shot(
        plate=plate,
        moment=moment,
        uuid=f"{stamp}00{secrets.token_hex(22)}",
        picture_id=f"{stamp}00{secrets.token_hex(8)}",
        confidence=confidence,
        retransmission=retransmission,
    )


def xml(event: Shot) -> bytes:
    """Return the event's ``anpr.xml``."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<EventNotificationAlert version="2.0" xmlns="http://www.hikvision.com/ver20/XMLSchema">
<ipAddress>{escape(event.address)}</ipAddress>
<protocol>HTTP</protocol>
<macAddress>{escape(event.mac)}</macAddress>
<channelID>1</channelID>
<dateTime>{event.moment.isoformat(timespec="milliseconds")}</dateTime>
<activePostCount>1</activePostCount>
<eventType>ANPR</eventType>
<eventState>active</eventState>
<eventDescription>ANPR</eventDescription>
<channelName>Gate</channelName>
<ANPR>
<licensePlate>{escape(event.plate)}</licensePlate>
<line>1</line>
<direction>{escape(event.direction)}</direction>
<confidenceLevel>{event.confidence}</confidenceLevel>
<plateType>unknown</plateType>
<pictureInfoList>
<pictureInfo>
<fileName>licensePlatePicture.jpg</fileName>
<type>licensePlatePicture</type>
<pId>{escape(event.picture_id)}</pId>
</pictureInfo>
<pictureInfo>
<fileName>detectionPicture.jpg</fileName>
<type>detectionPicture</type>
<pId>{escape(event.picture_id)}1</pId>
</pictureInfo>
</pictureInfoList>
</ANPR>
<UUID>{escape(event.uuid)}</UUID>
<isDataRetransmission>{str(event.retransmission).lower()}</isDataRetransmission>
</EventNotificationAlert>
""".encode()


def multipart(event: Shot) -> tuple[bytes, str]:
    """Return the body of the camera's POST and its Content-Type."""
    files = (
        ("anpr.xml", "application/xml", xml(event)),
        ("licensePlatePicture.jpg", "image/jpeg", jpeg.grey(200)),
        ("detectionPicture.jpg", "image/jpeg", jpeg.grey(90)),
    )
    return form(*((f'name="{name}"; filename="{name}"', kind, content) for name, kind, content in files))


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """Return a multipart body and its Content-Type; each part has its names, its type and its content."""
    boundary = "---------------------------7e13971310878"
    body = b""
    for names, content_type, content in parts:
        head = (
            f"--{boundary}\r\n"
            f"Content-Disposition: form-data; {names}\r\n"
            f"Content-Type: {content_type}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        body += head.encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
