"""A QR code as SVG in the page: drawn by the server, so that it shows without scripts."""

import segno
from markupsafe import Markup


def svg(text: str) -> Markup:
    """Return the drawing: dark on white with its margin, as scanners want it, also on a dark page."""
    drawn = segno.make(text, error="m", micro=False)
    # What segno draws is of its own making: the text is in it as squares only.
    return Markup(drawn.svg_inline(border=4, dark="#000", light="#fff", svgclass="qr", lineclass=None, omitsize=True))  # noqa: S704
