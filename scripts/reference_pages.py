"""Make the pages of the reference from what they describe: the headers of playbooks, the READMEs of roles, the
documentation of plugins, and the OpenAPI document of the application.

``pages()`` returns Markdown by its place below ``docs/``. Nothing is written; the hook of the documentation's site
(documentation.py) adds the pages to each build.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "app/src")]

from parkmesh.server.settings import Settings  # noqa: E402
from parkmesh.server.web import app  # noqa: E402

from doc_fragments.zerotier import ModuleDocFragment  # noqa: E402
from scripts.reference import table  # noqa: E402

FIELDS = ("Required", "Optional", "Example", "Way back")
"""What the header of every playbook says after its purpose."""

PLUGINS = {
    "modules": ("library", "module", "Modules"),
    "inventory": ("inventory_plugins", "inventory", "Inventory sources"),
    "filters": ("filter_plugins", "filter", "Filters"),
    "callbacks": ("callback_plugins", "callback", "Callbacks"),
}
"""A page's name → the folder, Ansible's type, the title. Action plugins have the documentation of their modules."""

# What a header's author can't put into backquotes: commands, names of variables and files, values.
CODE = re.compile(
    r"(?<![\w`/<])("
    r"-e \S+|--[a-z]+(?:-[a-z]+)*(?: --diff)?"
    r"|[a-zA-Z][\w-]*(?:/[\w.<>*-]+)+"
    r"|[a-z][\w-]*\.(?:yml|ztrules|py)(?: -e [a-z]+=\S+)?"
    r"|[a-zA-Z]+(?:_[\w*]+)*=(?:[^\s,;()]|,(?=\S))*[^\s,;().:]"
    r"|[a-zA-Z]+(?:_[\w*]+)+"
    r"|<[a-z]+>(?:-<[a-z]+>)*"
    r")"
)


def header(text: str) -> dict[str, str]:
    """Return the parts of a playbook's header: ``Purpose`` and those of FIELDS, each as one line."""
    found: dict[str, list[str]] = {"Purpose": []}
    part = "Purpose"
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        words = line.removeprefix("#").strip()
        for field in FIELDS:
            if words.startswith(f"{field}:"):
                part, words = field, words.removeprefix(f"{field}:").strip()
        found.setdefault(part, []).append(words)
    return {name: " ".join(" ".join(lines).split()) for name, lines in found.items()}


def prose(text: str) -> str:
    """Return plain text as Markdown for the page of playbooks: names and values as code, what has a page as a link."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        parts[number] = CODE.sub(lambda found: linked(found[1]), parts[number])
    return "`".join(parts)


def linked(name: str) -> str:
    """Return a name as code, with a link where it names a document, a role or a playbook."""
    folder, _, last = name.rpartition("/")
    if folder == "docs" and (ROOT / name).exists():
        return f"[{last}](../{last})"
    if folder == "roles" and (ROOT / name / "README.md").exists():
        return f"[`{name}`](roles/{last}.md)"
    if not folder and (ROOT / "playbooks" / name).is_file():
        return f"[`{name}`](#{name.removesuffix('.yml')})"
    return f"`{name}`"


def playbooks() -> str:
    """Return the page of all playbooks."""
    lines = [
        "# Playbooks",
        "",
        "Run one with `ansible-playbook playbooks/<name>.yml -i <inventory>`; with `--check` it says what it would "
        "do. [AWX](../awx.md) has a job template for most of them. This page is made from the playbooks' headers.",
        "",
    ]
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        told = header(path.read_text(encoding="utf-8"))
        lines += [f"## {path.stem}", "", prose(told["Purpose"]), ""]
        lines += ["| | |", "|---|---|"]
        lines += [f"| {field} | {prose(told[field])} |" for field in FIELDS if field != "Example"]
        lines += ["", "```sh", told["Example"], "```", ""]
    return "\n".join(lines)


def role(name: str) -> str:
    """Return the page of a role: its README, with links as they are from there."""
    text = (ROOT / "roles" / name / "README.md").read_text(encoding="utf-8")
    return text.replace("](../../docs/", "](../../")


def roles() -> Iterator[tuple[str, str]]:
    """Yield the name of each role and the first paragraph of its README's outcome."""
    for path in sorted((ROOT / "roles").glob("*/README.md")):
        yield path.parent.name, role(path.parent.name).split("## Outcome\n\n")[1].split("\n\n")[0]


def _literals(path: Path) -> dict[str, str]:
    """Return the texts that a module of Python assigns to names in capital letters."""
    found = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            for target in statement.targets:
                if isinstance(target, ast.Name) and isinstance(statement.value.value, str):
                    found[target.id] = statement.value.value
    return found


def _fragment(name: str) -> dict[str, Any]:
    """Return a fragment of this project; those of collections are documented there, and here empty."""
    if name.startswith("zerotier"):
        part = name.partition(".")[2].upper() or "DOCUMENTATION"
        loaded: dict[str, Any] = yaml.safe_load(getattr(ModuleDocFragment, part))
        return loaded
    return {}


def plugin(path: Path) -> dict[str, Any] | None:
    """Return a plugin's documentation, with ``examples`` and ``returned``; None where the file documents none."""
    if path.suffix == ".py":
        texts = _literals(path)
        if "DOCUMENTATION" not in texts:
            return None
        document = yaml.safe_load(texts["DOCUMENTATION"])
        examples, returned = texts.get("EXAMPLES", ""), yaml.safe_load(texts.get("RETURN", "{}"))
    else:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        document, examples, returned = loaded["DOCUMENTATION"], loaded.get("EXAMPLES", ""), loaded.get("RETURN", {})
    options = dict(document.get("options") or {})
    elsewhere = []
    fragments = document.get("extends_documentation_fragment", [])
    for name in [fragments] if isinstance(fragments, str) else fragments:
        fragment = _fragment(name)
        options |= fragment.get("options", {})
        if not fragment:
            elsewhere.append(name)
    return {**document, "options": options, "elsewhere": elsewhere, "examples": examples, "returned": returned or {}}


def marked(told: str | list[str]) -> str:
    """Return a description in Ansible's markup (``C(code)``, ``O(option)``, …) as Markdown on one line."""
    text = " ".join([told] if isinstance(told, str) else [str(part) for part in told])

    def code(found: re.Match[str]) -> str:
        inner = re.sub(r"\\(.)", r"\1", found["inner"])
        return inner if found["mark"] in "BI" else f"`{inner.partition('#')[0] if found['mark'] == 'P' else inner}`"

    parts = re.split(r"(\b(?:RV|[BCEIMOPV])\((?:\\.|[^)\\])*\))", " ".join(text.split()))
    for number, part in enumerate(parts):
        whole = re.fullmatch(r"(?P<mark>RV|[BCEIMOPV])\((?P<inner>.*)\)", part) if number % 2 else None
        parts[number] = code(whole) if whole else part.replace("<", "&lt;").replace("*", "\\*")
    return "".join(parts)


def _options(options: Mapping[str, Any], above: str = "") -> Iterator[list[str]]:
    for name, option in options.items():
        full = f"{above}{name}"
        kind = option.get("type", "str")
        if kind == "list":
            kind = f"list of {option.get('elements', 'str')}"
        text = marked(option.get("description", ""))
        if option.get("choices"):
            text += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        if option.get("env"):
            text += " Environment: " + ", ".join(f"`{entry['name']}`" for entry in option["env"]) + "."
        default = option.get("default")
        shown = "**required**" if option.get("required") else "" if default is None else f"`{json.dumps(default)}`"
        yield [f"`{full}`", kind, shown, text]
        yield from _options(option.get("suboptions") or option.get("contains") or {}, f"{full}.")


def plugins(kind: str) -> str:
    """Return the page of the plugins of a kind (a key of PLUGINS)."""
    folder, ansible_type, title = PLUGINS[kind]
    manual = "ansible-doc" if ansible_type == "module" else f"ansible-doc -t {ansible_type}"
    lines = [
        f"# {title}",
        "",
        f"This page is made from the plugins' own documentation, which `{manual} <name>` shows.",
        "",
    ]
    for path in sorted((ROOT / folder).iterdir()):
        document = plugin(path) if path.suffix in (".py", ".yml") else None
        if document is None:
            continue
        name = str(document.get("name") or document.get("module"))
        lines += [f"## {name}", "", marked(document["short_description"]) + ".", ""]
        lines += [f"- {marked(point)}" for point in _points(document.get("description", []))]
        lines.append("")
        if document["options"]:
            head = ["option", "type", "default", "what it does"]
            lines += [table_of(head, _options(document["options"]))]
        if document["elsewhere"]:
            lines += [
                "It also has the options of " + ", ".join(f"`{name}`" for name in document["elsewhere"]) + ".",
                "",
            ]
        if document["examples"]:
            lines += ["```yaml", str(document["examples"]).strip("\n"), "```", ""]
        if document["returned"]:
            lines += ["It returns:", "", table_of(["key", "type", "what it is"], _returned(document["returned"]))]
    return "\n".join(lines)


def _points(told: str | list[str]) -> list[str]:
    return [told] if isinstance(told, str) else told


def _returned(values: Mapping[str, Any], above: str = "") -> Iterator[list[str]]:
    for name, value in values.items():
        yield [f"`{above}{name}`", value.get("type", ""), marked(value.get("description", ""))]
        yield from _returned(value.get("contains") or {}, f"{above}{name}.")


def table_of(head: list[str], lines: Iterator[list[str]]) -> str:
    """Return a Markdown table, and a line that ends it."""
    return table(head, list(lines)) + "\n"


def document() -> dict[str, Any]:
    """Return the application's OpenAPI document, as a server gives it at /api/v1/openapi.json."""
    # The document follows from routes and models; nothing is connected, so no value here is ever used.
    unused: Any = None
    settings = Settings("", "", None, "documentation", (), 0)
    return app.create(unused, unused, settings, app.Condition()).openapi()


def kind_of(schema: Mapping[str, Any]) -> str:
    """Return what values a schema takes, in a few words, with links to the page of schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](schemas.md#{name.lower()})"
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(kind_of(part) for part in schema[word]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kinds = schema.get("type", "any")
    if isinstance(kinds, list):
        return " or ".join(kind_of({**schema, "type": kind}) for kind in kinds)
    if kinds == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if kinds == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind_of(schema['additionalProperties'])}"
    return f"{kinds} ({schema['format']})" if "format" in schema else str(kinds)


def _text(told: str) -> str:
    """Return a description of the document as one line that can stand in a table."""
    return re.sub(r"<([a-z_]+)>", r"&lt;\1&gt;", " ".join(told.split()))


def operation(method: str, path: str, told: Mapping[str, Any]) -> list[str]:
    """Return the section of a call."""
    lines = [
        f"## {told.get('summary', told['operationId'])}",
        "",
        f"`{method.upper()} {path}` · `{told['operationId']}`",
        "",
    ]
    if told.get("description"):
        lines += [told["description"], ""]
    if told.get("parameters"):
        rows = (
            [
                f"`{part['name']}`",
                part["in"] + (", required" if part.get("required") else ""),
                kind_of(part["schema"]),
                _text(part.get("description", "")),
            ]
            for part in told["parameters"]
        )
        lines += [table_of(["parameter", "in", "type", "what it is"], rows)]
    if "requestBody" in told:
        taken = [f"`{kind}`: {kind_of(body['schema'])}" for kind, body in told["requestBody"]["content"].items()]
        lines += ["It takes " + ", or ".join(taken) + ".", ""]
    answers = []
    refused = []
    for code, answer in told["responses"].items():
        if "$ref" in answer:
            refused.append(f"`{code}`")
            continue
        content = [kind_of(body.get("schema", {})) for body in answer.get("content", {}).values()]
        answers.append(f"- `{code}` {_text(answer['description'])}" + (f": {', '.join(content)}" if content else ""))
    lines += [*answers]
    if refused:
        lines.append(f"- {', '.join(refused)}: a [problem](schemas.md#problem)")
    return [*lines, ""]


def api() -> dict[str, str]:
    """Return the pages of the application's API: one for each tag, one for the schemas, and their list."""
    told = document()
    by_tag: dict[str, list[str]] = {}
    counted: dict[str, int] = {}
    for place in ("paths", "webhooks"):
        for path, methods in told.get(place, {}).items():
            for method, one in methods.items():
                if not isinstance(one, dict) or "operationId" not in one:
                    continue
                tag = "events" if place == "webhooks" else one["tags"][0]
                counted[tag] = counted.get(tag, 0) + 1
                by_tag.setdefault(tag, []).extend(operation(method, path, one))
    described = {tag["name"]: tag.get("description", "") for tag in told["tags"]}
    described["events"] = "The calls that parkmesh makes to the receivers of webhooks, one for each type of event."
    pages = {}
    for tag, lines in by_tag.items():
        head = [f"# API: {tag}", "", described.get(tag, ""), ""]
        pages[f"reference/api/{slug(tag)}.md"] = "\n".join([*head, *lines])
    pages["reference/api/schemas.md"] = "\n".join(["# API: schemas", "", *_schemas(told["components"]["schemas"])])
    rows = iter([f"[{tag}]({slug(tag)}.md)", _text(described.get(tag, "")), str(counted[tag])] for tag in by_tag)
    pages["reference/api/index.md"] = "\n".join(
        [
            "# API: calls",
            "",
            f"Version {told['info']['version']} of the application, made from its OpenAPI {told['openapi']} document, "
            "which each server gives at `/api/v1/openapi.json`. [The REST API](../../api.md) says what all calls have "
            "in common.",
            "",
            table_of(["subject", "what it is about", "calls"], rows),
            "",
            "[All schemas](schemas.md)",
        ]
    )
    return pages


def slug(name: str) -> str:
    """Return a name as part of an address."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _schemas(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(schemas):
        schema = schemas[name]
        yield from (f"## {name}", "", _text(schema.get("description", "")), "")
        required = schema.get("required", [])
        properties = schema.get("properties", {})
        if not properties:
            yield from (f"It is {kind_of(schema)}.", "")
            continue
        rows = (
            [
                f"`{key}`",
                kind_of(value) + (", required" if key in required else ""),
                _text(value.get("description", "")),
            ]
            for key, value in properties.items()
        )
        yield table_of(["key", "type", "what it is"], rows).replace("](schemas.md#", "](#")


def pages() -> dict[str, str]:
    """Return the Markdown of every page of the reference, by its path below docs/."""
    made = {"reference/playbooks.md": playbooks(), **api()}
    made |= {f"reference/plugins/{kind}.md": plugins(kind) for kind in PLUGINS}
    made["reference/plugins/index.md"] = "\n".join(
        [
            "# Plugins",
            "",
            *(f"- [{title}]({kind}.md)" for kind, (_, _, title) in PLUGINS.items()),
            "",
            "[ZeroTier as code](../../zerotier.md) says how those for ZeroTier belong together.",
        ]
    )
    listed = []
    for name, outcome in roles():
        made[f"reference/roles/{name}.md"] = role(name)
        listed.append([f"[{name}]({name}.md)", outcome])
    made["reference/roles/index.md"] = "\n".join(
        [
            "# Roles",
            "",
            "Each page is the README of the role; its table of inputs follows from the role's argument specification.",
            "",
            table_of(["role", "outcome"], iter(listed)),
        ]
    )
    return made
