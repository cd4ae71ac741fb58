"""How a plate is shown to people: in groups, as its country writes it. Stored and compared is the form without spaces.

Nothing says which country a plate is from, so only its form decides. Where two countries, or two places of the gap
(``B NO 1234`` and ``BN O 1234``), share a form, the gap that is in doubt is left out.
"""

import re
from typing import Final

from parkmesh.domain import plates

_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        r"(\d{4})([B-DF-HJ-NP-TV-Z]{3})",  # Spain: 1234 BCD
        r"([A-Z]{1,2})(\d{4})([A-Z]{1,2})",  # Spain until 2000: M 1234 AB
        r"([A-Z]{2})(\d{3})([A-Z]{2})",  # France and Italy: AB 123 CD
        r"([A-Z]{2})(\d{2})([A-Z]{2})",  # Portugal: AB 12 CD
        r"(\d{2})([A-Z]{2})(\d{2})",  # Portugal until 2020: 12 AB 34
        r"(\d{2})(\d{2})([A-Z]{2})",  # Portugal until 2005: 12 34 AB
        r"([A-Z]{2}\d{2})([A-Z]{3})",  # United Kingdom: AB12 CDE
        r"([A-Z]{3})([A-Z]{2})(\d{1,3}[EH]?)",  # Germany, all five letters: ABC DE 123
        r"([A-Z]{2,4})(\d{1,4}[EH]?)",  # Germany, where the first gap is in doubt: BNO 1234
    )
)


def spaced(text: str) -> str:
    """Return a plate in its country's groups: ``1234bcd`` → ``1234 BCD``.

    Takes every spelling that ``plates.normalise`` takes. A plate of an unknown form comes back normalised without
    spaces, a text that is no plate as it is. ``plates.normalise`` of the answer is that of ``text``.
    """
    plate = plates.normalise(text)
    if plate is None:
        return text
    for form in _FORMS:
        if found := form.fullmatch(plate):
            return " ".join(found.groups())
    return plate
