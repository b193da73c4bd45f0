"""One address -> one file: connections that drop, servers that misbehave, disks that are full."""

import shutil
import socket
import time
import types

import pytest
from loopback_server import Once, Page, dropping, stalling, stating, status
from tar_archives import sha256
from tiny_assets import refused

from lib.downloading import fetching
from lib.downloading.partial import part_of


def fetched(server, tmp_path, path, sha=None, part=None, **settings):
    """The bytes that a Fetcher gets from a path; their hash is checked."""
    part = part or part_of(tmp_path, server.url(path))
    digest = fetching.Fetcher(**({"timeout": 1, "pause": 0.001} | settings)).fetch(server.url(path), part, sha)
    assert digest == sha256(part.read_bytes())
    return part.read_bytes()


def sending(code=200, content=b"some bytes", **headers):
    """An answer with these headers alone, and this content."""

    def act(page, handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return act


def refusal(server, tmp_path, path, *words):
    """A fetch that fails in one line, and leaves nothing behind."""
    with pytest.raises(fetching.FetchError) as raised:
        fetched(server, tmp_path, path)
    assert "\n" not in str(raised.value) and all(word in str(raised.value) for word in words)
    assert not list(tmp_path.iterdir())


BIG = bytes(range(256)) * 4000  # about 1 MB: more than a buffer


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', None])
def test_dropped_connection_is_resumed(etag, server, tmp_path):
    server.pages["big"] = Page(BIG, Once(dropping(300_000)), Once(dropping(400_000)), etag=etag)
    assert fetched(server, tmp_path, "big", sha256(BIG)) == BIG
    assert server.asked("big") == [None, "bytes=300000-", "bytes=700000-"]


def test_without_a_hash_or_a_validator_it_starts_over(server, tmp_path):
    server.pages["big"] = Page(BIG, Once(dropping(300_000)), etag=None)
    assert fetched(server, tmp_path, "big") == BIG
    assert server.asked("big") == [None, None]


def test_tries_that_get_new_bytes_are_not_counted(server, tmp_path):
    server.pages["big"] = Page(BIG, *[Once(dropping(150_000)) for _ in range(5)])
    assert fetched(server, tmp_path, "big") == BIG
    assert len(server.asked("big")) == 6


def test_half_of_another_file_is_not_completed(server, tmp_path):
    server.pages["big"] = Page(BIG, Once(dropping(300_000)), dropping(0))
    with pytest.raises(fetching.FetchError, match=r"300,000 of 1,024,000"):
        fetched(server, tmp_path, "big")
    changed = BIG[::-1]
    server.pages["big"] = Page(changed, etag='"2"')
    assert fetched(server, tmp_path, "big") == changed
    assert server.asked("big")[-2:] == ["bytes=300000-"] * 2  # the last one was answered with the whole file


def test_halves_of_two_files_are_detected_by_the_hash(server, tmp_path):
    """As from a server that gives two files the same ETag."""
    part = part_of(tmp_path, server.url("big"))
    server.pages["big"] = Page(BIG, Once(dropping(300_000)), dropping(0))
    with pytest.raises(fetching.FetchError):
        fetched(server, tmp_path, "big", sha256(BIG))
    assert part.stat().st_size == 300_000
    changed = BIG[::-1]
    server.pages["big"] = Page(changed)
    assert fetched(server, tmp_path, "big", sha256(changed)) == changed
    assert server.asked("big")[-2:] == ["bytes=300000-", None]


def test_server_that_ignores_ranges_is_read_from_the_beginning(server, tmp_path):
    server.pages["big"] = Page(BIG, Once(dropping(300_000)), ranges=False)
    assert fetched(server, tmp_path, "big") == BIG
    assert server.asked("big") == [None, "bytes=300000-"]


def test_server_that_sends_another_range_is_read_from_the_beginning(server, tmp_path):
    def elsewhere(page, handler):
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 5-{len(BIG) - 1}/{len(BIG)}")
        handler.send_header("Content-Length", str(len(BIG) - 5))
        handler.end_headers()
        handler.wfile.write(BIG[5:])

    server.pages["big"] = Page(BIG, Once(dropping(300_000)), Once(elsewhere))
    assert fetched(server, tmp_path, "big") == BIG
    assert server.asked("big") == [None, "bytes=300000-", None]


def test_length_that_is_too_large_is_a_failure(server, tmp_path):
    server.pages["big"] = Page(BIG, stating(len(BIG) + 100))
    with pytest.raises(fetching.FetchError):
        fetched(server, tmp_path, "big", timeout=0.2)


def test_length_that_is_too_small_is_a_failure(command, place, server):
    page = server.pages["probe.tar"]
    page.instead = [stating(len(page.content) - 10_000)]
    refused(command("--only", "probe"), "SHA-256")
    assert not place.to.exists()


@pytest.mark.parametrize("code", [500, 503, 429])
def test_transient_error_is_survived(code, server, tmp_path):
    server.pages["big"] = Page(BIG, Once(status(code)), Once(status(code)))
    assert fetched(server, tmp_path, "big") == BIG


def test_three_tries_with_growing_pauses(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    server.pages["big"] = Page(BIG, status(500))
    with pytest.raises(fetching.FetchError, match="500"):
        fetched(server, tmp_path, "big", pause=2)
    assert pauses == [2, 6]
    assert len(server.asked("big")) == 3


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_permanent_error_is_not_tried_again(code, server, tmp_path):
    server.pages["big"] = Page(BIG, status(code))
    with pytest.raises(fetching.FetchError, match=str(code)):
        fetched(server, tmp_path, "big")
    assert len(server.requests) == 1


def test_server_that_falls_silent_is_not_waited_for(server, tmp_path):
    server.pages["big"] = Page(BIG, stalling)
    begun = time.monotonic()
    with pytest.raises(fetching.FetchError, match="timed out"):
        fetched(server, tmp_path, "big", timeout=0.1)
    assert time.monotonic() - begun < 5


def test_unknown_host_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.time, "sleep", lambda _: pytest.fail("waited"))

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(fetching.FetchError, match="no connection"):
        fetching.Fetcher().fetch("http://weights.invalid/big", tmp_path / "part")


def test_proxies_of_the_environment_are_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url())
    monkeypatch.setenv("no_proxy", "")
    server.pages["http://weights.invalid/big"] = Page(BIG)
    part = tmp_path / "part"
    fetching.Fetcher(pause=0.001).fetch("http://weights.invalid/big", part)
    assert part.read_bytes() == BIG


def test_host_that_is_silent_is_tried_once_from_then_on(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    fetcher = fetching.Fetcher(timeout=0.2, pause=1)
    for name in ("a", "b"):
        with pytest.raises(fetching.FetchError, match="no answer"):
            fetcher.fetch(f"http://127.0.0.1:9/{name}", tmp_path / name)
    assert pauses == [1, 3]


def test_web_page_is_refused(server, tmp_path):
    server.pages["big"] = Page(BIG, lambda page, handler: page.send(handler, content_type="text/html; charset=utf-8"))
    with pytest.raises(fetching.FetchError, match="web page"):
        fetched(server, tmp_path, "big")
    assert not list(tmp_path.iterdir())


def test_full_disk_is_foreseen(command, place, server, monkeypatch):
    size = len(server.pages["probe.tar"].content)
    usage = types.SimpleNamespace(free=2 * size - 1)  # an archive needs its size twice
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    refused(command("--only", "probe"), f"{2 * size:,} bytes", f"{2 * size - 1:,} free")
    assert not place.to.exists()
    usage.free = 2 * size
    assert command("--only", "probe")[0] == 0


def test_redirections_are_followed_with_their_cookies(server, tmp_path):
    def redirect(page, handler):
        handler.send_response(302)
        handler.send_header("Location", server.url("big"))
        handler.send_header("Set-Cookie", "pass=1; Path=/")
        handler.end_headers()

    def guarded(page, handler):
        page.send(handler) if handler.headers.get("Cookie") == "pass=1" else status(403)(page, handler)

    server.pages |= {"link": Page(b"", redirect), "big": Page(BIG, guarded)}
    assert fetched(server, tmp_path, "link") == BIG


def test_file_without_a_length_is_fetched(server, tmp_path):
    server.pages["big"] = Page(b"", sending(content=BIG))
    assert fetched(server, tmp_path, "big") == BIG


@pytest.mark.parametrize("limit", ["bytes", "disk"])
def test_server_that_never_stops_is_left(limit, server, tmp_path, monkeypatch):
    def endless(page, handler):
        sending(content=b"")(page, handler)
        for _ in range(1000):
            handler.wfile.write(BIG)

    if limit == "bytes":
        monkeypatch.setattr(fetching, "MOST_UNSTATED", 3_000_000)
    else:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=6_000_000))
    server.pages["big"] = Page(b"", endless)
    refusal(server, tmp_path, "big", "does not say how long", "3,000,000 bytes")


def test_part_of_a_file_that_was_not_asked_for_is_refused(server, tmp_path):
    server.pages["big"] = Page(b"", sending(206, Content_Range="bytes 0-9/10"))
    refusal(server, tmp_path, "big", "a different part")


@pytest.mark.parametrize("stated", ["9" * 5000, "10/" + "9" * 5000, "x"])
def test_range_of_five_thousand_digits_is_not_that_of_the_file(stated, server, tmp_path):
    server.pages["big"] = Page(BIG, Once(dropping(300_000)), Once(sending(206, Content_Range=f"bytes 300000-{stated}")))
    assert fetched(server, tmp_path, "big") == BIG


def test_length_of_five_thousand_digits_is_not_one(server, tmp_path):
    server.pages["big"] = Page(b"", sending(content=b"bytes", Content_Length="9" * 5000))
    assert fetched(server, tmp_path, "big") == b"bytes"


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x"])
def test_redirections_to_other_schemes_are_refused(place, server, tmp_path):
    server.pages["big"] = Page(b"", sending(302, Location=place, Content_Length="0"))
    refusal(server, tmp_path, "big")


@pytest.mark.parametrize("note", ["[" * 5000, '{"url": 5, "validator": [], "length": "x"}', "null", '{"length": -1}'])
def test_damaged_note_of_a_part_is_ignored(note, server, tmp_path):
    part = part_of(tmp_path, server.url("big"))
    part.write_bytes(BIG[:1000])
    part.with_name(f"{part.name}.json").write_text(note)
    server.pages["big"] = Page(BIG)
    assert fetched(server, tmp_path, "big", part=part) == BIG
