"""The judge of drawn portraits: a small CNN that reads their 25 factors.

It was trained on renders alone (`scripts/portraits/scorer.py`) and has seen none of a generator's images.
"""

from itertools import pairwise

import torch
from torch import nn

from lib.judges.judge import Identity, Judge
from lib.judges.portrait_factors import FACTORS, INDEX, own_factor
from models.errors import UserError, quoted
from models.files import sha256
from models.registry import PRETRAINED
from models.untrusted.tensor_files import load_tensors

FILE = PRETRAINED / "portraits" / "factor_scorer.pt"
RESOLUTION = 64
WIDTHS = (3, 32, 64, 96, 128)  # channels at 64, 32, 16, 8 and 4 pixels


class FactorScorer(nn.Module):
    """Images (B, 3, 64, 64) in [-1, 1] -> factors (B, 25), in [0, 1] but for errors."""

    def __init__(self):
        super().__init__()
        blocks = []
        for before, after in pairwise(WIDTHS):
            blocks += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            blocks += [nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(nn.Linear(16 * WIDTHS[-1], 256), nn.ReLU(), nn.Linear(256, len(FACTORS)))

    def forward(self, images):
        return self.head(self.features(images)) + 0.5

    def penultimate(self, images):
        """The activations (B, 256) that the factors are a linear function of."""
        return self.head[:2](self.features(images))


def load_scorer(file=FILE):
    """The frozen scorer of a file, the committed one by default. Raises UserError where the file cannot be read."""
    scorer = FactorScorer()
    scorer.load_state_dict(load_tensors(file))
    return scorer.float().eval().requires_grad_(False)


class PortraitsJudge(Judge):
    """The 25 factors, clamped to [0, 1], which is the width of each: they keep their own scale."""

    scaled = True

    def __init__(self, device="cpu"):
        self.names, self.units = list(FACTORS), ["of its range"] * len(FACTORS)
        self.fingerprint = f"portraits-{sha256(FILE)}"
        self.scorer = load_scorer().to(device)
        self.identity = Identity("factors' distance", "mean of the 25", 0.0, self, _distance)

    @torch.no_grad()
    def __call__(self, images):
        return self.scorer(_checked(images)).clamp(0, 1)

    def own(self, labels):
        """By the captions' words: a dipole that differs in one factor's words has that factor."""
        found = [own_factor(*label) if not isinstance(label, str) else None for label in labels]
        return [own and (INDEX[own[0]], own[1]) for own in found]

    @torch.no_grad()
    def features(self, images):
        return self.scorer.penultimate(_checked(images))


def _checked(images):
    if images.shape[1:] != (3, RESOLUTION, RESOLUTION):
        height, width = images.shape[-2:]
        raise UserError(f"the judge portraits reads images of {RESOLUTION} px, and these have {height} x {width}: "
                        "choose another judge for this generator")
    return images


def _distance(factors, others):
    """Mean absolute difference of the factors: (B, 25), (B, 25) -> (B,)."""
    return (factors - others).abs().mean(dim=1)


def load(argument, request):
    """The judge `portraits`, which has no argument."""
    if argument:
        raise UserError(f"the judge portraits takes nothing after its name, found {quoted(argument)}")
    return PortraitsJudge(request.device)
