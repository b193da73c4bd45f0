"""Who is served when: visitors in turn, the newest request of each kind, one picture at a time."""

import threading

import pytest

from lib.exploring.turns import Closed, Stale, Turns
from models.errors import UserError

PATIENCE = 60  # seconds


@pytest.fixture
def turns():
    made = Turns()
    yield made
    made.close()


class Asked(threading.Thread):
    """ask(..) in a thread of its own; `outcome` is what it gave or raised."""

    def __init__(self, turns, visitor, kind, job):
        super().__init__(daemon=True)
        self.arguments = turns, visitor, kind, job
        self.start()

    def run(self):
        turns, *rest = self.arguments
        try:
            self.outcome = turns.ask(*rest)
        except Exception as error:
            self.outcome = error

    def outcome_of(self):
        self.join(PATIENCE)
        return self.outcome


class Gate:
    """A job that says when it has begun, and waits until it is let go."""

    def __init__(self):
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.open.wait(PATIENCE)


def waiting(turns, count):
    """Wait until so many requests are known."""
    while sum(map(len, list(turns._waiting.values()))) < count:
        threading.Event().wait(0.001)


@pytest.fixture
def busy(turns):
    """The thread is kept busy by a visitor "x" until the gate is opened."""
    gate = Gate()
    Asked(turns, "x", "picture", gate)
    assert gate.begun.wait(PATIENCE)
    yield gate
    gate.open.set()


def test_answer_is_what_the_job_returns_and_its_error_goes_to_whoever_asked(turns):
    assert turns.ask("a", "picture", lambda: 5) == 5

    def broken():
        raise UserError("no such thing")

    with pytest.raises(UserError, match="no such thing"):
        turns.ask("a", "picture", broken)
    assert turns.ask("a", "picture", lambda: 6) == 6


def test_newer_request_replaces_the_one_that_waits(turns, busy):
    made, asked = [], []
    for number in range(5):
        asked.append(Asked(turns, "a", "picture", lambda number=number: made.append(number) or number))
        if number:
            assert isinstance(asked[-2].outcome_of(), Stale)
        waiting(turns, 2)
    busy.open.set()
    assert asked[-1].outcome_of() == 4 and made == [4]


def test_visitors_are_served_in_turn_however_much_one_asks(turns, busy):
    order = []

    def strip():
        for number in range(4):
            order.append(f"greedy {number}")
            yield
        return "strip"

    greedy = [Asked(turns, "greedy", kind, strip) for kind in ("strip", "grid", "animation")]
    waiting(turns, 4)
    modest = Asked(turns, "modest", "picture", lambda: order.append("modest") or "picture")
    waiting(turns, 5)
    busy.open.set()
    assert modest.outcome_of() == "picture" and [one.outcome_of() for one in greedy] == ["strip"] * 3
    assert order.index("modest") <= 1


def test_picture_goes_before_the_rest_of_a_strip_and_a_newer_strip_ends_the_one_that_has_begun(turns):
    order, gate = [], Gate()

    def strip(name):
        for number in range(3):
            order.append(f"{name} {number}")
            if name == "old" and number == 0:
                gate()
            yield
        return name

    old = Asked(turns, "a", "strip", lambda: strip("old"))
    assert gate.begun.wait(PATIENCE)
    picture = Asked(turns, "a", "picture", lambda: order.append("picture"))
    waiting(turns, 2)
    new = Asked(turns, "a", "strip", lambda: strip("new"))
    assert isinstance(old.outcome_of(), Stale)
    gate.open.set()
    assert new.outcome_of() == "new"
    picture.join(PATIENCE)
    assert order == ["old 0", "picture", "new 0", "new 1", "new 2"]


def test_those_who_wait_are_told_of_the_end(busy, turns):
    asked = Asked(turns, "a", "picture", lambda: 5)
    waiting(turns, 2)
    closing = threading.Thread(target=turns.close)
    closing.start()
    busy.open.set()
    closing.join(PATIENCE)
    assert isinstance(asked.outcome_of(), Closed)
    with pytest.raises(Closed):
        turns.ask("a", "picture", lambda: 5)
