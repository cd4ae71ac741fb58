"""Structured log lines on stdout: one JSON object each, for journald and collectors.

Every line of a request says where it came from and, once that is known, who asked: ``client`` and ``actor``, in the
audit trail's words. What matters to security has an ``event`` besides, named after OWASP's logging vocabulary where
that has a name for it. People appear by their numbers; what unknown people typed (an e-mail address, or a password in
its field) doesn't appear at all.

No secret may appear in them. Besides not logging any, the formatter replaces the process's known secrets wherever they
turn up, and shows a database error by its type and SQLSTATE only: PostgreSQL's details quote the row, plates included.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_request: ContextVar[dict[str, object] | None] = ContextVar("request", default=None)
_security = logging.getLogger("parkmesh.security")


@contextmanager
def request(**fields: object) -> Iterator[None]:
    """Put these fields, and what is noted meanwhile, on every line of what runs in this context."""
    token = _request.set(dict(fields))
    try:
        yield
    finally:
        _request.reset(token)


def note(**fields: object) -> None:
    """Add to what is known of the request at hand; nothing outside of one."""
    known = _request.get()
    if known is not None:
        known.update(fields)


def security(event: str, *, refused: bool = False, **fields: object) -> None:
    """Log what matters to security; what was ``refused`` as a warning. Fields that are None are left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    level = logging.WARNING if refused else logging.INFO
    _security.log(level, event.replace("_", " "), extra={"fields": {"event": event, **known}})


class JsonLines(logging.Formatter):
    """Format a record as one line of JSON; ``extra={"fields": {...}}`` adds members."""

    def __init__(self, server_id: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._server_id = server_id
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "server": self._server_id,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _request.get() or {}
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= fields
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
            line["stack"] = [
                f"{frame.filename.rpartition('/site-packages/')[2]}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        text = json.dumps(line, default=str, ensure_ascii=False)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def describe(error: BaseException) -> str:
    """Return an exception's type and message, without the row that a database error quotes."""
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate:
        return f"{type(error).__name__} (SQLSTATE {sqlstate})"
    return f"{type(error).__name__}: {error}"


def configure(server_id: str, secrets: Iterable[str], level: int = logging.INFO) -> None:
    """Send every logger of the process to stdout as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(server_id, secrets))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for chatty in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logger = logging.getLogger(chatty)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("alembic").setLevel(logging.WARNING)
