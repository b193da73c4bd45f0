"""The requests of the page, over HTTP: JSON in, JSON or a picture out, each from the session of the tab that asks."""

import threading
from collections import OrderedDict
from typing import Annotated, Literal

import starlette.exceptions
from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from lib.exploring.turns import Closed, Stale
from lib.exploring.web.session import Ranges, Session
from models.errors import UserError, one_line

PREFIX = "/explorer"
SESSIONS = 256  # the newest ones are known
AT_ONCE = 12  # requests of one session; a page has three at most
GONE = 410

Id = Annotated[str, Field(max_length=256)]
FileName = Annotated[str, Query(max_length=256)]
Sentence = Annotated[str, Field(max_length=4096)]
Shifts = Annotated[dict[Id, Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]], Field(max_length=4096)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Hello(Body):
    key: Annotated[str, Field(max_length=128)] | None = None


class Moved(Body):
    start: int
    shifts: Shifts
    preview: bool = False


class Seed(Body):
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    truncation: Annotated[float, Field(ge=0, le=1)] | None = None


class Locked(Body):
    locked: bool


class OneSlider(Body):
    slider: Id


class Grid(Body):
    across: Id
    down: Id


class File(Body):
    kind: Literal["png", "code", "gif", "json"]
    slider: Id | None = None


class Said(Body):
    first: Sentence
    second: Sentence


class Setting(Body):
    text: Annotated[str, Field(max_length=256 * 1024)]


class Kept(Body):
    sliders: Annotated[list[Id], Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(max_length=128)]


class Named(Body):
    name: Annotated[str, Field(max_length=128)]


class Sessions:
    """The sessions of all tabs by their keys, which nobody can guess."""

    def __init__(self, world):
        self._world, self._sessions, self._lock = world, OrderedDict(), threading.Lock()
        self._ranges = Ranges(world)

    def begin(self, key=None):
        """A new session, or the one with this key if it is still known."""
        with self._lock:
            if key in self._sessions:
                return self._sessions[key]
        session = Session(self._world, self._world.visitor(), self._ranges)
        with self._lock:
            self._sessions[session.visitor.key] = session
            old = [self._sessions.popitem(last=False)[1] for _ in range(len(self._sessions) - SESSIONS)]
        for session_of_old in old:
            session_of_old.close()
        return session

    def find(self, key):
        """The session with this key; None if it is not known."""
        with self._lock:
            if key in self._sessions:
                self._sessions.move_to_end(key)
            return self._sessions.get(key)


class Places:
    """How many requests of each session are being answered, so that one tab does not take all the threads."""

    def __init__(self):
        self._taken = {}

    def take(self, key):
        if self._taken.get(key, 0) >= AT_ONCE:
            raise HTTPException(429, "too many requests at once: wait for the answers")
        self._taken[key] = self._taken.get(key, 0) + 1

    def leave(self, key):
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]


def router(world, may_write):
    """may_write: whether visitors may save experiments and pools on this machine."""
    sessions, places, routes = Sessions(world), Places(), APIRouter(prefix=PREFIX)

    async def of_tab(x_visitor: Annotated[str, Header(max_length=128)]):
        session = sessions.find(x_visitor)
        if session is None:
            raise HTTPException(GONE, "the explorer was started again: reload the page")
        places.take(x_visitor)
        try:
            yield session
        finally:
            places.leave(x_visitor)

    OfTab = Annotated[Session, Depends(of_tab)]

    def check_may_write():
        if not may_write:
            raise UserError("this explorer serves others too, and saves nothing on its machine: download the code or "
                            "the setting instead")

    @routes.post("/hello")
    def hello(body: Hello):
        return sessions.begin(body.key).hello()

    @routes.post("/picture")
    def picture(body: Moved, session: OfTab):
        return _jpeg(session.picture(body.start, body.shifts, body.preview))

    @routes.post("/before")
    def before(session: OfTab):
        return _jpeg(session.before())

    @routes.post("/settle")
    def settle(body: Moved, session: OfTab):
        return session.settle(body.start, body.shifts)

    @routes.post("/start")
    def start(body: Seed, session: OfTab):
        return session.begin_at(body.seed, body.truncation)

    @routes.post("/back")
    def back(session: OfTab):
        return session.back()

    @routes.post("/forward")
    def forward(session: OfTab):
        return session.forward()

    @routes.post("/lock")
    def lock(body: Locked, session: OfTab):
        return session.lock(body.locked)

    @routes.post("/numbers")
    def numbers(session: OfTab):
        return session.numbers()

    @routes.post("/strip")
    def strip(body: OneSlider, session: OfTab):
        return session.strip(body.slider)

    @routes.post("/grid")
    def grid(body: Grid, session: OfTab):
        return session.grid(body.across, body.down)

    @routes.post("/file")
    def file(body: File, session: OfTab):
        content, kind, name = session.download(body.kind, body.slider)
        return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})

    @routes.post("/open")
    def open_setting(body: Setting, session: OfTab):
        return session.open(body.text)

    @routes.post("/say")
    def say(body: Said, session: OfTab):
        return session.say(body.first, body.second)

    @routes.post("/refine")
    def refine(body: OneSlider, session: OfTab):
        return session.refine(body.slider)

    @routes.post("/forget")
    def forget(body: OneSlider, session: OfTab):
        return session.forget(body.slider)

    @routes.post("/invert")
    async def invert(request: Request, session: OfTab, name: FileName = ""):
        return await run_in_threadpool(session.invert, await request.body(), name)

    @routes.post("/code")
    async def code(request: Request, session: OfTab, name: FileName = ""):
        return await run_in_threadpool(session.open_code, await request.body(), name)

    @routes.post("/work")
    def work(session: OfTab):
        return session.work()

    @routes.post("/stop")
    def stop(session: OfTab):
        return session.stop()

    @routes.post("/keep")
    def keep(body: Kept, session: OfTab):
        check_may_write()
        return session.keep(body.sliders, body.name)

    @routes.post("/keep-code")
    def keep_code(body: Named, session: OfTab):
        check_may_write()
        return session.keep_code(body.name)

    return routes


def add_answers_to_errors(app):
    """What is told of a request that is refused: one line, which the page shows."""

    @app.exception_handler(UserError)
    async def user_error(_request, error):
        return _refused(422, error)

    @app.exception_handler(Stale)
    async def stale(_request, _error):
        return Response(status_code=204)

    @app.exception_handler(Closed)
    async def closed(_request, _error):
        return _refused(503, "the explorer is being stopped")

    @app.exception_handler(RequestValidationError)
    async def invalid(_request, error):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return _refused(422, f"this is not what the page would ask: {where}: {first['msg']}")

    @app.exception_handler(starlette.exceptions.HTTPException)
    async def http(_request, error):
        return _refused(error.status_code, error.detail)

    @app.exception_handler(Exception)
    async def bug(_request, _error):
        return _refused(500, "the explorer has failed at this; what happened stands where it was started. It goes on: "
                             "try something else")


def _refused(status, error):
    return JSONResponse({"error": one_line(str(error))}, status)


def _jpeg(content):
    return Response(content, media_type="image/jpeg")
