"""download.py against a server on loopback that is as bad as servers are, and archives that are worse."""

import contextlib
import fcntl
import functools
import hashlib
import http.server
import io
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import types
from pathlib import Path

import pytest
import torch
from nvidia_pickles import dump, easy, network

import download
from lib.downloading import fetching
from lib.downloading.assets import ASSETS, read_assets
from lib.downloading.downloader import Downloader
from models import registry
from models.errors import UserError
from models.load_generator import load_generator

REPOSITORY = Path(__file__).resolve().parent.parent
CAR, DOG = "stylegan2_tiny", "pggan_tiny"  # generators of the archive "nets"


# --- a server, and how it misbehaves


class Once(functools.partial):
    """A behaviour for one request; others stay."""


class Page:
    """What lies at a path: its bytes, and what the server does instead of sending them."""

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
        """The file from where it is asked for; only `sent` bytes of it, or with another length `stated`."""
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
    """The connection ends after so many bytes."""
    return lambda page, handler: page.send(handler, sent=after)


def stating(length):
    return lambda page, handler: page.send(handler, stated=length)


def stalling(page, handler):
    handler.server.stalled.wait(20)


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.requests, self.stalled = {}, [], threading.Event()

    def url(self, path=""):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def asked(self, path):
        """The Range of each request for a path; None where there was none."""
        return [asked for name, asked in self.requests if name == path]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.strip("/")
        self.server.requests.append((path, self.headers.get("Range")))
        with contextlib.suppress(ConnectionError):
            self.server.pages.get(path, Page(b"", status(404))).answer(self)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.stalled.set()
        running.shutdown()


def throw(error):
    raise error


# --- archives


def tar(files, *members, mode="w"):
    """The bytes of an archive of {name: bytes} and of further members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return file.getvalue()


def special(name, kind, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def sha256(content):
    return hashlib.sha256(content).hexdigest()


# --- assets


@pytest.fixture(scope="module")
def networks():
    """{file: bytes} of the archive "nets"."""
    return {f"{name}.pth": (REPOSITORY / "tests" / "data" / f"{name}.pth").read_bytes() for name in (CAR, DOG)}


def tensors():
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(300)}, file)
    return file.getvalue()


PROBE = tensors()
EXPERIMENTS = {
    "released/one/args.json": b"{}",
    "released/one/models/latent_support_sets.pt": b"weights of one",
    "released/two/args.json": b"{ }",
}


class Place:
    """A directory to download to, and the list of what there is."""

    def __init__(self, directory, server, networks):
        self.to, self.list, self.server = directory / "to", directory / "assets.json", server
        self.nets, self.probe = self.to / "weights" / "nets", self.to / "weights" / "probe"
        self.archives = {
            "nets": self.archive("nets", tar(networks), [*networks]),
            "probe": self.archive("probe", tar({"probe/probe.pth": PROBE}), ["probe.pth"]),
            "walks": self.archive("walks", tar(EXPERIMENTS), "one directory an experiment")
            | {"unpacks_to": "experiments/complete", "optional": True},
        }
        self.singles = {stem: [] for stem in (CAR, DOG)}

    def archive(self, name, content, files, **page):
        self.server.pages[f"{name}.tar"] = Page(content, **page)
        url = self.server.url(f"{name}.tar?dl=1").replace("?dl=1", "")
        return {"url": url, "sha256": sha256(content), "unpacks_to": f"weights/{name}", "files": files}

    def single(self, stem, path, content, *instead, form="genforce", **page):
        self.server.pages[path] = Page(content, *instead, **page)
        self.singles[stem].append({"format": form, "url": self.server.url(path)})

    def arguments(self, *arguments):
        self.list.write_text(json.dumps({"archives": self.archives, "single_files": self.singles}))
        return [f"--to={self.to}", f"--assets={self.list}", "--pause=0.01", "--timeout=1", *map(str, arguments)]

    def files(self):
        """What lies there, without records."""
        found = {str(path.relative_to(self.to)) for path in self.to.rglob("*") if path.is_file()}
        return {name for name in found if not name.endswith(".sha256")}


@pytest.fixture
def place(tmp_path, server, networks):
    return Place(tmp_path, server, networks)


@pytest.fixture
def command(place, capsys):
    """command("--only", ..) -> (exit code, stdout, lines of stderr without progress bars and pauses)."""

    def run(*arguments):
        capsys.readouterr()
        code = 0
        try:
            download.main(place.arguments(*arguments))
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        lines = [line for line in re.split(r"[\r\n]+", err) if line]
        return code, out, [line for line in lines if "B/s" not in line and "; again in" not in line]

    return run


def refused(result, *named):
    """The one line that a failed source was told with, where that was the only one."""
    code, _, (line,) = result
    assert code == 1
    assert all(name in line for name in named), line
    return line


# --- the whole of it


def test_everything_but_optional_assets_comes_by_default_and_only_once(command, place, server, networks):
    code, out, told = command()
    assert (code, told) == (0, [])
    assert place.files() == {f"weights/nets/{CAR}.pth", f"weights/nets/{DOG}.pth", "weights/probe/probe.pth"}
    assert all((place.nets / file).read_bytes() == content for file, content in networks.items())
    assert (place.probe / "probe.pth").read_bytes() == PROBE
    assert "nets: 2 of 2" in out and "probe: 1 of 1" in out
    server.requests.clear()
    assert command()[0] == 0
    assert server.requests == []


def test_records_are_what_sha256sum_reads(command, place):
    command("--only", "probe")
    assert subprocess.run(["sha256sum", "--strict", "-c", "probe.pth.sha256"], cwd=place.probe).returncode == 0


@pytest.mark.parametrize("flag", ["-m", "--contraclip-models"])
def test_experiments_come_when_asked_for(flag, command, place):
    assert command(flag)[0] == 0
    complete = place.to / "experiments" / "complete"
    assert {path.name for path in complete.iterdir()} == {"one", "two", "walks.sha256"}
    assert (complete / "one" / "models" / "latent_support_sets.pt").read_bytes() == b"weights of one"


def test_only_names_archives_and_generators(command, place):
    assert command("--only", "probe")[0] == 0
    assert place.files() == {"weights/probe/probe.pth"}
    assert command("--only", CAR)[0] == 0
    assert f"weights/nets/{CAR}.pth" in place.files()


def test_name_that_does_not_exist_is_refused_with_those_that_do(place):
    with pytest.raises(UserError, match=f"'nest'.* nets, probe, walks, {CAR}, {DOG}"):
        download.main(place.arguments("--only", "probe", "nest"))
    assert not place.to.exists()


def test_force_fetches_what_is_here(command, server):
    command("--only", "probe")
    assert command("--only", "probe", "--force")[0] == 0
    assert server.asked("probe.tar") == [None, None]


def test_what_was_here_stays_when_it_cannot_be_fetched_anew(command, place, server):
    command("--only", "probe")
    server.pages["probe.tar"] = Page(b"", status(404))
    code, out, _ = command("--only", "probe", "--force")
    assert code == 1 and "1 of 1 here" in out and "not fetched anew: probe.pth" in out
    (place.probe / "probe.pth").write_bytes(b"broken")
    code, out, _ = command("--only", "probe")
    assert code == 1 and "0 of 1 here" in out and "not sound: probe.pth" in out


def test_archive_brings_what_is_absent_and_leaves_what_is_here(command, place, networks):
    place.nets.mkdir(parents=True)
    other = io.BytesIO()
    torch.save(torch.load(io.BytesIO(networks[f"{DOG}.pth"])), other)
    mine = other.getvalue()
    (place.nets / f"{DOG}.pth").write_bytes(mine)
    assert command("--only", CAR)[0] == 0
    assert (place.nets / f"{CAR}.pth").read_bytes() == networks[f"{CAR}.pth"]
    assert (place.nets / f"{DOG}.pth").read_bytes() == mine


# --- what is here


def test_file_that_changed_is_fetched_again(command, place):
    command("--only", "probe")
    file = place.probe / "probe.pth"
    stamp = file.stat()
    file.write_bytes(PROBE[:-1] + b"x")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as a failing disk changes it
    code, _, (line,) = command("--only", "probe")
    assert code == 0 and "has changed" in line
    assert file.read_bytes() == PROBE


def test_file_that_was_carried_in_is_taken_once_it_proves_sound(command, place, server, networks):
    place.nets.mkdir(parents=True)
    place.probe.mkdir(parents=True)
    (place.probe / "probe.pth").write_bytes(PROBE)
    for file, content in networks.items():
        (place.nets / file).write_bytes(content)
    assert command("--list")[1].count("unchecked") == 3
    assert command()[0] == 0
    assert server.requests == []
    assert command("--list")[1].count("here") == 3


@pytest.mark.parametrize("name, content", [("nets", b"no generator"), ("nets", PROBE), ("probe", PROBE[:-30])])
def test_file_that_was_carried_in_and_is_unsound_is_fetched(name, content, command, place):
    file = place.to / "weights" / name / (f"{CAR}.pth" if name == "nets" else "probe.pth")
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    code, _, (line,) = command("--only", name if name == "probe" else CAR)
    assert code == 0 and "not sound" in line
    assert file.read_bytes() != content


def test_list_says_what_there_is_and_fetches_nothing(command, place, server):
    place.single(CAR, "car.pkl", b"", form="nvidia")
    command("--only", "probe")
    server.requests.clear()
    (place.nets).mkdir(parents=True)
    code, out, told = command("--list")
    assert (code, told, server.requests) == (0, [], [])
    lines = dict(line.split()[:2] for line in out.splitlines() if line.startswith("  ") and "from" not in line)
    assert lines == {CAR: "missing", DOG: "missing", "probe.pth": "here", "walks": "missing"}
    assert all(server.url(path) in out for path in ("nets.tar", "probe.tar", "walks.tar", "car.pkl"))
    assert "0.0 MB" in next(line for line in out.splitlines() if "probe.pth" in line)
    (place.probe / "probe.pth").write_bytes(b"x")
    assert "broken" in command("--list")[1]
    assert not (place.nets / ".download").exists()


# --- sources in their order


def test_generator_comes_from_the_next_source_when_one_fails(command, place, server, networks):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "gone.pth", b"", status(403))
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    code, _, (first, second) = command("--only", CAR)
    assert code == 0 and f"nets: {server.url('nets.tar')}" in first and "404" in first
    assert f"{CAR}: {server.url('gone.pth')}" in second and "403" in second
    assert [path for path, _ in server.requests] == ["nets.tar", "gone.pth", "car.pth"]
    assert (place.nets / f"{CAR}.pth").read_bytes() == networks[f"{CAR}.pth"]


def test_what_is_missing_is_summed_up_and_the_rest_is_brought(command, place, server, networks):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    code, out, _ = command()
    assert code == 1
    assert f"nets: 1 of 2 here, in {place.nets}; missing: {DOG}" in out and "probe: 1 of 1" in out


def test_nvidias_pickle_is_converted(command, place, server, data, tmp_path):
    state = torch.load(data / "nvidia_tiny_state_dict.pt", weights_only=True)
    kwargs = json.loads((data / "nvidia_tiny.json").read_text())["init_kwargs"]
    pickled = dump({"G_ema": network(state, easy(kwargs))}, tmp_path / "car.pkl")
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pkl", pickled.read_bytes(), form="nvidia")
    assert command("--only", CAR)[0] == 0
    converted = load_generator(place.nets / f"{CAR}.pth").state_dict()
    assert all(torch.equal(converted[key], tensor) for key, tensor in load_generator(pickled).state_dict().items())
    assert list(torch.load(place.nets / f"{CAR}.pth", weights_only=True)) == ["generator_smooth"]
    assert place.files() == {f"weights/nets/{CAR}.pth"}
    server.requests.clear()
    assert command("--only", CAR)[0] == 0 and server.requests == []


def test_file_that_cannot_be_converted_fails_its_source_alone(command, place, server, networks):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pkl", pickle.dumps({"G_ema": os.getcwd}), form="nvidia")
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    code, _, (_, line) = command("--only", CAR)
    assert code == 0 and "car.pkl" in line and "getcwd" in line
    assert (place.nets / f"{CAR}.pth").read_bytes() == networks[f"{CAR}.pth"]


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>This item was removed</html>", b"\n <HTML><body>sign in", PROBE, b"", b"half"]
)
def test_what_is_no_generator_is_not_taken_for_one(content, command, place, server):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pth", content)
    code, _, (_, line) = command("--only", CAR)
    assert code == 1 and "car.pth" in line
    assert not place.to.exists()


def test_generator_of_another_size_is_not_taken(command, place, server, networks, monkeypatch):
    weights = registry.Weights(place.nets / f"{CAR}.pth", "StyleGAN2", 1024)
    monkeypatch.setitem(registry.GENERATORS, CAR, weights)
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    code, _, (_, line) = command("--only", CAR)
    assert code == 1 and "64 px" in line and "1024 px" in line
    assert not place.to.exists()


# --- hashes


def test_wrong_hash_is_told_with_both_and_the_file_deleted(command, place, server):
    server.pages["probe.tar"].content += b"x"
    found = sha256(server.pages["probe.tar"].content)
    refused(command("--only", "probe"), "probe.tar", found, place.archives["probe"]["sha256"], "deleted")
    assert not place.to.exists()
    assert server.asked("probe.tar") == [None]


def test_hash_that_nobody_states_is_recorded_and_checked_from_then_on(command, place, server, networks):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    assert command("--only", CAR)[0] == 0
    file, record = place.nets / f"{CAR}.pth", place.nets / f"{CAR}.pth.sha256"
    assert f"{sha256(networks[file.name])}  {file.name}" in record.read_text().splitlines()
    file.unlink()
    server.pages["car.pth"].content = networks[f"{DOG}.pth"]
    code, _, (_, line) = command("--only", CAR)
    assert code == 1 and "--force" in line and sha256(networks[f"{DOG}.pth"]) in line
    assert not file.exists()
    assert command("--only", CAR, "--force")[0] == 0
    assert file.read_bytes() == networks[f"{DOG}.pth"]


# --- lines that drop, servers that lie


def fetched(server, tmp_path, path, sha=None, part=None, **settings):
    """The bytes that a fetcher brings from a path, and their hash."""
    part = part or fetching.part_of(tmp_path, server.url(path))
    digest = fetching.Fetcher(**({"timeout": 1, "pause": 0.01} | settings)).fetch(server.url(path), part, sha)
    assert digest == sha256(part.read_bytes())
    return part.read_bytes()


BIG = bytes(range(256)) * 4000  # about 1 MB: more than a buffer


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', None])
def test_dropped_connection_goes_on_where_it_stopped(etag, server, tmp_path):
    server.pages["big"] = Page(BIG, Once(dropping(300_000)), Once(dropping(400_000)), etag=etag)
    assert fetched(server, tmp_path, "big", sha256(BIG)) == BIG
    assert server.asked("big") == [None, "bytes=300000-", "bytes=700000-"]


def test_without_a_hash_or_a_validator_it_begins_anew(server, tmp_path):
    server.pages["big"] = Page(BIG, Once(dropping(300_000)), etag=None)
    assert fetched(server, tmp_path, "big") == BIG
    assert server.asked("big") == [None, None]


def test_tries_that_bring_something_are_not_counted(server, tmp_path):
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


def test_halves_of_two_files_are_found_out_by_the_hash(server, tmp_path):
    """A server that calls two files by one ETag."""
    part = fetching.part_of(tmp_path, server.url("big"))
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
def test_error_that_passes_is_survived(code, server, tmp_path):
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
def test_error_that_stays_is_not_tried_again(code, server, tmp_path):
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


def test_host_of_no_address_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.time, "sleep", lambda _: pytest.fail("waited"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: throw(socket.gaierror(socket.EAI_NONAME, "unknown")))
    with pytest.raises(fetching.FetchError, match="no connection"):
        fetching.Fetcher().fetch("http://weights.invalid/big", tmp_path / "part")


def test_proxies_of_the_environment_are_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url())
    monkeypatch.setenv("no_proxy", "")
    server.pages["http://weights.invalid/big"] = Page(BIG)
    part = tmp_path / "part"
    fetching.Fetcher(pause=0.01).fetch("http://weights.invalid/big", part)
    assert part.read_bytes() == BIG


def test_host_that_is_silent_is_tried_once_from_then_on(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    fetcher = fetching.Fetcher(timeout=0.2, pause=1)
    for name in ("a", "b"):
        with pytest.raises(fetching.FetchError, match="no answer"):
            fetcher.fetch(f"http://127.0.0.1:9/{name}", tmp_path / name)
    assert pauses == [1, 3]


def test_web_page_is_no_file(server, tmp_path):
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


# --- archives


ESCAPES = {
    "dots": tar({"../probe.pth": PROBE}),
    "backslash": tar({"..\\probe.pth": PROBE}),
    "line break": tar({"probe\n.pth": PROBE}),
    "dots inside": tar({"probe/../../../probe.pth": PROBE}),
    "absolute": tar({"/tmp/escaped/probe.pth": PROBE}),
    "symbolic link": tar({"probe.pth": PROBE}, special("link", tarfile.SYMTYPE, "/etc")),
    "link inside": tar({"probe.pth": PROBE}, special("link", tarfile.SYMTYPE, "probe.pth")),
    "hard link": tar({"probe.pth": PROBE}, special("link", tarfile.LNKTYPE, "probe.pth")),
    "the file as a link": tar({}, special("probe.pth", tarfile.SYMTYPE, "/etc/passwd")),
    "character device": tar({"probe.pth": PROBE}, special("device", tarfile.CHRTYPE)),
    "block device": tar({"probe.pth": PROBE}, special("device", tarfile.BLKTYPE)),
    "pipe": tar({"probe.pth": PROBE}, special("pipe", tarfile.FIFOTYPE)),
}


def serve(place, name, content, stated=True, **more):
    place.server.pages[f"{name}.tar"] = Page(content)
    place.archives[name] |= {"sha256": sha256(content) if stated else None} | more


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("content", ESCAPES.values(), ids=ESCAPES)
def test_archive_that_reaches_out_is_refused(content, stated, command, place, tmp_path):
    serve(place, "probe", content, stated)
    refused(command("--only", "probe"), "probe.tar", "it holds")
    assert not place.to.exists() and not Path("/tmp/escaped").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"assets.json"}


@pytest.mark.parametrize("top", ["", "./", "probe/", "some/where/"])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_archive_may_have_a_top_directory_and_be_packed(top, mode, command, place):
    serve(place, "probe", tar({f"{top}probe.pth": PROBE}, mode=mode))
    assert command("--only", "probe")[0] == 0
    assert place.files() == {"weights/probe/probe.pth"}


def test_file_that_is_none_of_the_archives_stays_in_it(command, place):
    files = {"probe.pth": PROBE, "README": b"x", "stylegan2_tiny.pth": b"y"}
    serve(place, "probe", tar(files))
    assert command("--only", "probe")[0] == 0
    assert place.files() == {"weights/probe/probe.pth"}
    shutil.rmtree(place.to)
    serve(place, "probe", tar(files), stated=False)  # nobody vouches for it
    refused(command("--only", "probe"), "README")
    assert not place.to.exists()


@pytest.mark.parametrize(
    "content, named",
    [
        (tar({"other.pth": PROBE}), "lacks probe.pth"),
        (tar({"a/probe.pth": PROBE, "b/probe.pth": PROBE}), "twice"),
        (tar({"probe.pth": PROBE})[:700], "no sound archive"),
        (tar({"probe.pth": PROBE}, mode="w:gz")[:-40], "no sound archive"),
        (b"no archive", "no sound archive"),
        (b"", "empty file"),
    ],
    ids=["lacks it", "twice", "truncated", "truncated and packed", "text", "empty"],
)
def test_broken_archive_is_refused(content, named, command, place):
    serve(place, "probe", content)
    refused(command("--only", "probe"), "probe.tar", named)
    assert not place.to.exists()


def test_archive_larger_than_the_disk_is_not_unpacked(command, place, monkeypatch):
    bomb = tar({"probe.pth": bytes(3_000_000)}, mode="w:gz")
    serve(place, "probe", bomb)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1_000_000))
    refused(command("--only", "probe"), "3,000,000 bytes")
    assert "weights/probe/probe.pth" not in place.files()


def test_sparse_file_is_refused(command, place, tmp_path):
    with open(tmp_path / "probe.pth", "wb") as file:
        file.truncate(10_000_000)
    subprocess.run(["tar", "--sparse", "-cf", "sparse.tar", "probe.pth"], cwd=tmp_path, check=True)
    serve(place, "probe", (tmp_path / "sparse.tar").read_bytes())
    refused(command("--only", "probe"), "sparse")
    assert not place.to.exists()


# --- experiments


def test_own_experiment_is_not_overwritten_without_force(command, place):
    own = place.to / "experiments" / "complete" / "one"
    own.mkdir(parents=True)
    (own / "args.json").write_text("mine")
    code, _, (line,) = command("--only", "walks")
    assert code == 0 and str(own) in line and "--force" in line
    assert [path.name for path in own.iterdir()] == ["args.json"] and (own / "args.json").read_text() == "mine"
    assert (own.parent / "two" / "args.json").read_bytes() == b"{ }"
    assert command("--only", "walks", "--force")[0] == 0
    assert (own / "args.json").read_bytes() == b"{}" and (own / "models").is_dir()
    assert not list(own.parent.rglob("*.old"))


def test_experiments_are_here_once_and_may_hold_results(command, place, server):
    command("--only", "walks")
    server.requests.clear()
    (place.to / "experiments" / "complete" / "one" / "results").mkdir()
    assert command("--only", "walks")[0] == 0 and server.requests == []
    shutil.rmtree(place.to / "experiments" / "complete" / "two")
    assert "broken" in command("--list")[1]
    assert command("--only", "walks")[0] == 0
    assert (place.to / "experiments" / "complete" / "two" / "args.json").is_file()
    assert (place.to / "experiments" / "complete" / "one" / "results").is_dir()


@pytest.mark.parametrize(
    "files, named",
    [
        ({"one/weights.pt": b""}, "no experiment"),
        ({"args.json": b"{}"}, "''"),
        ({"a/one/args.json": b"", "b/one/args.json": b""}, "'one'"),
        ({".download/args.json": b""}, "'.download'"),
    ],
)
def test_archive_without_clear_experiments_is_refused(files, named, command, place):
    serve(place, "walks", tar(files))
    refused(command("--only", "walks"), named)
    assert not place.to.exists()


# --- mirrors


def test_mirror_is_tried_first(command, place, server, tmp_path):
    server.pages["copy/probe.tar"] = Page(server.pages["probe.tar"].content)
    assert command("--only", "probe", "--mirror", server.url("copy/"))[0] == 0
    assert [path for path, _ in server.requests] == ["copy/probe.tar"]


def test_mirror_may_hold_the_files(command, place, server, networks):
    server.pages[f"copy/weights/nets/{CAR}.pth"] = Page(networks[f"{CAR}.pth"])
    code, _, (line,) = command("--only", CAR, "--mirror", server.url("copy"))
    assert code == 0 and "copy/nets.tar" in line
    assert (place.nets / f"{CAR}.pth").read_bytes() == networks[f"{CAR}.pth"]
    assert not (place.nets / f"{DOG}.pth").exists()


def test_mirror_that_has_it_not_or_wrong_is_left_for_the_owners(command, place, server):
    server.pages["copy/probe.tar"] = Page(tar({"probe.pth": b"other"}))
    server.pages["copy/weights/probe/probe.pth"] = Page(b"<html>sign in</html>")
    code, _, told = command("--only", "probe", "--mirror", server.url("copy"))
    assert code == 0 and len(told) == 2 and "SHA-256" in told[0] and "web page" in told[1]
    assert (place.probe / "probe.pth").read_bytes() == PROBE


def test_directory_as_a_mirror_with_archives(command, place, server, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name in ("nets", "probe", "walks"):
        (mirror / f"{name}.tar").write_bytes(server.pages[f"{name}.tar"].content)
    assert command("-m", "--mirror", mirror)[::2] == (0, [])
    assert server.requests == []
    assert len(list(mirror.iterdir())) == 3
    assert len(place.files()) == 6


def test_what_was_laid_out_elsewhere_is_a_mirror(command, place, server):
    command("-m")
    mirror = place.to.rename(place.to.with_name("carried"))
    server.requests.clear()
    code, _, told = command("-m", "--mirror", mirror)
    assert code == 0 and server.requests == []
    assert len(told) == 3 and all("no such file" in line for line in told)
    assert place.files() == {str(path.relative_to(mirror)) for path in mirror.rglob("*") if path.is_file()} - {
        str(path.relative_to(mirror)) for path in mirror.rglob("*.sha256")
    }


def test_files_that_suffered_on_the_way_are_found_out(command, place, server):
    command("-m")
    mirror = place.to.rename(place.to.with_name("carried"))
    (mirror / "weights" / "probe" / "probe.pth").write_bytes(PROBE[::-1])
    (mirror / "experiments" / "complete" / "two" / "args.json").write_text("{3}")
    for name in ("probe", "walks"):
        server.pages[f"{name}.tar"] = Page(b"", status(404))
    code, _, told = command("-m", "--only", "probe", "--mirror", mirror)
    assert code == 1
    assert "SHA-256" in told[1] and "two/args.json" in told[4]
    assert not place.to.exists()


def test_experiments_of_a_mirror_may_hold_no_links(command, place, server, tmp_path):
    one = tmp_path / "mirror" / "experiments" / "complete" / "one"
    one.mkdir(parents=True)
    (one / "args.json").write_text("{}")
    (one / "out").symlink_to("/etc")
    server.pages["walks.tar"] = Page(b"", status(404))
    code, _, told = command("--only", "walks", "--mirror", tmp_path / "mirror")
    assert code == 1 and any("no plain file" in line for line in told)
    assert not place.to.exists()


@pytest.mark.parametrize("mirror", ["no/such/directory", "ftp://example.org/weights"])
def test_mirror_that_is_no_place_is_refused(mirror, place):
    with pytest.raises(UserError, match=f"--mirror {mirror} is neither"):
        download.main(place.arguments("--mirror", mirror))


# --- the real command


def test_exit_codes_of_the_command(place, server, run_command, tmp_path):
    process = run_command("download.py", *place.arguments("--only", "probe"), cwd=tmp_path)
    assert process.returncode == 0 and "Traceback" not in process.stderr
    server.pages["walks.tar"] = Page(b"", status(404))
    process = run_command("download.py", *place.arguments("-m", "--only", "probe"), cwd=tmp_path)
    assert process.returncode == 1 and "; missing: walks" in process.stdout
    process = run_command("download.py", *place.arguments("--only", "nothing"), cwd=tmp_path)
    assert process.returncode == 2 and process.stderr.startswith("download.py: error: there is no 'nothing'")
    assert len(process.stderr.splitlines()) == 1


def test_help_and_list_come_at_once(run_command, tmp_path):
    assert run_command("download.py", "-h", cwd=tmp_path).cpu_seconds < 0.5
    process = run_command("download.py", "--list", cwd=tmp_path)
    assert process.returncode == 0 and process.cpu_seconds < 1
    assert "stylegan2_ffhq1024" in process.stdout and "contraclip_models" in process.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_command_goes_on_where_it_stopped(number, place, server, run_command, tmp_path):
    content = server.pages["nets.tar"].content
    half = len(content) // 2

    def slow(page, handler):
        page.send(handler, sent=half)
        handler.wfile.flush()
        handler.server.stalled.wait(20)

    server.pages["nets.tar"].instead = [Once(slow)]
    command = [sys.executable, REPOSITORY / "download.py", *place.arguments("--only", "nets", "--timeout=30")]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        part = fetching.part_of(place.nets / ".download", server.url("nets.tar"))
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size > half - 10_000) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    server.stalled.set()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in told and "Traceback" not in told
    kept = part.stat().st_size
    assert kept > half - 10_000
    listed = run_command("download.py", *place.arguments("--list"), cwd=tmp_path).stdout
    assert "arrived so far" in listed
    assert run_command("download.py", *place.arguments("--only", "nets"), cwd=tmp_path).returncode == 0
    assert server.asked("nets.tar") == [None, f"bytes={kept}-"]
    assert place.files() == {f"weights/nets/{CAR}.pth", f"weights/nets/{DOG}.pth"}


def test_second_process_is_told(command, place):
    work = place.probe / ".download"
    work.mkdir(parents=True)
    with open(work / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(command("--only", "probe"), "another process")
    assert command("--only", "probe")[0] == 0
    assert not work.exists()


# --- the lists of assets


def test_published_assets_are_the_registrys_generators():
    assets = read_assets(ASSETS)
    published = {name for name, weights in registry.GENERATORS.items() if weights.fetched_by}
    assert {asset.label(file) for asset in assets.values() for file in asset.sources} == published
    downloader = Downloader()
    for name in published:
        assert downloader.directory(assets["genforce"]) / f"{name}.pth" == registry.GENERATORS[name].file
    assert [asset.name for asset in assets.values() if asset.optional] == ["contraclip_models"]
    assert all(re.fullmatch("[0-9a-f]{64}", asset.sha256) for asset in assets.values())


@pytest.mark.parametrize(
    "archive",
    [
        {"files": ["../probe.pth"]}, {"files": ["a/probe.pth"]}, {"files": [".download"]}, {"unpacks_to": "../weights"},
        {"unpacks_to": "/weights"}, {"url": "file:///etc/passwd"}, {"url": 3}, {"files": None},
    ],
)  # fmt: skip
def test_odd_list_of_assets_is_refused(archive, place):
    place.archives["probe"] |= archive
    with pytest.raises(UserError, match=r"assets\.json is no list of assets"):
        download.main(place.arguments())
    assert not place.to.exists()


@pytest.mark.parametrize("content", ["[]", "{}", "no JSON", '{"archives": 3}', '{"archives": {"a": {}}}'])
def test_file_that_is_no_list_of_assets_is_refused(content, place):
    arguments = place.arguments()
    place.list.write_text(content)
    with pytest.raises(UserError, match=r"assets\.json"):
        download.main(arguments)


def test_generator_that_no_archive_places_is_refused(place):
    place.singles["stylegan2_cat"] = []
    with pytest.raises(UserError, match="stylegan2_cat"):
        download.main(place.arguments())
