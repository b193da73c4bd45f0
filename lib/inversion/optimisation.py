"""The search for codes whose images look like given pictures: Adam on offsets in `Coordinates`."""

import copy
import math
import time
from typing import NamedTuple

import torch

from lib.draws import generator_for
from lib.inversion.comparing import load_comparison
from lib.inversion.coordinates import Coordinates, space_of
from lib.inversion.noise import correlation, noise_maps, normalise, with_noise_of_its_own
from lib.inversion.starts import start
from models.errors import UserError

RATE = 0.15  # of Adam, in standard deviations of the space's codes
BETAS = 0.9, 0.99
RAMP_UP = 0.05  # share of the search in which the rate grows; it falls like half a cosine to the end
JITTER, CALM, ANNEAL = 0.0, 0.5, 0.0
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
    distance = load_comparison(settings.compare, sought.device).to(targets)
    with torch.enable_grad():
        codes = Search(sought, targets, settings).run(distance, progress, checkpoint)
    with torch.no_grad():
        images = sought.synthesise(codes)
        distances = distance(images)
    if not distances.isfinite().all():
        raise UserError("the inversion has led to images that are not finite: the generator is broken")
    return Inversion(space.codes_of_w_plus(codes) if space.name == "S" else codes, images, distances)


class Search:
    """What is sought, and how far the search is."""

    def __init__(self, space, targets, settings):
        """space: Z, W or W+. targets (B, 3, R, R), on its device."""
        self.space, self.targets, self.settings = space, targets, settings
        self.coordinates = Coordinates(space)
        self.noise = []
        if settings.noise:
            self.space = copy.copy(space)
            self.space.generator = with_noise_of_its_own(space.generator)
            self.noise = noise_maps(self.space.generator, len(targets))

    def run(self, distance, progress=None, checkpoint=None):
        """The codes at the end. distance: images (B, 3, R, R) -> (B,). progress, checkpoint: as of `invert`."""
        state = checkpoint.load() if checkpoint else None
        self._begin(state)
        while (share := self._share()) < 1:
            distances = self._step(distance, share)
            share = self._share()
            if checkpoint:
                checkpoint.save(self._state, last=share >= 1)
            if progress:
                progress(min(1, share), distances)
        return self.codes().detach()

    def codes(self, share=1.0):
        """Of the offsets; before the end of the search, these are shaken, all pictures' alike."""
        strength = JITTER * max(0.0, 1 - share / CALM) ** 2
        if strength == 0:
            return self.coordinates.codes(self.common, self.layers)
        noise = generator_for(self.settings.seed, STREAM, self.step)
        shaken = self.common + strength * torch.randn(self.common.shape[1:], generator=noise).to(self.common)
        return self.coordinates.codes(shaken, self.layers)

    def _begin(self, state):
        """From the start, or from a `_state` that was saved."""
        shape = (len(self.targets), *self.coordinates.mean.shape)
        self.common, self.layers = torch.zeros(shape, device=self.space.device, requires_grad=True), None
        if self.coordinates.has_layers:
            layers = self.common.detach().expand(-1, self.space.generator.num_layers, -1)
            self.layers = layers.clone().requires_grad_()
        self.sought = [one for one in (self.common, self.layers, *self.noise) if one is not None]
        self.optimizer = torch.optim.Adam(self.sought, betas=BETAS)
        self.step, self.begun = 0, time.monotonic()
        if state is None:
            with torch.no_grad():
                self.common.copy_(start(self.coordinates, self.targets, self.settings))
        else:
            self._restore(state)

    def _state(self):
        """All that the search goes on from, as tensors and numbers."""
        kept = [self.optimizer.state[one] for one in self.sought]
        return {
            "step": self.step,
            "seconds": time.monotonic() - self.begun,
            "values": [one.detach() for one in self.sought],
            "means": [one["exp_avg"] for one in kept],
            "squares": [one["exp_avg_sq"] for one in kept],
        }

    @torch.no_grad()
    def _restore(self, state):
        self.step, self.begun = state["step"], time.monotonic() - state["seconds"]
        for one, value, mean, square in zip(self.sought, state["values"], state["means"], state["squares"]):
            one.copy_(value)
            steps = torch.tensor(float(self.step))
            self.optimizer.state[one] = {"step": steps, "exp_avg": mean.to(one), "exp_avg_sq": square.to(one)}

    def _share(self):
        """How much of the search is done."""
        if self.settings.seconds is None:
            return self.step / self.settings.steps
        return (time.monotonic() - self.begun) / self.settings.seconds

    def _step(self, distance, share):
        """One step; the distances (B,) before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate(share)
        distances = distance(self.space.synthesise(self.codes(share)))
        self.optimizer.zero_grad()
        (distances + self._penalty()).sum().backward()
        self.optimizer.step()
        for noise in self.noise:
            normalise(noise)
        self.step += 1
        return distances.detach()

    def _penalty(self):
        """How unlikely codes and noise are: (B,)."""
        penalty = (PRIOR + ANNEAL * max(0, 1 - self._share() / CALM) ** 2) * self.common.square().mean(dim=(1, 2))
        if self.layers is not None:
            penalty = penalty + LAYERS * self.layers.square().mean(dim=(1, 2))
        for noise in self.noise:
            penalty = penalty + NOISE * correlation(noise)
        return penalty


def rate(share):
    """Adam's learning rate when a share of the search is done."""
    return RATE * min(1, (share + 1e-3) / RAMP_UP) * (0.5 + 0.5 * math.cos(math.pi * share))
