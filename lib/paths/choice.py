"""Choosing some of an experiment's paths, by their numbers or by words of their sentences."""

import re

import torch

from lib.paths.paths import Paths
from models.errors import UserError, quoted


def chosen_paths(text, labels):
    """The numbers of the paths that "0,smiling" names: number 0, and those with the word in one of their sentences.

    labels: each path's, a pair of sentences or a name. Raises UserError where a part names no path.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        named = [int(part)] if part.isdecimal() and int(part) < len(labels) else _with(part, labels)
        if not named:
            known = ", ".join(f"{k} {label if isinstance(label, str) else label[0]}" for k, label in enumerate(labels))
            raise UserError(f"--paths: no path has the number or the words {quoted(part)}; there are {known}")
        found += named
    return sorted(set(found))


def _with(words, labels):
    pattern = re.compile(rf"\b{re.escape(words)}\b", re.IGNORECASE)
    return [k for k, label in enumerate(labels)
            if any(pattern.search(text) for text in ([label] if isinstance(label, str) else label))]


class ChosenPaths(Paths):
    """Some of the `paths`: path i is their path numbers[i]."""

    def __init__(self, paths, numbers):
        super().__init__()
        self.paths, self.from_start, self.num_paths = paths, paths.from_start, len(numbers)
        self.register_buffer("numbers", torch.tensor(numbers))

    def forward(self, positions, indices):
        return self.paths(positions, self.numbers.to(indices.device)[indices])

    def straight(self):
        offsets = self.paths.straight()
        return None if offsets is None else offsets[self.numbers]
