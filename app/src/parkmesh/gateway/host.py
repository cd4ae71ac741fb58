"""What the computer under the gateway tells of itself: room and wear of its disk, power, temperature.

All of it is read from files of the kernel, so it costs no process and needs no rights; what a computer doesn't tell is
None. Formats: eMMC's ``life_time`` and ``pre_eol_info`` as JEDEC JESD84-B51 has EXT_CSD 268, 269 and 267
(Documentation/driver-api/mmc/mmc-dev-attrs.rst), ``get_throttled`` as ``vcgencmd`` of the Raspberry Pi
(documentation/os, *vcgencmd*), whose kernel also has the alarm of ``rpi_volt`` (drivers/hwmon/raspberrypi-hwmon.c).
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

_WORN_STEP = 10
_UNDER_VOLTAGE, _THROTTLED = 0x1, 0x4 | 0x8
_HAD_UNDER_VOLTAGE = 0x10000
_MOST_TEMPERATURE_C = 150


class Readings(Struct, frozen=True):
    """``disk_free`` and ``disk_size`` in bytes, of the disk with the spool. ``worn_percent`` is how much of its life an
    eMMC has had, in steps of 10, ``reserve_used`` how far its spare blocks are used up (``normal``, ``warning``,
    ``urgent``). ``under_voltage``: the power is too weak now, ``had_under_voltage``: it was since the start;
    ``throttled``: the processor is slowed down."""

    disk_free: int | None = None
    disk_size: int | None = None
    worn_percent: int | None = None
    reserve_used: str | None = None
    temperature_c: float | None = None
    under_voltage: bool | None = None
    had_under_voltage: bool | None = None
    throttled: bool | None = None


def read(spool: Path, root: Path = Path("/")) -> Readings:
    """Return what the host tells; ``root`` is where its ``sys`` is."""
    free = size = None
    with suppress(OSError):
        found = os.statvfs(spool if spool.exists() else spool.parent)
        free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    power = throttled_word(_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled"))
    alarm = _alarm(root / "sys/class/hwmon")
    return Readings(
        disk_free=free,
        disk_size=size,
        worn_percent=_worst(life_time(_text(path)) for path in root.glob("sys/block/mmcblk*/device/life_time")),
        reserve_used=_worst_reserve(root),
        temperature_c=_temperature(root),
        under_voltage=alarm if power is None else bool(power & _UNDER_VOLTAGE) or bool(alarm),
        had_under_voltage=None if power is None else bool(power & _HAD_UNDER_VOLTAGE),
        throttled=None if power is None else bool(power & _THROTTLED),
    )


def life_time(text: str) -> int | None:
    """Return in percent how worn an eMMC is of whose ``life_time`` this is the text, such as ``0x02 0x01``: the larger
    of its two kinds of memory, 100 where its life is over, None where it doesn't tell."""
    values = [value for word in text.split() if (value := _hexadecimal(word)) is not None and 1 <= value <= 11]
    return min(max(values) * _WORN_STEP, 100) if values else None


def throttled_word(text: str) -> int | None:
    """Return the bits of ``get_throttled``: bare hexadecimal digits of the kernel, or ``throttled=0x50000``."""
    return _hexadecimal(text.rpartition("=")[2].strip())


def _worst_reserve(root: Path) -> str | None:
    names = {1: "normal", 2: "warning", 3: "urgent"}
    worst = _worst(_hexadecimal(_text(path)) for path in root.glob("sys/block/mmcblk*/device/pre_eol_info"))
    return names.get(worst or 0)


def _temperature(root: Path) -> float | None:
    found = []
    for path in root.glob("sys/class/thermal/thermal_zone*/temp"):
        text = _text(path)
        if text.lstrip("-").isdigit() and 0 < int(text) / 1000 < _MOST_TEMPERATURE_C:
            found.append(int(text) / 1000)
    return max(found, default=None)


def _alarm(folder: Path) -> bool | None:
    for device in sorted(folder.glob("hwmon*")):
        if _text(device / "name") == "rpi_volt":
            return _text(device / "in0_lcrit_alarm") == "1"
    return None


def _worst(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _hexadecimal(text: str) -> int | None:
    try:
        return int(text.strip(), 16)
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
