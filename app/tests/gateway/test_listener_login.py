"""Devices that log in and speak TLS: the digest of RFC 7616, the listener's answers, and a whole gateway over HTTPS."""

import hashlib
import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from edge_server import TOKEN, EdgeServer
from parkmesh.gateway import certificate, digest
from parkmesh.gateway.certificate import Certificate, CertificateError
from parkmesh.gateway.config import Camera, Login, Reader, parse
from parkmesh.gateway.digest import Answer, Challenges
from parkmesh.protocol.edge import AccessEntry
from processes import GatewaySite, free_port, run_simulate, wait_for
from test_decider import make_config
from test_gateway_config import EXAMPLE, invoke
from test_intake import Yard, message, yard
from test_page import HASH, PASSWORD

USER, SECRET = "cam-in", "a long password"
PATH = "/cameras/cam-in/events"
BOTH: tuple[digest.Algorithm, ...] = ("SHA-256", "MD5")


def answered(nonce: str, number: int = 1, algorithm: digest.Algorithm = "SHA-256", **changes: Any) -> Answer:
    """Answer a challenge as RFC 7616 says (3.4.1); written from the document, not from the gateway's code."""
    uri = changes.pop("uri", PATH)

    def h(text: str) -> str:
        return (hashlib.sha256 if algorithm == "SHA-256" else hashlib.md5)(text.encode()).hexdigest()

    a1 = h(f"{USER}:parkmesh:{changes.pop('password', SECRET)}")
    response = h(f"{a1}:{nonce}:{number:08x}:0a4f113b:auth:{h(f'POST:{uri}')}")
    answer = Answer(USER, "parkmesh", nonce, uri, response, algorithm, "auth", f"{number:08x}", "0a4f113b")
    return msgspec.structs.replace(answer, **changes)


def nonce_of(header: str) -> str:
    found = re.search(r'nonce="([^"]+)"', header)
    assert found
    return found[1]


class Asked:
    def __init__(self) -> None:
        self.now = 1_000_000
        self.challenges = Challenges(lambda: self.now)

    def nonce(self) -> str:
        return nonce_of(self.challenges.headers(BOTH)[0])

    def judge(self, answer: Answer, target: str = PATH) -> str:
        return self.challenges.judge(answer, "POST", target, USER, SECRET, BOTH)


def test_the_example_of_the_standard() -> None:
    header = (
        'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    answer = digest.read(header)
    assert answer is not None
    assert (answer.username, answer.nc, answer.qop, answer.algorithm) == ("Mufasa", "00000001", "auth", "SHA-256")
    assert digest.read("Basic YTpi") is None
    assert digest.read('Digest username="a\\"b"') == Answer('a"b')


@pytest.mark.parametrize("algorithm", BOTH)
def test_a_challenge_serves_with_rising_numbers_for_five_minutes(algorithm: digest.Algorithm) -> None:
    asked = Asked()
    nonce = asked.nonce()
    assert asked.judge(answered(nonce, 1, algorithm)) == "known"
    assert asked.judge(answered(nonce, 1, algorithm)) == "stale", "overheard and sent again"
    assert asked.judge(answered(nonce, 3, algorithm)) == "known"
    assert asked.judge(answered(nonce, 2, algorithm)) == "stale"
    asked.now += 300_001
    assert asked.judge(answered(nonce, 4, algorithm)) == "stale"
    assert asked.judge(answered(nonce, 4, algorithm, password="another password")) == "wrong"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"uri": f"http://192.0.2.1:8100{PATH}"}, "known"),
        ({"uri": "/cameras/cam-out/events"}, "wrong"),
        ({"realm": ""}, "wrong"),
        ({"username": "cam-out"}, "wrong"),
        ({"algorithm": "SHA-512-256"}, "wrong"),
        ({"qop": "auth-int"}, "wrong"),
        ({"nc": ""}, "wrong"),
        ({"response": "é"}, "wrong"),
        ({"response": ""}, "wrong"),
    ],
)
def test_what_answers_a_challenge(changes: dict[str, str], verdict: str) -> None:
    asked = Asked()
    assert asked.judge(answered(asked.nonce(), **changes)) == verdict


def test_a_challenge_of_somebody_else_is_none() -> None:
    asked = Asked()
    for nonce in ("", "f4240", "f4240.", "f4240." + "0" * 32, "zz.zz", "-1.00", Asked().nonce()):
        assert asked.judge(answered(nonce)) == "stale", nonce


def test_old_firmware_without_qop_logs_in_once_a_challenge() -> None:
    asked = Asked()

    def answer(nonce: str) -> Answer:
        def h(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 -- the standard's

        response = h(f"{h(f'{USER}:parkmesh:{SECRET}')}:{nonce}:{h(f'POST:{PATH}')}")
        return Answer(USER, "parkmesh", nonce, PATH, response)

    nonce = asked.nonce()
    assert [asked.judge(answer(nonce)) for _ in range(2)] == ["known", "stale"]
    assert asked.judge(answered(nonce, 9)) == "stale"


def test_what_has_served_is_forgotten_but_never_serves_again() -> None:
    asked = Asked()
    first = asked.nonce()
    assert asked.judge(answered(first)) == "known"
    for _ in range(4_200):
        asked.now += 1
        assert asked.judge(answered(asked.nonce())) == "known"
    assert len(asked.challenges._served) <= 4_096
    assert asked.judge(answered(first, 2)) == "stale"


def locked(folder: Path, **login: Any) -> Yard:
    world = yard(folder, "hikvision")
    camera = msgspec.structs.replace(world.config.cameras[0], login=Login(USER, SECRET, **login))
    world.config = msgspec.structs.replace(world.config, cameras=[camera, *world.config.cameras[1:]])
    return world


@pytest.mark.parametrize("algorithm", ["any", "md5", "sha-256"])
async def test_a_camera_logs_in_with_digest(tmp_path: Path, algorithm: str) -> None:
    world = locked(tmp_path, algorithm=algorithm)
    body, headers = message("hikvision", "1234BCD")
    async with world.open() as client:
        refused = await client.post(PATH, content=body, headers=headers)
        assert refused.status_code == 401
        offered = [re.findall(r"^(\w+)|algorithm=([^,]+)", one) for one in refused.headers.get_list("WWW-Authenticate")]
        names = {"any": ["SHA-256", "MD5"], "md5": ["MD5"], "sha-256": ["SHA-256"]}[algorithm]
        assert offered == [[("Digest", ""), ("", name)] for name in names], "no basic without encryption"
        login = httpx.DigestAuth(USER, SECRET)
        for _ in range(2):
            assert (await client.post(PATH, content=body, headers=headers, auth=login)).status_code == 200
        assert (await client.post(PATH, content=body, headers=headers, auth=(USER, SECRET))).status_code == 401
        await world.settled()
    assert world.passages() == [("1234BCD", "in", "exact", "cam-in")]


async def test_who_does_not_log_in_is_seen_and_its_secret_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = locked(tmp_path)
    async with world.open() as client:
        assert (await client.post(PATH, content=b"x")).status_code == 401
        assert (await client.post(PATH, content=b"", auth=httpx.DigestAuth(USER, SECRET))).status_code == 200
        for _ in range(3):
            await client.post(PATH, content=b"x")
        await client.post(PATH, content=b"x", auth=httpx.DigestAuth(USER, "another password"))
        senders = (await client.get("/status")).json()["wrong_posts"]["senders"]
    assert sorted((one["kind"], one["count"]) for one in senders) == [("no_login", 2), ("test", 1), ("wrong_login", 1)]
    assert world.kept.counts().quarantine == 0
    assert SECRET not in caplog.text


async def test_cameras_that_share_a_path_are_known_by_their_users(tmp_path: Path) -> None:
    world = yard(tmp_path, "dahua_itsapi")
    cameras = [
        msgspec.structs.replace(one, login=Login(one.name, f"password of {one.name}")) for one in world.config.cameras
    ]
    world.config = msgspec.structs.replace(world.config, cameras=cameras)
    async with world.open() as client:
        for name, plate in (("cam-in", "1234BCD"), ("cam-out", "5678FGH")):
            body, headers = message("dahua_itsapi", plate)
            login = httpx.DigestAuth(name, f"password of {name}")
            path = "/NotificationInfo/TollgateInfo"
            assert (await client.post(path, content=body, headers=headers, auth=login)).status_code == 200
        body, headers = message("dahua_itsapi", "1234BCD")
        stranger = httpx.DigestAuth("cam-out", "password of cam-in")
        assert (await client.post(path, content=body, headers=headers, auth=stranger)).status_code == 401
        await world.settled()
    assert world.passages() == [("1234BCD", "in", "exact", "cam-in"), ("5678FGH", "out", "exact", "cam-out")]


async def test_tls_is_asked_for_and_takes_basic_too(tmp_path: Path) -> None:
    world = locked(tmp_path)
    camera = msgspec.structs.replace(world.config.cameras[0], tls=True)
    world.config = msgspec.structs.replace(world.config, cameras=[camera, *world.config.cameras[1:]])
    body, headers = message("hikvision", "1234BCD")
    async with world.open() as client:
        assert (await client.post(PATH, content=body, headers=headers)).status_code == 403
        secure = f"https://gateway{PATH}"
        refused = await client.post(secure, content=body, headers=headers)
        assert refused.headers.get_list("WWW-Authenticate")[-1].startswith("Basic ")
        wrong = (USER, "another password")
        assert (await client.post(secure, content=body, headers=headers, auth=wrong)).status_code == 401
        assert (await client.post(secure, content=body, headers=headers, auth=(USER, SECRET))).status_code == 200
        senders = (await client.get("/status")).json()["wrong_posts"]["senders"]
    assert {one["kind"] for one in senders} == {"no_tls", "wrong_login"}


def test_a_reader_logs_in_and_needs_tls(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    reader = Reader("scan", config.gates[0].name, "entry", login=Login(USER, SECRET), tls=True)
    assert reader.login is not None
    document = {**EXAMPLE, "certificate_file": "/x", "listen": {"tls_port": 1}}
    document["readers"] = [{"name": "scan", "gate": "main-in", "direction": "entry", "tls": True}]
    assert parse(json.dumps(document).encode(), "x").readers[0].tls


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"listen": {"tls_port": 8143}}, "listen.tls_port needs a certificate_file"),
        ({"local_page": {"password": HASH, "tls": True}}, "local_page.tls needs a certificate_file"),
        (
            {"cameras": [{"name": "a", "gate": "main-in", "direction": "entry", "tls": True}]},
            "camera 'a' has tls, but there is no listen.tls_port",
        ),
        (
            {
                "cameras": [
                    {
                        "name": "a",
                        "gate": "main-in",
                        "direction": "entry",
                        "login": {"user": "a:b", "password": SECRET},
                    }
                ]
            },
            "login.user",
        ),
        (
            {
                "cameras": [
                    {"name": "a", "gate": "main-in", "direction": "entry", "login": {"user": "a", "password": "short"}}
                ]
            },
            "login.password",
        ),
    ],
)
def test_a_wrong_login_or_tls_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)) as caught:
        parse(json.dumps({**EXAMPLE, **changes}).encode(), "gateway.json")
    assert SECRET not in str(caught.value)


def self_signed(path: Path) -> Path:
    """Make a certificate and its key, as the role does on a gateway."""
    key, made = path.with_suffix(".key"), path.with_suffix(".crt")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(made), "-days", "2", "-subj", "/CN=gateway"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(made.read_bytes() + key.read_bytes())
    return path


def test_a_certificate_is_read_again_when_it_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "gateway.pem"
    held = Certificate(path)
    assert held.fault == f"{path}: No such file or directory"
    self_signed(path)
    held.refresh()
    assert held.fault is None
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:300])
    held.refresh()
    assert held.fault is not None
    assert "no certificate with its key" in held.fault
    assert caplog.text.count("PRIVATE KEY") == 0
    with pytest.raises(CertificateError):
        certificate.load(certificate.context(), path)


def test_check_config_reads_the_certificate(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n")
    document = {**EXAMPLE, "token_file": str(tmp_path / "token"), "certificate_file": str(tmp_path / "gateway.pem")}
    document["listen"] = {"tls_port": 8143}
    path = tmp_path / "gateway.json"
    path.write_text(json.dumps(document))
    code, output = invoke("check-config", "--config", str(path))
    assert (code, output) == (2, f"parkmesh gateway: {tmp_path}/gateway.pem: No such file or directory\n")
    self_signed(tmp_path / "gateway.pem")
    assert invoke("check-config", "--config", str(path))[0] == 0


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    with EdgeServer([AccessEntry("ana", "1234BCD", "active")]) as running:
        yield running


@pytest.fixture
def site(server: EdgeServer, tmp_path: Path) -> Iterator[GatewaySite]:
    running = GatewaySite(tmp_path, [server.url], TOKEN)
    login = {"user": USER, "password": SECRET}
    running.config["certificate_file"] = str(self_signed(tmp_path / "gateway.pem"))
    running.config["listen"]["tls_port"] = free_port()
    running.config["cameras"][0] |= {"kind": "milesight", "login": login, "tls": True}
    running.config["local_page"] = {"password": HASH, "host": "127.0.0.1", "port": free_port(), "tls": True}
    running.config_path.write_text(json.dumps(running.config))
    simulated = json.loads(running.site_path.read_text())
    simulated["gateway_tls"] = f"https://127.0.0.1:{running.config['listen']['tls_port']}"
    simulated["cameras"][0] |= {"kind": "milesight", "login": login, "tls": True}
    running.site_path.write_text(json.dumps(simulated))
    with running.at_work():
        yield running


def test_a_camera_and_the_page_over_tls_at_a_running_gateway(site: GatewaySite, tmp_path: Path) -> None:
    code, line = run_simulate("car", "--site", str(site.site_path), "1234BCD", "--wait", "10")
    assert (code, site.pulses()) == (0, 1), line
    assert site.status()["tls"] == {"fault": None}
    # Whoever trusts the gateway's certificate is told by it that this is the gateway.
    trusting = ssl.create_default_context(cafile=str(tmp_path / "gateway.crt"))
    page = f"https://127.0.0.1:{site.config['local_page']['port']}"
    with httpx.Client(verify=trusting, trust_env=False) as browser:
        wait_for(lambda: _answers(browser, page), "the page")
        signed_in = browser.post(f"{page}/sign-in", data={"password": PASSWORD})
        assert signed_in.status_code == 303
        assert "secure" in signed_in.headers["Set-Cookie"].lower()
        assert "1234" not in browser.get(f"{page}/").text
        answer = browser.post(_secure(site), content=b"x")
        assert answer.status_code == 401
    assert site.gateway is not None
    assert site.gateway.stop() == 0
    assert SECRET not in site.gateway.log


def _secure(site: GatewaySite) -> str:
    return f"https://127.0.0.1:{site.config['listen']['tls_port']}{PATH}"


def _answers(browser: httpx.Client, page: str) -> bool:
    try:
        return browser.get(f"{page}/sign-in").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_camera_of_a_recorder_has_no_login_of_its_own() -> None:
    camera = Camera("a", "main-in", "entry", recorder="nvr", channel="1", login=Login(USER, SECRET))
    document = {**EXAMPLE, "cameras": [msgspec.to_builtins(camera)], "recorders": [{"name": "nvr"}]}
    with pytest.raises(Exception, match="secret_path, login, tls, pull and mapping belong to the recorder"):
        parse(json.dumps(document).encode(), "gateway.json")
