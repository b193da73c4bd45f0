"""Hopenet: the head's pose (Ruiz, Chong and Rehg, CVPRW 2018, arXiv 1710.00925)."""

import torch
from torch import nn

from lib.judges.faces.checkpoints import Checkpoint
from lib.judges.faces.frames import for_imagenet
from lib.judges.faces.residual_trunk import SIDE, ResNet50Trunk

BINS = 66  # of three degrees each, from -99 to 99


class Hopenet(ResNet50Trunk):
    """forward: (B, 3, 224, 224), ImageNet's mean and deviation -> logits (B, 3, 66) of yaw, pitch and roll."""

    checkpoint = Checkpoint("hopenet", "hopenet_alpha2.pkl")
    names = ("yaw", "pitch", "roll")
    units = ("degrees",) * 3
    ranges = tuple((-degrees, degrees) for degrees in (63.0, 28.6, 17.2))  # 1.1, 0.5 and 0.3 radians

    def __init__(self):
        super().__init__()
        self.fc_yaw, self.fc_pitch, self.fc_roll = (nn.Linear(2048, BINS) for _ in range(3))
        self.fc_finetune = nn.Linear(2048 + 3, 3)  # lies in the file; the published network does not use it

    def forward(self, images):
        pooled = self.pooled(images)
        return torch.stack([self.fc_yaw(pooled), self.fc_pitch(pooled), self.fc_roll(pooled)], 1)

    def prepare(self, frames):
        return for_imagenet(frames.crops(SIDE))

    def read(self, frames):
        """`Frames` of B images -> (B, 3)"""
        return degrees(self(self.prepare(frames)))

    def features(self, frames):
        """`Frames` of B images -> (B, 2048)"""
        return self.pooled(self.prepare(frames))


def degrees(logits):
    """(B, 3, 66) -> (B, 3): the bins' expectation, section 3.2 of the paper."""
    return 3 * (logits.softmax(2) @ torch.arange(BINS, dtype=logits.dtype, device=logits.device)) - 99
