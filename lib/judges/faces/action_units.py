"""Intensities of facial action units: a face-alignment network with a light hourglass behind it, trained on DISFA.

WarpedGANSpace (Tzelepis et al., ICCV 2021, arXiv 2109.13357) publishes the weights; the first network is that of Bulat
and Tzimiropoulos (ICCV 2017, arXiv 1703.07332).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from lib.judges.faces.checkpoints import Checkpoint
from lib.judges.faces.frames import SIDE

ACTION_UNITS = {
    1: "inner_brow_raiser",
    2: "outer_brow_raiser",
    4: "brow_lowerer",
    5: "upper_lid_raiser",
    6: "cheek_raiser",
    9: "nose_wrinkler",
    12: "lip_corner_puller",
    15: "lip_corner_depressor",
    17: "chin_raiser",
    20: "lip_stretcher",
    25: "lips_part",
    26: "jaw_drop",
}
WIDTH, LANDMARKS, DEPTH = 128, 68, 4


class ActionUnits(nn.Module):
    """forward: (B, 3, 256, 256) in [0, 1] -> heat maps (B, 12, 64, 64)."""

    checkpoint = Checkpoint("au_detector", "disfa_adaptation_f0.pth")
    names = tuple(f"au{unit}_{name}" for unit, name in ACTION_UNITS.items())
    units = ("intensity, 0 to 5",) * len(ACTION_UNITS)
    ranges = ((0, 5),) * len(ACTION_UNITS)

    def __init__(self):
        super().__init__()
        self.fan = _FaceAlignment()
        self.conv1, self.conv2 = _conv1_bn(LANDMARKS, WIDTH), _conv1_bn(WIDTH, WIDTH)
        self.net = _Hourglass(skip_kernel=1)
        self.conv_last = _conv1_bn(WIDTH, WIDTH)
        self.l = nn.Conv2d(WIDTH, len(ACTION_UNITS), 1)

    def forward(self, faces):
        landmarks, features = self.fan(faces)
        return self.l(self.conv_last(self.net(self.conv1(landmarks) + self.conv2(features))))

    def prepare(self, frames):
        return stretched(frames.crops(SIDE))

    def read(self, frames):
        """`Frames` of B images -> (B, 12): each heat map's maximum."""
        return self(self.prepare(frames)).amax((2, 3))


def stretched(images):
    """(B, 3, H, W) with each image mapped from its least to its largest number onto [0, 1]; a flat one becomes 0."""
    least, most = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - least) / (most - least).clamp_min(torch.finfo(images.dtype).eps)


class _FaceAlignment(nn.Module):
    """Faces (B, 3, 256, 256) -> heat maps of 68 landmarks (B, 68, 64, 64), and the features (B, 128, 64, 64) below."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64)
        self.conv2, self.conv3, self.conv4 = _Block(64, 64), _Block(64, WIDTH), _Block(WIDTH, WIDTH)
        self.m0, self.top_m_0 = _Hourglass(), _Block(WIDTH, WIDTH)
        self.conv_last0, self.bn_end0 = nn.Conv2d(WIDTH, WIDTH, 1), nn.BatchNorm2d(WIDTH)
        self.l0 = nn.Conv2d(WIDTH, LANDMARKS, 1)

    def forward(self, faces):
        x = self.conv2(self.bn1(self.conv1(faces)).relu())
        features = self.conv4(self.conv3(F.max_pool2d(x, 2)))
        x = self.top_m_0(self.m0(features))
        return self.l0(self.bn_end0(self.conv_last0(x)).relu()), features


class _Hourglass(nn.Module):
    """Stacks of blocks at five resolutions: at each, what goes by (b1) meets what comes back from below (b2, b3)."""

    def __init__(self, skip_kernel=3):
        super().__init__()
        for level in range(1, DEPTH + 1):
            setattr(self, f"b1_{level}", _Block(WIDTH, WIDTH, skip_kernel))
            setattr(self, f"b2_{level}", _Block(WIDTH, WIDTH))
            setattr(self, f"b3_{level}", _Block(WIDTH, WIDTH))
        self.b2_plus_1 = _Block(WIDTH, WIDTH)

    def forward(self, x):
        return self._level(x, DEPTH)

    def _level(self, x, level):
        below = getattr(self, f"b2_{level}")(F.max_pool2d(x, 2))
        below = self.b2_plus_1(below) if level == 1 else self._level(below, level - 1)
        below = getattr(self, f"b3_{level}")(below)
        return getattr(self, f"b1_{level}")(x) + F.interpolate(below, scale_factor=2, mode="nearest")


class _Block(nn.Module):
    """Three convolutions in a row whose results are put side by side, and the input added."""

    def __init__(self, width, outputs, kernel=3):
        super().__init__()
        conv = partial(nn.Conv2d, kernel_size=kernel, padding=kernel // 2, bias=False)
        half, quarter = outputs // 2, outputs // 4
        self.conv1, self.bn1 = conv(width, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = conv(half, quarter), nn.BatchNorm2d(quarter)
        self.conv3, self.bn3 = conv(quarter, quarter), nn.BatchNorm2d(quarter)
        self.downsample = None
        if width != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6()
            )

    def forward(self, x):
        first = F.relu6(self.bn1(self.conv1(x)))
        second = F.relu6(self.bn2(self.conv2(first)))
        third = F.relu6(self.bn3(self.conv3(second)))
        return torch.cat([first, second, third], 1) + (self.downsample(x) if self.downsample else x)


def _conv1_bn(width, outputs):
    return nn.Sequential(nn.Conv2d(width, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU6())
