"""download.py in a process of its own: exit codes, speed, interruption."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback_server import Once, Page, status
from tiny_assets import CAR, DOG

from lib.downloading.partial import part_of

REPOSITORY = Path(__file__).resolve().parents[2]


def test_exit_codes_of_the_command(place, server, run_command, tmp_path):
    process = run_command("download.py", *place.arguments("--only", "probe"), cwd=tmp_path)
    assert process.returncode == 0 and "Traceback" not in process.stderr
    server.pages["walks.tar"] = Page(b"", status(404))
    process = run_command("download.py", *place.arguments("-m", "--only", "probe"), cwd=tmp_path)
    assert process.returncode == 1 and "; missing: walks" in process.stdout
    process = run_command("download.py", *place.arguments("--only", "nothing"), cwd=tmp_path)
    assert process.returncode == 2 and process.stderr.startswith("download.py: error: there is no 'nothing'")
    assert len(process.stderr.splitlines()) == 1


def test_help_and_list_are_quick(run_command, tmp_path):
    assert run_command("download.py", "-h", cwd=tmp_path).cpu_seconds < 0.5
    process = run_command("download.py", "--list", cwd=tmp_path)
    assert process.returncode == 0 and process.cpu_seconds < 1
    assert "stylegan2_ffhq1024" in process.stdout and "contraclip_models" in process.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_command_is_resumed(number, place, server, command, tmp_path):
    content = server.pages["nets.tar"].content
    half = len(content) // 2

    def slow(page, handler):
        page.send(handler, sent=half)
        handler.wfile.flush()
        handler.server.stalled.wait(20)

    server.pages["nets.tar"].instead = [Once(slow)]
    line = [sys.executable, REPOSITORY / "download.py", *place.arguments("--only", "nets", "--timeout=30")]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        part = part_of(place.nets / ".download", server.url("nets.tar"))
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size > half - 10_000) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    server.stalled.set()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command continues" in told and "Traceback" not in told
    kept = part.stat().st_size
    assert kept > half - 10_000
    assert "downloaded so far" in command("--list")[1]
    assert command("--only", "nets")[0] == 0
    assert server.asked("nets.tar") == [None, f"bytes={kept}-"]
    assert place.files() == {f"weights/nets/{CAR}.pth", f"weights/nets/{DOG}.pth"}
