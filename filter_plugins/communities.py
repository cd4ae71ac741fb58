"""Filters for communities: the place of a new one in the overlay, what is wrong with a file, a link as a QR code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible.module_utils
import segno
import yaml
from ansible.errors import AnsibleFilterError

# Modules get the project's module_utils in their archive; on the control node they are found beside this folder.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

if TYPE_CHECKING:
    from module_utils import community_file, community_new, community_trial
else:
    from ansible.module_utils import community_file, community_new, community_trial


def community_place(members: Iterable[Mapping[str, Any]], overlay: str) -> dict[str, Any]:
    """The number and the overlay address that a new community gets."""
    try:
        return community_new.place(members, str(overlay))
    except ValueError as error:
        raise AnsibleFilterError(f"community_place: {error}") from error


def community_faults(text: str, community: str) -> list[str]:
    """What is wrong with the text of a community's file; empty where it is right."""
    source = f"{community}.yml"
    lines, faults = community_file.lines(str(text), source)
    if not faults:
        file = community_file.File(source, str(community), yaml.safe_load(str(text)), lines)
        faults = community_file.check(file)
    return [str(fault) for fault in faults]


def community_cars(cameras: Sequence[Mapping[str, Any]], plates: Sequence[str]) -> list[dict[str, Any]]:
    """The cars of the test of a community's gates."""
    return community_trial.cars(cameras, plates)


def community_results(
    cars: Sequence[Mapping[str, Any]],
    passages: Sequence[Mapping[str, Any]],
    errors: Sequence[str],
    health: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """What came of the test."""
    return community_trial.results(cars, passages, errors, health)


def qr_svg(text: str) -> str:
    """A text as the SVG image of a QR code, in black and white with the margin that scanners want."""
    try:
        code = segno.make(str(text), error="m", micro=False)
    except segno.DataOverflowError as error:
        raise AnsibleFilterError(f"qr_svg: the text is too long for a QR code ({len(str(text))} characters)") from error
    drawn: str = code.svg_inline(border=4, dark="#000", light="#fff", svgclass=None, lineclass=None, omitsize=True)
    return drawn


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "community_place": community_place,
            "community_faults": community_faults,
            "community_cars": community_cars,
            "community_results": community_results,
            "qr_svg": qr_svg,
        }
