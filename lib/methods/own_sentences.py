"""Paths of sentences that were not trained: the closed form of `text_start`, for one dipole among an experiment's own.

A new dipole is kept apart from the experiment's, as these are from each other, except from those that ask for nearly
the same. Each new one is found by itself, so that its path does not depend on what else was asked.
"""

import threading
from dataclasses import dataclass, fields

import torch

from lib.config import CLIP_OF, DEFAULT_CLIP
from lib.dipoles import PARALLEL, check_dipole, encode_dipoles, examine_dipoles, text_differences
from lib.latent_space import jung_radius, latent_space, limit_resolution
from lib.methods.contraclip import ContraCLIPSettings
from lib.methods.paired import FURTHEST
from lib.methods.text import Text
from lib.methods.text_start import TextStart, is_measured
from lib.settings import GeneratorSettings
from models.clip_encoder import load_clip
from models.errors import UserError, quoted

LONGEST = 500  # characters of a sentence: more than any CLIP reads
USUAL_MULTIPLE = 3.0  # of a path's natural shift, where no experiment has measured how far its paths go


@dataclass(frozen=True)
class Found:
    """The path of a dipole. start: its `TextStart`, of one path; reach: how far it goes in either direction, in units
    of the space; remarks: lines about the sentences."""

    dipole: tuple
    start: TextStart
    reach: float
    remarks: tuple


class OwnSentences:
    """Finds paths of new dipoles in the space of an experiment.

    settings: `ContraCLIPSettings` of the method text. space: where the paths run; seen: the same, with the images that
    CLIP is shown, smaller where the experiment was trained on smaller ones.
    """

    def __init__(self, generator, settings, labels=(), clip_encoder=None):
        """settings: an experiment's, of any method: where its paths run, and the CLIP where it has one. labels: its
        paths'; names say nothing here. clip_encoder: that CLIP, if it is loaded already; else it is loaded when it is
        first needed."""
        own = {one.name: getattr(settings, one.name) for one in fields(GeneratorSettings)}
        clip_model = getattr(settings, "clip_model", None) or CLIP_OF.get(settings.gan, DEFAULT_CLIP)
        values = Text.defaults({}, generator.family) | own
        self.settings = ContraCLIPSettings(**values | {
            "method": "text", "stylegan_layer": settings.stylegan_layer, "clip_model": clip_model,
            "synthesis_resolution": settings.synthesis_resolution, "seed": settings.seed,
        })  # fmt: skip
        self.among = [tuple(label) for label in labels if not isinstance(label, str)]
        where = settings.stylegan_space, settings.stylegan_layer, settings.truncation, settings.biggan_target_classes
        self.space, self.seen = latent_space(generator, *where), latent_space(generator, *where)
        if settings.synthesis_resolution is not None:
            limit_resolution(self.seen, settings.synthesis_resolution)
        self._known = getattr(settings, "jung_radius", None), getattr(settings, "walk_length", None)
        self._encoder, self._radius, self._response, self._features = clip_encoder, None, None, None
        self._loading = threading.Lock()

    @property
    def encoder(self):
        """The CLIP. Raises UserError where it cannot be loaded."""
        with self._loading:  # one CLIP for all threads
            if self._encoder is None:
                self._encoder = load_clip(self.settings.clip_model, self.space.device)
        return self._encoder

    @property
    def radius(self):
        if self._radius is None:
            self._radius = self._known[0] or jung_radius(self.space, self.settings.seed)
        return self._radius

    def is_ready(self):
        """Whether the response of the generator need not be measured first. Raises UserError as `encoder` does."""
        if self._response is not None:
            return True
        return is_measured(self.radius, self._method().response_names(), self.settings.seed)

    def prepare(self, progress=None):
        """Measure the response of the generator, where the cache lacks it. progress(images, of all): is told how far it
        is, and may raise to end it."""
        if self._response is None:
            self._response = self._method().response(self.radius, progress)
            self._features = encode_dipoles(self.among, self.encoder, tell=lambda line: None) if self.among else None

    def find(self, first, second):
        """The path from `second` to `first`, as `Found`. Raises UserError where they are no dipole, where the CLIP does
        not read or tell them, and where it cannot be loaded."""
        for sentence in (first, second):
            if isinstance(sentence, str) and len(sentence) > LONGEST:
                raise UserError(f"{quoted(sentence)} has {len(sentence):,} characters: shorten it")
        dipole, remarks = check_dipole([first, second], "your sentences"), []
        features = encode_dipoles([dipole], self.encoder, remarks.append)
        examine_dipoles([dipole], features, remarks.append)
        self.prepare()
        features = self._beside(features)
        start = TextStart.fit(self._response, features.cpu())
        shifts = start.natural_shifts()
        reach = min(self._multiple(shifts) * shifts[-1].item(), FURTHEST * self.radius)
        return Found(dipole, start.of_path(-1), reach, tuple(remarks))

    def _method(self):
        method = Text(self.settings, self.seen, [])
        method.clip_encoder = self.encoder
        return method

    def _beside(self, features):
        """The features (K, 2, E) of the dipoles that a new one (1, 2, E) is kept apart from, followed by its own."""
        if self._features is None:
            return features
        cosines = text_differences(self._features) @ text_differences(features)[0]
        return torch.cat([self._features[cosines.abs() <= PARALLEL], features])

    def _multiple(self, shifts):
        """How many times its natural shift a path goes: as the experiment's own paths do on average."""
        _, length = self._known
        return length / shifts[:-1].median().item() if length and len(shifts) > 1 else USUAL_MULTIPLE
