"""What the modules for ZeroTier's control planes share: their arguments, the connection, and how they fail."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib

try:
    import requests as _requests
except ImportError:
    _requests = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from module_utils import zerotier_connect as connecting
    from module_utils import zerotier_http as http
    from module_utils import zerotier_model as model
    from module_utils.zerotier_client import Client, NotApplied
    from module_utils.zerotier_model import Network
    from module_utils.zerotier_rule_compiler import RuleCompileError
    from module_utils.zerotier_rules import RuleError
elif _requests is not None:
    from ansible.module_utils import zerotier_connect as connecting
    from ansible.module_utils import zerotier_http as http
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils.zerotier_client import NotApplied
    from ansible.module_utils.zerotier_rule_compiler import RuleCompileError
    from ansible.module_utils.zerotier_rules import RuleError

CONNECTION_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "api": {"type": "str", "default": "auto", "choices": ["auto", "controller", "central_v1", "central_v2"]},
    "url": {"type": "str", "fallback": (env_fallback, ["ZEROTIER_URL", "ZEROTIER_CENTRAL_URL"])},
    "token": {
        "type": "str",
        "no_log": True,
        "fallback": (env_fallback, ["ZEROTIER_TOKEN", "ZEROTIER_CENTRAL_TOKEN"]),
    },
    "token_file": {"type": "path", "no_log": False},
    "timeout": {"type": "float", "default": 30.0},
    "retries": {"type": "int", "default": 4},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
}
NETWORK_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "network_id": {"type": "str"},
    "network_name": {"type": "str"},
}
MEMBER_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "address": {"type": "str", "required": True, "aliases": ["node_id"]},
    "name": {"type": "str"},
    "description": {"type": "str"},
    "authorized": {"type": "bool"},
    "active_bridge": {"type": "bool"},
    "no_auto_assign_ips": {"type": "bool"},
    "ip_assignments": {"type": "list", "elements": "str"},
    "tags": {"type": "dict"},
    "capabilities": {"type": "list", "elements": "raw"},
}
MEMBER_SETTINGS: Final = tuple(name for name in MEMBER_ARGUMENTS if name != "address")
TAG_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {"tag_definitions": {"type": "dict"}}


def create_module(arguments: Mapping[str, Any], **options: Any) -> AnsibleModule:
    """An AnsibleModule with the connection's arguments beside its own; it supports check mode."""
    module = AnsibleModule(
        argument_spec={**CONNECTION_ARGUMENTS, **arguments},
        supports_check_mode=True,
        **options,
    )
    if _requests is None:
        module.fail_json(msg=missing_required_lib("requests"))
    return module


def connect(module: AnsibleModule) -> Client:
    """A client from the module's arguments; ends the module when they don't give one."""
    parameters = module.params
    token = parameters["token"]
    if token is None:
        if parameters["token_file"] is None:
            module.fail_json(msg="token or token_file is needed (or ZEROTIER_TOKEN in the environment)")
        try:
            token = Path(parameters["token_file"]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it isn't text"
            module.fail_json(msg=f"token_file {parameters['token_file']} can't be read: {reason}")
        if token.strip():
            module.no_log_values.add(token.strip())
    return connecting.connect(
        connecting.Connection(
            api=parameters["api"],
            token=token,
            url=parameters["url"],
            timeout=parameters["timeout"],
            retries=parameters["retries"],
            validate_certs=parameters["validate_certs"],
            ca_path=parameters["ca_path"],
        )
    )


@contextmanager
def failing(module: AnsibleModule) -> Iterator[None]:
    """End the module with one clear message when the control plane, or what was asked of it, is at fault."""
    try:
        yield
    except NotApplied as error:
        module.fail_json(msg=str(error), changed=True, not_applied=error.settings)
    except http.ApiError as error:
        module.fail_json(msg=str(error), status=error.status)
    except RuleCompileError as error:
        module.fail_json(msg=f"rules_source: {error}", line=error.line, column=error.column)
    except (model.SettingsError, model.MalformedAnswer, http.TokenError, RuleError) as error:
        module.fail_json(msg=str(error))


def find_network(connection: Client, network_id: str | None, name: str | None) -> Network | None:
    """The network with this id, or the only one with this name; None when there is none.

    Raises SettingsError when several have the name.
    """
    if network_id is not None:
        return connection.network(model.network_id(network_id))
    if not name:
        raise model.SettingsError("a network is chosen by network_id or by its name")
    found = connection.networks_named(name)
    if len(found) > 1:
        ids = ", ".join(network.id for network in found)
        raise model.SettingsError(f"{len(found)} networks are named {name!r} ({ids}): choose one by network_id")
    # The list of networks may lack what a single one has.
    return connection.network(found[0].id) if found else None


def require_network(
    connection: Client, network_id: str | None, name: str | None, *, check_mode: bool = False
) -> Network:
    """Like find_network, but a missing network is an error.

    In check mode a network may be missing because the task before would only create it in earnest: then, and when that
    task had no id to give, the result is an empty network without an id that has a route to everything.
    """
    network = None if check_mode and not network_id and not name else find_network(connection, network_id, name)
    if network is not None:
        return network
    if check_mode:
        everywhere = (
            model.RouteSetting(target="0.0.0.0/0", via=None),
            model.RouteSetting(target="::/0", via=None),
        )
        return model.Network(id="", name=name or "", routes=everywhere)
    raise model.SettingsError(f"{connection.url} has no network {network_id or repr(name)}")


def warn_unsupported(
    module: AnsibleModule, kind: str, unsupported: frozenset[str], settings: Mapping[str, Any], what: str
) -> None:
    """Say which of the wanted settings this kind of control plane can't keep."""
    left_out = sorted(name for name in unsupported if settings.get(name) is not None)
    if left_out:
        module.warn(f"{kind} keeps no {' and no '.join(left_out)} of a {what}: left out")
