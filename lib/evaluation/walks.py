"""The codes on an experiment's paths: those that a walk has left, or walked now."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lib.paths.tracing import trace
from lib.pools import read_code
from lib.settings import WalkSettings, read_object
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

DECIDING = ("w_space", "shift_steps", "eps", "shift_leap")  # the settings that the codes follow from
LEAST_STEPS = 2  # in either direction: a curve with fewer has no shape


@dataclass(frozen=True)
class Walk:
    """How paths are walked, and the directory that holds the codes if they were."""

    directory: Path  # <exp>/results/<pool>/<settings.name>
    settings: WalkSettings

    @property
    def radii(self):
        """The distances from the start at which codes are known, 0 first: (S + 1)."""
        return np.arange(self.settings.frames_per_path // 2 + 1) * (self.settings.shift_leap * self.settings.eps)

    def steps_read(self, most):
        """Which of the radii are read: at most `most` besides the start, evenly spaced, the last one included."""
        last = len(self.radii) - 1
        return np.unique(np.linspace(0, last, min(most, last) + 1).round().astype(int))


def find_walk(results, step=lambda shift_steps: WalkSettings.eps, paths=None, **asked):
    """The `Walk` below `results` (<exp>/results/<pool>) that the settings name, or one to be walked with them.

    step: shift_steps -> the length of a step of a new walk, if it is not said. paths: the numbers of those that are
    walked; None: all.
    asked: settings of `WalkSettings`; those that are None match any walk that is there. Raises UserError where several
    match, and where the walk has too few steps.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    found = [walk for walk in _walks(results) if walk.settings.paths == paths
             and all(getattr(walk.settings, name) == value for name, value in asked.items())]
    if len(found) > 1:
        names = ", ".join(f"--shift-steps={walk.settings.shift_steps} --eps={walk.settings.eps:g}" for walk in found)
        raise UserError(f"{results} has several walks: say which one ({names})")
    settings = {"eps": step(asked.get("shift_steps", WalkSettings.shift_steps)), "paths": paths} | asked
    settings = WalkSettings(**settings)
    walk = found[0] if found else Walk(results / settings.name, settings)
    steps = len(walk.radii) - 1
    if steps < LEAST_STEPS:
        raise UserError(f"the paths have {steps} image{'s' * (steps != 1)} in either direction, and are measured on "
                        f"{LEAST_STEPS} or more: raise --shift-steps, or lower --shift-leap")
    return walk


def _walks(results):
    """The walks that are there: with their codes, or evaluated before without these."""
    for directory in sorted(results.iterdir()) if results.is_dir() else ():
        made = next(directory.glob("[!.]*/settings.json"), None)
        evaluated = directory / "evaluation" / "summary.json"
        if made:
            yield Walk(directory, WalkSettings.read(read_object(made), made))
        elif evaluated.is_file() and isinstance(settings := read_object(evaluated).get("walk"), dict):
            yield Walk(directory, WalkSettings.read(settings, evaluated))


def paths_from(walk, space, paths, source):
    """All paths from the code in the directory `source` -> the code (1, ...), its paths (K, 2S + 1, ...).

    Those that the walk left, where it did; raises UserError where they are of other paths or another code.
    """
    settings = walk.settings
    start = read_code(source, space, settings.w_space)
    directory = walk.directory / source.name
    if not _is_walked(directory, settings):
        return start, trace(space, paths, start, settings.shift_steps, settings.eps, settings.shift_leap)[0]
    file = directory / "paths_latent_codes.pt"
    codes = load_tensors(file)
    expected = (paths.num_paths, settings.frames_per_path, *start.shape[1:])
    if not isinstance(codes, torch.Tensor) or tuple(codes.shape) != expected:
        found = tuple(codes.shape) if isinstance(codes, torch.Tensor) else type(codes).__name__
        raise UserError(f"{file} has shape {found}, expected {expected}: remove {directory} and walk again")
    codes = codes.to(start)
    if not torch.allclose(codes[:, len(walk.radii) - 1], start, rtol=1e-3, atol=1e-4):
        raise UserError(f"{file} does not begin at the code of {source}: remove {directory} and walk again")
    return start, codes


def _is_walked(directory, settings):
    """Whether a code's directory holds its paths, walked by us with these settings."""
    file = directory / "settings.json"
    if not file.is_file() or not (directory / "paths_latent_codes.pt").is_file():
        return False
    made = WalkSettings.read(read_object(file), file)
    return all(getattr(made, name) == getattr(settings, name) for name in DECIDING)


def ends_at(paths, radii, reach):
    """The codes of paths (K, 2S + 1, ...) at distances reach (K,) on either side: (K, 2, ...), linear between steps."""
    middle = paths.shape[1] // 2
    after = np.clip(np.searchsorted(radii, reach), 1, middle)
    share = (reach - radii[after - 1]) / (radii[after] - radii[after - 1])
    share = torch.as_tensor(share, dtype=paths.dtype, device=paths.device).view(-1, *[1] * (paths.ndim - 2))
    rows = torch.arange(len(paths))
    sides = [torch.lerp(paths[rows, middle + side * (after - 1)], paths[rows, middle + side * after], share)
             for side in (-1, 1)]
    return torch.stack(sides, dim=1)
