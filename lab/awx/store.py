"""What the double holds, and AWX's rules for it: validation, uniqueness, what a project's sync finds."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.awx import surveys
from lab.awx.models import MANAGED_TYPES, MODELS, NOTIFICATION_SECRETS, NOTIFICATIONS, UNIFIED, Model

SECRET = "$encrypted$"  # noqa: S105 - what AWX shows in a secret's place
SYNC_S = 0.3
# awx/main/utils/ansible.py
PLAYBOOK = re.compile(
    r"^\s*?-?\s*?(?:hosts|(ansible\.builtin\.)?include|(ansible\.builtin\.)?import_playbook):\s*?.*?$"
)


class Refused(Exception):
    """A request that AWX refuses, with its status and body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.status, self.body = status, body


def playbooks_of(folder: Path) -> list[str]:
    """Return the files that AWX offers as playbooks of a project (Project.playbooks, skip_directory,
    could_be_playbook)."""
    found = []
    for where, folders, names in folder.walk():
        # Not entered at all: a checkout has its environment and caches there, a hundred times what git holds.
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in {"roles", "tasks", "group_vars", "host_vars"}
        ]
        for path in (where / name for name in names if name.endswith((".yml", ".yaml"))):
            lines = path.read_text(encoding="utf-8", errors="ignore").splitlines()
            if any(PLAYBOOK.match(line) for line in lines) or (lines[:1] and lines[0].startswith("$ANSIBLE_VAULT;")):
                found.append(str(path.relative_to(folder)))
    return sorted(found, key=str.lower)


def revision_of(folder: Path) -> str:
    return hashlib.sha1("\n".join(playbooks_of(folder)).encode(), usedforsecurity=False).hexdigest()


class Store:
    """All objects, by kind and id. ``projects``: address of a repository -> folder; an unknown one can't be synced."""

    def __init__(self, projects: Mapping[str, Path]) -> None:
        self.repositories = dict(projects)
        self.objects: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in MODELS}
        self.attached: dict[tuple[str, int, str], list[int]] = {}
        self.roles: dict[int, tuple[str, int, str]] = {}
        self.grants: dict[int, list[int]] = {}
        self.updates: dict[int, dict[str, Any]] = {}
        self.writes: list[str] = []
        self._counts: dict[str, int] = {}
        for name, (kind, plain, secret) in MANAGED_TYPES.items():
            fields: list[dict[str, Any]] = [{"id": field, "label": field, "type": "string"} for field in plain]
            fields += [{"id": field, "label": field, "type": "string", "secret": True} for field in secret]
            thing = self._blank("credential_types")
            thing |= {"name": name, "kind": kind, "managed": True, "inputs": {"fields": fields}}

    def next_id(self, kind: str) -> int:
        # Each table counts on its own, from another number, so that no id of one kind passes for one of another.
        table = "unified" if kind in UNIFIED else kind
        first = 100 * (1 + sorted({"unified", "roles", "updates", *MODELS}).index(table))
        self._counts[table] = self._counts.get(table, first) + 1
        return self._counts[table]

    def _blank(self, kind: str) -> dict[str, Any]:
        number = self.next_id(kind)
        thing = {name: copy.deepcopy(field.default) for name, field in MODELS[kind].fields.items()} | {"id": number}
        self.objects[kind][number] = thing
        for role in MODELS[kind].roles:
            self.roles[self.next_id("roles")] = (kind, number, f"{role}_role")
        return thing

    def find(self, kind: str, number: int) -> dict[str, Any]:
        thing = self.objects.get(kind, {}).get(number)
        if thing is None:
            raise Refused(404, {"detail": f"No {MODELS[kind].type.replace('_', ' ').title()} matches the given query."})
        return thing

    def unified(self, number: int) -> tuple[str, dict[str, Any]]:
        for kind in UNIFIED:
            if number in self.objects[kind]:
                return kind, self.objects[kind][number]
        raise Refused(404, {"detail": "Not found."})

    def related(self, kinds: tuple[str, ...], number: int) -> dict[str, Any] | None:
        return next((self.objects[kind][number] for kind in kinds if number in self.objects[kind]), None)

    # -- writing

    def create(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        model = MODELS[kind]
        values = self._clean(kind, body, None)
        thing = {name: copy.deepcopy(field.default) for name, field in model.fields.items()} | values
        if kind == "workflow_job_template_nodes" and not thing["identifier"]:
            thing["identifier"] = f"{time.monotonic_ns():x}"
        self._validate(kind, thing, body, None)
        made = self._blank(kind)
        made |= {**thing, "id": made["id"]}
        self._after(kind, made, None)
        return made

    def change(self, kind: str, number: int, body: Mapping[str, Any]) -> dict[str, Any]:
        before = self.find(kind, number)
        if before.get("managed"):
            raise Refused(403, {"detail": f"Modifications not allowed for managed {kind.replace('_', ' ')}"})
        thing = copy.deepcopy(before) | self._clean(kind, body, before)
        self._validate(kind, thing, body, before)
        old = copy.deepcopy(before)
        before |= thing
        self._after(kind, before, old)
        return before

    def _clean(self, kind: str, body: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the values of a body that may be written; fields that AWX doesn't know are passed over, as there."""
        errors: dict[str, list[str]] = {}
        values: dict[str, Any] = {}
        for name, field in MODELS[kind].fields.items():
            if field.read_only or (field.fixed and before is not None):
                continue
            if name not in body:
                if field.required and before is None:
                    errors[name] = ["This field is required."]
                continue
            value = body[name]
            if field.to and value == "":
                value = None
            if value is None:
                if field.type is str and not field.required:
                    values[name] = None if field.null else ""
                elif field.null:
                    values[name] = None
                else:
                    errors[name] = ["This field may not be null."]
                continue
            if field.to:
                if not isinstance(value, int) or isinstance(value, bool):
                    errors[name] = [f"Incorrect type. Expected pk value, received {type(value).__name__}."]
                elif self.related(field.to, value) is None:
                    errors[name] = [f'Invalid pk "{value}" - object does not exist.']
                values[name] = value
                continue
            right = isinstance(value, field.type) and (field.type is bool or not isinstance(value, bool))
            if not right:
                word = {
                    str: "Not a valid string.",
                    int: "A valid integer is required.",
                    bool: "Must be a valid boolean.",
                }
                errors[name] = [word.get(field.type, "Value must be valid JSON.")]  # type: ignore[arg-type]
            elif field.choices and value not in field.choices:
                errors[name] = [f'"{value}" is not a valid choice.']
            elif field.required and value == "":
                errors[name] = ["This field may not be blank."]
            elif field.longest is not None and len(value) > field.longest:
                errors[name] = [f"Ensure this field has no more than {field.longest} characters."]
            values[name] = copy.deepcopy(value)
        if errors:
            raise Refused(400, errors)
        return values

    def _validate(
        self, kind: str, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        check = getattr(self, f"_check_{kind}", None)
        if check is not None:
            check(thing, body, before)
        model = MODELS[kind]
        if model.unique:
            for other in self.objects[kind].values():
                same = all(other[name] == thing[name] for name in model.unique)
                if same and (before is None or other["id"] != before["id"]):
                    raise Refused(400, self._not_unique(model))

    @staticmethod
    def _not_unique(model: Model) -> dict[str, list[str]]:
        title = model.type.replace("_", " ").capitalize()
        if model.unique == ("name",):
            return {"name": [f"{title} with this Name already exists."]}
        if model.job:
            words = "".join(word.capitalize() for word in model.type.split("_"))
            return {"__all__": [f"{words} with this ({', '.join(sorted(model.unique))}) combination already exists."]}
        return {"__all__": [f"{title} with this {' and '.join(map(str.capitalize, model.unique))} already exists."]}

    def _check_credential_types(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        inputs, injectors = thing["inputs"], thing["injectors"]
        used = before and any(one["credential_type"] == before["id"] for one in self.objects["credentials"].values())
        if set(inputs) - {"fields", "required"} or set(injectors) - {"file", "env", "extra_vars"}:
            raise Refused(400, {"inputs": ["Additional properties are not allowed"]})
        names = []
        for field in inputs.get("fields", []):
            if not {"id", "label"} <= set(field):
                raise Refused(400, {"inputs": ["'id' and 'label' are required properties"]})
            allowed = {"id", "label", "type", "secret", "format", "choices", "help_text", "multiline", "default"}
            if set(field) - allowed:
                raise Refused(400, {"inputs": [f"Additional properties are not allowed ({set(field) - allowed})"]})
            # AWX adds the type; who leaves it out sees a difference at every run.
            field.setdefault("type", "string")
            names.append(field["id"])
        if len(names) != len(set(names)):
            raise Refused(400, {"inputs": ["field IDs must be unique"]})
        if used and inputs != before["inputs"]:  # type: ignore[index]
            raise Refused(
                403, {"detail": "Modifications to inputs are not allowed for credential types that are in use"}
            )
        for variable in injectors.get("env", {}):
            if variable.startswith("ANSIBLE_"):
                told = f"Environment variable {variable} may affect Ansible configuration so its use is not allowed."
                raise Refused(400, {"injectors": [told]})
        for text in re.findall(r"\{\{\s*(\w+)[\w.]*\s*\}\}", json.dumps(injectors)):
            if text not in (*names, "tower"):
                raise Refused(400, {"injectors": [f"{text} uses an undefined field"]})

    def _check_credentials(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        if before is None and thing["organization"] is None:
            raise Refused(400, {"detail": "Missing 'user', 'team', or 'organization'."})
        of = self.objects["credential_types"][thing["credential_type"]]
        fields = {field["id"]: field for field in of["inputs"].get("fields", [])}
        for name, value in thing["inputs"].items():
            if name not in fields:
                raise Refused(400, {"inputs": [f"Additional properties are not allowed ('{name}' was unexpected)"]})
            # Another field would become this very text (Credential.save in awx/main/models/credential/__init__.py).
            if value == SECRET and fields[name].get("secret"):
                if before is None or name not in before["inputs"]:
                    raise Refused(400, {"inputs": {name: [f"{SECRET} is a reserved keyword."]}})
                thing["inputs"][name] = before["inputs"][name]
        key = thing["inputs"].get("ssh_key_data")
        if key is not None and not re.match(r"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----\n.*-----END", key, re.DOTALL):
            raise Refused(400, {"inputs": {"ssh_key_data": ["Invalid certificate or key: " + "…"]}})

    def _check_execution_environments(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        if before and body.get("organization") and body["organization"] != before["organization"]:
            raise Refused(400, {"organization": ["Cannot change the organization of an execution environment"]})

    def _check_notification_templates(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        configuration, lines, missing, wrong = thing["notification_configuration"], [], [], []
        for name, (kind, default) in NOTIFICATIONS[thing["notification_type"]].items():
            if name not in configuration:
                if default is ...:
                    missing.append(name)
                    continue
                configuration[name] = default
            if type(configuration[name]) is not kind:
                wrong.append(name)
            elif kind is list and not configuration[name]:
                lines.append(f"No values specified for field '{name}'")
            elif configuration[name] == SECRET and before is not None:
                configuration[name] = before["notification_configuration"].get(name, "")
        if missing:
            lines.append(f"Missing required fields for Notification Configuration: {missing}.")
        lines += [f"Configuration field '{name}' incorrect type." for name in wrong]
        if lines:
            raise Refused(400, {"__all__": lines})

    def _check_inventory_sources(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        if thing["source"] == "scm":
            if thing["source_project"] is None:
                raise Refused(400, {"source_project": ["Project required for scm type sources."]})
        elif thing["source_project"] or thing["source_path"]:
            raise Refused(400, {"detail": "Cannot set source_project source_path if not SCM type."})
        if thing["credential"] is not None:
            credential = self.objects["credentials"][thing["credential"]]
            kind = self.objects["credential_types"][credential["credential_type"]]["kind"]
            if kind in ("insights", "vault"):
                told = "Credentials of type insights and vault are disallowed for scm inventory sources."
                raise Refused(400, {"credential": [told]})

    def _check_job_templates(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        project = self.objects["projects"].get(thing["project"])
        if project is None:
            raise Refused(400, {"project": ["This field is required."]})
        thing["organization"] = project["organization"]
        if thing["playbook"] and thing["playbook"] not in project.get("playbook_files", []):
            raise Refused(400, {"playbook": ["Playbook not found for project."]})
        if not thing["playbook"]:
            raise Refused(400, {"playbook": ["Must select playbook for project."]})
        if thing["inventory"] is None and not thing["ask_inventory_on_launch"]:
            raise Refused(400, {"inventory": ["You must either set a default value or ask to prompt on launch."]})
        self._variables(thing["extra_vars"])
        self._webhook(thing)

    def _check_workflow_job_templates(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        self._webhook(thing)

    def _webhook(self, thing: Mapping[str, Any]) -> None:
        if thing["webhook_credential"] is None:
            return
        credential = self.objects["credentials"][thing["webhook_credential"]]
        kind = self.objects["credential_types"][credential["credential_type"]]
        if kind["kind"] != "token":
            raise Refused(400, {"webhook_credential": ["Must be a Personal Access Token."]})
        service = {"GitHub Personal Access Token": "github", "GitLab Personal Access Token": "gitlab"}[kind["name"]]
        if service != thing["webhook_service"]:
            raise Refused(400, {"webhook_credential": ["Must match the selected webhook service."]})

    @staticmethod
    def _variables(text: str) -> None:
        if text and text[:1] not in "{-":
            raise Refused(400, {"extra_vars": ["Cannot parse as JSON or YAML."]})

    def _launch(self, thing: Mapping[str, Any], body: Mapping[str, Any], whole: bool) -> None:
        number = thing["unified_job_template"]
        if number is None or "extra_data" not in body:
            return
        template = self.unified(number)[1]
        survey = template.get("survey_spec") or {}
        asked = (
            {question["variable"] for question in survey.get("spec", [])} if template.get("survey_enabled") else set()
        )
        strange = set() if template.get("ask_variables_on_launch") else set(body["extra_data"]) - asked
        if strange:
            told = (
                f"Variables {', '.join(sorted(strange))} are not allowed on launch. Check the Prompt on Launch setting."
            )
            raise Refused(400, {"extra_data": [told]})
        errors = surveys.answer_errors(survey, body["extra_data"], whole) if asked else []
        if errors:
            raise Refused(400, {"variables_needed_to_start": errors})

    def _check_workflow_job_template_nodes(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        self._launch(thing, body, whole=False)

    def _check_schedules(
        self, thing: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> None:
        lines = surveys.rrule_errors(thing["rrule"])
        if lines:
            raise Refused(400, {"rrule": lines})
        self._launch(thing, {"extra_data": thing["extra_data"]}, whole=True)

    def _after(self, kind: str, thing: dict[str, Any], before: Mapping[str, Any] | None) -> None:
        self.writes.append(f"{'PATCH' if before else 'POST'} {kind} {thing.get('name') or thing.get('identifier')}")
        source = ("scm_type", "scm_url", "scm_branch", "credential")
        if kind == "projects" and thing["scm_type"] and (not before or any(before[f] != thing[f] for f in source)):
            self.sync(thing)

    def delete(self, kind: str, number: int) -> int:
        """Remove an object and what belongs to it; returns AWX's status."""
        thing = self.find(kind, number)
        if thing.get("managed"):
            raise Refused(403, {"detail": "Deletion not allowed for managed objects"})
        if kind == "credential_types" and any(
            c["credential_type"] == number for c in self.objects["credentials"].values()
        ):
            raise Refused(403, {"detail": "Credential types that are in use cannot be deleted"})
        self.writes.append(f"DELETE {kind} {thing.get('name') or thing.get('identifier')}")
        self._remove(kind, number)
        return 202 if kind == "inventories" else 204

    def _remove(self, kind: str, number: int) -> None:
        del self.objects[kind][number]
        for role in [role for role, (of, whose, _) in self.roles.items() if (of, whose) == (kind, number)]:
            del self.roles[role]
            self.grants.pop(role, None)
        for other, model in MODELS.items():
            for name, field in model.fields.items():
                if kind not in field.to:
                    continue
                for one in [one for one in self.objects[other].values() if one[name] == number]:
                    if field.required:
                        self._remove(other, one["id"])
                    else:
                        one[name] = None
        for (of, whose, name), numbers in list(self.attached.items()):
            if of == kind and whose == number:
                del self.attached[of, whose, name]
            elif MODELS[of].lists[name] == kind and number in numbers:
                numbers.remove(number)

    # -- attaching

    def attach(self, kind: str, number: int, name: str, body: Mapping[str, Any]) -> None:
        self.find(kind, number)
        held = self.attached.setdefault((kind, number, name), [])
        other = body.get("id")
        if not isinstance(other, int) or isinstance(other, bool):
            raise Refused(
                400, {"msg": '"id" field must be an integer.' if other else '"id" is required to disassociate'}
            )
        to = MODELS[kind].lists[name]
        if other not in self.objects[to]:
            raise Refused(400, {"detail": f"No {MODELS[to].type} matches the given query."})
        self.writes.append(f"POST {kind} {number} {name} {'-' if body.get('disassociate') else '+'}{other}")
        if body.get("disassociate"):
            if other in held:
                held.remove(other)
            return
        if (kind, name) == ("job_templates", "credentials"):
            self._one_of_each_type(held, other)
        if name.endswith("_nodes"):
            mine, theirs = self.find(kind, number), self.find(kind, other)
            if mine["workflow_job_template"] != theirs["workflow_job_template"]:
                raise Refused(400, {"Error": "Relationship not allowed."})
            if number in self._following(other):
                raise Refused(400, {"Error": "Cycle detected."})
        if other not in held:
            held.append(other)

    def _one_of_each_type(self, held: list[int], other: int) -> None:
        credentials, types = self.objects["credentials"], self.objects["credential_types"]
        of = types[credentials[other]["credential_type"]]
        if of["kind"] not in ("ssh", "vault", "cloud", "net", "kubernetes"):
            raise Refused(400, {"error": f"Cannot assign a Credential of kind `{of['kind']}`."})
        if any(credentials[one]["credential_type"] == of["id"] and one != other for one in held):
            raise Refused(400, {"error": f"Cannot assign multiple {of['name']} credentials."})

    def _following(self, number: int) -> Iterator[int]:
        yield number
        for link in ("success_nodes", "failure_nodes", "always_nodes"):
            for other in self.attached.get(("workflow_job_template_nodes", number, link), []):
                yield from self._following(other)

    def grant(self, role: int, body: Mapping[str, Any]) -> None:
        if role not in self.roles:
            raise Refused(404, {"detail": "No Role matches the given query."})
        kind, number, name = self.roles[role]
        team = body.get("id")
        if team not in self.objects["teams"]:
            raise Refused(400, {"detail": "No Team matches the given query."})
        if kind == "organizations" and name in ("member_role", "admin_role"):
            told = "You cannot assign an Organization participation role as a child role for a Team."
            raise Refused(400, {"msg": told})
        held = self.grants.setdefault(role, [])
        self.writes.append(f"POST roles {kind} {number} {name} {'-' if body.get('disassociate') else '+'}{team}")
        if body.get("disassociate"):
            held.remove(team)
        elif team not in held:
            held.append(team)

    # -- syncs of projects

    def sync(self, project: dict[str, Any]) -> dict[str, Any]:
        number = self.next_id("updates")
        update = {"id": number, "project": project["id"], "name": project["name"], "status": "running", "stdout": ""}
        update["begun"] = time.monotonic()
        self.updates[number] = update
        project |= {"status": "running", "current_update": number}
        return update

    def settle(self) -> None:
        """End the syncs that have run long enough."""
        for update in self.updates.values():
            if update["status"] != "running" or time.monotonic() - update["begun"] < SYNC_S:
                continue
            project = self.objects["projects"].get(update["project"])
            if project is None:
                update["status"] = "canceled"
                continue
            folder = self.repositories.get(project["scm_url"])
            if folder is None:
                told = f"fatal: unable to access '{project['scm_url']}/': Could not resolve host"
                update |= {
                    "status": "failed",
                    "stdout": f"TASK [Update project using git]\nfatal: [localhost]: FAILED!\n{told}\n",
                }
            else:
                update |= {"status": "successful", "scm_revision": revision_of(folder)}
                project |= {"playbook_files": playbooks_of(folder), "scm_revision": update["scm_revision"]}
            project |= {"status": update["status"], "last_update": update["id"]}
            project.pop("current_update", None)

    # -- hiding

    def shown_inputs(self, credential: Mapping[str, Any]) -> dict[str, Any]:
        of = self.objects["credential_types"][credential["credential_type"]]
        secret = {field["id"] for field in of["inputs"].get("fields", []) if field.get("secret")}
        return {name: SECRET if name in secret and value else value for name, value in credential["inputs"].items()}

    @staticmethod
    def shown_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: SECRET if name in NOTIFICATION_SECRETS and value else value for name, value in configuration.items()
        }
