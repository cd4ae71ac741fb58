"""What role parking_gateway writes is what the gateway reads, and docs/gateway.md describes all of it."""

import configparser
import getpass
import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nativetypes
import msgspec
import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.plugins.filter.core import FilterModule
from parkmesh.gateway import certificate, config, counters, gates, health, sensors
from parkmesh.gateway.page import passwords

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "parking_gateway"
GIVEN_APART = {
    "name",
    "community",
    "spool",
    "token_file",
    "certificate_file",
    "servers",
    "listen",
    "mqtt",
    "cameras",
    "recorders",
    "readers",
    "gates",
    "sensors",
    "counters",
    "local_page",
}


def page_filter() -> Any:
    """Return the project's own filter that hashes the page's password."""
    spec = importlib.util.spec_from_file_location("gateway_page", ROOT / "filter_plugins" / "gateway_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FilterModule().filters()


def written(**inputs: Any) -> config.Config:
    values = {
        **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
        **yaml.safe_load((ROLE / "vars" / "main.yml").read_text()),
        "parking_gateway_name": "gateway-a",
        "parking_gateway_community": "a",
        "parking_gateway_servers": ["http://10.242.0.11:8001"],
        **inputs,
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701 -- JSON, not a page
    environment.filters.update(FilterModule().filters() | page_filter())
    which = values["__parking_gateway_certificate"]
    values["__parking_gateway_certificate"] = environment.from_string(which).render(values)
    text = environment.from_string((ROLE / "templates" / "gateway.json.j2").read_text()).render(values)
    return config.parse(text.encode(), "gateway.json")


def optional_settings() -> dict[str, Any]:
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]
    options: dict[str, Any] = specs["options"]["parking_gateway_settings"]["options"]
    return options


def test_without_settings_the_gateway_s_own_defaults_hold() -> None:
    assert written().max_event_age_s == 20
    assert written().spool_max_mb == 512


def test_each_setting_reaches_the_configuration() -> None:
    given = {
        "refusal_hold_s": 1,
        "max_event_age_s": 11,
        "min_confidence": 0.2,
        "min_confidence_misread": 0.4,
        "heartbeat_s": 12,
        "camera_silence_s": 13,
        "sensor_silence_s": 60,
        "spool_max_mb": 14,
    }
    assert set(given) == set(optional_settings())
    made = written(parking_gateway_settings=given)
    assert {key: getattr(made, key) for key in given} == given


def test_every_key_of_the_configuration_has_an_input() -> None:
    assert set(config.Config.__struct_fields__) == GIVEN_APART | {"same_plate_window_s"} | set(optional_settings())


def test_a_camera_s_secret_path_reaches_the_configuration() -> None:
    made = written(
        parking_gateway_gates=[{"name": "in", "relay": {"url": "http://192.0.2.31"}}],
        parking_gateway_cameras=[{"name": "cam", "gate": "in", "direction": "entry", "secret_path": "a-secret-path"}],
    )
    assert made.cameras[0].secret_path == "a-secret-path"


def test_tls_is_of_the_listener_and_of_the_page() -> None:
    given = {"parking_gateway_tls": True, "parking_gateway_page_password": "correct horse battery"}
    own, theirs = "/etc/parkmesh/tls-own.pem", "/etc/parkmesh/tls-given.pem"
    made = written(**given)
    assert (made.listen.tls_port, made.certificate_file) == (8143, own)
    assert made.local_page is not None
    assert made.local_page.tls
    assert written(**given, parking_gateway_tls_certificate="PEM").certificate_file == theirs
    assert (written().listen.tls_port, written().certificate_file) == (None, None)


def certificate_task(name: str) -> dict[str, Any]:
    tasks = yaml.safe_load((ROLE / "tasks" / "certificate.yml").read_text())
    return next(one for task in tasks for one in [task, *task.get("block", [])] if one["name"].endswith(name))


def filled(text: str, **values: Any) -> Any:
    environment = jinja2.nativetypes.NativeEnvironment(undefined=jinja2.StrictUndefined)
    environment.filters.update(FilterModule().filters())
    return environment.from_string(text).render(values)


def test_the_certificate_that_the_role_makes_is_taken_and_made_anew_for_other_names(tmp_path: Path) -> None:
    path = tmp_path / "tls-own.pem"
    make, look = certificate_task("Make it"), certificate_task("good for another month")
    due = make["when"].partition("and ")[2]

    def run(names: list[str]) -> bool:
        given: dict[str, Any] = {
            "__parking_gateway_own_certificate": str(path),
            "__parking_gateway_certificate_names": names,
        }
        given["__parking_gateway_alternatives"] = filled(make["vars"]["__parking_gateway_alternatives"], **given)
        command = filled(look["ansible.builtin.command"], **given)
        found = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        given["__parking_gateway_certificate_found"] = {
            "rc": found.returncode,
            "stdout": found.stdout,
        }
        if not filled("{{ " + due + " }}", **given):
            return False
        script = filled(make["ansible.builtin.shell"]["cmd"], **given).replace("root:parkmesh", getpass.getuser())
        subprocess.run(["bash", "-c", script], check=True, capture_output=True)
        return True

    names = ["gateway-a", "192.0.2.1"]
    assert [run(names), run(names), run(["gateway-a"]), run(names)] == [True, False, True, True]
    certificate.load(certificate.context(), path)
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in tmp_path.iterdir()) == ["tls-own.pem"]


def test_without_a_password_there_is_no_page() -> None:
    assert written().local_page is None


def test_the_page_s_password_reaches_the_gateway_as_a_hash_of_its_own() -> None:
    given = {"parking_gateway_page_password": "correct horse battery", "parking_gateway_page_language": "es"}
    page = written(**given, parking_gateway_page_shows_plates=True).local_page
    assert page is not None
    assert (page.port, page.shows_plates, page.language) == (8180, True, "es")
    assert passwords.matches(page.password, "correct horse battery")
    assert not passwords.matches(page.password, "correct horse batterz")
    assert page.password.startswith(f"{passwords.KIND}:{passwords.ROUNDS}:")
    assert written(**given).local_page == msgspec.structs.replace(page, shows_plates=False), "a second run changes it"
    other = written(**given, parking_gateway_name="gateway-b").local_page
    assert other is not None
    assert other.password != page.password
    with pytest.raises(AnsibleFilterError, match="10 to 200"):
        written(parking_gateway_page_password="short")


def test_the_page_s_filter_is_documented() -> None:
    document = yaml.safe_load((ROOT / "filter_plugins" / "gateway_page_password_hash.yml").read_text())
    assert document["DOCUMENTATION"]["positional"] == "gateway, community"
    assert {"EXAMPLES", "RETURN"} <= set(document)


def test_only_a_gateway_with_gpio_lines_may_use_them() -> None:
    plain = {"name": "in", "relay": {"url": "http://192.0.2.31"}}
    wired = {"name": "out", "relay": {"kind": "gpio", "switch": 17}}
    inputs = {"parking_gateway_gates": [plain]}
    assert "SupplementaryGroups" not in rendered("parkmesh-gateway.service.j2", **inputs)
    inputs["parking_gateway_gates"].append(wired)
    assert "SupplementaryGroups=parkmesh-gpio\n" in rendered("parkmesh-gateway.service.j2", **inputs)
    assert written(**inputs).gates[1].relay.kind == "gpio"


def test_only_a_gateway_with_a_reader_at_usb_may_read_it() -> None:
    posts = {"name": "scan-in", "gate": "in", "direction": "entry"}
    plugged = {**posts, "name": "scan-out", "device": "/dev/input/by-id/usb-ACME_Scanner-event-kbd"}
    inputs = {
        "parking_gateway_gates": [{"name": "in", "relay": {"url": "http://192.0.2.31"}}],
        "parking_gateway_readers": [posts],
    }
    assert "SupplementaryGroups" not in rendered("parkmesh-gateway.service.j2", **inputs)
    inputs["parking_gateway_readers"].append(plugged)
    assert "SupplementaryGroups=parkmesh-readers\n" in rendered("parkmesh-gateway.service.j2", **inputs)
    assert written(**inputs).readers[1].device == plugged["device"]


def first_column(heading: str) -> list[str]:
    """The names in the first column of the first table after a line of docs/gateway.md."""
    text = (ROOT / "docs" / "gateway.md").read_text().partition(heading)[2]
    table = re.search(r"\n((?:\|.*\n)+)", text)
    assert table
    cells = [line.split("|")[1] for line in table[1].splitlines()[2:]]
    return [name.strip(" `") for cell in cells for name in cell.split(",")]


def test_the_documentation_names_every_check_of_the_health_and_of_the_doctor() -> None:
    relays = {"…": None}
    assert first_column("`parkmesh gateway health` prints JSON") == list(health.checks({"running": True}, relays))
    judged = (ROOT / "app/src/parkmesh/gateway/doctor.py").read_text()
    assert set(first_column("## The doctor")) == set(re.findall(r'Finding\(\s*"([a-z ]+)"', judged))


def test_counters_are_written_where_there_are_some() -> None:
    counter = {"name": "garage", "points": [{"detector": {"topic": "ramp"}, "direction": "entry"}]}
    assert written(parking_gateway_counters=[counter]).counters[0].name == "garage"
    assert written().counters == []


def test_the_documentation_names_every_key_and_its_example_is_valid() -> None:
    text = (ROOT / "docs" / "gateway.md").read_text()
    example = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert example
    assert config.parse(example[1].encode(), "docs/gateway.md").name
    keys = [
        *config.Config.__struct_fields__,
        *(f"listen.{key}" for key in config.Listen.__struct_fields__),
        *(f"mqtt.{key}" for key in config.Mqtt.__struct_fields__),
        *(f"cameras[].{key}" for key in config.Camera.__struct_fields__),
        *(f"local_page.{key}" for key in config.LocalPage.__struct_fields__),
        *(f"login.{key}" for key in config.Login.__struct_fields__),
        *(f"readers[].{key}" for key in config.Reader.__struct_fields__),
        *(f"gates[].{key}" for key in gates.Gate.__struct_fields__),
        *(f"sensors[].{key}" for key in sensors.Sensor.__struct_fields__),
        *(f"counters[].{key}" for key in counters.Counter.__struct_fields__),
        *(f"points[].{key}" for key in counters.Point.__struct_fields__),
        *(f"detector.{key}" for key in counters.Detector.__struct_fields__),
        *gates.Relay.__struct_fields__,
        *gates.HttpCalls.__struct_fields__,
        *sensors.SensorMapping.__struct_fields__,
    ]
    containers = {"listen", "cameras", "recorders", "readers", "gates", "sensors", "counters", "local_page"}
    assert [key for key in keys if key not in containers and f"`{key}`" not in text] == []


def rendered(template: str, **inputs: Any) -> str:
    values = {**yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()), "ansible_managed": "by hand", **inputs}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 -- no page
    environment.filters.update(FilterModule().filters())
    return environment.from_string((ROLE / "templates" / template).read_text()).render(values)


def test_the_journal_has_a_bound() -> None:
    text = rendered("journald.conf.j2", parking_gateway_journal_max_mb=100)
    settings = configparser.ConfigParser()
    settings.optionxform = str  # type: ignore[assignment,method-assign]
    settings.read_string(text)
    assert dict(settings["Journal"]) == {
        "SystemMaxUse": "100M",
        "SystemMaxFileSize": "12M",
        "RuntimeMaxUse": "32M",
    }
