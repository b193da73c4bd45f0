"""What the tests of downloading share: a loopback server with tiny assets, and the command in this process."""

import os
import re
import threading

import pytest
from loopback_server import Server
from tiny_assets import CAR, DOG, Place, published_archives

import download


@pytest.fixture(scope="session")
def running_server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def server(running_server):
    """The server, without the pages and requests of other tests."""
    running_server.reset()
    yield running_server
    running_server.stalled.set()


@pytest.fixture(scope="session")
def networks(data):
    """{file: bytes} of the archive "nets"."""
    return {f"{name}.pth": (data / f"{name}.pth").read_bytes() for name in (CAR, DOG)}


@pytest.fixture(scope="session")
def archives(networks):
    return published_archives(networks)


@pytest.fixture
def place(tmp_path, server, archives):
    return Place(tmp_path, server, archives)


@pytest.fixture(autouse=True)
def unsynchronised(monkeypatch):
    """Files are not flushed to the disk, which takes longer than all the rest: these tests cut no power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


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
        return code, out, [line for line in lines if "B/s" not in line and "; trying again in" not in line]

    return run
