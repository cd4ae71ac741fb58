"""A tiny picture: one grey square as a valid baseline JPEG, made here so that no picture of a real car is shipped."""

import struct


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def grey(level: int) -> bytes:
    """Return an 8 by 8 pixel JPEG of one grey, ``level`` 0 (black) to 255 (white)."""
    if not 0 <= level <= 255:
        raise ValueError(f"a grey level is 0 to 255, not {level}")
    # One block: its mean is all there is. With a quantiser of 8 the coefficient is the level itself, 128 being zero.
    mean = level - 128
    size = abs(mean).bit_length()
    one_code = bytes([1, *[0] * 15])  # a Huffman table with a single code, '0'
    bits = "0" + (f"{mean if mean > 0 else mean + (1 << size) - 1:0{size}b}" if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\x00")
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
            _segment(0xDB, b"\x00" + bytes([8] * 64)),
            _segment(0xC0, struct.pack(">BHHBBBB", 8, 8, 8, 1, 1, 0x11, 0)),
            _segment(0xC4, b"\x00" + one_code + bytes([size])),
            _segment(0xC4, b"\x10" + one_code + b"\x00"),
            _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
            scan,
            b"\xff\xd9",
        )
    )
