"""What role log_agent tells Amazon's CloudWatch agent: as its schema has it, and of the units that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "log_agent"
JOURNAL = {"log_group_name", "log_stream_name", "log_group_class", "retention_in_days", "filters", "units", "priority"}
"""What an entry may have besides ``matches`` (translator/config/schema.json of aws/amazon-cloudwatch-agent, release
1.300070.0, logsJournaldDefinition: no others)."""


def rendered(value: Any, given: dict[str, Any]) -> Any:
    match value:
        case dict():
            return {key: rendered(each, given) for key, each in value.items()}
        case list():
            return [rendered(each, given) for each in value]
        case str():
            return NativeEnvironment().from_string(value).render(given)
    return value


def test_the_agent_is_told_what_its_schema_has() -> None:
    given = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    given |= {"log_agent_group": "/parkmesh/test/servers", "log_agent_region": "eu-west-1"}
    told = rendered(yaml.safe_load((ROLE / "vars/main.yml").read_text())["__log_agent_configuration"], given)
    assert told["agent"] == {"region": "eu-west-1", "run_as_user": "cwagent"}
    (entry,) = told["logs"]["logs_collected"]["journald"]["collect_list"]
    assert set(entry) <= JOURNAL
    assert entry["log_group_name"] == "/parkmesh/test/servers"
    # The agent puts the instance's id in. It sets no retention, which the server's role may not.
    assert entry["log_stream_name"] == "{instance_id}"
    assert "retention_in_days" not in entry
    assert entry["units"] == given["log_agent_units"]


def test_the_units_that_are_shipped_are_those_of_an_app_server() -> None:
    units = set(yaml.safe_load((ROLE / "defaults/main.yml").read_text())["log_agent_units"])
    of_server = set(yaml.safe_load((ROOT / "roles/parking_app/vars/main.yml").read_text())["__parking_app_units"])
    # Retention is run by parkmesh-maintenance on AWS.
    assert of_server - units == {"parkmesh-retention.service", "parkmesh-retention.timer"}
    assert units - of_server == {"zerotier-one.service"}
