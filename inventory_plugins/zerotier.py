"""Inventory of the members of ZeroTier networks, on any control plane."""

from __future__ import annotations

DOCUMENTATION = r"""
name: zerotier
short_description: Members of ZeroTier networks
description:
  - Reads the members of one or more ZeroTier networks from self-hosted controllers, Central v1 and Central v2 (beta),
    and makes a host of each node. A node that is a member of several networks is one host.
  - The file's name ends in C(zerotier.yml) or C(zerotier.yaml).
  - All members of a network are read with one request.
  - "Every host gets the variables (with O(hostvars_prefix) before each) C(address), C(name), C(description),
    C(authorized), C(rejected), C(online), C(last_seen) (ms since the epoch), C(physical_address), C(client_version),
    C(ip_assignments), C(tags) (values by the tags' names, enums by their names) and C(networks) (each membership in
    full), and C(ansible_host)."
  - "Every host is in the groups (with O(group_prefix) before each) C(authorized), C(pending) or C(rejected), C(online)
    or C(offline), C(network_<name>), and one for each tag: C(<tag>_<enum>), C(<tag>_<flag>) or C(<tag>_<value>)."
  - The plugin never evaluates text from an API as a template.
  - O(groups) and O(keyed_groups) that use this plugin's variables only are evaluated once for all hosts that are alike
    in those.
author: parkmesh project (@parkmesh)
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: Marks the file as this plugin's.
    required: true
    choices: [zerotier]
  api:
    description:
      - The kind of control plane.
      - V(auto) takes a Central kind from the path of O(url), and asks any other URL whether it is a controller.
    type: str
    choices: [auto, controller, central_v1, central_v2]
    default: auto
  url:
    description:
      - Base URL of the control plane. May be a template, which knows C(inventory_dir) and C(inventory_file).
      - The defaults are V(http://127.0.0.1:9993) for V(auto) and V(controller),
        V(https://api.zerotier.com/api/v1) and V(https://central.zerotier.com/api/v2).
    type: str
    env:
      - name: ZEROTIER_URL
      - name: ZEROTIER_CENTRAL_URL
  token:
    description:
      - The API token; for a controller the content of its C(authtoken.secret).
      - May be a template (a lookup, an extra variable) or an encrypted string. The environment counts only where
        neither O(token) nor O(token_file) is in the file.
    type: str
    env:
      - name: ZEROTIER_TOKEN
      - name: ZEROTIER_CENTRAL_TOKEN
  token_file:
    description: A file with the token in it. May be a template; a relative path is relative to the inventory file.
    type: str
    env:
      - name: ZEROTIER_TOKEN_FILE
  networks:
    description: Networks by id or by name; all that the token may see when empty. May be a template.
    type: list
    elements: str
    default: []
  tags:
    description:
      - Names of tags and of their values, for control planes that keep numbers only, such as a self-hosted controller.
      - "Example: V({role: {id: 1, enums: {app: 1, gateway: 2}}, community: {id: 2}}). May be a template."
    type: raw
    default: {}
  control_planes:
    description:
      - Several control planes in one file, instead of O(api), O(url), O(token), O(token_file), O(networks) and O(tags).
      - Each entry may have these options, and O(timeout), O(retries), O(validate_certs) and O(ca_path).
      - Where a node is a member of several networks, the first one that tells a name or an address counts.
    type: list
    elements: dict
    default: []
  timeout:
    description: Seconds to wait for a connection and for each part of an answer.
    type: float
    default: 30.0
  retries:
    description: How often a request is repeated after a failed connection, 429 or 5xx, with growing waits.
    type: int
    default: 2
  validate_certs:
    description: Whether TLS certificates are verified.
    type: bool
    default: true
  ca_path:
    description: A file with the certificates of the authorities to trust.
    type: path
  unreachable:
    description:
      - What to do when a control plane can't be asked (yet) - no connection, no answer, 429 or 5xx, no URL, no token
        file, a template of its options that fails, or a network that doesn't exist.
      - V(fail) fails the whole file; V(warn) and V(ignore) go on with the other control planes, with and without a
        warning. Rejected tokens and answers that make no sense always fail.
    type: str
    choices: [fail, warn, ignore]
    default: fail
  presence:
    description: Whether a controller is asked when it last heard from its peers, which tells which members are online.
    type: bool
    default: true
  online_window:
    description: Seconds since a member was last seen during which it counts as online.
    type: float
    default: 180.0
  hostnames:
    description:
      - Where a host's name comes from; the first source that has a value which is fit for a host's name and isn't
        another host's already. The node's address is the last resort.
      - "Sources: V(name), V(description), V(address), V(managed_ipv4), V(managed_ipv6), V(rfc4193), V(6plane),
        V(physical_address)."
    type: list
    elements: str
    default: [name, address]
  ansible_host:
    description:
      - Where C(ansible_host) comes from; the first source that has a value. Not set when the list is empty.
      - "Sources: V(managed_ipv4), V(managed_ipv6), V(rfc4193), V(6plane), V(physical_address)."
    type: list
    elements: str
    default: [managed_ipv4, managed_ipv6, rfc4193, 6plane, physical_address]
  hostvars_prefix:
    description: Stands before the name of each variable, since C(name) and C(tags) are reserved.
    type: str
    default: zerotier_
  group_prefix:
    description: Stands before the name of each group that isn't made by O(groups) or O(keyed_groups).
    type: str
    default: zerotier_
  include_filters:
    description:
      - Only hosts that fit one of these. Each is a dictionary whose keys all have to fit - C(authorized) and C(online)
        (true or false), C(name), C(address) and C(network) (a pattern or a list of patterns), C(tags) (values by name;
        V(null) for any value). Keys about a membership have to fit in one and the same network.
    type: list
    elements: dict
    default: []
  exclude_filters:
    description: Without the hosts that fit one of these. See O(include_filters).
    type: list
    elements: dict
    default: []
requirements:
  - requests
"""

EXAMPLES = r"""
# A self-hosted controller. It keeps tags as numbers, so the file names them.
plugin: zerotier
api: controller
url: http://192.0.2.10:9993
token_file: ../../.secrets/controller-token
networks: [parkmesh]
tags:
  role: {id: 1, enums: {app: 1, gateway: 2, ops: 3}}
  community: {id: 2}
include_filters:
  - authorized: true
groups:
  gateways: zerotier_tags.role == 'gateway'
keyed_groups:
  - key: zerotier_tags.community | default('none', true) | string
    prefix: community
---
# Central v1 with a token from the environment (ZEROTIER_CENTRAL_TOKEN), cached for ten minutes.
plugin: zerotier
api: central_v1
networks: [8056c2e21c000001]
hostnames: [name, managed_ipv4]
ansible_host: [managed_ipv4, rfc4193]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/ansible-inventory
cache_timeout: 600
---
# Two control planes; a node of both is one host. The controller need not exist yet.
plugin: zerotier
unreachable: warn
control_planes:
  - api: central_v1
    token: "{{ lookup('ansible.builtin.env', 'ZEROTIER_CENTRAL_TOKEN') }}"
    networks: [office]
  - api: controller
    url: "{{ controller_url }}"
    token: "{{ controller_token }}"
    tags: {role: {id: 1, enums: {app: 1}}}
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ansible.module_utils
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.group import to_safe_group_name
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.vars import combine_vars

# Modules get the project's module_utils in their archive; on the control node they are found beside this folder.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

try:
    import requests as _requests
except ImportError:
    _requests = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from module_utils import zerotier_connect as connecting
    from module_utils import zerotier_expressions as expressions
    from module_utils import zerotier_http as http
    from module_utils import zerotier_inventory as transform
    from module_utils import zerotier_model as model
    from module_utils.zerotier_client import Client
elif _requests is not None:
    from ansible.module_utils import zerotier_connect as connecting
    from ansible.module_utils import zerotier_expressions as expressions
    from ansible.module_utils import zerotier_http as http
    from ansible.module_utils import zerotier_inventory as transform
    from ansible.module_utils import zerotier_model as model

PLANE_OPTIONS: Final = (
    "api",
    "url",
    "token",
    "token_file",
    "networks",
    "tags",
    "timeout",
    "retries",
    "validate_certs",
    "ca_path",
)


class NotAskable(AnsibleParserError):  # type: ignore[misc]
    """A control plane that can't be asked, or not yet."""


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """Reads the records, from the cache where it may, and fills the inventory with the hosts that they make."""

    NAME = "zerotier"
    inventory: Any

    def verify_file(self, path: str) -> bool:
        """Whether the file is this plugin's by its name."""
        return bool(super().verify_file(path)) and path.endswith(("zerotier.yml", "zerotier.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory from one file."""
        super().parse(inventory, loader, path, cache)
        if _requests is None:
            raise AnsibleParserError("the zerotier inventory needs the Python package requests")
        self._read_config_data(path)
        # The same two names that hosts have, so that a file can point at what lies beside it.
        places = {"inventory_dir": str(Path(path).resolve().parent), "inventory_file": str(Path(path).resolve())}
        self.templar.available_variables = {**places, **(self._vars or {})}
        options = self._transform_options()
        planes, complete = self._planes(path)
        records, fetched = self._records(path, planes, complete, cache)
        try:
            hosts = transform.hosts(
                records,
                options,
                now=time.time(),
                group_name=lambda name: str(to_safe_group_name(name, force=True, silent=True)),
                note=self.display.v,
            )
        except (transform.InventoryOptionError, LookupError, TypeError, ValueError) as error:
            where = "" if fetched else " (from the cache: --flush-cache clears it)"
            raise AnsibleParserError(f"{path}: {error}{where}") from error
        self._fill(hosts)

    def _transform_options(self) -> transform.Options:
        options = transform.Options(
            hostnames=self._option_list("hostnames"),
            ansible_host=self._option_list("ansible_host"),
            hostvars_prefix=self.get_option("hostvars_prefix"),
            group_prefix=self.get_option("group_prefix"),
            online_window=self.get_option("online_window"),
            include_filters=self._template("include_filters"),
            exclude_filters=self._template("exclude_filters"),
        )
        try:
            transform.check_options(options)
        except transform.InventoryOptionError as error:
            raise AnsibleParserError(str(error)) from error
        return options

    def _option_list(self, name: str) -> list[str]:
        return [str(entry) for entry in self.get_option(name)]

    def _template(self, name: str) -> Any:
        return _plain(self.templar.template(self.get_option(name)))

    # Which control planes, and how they are reached

    def _planes(self, path: str) -> tuple[list[dict[str, Any]], bool]:
        """The control planes' options, templates done and checked, and whether all of them could be read."""
        given = self.get_option("control_planes")
        base = {name: self.get_option(name) for name in ("timeout", "retries", "validate_certs", "ca_path")}
        if given:
            entries = [{**base, **entry} for entry in given]
        else:
            entries = [{**base, **{name: self.get_option(name) for name in PLANE_OPTIONS}}]
            if (
                self._from_environment("token")
                and not self._from_environment("token_file")
                and entries[0]["token_file"]
            ):
                entries[0]["token"] = None
        planes = []
        for index, entry in enumerate(entries):
            what = f"control_planes[{index}]" if given else path
            try:
                planes.append(self._plane(entry, what, path))
            except NotAskable as error:
                self._lenient(error)
        return planes, len(planes) == len(entries)

    def _from_environment(self, name: str) -> bool:
        return str(self.get_option_and_origin(name)[1]).startswith("env:")

    def _plane(self, entry: Mapping[str, Any], what: str, path: str) -> dict[str, Any]:
        unknown = sorted(set(entry) - set(PLANE_OPTIONS))
        if unknown:
            raise AnsibleParserError(f"{what}: {', '.join(unknown)} is no option of a control plane")
        try:
            plane: dict[str, Any] = {name: _plain(self.templar.template(value)) for name, value in entry.items()}
        except AnsibleError as error:
            raise NotAskable(f"{what}: a template in its options failed: {error}") from error
        plane["api"] = plane.get("api") or "auto"
        plane["networks"] = _names(plane.get("networks"))
        if not isinstance(plane.get("tags") or {}, dict):
            raise AnsibleParserError(f"{what}: tags: a dictionary was expected")
        plane["tags"] = plane.get("tags") or {}
        if "url" in entry and entry["url"] is not None and not plane["url"]:
            raise NotAskable(f"{what}: url is empty")
        plane["token"] = self._token(plane, what, path)
        return plane

    def _token(self, plane: Mapping[str, Any], what: str, path: str) -> str:
        if plane.get("token"):
            return str(plane["token"])
        if not plane.get("token_file"):
            raise NotAskable(f"{what}: token or token_file is needed, or ZEROTIER_TOKEN in the environment")
        file = Path(path).resolve().parent / Path(str(plane["token_file"])).expanduser()
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it isn't text"
            raise NotAskable(f"{what}: token_file {file} can't be read: {reason}") from error

    def _lenient(self, error: NotAskable) -> None:
        """Raise the error, warn of it, or go on, as the file says."""
        mode = self.get_option("unreachable")
        if mode == "fail":
            raise error
        if mode == "warn":
            self.display.warning(f"zerotier inventory: {error}; going on without it")

    # Records

    def _records(
        self, path: str, planes: list[dict[str, Any]], complete: bool, cache: bool
    ) -> tuple[list[dict[str, Any]], bool]:
        """The records of all control planes, and whether they were fetched just now."""
        caching = bool(self.get_option("cache"))
        key = self.get_cache_key(path)
        fingerprint = _fingerprint(planes, self.get_option("presence"))
        if caching and cache:
            try:
                cached = self._cache[key]
            except KeyError:
                cached = None
            if isinstance(cached, Mapping) and cached.get("fingerprint") == fingerprint:
                return list(cached["records"]), False
        records: list[dict[str, Any]] = []
        for plane in planes:
            try:
                records += self._fetch(plane)
            except NotAskable as error:
                complete = False
                self._lenient(error)
        # Half of the members must not look like all of them until the cache expires.
        if caching and complete:
            self._cache[key] = {"fingerprint": fingerprint, "records": records}
        return records, True

    def _fetch(self, plane: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            connection = connecting.connect(
                connecting.Connection(
                    api=str(plane["api"]),
                    token=plane["token"],
                    url=plane.get("url") or None,
                    timeout=float(plane["timeout"]),
                    retries=int(plane["retries"]),
                    validate_certs=boolean(plane["validate_certs"]),
                    ca_path=plane.get("ca_path"),
                )
            )
            presence = connection.presence() if self.get_option("presence") else {}
            return [
                self._record(connection, network, plane["tags"], presence)
                for network in self._networks(connection, plane["networks"])
            ]
        except (http.Unreachable, http.RateLimited, http.ServerFailure) as error:
            raise NotAskable(str(error)) from error
        except (http.ApiError, http.TokenError, model.SettingsError, model.MalformedAnswer, TypeError) as error:
            raise AnsibleParserError(f"zerotier inventory: {error}") from error

    @staticmethod
    def _networks(connection: Client, wanted: list[str]) -> list[model.Network]:
        if not wanted:
            return connection.networks()
        found: list[model.Network] = []
        named: list[model.Network] | None = None
        for entry in wanted:
            if len(entry) == 16 and all(digit in "0123456789abcdefABCDEF" for digit in entry):
                network = connection.network(model.network_id(entry))
                matching = [] if network is None else [network]
            else:
                named = connection.networks() if named is None else named
                matching = [network for network in named if network.name == entry]
            if not matching:
                raise NotAskable(f"{connection.url} has no network {entry!r}")
            if len(matching) > 1:
                ids = ", ".join(network.id for network in matching)
                raise model.SettingsError(f"{len(matching)} networks are named {entry!r} ({ids}): give the id")
            found += [network for network in matching if network.id not in {known.id for known in found}]
        return found

    @staticmethod
    def _record(
        connection: Client,
        network: model.Network,
        tags: Mapping[str, Any],
        presence: Mapping[str, model.Presence],
    ) -> dict[str, Any]:
        definitions = model.tag_definitions(network, tags, "tags")
        members = []
        for member in connection.members(network.id):
            facts = model.with_presence(member, presence).as_dict()
            members.append({name: facts.get(name) for name in transform.MEMBER_FIELDS})
        return {
            "network": {"id": network.id, "name": network.name, "v6_assign_mode": dict(network.v6_assign_mode)},
            "definitions": definitions,
            "members": members,
        }

    # Hosts

    def _fill(self, hosts: list[transform.Host]) -> None:
        compose, strict = self.get_option("compose"), self.get_option("strict")
        for group in dict.fromkeys(group for host in hosts for group in host.groups):
            self.inventory.add_group(group)
        for host in hosts:
            self.inventory.add_host(host.name)
            for group in host.groups:
                self.inventory.add_child(group, host.name)
            # Like inventory.set_variable, but without its walk through every value of every host, which marks where the
            # value came from and takes four times as long as all the rest. The values are plain data of this plugin's
            # own making, and text that isn't marked is no template.
            entry = self.inventory.hosts[host.name]
            entry.vars = combine_vars(entry.vars, host.variables)
            if compose:
                self._set_composite_vars(compose, host.variables, host.name, strict=strict)
        self._construct_groups(hosts, frozenset(compose or ()), strict)

    def _construct_groups(self, hosts: list[transform.Host], composed: frozenset[str], strict: bool) -> None:
        """Add the hosts to the groups of ``groups`` and ``keyed_groups``.

        Evaluating an expression takes about a millisecond, which is long for thousands of hosts. Where the expressions
        use this plugin's variables only, hosts that are alike in those are in the same groups, and one of them is
        evaluated.
        """
        groups, keyed_groups = self.get_option("groups"), self.get_option("keyed_groups")
        if not groups and not keyed_groups:
            return
        found = expressions.group_expressions(groups, keyed_groups)
        names = None if found is None else expressions.names_used(found)
        known: dict[str, list[str]] = {}
        for host in hosts:
            alike = None
            if names is not None and names <= composed | {"ansible_host", *host.variables}:
                variables = self.inventory.hosts[host.name].vars
                alike = json.dumps([[name in variables, variables.get(name)] for name in sorted(names)], default=repr)
            if alike is not None and alike in known:
                for group in known[alike]:
                    self.inventory.add_child(group, host.name)
                continue
            recorder = _Recorder(self.inventory)
            self.inventory = recorder
            try:
                self._add_host_to_composed_groups(groups, host.variables, host.name, strict=strict)
                self._add_host_to_keyed_groups(keyed_groups, host.variables, host.name, strict=strict)
            finally:
                self.inventory = recorder.inventory
            if alike is not None:
                known[alike] = [group for group, child in recorder.added if child == host.name]


class _Recorder:
    """An inventory that remembers what was added to which group."""

    def __init__(self, inventory: Any) -> None:
        self.inventory = inventory
        self.added: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inventory, name)

    def add_child(self, group: str, child: str) -> Any:
        self.added.append((group, child))
        return self.inventory.add_child(group, child)

    def add_host(self, host: str, group: str | None = None) -> Any:
        if group is not None:
            self.added.append((group, host))
        return self.inventory.add_host(host, group)


def _plain(value: Any) -> Any:
    """The value without Ansible's lazy containers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _names(value: Any) -> list[str]:
    """Names from one name, a list of them, or a list with what a template of a whole list gave in it."""
    if isinstance(value, list):
        return [name for entry in value for name in _names(entry)]
    return [str(value)] if value else []


def _fingerprint(planes: list[dict[str, Any]], presence: bool) -> str:
    """What the cached records depend on; changes of the file or of the token make them stale."""
    text = json.dumps([planes, presence], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
