"""What every request passes before it is answered: whom it is from, where it goes, its size, number and time."""

import asyncio
import base64
import binascii
import hmac
import json
import time
from collections import OrderedDict
from urllib.parse import urlsplit

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
# What the page loads. Gradio has other addresses, for uploads and functions on the server, which this page has no use
# for: here they are not answered.
PAGES = ("/", "/theme.css", "/manifest.json", "/favicon.ico")
FOLDERS = ("/assets/", "/static/", "/explorer/")
BODY_BYTES = 512 << 10
FILE_BYTES = {"/explorer/invert": 32 << 20, "/explorer/code": 1 << 20}  # of the addresses that take a file
BODY_SECONDS = 30
ANSWER_SECONDS = 600
# Of one address: so many requests at once, and so many more in each second. A page loads 60 files, and a slider that is
# dragged asks 30 times in a second.
BURST, PER_SECOND = 400, 60
WRONG_BURST, WRONG_PER_SECOND = 5, 1 / 30  # wrong passwords
ADDRESSES = 4096  # that are remembered
# 'unsafe-eval': Gradio makes functions of the texts that say what a widget does.
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
          "base-uri 'self'; form-action 'none'; object-src 'none'")
HEADERS = [(b"content-security-policy", POLICY.encode()), (b"x-content-type-options", b"nosniff"),
           (b"referrer-policy", b"no-referrer"), (b"x-frame-options", b"DENY")]  # fmt: skip


class Refused(Exception):
    def __init__(self, status, message, headers=()):
        self.status, self.message, self.headers = status, message, list(headers)


class Buckets:
    """Allowances of addresses that fill up with time."""

    def __init__(self, burst, per_second, clock=time.monotonic):
        self._burst, self._per_second, self._clock = burst, per_second, clock
        self._levels = OrderedDict()

    def left(self, address):
        level, at = self._levels.get(address, (self._burst, self._clock()))
        return min(self._burst, level + (self._clock() - at) * self._per_second)

    def take(self, address):
        """Whether there was one left, which is taken."""
        left = self.left(address)
        self._levels[address] = max(left - 1, 0.0), self._clock()
        self._levels.move_to_end(address)
        if len(self._levels) > ADDRESSES:
            self._levels.popitem(last=False)
        return left >= 1


class Answer:
    """What is sent to one request: with our headers, and refused only if nothing has been sent yet."""

    def __init__(self, send):
        self._send, self._begun = send, False

    async def send(self, message):
        if message["type"] == "http.response.start":
            self._begun, names = True, {name for name, _ in HEADERS}
            kept = [header for header in message.get("headers", []) if header[0].lower() not in names]
            message = {**message, "headers": [*kept, *HEADERS]}
        await self._send(message)

    async def refuse(self, refused):
        if self._begun:
            return
        content = json.dumps({"error": refused.message}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await self.send({"type": "http.response.start", "status": refused.status, "headers": headers + refused.headers})
        await self.send({"type": "http.response.body", "body": content})


class Guard:
    """An ASGI application around another one.

    password: None on an explorer that only this machine reaches; it then answers to this machine's own names alone, as
    a foreign page might have its own name lead here.
    """

    def __init__(self, app, password=None, clock=time.monotonic):
        self._app, self._password = app, password
        self._requests = Buckets(BURST, PER_SECOND, clock)
        self._wrong = Buckets(WRONG_BURST, WRONG_PER_SECOND, clock)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # Gradio's and ours need no web sockets
            return
        answer = Answer(send)
        try:
            self._check(scope)
            body = await asyncio.wait_for(_body(scope, receive), BODY_SECONDS)
            await asyncio.wait_for(self._app(scope, _replay(body, receive), answer.send), ANSWER_SECONDS)
        except Refused as refused:
            await answer.refuse(refused)
        except TimeoutError:
            await answer.refuse(Refused(408, "this took too long"))

    def _check(self, scope):
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, address = headers.get("host", ""), (scope.get("client") or ("",))[0]
        if self._password is None:
            if _hostname(host) not in LOCAL_HOSTS:
                raise Refused(403, "this explorer answers to the address of its own machine alone")
        else:
            self._check_number(address)
            self._check_password(headers.get("authorization", ""), address)
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != host:
            raise Refused(403, "another page may not ask this")
        if scope["path"] not in PAGES and not scope["path"].startswith(FOLDERS):
            raise Refused(404, "there is nothing at this address")

    def _check_number(self, address):
        if not self._requests.take(address):
            raise Refused(429, "too many requests: wait a few seconds", [(b"retry-after", b"5")])

    def _check_password(self, authorization, address):
        """Raise Refused unless the password is there; also if this address has given wrong ones too often."""
        given = _password_in(authorization)
        if given is not None and self._wrong.left(address) < 1:
            raise Refused(429, "too many wrong passwords: wait a minute", [(b"retry-after", b"60")])
        if given is None or not hmac.compare_digest(given, self._password.encode()):
            if given is not None:
                self._wrong.take(address)
            raise Refused(401, "the password is missing or wrong",
                          [(b"www-authenticate", b'Basic realm="ContraCLIP explorer", charset="UTF-8"')])


def _hostname(host):
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _password_in(authorization):
    """The password, as bytes, of an Authorization header of the Basic scheme (RFC 7617); None where there is none."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return None


async def _body(scope, receive):
    """The whole body. Raises Refused if it is larger than what may be sent to its address."""
    most = FILE_BYTES.get(scope["path"], BODY_BYTES)
    too_large = Refused(413, f"at most {most >> 10:,} KiB are taken here: send something smaller")
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    if lengths and (not lengths[0].isdigit() or int(lengths[0]) > most):
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the request ended early")
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body, receive):
    """A `receive` that gives the body that was read, and then what comes."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed():
        return messages.pop() if messages else await receive()

    return replayed
