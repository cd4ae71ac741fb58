"""The double's kinds of objects: their fields, what they relate to, what is unique. Read in AWX 24.6's awx/main/models
and awx/api/serializers.py."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as part
from typing import Any


@dataclass(frozen=True)
class Field:
    """A field. ``to``: kinds that its id may name; ``fixed``: can be written at creation only."""

    type: type | tuple[type, ...] = str
    default: Any = ""
    null: bool = False
    required: bool = False
    read_only: bool = False
    fixed: bool = False
    choices: tuple[Any, ...] = ()
    to: tuple[str, ...] = ()
    longest: int | None = None


def relation(*to: str, required: bool = False, fixed: bool = False, read_only: bool = False) -> Field:
    return Field(int, None, null=not required, required=required, fixed=fixed, read_only=read_only, to=to)


def flag(default: bool = False, read_only: bool = False) -> Field:
    return Field(bool, default, read_only=read_only)


def number(default: int = 0, choices: tuple[Any, ...] = ()) -> Field:
    return Field(int, default, choices=choices)


@dataclass(frozen=True)
class Model:
    """A kind. ``lists``: what is attached by `POST …/<list>/`, list -> kind. ``roles``: of objects, for teams."""

    type: str
    fields: dict[str, Field]
    unique: tuple[str, ...] = ()
    lists: dict[str, str] = part(default_factory=dict)
    roles: tuple[str, ...] = ()
    job: bool = False
    """Whether it is a unified job template: these share their ids."""


NAME = Field(required=True, longest=512)
TOLD = {f"notification_templates_{event}": "notification_templates" for event in ("started", "success", "error")}
APPROVALS = {"notification_templates_approvals": "notification_templates"}
DESCRIBED = {"name": NAME, "description": Field()}
PROMPTS = (
    *("scm_branch", "diff_mode", "variables", "limit", "tags", "skip_tags", "job_type", "verbosity", "inventory"),
    *("credential", "execution_environment", "labels", "forks", "job_slice_count", "timeout", "instance_groups"),
)
LAUNCH = {
    "extra_data": Field(dict, {}),
    "inventory": relation("inventories"),
    "scm_branch": Field(default=None, null=True),
    "job_type": Field(default=None, null=True, choices=("run", "check")),
    "job_tags": Field(default=None, null=True),
    "skip_tags": Field(default=None, null=True),
    "limit": Field(default=None, null=True),
    "diff_mode": Field(bool, None, null=True),
    "verbosity": Field(int, None, null=True),
    "forks": Field(int, None, null=True),
    "job_slice_count": Field(int, None, null=True),
    "timeout": Field(int, None, null=True),
    "execution_environment": relation("execution_environments"),
}
UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates", "workflow_approval_templates")

MODELS = {
    "organizations": Model(
        "organization",
        {**DESCRIBED, "max_hosts": number(), "default_environment": relation("execution_environments")},
        unique=("name",),
        lists={**TOLD, **APPROVALS, "galaxy_credentials": "credentials", "instance_groups": "instance_groups"},
        roles=(
            *("admin", "execute", "project_admin", "inventory_admin", "credential_admin", "workflow_admin"),
            *("notification_admin", "job_template_admin", "execution_environment_admin", "auditor", "member", "read"),
            "approval",
        ),
    ),
    "teams": Model(
        "team",
        {**DESCRIBED, "organization": relation("organizations", required=True)},
        unique=("organization", "name"),
        roles=("admin", "member", "read"),
    ),
    "credential_types": Model(
        "credential_type",
        {
            **DESCRIBED,
            "kind": Field(required=True, choices=("cloud", "net")),
            "namespace": Field(default=None, null=True, read_only=True),
            "managed": flag(read_only=True),
            "inputs": Field(dict, {}),
            "injectors": Field(dict, {}),
        },
        unique=("name", "kind"),
    ),
    "credentials": Model(
        "credential",
        {
            **DESCRIBED,
            "organization": relation("organizations"),
            "credential_type": relation("credential_types", required=True),
            "managed": flag(read_only=True),
            "inputs": Field(dict, {}),
        },
        unique=("organization", "name", "credential_type"),
        roles=("admin", "use", "read"),
    ),
    "execution_environments": Model(
        "execution_environment",
        {
            **DESCRIBED,
            "organization": relation("organizations"),
            "image": Field(required=True, longest=1024),
            "managed": flag(read_only=True),
            "credential": relation("credentials"),
            "pull": Field(choices=("", "always", "missing", "never")),
        },
        unique=("name",),
    ),
    "notification_templates": Model(
        "notification_template",
        {
            **DESCRIBED,
            "organization": relation("organizations", required=True),
            "notification_type": Field(required=True, choices=("email", "webhook", "slack")),
            "notification_configuration": Field(dict, {}),
            "messages": Field(dict, None, null=True),
        },
        unique=("organization", "name"),
    ),
    "projects": Model(
        "project",
        {
            **DESCRIBED,
            "organization": relation("organizations"),
            "local_path": Field(),
            "scm_type": Field(choices=("", "git", "svn", "insights", "archive")),
            "scm_url": Field(longest=1024),
            "scm_branch": Field(longest=256),
            "scm_refspec": Field(longest=256),
            "scm_clean": flag(),
            "scm_track_submodules": flag(),
            "scm_delete_on_update": flag(),
            "credential": relation("credentials"),
            "timeout": number(),
            "scm_revision": Field(read_only=True),
            "scm_update_on_launch": flag(),
            "scm_update_cache_timeout": number(),
            "allow_override": flag(),
            "default_environment": relation("execution_environments"),
            "signature_validation_credential": relation("credentials"),
            "custom_virtualenv": Field(default=None, null=True, read_only=True),
            "status": Field(default="pending", read_only=True),
            "last_job_failed": flag(read_only=True),
        },
        unique=("organization", "name"),
        lists=TOLD,
        roles=("admin", "use", "update", "read"),
        job=True,
    ),
    "inventories": Model(
        "inventory",
        {
            **DESCRIBED,
            "organization": relation("organizations", required=True),
            "kind": Field(choices=("", "smart", "constructed")),
            "host_filter": Field(default=None, null=True),
            "variables": Field(),
            "prevent_instance_group_fallback": flag(),
        },
        unique=("organization", "name"),
        lists={"instance_groups": "instance_groups"},
        roles=("admin", "adhoc", "update", "use", "read"),
    ),
    "inventory_sources": Model(
        "inventory_source",
        {
            **DESCRIBED,
            "inventory": relation("inventories", required=True, fixed=True),
            "source": Field(choices=("scm", "ec2", "constructed")),
            "source_path": Field(longest=1024),
            "source_vars": Field(),
            "scm_branch": Field(),
            "credential": relation("credentials"),
            "enabled_var": Field(),
            "enabled_value": Field(),
            "host_filter": Field(),
            "overwrite": flag(),
            "overwrite_vars": flag(),
            "timeout": number(),
            "verbosity": number(1, (0, 1, 2)),
            "limit": Field(),
            "update_on_launch": flag(),
            "update_cache_timeout": number(),
            "source_project": relation("projects"),
            "execution_environment": relation("execution_environments"),
            "custom_virtualenv": Field(default=None, null=True, read_only=True),
            "status": Field(default="never updated", read_only=True),
        },
        unique=("inventory", "name"),
        lists=TOLD,
        job=True,
    ),
    "labels": Model(
        "label",
        {"name": NAME, "organization": relation("organizations", required=True)},
        unique=("organization", "name"),
    ),
    "instance_groups": Model("instance_group", {"name": NAME}, unique=("name",)),
    "job_templates": Model(
        "job_template",
        {
            **DESCRIBED,
            "job_type": Field(default="run", choices=("run", "check")),
            "inventory": relation("inventories"),
            "project": relation("projects"),
            "playbook": Field(longest=1024),
            "scm_branch": Field(),
            "forks": number(),
            "limit": Field(),
            "verbosity": number(0, (0, 1, 2, 3, 4, 5)),
            "extra_vars": Field(),
            "job_tags": Field(),
            "force_handlers": flag(),
            "skip_tags": Field(),
            "start_at_task": Field(),
            "timeout": number(),
            "use_fact_cache": flag(),
            "organization": relation("organizations", read_only=True),
            "host_config_key": Field(),
            **{f"ask_{prompt}_on_launch": flag() for prompt in PROMPTS},
            "survey_enabled": flag(),
            "become_enabled": flag(),
            "diff_mode": flag(),
            "allow_simultaneous": flag(),
            "job_slice_count": number(1),
            "webhook_service": Field(choices=("", "github", "gitlab")),
            "webhook_credential": relation("credentials"),
            "prevent_instance_group_fallback": flag(),
            "execution_environment": relation("execution_environments"),
            "custom_virtualenv": Field(default=None, null=True, read_only=True),
            "status": Field(default="never updated", read_only=True),
        },
        unique=("organization", "name"),
        lists={**TOLD, "credentials": "credentials", "labels": "labels", "instance_groups": "instance_groups"},
        roles=("admin", "execute", "read"),
        job=True,
    ),
    "workflow_job_templates": Model(
        "workflow_job_template",
        {
            **DESCRIBED,
            "extra_vars": Field(),
            "organization": relation("organizations"),
            "survey_enabled": flag(),
            "allow_simultaneous": flag(),
            "inventory": relation("inventories"),
            "limit": Field(default=None, null=True),
            "scm_branch": Field(default=None, null=True),
            "job_tags": Field(default=None, null=True),
            "skip_tags": Field(default=None, null=True),
            **{
                f"ask_{prompt}_on_launch": flag()
                for prompt in ("variables", "inventory", "scm_branch", "limit", "labels", "skip_tags", "tags")
            },
            "webhook_service": Field(choices=("", "github", "gitlab")),
            "webhook_credential": relation("credentials"),
            "status": Field(default="never updated", read_only=True),
        },
        unique=("organization", "name"),
        lists={**TOLD, **APPROVALS, "labels": "labels"},
        roles=("admin", "execute", "read", "approval"),
        job=True,
    ),
    "workflow_approval_templates": Model(
        "workflow_approval_template",
        {**DESCRIBED, "timeout": number(), "organization": relation("organizations", read_only=True)},
        job=True,
    ),
    "workflow_job_template_nodes": Model(
        "workflow_job_template_node",
        {
            **LAUNCH,
            "workflow_job_template": relation("workflow_job_templates", required=True, fixed=True),
            "unified_job_template": relation(*UNIFIED),
            "all_parents_must_converge": flag(),
            "identifier": Field(longest=512),
        },
        unique=("identifier", "workflow_job_template"),
        lists={
            **dict.fromkeys(("success_nodes", "failure_nodes", "always_nodes"), "workflow_job_template_nodes"),
            "credentials": "credentials",
            "labels": "labels",
            "instance_groups": "instance_groups",
        },
    ),
    "schedules": Model(
        "schedule",
        {
            **DESCRIBED,
            **LAUNCH,
            "rrule": Field(required=True),
            "unified_job_template": relation(*UNIFIED, required=True),
            "enabled": flag(True),
        },
        unique=("unified_job_template", "name"),
        lists={"credentials": "credentials", "labels": "labels", "instance_groups": "instance_groups"},
    ),
}

# Credential types that every AWX has: name -> (kind, fields, secret fields). Kinds ssh and scm can't be made by hand.
MANAGED_TYPES = {
    "Machine": (
        "ssh",
        ("username", "become_method", "become_username", "ssh_public_key_data"),
        ("password", "ssh_key_data", "ssh_key_unlock", "become_password"),
    ),
    "Source Control": ("scm", ("username",), ("password", "ssh_key_data", "ssh_key_unlock")),
    "Amazon Web Services": ("cloud", ("username",), ("password", "security_token")),
    "GitHub Personal Access Token": ("token", (), ("token",)),
    "GitLab Personal Access Token": ("token", (), ("token",)),
    "Vault": ("vault", ("vault_id",), ("vault_password",)),
    "Container Registry": ("registry", ("host", "username", "verify_ssl"), ("password",)),
}

# Settings of notifications: kind -> name -> (type, default); ... is no default (awx/main/notifications/*_backend.py).
NOTIFICATIONS: dict[str, dict[str, tuple[type, Any]]] = {
    "email": {
        "host": (str, ...),
        "port": (int, ...),
        "username": (str, ...),
        "password": (str, ...),
        "use_tls": (bool, ...),
        "use_ssl": (bool, ...),
        "sender": (str, ...),
        "recipients": (list, ...),
        "timeout": (int, 30),
    },
    "webhook": {
        "url": (str, ...),
        "http_method": (str, "POST"),
        "disable_ssl_verification": (bool, False),
        "username": (str, ""),
        "password": (str, ""),
        "headers": (dict, ...),
    },
    "slack": {"token": (str, ...), "channels": (list, ...)},
}
NOTIFICATION_SECRETS = ("password", "token")
