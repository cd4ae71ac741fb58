"""Decide what has to change so that members and networks are as wanted. Pure: no I/O.

What isn't wanted is kept as it is; that is the rule for every setting and for every single tag of a member.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from module_utils import zerotier_model as model
    from module_utils.zerotier_model import Member, MemberSettings, Network
    from module_utils.zerotier_rule_compiler import compile_rules
else:
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils.zerotier_model import Member, MemberSettings, Network
    from ansible.module_utils.zerotier_rule_compiler import compile_rules


def capability_ids(wanted: object, network: Network) -> object:
    """Capabilities with the names that the control plane knows turned into ids; anything else stays as it is."""
    if not isinstance(wanted, list):
        return wanted
    names = network.capabilities_by_name
    return [names.get(entry, int(entry) if str(entry).isdigit() else entry) for entry in wanted]


def plan_member(
    wanted: Mapping[str, Any], current: Member | None, definitions: Mapping[str, Any]
) -> tuple[MemberSettings, MemberSettings]:
    """What has to be written for one member: (the changes, its settings when they are written).

    ``wanted`` has the keys of MemberSettings; a tag whose value is None is taken away. Raises SettingsError.
    """
    given = dict(wanted)
    tags = given.pop("tags", None)
    settings = model.wanted_member(given)
    before: MemberSettings = current.settings() if current is not None else MemberSettings()
    if tags is not None:
        if not isinstance(tags, Mapping):
            raise model.SettingsError(f"tags: a dictionary from tag to value was expected, not {tags!r}")
        kept = dict(before.get("tags", {}))
        for tag in [tag for tag, value in tags.items() if value is None]:
            kept.pop(next(iter(model.resolve_tags({tag: 0}, definitions))), None)
        kept.update(model.resolve_tags({t: value for t, value in tags.items() if value is not None}, definitions))
        settings["tags"] = dict(sorted(kept.items()))
    changes = cast(MemberSettings, model.differences(settings, before))
    return changes, cast(MemberSettings, {**before, **changes})


@dataclass(frozen=True, slots=True)
class MembersPlan:
    """What reconciling a set of members would do. All by node address."""

    create: dict[str, MemberSettings] = field(default_factory=dict)
    update: dict[str, MemberSettings] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    before: dict[str, MemberSettings] = field(default_factory=dict)
    after: dict[str, MemberSettings] = field(default_factory=dict)


def plan_members(
    wanted: Iterable[Mapping[str, Any]],
    current: Iterable[Member],
    network: Network,
    definitions: Mapping[str, Any],
    *,
    purge: bool = False,
    purge_authorized_only: bool = False,
    unsupported: frozenset[str] = frozenset(),
) -> MembersPlan:
    """Plan a whole set. Raises SettingsError that lists every mistake in it, so that nothing is half written.

    ``purge`` plans the removal of members that aren't wanted; ``purge_authorized_only`` leaves those alone that were
    never admitted. ``unsupported`` settings are left out.
    """
    existing = {member.address: member for member in current}
    plan = MembersPlan()
    problems: list[str] = []
    final: dict[str, MemberSettings] = {}
    for index, entry in enumerate(wanted):
        try:
            address = model.node_address(entry.get("address"))
        except model.SettingsError as error:
            problems.append(f"members[{index}]: {error}")
            continue
        if address in final:
            problems.append(f"members[{index}]: the member {address} is there twice")
            continue
        given = {name: value for name, value in entry.items() if name != "address" and name not in unsupported}
        given["capabilities"] = capability_ids(given.get("capabilities"), network)
        try:
            changes, settings = plan_member(given, existing.get(address), definitions)
        except model.SettingsError as error:
            problems.append(f"member {address}: {error}")
            continue
        final[address] = settings
        if address not in existing:
            plan.create[address] = changes
        elif changes:
            plan.update[address] = changes
            plan.before[address] = existing[address].settings()
        else:
            plan.unchanged.append(address)
            continue
        plan.after[address] = settings
    unwanted = [member for address, member in existing.items() if address not in final]
    if purge:
        removable = [member for member in unwanted if member.authorized or not purge_authorized_only]
        plan.remove.extend(sorted(member.address for member in removable))
    problems += _address_problems(plan, final, unwanted, network)
    if problems:
        raise model.SettingsError("; ".join(problems))
    return plan


def _address_problems(
    plan: MembersPlan, final: Mapping[str, MemberSettings], unwanted: Iterable[Member], network: Network
) -> list[str]:
    removed = set(plan.remove)
    remaining = [member for member in unwanted if member.address not in removed]
    holders: dict[str, list[str]] = {}
    for address, settings in final.items():
        for text in settings.get("ip_assignments", []):
            holders.setdefault(text, []).append(address)
    for member in remaining:
        for text in member.ip_assignments:
            holders.setdefault(text, []).append(member.address)
    problems = []
    changed = {**plan.create, **plan.update}
    for address, changes in changed.items():
        if "ip_assignments" not in changes:
            continue
        problems += [f"member {address}: {text}" for text in model.address_conflicts(address, changes, network, [])]
        for text in changes["ip_assignments"]:
            others = [holder for holder in holders.get(text, []) if holder != address]
            if others:
                problems.append(f"member {address}: {text} is also the address of {', '.join(others)}")
    return problems


def compiled_settings(given: Mapping[str, Any], *, keeps_source: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Turn a network's wanted rules, tags and capabilities by name into settings: (settings, definitions of tags).

    ``given`` may have ``rules`` (compiled) or ``rules_source`` (text), ``tags`` (``{"role": {"id": 1, "enums": {…}}}``)
    and ``capabilities`` (``{"name": {"id": 1000, "default": false, "rules": […]}}``). A control plane that keeps the
    source gets it as it is, unless it lacks the tags that are defined beside it. Raises SettingsError or
    RuleCompileError.
    """
    settings: dict[str, Any] = {}
    tags: dict[str, Any] = {str(name): dict(definition) for name, definition in (given.get("tags") or {}).items()}
    capabilities: dict[str, Any] = dict(given.get("capabilities") or {})
    source = given.get("rules_source")
    if source is not None and given.get("rules") is not None:
        raise model.SettingsError("rules and rules_source exclude each other")
    definitions = {name: _definition(name, definition) for name, definition in tags.items()}
    capability_list = [
        {"id": entry.get("id"), "default": entry.get("default") or False, "rules": entry.get("rules") or []}
        for entry in capabilities.values()
    ]
    names = {name: entry.get("id") for name, entry in capabilities.items()}
    if source is not None:
        compiled = compile_rules(source, definitions)
        definitions = dict(compiled.tags_by_name)
        capability_list += compiled.capabilities
        names.update(compiled.capabilities_by_name)
        if keeps_source and not tags and not capabilities:
            return {"rules_source": source}, definitions
        settings["rules"] = compiled.rules
    elif given.get("rules") is not None:
        settings["rules"] = given["rules"]
    if given.get("tags") is not None or source is not None:
        settings["tags"] = [{"id": tag["id"], "default": tag["default"]} for tag in definitions.values()]
        settings["tags_by_name"] = definitions
    if given.get("capabilities") is not None or source is not None:
        settings["capabilities"] = capability_list
        settings["capabilities_by_name"] = names
    return settings, definitions


def _definition(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(given) - {"id", "default", "enums", "flags"}
    if unknown:
        raise model.SettingsError(f"tags.{name}: {', '.join(sorted(unknown))} means nothing in a tag")
    enums = {str(key): value for key, value in (given.get("enums") or {}).items()}
    flags = {str(key): value for key, value in (given.get("flags") or {}).items()}
    default = given.get("default")
    if isinstance(default, str):
        if default not in {**enums, **flags}:
            raise model.SettingsError(f"tags.{name}.default: {default!r} is no enum and no flag of this tag")
        default = {**flags, **enums}[default]
    return {"id": given.get("id"), "default": default, "enums": enums, "flags": flags}
