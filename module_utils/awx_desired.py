"""What AWX should hold for an environment: reads the data, says what is wrong with it, and turns it into the arguments
of the modules of collection awx.awx. Pure: files come in as text.

The data is a catalogue, the same for all environments (playbooks/files/awx), and the environment's own
(inventory/<environment>/awx). docs/awx.md describes the keys. Limits and messages follow AWX 24.6's serializers
(awx/api/serializers.py, awx/api/views/__init__.py, awx/main/fields.py), so that AWX refuses nothing that passed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

# In the order in which they are made: each needs only what stands before it.
KINDS = (
    "organizations",
    "teams",
    "credential_types",
    "credentials",
    "execution_environments",
    "notification_templates",
    "projects",
    "inventories",
    "inventory_sources",
    "labels",
    "job_templates",
    "workflow_job_templates",
    "schedules",
)
WEBHOOK_TOKENS = {"github": "GitHub Personal Access Token", "gitlab": "GitLab Personal Access Token"}
"""Services whose webhooks a job may follow, with the type of the credential that tells them how it ended."""
MANAGED_TYPES = {
    "Machine": ("password", "ssh_key_data", "ssh_key_unlock", "become_password"),
    "Source Control": ("password", "ssh_key_data", "ssh_key_unlock"),
    "Amazon Web Services": ("password", "security_token"),
    "Container Registry": ("password",),
    "Vault": ("vault_password",),
    **dict.fromkeys(WEBHOOK_TOKENS.values(), ("token",)),
}
"""Credential types that every AWX has and that the data may name, with their secret fields."""
NOTIFICATION_SECRETS = {"email": ("password",), "webhook": ("password",), "slack": ("token",)}
"""Kinds of notifications, with the fields that AWX never gives back (init_parameters of its notification backends)."""
NOTIFICATION_NEEDS = {
    "email": ("host", "port", "username", "password", "use_tls", "use_ssl", "sender", "recipients"),
    "webhook": ("url", "headers"),
    "slack": ("channels", "token"),
}
ANSWER_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "textarea": (str,),
    "integer": (int,),
    "float": (float, int),
    "multiplechoice": (str,),
    "multiselect": (list,),
}
PURPOSES = ("look", "change", "end")
ASKS = ("limit", "variables")
# AWX gives teams no role of taking part in an organization (member, admin).
ORGANIZATION_ROLES = ("read", "auditor", "approval", "execute")
LINKS = ("success", "failure", "always")
CATALOGUE_KEYS = ("job_templates", "no_job_template", "workflows", "credential_types")
ENVIRONMENT_KEYS = (
    *("settings", "organization", "execution_environment", "project", "inventory", "teams", "credentials"),
    *("notifications", "tell", "schedules", "job_templates", "webhooks"),
)
WORD = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")
VARIABLE = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_]*$")


class Faulty(Exception):
    """The data is wrong; ``lines`` has a line for each fault."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = list(lines)


@dataclass(frozen=True)
class Item:
    """An object that AWX should hold.

    ``args``: the arguments of its module of awx.awx, without secrets. ``needs``: (kind, name) of what must be there
    first. ``references``: where the secrets among its inputs come from, field -> {"env": name} or {"file": path}.
    """

    kind: str
    name: str
    args: dict[str, Any]
    needs: tuple[tuple[str, str], ...] = ()
    references: dict[str, dict[str, str]] = field(default_factory=dict)


def read(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the keys of all files of a folder (name -> text). Raises Faulty."""
    found: dict[str, Any] = {}
    lines = []
    for name, text in sorted(texts.items()):
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            lines.append(f"{name}{where}: this isn't YAML: {getattr(error, 'problem', None) or 'see the file'}")
            continue
        if not isinstance(content, dict):
            lines.append(f"{name}: a file has keys, not {type(content).__name__}")
            continue
        lines += [f"{name}: {key} is in another file already" for key in content if key in found]
        found.update(content)
    if lines:
        raise Faulty(lines)
    return found


def purpose(text: str) -> str:
    """Return the first sentence of a playbook's header."""
    head: list[str] = []
    for line in text.splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or not words:
            break
        head.append(words)
    whole = " ".join(head)
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", whole, maxsplit=1)[0]


class _Check:
    """Collects faults; each names the place in the data."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, right: bool, where: str, told: str) -> bool:
        if not right:
            self.lines.append(f"{where}: {told}")
        return right

    def mapping(self, value: Any, where: str, keys: Sequence[str], required: Sequence[str] = ()) -> dict[str, Any]:
        """A mapping with these keys and no other; an empty one where it is none."""
        if value is None:
            value = {}
        if not self(isinstance(value, dict), where, f"this has keys, not {type(value).__name__}"):
            return {}
        for key in value:
            self(key in keys, where, f"there is no key {key}; there are {', '.join(keys)}")
        for key in required:
            self(value.get(key) not in (None, ""), where, f"{key} is missing")
        return dict(value)

    def named(self, value: Any, where: str) -> dict[str, Any]:
        """A mapping of names to things."""
        if value is None:
            return {}
        if not self(isinstance(value, dict), where, f"this has names, not {type(value).__name__}"):
            return {}
        for name in value:
            self(bool(WORD.match(str(name))), where, f"{name} must be lower-case letters, digits and hyphens")
        return {str(name): thing for name, thing in value.items()}

    def among(self, values: Any, allowed: Sequence[str], where: str, what: str) -> list[str]:
        """A list of which every part is allowed."""
        values = [] if values is None else values
        if not self(isinstance(values, list), where, f"this is a list of {what}s"):
            return []
        for value in values:
            self(value in allowed, where, f"there is no {what} {value}; there are {', '.join(allowed) or 'none'}")
        return [value for value in values if value in allowed]


def _question(check: _Check, value: Any, where: str) -> dict[str, Any] | None:
    """Return a question of a survey as AWX takes it."""
    keys = ("variable", "question", "help", "type", "required", "default", "min", "max", "choices")
    asked = check.mapping(value, where, keys, ("variable", "question", "type"))
    kind = str(asked.get("type"))
    where = f"{where}, {asked.get('variable', '?')}"
    if not check(kind in ANSWER_TYPES, where, f"type must be one of {', '.join(ANSWER_TYPES)}, not {kind}"):
        return None
    check(bool(VARIABLE.match(str(asked.get("variable")))), where, "this is no name of a variable")
    default = asked.get("default")
    chooses = kind in ("multiplechoice", "multiselect")
    choices = asked.get("choices") or []
    if chooses:
        check(
            isinstance(choices, list)
            and bool(choices)
            and all(isinstance(choice, str) and choice for choice in choices),
            where,
            "choices must be texts (write true and false in quotes)",
        )
    else:
        check(not choices, where, f"{kind} has no choices")
    lowest, highest = asked.get("min"), asked.get("max")
    for word, bound in (("min", lowest), ("max", highest)):
        check(
            bound is None or (isinstance(bound, int) and not isinstance(bound, bool)),
            where,
            f"{word} is a whole number",
        )
    if isinstance(lowest, int) and isinstance(highest, int):
        check(lowest <= highest, where, f"min {lowest} is above max {highest}")
    if default is not None and check(
        isinstance(default, ANSWER_TYPES[kind]) and not isinstance(default, bool),
        where,
        f"default {default!r} is no {kind}",
    ):
        if chooses:
            for choice in default if isinstance(default, list) else [default]:
                check(choice in choices, where, f"default {choice} is none of the choices")
        elif isinstance(default, str | int | float):
            size = len(default) if isinstance(default, str) else default
            check(lowest is None or size >= lowest, where, f"default {default!r} is below min {lowest}")
            check(highest is None or size <= highest, where, f"default {default!r} is above max {highest}")
    question = {
        "question_name": asked.get("question"),
        "question_description": asked.get("help", ""),
        "variable": asked.get("variable"),
        "type": kind,
        "required": bool(asked.get("required", False)),
        "min": lowest,
        "max": highest,
        "choices": "\n".join(map(str, choices)) if chooses else "",
    }
    # An empty default would be given to the playbook as an answer.
    if default is not None:
        question["default"] = "\n".join(default) if isinstance(default, list) else default
    return question


def _survey(check: _Check, value: Any, where: str) -> list[dict[str, Any]]:
    asked = value if check(isinstance(value or [], list), where, "survey is a list of questions") else []
    questions = [made for part in asked or [] if (made := _question(check, part, where)) is not None]
    names = [question["variable"] for question in questions]
    for name in sorted({name for name in names if names.count(name) > 1}):
        check(False, where, f"{name} is asked twice")
    return questions


def _survey_args(name: str, questions: list[dict[str, Any]]) -> dict[str, Any]:
    specification = {"name": name, "description": "", "spec": questions} if questions else {}
    return {"survey_enabled": bool(questions), "survey_spec": specification}


def answer_faults(questions: Sequence[Mapping[str, Any]], answers: Mapping[str, Any], whole: bool) -> list[str]:
    """Return what AWX would refuse of answers to a survey; ``whole``: a required answer may not be missing."""
    lines = []
    asked = {question["variable"]: question for question in questions}
    for name in answers:
        if name not in asked:
            lines.append(f"the survey has no question {name}; it has {', '.join(asked) or 'none'}")
    for name, question in asked.items():
        if name not in answers:
            if whole and question["required"] and "default" not in question:
                lines.append(f"the answer {name} is missing")
            continue
        value, kind = answers[name], question["type"]
        if isinstance(value, bool) or not isinstance(value, ANSWER_TYPES[kind]):
            lines.append(f"{name} {value!r} is no {kind}")
            continue
        if kind in ("multiplechoice", "multiselect"):
            choices = question["choices"].split("\n")
            for choice in value if isinstance(value, list) else [value]:
                if choice not in choices:
                    lines.append(f"{name} {choice!r} is none of {', '.join(choices)}")
            continue
        size = len(value) if isinstance(value, str) else value
        if question["min"] is not None and size < question["min"]:
            lines.append(f"{name} {value!r} is below {question['min']}")
        if question["max"] is not None and size > question["max"]:
            lines.append(f"{name} {value!r} is above {question['max']}")
    return lines


def _references(value: Any) -> Iterator[tuple[str, dict[str, str]]]:
    for name, part in value.items():
        if isinstance(part, dict) and set(part) in ({"env"}, {"file"}):
            yield name, {key: str(text) for key, text in part.items()}


class _Builder:
    """Makes the items of one environment; faults are collected in ``check``."""

    def __init__(
        self, catalogue: Mapping[str, Any], environment: Mapping[str, Any], playbooks: Mapping[str, str], prefix: str
    ) -> None:
        self.check = _Check()
        self.catalogue, self.environment, self.playbooks, self.prefix = catalogue, environment, playbooks, prefix
        self.items: list[Item] = []
        self.surveys: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.purposes: dict[tuple[str, str], list[str]] = {}
        self.approved: set[str] = set()
        self.settings: dict[str, Any] = {}

    def name(self, short: str) -> str:
        return f"{self.prefix}-{short}"

    def add(
        self,
        kind: str,
        name: str,
        args: dict[str, Any],
        needs: Sequence[tuple[str, str]] = (),
        references: dict[str, dict[str, str]] | None = None,
    ) -> None:
        own = () if kind in ("organizations", "credential_types") else (("organizations", self.prefix),)
        self.items.append(Item(kind, name, {"name": name, **args}, (*own, *needs), references or {}))

    def organization(self) -> None:
        given = self.check.mapping(self.environment.get("organization"), "organization", ("description",))
        self.add("organizations", self.prefix, {"description": given.get("description", "")})

    def credential_types(self) -> None:
        for short, value in self.check.named(self.catalogue.get("credential_types"), "credential_types").items():
            where = f"credential_types, {short}"
            given = self.check.mapping(value, where, ("description", "inputs", "injectors"), ("inputs", "injectors"))
            fields = (given.get("inputs") or {}).get("fields") or []
            for part in fields:
                self.check(
                    isinstance(part, dict) and {"id", "label", "type"} <= set(part),
                    where,
                    "each field of inputs has id, label and type",
                )
            for variable in (given.get("injectors") or {}).get("env") or {}:
                self.check(
                    not variable.startswith("ANSIBLE_"),
                    where,
                    f"AWX refuses {variable}: no name may begin with ANSIBLE_",
                )
            self.add("credential_types", self.name(short), {"kind": "cloud", **given})

    def credentials(self) -> None:
        types = self.check.named(self.catalogue.get("credential_types"), "credential_types")
        for short, value in self.check.named(self.environment.get("credentials"), "credentials").items():
            where = f"credentials, {short}"
            given = self.check.mapping(value, where, ("type", "description", "inputs"), ("type", "inputs"))
            kind = given.get("type")
            self.check(
                kind in types or kind in MANAGED_TYPES,
                where,
                f"there is no type {kind}; there are {', '.join([*types, *MANAGED_TYPES])}",
            )
            inputs = given.get("inputs") if isinstance(given.get("inputs"), dict) else {}
            assert isinstance(inputs, dict)
            references = dict(_references(inputs))
            for name, part in inputs.items():
                self.check(
                    name in references or isinstance(part, str | bool | int),
                    where,
                    f"{name} is a text, {{env: NAME}} or {{file: path}}",
                )
            needs: list[tuple[str, str]] = []
            if kind in types:
                fields = {
                    part["id"]: part
                    for part in types[kind].get("inputs", {}).get("fields", [])
                    if isinstance(part, dict)
                }
                for name in inputs:
                    self.check(name in fields, where, f"type {kind} has no field {name}; it has {', '.join(fields)}")
                for name in types[kind].get("inputs", {}).get("required", []):
                    self.check(name in inputs, where, f"{name} is missing")
                for name, part in fields.items():
                    secret = part.get("secret") and name in inputs and name not in references
                    self.check(not secret, where, f"{name} is a secret: give {{env: NAME}} or {{file: path}}")
                needs.append(("credential_types", self.name(str(kind))))
            else:
                for name in MANAGED_TYPES.get(str(kind), ()):
                    plain = name in inputs and name not in references
                    self.check(not plain, where, f"{name} is a secret: give {{env: NAME}} or {{file: path}}")
            args = {
                "description": given.get("description", ""),
                "credential_type": self.name(str(kind)) if kind in types else kind,
                "organization": self.prefix,
                "inputs": {name: part for name, part in inputs.items() if name not in references},
            }
            self.add("credentials", self.name(short), args, needs, references)

    def needed_credentials(self, values: Any, where: str) -> tuple[list[str], list[tuple[str, str]]]:
        known = list(self.environment.get("credentials") or {})
        names = [self.name(short) for short in self.check.among(values, known, where, "credential")]
        return names, [("credentials", name) for name in names]

    def vaults(self) -> list[str]:
        """Return the credentials that hold the password of a vault."""
        given = self.environment.get("credentials")
        of = given.items() if isinstance(given, dict) else ()
        return [str(name) for name, value in of if isinstance(value, dict) and value.get("type") == "Vault"]

    def execution_environment(self) -> None:
        where = "execution_environment"
        keys = ("image", "pull", "description", "credential")
        given = self.check.mapping(self.environment.get(where), where, keys, ("image",))
        self.check(
            given.get("pull", "missing") in ("always", "missing", "never"), where, "pull is always, missing or never"
        )
        args = {"image": given.get("image"), "pull": given.get("pull", "missing"), "organization": self.prefix}
        needs: list[tuple[str, str]] = []
        if given.get("credential"):
            (args["credential"],), needs = self.needed_credentials([given["credential"]], where) or ([None], [])
        self.add("execution_environments", self.name("control-node"), args, needs)

    def project(self) -> None:
        where = "project"
        keys = ("scm_url", "scm_branch", "scm_update_on_launch", "scm_update_cache_timeout", "credential", "timeout_s")
        given = self.check.mapping(self.environment.get(where), where, keys, ("scm_url",))
        args = {
            "organization": self.prefix,
            "scm_type": "git",
            "scm_url": given.get("scm_url"),
            "scm_branch": given.get("scm_branch", ""),
            "scm_clean": True,
            "scm_update_on_launch": bool(given.get("scm_update_on_launch", False)),
            "scm_update_cache_timeout": given.get("scm_update_cache_timeout", 0),
            "timeout": given.get("timeout_s", 600),
            "default_environment": self.name("control-node"),
        }
        needs = [("execution_environments", self.name("control-node"))]
        if given.get("credential"):
            names, more = self.needed_credentials([given["credential"]], where)
            args["credential"] = names[0] if names else None
            needs += more
        self.add("projects", self.name("project"), args, needs)

    def inventory(self) -> None:
        given = self.check.mapping(
            self.environment.get("inventory"), "inventory", ("variables", "sources"), ("sources",)
        )
        name = self.name("inventory")
        self.add("inventories", name, {"organization": self.prefix, "description": "", "variables": {}})
        for short, value in self.check.named(given.get("sources"), "inventory, sources").items():
            where = f"inventory, sources, {short}"
            source = self.check.mapping(value, where, ("path", "credential", "cache_s"), ("path",))
            names, needs = self.needed_credentials([source["credential"]] if source.get("credential") else [], where)
            args = {
                "organization": self.prefix,
                "inventory": name,
                "source": "scm",
                "source_project": self.name("project"),
                "source_path": source.get("path"),
                "execution_environment": self.name("control-node"),
                # What a source no longer has, goes; what another source has, stays.
                "overwrite": True,
                "overwrite_vars": True,
                "update_on_launch": True,
                "update_cache_timeout": source.get("cache_s", 0),
                "timeout": 300,
            }
            if names:
                args["credential"] = names[0]
            before = [("inventories", name), ("projects", self.name("project")), *needs]
            before.append(("execution_environments", self.name("control-node")))
            self.add("inventory_sources", self.name(short), args, before)

    def job_templates(self) -> None:
        shared = (self.environment.get("inventory") or {}).get("variables") or {}
        changes = self.check.named(self.environment.get("job_templates"), "job_templates")
        templates = self.check.named(self.catalogue.get("job_templates"), "job_templates")
        for short in changes:
            self.check(short in templates, "job_templates", f"there is no {short}; there are {', '.join(templates)}")
        keys = (
            "labels",
            "credentials",
            "timeout_s",
            "concurrent",
            "slices",
            "survey",
            "asks",
            "keeps_files",
            "forks",
            "variables",
            "approval",
        )
        for short, value in templates.items():
            where = f"job_templates, {short}"
            merged = {**(value or {}), **(changes.get(short) or {})} if isinstance(value, dict) else value
            given = self.check.mapping(merged, where, keys, ("labels", "timeout_s"))
            self.check(f"{short}.yml" in self.playbooks, where, f"there is no playbook {short}.yml")
            labels = [str(label) for label in given.get("labels") or []]
            self.check(
                sum(label in PURPOSES for label in labels) == 1, where, f"labels have one of {', '.join(PURPOSES)}"
            )
            timeout = given.get("timeout_s")
            self.check(isinstance(timeout, int) and 0 < timeout <= 172800, where, "timeout_s is from 1 to 172800")
            slices = given.get("slices", 1)
            self.check(isinstance(slices, int) and 1 <= slices <= 100, where, "slices is from 1 to 100")
            asks = self.check.among(given.get("asks"), ASKS, where, "thing to ask for")
            # Any job may read a value of the inventory that is in the vault.
            credentials, needs = self.needed_credentials([*(given.get("credentials") or []), *self.vaults()], where)
            questions = _survey(self.check, given.get("survey"), where)
            name = self.name(short)
            self.surveys["job_templates", name] = questions
            self.purposes["job_templates", name] = labels
            if given.get("approval"):
                self.approved.add(name)
            folders = {
                folder: f"{self.settings.get('files', '')}/{folder}" for folder in given.get("keeps_files") or []
            }
            args = {
                "organization": self.prefix,
                "description": purpose(self.playbooks.get(f"{short}.yml", "")),
                "job_type": "run",
                "project": self.name("project"),
                "playbook": f"playbooks/{short}.yml",
                "inventory": self.name("inventory"),
                "execution_environment": self.name("control-node"),
                "credentials": credentials,
                "labels": [self.name(label) for label in labels],
                "extra_vars": {**shared, **folders, **(given.get("variables") or {})},
                "timeout": timeout,
                "forks": given.get("forks", 0),
                "job_slice_count": slices,
                "allow_simultaneous": bool(given.get("concurrent", False)),
                "diff_mode": False,
                "ask_limit_on_launch": "limit" in asks,
                "ask_variables_on_launch": "variables" in asks,
                # A dry run of every operation; AWX asks for it at the launch.
                "ask_job_type_on_launch": True,
                "ask_diff_mode_on_launch": True,
                **_survey_args(name, questions),
                "webhook_service": "",
            }
            args |= self.webhook(short, labels, questions, needs)
            needs += [("projects", self.name("project")), ("inventories", self.name("inventory"))]
            needs += [("labels", self.name(label)) for label in labels]
            needs.append(("execution_environments", self.name("control-node")))
            self.add("job_templates", name, args, needs)

    def webhook(
        self, short: str, labels: list[str], questions: Sequence[Mapping[str, Any]], needs: list[tuple[str, str]]
    ) -> dict[str, Any]:
        """Return the arguments of what a push starts, none for the others. Adds what it needs."""
        where = f"webhooks, {short}"
        if short not in (self.environment.get("webhooks") or {}):
            return {}
        given = self.check.mapping(self.environment["webhooks"][short], where, ("service", "credential"), ("service",))
        service = str(given.get("service"))
        self.check(service in WEBHOOK_TOKENS, where, f"service is one of {', '.join(WEBHOOK_TOKENS)}, not {service}")
        self.check("end" not in labels, where, "what ends something for good isn't started by a push")
        for line in answer_faults(questions, {}, True):
            self.check(False, where, f"a push answers nothing: {line}")
        args: dict[str, Any] = {"webhook_service": service}
        if given.get("credential"):
            (args["webhook_credential"],), more = self.needed_credentials([given["credential"]], where) or ([None], [])
            needs += more
            kind = ((self.environment.get("credentials") or {}).get(given["credential"]) or {}).get("type")
            wanted = WEBHOOK_TOKENS.get(service)
            self.check(kind == wanted, where, f"the credential's type is {wanted}, not {kind}")
        return args

    def answers(self, value: Any, where: str) -> dict[str, Any]:
        found = {}
        for name, answer in self.check.mapping(value, where, list(value or {})).items():
            if isinstance(answer, dict):
                setting = answer.get("setting")
                self.check(setting in self.settings, where, f"settings have no {setting}")
                answer = self.settings.get(str(setting))
            found[name] = answer
        return found

    def nodes(self, values: Any, where: str) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
        """Return the nodes of a workflow as the module takes them, and what they need."""
        if not self.check(isinstance(values, list) and bool(values), where, "nodes is a list of nodes"):
            return [], []
        templates = list(self.catalogue.get("job_templates") or {})
        given = [
            self.check.mapping(value, where, ("name", "template", "approval", "answers", *LINKS), ("name",))
            for value in values
        ]
        names = [str(node.get("name")) for node in given]
        made: list[dict[str, Any]] = []
        needs: list[tuple[str, str]] = []
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.check(False, where, f"two nodes are called {name}")
        for node in given:
            at = f"{where}, node {node.get('name')}"
            self.check(("template" in node) != ("approval" in node), at, "a node has a template or an approval")
            links = {f"{link}_nodes": self.check.among(node.get(link), names, at, "node") for link in LINKS}
            job: dict[str, Any]
            if "approval" in node:
                approval = self.check.mapping(
                    node["approval"], at, ("description", "timeout_s"), ("description", "timeout_s")
                )
                job = {
                    "type": "workflow_approval",
                    "name": f"{self.prefix}-{where.rpartition(', ')[2]}-{node.get('name')}",
                    "description": approval.get("description"),
                    "timeout": approval.get("timeout_s"),
                }
            else:
                self.check(node.get("template") in templates, at, f"there is no job template {node.get('template')}")
                job = {
                    "type": "job_template",
                    "name": self.name(str(node.get("template"))),
                    "organization": {"name": self.prefix},
                }
                needs.append(("job_templates", self.name(str(node.get("template")))))
            answers = self.answers(node.get("answers"), at)
            questions = self.surveys.get(("job_templates", str(job["name"])), [])
            for line in answer_faults(questions, answers, False):
                self.check(False, at, line)
            made.append(
                {
                    "identifier": node.get("name"),
                    "unified_job_template": job,
                    "extra_data": answers,
                    "related": {
                        link: [{"identifier": name} for name in linked] for link, linked in links.items() if linked
                    },
                }
            )
        self.circles(made, where)
        self.approvals(made, where)
        return made, needs

    def approvals(self, nodes: Sequence[Mapping[str, Any]], where: str) -> None:
        """Check that a template that wants an approval runs after one, whichever way leads to it."""
        approving = {
            node["identifier"] for node in nodes if node["unified_job_template"]["type"] == "workflow_approval"
        }
        follow = {
            node["identifier"]: {link["identifier"] for linked in node["related"].values() for link in linked}
            for node in nodes
        }
        reached = set(follow).difference(*follow.values())
        while more := {name for at in reached - approving for name in follow[at]} - reached:
            reached |= more
        for node in nodes:
            template = node["unified_job_template"]["name"]
            unapproved = template in self.approved and node["identifier"] in reached
            self.check(not unapproved, f"{where}, node {node['identifier']}", f"{template} runs after an approval only")

    def circles(self, nodes: Sequence[Mapping[str, Any]], where: str) -> None:
        follow = {
            node["identifier"]: [link["identifier"] for linked in node["related"].values() for link in linked]
            for node in nodes
        }
        done: set[str] = set()
        while rest := [name for name in follow if name not in done]:
            ready = [name for name in rest if set(follow[name]) <= done]
            if not ready:
                self.check(False, where, f"the nodes {', '.join(rest)} follow each other in a circle")
                return
            done.update(ready)

    def workflows(self) -> None:
        for short, value in self.check.named(self.catalogue.get("workflows"), "workflows").items():
            where = f"workflows, {short}"
            keys = ("description", "labels", "survey", "nodes", "concurrent")
            given = self.check.mapping(value, where, keys, ("description", "labels", "nodes"))
            labels = [str(label) for label in given.get("labels") or []]
            self.check(
                sum(label in PURPOSES for label in labels) == 1, where, f"labels have one of {', '.join(PURPOSES)}"
            )
            name = self.name(short)
            # Schedules and webhooks name either of them by its name alone.
            self.check(("job_templates", name) not in self.surveys, where, f"a job template is called {short} too")
            questions = _survey(self.check, given.get("survey"), where)
            self.surveys["workflow_job_templates", name] = questions
            self.purposes["workflow_job_templates", name] = labels
            nodes, needs = self.nodes(given.get("nodes"), where)
            args = {
                "organization": self.prefix,
                "description": given.get("description"),
                "labels": [self.name(label) for label in labels],
                "allow_simultaneous": bool(given.get("concurrent", False)),
                "workflow_nodes": nodes,
                **_survey_args(name, questions),
            }
            args |= self.webhook(short, labels, questions, needs)
            needs += [("labels", self.name(label)) for label in labels]
            self.add("workflow_job_templates", name, args, needs)

    def labels(self) -> None:
        found: set[str] = set()
        for part in ("job_templates", "workflows"):
            for value in (self.catalogue.get(part) or {}).values():
                found |= set(map(str, (value or {}).get("labels") or [])) if isinstance(value, dict) else set()
        for label in sorted(found):
            self.add("labels", self.name(label), {"organization": self.prefix})

    def notifications(self) -> None:
        for short, value in self.check.named(self.environment.get("notifications"), "notifications").items():
            where = f"notifications, {short}"
            given = self.check.mapping(
                value, where, ("type", "description", "configuration"), ("type", "configuration")
            )
            kind = str(given.get("type"))
            configuration = given.get("configuration") if isinstance(given.get("configuration"), dict) else {}
            assert isinstance(configuration, dict)
            if self.check(
                kind in NOTIFICATION_NEEDS, where, f"type is one of {', '.join(NOTIFICATION_NEEDS)}, not {kind}"
            ):
                for name in NOTIFICATION_NEEDS[kind]:
                    self.check(name in configuration, where, f"configuration, {name} is missing")
            references = dict(_references(configuration))
            for name in NOTIFICATION_SECRETS.get(kind, ()):
                plain = configuration.get(name) and name not in references
                self.check(not plain, where, f"{name} is a secret: give {{env: NAME}} or {{file: path}}")
            args = {
                "organization": self.prefix,
                "description": given.get("description", ""),
                "notification_type": kind,
                "notification_configuration": {
                    name: part for name, part in configuration.items() if name not in references
                },
            }
            self.add("notification_templates", self.name(short), args, references=references)

    def schedules(self) -> None:
        for short, value in self.check.named(self.environment.get("schedules"), "schedules").items():
            where = f"schedules, {short}"
            given = self.check.mapping(
                value, where, ("template", "workflow", "rrule", "answers", "enabled"), ("rrule",)
            )
            self.check(("template" in given) != ("workflow" in given), where, "a schedule has a template or a workflow")
            kind, word = (
                ("job_templates", "template") if "template" in given else ("workflow_job_templates", "workflow")
            )
            name = self.name(str(given.get(word)))
            if self.check((kind, name) in self.surveys, where, f"there is no {word} {given.get(word)}"):
                answers = self.answers(given.get("answers"), where)
                for line in answer_faults(self.surveys[kind, name], answers, True):
                    self.check(False, where, line)
            rrule = str(given.get("rrule"))
            right = (
                len(re.findall(r"DTSTART(;TZID=[^:]+:\d{8}T\d{6}|:\d{8}T\d{6}Z)( |$)", rrule)) == 1
                and rrule.count("DTSTART") == 1
            )
            self.check(right, where, "rrule has exactly one DTSTART:YYYYMMDDTHHMMSSZ")
            rules = re.findall(r"RRULE:\S+", rrule)
            self.check(
                bool(rules) and all("INTERVAL=" in rule for rule in rules), where, "rrule has RRULE:… with INTERVAL=…"
            )
            args = {
                "organization": self.prefix,
                "unified_job_template": name,
                "rrule": rrule,
                "extra_data": self.answers(given.get("answers"), where),
                "enabled": bool(given.get("enabled", True)),
            }
            self.add("schedules", self.name(short), args, [(kind, name)])

    def executed(self, executes: Sequence[str], kind: str) -> list[str]:
        """Return what a team may launch. A template that wants an approval is left to the workflows that ask for it."""
        return [
            name
            for (of, name), labels in self.purposes.items()
            if of == kind and set(labels) & set(executes) and name not in self.approved
        ]

    def teams(self) -> None:
        for short, value in self.check.named(self.environment.get("teams"), "teams").items():
            where = f"teams, {short}"
            given = self.check.mapping(value, where, ("description", "executes", "organization_roles"))
            self.check.among(given.get("executes"), PURPOSES, where, "purpose")
            self.check.among(given.get("organization_roles"), ORGANIZATION_ROLES, where, "role of an organization")
            self.add(
                "teams", self.name(short), {"organization": self.prefix, "description": given.get("description", "")}
            )

    def roles(self) -> list[dict[str, Any]]:
        """Return what each team may do, as the arguments of awx.awx.role."""
        grants: list[dict[str, Any]] = []
        for short, value in (self.environment.get("teams") or {}).items():
            given = value or {}
            for role in given.get("organization_roles") or []:
                grants.append({"team": self.name(short), "role": role, "organizations": [self.prefix]})
            executes = given.get("executes") or []
            templates = self.executed(executes, "job_templates")
            workflows = self.executed(executes, "workflow_job_templates")
            if templates or workflows:
                grants.append(
                    {"team": self.name(short), "role": "execute", "job_templates": templates, "workflows": workflows}
                )
        return grants

    def tell(self) -> dict[str, list[str]]:
        """Return who is told of the organization's jobs: event -> names of notification templates."""
        events = ("started", "success", "error", "approvals")
        given = self.check.mapping(self.environment.get("tell"), "tell", events)
        known = list(self.environment.get("notifications") or {})
        return {
            event: [
                self.name(short)
                for short in self.check.among(given.get(event), known, f"tell, {event}", "notification")
            ]
            for event in events
        }

    def build(self) -> None:
        for where, data, keys in (
            ("the catalogue", self.catalogue, CATALOGUE_KEYS),
            (
                "the environment",
                self.environment,
                ENVIRONMENT_KEYS,
            ),
        ):
            self.check.mapping(data, where, keys)
        self.settings = self.check.mapping(
            self.environment.get("settings"),
            "settings",
            list(self.environment.get("settings") or {}),
            ("canaries", "files"),
        )
        started = [*(self.catalogue.get("job_templates") or {}), *(self.catalogue.get("workflows") or {})]
        self.check.among(list(self.environment.get("webhooks") or {}), started, "webhooks", "template or workflow")
        steps: tuple[Callable[[], None], ...] = (
            self.organization,
            self.credential_types,
            self.credentials,
            self.execution_environment,
            self.notifications,
            self.project,
            self.inventory,
            self.labels,
            self.job_templates,
            self.workflows,
            self.schedules,
            self.teams,
        )
        for step in steps:
            step()


@dataclass(frozen=True)
class Desired:
    """What AWX should hold: objects in the order of KINDS, what teams may do, and who is told."""

    items: list[Item]
    roles: list[dict[str, Any]]
    tell: dict[str, list[str]]


def desired(
    catalogue: Mapping[str, Any], environment: Mapping[str, Any], playbooks: Mapping[str, str], prefix: str
) -> Desired:
    """Return what AWX should hold. ``playbooks``: file name -> text. Raises Faulty with a line for each fault."""
    builder = _Builder(catalogue, environment, playbooks, prefix)
    builder.build()
    tell = builder.tell()
    if builder.check.lines:
        raise Faulty(builder.check.lines)
    items = sorted(builder.items, key=lambda item: KINDS.index(item.kind))
    return Desired(items, builder.roles(), tell)
