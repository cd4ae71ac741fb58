"""Pages for those who read everything and change nothing: no form that changes something is left in them.

Forms are taken out of the page that was rendered, so that no template can forget it. A form with the present values of
an object, which has the token of ``parts.change_token``, stays as fields that can't be filled in: the values are read
there. The server refuses what such forms would send in any case (``authentication.check_may_change``).
"""

import re

# Signing out, the language and all below /account are the reader's own.
_FORM = re.compile(
    r'<form\b(?=[^>]*\bmethod="post")(?![^>]*\baction="/(?:sign-out|language|account)\b)[^>]*>(.*?)</form>', re.DOTALL
)
_SEEN = re.compile(r'<input type="hidden" name="(?:\w+_)?seen"')
_SENT = re.compile(r'<input type="hidden"[^>]*>|<button\b(?=[^>]*\btype="submit").*?</button>', re.DOTALL)
_TAKEN = "<!--form-->"
# A card with its heading or a folded part with its summary, and nothing else that tells something.
_HOLDER = re.compile(
    r"<(section|details|div|li)\b[^>]*>"
    r"((?:\s|<!--form-->|<h[23]\b[^>]*>[^<]*</h[23]>|<p\b[^>]*>[^<]*</p>"
    r"|<summary\b[^>]*>[^<]*(?:<span\b[^>]*>[^<]*</span>)?[^<]*</summary>)*)"
    r"</\1>"
)


def without_changes(page: str) -> str:
    """Return a page without what changes something, nor the headings of what is gone."""
    page = _FORM.sub(_shown, page)
    before = ""
    while before != page:
        before, page = page, _HOLDER.sub(_emptied, page)
    return page.replace(_TAKEN, "")


def _shown(form: re.Match[str]) -> str:
    inside = form[1]
    return (
        f'<fieldset class="form read" disabled>{_SENT.sub("", inside)}</fieldset>' if _SEEN.search(inside) else _TAKEN
    )


def _emptied(holder: re.Match[str]) -> str:
    return _TAKEN if _TAKEN in holder[2] else holder[0]
