"""The page's requests, without a browser."""

from pathlib import Path

import pytest

pytest.importorskip("gradio")

from fastapi import FastAPI
from starlette.testclient import TestClient

from lib.exploring.web import session
from lib.exploring.web.routes import GONE, add_answers_to_errors, router
from models.errors import UserError

HAT = {"first": "a face with a hat", "second": "a face without a hat"}


class Tab:
    """A visitor of the routes; ask(path, **body) -> the response."""

    def __init__(self, client):
        self.client, self.key = client, None
        self.hello = self.ask("hello").json()
        self.key = self.hello["key"]

    def ask(self, path, **body):
        headers = {"x-visitor": self.key} if self.key else {}
        return self.client.post(f"/explorer/{path}", json=body, headers=headers)

    def done(self, path, **body):
        """What came of something that takes a while."""
        answer = self.ask(path, **body)
        while "work" in answer.json():
            answer = self.ask("work")
        return answer


def client_of(world, may_write=True):
    app = FastAPI()
    add_answers_to_errors(app)
    app.include_router(router(world, may_write))
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(shared):
    return client_of(shared)


@pytest.fixture
def tab(client):
    return Tab(client)


def refused(answer, *statuses):
    """The line that says why a request was refused."""
    assert answer.status_code in (statuses or (422,)), answer.text
    (message,) = answer.json().values()
    assert "\n" not in message
    return message


def test_hello_tells_all_that_the_page_shows(tab, shared):
    assert [one["title"] for one in tab.hello["given"]] == [slider.title for slider in shared.sliders]
    first = tab.hello["given"][0]
    assert first["parts"] == ["a", "sad", "happy", "face"] and tab.hello["given"][2]["parts"] is None
    assert (first["limit"], first["step"]) == (3.2, 0.08)
    assert tab.hello["view"]["start"]["seed"] == 0 and not tab.hello["view"]["back"]


def test_tab_that_is_not_known_is_told_to_begin_anew(client, tab):
    tab.key = "guessed"
    assert "reload" in refused(tab.ask("settle", start=0, shifts={}), GONE)
    again = Tab(client)
    assert client.post("/explorer/hello", json={"key": again.key}).json()["key"] == again.key
    assert client.post("/explorer/hello", json={"key": "guessed"}).json()["key"] not in ("guessed", again.key)


def test_picture_of_an_older_start_is_dropped(tab, shared):
    shifts = {shared.sliders[0].id: 1.0}
    assert tab.ask("picture", start=0, shifts=shifts).headers["content-type"] == "image/jpeg"
    newer = tab.ask("start", seed=3).json()["view"]
    assert newer["start"]["number"] == 1 and newer["shifts"] == shifts
    assert tab.ask("picture", start=0, shifts={}).status_code == 204
    assert tab.ask("picture", start=1, shifts={}).status_code == 200


@pytest.mark.parametrize("path, body", [
    ("picture", {}),
    ("picture", {"start": 0, "shifts": {"another": 1.0}}),
    ("picture", {"start": 0, "shifts": {"x": "1e9999"}}),
    ("picture", {"start": 0, "shifts": [1]}),
    ("picture", {"start": 0, "shifts": {}, "more": 1}),
    ("start", {"seed": -1}),
    ("start", {"seed": 2**31}),
    ("start", {"seed": 1, "truncation": 2}),
    ("strip", {"slider": "another"}),
    ("file", {"kind": "exe"}),
    ("file", {"kind": "gif", "slider": "another"}),
    ("open", {"text": "{}"}),
    ("open", {"text": "#look=AAAA"}),
    ("say", {"first": "x" * 5000, "second": "y"}),
    ("refine", {"slider": "another"}),
    ("keep", {"sliders": ["another"], "name": "x"}),
    ("keep-code", {"name": "../x"}),
])
def test_what_no_page_would_ask_is_one_line(tab, path, body):
    refused(tab.ask(path, **body))
    assert tab.ask("settle", start=0, shifts={}).status_code == 200  # it goes on


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"start": NaN, "shifts": {}}'])
def test_body_that_is_no_json_is_one_line(tab, content):
    headers = {"x-visitor": tab.key, "content-type": "application/json"}
    refused(tab.client.post("/explorer/picture", content=content, headers=headers), 400, 422)


def test_two_sentences_and_what_can_be_done_with_them(tab):
    answer = tab.done("say", **HAT).json()
    (own,) = answer["view"]["own"]
    assert answer["made"] == own["id"] and own["parts"] == ["a face", "without", "with", "a hat"]
    assert tab.ask("picture", start=0, shifts={own["id"]: 1.0}).status_code == 200
    link = tab.ask("settle", start=0, shifts={own["id"]: 1.0}).json()["view"]["link"]
    other = Tab(tab.client)
    restored = other.done("open", text=link).json()["view"]
    assert restored["shifts"] == {own["id"]: 1.0} and restored["own"][0]["title"] == own["title"]
    assert "experiments" in tab.ask("keep", sliders=[own["id"]], name="hat").json()["kept"]
    left = tab.ask("forget", slider=own["id"]).json()["view"]
    assert left["own"] == [] and left["shifts"] == {}
    back = tab.ask("back").json()["view"]
    assert back["shifts"] == {}  # its slider is gone


def test_places_of_own_sliders_are_limited(tab, monkeypatch):
    monkeypatch.setattr(session, "OWN_SLIDERS", 1)
    tab.done("say", **HAT)
    assert "1 sliders of your own already" in refused(tab.ask("say", first="a cat", second="a dog"))


def test_sentences_that_are_equal(tab):
    refused(tab.done("say", first="a face", second="a face"))
    assert tab.done("say", **HAT).status_code == 200


def test_what_serves_others_saves_nothing(shared):
    tab = Tab(client_of(shared, may_write=False))
    own = tab.done("say", **HAT).json()["made"]
    before = sorted(Path.cwd().rglob("*"))
    assert "saves nothing" in refused(tab.ask("keep", sliders=[own], name="hat"))
    assert "saves nothing" in refused(tab.ask("keep-code", name="mine"))
    assert sorted(Path.cwd().rglob("*")) == before


def test_grid_of_one_slider_is_refused(tab, shared):
    name = shared.sliders[0].id
    assert "two different sliders" in refused(tab.ask("grid", across=name, down=name))


def test_picture_of_ones_own_that_is_none(tab):
    headers = {"x-visitor": tab.key, "content-type": "application/octet-stream"}
    answer = tab.client.post("/explorer/invert?name=notes.txt", content=b"plain text", headers=headers)
    while answer.status_code == 200 and "work" in answer.json():
        answer = tab.ask("work")
    refused(answer)


def test_code_is_opened_again(tab, shared):
    code = tab.ask("file", kind="code").content
    tab.ask("start", seed=5)
    headers = {"x-visitor": tab.key, "content-type": "application/octet-stream"}
    view = tab.client.post("/explorer/code?name=mine.pt", content=code, headers=headers).json()["view"]
    assert view["start"]["seed"] is None
    opened = tab.ask("picture", start=view["start"]["number"], shifts={}).content
    assert opened == tab.client.post("/explorer/before", json={}, headers={"x-visitor": tab.key}).content
    assert opened == shared.visitor().picture(shared.look(0)).jpeg()
    assert "mine.pt" in refused(tab.client.post("/explorer/code?name=mine.pt", content=b"PK", headers=headers))


def test_failure_of_the_explorer_itself_does_not_end_it(tab, shared, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(shared.renderer), "picture", lambda *_: 1 / 0)
        assert "has failed" in refused(tab.ask("picture", start=0, shifts={}), 500)
    assert tab.ask("picture", start=0, shifts={}).status_code == 200


def test_errors_of_rendering_are_told(tab, shared, monkeypatch):
    def fail(*_):
        raise UserError("out of\nmemory")

    monkeypatch.setattr(type(shared.renderer), "picture", fail)
    assert "out of" in refused(tab.ask("picture", start=0, shifts={}))


def test_stop_ends_what_goes_on(tab):
    own = tab.done("say", **HAT).json()["made"]
    assert "work" in tab.ask("refine", slider=own).json()
    assert "still at work" in refused(tab.ask("say", first="a cat", second="a dog"))
    answer = tab.ask("stop")
    while "work" in answer.json():
        answer = tab.ask("work")
    assert "view" in answer.json(), answer.text
    assert [one["id"] for one in answer.json()["view"]["own"]] == [own]
    assert tab.done("say", first="a cat", second="a dog").status_code == 200
