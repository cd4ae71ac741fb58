"""QR codes of short texts, such as links: byte mode, error correction M, versions 1 to 9 (up to 180 bytes).

By ISO/IEC 18004. Pure: text in, rows of dark and light modules out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

Matrix = list[list[bool]]

# Of each version with error correction M: blocks of data codewords, and error correction codewords of each block.
_BLOCKS: Final = (
    ((16,), 10),
    ((28,), 16),
    ((44,), 26),
    ((32, 32), 18),
    ((43, 43), 24),
    ((27, 27, 27, 27), 16),
    ((31, 31, 31, 31), 18),
    ((38, 38, 39, 39), 22),
    ((36, 36, 36, 37, 37), 22),
)
# Centres of the alignment patterns.
_ALIGNED: Final = ((), (6, 18), (6, 22), (6, 26), (6, 30), (6, 34), (6, 22, 38), (6, 24, 42), (6, 26, 46))
_MASKS: Final[tuple[Callable[[int, int], bool], ...]] = (
    lambda row, column: (row + column) % 2 == 0,
    lambda row, column: row % 2 == 0,
    lambda row, column: column % 3 == 0,
    lambda row, column: (row + column) % 3 == 0,
    lambda row, column: (row // 2 + column // 3) % 2 == 0,
    lambda row, column: row * column % 2 + row * column % 3 == 0,
    lambda row, column: (row * column % 2 + row * column % 3) % 2 == 0,
    lambda row, column: ((row + column) % 2 + row * column % 3) % 2 == 0,
)
_BORDER: Final = 4


class QrError(ValueError):
    """The text is too long for a code."""


def matrix(text: str) -> Matrix:
    """The modules of a text's code, row by row, without the light border; raises QrError."""
    data = text.encode()
    version = next((n for n, (blocks, _) in enumerate(_BLOCKS, 1) if len(data) + 2 <= sum(blocks)), None)
    if version is None:
        raise QrError(f"a text of {len(data)} bytes doesn't fit into a QR code of 180")
    bits = [bool(byte >> bit & 1) for byte in _codewords(data, version) for bit in range(7, -1, -1)]
    drawn = [_draw(version, bits, mask) for mask in range(len(_MASKS))]
    return min(drawn, key=_penalty)


def svg(text: str) -> str:
    """A text's code as an SVG image, with its border; one unit is one module."""
    rows = matrix(text)
    size = len(rows) + 2 * _BORDER
    path = "".join(
        f"M{x + _BORDER},{y + _BORDER}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0,0h{size}v{size}H0z"/><path d="{path}"/></svg>'
    )


def _codewords(data: bytes, version: int) -> bytes:
    blocks, corrections = _BLOCKS[version - 1]
    room = sum(blocks)
    number = int.from_bytes(bytes([len(data)]) + data, "big") | 4 << 8 * (len(data) + 1)
    # Mode (4 bits), length (8 bits), data and the terminator (4 bits) fill whole bytes.
    stream = (number << 4).to_bytes(len(data) + 2, "big")
    stream += bytes((0xEC, 0x11) * room)[: room - len(stream)]
    parts, start = [], 0
    for size in blocks:
        parts.append(stream[start : start + size])
        start += size
    corrected = [_correction(part, corrections) for part in parts]
    woven = [part[index] for index in range(max(blocks)) for part in parts if index < len(part)]
    return bytes(woven + [part[index] for index in range(corrections) for part in corrected])


def _times(a: int, b: int) -> int:
    product = 0
    for bit in range(7, -1, -1):
        product = product << 1 ^ (product >> 7) * 0x11D
        product ^= (b >> bit & 1) * a
    return product


def _correction(data: bytes, degree: int) -> bytes:
    divisor, root = [0] * (degree - 1) + [1], 1
    for _ in range(degree):
        for index in range(degree):
            divisor[index] = _times(divisor[index], root) ^ (divisor[index + 1] if index + 1 < degree else 0)
        root = _times(root, 2)
    rest = [0] * degree
    for byte in data:
        factor = byte ^ rest[0]
        rest = [*rest[1:], 0]
        rest = [value ^ _times(coefficient, factor) for value, coefficient in zip(rest, divisor, strict=True)]
    return bytes(rest)


def _draw(version: int, bits: list[bool], mask: int) -> Matrix:
    size = 17 + 4 * version
    rows: list[list[bool | None]] = [[None] * size for _ in range(size)]
    for row, column, dark in _patterns(version, size):
        if 0 <= row < size and 0 <= column < size:
            rows[row][column] = dark
    for row, column, dark in _format(size, mask):
        rows[row][column] = dark
    stream = iter(bits)
    for right in range(size - 1, 0, -2):
        # The column of the timing pattern is left out.
        pair = right if right > 6 else right - 1
        upward = (pair + 1) & 2 == 0
        for step in range(size):
            row = size - 1 - step if upward else step
            for column in (pair, pair - 1):
                if rows[row][column] is None:
                    rows[row][column] = next(stream, False) ^ _MASKS[mask](row, column)
    return [[bool(module) for module in row] for row in rows]


def _patterns(version: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """What is the same in all codes of a version; what comes later wins."""
    for index in range(size):
        yield 6, index, index % 2 == 0
        yield index, 6, index % 2 == 0
    for top, left in ((3, 3), (3, size - 4), (size - 4, 3)):
        for row in range(-4, 5):
            for column in range(-4, 5):
                yield top + row, left + column, max(abs(row), abs(column)) not in (2, 4)
    centres = _ALIGNED[version - 1]
    for top in centres:
        for left in centres:
            if (top, left) in ((6, 6), (6, size - 7), (size - 7, 6)):
                continue
            for row in range(-2, 3):
                for column in range(-2, 3):
                    yield top + row, left + column, max(abs(row), abs(column)) != 1
    if version >= 7:
        word = version << 12 | _remainder(version << 12, 0x1F25, 12)
        for bit in range(18):
            dark = bool(word >> bit & 1)
            yield size - 11 + bit % 3, bit // 3, dark
            yield bit // 3, size - 11 + bit % 3, dark


def _format(size: int, mask: int) -> Iterator[tuple[int, int, bool]]:
    # Error correction M is 00, so that the mask alone is left.
    word = (mask << 10 | _remainder(mask << 10, 0x537, 10)) ^ 0x5412
    bits = [bool(word >> bit & 1) for bit in range(15)]
    places = [(row, 8) for row in (*range(6), 7, 8)] + [(8, column) for column in (7, 5, 4, 3, 2, 1, 0)]
    others = [(8, size - 1 - bit) for bit in range(8)] + [(size - 15 + bit, 8) for bit in range(8, 15)]
    for bit, (first, second) in enumerate(zip(places, others, strict=True)):
        yield *first, bits[bit]
        yield *second, bits[bit]
    yield size - 8, 8, True


def _remainder(word: int, divisor: int, degree: int) -> int:
    while word.bit_length() > degree:
        word ^= divisor << (word.bit_length() - 1 - degree)
    return word


def _penalty(rows: Matrix) -> int:
    """How hard a code is to read: runs, squares, what looks like a finder, and more of one colour."""
    total, size = 0, len(rows)
    for lines in (rows, [list(column) for column in zip(*rows, strict=True)]):
        for line in lines:
            text = "".join("1" if dark else "0" for dark in line)
            run = 1
            for index in range(1, size + 1):
                if index < size and text[index] == text[index - 1]:
                    run += 1
                    continue
                total += run - 2 if run >= 5 else 0
                run = 1
            total += 40 * sum(text.startswith(("10111010000", "00001011101"), index) for index in range(size - 10))
    for y in range(size - 1):
        for x in range(size - 1):
            total += 3 * (rows[y][x] == rows[y][x + 1] == rows[y + 1][x] == rows[y + 1][x + 1])
    dark = sum(map(sum, rows))
    return total + 10 * (abs(20 * dark - 10 * size * size) // (size * size))
