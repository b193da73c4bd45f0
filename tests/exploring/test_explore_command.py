"""The command: what it refuses before it serves, and how it ends."""

import os
import signal
import socket
import stat
import sys
import time
import urllib.request
from argparse import Namespace
from pathlib import Path
from unittest.mock import Mock

import pytest
from outcomes import refused

pytest.importorskip("gradio")

from lib.exploring import world
from lib.exploring.web import serving
from lib.exploring.web.serving import listen, read_password, serve, what_listening_means
from models.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("arguments, words", [
    ([], "--exp, or --gan"),
    (["--exp=nowhere"], "is not a directory"),
    (["--gan=nowhere.pth"], "nowhere.pth"),
    (["--gan=stylegan2_portraits64", "--corpus=nothing"], "nothing"),
    (["--exp=x", "--corpus=attributes"], "--corpus goes with --gan"),
    (["--gan=x", "--port=0"], "--port"),
    (["--gan=x", "--listen=0.0.0.0"], "--password-file"),
    (["--gan=x", "--password-file=x"], "--listen"),
    (["--gan=x", "--share"], "there is no flag --share"),
    (["--gan=x", "--listen=0.0.0.0", "--password-file=nowhere"], "nowhere is not a file"),
])
def test_what_cannot_be_served_is_one_line(run_warm, tmp_path, arguments, words):
    port = [] if any(argument.startswith("--port") for argument in arguments) else [f"--port={free_port()}"]
    assert words in refused(run_warm("explore.py", *arguments, *port, cwd=tmp_path))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_port_in_use_is_one_line(run_warm, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(run_warm("explore.py", "--gan=stylegan2_portraits64", f"--port={port}", cwd=tmp_path))
    assert f"port {port}" in said and "--port" in said


def test_it_prints_its_address_and_ends_at_ctrl_c(warm, tmp_path, data):
    out, err = tmp_path / "out", tmp_path / "err"
    port = free_port()
    command = [sys.executable, str(REPOSITORY / "explore.py"), f"--gan={data / 'stylegan2_tiny.pth'}", f"--port={port}"]
    with open(out, "w") as stdout, open(err, "w") as stderr:
        process = warm.start(command, cwd=tmp_path, stdout=stdout, stderr=stderr)
    try:
        deadline = time.monotonic() + 60
        while not out.read_text().endswith("\n"):
            assert process.poll() is None and time.monotonic() < deadline, err.read_text()
            time.sleep(0.05)
        address = out.read_text().split()[1]
        assert address == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"explorer.js" in page.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
    assert err.read_text() == "explore.py: interrupted\n"


def test_it_says_that_it_was_interrupted_where_python_ignores_sigint(monkeypatch):
    arguments = Namespace(exp=[], gan="x", corpus=None, judge=None, listen=None, password_file=None, port=free_port())
    monkeypatch.setattr(world, "open_world", lambda *_: Mock())
    monkeypatch.setattr(serving, "server_of", lambda *_: Mock())  # whose `run` returns, as uvicorn's does there
    with pytest.raises(KeyboardInterrupt):
        serve(arguments, "cpu")


def test_password_is_the_first_line_of_a_file_that_others_cannot_read(tmp_path):
    file = tmp_path / "password"
    file.write_text("correct horse\nnotes\n")
    file.chmod(0o600)
    assert read_password(file) == "correct horse"
    file.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        read_password(file)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\n", b"x" * 5000, b"\xff" * 20])
def test_what_is_no_password(tmp_path, content):
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_bytes(content)
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    with pytest.raises(UserError, match="password"):
        read_password(file)


def test_what_is_no_address():
    for address in ("nowhere", "256.0.0.1", "192.0.2.1"):
        with pytest.raises(UserError, match=r"address|cannot be had"):
            listen(address, 0)


def test_it_says_what_listening_means():
    with listen("127.0.0.1", 0) as bound:
        said = what_listening_means(bound)
    assert "password" in said and "encrypted" in said and "ssh -L" in said
