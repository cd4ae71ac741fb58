"""Load balancer and database of the lab: configuration from records, health back, and a password that stays secret."""

import base64
import hashlib
import hmac

import pytest

from lab.driver import haproxy
from lab.driver.cloud import action, patterns
from lab.driver.databases import cluster_script, role_statements, scram_verifier
from lab.machine.base_image import content_hash, sources
from lab.machine.errors import LabError

TARGETS = (haproxy.Target("i-1", "10.1.2.4", 8000), haproxy.Target("i-2", "10.1.3.4", 8000))
GROUP = haproxy.TargetGroup(
    name="app",
    arn="arn:app",
    path="/readyz",
    matcher="200-204,301",
    interval_s=10,
    timeout_s=4,
    healthy_count=3,
    unhealthy_count=2,
    check_port=None,
    targets=TARGETS,
)


def balancer(*listeners: haproxy.Listener, group: haproxy.TargetGroup = GROUP) -> haproxy.Balancer:
    return haproxy.Balancer("lb", listeners or (haproxy.Listener(80, (), haproxy.Forward("app")),), (group,), 75)


def lines(config: str) -> list[str]:
    return [line.strip() for line in config.splitlines()]


def test_a_listener_forwards_to_its_target_group() -> None:
    config = lines(haproxy.config(balancer(), frozenset()))
    assert "bind :80" in config
    assert "default_backend app" in config
    assert "timeout client 75s" in config
    assert "http-check expect status 200-204,301" in config
    assert any("uri '/readyz'" in line for line in config)


def test_a_new_target_needs_one_passing_check_and_a_known_one_the_threshold() -> None:
    config = lines(haproxy.config(balancer(), frozenset({("app", "i-2")})))
    assert "server i-1 10.1.2.4:8000 check inter 10s rise 1 fall 2" in config
    assert "server i-2 10.1.3.4:8000 check inter 10s rise 3 fall 2" in config
    # A host that is gone is asked for no longer than one that hangs.
    assert config[config.index("timeout check 4s") + 1] == "timeout connect 4s"


def test_rules_come_before_the_default_and_end_what_they_take() -> None:
    rules = (
        haproxy.Rule(
            ("/old/*",), (), haproxy.Redirect(301, "#{protocol}", "#{host}", "#{port}", "/new/#{path}", "#{query}")
        ),
        haproxy.Rule(("/api/*", "/v?"), ("desk.example",), haproxy.Forward("app")),
    )
    listener = haproxy.Listener(80, rules, haproxy.Fixed(404, "text/plain", "it's 100% gone"))
    config = lines(haproxy.config(balancer(listener), frozenset()))
    assert "acl path-0 path -m reg '^/old/.*$'" in config
    assert "acl path-1 path -m reg '^/api/.*$' '^/v.$'" in config
    assert any(line.startswith("http-request redirect code 301") and line.endswith("if taken-0") for line in config)
    assert "use_backend app if taken-1" in config
    fixed = next(line for line in config if line.startswith("http-request return status 404"))
    assert fixed.endswith("if !taken-0 !taken-1")


@pytest.mark.parametrize(
    "group",
    [
        haproxy.TargetGroup("app\n  server x", "a", "/", "200", 5, 2, 2, 2, None, ()),
        haproxy.TargetGroup("app", "a", "/x\nbackend y", "200", 5, 2, 2, 2, None, ()),
        haproxy.TargetGroup("app", "a", "/", "200\n", 5, 2, 2, 2, None, ()),
        haproxy.TargetGroup("app", "a", "/", "200", 5, 2, 2, 2, None, (haproxy.Target("i 1", "10.0.0.1", 1),)),
    ],
)
def test_records_cannot_smuggle_configuration(group: haproxy.TargetGroup) -> None:
    with pytest.raises(LabError):
        haproxy.config(balancer(group=group), frozenset())


def test_new_servers_start_down_and_known_ones_keep_their_state() -> None:
    known = "3 app 7 i-2 10.1.3.4 2 0 1 1 5 15 3 3 6 0 0 0 - 8000 - 0 0 - - 0"
    states = haproxy.server_states(balancer(), f"1\n# be_id …\n{known}\n").splitlines()
    assert states[0] == "1"
    new = states[1].split()
    assert (new[1], new[3], new[4], new[5], new[18]) == ("app", "i-1", "10.1.2.4", "0", "8000")
    assert states[2] == known
    moved = known.replace("10.1.3.4", "10.1.3.99")
    assert haproxy.server_states(balancer(), f"1\n{moved}\n").splitlines()[2].split()[5] == "0"


def statistics(*rows: tuple[str, str, str, str]) -> str:
    head = "# pxname,svname,status,check_status,check_code,\n"
    return head + "".join(f"app,{server},{status},{check},{code},\n" for server, status, check, code in rows)


@pytest.mark.parametrize(
    ("row", "age", "proven", "expected"),
    [
        (("i-1", "UP", "L7OK", "200"), 0, False, ("healthy", None)),
        (("i-1", "UP 1/2", "L7STS", "500"), 0, True, ("healthy", None)),
        (("i-1", "DOWN", "INI", ""), 0, False, ("initial", "Elb.InitialHealthChecking")),
        (("i-1", "DOWN", "L7STS", "503"), 23, False, ("initial", "Elb.InitialHealthChecking")),
        (("i-1", "DOWN", "L7STS", "503"), 25, False, ("unhealthy", "Target.ResponseCodeMismatch")),
        (("i-1", "DOWN", "* L4TOUT", ""), 25, False, ("unhealthy", "Target.Timeout")),
        (("i-1", "DOWN 1/3", "L4CON", ""), 0, True, ("unhealthy", "Target.FailedHealthChecks")),
        (None, 0, False, ("initial", "Elb.RegistrationInProgress")),
    ],
)
def test_counters_become_target_health(
    row: tuple[str, str, str, str] | None, age: float, proven: bool, expected: tuple[str, str | None]
) -> None:
    counters = haproxy.measured(statistics(*([row] if row else []), ("BACKEND", "UP", "", "")))
    verdicts = haproxy.Verdicts(proven={("app", "i-1")} if proven else set(), since={("app", "i-1"): 100.0})
    assert verdicts.judge([GROUP], counters, 100.0 + age)["app", "i-1"][:2] == expected


def test_the_codes_of_a_failed_check_are_told() -> None:
    verdicts = haproxy.Verdicts(proven={("app", "i-1")})
    counters = haproxy.measured(statistics(("i-1", "DOWN", "L7STS", "502")))
    assert verdicts.judge([GROUP], counters, 0)["app", "i-1"][2] == "Health checks failed with these codes: [502]"


def test_a_target_that_left_starts_anew() -> None:
    verdicts = haproxy.Verdicts()
    up = haproxy.measured(statistics(("i-1", "UP", "L7OK", "200")))
    verdicts.judge([GROUP], up, 0)
    assert ("app", "i-1") in verdicts.proven
    verdicts.judge([], {}, 1)
    assert not verdicts.proven
    assert not verdicts.since


def test_actions_are_read_as_elb_writes_them() -> None:
    names = {"arn:app": "app", "arn:b": "b"}
    assert action([{"Type": "forward", "TargetGroupArn": "arn:app"}], names) == haproxy.Forward("app")
    weighted = {"TargetGroups": [{"TargetGroupArn": "arn:b", "Weight": 1}, {"TargetGroupArn": "arn:app", "Weight": 9}]}
    assert action([{"Type": "forward", "ForwardConfig": weighted}], names) == haproxy.Forward("app")
    redirect = action([{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Host": "x"}}], names)
    assert redirect == haproxy.Redirect(301, "#{protocol}", "x", "#{port}", "/#{path}", "#{query}")
    with pytest.raises(LabError, match="authenticate-oidc"):
        action([{"Type": "authenticate-oidc"}], names)
    with pytest.raises(LabError, match="http-header"):
        patterns({"Conditions": [{"Field": "http-header"}]}, "path-pattern")


def test_the_verifier_fits_the_exchange_of_rfc_7677() -> None:
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    scheme, numbers, keys = scram_verifier("pencil", salt).split("$")
    assert (scheme, numbers) == ("SCRAM-SHA-256", "4096:W22ZaJ0SNY7soEsUEjb6gQ==")
    stored, server = (base64.b64decode(part) for part in keys.split(":"))
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}".encode()
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(stored, message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored
    expected = base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert hmac.digest(server, message, "sha256") == expected


def test_statements_hold_no_password_and_quote_names() -> None:
    verifier = scram_verifier("hunter2")
    statements = role_statements("we\"ird'user", verifier)
    assert "hunter2" not in statements
    assert '"we""ird\'user"' in statements
    assert "'we\"ird''user'" in statements
    assert "SUPERUSER" not in statements.upper()
    assert "--port=6543" in cluster_script(6543, "main")


def test_the_base_image_is_named_after_what_it_is_made_of() -> None:
    text = sources("bookworm", "http://mirror.example/debian", "http://mirror.example/security")
    assert [line.split()[2] for line in text.splitlines()] == ["bookworm", "bookworm-updates", "bookworm-security"]
    assert content_hash("a", "bc") != content_hash("ab", "c")
