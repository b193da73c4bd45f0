"""What one tab of a browser has before it: a look, what it is compared with, and the work that goes on for it.

It answers the page's requests by plain values and bytes; `routes` makes HTTP of them.
"""

import base64
import threading

from lib.exploring.looks import LINK, Look
from lib.exploring.turns import Stale
from lib.exploring.web.errands import Errand
from lib.exploring.work import Stopped
from lib.pages.gallery import number, shown_path
from models.errors import UserError

STOPS = range(40, 61)  # of a slider's widget in either direction
OWN_SLIDERS = 12  # of one tab: the page has as many places for them
STRIP_PICTURES, GRID_PICTURES = 9, 5
PATIENCE = 0.5  # seconds that a question about work waits for its end


class Ranges:
    """Measures the ranges of the judge's numbers, once for all tabs, when one of them first asks."""

    def __init__(self, world):
        self._world, self._lock, self._work = world, threading.Lock(), None

    def measuring(self):
        """{"doing", "share"} of the work that goes on; None once the ranges are known, or without a judge.

        Raises UserError where they could not be measured.
        """
        with self._lock:
            if self._work is None:
                self._work = self._world.visitor().prepare_judge()  # a visitor for this alone, who is in nobody's way
            work = self._work
            if work is None:
                return None
            if not work.done:
                return {"doing": work.doing, "share": work.share}
            self._work = None
        work.result()
        return None


class Session:
    """A tab's look, and the `lib.exploring.visitor.Visitor` that renders and works for it. Any thread may call.

    Starts are numbered: the page says of which one it shows sliders, since a request may still be on its way when
    another start has been chosen.
    """

    def __init__(self, world, visitor, ranges):
        """ranges: the `Ranges` of all sessions."""
        self.world, self.visitor, self._ranges = world, visitor, ranges
        self._lock = threading.Lock()
        self._look, self._start = world.look(), 0
        self._before = None  # None: the start, without shifts
        self._errand, self._asking = None, threading.Lock()
        visitor.history.see(self._look)

    # What the page shows

    def hello(self):
        """What the page asks for once, when it opens."""
        world = self.world
        return {
            "key": self.visitor.key, "gan": world.gan, "resolution": world.resolution,
            "preview": world.preview is not None, "judge": world.judge_name, "judge_missing": world.judge_missing,
            "sentences_missing": world.sentences_missing, "own_places": OWN_SLIDERS,
            "given": [_slider(slider) for slider in world.sliders], "working": self._errand is not None,
            **self.view(),
        }  # fmt: skip

    def view(self, remarks=()):
        """All that the page needs to show the look again: {"view": ..}."""
        look, history = self._look, self.visitor.history
        own = [_slider(slider) for slider in self.visitor.sliders if slider.own]
        start = {"number": self._start, "seed": look.start.seed, "truncation": look.start.truncation}
        return {"view": {"start": start, "shifts": dict(look.shifts), "own": own, "link": look.to_link(),
                         "back": history.can_go_back, "forward": history.can_go_forward,
                         "locked": self._before is not None, "remarks": list(remarks)}}  # fmt: skip

    def picture(self, start, shifts, preview=False):
        """The JPEG of the start's picture with these shifts. Raises Stale if another one has been asked for since."""
        return self.visitor.picture(self._moved(start, shifts), preview).jpeg()

    def settle(self, start, shifts):
        """Remember the look in the history, once its sliders have come to rest."""
        self.visitor.history.see(self._moved(start, shifts))
        return self.view()

    def begin_at(self, seed, truncation=None):
        """Another start, with the same shifts."""
        start = self.world.look(seed=seed, truncation=truncation).start
        return self._show(self._look.at(start))

    def back(self):
        return self._revisit(self.visitor.history.back())

    def forward(self):
        return self._revisit(self.visitor.history.forward())

    def lock(self, locked):
        """Compare with the look of now (locked), or again with the start (not locked)."""
        self._before = self._look if locked else None
        return self.view()

    def before(self):
        """The JPEG of what the picture is compared with."""
        return self.visitor.picture(self._before or self._look.reset()).jpeg()

    def numbers(self):
        """{"numbers": [{"name", "unit", "before", "now"}]} of the judge, or, as long as the ranges of its numbers are
        not known, {"measuring": {"doing", "share"}}."""
        measuring = self._ranges.measuring()
        if measuring:
            return {"measuring": measuring}
        found = self.visitor.numbers(self._look)
        return {"numbers": [{"name": number.name, "unit": number.unit, "before": number.before, "now": number.now}
                            for number in found]}

    def strip(self, slider):
        """{"strip": {"slider", "cells": [{"shifts", "picture"}]}}: pictures along one path through the look."""
        pictures = self.visitor.strip(self._look, slider, STRIP_PICTURES)
        values = _values(self.visitor.slider(slider), len(pictures))
        return {"strip": {"slider": slider, "cells": [
            {"shifts": {slider: value}, "picture": _embedded(picture)} for value, picture in zip(values, pictures)]}}

    def grid(self, across, down):
        """{"grid": {"across", "down", "rows": [[{"shifts", "picture"}]]}}: both paths through the look."""
        if across == down:
            raise UserError("a grid shows two different sliders: choose another one for one of its sides")
        rows = self.visitor.grid(self._look, across, down, GRID_PICTURES)
        columns = _values(self.visitor.slider(across), GRID_PICTURES)
        lines = _values(self.visitor.slider(down), GRID_PICTURES)[::-1]
        return {"grid": {"across": across, "down": down, "rows": [
            [{"shifts": {across: x, down: y}, "picture": _embedded(picture)} for x, picture in zip(columns, row)]
            for y, row in zip(lines, rows)]}}

    # What goes out

    def download(self, kind, slider=None):
        """(content, media type, file name) of the picture, the code, an animation or the setting."""
        look, name = self._look, self._file_name()
        if kind == "png":
            return self.visitor.picture(look).png(), "image/png", f"{name}.png"
        if kind == "code":
            return self.visitor.code_file(look), "application/octet-stream", f"{name}.pt"
        if kind == "gif":
            self.visitor.slider(slider)
            return self.visitor.animation(look, slider), "image/gif", f"{name}.gif"
        return look.to_json().encode(), "application/json", f"{name}.json"

    def keep(self, ids, name):
        """Save own sliders as an experiment."""
        return {"kept": str(self.visitor.keep(ids, name))}

    def keep_code(self, name):
        """Save the look's code as a pool of one."""
        return {"kept": str(self.visitor.save_pool(self._look, name))}

    # What takes a while: the answer is {"work": ..} as long as it goes on, and what came of it at the end

    def say(self, first, second):
        """A slider of two sentences."""
        if sum(slider.own for slider in self.visitor.sliders) >= OWN_SLIDERS:
            raise UserError(f"there are {OWN_SLIDERS} sliders of your own already: remove one of them first")
        return self._begin([self.visitor.prepare_sentences, lambda: self.visitor.say(first, second)], self._made)

    def refine(self, slider):
        """Train an own slider further: another one comes of it."""
        if sum(slider.own for slider in self.visitor.sliders) >= OWN_SLIDERS:
            raise UserError(f"there are {OWN_SLIDERS} sliders of your own already: remove one of them first")
        return self._begin([lambda: self.visitor.refine(slider)], self._made)

    def invert(self, content, name):
        """Begin at the code of a picture, a file's bytes."""
        return self._begin([lambda: self.visitor.invert(content, name)], self._inverted)

    def open_code(self, content, name):
        """Begin at a code, the bytes of a file that `download` gave."""
        return self._show(self._look.at(self.visitor.open_code(content, name)))

    def open(self, text):
        """Restore a look from a link or JSON."""
        look = Look.from_link(text) if text.lstrip().startswith(LINK) else Look.from_json(text)
        if look.sentences:
            return self._begin([self.visitor.prepare_sentences], lambda *_: self._adopt(look))
        return self._adopt(look)

    def work(self):
        """How far the work is that goes on, or what came of it."""
        with self._asking:
            if self._errand is None:
                return self.view()
            try:
                answer = self._errand.answer(PATIENCE)
            except Stopped:
                answer = self.view(["Stopped."])
            except BaseException:
                self._errand = None
                raise
            if "work" not in answer:
                self._errand = None
            return answer

    def stop(self):
        """Stop the work that goes on."""
        errand = self._errand
        if errand is not None:
            errand.stop()
        return self.work()

    def forget(self, slider):
        """Remove an own slider."""
        self.visitor.forget(slider)
        return self._show(self._known(self._look))

    def close(self):
        self.visitor.close()

    def _moved(self, start, shifts):
        """The look of now, with these shifts. Raises Stale if `start` is not the newest one."""
        with self._lock:
            if start != self._start:
                raise Stale
            self._look = self.visitor.moved(self._look.reset(), shifts)
            return self._look

    def _show(self, look, remarks=(), seen=True):
        with self._lock:
            if look.start != self._look.start:
                self._before = None
            self._look, self._start = look, self._start + 1
        if seen:
            self.visitor.history.see(look)
        return self.view(remarks)

    def _revisit(self, look):
        return self.view() if look is None else self._show(self._known(look), seen=False)

    def _known(self, look):
        """A look without sliders that have been removed."""
        known = {slider.id for slider in self.visitor.sliders}
        return self.visitor.moved(look.reset(), {name: shift for name, shift in look.shifts.items() if name in known})

    def _begin(self, steps, finish):
        with self._lock:
            if self._errand is not None:
                raise UserError("something else is still at work for you: wait for its end, or stop it")
            self._errand = Errand(steps, finish)
        return self.work()

    def _made(self, slider, remarks):
        answer = self.view(remarks)
        return answer | {"made": slider.id} if slider is not None else answer

    def _adopt(self, look):
        adopted, remarks = self.visitor.adopt(look)
        return self._show(adopted, remarks)

    def _inverted(self, found, remarks):
        answer = self._show(self._look.at(found.start), [*remarks, *([found.remark] if found.remark else [])])
        return answer | {"inverted": {"original": _embedded(found.original), "distance": found.distance}}

    def _file_name(self):
        seed = self._look.start.seed
        return f"{self.world.gan}-{'picture' if seed is None else f'seed-{seed}'}"


def scale_of(slider):
    """(limit, step) of the widget of a slider, which ends where the slider does: a whole number of steps, of as few
    digits as can be."""
    steps = [float(f"{slider.high / stops:.6g}") for stops in sorted(STOPS, key=lambda stops: abs(stops - 50))]
    return slider.high, min(steps, key=lambda step: len(f"{step:g}".strip("0.")))


def short_title(slider):
    """A slider's title without what both sentences begin with."""
    if not slider.second:
        return slider.title
    shown = shown_path(0, (slider.first, slider.second))
    left, right = (f"{words} {shown.ending}".strip(" .") for words in (shown.left_words, shown.right_words))
    return f"{left} → {right}"


def _slider(slider):
    shown = shown_path(0, (slider.first, slider.second) if slider.second else slider.first)
    limit, step = scale_of(slider)
    parts = None if shown.name else [shown.opening, shown.left_words, shown.right_words, shown.ending]
    return {"id": slider.id, "first": slider.first, "second": slider.second, "title": slider.title,
            "short": short_title(slider), "parts": parts, "number": slider.measured and slider.measured["own"],
            "limit": limit, "step": step, "method": slider.method, "space": slider.space,
            "experiment": slider.experiment, "own": slider.own, "measured": _measured(slider.measured)}  # fmt: skip


def _measured(entry):
    """What evaluate.py has found of a path, as the gallery has it; None where it has not."""
    if entry is None:
        return None
    figures, other = entry["figures"], entry["strongest_other"]
    own, moved = f"{entry['own']}{'+' if entry['sign'] > 0 else '−'}", number(figures["own_effect"], 2)
    return f"{own} moves by {moved} of its range, leak {number(figures['leak'], 2)}{f' ({other})' if other else ''}"


def _values(slider, count):
    return [slider.low + (slider.high - slider.low) * i / (count - 1) for i in range(count)]


def _embedded(picture):
    return "data:image/jpeg;base64," + base64.b64encode(picture.jpeg()).decode()
