"""One thread that makes pictures for all visitors, in turn: nobody waits for more than one picture of each other one.

A visitor's newer request takes the place of an older one of the same kind, which is dropped, whether it waits or has
begun. What takes several pictures is a generator function that yields after each of them, and waits for its next turn.
"""

import inspect
import threading
from collections import OrderedDict

import torch

FIRST = ("picture", "preview")  # kinds that go before a visitor's others


class Stale(Exception):
    """A newer request has taken this one's place: there is nothing to show."""


class Closed(Exception):
    """The explorer is being ended."""


class _Request:
    def __init__(self, job):
        self.job, self.steps = job, None
        self.answer, self.error = None, None
        self.answered = threading.Event()

    def step(self):
        """One picture's work."""
        try:
            if self.steps is None:
                made = self.job()
                if not inspect.isgenerator(made):
                    return self.end(made)
                self.steps = made
            next(self.steps)
        except StopIteration as end:
            self.end(end.value)
        except Exception as error:  # it belongs to whoever asked
            self.end(error=error)

    def end(self, answer=None, error=None):
        if not self.answered.is_set():
            self.answer, self.error = answer, error
            self.answered.set()


class Turns:
    def __init__(self):
        self._waiting = OrderedDict()  # {visitor: {kind: request}}, the visitor whose turn it is first
        self._changed, self._open = threading.Condition(), True
        self._thread = threading.Thread(target=self._serve, name="turns", daemon=True)
        self._thread.start()

    def ask(self, visitor, kind, job):
        """What job() returns, or the generator that it returns, computed without gradients in the thread of the turns.

        Blocks. Raises `Stale` once the same visitor asks for the same kind again, `Closed` at the end, and what job
        raises.
        """
        request = _Request(job)
        with self._changed:
            if not self._open:
                raise Closed
            before = self._waiting.setdefault(visitor, {}).pop(kind, None)
            self._waiting[visitor][kind] = request
            self._changed.notify()
        if before:
            before.end(error=Stale())
        request.answered.wait()
        if request.error is not None:
            raise request.error
        return request.answer

    def drop(self, visitor):
        """Drop all requests of a visitor."""
        with self._changed:
            dropped = self._waiting.pop(visitor, {})
        for request in dropped.values():
            request.end(error=Stale())

    def close(self):
        """End the thread. Requests that wait raise `Closed`."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    @torch.no_grad()
    def _serve(self):
        while (found := self._next()) is not None:
            visitor, kind, request = found
            request.step()
            if request.answered.is_set():
                with self._changed:
                    if self._waiting.get(visitor, {}).get(kind) is request:
                        self._remove(visitor, kind)
        with self._changed:
            left, self._waiting = self._waiting, OrderedDict()
        for requests in left.values():
            for request in requests.values():
                request.end(error=Closed())

    def _next(self):
        """(visitor, kind, request) whose turn it is; None at the end."""
        with self._changed:
            while self._open and not self._waiting:
                self._changed.wait()
            if not self._open:
                return None
            visitor, requests = next(iter(self._waiting.items()))
            self._waiting.move_to_end(visitor)
            kind = next((kind for kind in FIRST if kind in requests), next(iter(requests)))
            return visitor, kind, requests[kind]

    def _remove(self, visitor, kind):
        del self._waiting[visitor][kind]
        if not self._waiting[visitor]:
            del self._waiting[visitor]
