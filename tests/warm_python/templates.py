"""Keeps what Jinja makes of Ansible's templates, which a run else makes anew in the process of each task."""

import hashlib
import marshal
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any


def keep_code(folder: Path) -> None:
    """Let all runs share what templates and expressions are compiled to, by all that their code depends on.

    That is the text, and how it is read: a template's own delimiters, and whether backslashes are escaped. The filters
    and tests that there are, and Ansible's settings, are the same in all runs. What doesn't compile isn't kept.
    """
    from ansible._internal._templating import _engine, _jinja_bits
    from jinja2 import nodes
    from jinja2.environment import TemplateExpression

    class Environment(_jinja_bits.AnsibleEnvironment):  # type: ignore[misc]
        made: types.CodeType

        def code(self, what: tuple[object, ...], make: Callable[[], object]) -> types.CodeType:
            """Return what is kept, or what ``made`` is once it was made."""
            context = _jinja_bits._TemplateCompileContext.current(optional=True)
            read = [getattr(self, name) for name in _jinja_bits._TEMPLATE_OVERRIDE_FIELD_NAMES]
            key = repr((what, read, context is not None and context.escape_backslashes))
            kept = folder / hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
            if kept.exists():
                code: types.CodeType = marshal.loads(kept.read_bytes())  # noqa: S302 - written below
                return code
            make()
            written = kept.with_suffix(f".{os.getpid()}")
            written.write_bytes(marshal.dumps(self.made))
            written.rename(kept)
            return self.made

        def compile(self, source: Any, name: Any = None, filename: Any = None, *rest: Any, **options: Any) -> Any:
            def make() -> None:
                self.made = super(Environment, self).compile(source, name, filename, *rest, **options)

            # Of an expression only its tree comes here.
            if isinstance(source, nodes.Template):
                make()
                return self.made
            return self.code(("template", str(source), name, filename, rest, options), make)

        def compile_expression(self, source: str, undefined_to_none: bool = True) -> TemplateExpression:
            make = super().compile_expression
            code = self.code(("expression", str(source)), lambda: make(source, undefined_to_none))
            template = self.template_class.from_code(self, code, self.make_globals(None))
            return TemplateExpression(template, undefined_to_none)

    _engine.AnsibleEnvironment = Environment
