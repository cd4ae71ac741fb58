"""Every variant of Hikvision's message that firmwares are known to send, and what isn't one."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import plates
from parkmesh.gateway.drivers import camera_xml, hikvision
from parkmesh.gateway.drivers.types import PlateRead, PoisonError
from parkmesh.simulator import jpeg

REAL = b"""<EventNotificationAlert version="2.0" xmlns="http://www.hikvision.com/ver20/XMLSchema">
<ipAddress>10.199.27.128</ipAddress><macAddress>d4:e8:53:bc:4c:02</macAddress><channelID>1</channelID>
<dateTime>2024-01-19T11:17:19+08:00</dateTime><eventType>ANPR</eventType><eventState>active</eventState>
<ANPR><licensePlate>PECT600</licensePlate><line>2</line><direction>reverse</direction><confidenceLevel>97</confidenceLevel>
<pictureInfoList><pictureInfo><fileName>licensePlatePicture.jpg</fileName><pId>2024011911172148100XqTdZBLMwoCkk</pId></pictureInfo></pictureInfoList>
</ANPR><UUID>2024011911172144900FlERIduqg06eKsYuvLX072NugIxaHw22mHG5D5KBmWqX</UUID><isDataRetransmission>false</isDataRetransmission></EventNotificationAlert>
"""
REAL_AT = 1_705_634_239_000


def change(old: str, new: str) -> bytes:
    assert old.encode() in REAL
    return REAL.replace(old.encode(), new.encode())


def test_the_real_message() -> None:
    alert = hikvision.parse(REAL)
    assert alert == PlateRead(
        event_id="2024011911172144900FlERIduqg06eKsYuvLX072NugIxaHw22mHG5D5KBmWqX:2024011911172148100XqTdZBLMwoCkk",
        anpr=True,
        plate="PECT600",
        confidence=0.97,
        at=REAL_AT,
        direction="reverse",
        retransmitted=False,
        active=True,
        channel="1",
    )


NAMESPACE = 'xmlns="http://www.hikvision.com/ver20/XMLSchema"'


@pytest.mark.parametrize(
    "xml",
    [
        change(NAMESPACE, 'xmlns="http://www.isapi.org/ver20/XMLSchema"'),
        change(NAMESPACE, 'xmlns="http://www.std-cgi.com/ver10/XMLSchema"'),
        change(" " + NAMESPACE, ""),
        b'<?xml version="1.0" encoding="UTF-8"?>\n' + REAL,
        REAL.replace(b"<", b"<hik:").replace(b"<hik:/", b"</hik:").replace(b"xmlns=", b"xmlns:hik="),
        # prefixed, and the prefix never declared
        REAL.replace(b"<", b"<hik:").replace(b"<hik:/", b"</hik:").replace(b" " + NAMESPACE.encode(), b""),
        REAL + b"\x00\x00",
        REAL.replace(b"\n", b"\r\n"),
        change("<line>", "<!-- a comment --><line>"),
    ],
    ids=["isapi", "std-cgi", "none", "declared", "prefixed", "undeclared", "padded", "crlf", "comment"],
)
def test_dialects_say_the_same(xml: bytes) -> None:
    assert hikvision.parse(xml) == hikvision.parse(REAL)


DECLARED = '<?xml version="1.0" encoding="UTF-8"?>\n'


def named(channel: str, *, declaration: str = DECLARED) -> str:
    """Return the real message with a channel's name, as text."""
    return declaration + REAL.decode().replace("<ANPR>", f"<channelName>{channel}</channelName><ANPR>", 1)


@pytest.mark.parametrize(
    "xml",
    [
        named("Cámara portón").encode("latin-1"),
        named("Cámara portón", declaration="").encode("latin-1"),
        named("Portão · saída €").encode("cp1252"),
        named("Cámara portón").encode()[:-1].replace("á".encode(), b"\xc3"),  # cut in the middle of a letter
        named("Cámara portón", declaration='<?xml version="1.0" encoding="ISO-8859-1"?>').encode("latin-1"),
        named("Porte nº 1", declaration='<?xml version="1.0" encoding="no-such"?>').encode(),
        named("Porte nº 1", declaration="<?xml version=1.0 encoding=UTF-8?>").encode("latin-1"),
        named("Bloque A & B").encode(),
        named("A&B;&copy;&#1;&#xD800;&amp;&#38;").encode(),
        named("gate\x00\x01\x1b[0m").encode(),
        named("entry < 3 & <exit").encode(),
        named("大门", declaration='<?xml version="1.0" encoding="GB2312"?>').encode("gb2312"),
        named("Gate", declaration='<?xml version="1.0" encoding="GBK"?>').encode("gbk"),
        named("大门").encode("gb2312"),
        named("Cámara & portón", declaration='<?xml version="1.0" encoding="UTF-16"?>').encode("utf-16"),
        named("大门").encode("utf-16"),
        named("大门").encode("utf-16-le"),
        named("大门").encode("utf-16-be"),
        b"\xfe\xff" + named("大门\n").encode("utf-16-be") + b"\x00\x00",
        # prefixed, and the prefix never declared
        named("Cámara", declaration="").encode("latin-1").replace(b"<", b"<hik:").replace(b"<hik:/", b"</hik:"),
    ],
)  # fmt: skip
def test_the_plate_counts_and_not_how_the_channel_s_name_is_written(xml: bytes) -> None:
    assert hikvision.parse(xml) == hikvision.parse(REAL)
    # The same message as a camera posts it: bare, and as a part with pictures.
    part = ('Content-Disposition: form-data; name="anpr.xml"|Content-Type: application/xml', xml)
    for end in (b"\r\n", b"\n"):
        found = hikvision.extract(multipart(part, PICTURE, end=end), KIND)
        assert hikvision.parse(found) == hikvision.parse(REAL)
    assert hikvision.parse(hikvision.extract(xml, "application/xml")) == hikvision.parse(REAL)


@pytest.mark.parametrize(
    "broken", [b"12\xff4BCD", b"12\x014BCD", b"12&#1;4BCD", b"1234BC\xd1", b"12&4BCD", b"1234&x;BCD"]
)
def test_what_is_unreadable_in_a_plate_does_not_vanish_from_it(broken: bytes) -> None:
    plate = hikvision.parse(REAL.replace(b"PECT600", broken)).plate
    assert plate is not None
    assert plates.normalise(plate) is None


@given(st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes_never_do_more_than_make_a_message_poison(flips: list[tuple[int, int]]) -> None:
    xml = bytearray(REAL)
    for place, byte in flips:
        xml[place] = byte
    with suppress(PoisonError):
        hikvision.parse(bytes(xml))


def test_a_repetition_in_utf_16_without_ids_is_the_same_event() -> None:
    bare = "<EventNotificationAlert><eventType>ANPR</eventType>{}</EventNotificationAlert>"
    flag = "<isDataRetransmission>{}</isDataRetransmission>"
    first, again = (bare.format(flag.format(value)).encode("utf-16") for value in ("false", "true"))
    assert hikvision.parse(first).event_id == hikvision.parse(again).event_id


def test_many_names_without_an_end_cost_little() -> None:
    xml = (b"<EventNotificationAlert>" + b"<channelName>&" * 18_000)[: camera_xml.MAX_XML]
    started = time.perf_counter()
    with pytest.raises(PoisonError):
        hikvision.parse(xml)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("97", 0.97),
        ("97.0", 0.97),
        ("97.53", 0.9753),
        ("0.97", 0.97),
        ("1.0", 1.0),
        ("1", 0.01),
        ("0", 0.0),
        ("100", 1.0),
        ("101", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("high", None),
        ("", None),
    ],
)
def test_confidence(text: str, confidence: float | None) -> None:
    alert = hikvision.parse(change("<confidenceLevel>97<", f"<confidenceLevel>{text}<"))
    assert alert.confidence == (None if confidence is None else pytest.approx(confidence))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2024-01-19T11:17:19+08:00", REAL_AT),
        ("2024-01-19T03:17:19Z", REAL_AT),
        ("2024-01-19T03:17:19.250Z", REAL_AT + 250),
        ("2024-01-19T03:17:19", REAL_AT),
        ("1970-01-01T00:00:00+08:00", None),  # before 1970 in UTC
        ("19/01/2024", None),
        ("", None),
    ],
)
def test_device_time(text: str, at: int | None) -> None:
    assert hikvision.parse(change("2024-01-19T11:17:19+08:00", text)).at == at


def test_missing_blocks() -> None:
    bare = b"<EventNotificationAlert><eventType>ANPR</eventType></EventNotificationAlert>"
    alert = hikvision.parse(bare)
    assert (alert.anpr, alert.plate, alert.confidence, alert.at, alert.retransmitted) == (True, None, None, None, False)
    assert alert.event_id.startswith("sha256:")


def test_the_block_without_the_event_type() -> None:
    assert hikvision.parse(change("<eventType>ANPR</eventType>", "")).anpr


@pytest.mark.parametrize("kind", ["VMD", "heartBeat", "videoloss"])
def test_other_events_are_not_plates(kind: str) -> None:
    xml = (
        f"<EventNotificationAlert><eventType>{kind}</eventType><eventState>active</eventState></EventNotificationAlert>"
    )
    assert not hikvision.parse(xml.encode()).anpr


def test_an_inactive_event() -> None:
    assert not hikvision.parse(change("<eventState>active<", "<eventState>inactive<")).active


def test_a_retransmission_without_ids_is_the_same_event() -> None:
    first = change("<UUID>2024011911172144900FlERIduqg06eKsYuvLX072NugIxaHw22mHG5D5KBmWqX</UUID>", "").replace(
        b"<pId>2024011911172148100XqTdZBLMwoCkk</pId>", b""
    )
    again = first.replace(b"sion>false<", b"sion>true<")
    assert hikvision.parse(first).event_id == hikvision.parse(again).event_id
    assert hikvision.parse(again).retransmitted
    other = first.replace(b"PECT600", b"PECT601")
    assert hikvision.parse(first).event_id != hikvision.parse(other).event_id


@pytest.mark.parametrize(
    "xml",
    [
        b"",
        b"<",
        b"not xml",
        b"<html><body>502</body></html>",
        REAL[:-30],
        b'<!DOCTYPE x [<!ENTITY a "b">]><EventNotificationAlert>&a;</EventNotificationAlert>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><EventNotificationAlert/>',
        b"<EventNotificationAlert>" + b"x" * camera_xml.MAX_XML + b"</EventNotificationAlert>",
        b"<Event>\xff\xfe</Event>",
        REAL.replace(b"<line>", b"<li\xf1e>"),
        '<!DOCTYPE x [<!ENTITY a "b">]><EventNotificationAlert>&a;</EventNotificationAlert>'.encode("utf-16"),
        # The mark in front and the broken byte behind keep nothing from being refused for its entities.
        b'\x01<!DOCTYPE x [<!ENTITY a "b">]><EventNotificationAlert>&a;\xff</EventNotificationAlert>',
        b'<?xml version="1.0" encoding="GB2312"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><EventNotificationAlert/>',
        b'<EventNotificationAlert a:b="c"/>',
    ],
)
def test_poison(xml: bytes) -> None:
    with pytest.raises(PoisonError) as caught:
        hikvision.parse(xml)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def multipart(*parts: tuple[str, bytes], boundary: bytes = b"boundary", end: bytes = b"\r\n") -> bytes:
    body = b""
    for headers, content in parts:
        lines = [line.encode() for line in headers.split("|")]
        body += b"--" + boundary + end + end.join(lines) + end + end + content + end
    return body + b"--" + boundary + b"--" + end


PICTURE = ('Content-Disposition: form-data; name="licensePlatePicture.jpg"; filename="licensePlatePicture.jpg"|'
           "Content-Type: image/jpeg", jpeg.grey(200))  # fmt: skip
OCTETS = ('Content-Disposition: form-data; name="detectionPicture.jpg"; filename="detectionPicture.jpg"|'
          "Content-Type: application/octet-stream", jpeg.grey(10))  # fmt: skip
NAMED = ('Content-Disposition: form-data; name="anpr.xml"; filename="anpr.xml"|Content-Type: application/xml', REAL)
TEXT_XML = ('Content-Disposition: form-data; name="anpr.xml"|Content-Type: text/xml; charset="UTF-8"', REAL)
UNTYPED = ('Content-Disposition: form-data; name="event"', REAL)
LOWER = ("content-disposition: form-data; name=anpr.xml|content-type: application/xml", REAL)
KIND = "multipart/form-data; boundary=boundary"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (multipart(NAMED, PICTURE, OCTETS), KIND),
        (multipart(PICTURE, OCTETS, NAMED), KIND),
        (multipart(TEXT_XML, PICTURE), 'multipart/form-data; boundary="boundary"'),
        (multipart(UNTYPED, OCTETS), KIND),
        (multipart(LOWER), "multipart/mixed; charset=utf-8; BOUNDARY=boundary"),
        (multipart(NAMED, end=b"\n"), KIND),
        (multipart(NAMED, PICTURE), "multipart/form-data"),  # the parameter forgotten
        (multipart(NAMED)[: -len(b"--boundary--\r\n")], KIND),  # the end forgotten
        (b"preamble\r\n" + multipart(NAMED), KIND),
        (REAL, "application/xml"),
        (REAL, "text/html"),
        (b"\xef\xbb\xbf" + REAL, "application/xml"),
        (b"\r\n" + REAL, ""),
    ],
)
def test_the_xml_is_found_in_the_body(body: bytes, content_type: str) -> None:
    assert hikvision.parse(hikvision.extract(body, content_type)) == hikvision.parse(REAL)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", KIND),
        (b"  \r\n", KIND),
        (multipart(PICTURE), KIND),
        (b'{"plate": "1234BCD"}', "application/json"),
        (jpeg.grey(1), "image/jpeg"),
        (multipart(NAMED), "multipart/form-data; boundary=other"),
        (b"--boundary\r\n", KIND),
        (b"\x00" * 1000, KIND),
    ],
)
def test_a_body_without_xml_is_poison(body: bytes, content_type: str) -> None:
    with pytest.raises(PoisonError):
        hikvision.parse(hikvision.extract(body, content_type))
