"""FairFace: gender, age and race (Karkkainen and Joo, WACV 2021, arXiv 1908.04913).

The file of seven races. The one of four that lies in the same archive has as many outputs, but none for gender and age.
"""

import torch

from lib.judges.faces.checkpoints import Checkpoint
from lib.judges.faces.frames import for_imagenet
from lib.judges.faces.residual_trunk import SIDE, ResNet34

RACES = ("white", "black", "latino_hispanic", "east_asian", "southeast_asian", "indian", "middle_eastern")
GENDERS = ("male", "female")
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
GROUPS = (len(RACES), len(GENDERS), len(AGES))  # of the outputs, in their order
GROWTH = 0.25  # of the face's box


class FairFace(ResNet34):
    """forward: (B, 3, 224, 224), ImageNet's mean and deviation -> logits (B, 18) of `RACES`, `GENDERS` and `AGES`."""

    checkpoint = Checkpoint("fairface", "res34_fair_align_multi_7_20190809.pt")
    names = ("female", "age", *(f"race_{race}" for race in RACES))
    units = ("probability", f"age group, 0 ({AGES[0]}) to {len(AGES) - 1} ({AGES[-1]})", *["probability"] * len(RACES))
    ranges = ((0, 1), (0, len(AGES) - 1), *[(0, 1)] * len(RACES))

    def __init__(self):
        super().__init__(outputs=sum(GROUPS))

    def prepare(self, frames):
        return for_imagenet(frames.crops(SIDE, GROWTH))

    def read(self, frames):
        """`Frames` of B images -> (B, 9)"""
        return numbers(self(self.prepare(frames)))

    def features(self, frames):
        """`Frames` of B images -> (B, 512)"""
        return self.pooled(self.prepare(frames))


def numbers(logits):
    """(B, 18) -> (B, 9): P(female), the expected age group, and the races' probabilities, as race is not a scale."""
    race, gender, age = (group.softmax(1) for group in logits.split(GROUPS, 1))
    groups = torch.arange(len(AGES), dtype=logits.dtype, device=logits.device)
    return torch.cat([gender[:, 1:], (age @ groups)[:, None], race], 1)
