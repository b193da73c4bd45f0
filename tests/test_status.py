"""The line that says what a command is doing once it has been silent for a while."""

import io
import sys
import time

import pytest

from lib import status
from lib.status import doing


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setenv("CONTRACLIP_SILENCE", "0.05")
    monkeypatch.setattr(status._line, "written", time.monotonic())


def wait_until_written(stream, count=1):
    deadline = time.monotonic() + 20
    while stream.getvalue().count("..") < count and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_log_gets_one_line(soon, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with doing("loading the generator"):
        wait_until_written(sys.stderr)
    assert sys.stderr.getvalue() == "loading the generator ..\n"


def test_a_terminal_gets_a_line_that_is_replaced_and_removed(soon, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    for number, what in enumerate(("loading PyTorch", "loading the generator"), 1):
        with doing(what):
            wait_until_written(sys.stderr, number)
    shown, cleared = "\r\x1b[K{} ..\r", "\r\x1b[K"
    assert sys.stderr.getvalue() == (
        shown.format("loading PyTorch") + cleared + shown.format("loading the generator") + cleared
    )


def test_what_is_over_soon_is_not_said(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("CONTRACLIP_SILENCE", "30")
    monkeypatch.setattr(status._line, "written", time.monotonic())  # the silence begins now
    with doing("loading"):
        assert status._line.timer.daemon
    assert sys.stderr.getvalue() == "" and status._line.timer is None


def test_other_processes_of_a_run_are_silent(soon, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("RANK", "1")
    with doing("loading"):
        assert status._line.timer is None
    assert sys.stderr.getvalue() == ""
