"""What a request must be before the explorer answers it."""

import asyncio
import base64

import pytest

pytest.importorskip("gradio")

from lib.exploring.web import guard
from lib.exploring.web.guard import Buckets, Guard

LOCAL = {"host": "127.0.0.1:7860"}
PASSWORD = "correct horse"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


async def behind(scope, receive, send):
    """Answers with the body that it gets."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"ALLOWALL")]})
    await send({"type": "http.response.body", "body": body})


def answer(app, path="/", headers=LOCAL, method="GET", parts=(b"",), client="10.0.0.1"):
    """(status, headers, body) of one request whose body comes in parts."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False
    sent = []

    async def receive():
        if not messages:
            await asyncio.sleep(60)
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "client": (client, 1),
             "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


def basic(password):
    return {"host": "10.0.0.9:7860", "authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


def test_answer_has_headers_that_let_nothing_else_in():
    status, headers, _ = answer(Guard(behind))
    assert status == 200 and headers[b"x-frame-options"] == b"DENY"
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'self'" in policy and "http" not in policy


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "[::1]:7860"])
def test_own_names_of_the_machine_are_answered(host):
    assert answer(Guard(behind), headers={"host": host})[0] == 200


@pytest.mark.parametrize("headers", [{}, {"host": "evil.example"}, {"host": "127.0.0.1.evil.example"}, {"host": "[::"}])
def test_other_names_of_the_machine_are_refused(headers):
    status, _, body = answer(Guard(behind), headers=headers)
    assert status == 403 and b"error" in body


def test_other_pages_are_refused():
    app = Guard(behind)
    assert answer(app, "/explorer/hello", LOCAL | {"origin": "http://evil.example"}, "POST")[0] == 403
    assert answer(app, "/explorer/hello", LOCAL | {"origin": "null"}, "POST")[0] == 403
    assert answer(app, "/explorer/hello", LOCAL | {"origin": "http://127.0.0.1:7860"}, "POST")[0] == 200


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/config", "/docs", "/file=x", "//"])
def test_what_the_page_has_no_use_for_is_not_there(path):
    assert answer(Guard(behind), path)[0] == 404


def test_body_that_is_too_large_is_refused_without_being_read(monkeypatch):
    monkeypatch.setattr(guard, "BODY_BYTES", 1000)
    monkeypatch.setitem(guard.FILE_BYTES, "/explorer/invert", 3000)
    app, path = Guard(behind), "/explorer/say"
    assert answer(app, path, LOCAL | {"content-length": "1001"}, "POST")[0] == 413
    assert answer(app, path, LOCAL | {"content-length": "-1"}, "POST")[0] == 413
    assert answer(app, path, LOCAL, "POST", [b"x" * 600, b"x" * 600])[0] == 413
    assert answer(app, path, LOCAL, "POST", [b"x" * 600, b"x" * 400]) [2] == b"x" * 1000
    assert answer(app, "/explorer/invert", LOCAL, "POST", [b"x" * 3000])[0] == 200


def test_body_that_does_not_come_ends_the_request(monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.01)

    async def never():
        await asyncio.sleep(60)

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": "/", "method": "GET", "client": None, "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(behind)(scope, never, send))
    assert sent[0]["status"] == 408


def test_answer_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(guard, "ANSWER_SECONDS", 0.01)

    async def slow(scope, receive, send):
        await asyncio.sleep(60)

    assert answer(Guard(slow))[0] == 408


def test_password_is_asked_for():
    app = Guard(behind, PASSWORD)
    status, headers, _ = answer(app, headers={"host": "10.0.0.9:7860"})
    assert status == 401 and headers[b"www-authenticate"].startswith(b"Basic")
    assert answer(app, headers=basic("wrong"))[0] == 401
    assert answer(app, headers=basic(PASSWORD))[0] == 200
    assert answer(app, headers={"host": "x", "authorization": "Basic %%%"})[0] == 401


def test_guessing_the_password_is_slow(clock):
    app = Guard(behind, PASSWORD, clock)
    assert [answer(app, headers=basic(f"guess {i}"))[0] for i in range(7)] == [401] * 5 + [429] * 2
    assert answer(app, headers=basic(PASSWORD))[0] == 429  # it must not be told whether this one was right
    assert answer(app, headers=basic(PASSWORD), client="10.0.0.2")[0] == 200
    clock.now += 31
    assert answer(app, headers=basic(PASSWORD))[0] == 200


def test_too_many_requests_of_one_address_wait(clock, monkeypatch):
    monkeypatch.setattr(guard, "BURST", 10)
    app = Guard(behind, PASSWORD, clock)
    assert [answer(app, headers=basic(PASSWORD))[0] for _ in range(12)] == [200] * 10 + [429] * 2
    assert answer(app, headers=basic(PASSWORD), client="10.0.0.2")[0] == 200
    clock.now += 1
    assert answer(app, headers=basic(PASSWORD))[0] == 200


def test_buckets_remember_the_newest_addresses(clock, monkeypatch):
    monkeypatch.setattr(guard, "ADDRESSES", 3)
    buckets = Buckets(1, 0, clock)
    assert all(buckets.take(address) for address in "abcd") and not buckets.take("d")
    assert buckets.left("a") == 1  # forgotten
