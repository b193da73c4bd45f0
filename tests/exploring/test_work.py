"""Works of the explorer: one at a time, and what becomes of one whose tab was closed."""

import threading
import time

import pytest

from lib.exploring import work
from lib.exploring.work import Stopped, Workshop
from models.errors import UserError


@pytest.fixture
def workshop():
    workshop = Workshop()
    yield workshop
    workshop.close()


def endless(work):
    while True:
        work.tell(0.5)
        time.sleep(0.01)


def test_a_visitor_has_one_work_at_a_time(workshop):
    first = workshop.begin("a", "refining", endless)
    with pytest.raises(UserError, match="still refining: wait for it, or stop it"):
        workshop.begin("a", "inverting", endless)
    workshop.stop("a")
    with pytest.raises(Stopped):
        first.result()


def test_a_forgotten_work_gives_way_to_another_visitor_s(workshop, monkeypatch):
    monkeypatch.setattr(work, "FORGOTTEN", 0.05)
    first = workshop.begin("a", "refining", endless)
    assert not first.wait(0.01)  # asked about once, and never again
    time.sleep(0.2)
    assert not first.done  # it goes on while nobody else waits
    assert workshop.begin("b", "inverting", lambda work: "done").result() == "done"
    with pytest.raises(Stopped):
        first.result()


def test_a_work_that_somebody_waits_for_is_not_forgotten(workshop, monkeypatch):
    monkeypatch.setattr(work, "FORGOTTEN", 0.05)
    go_on = threading.Event()

    def job(work):
        while not go_on.is_set():
            work.tell(0.5)
            time.sleep(0.01)
        return "done"

    first, second = workshop.begin("a", "refining", job), workshop.begin("b", "inverting", lambda work: "too")
    assert not first.wait(0.3)
    go_on.set()
    assert (first.result(), second.result()) == ("done", "too")
