"""Short names, by which devices, signs and addresses know an object: lower-case letters, digits and dashes."""

import re

from parkmesh.server.web.fields import NAME
from parkmesh.server.web.pages.forms import Form

MAX_NAME = 63


def short_name(form: Form, field: str) -> str:
    """Return the short name in a field, in lower case."""
    name = form.text(field, most=MAX_NAME).lower()
    if name:
        check(form, field, name)
    return name


def check(form: Form, field: str, name: str) -> None:
    """Note an error of a field where ``name`` is no short name."""
    if len(name) > MAX_NAME or not re.fullmatch(NAME, name):
        form.wrong(field, form.language.gettext("Lower-case letters, digits and dashes."))
