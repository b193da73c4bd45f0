"""Five attributes of CelebA in six ordered classes each, from Talk-to-Edit (Jiang et al., ICCV 2021, arXiv 2109.04425).

The heads keep the names of CelebA's yes/no attributes, but their classes count otherwise: those of "No_Beard" count
the beard, those of "Young" the age.
"""

import torch
from torch import nn

from lib.judges.faces.checkpoints import Checkpoint
from lib.judges.faces.frames import for_imagenet, shorten
from lib.judges.faces.residual_trunk import SIDE, ResNet50Trunk

HEADS = ("06Bangs", "16Eyeglasses", "25No_Beard", "32Smiling", "40Young")
CLASSES = 6


class CelebAAttributes(ResNet50Trunk):
    """forward: whole images (B, 3, H, W), ImageNet's mean and deviation -> logits (B, 5, 6)."""

    checkpoint = Checkpoint("celeba_attributes", "eval_predictor.pth.tar")
    names = ("celeba_bangs", "celeba_eyeglasses", "celeba_beard", "celeba_smiling", "celeba_age")
    units = (f"class, 0 (none) to {CLASSES - 1} (most)",) * 4 + (f"class, 0 (youngest) to {CLASSES - 1} (oldest)",)
    ranges = ((0, CLASSES - 1),) * 5

    def __init__(self):
        super().__init__()
        self.stem = _Dense(2048, 512)
        for head in HEADS:
            setattr(self, f"classifier{head}", nn.Sequential(_Dense(512, 256), nn.Linear(256, CLASSES)))

    def forward(self, images):
        stem = self.stem(self.pooled(images))
        return torch.stack([getattr(self, f"classifier{head}")(stem) for head in HEADS], 1)

    def prepare(self, frames):
        return for_imagenet(shorten((frames.images + 1) / 2, SIDE))

    def read(self, frames):
        """`Frames` of B images -> (B, 5)"""
        return expected_class(self(self.prepare(frames)))

    def features(self, frames):
        """`Frames` of B images -> (B, 2048)"""
        return self.pooled(self.prepare(frames))


class _Dense(nn.Module):
    def __init__(self, width, outputs):
        super().__init__()
        self.fc, self.bn = nn.Linear(width, outputs), nn.BatchNorm1d(outputs)

    def forward(self, x):
        return self.bn(self.fc(x)).relu()


def expected_class(logits):
    """(B, 5, 6) -> (B, 5): Σ i · p_i, which is smooth where the published argmax + max p jumps at a border."""
    return logits.softmax(2) @ torch.arange(CLASSES, dtype=logits.dtype, device=logits.device)
