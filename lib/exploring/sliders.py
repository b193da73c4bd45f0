"""Sliders: what each moves, how far, and what is known of it."""

import hashlib
from dataclasses import dataclass

import torch

from lib.exploring.rendering import STEPS, Route
from lib.pages.measured import find_measured
from models.files import sha256

STOPS = 50  # of a slider in either direction


@dataclass(frozen=True)
class Slider:
    """first, second: a path's sentences, of which positive shifts lead to the first; a path with a name has it in
    `first`, and no second. high = -low: how far a walk goes, in units of the space. measured: the path's entry in the
    summary of evaluate.py, or None. experiment: the name of its directory; own: whether a visitor typed the sentences.
    """

    id: str
    first: str
    second: str
    high: float
    space: str
    method: str
    experiment: str = ""
    measured: dict | None = None
    own: bool = False

    @property
    def low(self):
        return -self.high

    @property
    def step(self):
        return self.high / STOPS

    @property
    def title(self):
        return f"{self.second} → {self.first}" if self.second else self.first

    def __hash__(self):
        return hash(self.id)


def sliders_of(experiment):
    """[(slider, route), ...] of a `Trained`'s paths."""
    reach = STEPS * experiment.step(STEPS)
    measured = find_measured(experiment.directory / "results" / "any" / "any", experiment.labels)
    name, found = experiment.directory.resolve().name if experiment.weights else "", []
    for k, label in enumerate(experiment.labels):
        first, second = (label, "") if isinstance(label, str) else label
        slider = Slider(
            id=f"{_weights_hash(experiment)[:12]}-{k}",
            first=first,
            second=second,
            high=reach,
            space=experiment.space.name,
            method=experiment.settings.method,
            experiment=name,
            measured=measured.summary["paths"][k] if measured else None,
        )
        found.append((slider, Route(experiment.space, experiment.paths, k, reach)))
    return found


def _weights_hash(experiment):
    """What tells an experiment's paths from all others: links name them by it."""
    if experiment.weights:
        return sha256(experiment.weights)
    return paths_hash(experiment.paths)


def paths_hash(paths):
    """The SHA-256 of the weights of paths."""
    digest = hashlib.sha256()
    for key, value in sorted(paths.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().data if isinstance(value, torch.Tensor) else b"")
    return digest.hexdigest()
