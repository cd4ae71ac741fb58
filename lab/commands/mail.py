"""`mail`: the latest mails that the lab's app servers sent."""

from lab.machine import state
from lab.machine.names import Lab
from lab.machine.progress import say
from lab.mail import box

LATEST = 5
LINE = "-" * 80


def text(lab: Lab, count: int) -> str:
    """The last ``count`` mails, the latest at the end, where a terminal shows it; then how many there are."""
    paths = box.files(lab.mails)
    if not paths:
        return f"no mails yet (they are kept in {lab.mails})"
    shown = [box.as_text(box.read(path)) for path in paths[-count:]]
    of_all = f"the last {len(shown)} of {len(paths)}" if len(shown) < len(paths) else f"{len(paths)}, all shown"
    return f"\n{LINE}\n".join([*shown, f"mails: {of_all} (kept in {lab.mails})"])


def show(lab: Lab, count: int) -> None:
    state.require(lab)
    say(text(lab, count))
