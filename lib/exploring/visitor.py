"""One visitor of an explorer: own sentences, what was seen, and what may be asked. No other visitor sees any of it.

Any thread may call; calls block until the answer is there. `Stale` is raised where a newer call of the same kind has
taken its place.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lib.exploring import refining
from lib.exploring.history import History
from lib.exploring.looks import LARGEST_SHIFT, MOST_SENTENCES, Sentences
from lib.exploring.pictures import Picture
from lib.exploring.rendering import Route
from lib.exploring.sliders import Slider
from lib.exploring.turns import Stale
from lib.exploring.uploads import read_code
from lib.paths.lines import Lines
from lib.pools import code_hash
from lib.settings import PoolSettings
from lib.walking import sampling
from lib.walking.pictures import gif_image, gif_parts, there_and_back
from models.errors import UserError, quoted

COLUMNS = 9  # pictures of a strip
GIF_HEIGHT = 256  # pixels, but not more than twice the pictures'


@dataclass(frozen=True)
class _Own:
    """A slider of the visitor's, where it leads, and its path as it can be kept."""

    slider: Slider
    route: Route
    path: refining.OwnPath
    sentences: Sentences


class Visitor:
    def __init__(self, world, key):
        self.world, self.key, self.history = world, key, History()
        self._own, self._before, self._asked = {}, (None, None), None

    @property
    def sliders(self):
        """The world's, then the visitor's own."""
        return (*self.world.sliders, *(own.slider for own in list(self._own.values())))

    def slider(self, name):
        """The slider of an id. Raises UserError where there is none."""
        found = next((slider for slider in self.sliders if slider.id == name), None)
        if found is None:
            raise UserError(f"there is no slider {quoted(name)} here")
        return found

    def moved(self, look, shifts):
        """A look with some sliders, {id: shift}, elsewhere, within their ranges, and the sentences of the visitor's
        own that are moved. Raises UserError for a slider that is not there, and for what is no number."""
        within = {}
        for name, shift in shifts.items():
            high = self.slider(name).high
            if type(shift) not in (int, float) or not abs(shift) < LARGEST_SHIFT:  # NaN is not below
                raise UserError(f"the slider {quoted(name)} can only be at a number")
            within[name] = min(max(shift, -high), high)
        look = look.moved(within)
        return look.saying(own.sentences for name, own in list(self._own.items()) if name in look.shifts)

    def adopt(self, look):
        """A look from elsewhere, such as a link's -> (the look as far as it can be seen here, remarks).

        Its sentences get sliders. Raises UserError where it is of another generator, and where its sentences need what
        is missing or must be measured first (`prepare_sentences`).
        """
        if look.gan_sha256 != self.world.gan_sha256:
            raise UserError("this look is of another generator: open an explorer with that one")
        self._ask("start", lambda: self.world.renderer.start(look.start))
        if look.start.seed is not None and not self.world.truncates and look.start.truncation != 1:
            raise UserError("this look has a truncation, which this generator lacks")
        remarks = []
        for sentences in look.sentences:
            if sentences.refined and not any(own.sentences == sentences for own in self._own.values()):
                remarks.append(f"the refined path of {quoted(sentences.first)} is only where it was trained: keep it "
                               "as an experiment to see it elsewhere")
            elif not sentences.refined:
                self._ready_for_sentences()
                work = self.say(sentences.first, sentences.second)
                work.result()
                remarks += work.remarks
        known = {slider.id for slider in self.sliders}
        left_out = [name for name in look.shifts if name not in known]
        if left_out and not remarks:
            remarks.append(f"{len(left_out)} of its sliders are not here: open the experiments that it was made with")
        return self.moved(look.reset(), {name: shift for name, shift in look.moved_by if name in known}), remarks

    # --- what is seen

    def picture(self, look, preview=False):
        """The `Picture` of a look; with `preview`, a smaller one where the world has previews."""
        size = self.world.preview if preview else None
        return self._ask("preview" if preview else "picture", lambda: self._pictured(look, self._routes(look), size))

    def numbers(self, look):
        """[`Number`, ...] of the judge, at the look's start and now; [] without a judge, or while the ranges of its
        numbers are not known (`prepare_judge`).

        The judge reads in the caller's thread: some take longer than pictures, for which others wait.
        """
        judging, renderer, routes = self.world.judging, self.world.renderer, self._routes(look)
        if judging is None or not judging.is_ready:
            return []
        self._asked = asked = object()
        image = self._ask("numbers", lambda: renderer.image(look, routes))
        known, before = self._before
        start = None if known == look.start else self._ask("numbers", lambda: renderer.image(look.reset(), {}))
        with judging.reading:
            if asked is not self._asked:
                raise Stale
            before = before if start is None else judging.read(start)
            self._before = look.start, before
            return judging.compared(before, judging.read(image))

    def strip(self, look, name, count=COLUMNS, full=False):
        """[`Picture`, ...] along a slider, from its low end to its high one, with the others as they are."""
        return self._ask("strip", partial(self._row, self._along(look, name, count), self._size(full)))

    def grid(self, look, across, down, count=5):
        """[[`Picture`, ...], ...] of two sliders: `across` from its low end to its high one, `down` from high to
        low."""
        rows = [self._along(one, across, count) for one in reversed(self._along(look, down, count))]
        size = self._size()

        def made():
            found = []
            for row in rows:
                found.append((yield from self._row(row, size)))
            return found

        return self._ask("grid", made)

    def animation(self, look, name, frames=33, fps=30):
        """The bytes of a GIF along a slider, there and back."""
        looks, height = self._along(look, name, frames), min(GIF_HEIGHT, 2 * self.world.resolution)

        def made():
            cells = []
            for picture in (yield from self._row(looks, None)):
                cells.append(gif_image(picture.pixels, height, fps))
                yield
            return b"".join(gif_parts(there_and_back(cells)))

        return self._ask("animation", made)

    # --- what is taken away

    def code_file(self, look):
        """The bytes of a .pt of the look's code (1, ...), as sample_gan.py --from-codes takes it."""
        file = io.BytesIO()
        torch.save(self._code(look), file)
        return file.getvalue()

    def save_pool(self, look, name):
        """Write a pool of the look's code alone, for traverse_latent_space.py --pool, with --w-space where the
        generator has W. Returns its directory. Raises UserError where the name is not plain, or another code's."""
        refining.check_name(name)
        world, code = self.world, self._code(look)
        gan, classes, has_w = world.settings.gan, world.settings.biggan_target_classes, world.renderer.has_w
        space = world.space(look.start.truncation)
        directory = sampling.pool_directory(gan, classes, name)
        settings = PoolSettings(gan=gan, stylegan_space="W" if has_w else "Z", biggan_target_classes=classes,
                                truncation=1.0 if has_w else look.start.truncation, num_samples=1,
                                from_codes="explorer", codes_sha1=code_hash(code))  # fmt: skip
        codes = [{"latent_code_w+.pt" if has_w else "latent_code_z.pt": code}]
        with world.writing:
            self._ask("pool", lambda: sampling.make_pool(directory, codes, space, settings, batch_size=1))
        return directory

    # --- what is brought

    def invert(self, content, name=""):
        """The `Work` of finding the code of a picture, a file's bytes: its result is an `Inverted`. It raises UserError
        where the bytes are no picture that can be read, and where the generator has no codes to be found."""
        return self.world.workshop.begin(self.key, "reading the picture", lambda work: (
            self.world.inverter(content, name, work)))

    def open_code(self, content, name=""):
        """The `Start` of a file's bytes, as `code_file` gives them. Raises UserError where they hold anything else, or
        a code of another generator."""
        start = read_code(content, name, self.world.truncation)
        self._ask("start", lambda: self.world.renderer.start(start))
        return start

    # --- own sentences

    def say(self, first, second):
        """The `Work` of finding the path from `second` to `first`: its result is a new `Slider`.

        Its `remarks` say what the CLIP does not know. Raises UserError at once where no CLIP is here, or too many
        sliders; the work raises it where the sentences cannot be told or are no dipole.
        """
        if self.world.sentences_missing:
            raise UserError(self.world.sentences_missing)
        if len(self._own) >= MOST_SENTENCES:
            raise UserError(f"you have {MOST_SENTENCES} sliders of your own: remove one first")
        return self.world.saying.begin(self.key, "finding the path", partial(self._said, first, second))

    def prepare_sentences(self):
        """The `Work` of measuring how the generator responds, which new sentences need once; None where that is
        known."""
        if self.world.sentences_missing:
            raise UserError(self.world.sentences_missing)
        if self.world.sentences.is_ready():
            return None
        return self.world.saying.begin(self.key, "measuring how the generator responds", lambda work: (
            self.world.sentences.prepare(work.images)))

    def prepare_judge(self):
        """The `Work` of learning the ranges of the judge's numbers; None where they are known, or there is none."""
        judging = self.world.judging
        if judging is None or judging.is_ready:
            return None
        return self.world.workshop.begin(self.key, "learning what the judge's numbers can be", lambda work: (
            judging.prepare(self.world.space(), work.images)))

    def refine(self, name):
        """The `Work` of training the path of an own slider further: its result is another `Slider`, or None where it
        was stopped."""
        own = self._found(name)
        return self.world.workshop.begin(self.key, "refining", partial(self._refined, own))

    def keep(self, names, name):
        """Write own sliders, by their ids, as one experiment. Returns its directory. Raises UserError as
        `refining.keep`."""
        with self.world.writing:
            return refining.keep([self._found(one).path for one in names], name)

    def forget(self, name):
        """Remove an own slider."""
        self._own.pop(name, None)

    def close(self):
        """Stop what is done for this visitor."""
        for one in (self.world.saying, self.world.workshop):
            one.stop(self.key)
        self.world.turns.drop(self.key)

    def _said(self, first, second, work):
        sentences = self.world.sentences
        if not sentences.is_ready():
            work.doing = "measuring how the generator responds"
        sentences.prepare(work.images)
        work.tell(None, "finding the path")
        found = sentences.find(first, second)
        work.remarks += found.remarks
        return self._add(refining.text_path(sentences, found), "own")

    def _refined(self, own, work):
        path = refining.refine(self.world.sentences, own.path, work)
        return path and self._add(path, "refined")

    def _add(self, path, kind):
        """A new own slider of an `OwnPath`."""
        sentences, reach = self.world.sentences, float(f"{path.settings.walk_length:.3g}")
        first, second = path.found.dipole
        refined = hashlib.sha256(path.direction.numpy().tobytes()).hexdigest()[:12] if kind == "refined" else ""
        said = Sentences(first, second, refined)
        base = [first, second, refined, self.world.settings.gan_sha256, sentences.space.name, *sentences.among]
        name = f"{kind}-{hashlib.sha256(json.dumps(base).encode()).hexdigest()[:12]}"
        slider = Slider(name, first, second, reach, sentences.space.name, kind, own=True)
        route = Route(sentences.space, Lines(path.direction).to(sentences.space.device), 0, reach)
        self._own[name] = _Own(slider, route, path, said)
        return slider

    def _found(self, name):
        own = self._own.get(name)
        if own is None:
            raise UserError(f"{quoted(name)} is not a slider of your own sentences")
        return own

    def _ready_for_sentences(self):
        if self.world.sentences_missing:
            raise UserError(self.world.sentences_missing)
        if not self.world.sentences.is_ready():
            raise UserError("this look has sentences of its own, for which the generator must be measured first")

    # --- rendering

    def _ask(self, kind, job):
        return self.world.turns.ask(self.key, kind, job)

    def _routes(self, look):
        """{id: `Route`} of the sliders that a look moves. Raises UserError where one is not there."""
        own = {name: one.route for name, one in list(self._own.items())}
        routes = self.world.routes | own
        lacking = next((name for name in look.shifts if name not in routes), None)
        if lacking:
            raise UserError(f"there is no slider {quoted(lacking)} here")
        return routes

    def _pictured(self, look, routes, size):
        return Picture(self.world.renderer.picture(look, routes, size))

    def _size(self, full=False):
        return None if full else self.world.preview

    def _along(self, look, name, count):
        """A look with a slider at each of `count` places, from low to high."""
        high = self.slider(name).high
        return [self.moved(look, {name: shift}) for shift in np.linspace(-high, high, count).tolist()]

    def _row(self, looks, size):
        routes, found = self._routes(looks[-1]), []
        for look in looks:
            found.append(self._pictured(look, routes, size))
            yield
        return found

    def _code(self, look):
        routes = self._routes(look)
        return self._ask("code", lambda: self.world.renderer.code(look, routes).cpu().contiguous().clone())
