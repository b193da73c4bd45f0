"""Sliders: what each moves, how far, and what is known of it."""

import hashlib
from dataclasses import dataclass

from lib.exploring.rendering import STEPS, Route
from lib.pages.measured import find_measured
from models.files import sha256


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
    def title(self):
        return f"{self.second} → {self.first}" if self.second else self.first

    def __hash__(self):
        return hash(self.id)


def sliders_of(experiment):
    """[(slider, route), ...] of a `Trained`'s paths."""
    reach = float(f"{STEPS * experiment.step(STEPS):.3g}")  # the end of its widget too, which has few digits
    measured = find_measured(experiment.directory / "results" / "any" / "any", experiment.labels)
    name, weights = experiment.directory.resolve().name if experiment.weights else "", _weights_hash(experiment)
    found = []
    for k, label in enumerate(experiment.labels):
        first, second = (label, "") if isinstance(label, str) else label
        slider = Slider(
            id=f"{weights[:12]}-{k}",
            first=first,
            second=second,
            high=reach,
            space=experiment.space.name,
            method=experiment.settings.method,
            experiment=name,
            measured=measured.entry(label) if measured else None,
        )
        found.append((slider, Route(experiment.space, experiment.paths, k, reach)))
    return found


def _weights_hash(experiment):
    """The SHA-256 of an experiment's file of paths, or where it has none of their weights: links name sliders by it."""
    if experiment.weights:
        return sha256(experiment.weights)
    digest = hashlib.sha256()
    for key, value in sorted(experiment.paths.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
