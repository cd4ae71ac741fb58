#!/usr/bin/python
"""Compare AWX with an environment's data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: awx_objects
short_description: Compare AWX with an environment's data
version_added: "0.1.0"
description:
  - Reads the data of an environment (docs/awx.md), fails with a line for each fault, reads what AWX holds in the
    environment's organization, and says what is to be made and what is left over. Changes nothing.
  - Made for AWX 24.6, whose tokens are made in AWX itself.
author: parkmesh project (@parkmesh)
attributes:
  check_mode:
    support: full
    description: Works the same.
options:
  host:
    description: Address of AWX. Without it environment variable E(CONTROLLER_HOST) is used.
    type: str
    required: true
  token:
    description: A token of AWX with scope write. Without it environment variable E(CONTROLLER_OAUTH_TOKEN) is used.
    type: str
    required: true
  verify:
    description: Whether to check the certificate of AWX.
    type: bool
    default: true
  prefix:
    description: Name of the organization, with which every name begins.
    type: str
    required: true
  catalogue:
    description: Folder of what all environments have.
    type: path
    required: true
  environment:
    description: Folder of the environment's own data.
    type: path
    required: true
  playbooks:
    description: Folder of the playbooks.
    type: path
    required: true
  rotate:
    description: Credentials and notifications that get their secrets anew, by their names in the data.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Compare
  awx_objects:
    host: https://awx.example.org
    token: "{{ lookup('ansible.builtin.env', 'CONTROLLER_OAUTH_TOKEN') }}"
    prefix: parkmesh-production
    catalogue: playbooks/files/awx
    environment: inventory/production/awx
    playbooks: playbooks
  register: plan
"""

RETURN = r"""
objects:
  description: The objects in the order in which they are made, by kind, with the arguments of their modules.
  returned: success
  type: dict
missing:
  description: What AWX doesn't hold yet.
  returned: success
  type: list
  elements: str
left_over:
  description:
    - What AWX holds in the organization and the data doesn't have, by kind.
    - Besides, C(roles) has what teams were given beyond the data, as the arguments of awx.awx.role.
  returned: success
  type: dict
left_over_lines:
  description: The same, a line for each.
  returned: success
  type: list
  elements: str
roles:
  description: What each team may do, as the arguments of awx.awx.role.
  returned: success
  type: list
  elements: dict
tell:
  description: Notification templates of the organization by event.
  returned: success
  type: dict
sync:
  description: Whether the project must be synced before job templates can be made.
  returned: success
  type: bool
lacking_playbooks:
  description: Playbooks that the project's present revision doesn't have.
  returned: success
  type: list
  elements: str
revision:
  description: The project's present revision.
  returned: success
  type: str
sync_output:
  description: The last lines of the project's last sync, where it failed.
  returned: success
  type: list
  elements: str
version:
  description: The version of AWX.
  returned: success
  type: str
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible.module_utils.urls import ConnectionError as UrlsError
from ansible.module_utils.urls import Request, SSLValidationError

if TYPE_CHECKING:
    from module_utils import awx_desired, awx_plan
else:
    from ansible.module_utils import awx_desired, awx_plan

TIMEOUT_S = 30
PAGE = 200
OF_THE_ORGANIZATION = {
    **dict.fromkeys(
        ("teams", "credentials", "execution_environments", "notification_templates", "projects", "inventories"),
        "organization",
    ),
    **dict.fromkeys(("labels", "job_templates", "workflow_job_templates"), "organization"),
    "inventory_sources": "inventory__organization",
    "schedules": "unified_job_template__organization",
    "workflow_job_template_nodes": "workflow_job_template__organization",
}


class Unreadable(Exception):
    """AWX can't be read; the text says why, in one line."""


class Api:
    """Reads AWX's API."""

    def __init__(self, host: str, token: str, verify: bool) -> None:
        self.host = host.rstrip("/")
        self.requests = Request(
            headers={"Authorization": f"Bearer {token}"},
            validate_certs=verify,
            timeout=TIMEOUT_S,
            follow_redirects="none",
        )

    def text(self, path: str) -> str:
        """Return an answer's body. Raises Unreadable."""
        try:
            return str(self.requests.get(f"{self.host}{path}").read().decode())
        except HTTPError as error:
            told = {
                401: "it doesn't accept the token (CONTROLLER_OAUTH_TOKEN): it is wrong or has expired",
                403: "the token's user may not read this",
                429: "it is asked too often; try again later",
            }.get(error.code, "see its logs" if error.code >= 500 else "is this the address of AWX 24.6?")
            raise Unreadable(
                f"AWX at {self.host} answered {error.code} to GET {path.partition('?')[0]}: {told}"
            ) from error
        except SSLValidationError as error:
            raise Unreadable(f"AWX at {self.host} shows a certificate that can't be checked") from error
        except (UrlsError, URLError, OSError, ValueError) as error:
            raise Unreadable(f"AWX can't be reached at {self.host}: {error}") from error

    def get(self, path: str) -> dict[str, Any]:
        """Return an answer that is an object of JSON. Raises Unreadable."""
        try:
            answer = json.loads(self.text(path))
        except ValueError as error:
            raise Unreadable(f"AWX at {self.host} didn't answer GET {path.partition('?')[0]} with JSON") from error
        return answer if isinstance(answer, dict) else {"results": answer}

    def every(self, kind: str, **query: object) -> list[dict[str, Any]]:
        """Return all objects of a kind that a query finds, page after page."""
        path: str | None = f"/api/v2/{kind}/?{urlencode({**query, 'page_size': PAGE, 'order_by': 'id'})}"
        found: list[dict[str, Any]] = []
        while path:
            answer = self.get(path)
            if "results" not in answer:
                raise Unreadable(
                    f"AWX at {self.host} answered GET {path.partition('?')[0]} with something else than a list"
                )
            found += answer["results"]
            path = answer.get("next")
        return found


def held(api: Api, prefix: str) -> dict[str, list[Any]]:
    """Return what AWX holds of an environment, by kind; besides, ``playbooks`` and ``sync_output`` of its project."""
    found: dict[str, list[Any]] = {
        "organizations": api.every("organizations", name=prefix),
        "credential_types": api.every("credential_types", name__startswith=f"{prefix}-"),
        "playbooks": [],
        "sync_output": [],
    }
    if not found["organizations"]:
        return found
    organization = found["organizations"][0]["id"]
    for kind, field in OF_THE_ORGANIZATION.items():
        found[kind] = api.every(kind, **{field: organization})
    # Besides its own, a team's roles are exactly what it was given (TeamRolesList in awx/api/views).
    found["grants"] = [
        {"team": team["name"], "role_id": role["id"]}
        for team in found["teams"]
        for role in api.every(f"teams/{team['id']}/roles")
    ]
    for project in found["projects"]:
        if project["name"] != f"{prefix}-project":
            continue
        found["playbooks"] = api.get(f"/api/v2/projects/{project['id']}/playbooks/")["results"]
        last = (project.get("related") or {}).get("last_update")
        if project.get("status") in ("failed", "error", "canceled") and last:
            output = api.text(f"{last}stdout/?format=txt").strip().splitlines()
            found["sync_output"] = [line.strip() for line in output if line.strip()][-12:]
    return found


def texts(folder: str, suffix: str = ".yml") -> dict[str, str]:
    """Return the files of a folder, name -> text. Raises Unreadable."""
    try:
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob(f"*{suffix}"))}
    except (OSError, ValueError) as error:
        raise Unreadable(f"{folder} can't be read: {error}") from error


def absent(references: dict[str, dict[str, str]]) -> list[str]:
    """Return what of the places of secrets has nothing."""
    lines = []
    for field, reference in references.items():
        if "env" in reference and not os.environ.get(reference["env"]):
            lines.append(f"{field}: environment variable {reference['env']} is empty")
        if "file" in reference:
            path = Path(reference["file"]).expanduser()
            try:
                empty = not path.read_text(encoding="utf-8").strip()
            except (OSError, ValueError):
                empty = True
            if empty:
                lines.append(f"{field}: file {path} can't be read or is empty")
    return lines


def compared(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the module's result. Raises Unreadable and awx_desired.Faulty."""
    prefix = parameters["prefix"]
    own = texts(parameters["environment"])
    if not own:
        raise Unreadable(f"{parameters['environment']} has no data of AWX; inventory/production/awx is an example")
    environment = awx_desired.read(own)
    catalogue = awx_desired.read(texts(parameters["catalogue"]))
    wanted = awx_desired.desired(catalogue, environment, texts(parameters["playbooks"]), prefix)
    rotate = {f"{prefix}-{short}" for short in parameters["rotate"]}
    unknown = sorted(rotate - {item.name for item in wanted.items if item.references})
    if unknown:
        raise awx_desired.Faulty([f"awx_rotate: {name.removeprefix(prefix + '-')} has no secret" for name in unknown])
    api = Api(parameters["host"], parameters["token"], parameters["verify"])
    version = str(api.get("/api/v2/ping/").get("version", ""))
    found = held(api, prefix)
    plan = awx_plan.plan(wanted, found, rotate)
    lines = [
        f"{awx_plan.word(item['kind'])} {item['name']}: {line}"
        for items in plan["objects"].values()
        for item in items
        if item["send"]
        for line in absent(item["references"])
    ]
    if lines:
        raise awx_desired.Faulty(lines)
    return {"changed": False, **plan, "sync_output": found["sync_output"], "version": version}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True, "fallback": (env_fallback, ["CONTROLLER_HOST"])},
            "token": {
                "type": "str",
                "required": True,
                "no_log": True,
                "fallback": (env_fallback, ["CONTROLLER_OAUTH_TOKEN"]),
            },
            "verify": {"type": "bool", "default": True},
            "prefix": {"type": "str", "required": True},
            "catalogue": {"type": "path", "required": True},
            "environment": {"type": "path", "required": True},
            "playbooks": {"type": "path", "required": True},
            "rotate": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**compared(module.params))
    except Unreadable as error:
        module.fail_json(msg=str(error))
    except awx_desired.Faulty as error:
        module.fail_json(msg=f"The data of AWX is wrong: {error}", faults=error.lines)


if __name__ == "__main__":
    main()
