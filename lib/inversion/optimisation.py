"""The search for codes whose images look like given pictures: Adam on offsets in `Coordinates`."""

import copy
import math
import time
from typing import NamedTuple

import torch

from lib.draws import generator_for
from lib.inversion.comparing import load_comparison
from lib.inversion.coordinates import Coordinates, space_of
from lib.inversion.noise import correlation, noisy_layers, normalise, with_noise_of_its_own
from lib.inversion.starts import start
from models.errors import UserError

RATE = 0.15  # of Adam, in standard deviations of the space's codes
BETAS = 0.9, 0.99
TRIES_IN_Z = 3  # where a search may get stuck: of one try, a fifth of dcgan_faces64's own samples are not recovered
TRYING = 0.5  # share of the search after which the best try of each picture is left
RAMP_UP = 0.05  # share of the search in which the rate grows; it falls like half a cosine to the end
SHAKEN, CALM = 0.3, 0.3  # deviation of what shakes every second try, and share of the search in which it fades
STREAM = 24  # of `generator_for`
PRIOR = 1e-3  # weight of the mean square of the common offsets
LAYERS = 1e-2  # of that of the layers' own offsets: codes of W+ stay near W where they can (Tov et al. 2021)
NOISE = 1e5  # of the noise's correlation, as in StyleGAN2's projector


class Inversion(NamedTuple):
    """codes, as the space takes them; their images (B, 3, R, R); distances (B,) of these from the targets, as the
    settings compare them."""

    codes: torch.Tensor
    images: torch.Tensor
    distances: torch.Tensor


def invert(space, targets, settings, progress=None, checkpoint=None):
    """Codes of a space whose images look like targets (B, 3, R, R) in [-1, 1], at its resolution: an `Inversion`.

    Each row depends on its own target, but for rounding. settings: `InversionSettings`. progress: called after each
    step with the share of the search that is done and the distances (B,) before the step; what it raises ends the
    search. checkpoint: has load(), which gives what was saved or None, and save(state, last), called after each step:
    a search that goes on from there ends with the same bits, unless its time is limited.

    Raises UserError where space or settings do not fit the generator, where weights are missing, and where the search
    leads to numbers that are not finite.
    """
    sought = space_of(space, settings.stylegan_space)
    side = sought.resolution or sought.generator.resolution
    if tuple(targets.shape[1:]) != (3, side, side):
        raise ValueError(f"targets have shape {tuple(targets.shape)}, expected (B, 3, {side}, {side})")
    targets = targets.to(sought.device, torch.float32)
    comparison = load_comparison(settings.compare, sought.device)
    with torch.enable_grad():
        codes = Search(sought, targets, settings).run(comparison, progress, checkpoint)
    with torch.no_grad():
        images = sought.synthesise(codes)
        distances = comparison.to(targets)(images)
    if not distances.isfinite().all():
        raise UserError("the inversion has led to images that are not finite: the generator is broken")
    return Inversion(space.codes_of_w_plus(codes) if space.name == "S" else codes, images, distances)


class Search:
    """What is sought, and how far the search is. Row t * B + b is the t-th try of picture b."""

    def __init__(self, space, targets, settings):
        """space: Z, W or W+. targets (B, 3, R, R), on its device."""
        self.targets, self.settings, self.coordinates = targets, settings, Coordinates(space)
        self.tries = settings.tries or (TRIES_IN_Z if space.name == "Z" else 1)
        self.plain, self.space, self.noisy = space, space, []
        if settings.noise:
            self.space = copy.copy(space)
            self.space.generator = with_noise_of_its_own(space.generator)
            self.noisy = noisy_layers(self.space.generator)

    def run(self, comparison, progress=None, checkpoint=None):
        """The codes at the end. progress, checkpoint: as of `invert`."""
        state = checkpoint.load() if checkpoint else None
        self._begin(comparison, state)
        while (share := self._share()) < 1:
            if share >= TRYING and self.tries > 1:
                self._keep_best(comparison)
            distances = self._step(share)
            share = self._share()
            if checkpoint:
                checkpoint.save(self._state, last=share >= 1)
            if progress:
                progress(min(1, share), distances.unflatten(0, (self.tries, -1)).amin(dim=0))
        self._keep_best(comparison)
        return self.codes().detach()

    def codes(self, share=1.0):
        """Those of the offsets. Early in the search every second try is shaken, that of all pictures alike."""
        strength = SHAKEN * max(0.0, 1 - share / CALM) ** 2
        if self.tries == 1 or strength == 0:
            return self.coordinates.codes(self.common, self.layers)
        noise = torch.randn(self.common.shape[1:], generator=generator_for(self.settings.seed, STREAM, self.step))
        is_shaken = (torch.arange(len(self.common)) // len(self.targets) % 2)[:, None, None]
        return self.coordinates.codes(self.common + (strength * is_shaken * noise).to(self.common), self.layers)

    def _begin(self, comparison, state):
        """From the start, or from a `_state` that was saved."""
        self.step, self.begun = 0, time.monotonic()
        if state is not None:
            self._check(state)
            self._restore(comparison, state)
            return
        with torch.no_grad():
            common = start(self.coordinates, self.targets, self.settings, self.tries).flatten(0, 1)
        values = [common]
        if self.coordinates.has_layers:
            values.append(torch.zeros_like(common).expand(-1, self.space.generator.num_layers, -1))
        values += [layer.noise.expand(len(common), -1, -1, -1) for layer in self.noisy]
        self._seek(comparison, values)

    def _seek(self, comparison, values):
        """Seek these from now on: common offsets, those of layers, noise."""
        self.sought = [value.detach().to(self.space.device).clone().requires_grad_() for value in values]
        self.common, *others = self.sought
        self.layers = others.pop(0) if self.coordinates.has_layers else None
        for layer, noise in zip(self.noisy, others, strict=True):
            layer.noise = noise
        self.optimizer = torch.optim.Adam(self.sought, betas=BETAS)
        self.tries = len(self.common) // len(self.targets)
        self.distance = comparison.to(self.targets.repeat(self.tries, 1, 1, 1))

    @torch.no_grad()
    def _keep_best(self, comparison):
        """Leave only the try of each picture that is nearest to it."""
        if self.tries == 1:
            return
        images = torch.cat([self.plain.synthesise(part) for part in self.codes().split(len(self.targets))])
        best = self.distance(images).unflatten(0, (self.tries, -1)).argmin(dim=0)
        rows = best * len(best) + torch.arange(len(best), device=best.device)
        state = self._state()
        kept = {name: [one[rows] for one in state[name]] for name in ("values", "means", "squares")}
        self._restore(comparison, state | kept)

    def _state(self):
        """All that the search goes on from, as tensors and numbers."""
        kept = [self.optimizer.state[one] for one in self.sought]  # nothing before the first step
        return {
            "step": self.step,
            "seconds": time.monotonic() - self.begun,
            "values": [one.detach() for one in self.sought],
            "means": [found.get("exp_avg", torch.zeros_like(one)) for found, one in zip(kept, self.sought)],
            "squares": [found.get("exp_avg_sq", torch.zeros_like(one)) for found, one in zip(kept, self.sought)],
        }

    def _check(self, state):
        """Raise UserError where a `_state`, which may come from elsewhere, is not one of this search."""
        shapes = [self.coordinates.mean.shape]
        if self.coordinates.has_layers:
            shapes.append((self.space.generator.num_layers, shapes[0][-1]))
        shapes += [layer.noise.shape[1:] for layer in self.noisy]
        possible = [[(tries * len(self.targets), *shape) for shape in shapes] for tries in (1, self.tries)]
        for name in ("values", "means", "squares"):
            if [tuple(getattr(one, "shape", ())) for one in state[name]] not in possible:
                raise UserError("the checkpoint of this inversion was damaged or is another's: remove it to begin anew")

    def _restore(self, comparison, state):
        self._seek(comparison, state["values"])
        self.step, self.begun = state["step"], time.monotonic() - state["seconds"]
        for one, mean, square in zip(self.sought, state["means"], state["squares"], strict=True):
            steps = torch.tensor(float(self.step))
            self.optimizer.state[one] = {"step": steps, "exp_avg": mean.to(one), "exp_avg_sq": square.to(one)}

    def _share(self):
        """How much of the search is done."""
        if self.settings.seconds is None:
            return self.step / self.settings.steps
        return (time.monotonic() - self.begun) / self.settings.seconds

    def _step(self, share):
        """One step; the distances before it, of each row."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate(share)
        distances = self.distance(self.space.synthesise(self.codes(share)))
        self.optimizer.zero_grad()
        (distances + self._penalty()).sum().backward()
        self.optimizer.step()
        for layer in self.noisy:
            normalise(layer.noise)
        self.step += 1
        return distances.detach()

    def _penalty(self):
        """How unlikely offsets and noise are, of each row."""
        penalty = PRIOR * self.common.square().mean(dim=(1, 2))
        if self.layers is not None:
            penalty = penalty + LAYERS * self.layers.square().mean(dim=(1, 2))
        for layer in self.noisy:
            penalty = penalty + NOISE * correlation(layer.noise)
        return penalty


def rate(share):
    """Adam's learning rate when a share of the search is done."""
    return RATE * min(1, (share + 1e-3) / RAMP_UP) * (0.5 + 0.5 * math.cos(math.pi * share))
