#!/usr/bin/env python3
"""Write what the documentation repeats from the code: the inputs of every role, the rules of a community, how
decisions do on the table of misreads, and the job templates of AWX.

Tables stand between `<!-- generated: NAME -->` and `<!-- end -->`. With --check nothing is written, and the exit code
is 1 where a table is not up to date.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"(<!-- generated: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def cell(value: object) -> str:
    """Return a value as it stands in a table's cell."""
    return " ".join(str(value).split()).replace("|", r"\|")


def table(head: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    every = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(cell(part) for part in line)} |\n" for line in every)


def shown(value: object) -> str:
    """Return a default as people write it in an inventory."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def inputs(options: dict[str, Any]) -> str:
    """Return the table of a role's inputs from the options of its argument specification."""
    lines = []
    for name, option in options.items():
        kind = option.get("type", "str")
        if kind == "list":
            kind = f"list of {option.get('elements', 'str')}"
        choices = option.get("choices")
        told = option["description"]
        # Ansible's markup for code, options and values.
        text = re.sub(r"\b[COV]\(([^)]*)\)", r"`\1`", " ".join(told) if isinstance(told, list) else told)
        if choices:
            text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
        default = "**required**" if option.get("required") else shown(option.get("default"))
        lines.append([f"`{name}`", kind, default, text])
    return table(["input", "type", "default", "what it does"], lines)


def rules() -> str:
    """Return the table of a community's rules."""
    sys.path.insert(0, str(ROOT / "app/src"))
    from parkmesh.domain.community_rules import RULES

    lines = []
    for rule in RULES.values():
        values = ", ".join(f"`{word}`" for word in rule.choices) or "yes or no"
        if rule.kind is int:
            values = f"{rule.minimum} to {rule.maximum} {rule.unit}".strip() + (" or null" if rule.optional else "")
        default = "null" if rule.default is None else str(rule.default).lower()
        acts = "gate" if rule.acts_at_gates else "server"
        lines.append([f"`{rule.name}`", values, f"`{default}`", acts, rule.description])
    return table(["rule", "values", "default", "acts at the", "what it does"], lines)


def matching() -> str:
    """Return the table of how many reads of the table of misreads open, for each way of matching."""
    sys.path[:0] = [str(ROOT / "app/src"), str(ROOT / "app/tests/domain")]
    import misreads

    lines = []
    for rule in misreads.MODES:
        count = misreads.figures(rule)
        right, wrong, refused = count[True, True], count[False, True], count[True, False]
        cells = (right, f"{right / (right + refused):.0%}", wrong, refused, count[False, False])
        lines.append([f"`{rule}`", *map(str, cells)])
    head = ["`plate_matching`", "opened rightly", "of those that may pass", "opened wrongly", "refused though known"]
    return table([*head, "refused rightly"], lines)


def reasons() -> str:
    """Return the table of the reasons of passages, in the words of the pages."""
    sys.path.insert(0, str(ROOT / "app/src"))
    from parkmesh.domain.words import REASON
    from parkmesh.gateway.page.spanish import SPANISH

    return table(
        ["reason", "in English", "in Spanish"], [[f"`{code}`", text, SPANISH[text]] for code, text in REASON.items()]
    )


def templates() -> str:
    """Return the table of AWX's job templates."""
    sys.path.insert(0, str(ROOT))
    from module_utils import awx_desired

    catalogue = yaml.safe_load((ROOT / "playbooks/files/awx/job_templates.yml").read_text())
    lines = []
    for name, template in catalogue["job_templates"].items():
        asked = [
            f"`{question['variable']}`" + (" (required)" if question.get("required") else "")
            for question in template.get("survey", [])
        ]
        lines.append(
            [
                f"`{name}`",
                awx_desired.purpose((ROOT / f"playbooks/{name}.yml").read_text()),
                ", ".join(template["labels"]),
                ", ".join(template.get("credentials", [])),
                ", ".join([*asked, *template.get("asks", [])]),
                f"{template['timeout_s'] // 60} min",
            ]
        )
    return table(["template", "what it does", "labels", "credentials", "asks for", "ends after"], lines)


def documents() -> Iterator[tuple[Path, str, str]]:
    """Return every generated table: its document, its name there, and the table."""
    for role in sorted((ROOT / "roles").iterdir()):
        specification = yaml.safe_load((role / "meta/argument_specs.yml").read_text())
        yield role / "README.md", "inputs", inputs(specification["argument_specs"]["main"]["options"])
    yield ROOT / "docs/rules.md", "rules", rules()
    yield ROOT / "docs/rules.md", "reasons", reasons()
    yield ROOT / "docs/gateway.md", "matching", matching()
    yield ROOT / "docs/awx.md", "templates", templates()


def filled(text: str, name: str, content: str) -> str:
    """Return a document with a table of it. Raises ValueError where it has no place for one."""
    if name not in {found["name"] for found in MARK.finditer(text)}:
        raise ValueError(f"there is no place for the generated table {name}")
    return MARK.sub(lambda found: f"{found[1]}{content}{found[3]}" if found["name"] == name else found[0], text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a table is not up to date")
    options = parser.parse_args()
    stale = 0
    for path, name, content in documents():
        text = path.read_text()
        try:
            wanted = filled(text, name, content)
        except ValueError as error:
            print(f"{path.relative_to(ROOT)}: {error}", file=sys.stderr)
            stale += 1
            continue
        if wanted != text:
            stale += 1
            if options.check:
                print(f"{path.relative_to(ROOT)}: run scripts/reference.py", file=sys.stderr)
            else:
                path.write_text(wanted)
                print(f"{path.relative_to(ROOT)}: written")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
