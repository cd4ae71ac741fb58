"""Compare what AWX should hold with what it holds: what is to be made, what can be tried in a dry run, what is left.

Pure: the objects of AWX come in as its API answers them (kind -> list). See awx_desired for the other side.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils.awx_desired import KINDS, NOTIFICATION_SECRETS, Desired, Item
else:
    from ansible.module_utils.awx_desired import KINDS, NOTIFICATION_SECRETS

LINKS = ("success_nodes", "failure_nodes", "always_nodes")
SECRET = "$encrypted$"  # noqa: S105 - what AWX shows in a secret's place
# AWX removes a label with its last use, and the organization is the frame of all others.
NEVER_LEFT_OVER = ("organizations", "labels")
# Kinds with roles for teams, by the words of awx.awx.role.
ROLES_OF = {
    "organizations": "organizations",
    "credentials": "credentials",
    "projects": "projects",
    "inventories": "inventories",
    "job_templates": "job_templates",
    "workflow_job_templates": "workflows",
}

Found = Mapping[str, Sequence[Mapping[str, Any]]]


def names(found: Found) -> set[tuple[str, str]]:
    """Return (kind, name) of all objects."""
    return {(kind, str(thing["name"])) for kind in KINDS for thing in found.get(kind, ())}


def shown_nodes(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a workflow's nodes as AWX holds them, by their identifiers, as far as the data says them."""
    identifiers = {node["id"]: str(node["identifier"]) for node in nodes}
    shown = {}
    for node in nodes:
        job = (node.get("summary_fields") or {}).get("unified_job_template") or {}
        approval = job.get("unified_job_type") == "workflow_approval"
        shown[identifiers[node["id"]]] = {
            "name": job.get("name"),
            "approval": [job.get("description"), job.get("timeout")] if approval else None,
            "extra_data": node.get("extra_data") or {},
            # A node of another workflow can't be linked, so each has an identifier.
            "links": {link: sorted(identifiers[other] for other in node.get(link) or []) for link in LINKS},
        }
    return shown


def wanted_nodes(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a workflow's nodes as the data has them, in the form of ``shown_nodes``."""
    wanted = {}
    for node in nodes:
        job = node["unified_job_template"]
        approval = job["type"] == "workflow_approval"
        related = node.get("related") or {}
        wanted[str(node["identifier"])] = {
            "name": job["name"],
            "approval": [job.get("description"), job.get("timeout")] if approval else None,
            "extra_data": node.get("extra_data") or {},
            "links": {link: sorted(other["identifier"] for other in related.get(link) or []) for link in LINKS},
        }
    return wanted


def same_notification(item: Item, present: Mapping[str, Any]) -> bool:
    """Whether AWX holds a notification as the data has it, as far as AWX shows: it adds settings, and hides secrets."""
    configuration = present.get("notification_configuration") or {}
    hidden = NOTIFICATION_SECRETS.get(str(item.args["notification_type"]), ())
    return (
        present.get("notification_type") == item.args["notification_type"]
        and (present.get("description") or "") == item.args["description"]
        and all(
            configuration.get(name) == value or (name in hidden and not value)
            for name, value in item.args["notification_configuration"].items()
        )
        and all(name in configuration for name in item.references)
    )


def planned(
    item: Item, present: Mapping[str, Any] | None, there: Collection[tuple[str, str]], rotate: bool, found: Found
) -> dict[str, Any]:
    """Return one object with what is to be done about it.

    ``exists``; ``ready``: it can be tried in a dry run, since all that it needs is there; ``send``: its secrets go to
    AWX (never without need: AWX doesn't give them back, so that sending them always counts as a change); ``skip``:
    nothing is to be done, and asking AWX's module would count as a change.
    """
    args = dict(item.args)
    exists = present is not None
    skip = False
    send = bool(item.references) and (not exists or rotate)
    if item.kind == "credentials" and present is not None and not rotate:
        # Inputs that aren't secret come from references too; AWX shows them, and would take the word for their value.
        shown = present.get("inputs") or {}
        args["inputs"] = {**args["inputs"], **{name: shown.get(name, SECRET) for name in item.references}}
        send = any(name not in shown for name in item.references)
    if item.kind == "notification_templates" and present is not None:
        skip = same_notification(item, present) and not rotate
        send = bool(item.references) and not skip
    if item.kind == "workflow_job_templates":
        nodes = args.pop("workflow_nodes")
        if present is not None:
            held = [
                node
                for node in found.get("workflow_job_template_nodes", ())
                if node["workflow_job_template"] == present["id"]
            ]
            # The module of awx.awx neither removes a node nor a link, and takes every approval for a change.
            differs = shown_nodes(held) != wanted_nodes(nodes)
            if differs:
                args |= {"workflow_nodes": nodes, "destroy_current_nodes": bool(held)}
        else:
            args |= {"workflow_nodes": nodes, "destroy_current_nodes": False}
    return {
        "kind": item.kind,
        "name": item.name,
        "args": args,
        "exists": exists,
        "ready": exists and all(need in there for need in item.needs),
        "references": item.references,
        "send": send,
        "skip": skip,
    }


def left_over_grants(desired: Desired, found: Found) -> list[dict[str, Any]]:
    """Return what teams of the data may do beyond the data: ``args`` of awx.awx.role, and ``line`` for a person."""
    wanted = {
        (grant["team"], grant["role"], kind, name)
        for grant in desired.roles
        for kind, word_of in ROLES_OF.items()
        for name in grant.get(word_of, ())
    }
    objects = {
        role["id"]: (field.removesuffix("_role"), kind, str(thing["name"]))
        for kind in ROLES_OF
        for thing in found.get(kind, ())
        for field, role in ((thing.get("summary_fields") or {}).get("object_roles") or {}).items()
    }
    there = {(item.kind, item.name) for item in desired.items}
    left = []
    for grant in found.get("grants", ()):
        # A role on an object of another organization isn't this data's to judge; one on what is left over goes with it.
        if ("teams", grant["team"]) not in there or grant["role_id"] not in objects:
            continue
        role, kind, name = objects[grant["role_id"]]
        if (kind, name) in there and (grant["team"], role, kind, name) not in wanted:
            args = {"team": grant["team"], "role": role, ROLES_OF[kind]: [name]}
            left.append({"args": args, "line": f"role {role} of team {grant['team']} on {word(kind)} {name}"})
    return left


def plan(desired: Desired, found: Found, rotate: Collection[str] = ()) -> dict[str, Any]:
    """Return what is to be done: ``objects`` by kind, ``missing``, ``left_over`` (kind -> names), ``roles``, ``sync``.

    ``rotate``: full names of what gets its secrets anew. ``sync``: the project must be synced before job templates can
    be made.
    """
    there = names(found)
    present = {(kind, str(thing["name"])): thing for kind in KINDS for thing in found.get(kind, ())}
    items = [
        planned(item, present.get((item.kind, item.name)), there, item.name in rotate, found) for item in desired.items
    ]
    wanted = {(item.kind, item.name) for item in desired.items}
    left_over = {
        kind: [
            {"name": str(thing["name"]), "of": owner(kind, thing)}
            for thing in found.get(kind, ())
            if (kind, str(thing["name"])) not in wanted and not thing.get("managed")
        ]
        for kind in reversed(KINDS)
        if kind not in NEVER_LEFT_OVER
    }
    grants = left_over_grants(desired, found)
    projects = found.get("projects", ())
    mine = [thing for thing in projects if ("projects", str(thing["name"])) in wanted]
    playbooks = {item.args["playbook"] for item in desired.items if item.kind == "job_templates"}
    lacking = sorted(playbooks - set(found.get("playbooks", ()))) if mine else []
    roles = [
        {
            **grant,
            "ready": all(
                need in there
                for need in [
                    ("teams", grant["team"]),
                    *(("organizations", name) for name in grant.get("organizations", ())),
                    *(("job_templates", name) for name in grant.get("job_templates", ())),
                    *(("workflow_job_templates", name) for name in grant.get("workflows", ())),
                ]
            ),
        }
        for grant in desired.roles
    ]
    return {
        "objects": {kind: [item for item in items if item["kind"] == kind] for kind in KINDS},
        "missing": [f"{word(item['kind'])} {item['name']}" for item in items if not item["exists"]],
        "left_over": {**left_over, "roles": [grant["args"] for grant in grants]},
        "left_over_lines": [
            *(str(grant["line"]) for grant in grants),
            *(f"{word(kind)} {thing['name']}" for kind, things in left_over.items() for thing in things),
        ],
        "roles": roles,
        "tell": desired.tell,
        "sync": bool(mine) and (mine[0].get("status") != "successful" or bool(lacking)),
        "lacking_playbooks": lacking,
        "revision": str(mine[0].get("scm_revision") or "") if mine else "",
    }


def owner(kind: str, thing: Mapping[str, Any]) -> str:
    """Return the name of what an object belongs to, which its module asks for: an inventory, a template, a type."""
    field = {
        "inventory_sources": "inventory",
        "schedules": "unified_job_template",
        "credentials": "credential_type",
    }.get(kind)
    return str(((thing.get("summary_fields") or {}).get(field) or {}).get("name", "")) if field else ""


def word(kind: str) -> str:
    """Return a kind as people say it: ``job_templates`` -> ``job template``."""
    return {"inventories": "inventory", "workflow_job_templates": "workflow"}.get(kind, kind.removesuffix("s")).replace(
        "_", " "
    )
