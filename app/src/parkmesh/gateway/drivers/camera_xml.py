"""XML as cameras write it, made into XML that a parser takes, and parsed: pure.

Firmware declares UTF-8 and copies in whatever a person typed as the channel's name: Latin-1, a bare ``&``, a control
character. Some write GB2312 or UTF-16. None of that is a reason to refuse the plate in the same message. What can't be
read becomes U+FFFD, in whichever element it stands, and never vanishes: a plate with an unreadable place is no plate.

Nothing here expands an entity; the result is parsed with the same protections as any other message.
"""

import re
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from parkmesh.gateway.drivers import multipart
from parkmesh.gateway.drivers.types import PoisonError

MAX_XML = 256 * 1024

_ENCODINGS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5",
    "shift_jis": "shift_jis",
    "euc-kr": "euc_kr",
    "windows-1250": "cp1250",
    "windows-1251": "cp1251",
    "windows-1252": "cp1252",
    "windows-1253": "cp1253",
    "iso-8859-1": "cp1252",
    "iso-8859-2": "iso8859_2",
    "iso-8859-15": "iso8859_15",
}
"""Encodings that are believed where they are declared. Anything else is read as UTF-8."""

_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml\b[^>]{0,200}>")
_DECLARED = re.compile(rb"""\A(?:\xef\xbb\xbf)?\s*<\?xml\b[^>]{0,100}?encoding\s*=\s*["']?([A-Za-z0-9_.-]{1,40})""")
_UNREADABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"&(?:#([0-9]{1,7}|x[0-9A-Fa-f]{1,6});)?(?!(?:amp|lt|gt|quot|apos);)")
# Typed by people and read by nobody. Bounded, so that many starts without an end cost no more than one.
_TYPED = re.compile(r"(<(?:[\w.-]{1,32}:)?(channelName|deviceName)>).{0,512}?(</(?:[\w.-]{1,32}:)?\2>)", re.DOTALL)


_PREFIX = re.compile(rb"<(/?)[A-Za-z_][\w.-]*:")


def local(tag: object) -> str:
    """Return a tag's or an attribute's name without its namespace or prefix; nothing for a comment."""
    # A comment's tag is a function; it has no name.
    return tag.rpartition("}")[2].rpartition(":")[2] if isinstance(tag, str) else ""


def tree(xml: bytes) -> Element:
    """Parse a message. Raises PoisonError."""
    xml = from_utf16(xml).strip(b"\x00 \t\r\n")
    if len(xml) > MAX_XML:
        raise PoisonError(f"the XML has {len(xml)} bytes, more than {MAX_XML}")
    try:
        try:
            return _parsed(xml)
        except (ParseError, ValueError, LookupError):
            return _parsed(repaired(xml))
    except DefusedXmlException as error:
        raise PoisonError(f"the XML has a forbidden construct ({type(error).__name__})") from None
    except (ParseError, ValueError, LookupError) as error:
        raise PoisonError(f"the XML is broken: {error}") from None


def _parsed(xml: bytes) -> Element:
    try:
        return fromstring(xml, forbid_dtd=True)
    except ParseError as error:
        # Some firmware prefixes its tags and never declares the prefix.
        if "unbound prefix" not in str(error):
            raise
        return fromstring(_PREFIX.sub(rb"<\1", xml), forbid_dtd=True)


def extract(body: bytes, content_type: str) -> bytes:
    """Return the XML of a POST: the body itself, or the first part of it that is XML. Raises PoisonError."""
    if is_utf16(body):
        return body
    start = body.lstrip(b"\xef\xbb\xbf\x00 \t\r\n")
    if start.startswith(b"<"):
        return start
    for headers, content in multipart.parts(body, content_type):
        content = trimmed(content)
        if b"xml" in headers or content.startswith(b"<") or is_utf16(content):
            return content
    raise PoisonError("the multipart body has no XML part")


def is_utf16(message: bytes) -> bool:
    """Tell whether bytes begin as XML in UTF-16 does, with a byte order mark or without."""
    return message.startswith((b"\xff\xfe", b"\xfe\xff", b"<\x00", b"\x00<\x00"))


def trimmed(message: bytes) -> bytes:
    """Cut off what surrounds XML in a body or in a part of one: a mark, line ends, padding."""
    if not is_utf16(message):
        return message.strip(b"\xef\xbb\xbf\x00 \t\r\n")
    # Half of each character is a NUL: only the line end before a boundary can go.
    if message.endswith(b"\r\n"):
        return message[:-2]
    return message[:-1] if len(message) % 2 and message.endswith(b"\n") else message


def from_utf16(message: bytes) -> bytes:
    """Return UTF-16 as UTF-8 without declaration, and other bytes as they are."""
    if not is_utf16(message):
        return message
    if message.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = message.decode("utf-16", "replace")
    else:
        text = message.decode("utf-16-le" if message.startswith(b"<") else "utf-16-be", "replace")
    return _DECLARATION.sub("", text).strip("\ufeff\x00 \t\r\n\ufffd").encode("utf-8", "replace")


def repaired(xml: bytes) -> bytes:
    """Return UTF-8 without declaration of XML that a parser refused: what is readable is kept, the rest marked."""
    declared = _DECLARED.match(xml)
    encoding = _ENCODINGS.get(declared[1].decode("ascii").lower(), "utf-8") if declared else "utf-8"
    text = _DECLARATION.sub("", xml.decode(encoding, "replace"))
    text = _UNREADABLE.sub("\ufffd", _TYPED.sub(r"\1\3", text))
    return _REFERENCE.sub(_reference, text).encode()


def _reference(match: re.Match[str]) -> str:
    """Return a reference by number that XML allows as it is; escape an ``&`` that begins no reference."""
    number = match[1]
    if number is None:
        return "&amp;"
    code = int(number[1:], 16) if number.startswith("x") else int(number)
    allowed = code <= 0x10FFFF and not _UNREADABLE.match(chr(code))
    return match[0] if allowed else "\ufffd"
