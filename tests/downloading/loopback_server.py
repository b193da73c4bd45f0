"""An HTTP server on the loopback interface that can misbehave: it drops, stalls, and states wrong lengths."""

import contextlib
import functools
import http.server
import re
import threading


class Once(functools.partial):
    """A behaviour for one request; any other one stays."""


class Page:
    """The content at a path, and the behaviours that stand in for sending it, in their order."""

    def __init__(self, content, *instead, etag='"1"', ranges=True):
        self.content, self.instead, self.etag, self.ranges = content, list(instead), etag, ranges

    def answer(self, handler):
        if not self.instead:
            return self.send(handler)
        behaviour = self.instead[0]
        if isinstance(behaviour, Once):
            self.instead.pop(0)
        behaviour(self, handler)

    def send(self, handler, sent=None, stated=None, content_type="application/octet-stream"):
        """The requested range of the file: only `sent` bytes of it, or with another length `stated`."""
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "")
        same = handler.headers.get("If-Range") in (None, self.etag)
        begin = int(asked[1]) if asked and self.ranges and same else 0
        size = len(self.content)
        if begin >= size > 0:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{size}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if begin else 200)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(size - begin if stated is None else stated))
        handler.end_headers()
        handler.wfile.write(self.content[begin : None if sent is None else begin + sent])


def status(code):
    def act(page, handler):
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return act


def dropping(after):
    """The connection ends after this many bytes."""
    return lambda page, handler: page.send(handler, sent=after)


def stating(length):
    return lambda page, handler: page.send(handler, stated=length)


def stalling(page, handler):
    handler.server.stalled.wait(20)


class Server(http.server.ThreadingHTTPServer):
    """pages: {path: Page}. requests: [(path, Range header or None)]."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reset()

    def reset(self):
        """Forget pages and requests. Setting `stalled` releases the requests that are kept waiting."""
        self.pages, self.requests, self.stalled = {}, [], threading.Event()

    def url(self, path=""):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def asked(self, path):
        """The Range header of each request for a path; None where it had none."""
        return [asked for name, asked in self.requests if name == path]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.strip("/")
        self.server.requests.append((path, self.headers.get("Range")))
        with contextlib.suppress(ConnectionError):
            self.server.pages.get(path, Page(b"", status(404))).answer(self)

    def log_message(self, *_):
        pass
