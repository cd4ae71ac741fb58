"""A clear error, bounded retries, and never the token, whatever a control plane, a proxy or the network does."""

from __future__ import annotations

import email.utils
import logging
import socket
from typing import Any

import pytest
from ansible.module_utils import zerotier_http as http

from .doubles.scripted import Reply, answer, scripted

TOKEN = "s3cret-token-0123456789"
NOW = 1_800_000_000.0


def transport(url: str, **options: Any) -> http.Transport:
    settings: dict[str, Any] = {"timeout": 0.5, "retries": 0, "fresh_connections": True, "sleep": lambda seconds: None}
    return http.Transport(url, {"X-ZT1-Auth": TOKEN}, TOKEN, **{**settings, **options})


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (answer(401, {}), http.Unauthorized, "401 the token isn't accepted"),
        (answer(403, {"message": "plan"}), http.Forbidden, "403 the token may not do this.*the server said: plan"),
        (answer(404, b""), http.NotFound, "404 there is no such thing"),
        (answer(409, b""), http.Conflict, "409 it conflicts"),
        (answer(400, {"code": 1, "message": "bad", "details": [{"field": "mtu"}]}), http.ApiError, "bad.*mtu"),
        (answer(429, b"slow down"), http.RateLimited, "429 too many requests.*slow down"),
        (answer(500, b'{"error": 500, "description": "[json.exception'), http.ServerFailure, "500 the server failed"),
        (answer(503, b"<html>proxy</html>"), http.ServerFailure, "503 .*an HTML page"),
        (answer(301, b"", {"Location": "http://elsewhere.example/"}), http.ApiError, "redirect"),
        (answer(200, b"<!DOCTYPE html><p>Sign in"), http.NotJson, "HTML page, not JSON"),
        (answer(200, b'{"data": [1, 2'), http.NotJson, "isn't valid JSON"),
        (answer(200, b"\xff\xfe\x00"), http.NotJson, "isn't valid JSON"),
        (answer(200, b"[" * 100_000), http.NotJson, "isn't valid JSON"),
        (answer(200, b""), http.NotJson, "is empty"),
        (Reply(head("200 OK", "Content-Length: 100") + b'{"a": 1'), http.Unreachable, "broke off|IncompleteRead|bytes"),
        (Reply(head("200 OK", "Transfer-Encoding: chunked") + b"zz\r\n"), http.Unreachable, "broke off|chunk"),
        (Reply(b""), http.Unreachable, "GET http"),
        (Reply(b"", stall_s=2), http.Unreachable, "no answer within 0.5 s"),
        (Reply(head("200 OK", "Content-Length: 100") + b'{"a"', stall_s=2), http.Unreachable, "stopped for 0.5 s"),
        (Reply(b"SSH-2.0-OpenSSH_9.9\r\n"), http.Unreachable, "GET http"),
    ],
)
def test_every_bad_answer_is_one_clear_error(reply: Reply, error: type[http.ApiError], message: str) -> None:
    with scripted([reply]) as server, pytest.raises(error, match=message) as caught:
        transport(server.url).request("GET", "/status")
    assert "/status" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_refused_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(http.Unreachable, match=f"127.0.0.1:{port}/status.*refused"):
        transport(f"http://127.0.0.1:{port}").request("GET", "/status")


def test_a_name_that_doesnt_resolve_is_unreachable() -> None:
    with pytest.raises(http.Unreachable, match=r"nowhere\.invalid"):
        transport("http://nowhere.invalid").request("GET", "/status")


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_token_that_the_server_repeats_is_not_shown(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        scripted([answer(status, {"message": f"bad token {TOKEN}"})]) as server,
        pytest.raises(http.ApiError) as caught,
    ):
        transport(server.url).request("GET", "/status")
    assert "(token)" in str(caught.value)
    assert TOKEN not in str(caught.value) + repr(caught.value) + repr(transport(server.url)) + caplog.text


def test_the_token_is_sent_and_a_body_is_json() -> None:
    with scripted([answer(200, {"kept": True})]) as server:
        assert transport(server.url).request("POST", "/x", {"name": "é"}) == {"kept": True}
    request = server.requests[0]
    assert request.headers["x-zt1-auth"] == TOKEN
    assert request.headers["content-type"] == "application/json"
    assert request.body == b'{"name": "\\u00e9"}'


def test_an_empty_answer_to_a_write_is_fine() -> None:
    with scripted([answer(200, b"")]) as server:
        assert transport(server.url).request("DELETE", "/x") is None


def test_netrc_doesnt_replace_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with scripted([answer(200, [])]) as server:
        central = http.Transport(server.url, {"Authorization": "token abc"}, "abc", timeout=1, retries=0)
        central.request("GET", "/network")
    assert server.requests[0].headers["authorization"] == "token abc"


# Retries


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    waits: list[float] = []
    with scripted([answer(status, b""), answer(status, b""), answer(200, {"a": 1})]) as server:
        client = transport(server.url, retries=2, sleep=waits.append)
        assert client.request("GET", "/status") == {"a": 1}
    assert len(server.requests) == 3
    assert len(waits) == 2


def test_after_the_last_attempt_the_error_says_how_often_it_was_tried() -> None:
    with (
        scripted([answer(503, b"")]) as server,
        pytest.raises(http.ServerFailure, match=r"tried 3 times") as caught,
    ):
        transport(server.url, retries=2).request("GET", "/status")
    assert caught.value.status == 503
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_what_wont_pass_is_tried_once(status: int) -> None:
    with scripted([answer(status, b"")]) as server, pytest.raises(http.ApiError):
        transport(server.url, retries=3).request("GET", "/status")
    assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "attempts"), [(429, 3), (503, 3), (500, 1), (502, 1)])
def test_a_creation_is_only_repeated_when_the_server_cant_have_acted(status: int, attempts: int) -> None:
    with scripted([answer(status, b"")]) as server, pytest.raises(http.ApiError):
        transport(server.url, retries=2).request("POST", "/network", {}, repeatable=False)
    assert len(server.requests) == attempts


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({}, 0.0, 1.0),
        ({"Retry-After": "7"}, 7.0, 7.25),
        ({"Retry-After": email.utils.formatdate(NOW + 9, usegmt=True)}, 9.0, 9.25),
        ({"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": email.utils.formatdate(NOW + 4, usegmt=True)}, 4.0, 4.25),
        ({"X-Ratelimit-Remaining": "5", "X-Ratelimit-Reset": email.utils.formatdate(NOW + 4, usegmt=True)}, 0.0, 1.0),
        ({"Retry-After": email.utils.formatdate(NOW - 9, usegmt=True)}, 0.0, 0.25),
        ({"Retry-After": "soon"}, 0.0, 1.0),
    ],
)
def test_the_wait_is_jittered_or_what_the_server_asks(headers: dict[str, str], low: float, high: float) -> None:
    for pick in (lambda a, b: a, lambda a, b: b):
        seconds = http.Backoff(clock=lambda: NOW, uniform=pick).seconds(2, headers)
        assert seconds is not None
        assert low <= seconds <= high


def test_the_wait_grows_up_to_a_cap() -> None:
    backoff = http.Backoff(uniform=lambda a, b: b)
    assert [backoff.seconds(attempt, {}) for attempt in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


def test_a_server_that_asks_for_too_long_a_wait_isnt_waited_for() -> None:
    assert http.Backoff().seconds(0, {"Retry-After": "3600"}) is None
    with scripted([answer(429, b"", {"Retry-After": "3600"})]) as server, pytest.raises(http.RateLimited):
        transport(server.url, retries=3).request("GET", "/status")
    assert len(server.requests) == 1


def test_a_slow_drip_ends_with_the_deadline_of_the_whole_answer() -> None:
    moments = iter([0.0, 1.0, 9.0])
    with (
        scripted([answer(200, b" " * 600_000)]) as server,
        pytest.raises(http.Unreachable, match=r"longer than 2\.5 s"),
    ):
        transport(server.url, monotonic=lambda: next(moments)).request("GET", "/status")


# Tokens


@pytest.mark.parametrize("token", ["abc", " abc", "abc\n", "\tabc\r\n"])
def test_white_space_around_a_token_is_taken_off(token: str) -> None:
    assert http.clean_token(token) == "abc"


@pytest.mark.parametrize("token", ["", "\n", "ab\ncd", "ab cd", "s3crét", "ab\x00cd", None, 5])
def test_what_cant_be_a_token_is_refused_without_showing_it(token: object) -> None:
    with pytest.raises(http.TokenError) as caught:
        http.clean_token(token)
    assert "cd" not in str(caught.value)
    assert "crét" not in str(caught.value)


def test_parallel_results_keep_their_order_and_an_error_ends_it() -> None:
    client = transport("http://127.0.0.1:9")
    assert client.each(lambda number: number * 2, range(20)) == list(range(0, 40, 2))
    with pytest.raises(ZeroDivisionError):
        client.each(lambda number: 1 // number, [1, 0, 2])
