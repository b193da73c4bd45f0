"""What takes longer than a picture, such as measuring, refining and inverting: one at a time, in a thread of its own,
which leaves the processor to the thread that makes pictures."""

import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress

from models.errors import UserError

NICER = 5  # than the thread of the pictures, which goes first; more, and other programs would take all the time
# Seconds in which nobody has asked how far a work is, as where its tab was closed. Browsers let a hidden tab ask once a
# minute at least.
FORGOTTEN = 180


class Stopped(Exception):
    """The visitor has stopped it."""


class Work:
    """One thing that is being done for a visitor.

    share: how much of it is done, in [0, 1], or None while that is not known; doing: what, in words; remarks: lines for
    the visitor. others_wait: says whether other works do: then one that is forgotten ends early.
    """

    def __init__(self, visitor, what, job, others_wait):
        self.visitor, self.what, self._job, self._others_wait = visitor, what, job, others_wait
        self.share, self.doing, self.remarks = None, "waiting for others", []
        self._stop, self._ended = threading.Event(), threading.Event()
        self._answer = self._error = self._asked = None

    @property
    def done(self):
        return self._ended.is_set()

    def wait(self, seconds=None):
        """Whether it has ended, after at most so many seconds."""
        self._asked = None
        ended = self._ended.wait(seconds)
        self._asked = time.monotonic()
        return ended

    def result(self):
        """What it came to. Blocks. Raises `Stopped`, and the UserError that ended it."""
        self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._answer

    def stop(self):
        """Ask it to end early."""
        self._stop.set()

    def requested(self):
        """Whether it is to end early; as `lib.command_line.StopRequest`."""
        asked = self._asked  # None while somebody waits
        is_forgotten = asked is not None and time.monotonic() - asked > FORGOTTEN
        return self._stop.is_set() or (is_forgotten and self._others_wait())

    def tell(self, share, doing=None):
        """Called by the job: how far it is. Raises `Stopped` where it is to end."""
        self.share = share
        self.doing = doing or self.doing
        if self.requested():
            raise Stopped

    def images(self, done, total):
        """Called by the job: as `tell`, of images."""
        self.tell(done / total)

    def run(self):
        self.doing = self.what
        try:
            self.tell(None)
            self._answer = self._job(self)
        except BaseException as error:  # it belongs to whoever asks for the result
            self._error = error
        self._ended.set()


class Workshop:
    """Does `Work` in the order in which it was asked for. A visitor has one at most, so that nobody fills the queue."""

    def __init__(self):
        self._queue, self._open = deque(), True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="workshop", daemon=True)
        self._thread.start()

    def begin(self, visitor, what, job):
        """A new `Work` of job(work). what: what it does, in words, such as "refining".

        Raises UserError where another one of the visitor waits or runs.
        """
        work = Work(visitor, what, job, lambda: len(self._queue) > 1)
        with self._changed:
            other = next((one for one in self._queue if one.visitor == visitor and not one.done), None)
            if other:
                raise UserError(f"still {other.what}: wait for it, or stop it")
            self._queue.append(work)
            self._changed.notify()
        return work

    def stop(self, visitor):
        """Stop what is done for a visitor."""
        with self._changed:
            for work in self._queue:
                if work.visitor == visitor:
                    work.stop()

    def close(self):
        with self._changed:
            self._open = False
            for work in self._queue:
                work.stop()
            self._changed.notify()
        self._thread.join()

    def _serve(self):
        if sys.platform == "linux":  # where it is of this thread, and of those that it starts
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICER))
        while True:
            with self._changed:
                while self._open and not self._queue:
                    self._changed.wait()
                if not self._queue:
                    return
                work = self._queue[0]
            work.run()
            with self._changed:
                self._queue.remove(work)
