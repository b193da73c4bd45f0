"""A line on stderr that says what a command is doing, once it has been silent for some seconds.

On a terminal the line is replaced by the next one, and removed at the end. Elsewhere, as in a log, it is written once.
Only the first process of a run writes it. CONTRACLIP_SILENCE in the environment says after how many seconds.
"""

import os
import sys
import threading
import time
from contextlib import contextmanager, suppress

SILENCE = 3  # seconds


class _Line:
    """What is being done, and when something was last written about it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.timer = None
        self.is_shown = False
        self.written = time.monotonic()

    def begin(self, what):
        self.end()
        with self.lock:
            wait = max(0, self.written + _silence() - time.monotonic())
            self.timer = timer = threading.Timer(wait, lambda: self._write(what, timer))
            timer.daemon = True
            timer.start()

    def end(self):
        with self.lock:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
            if self.is_shown:
                self._put("\r\x1b[K")
                self.is_shown = False

    def _write(self, what, timer):
        with self.lock:
            if timer is not self.timer:  # it was ended just now
                return
            self.written = time.monotonic()
            if sys.stderr.isatty():
                self.is_shown = True
                self._put(f"\r\x1b[K{what} ..\r")  # what is printed meanwhile begins at the left
            else:
                self._put(f"{what} ..\n")

    def _put(self, text):
        with suppress(OSError, ValueError):  # nobody is there to be told
            sys.stderr.write(text)
            sys.stderr.flush()


_line = _Line()


@contextmanager
def doing(what):
    """For the time in which a command does `what`, such as "loading the generator"."""
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    _line.begin(what)
    try:
        yield
    finally:
        _line.end()


def _silence():
    try:
        return float(os.environ.get("CONTRACLIP_SILENCE", SILENCE))
    except ValueError:
        return SILENCE


def counting(told, total):
    """A function update(images), as of a bar, that calls told(images so far, total) instead of drawing one."""
    done = 0

    def update(images):
        nonlocal done
        done += images
        told(done, total)

    return update
