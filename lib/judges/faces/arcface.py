"""ArcFace: whether two pictures show the same person (Deng et al., CVPR 2019, arXiv 1801.07698).

The network is IR-SE-50 with the weights that pSp, StyleCLIP and CF-CLIP measure and train identity by. Like them it is
fed RGB, although its training data seem to have been stored as BGR: cosines stay comparable with theirs.
"""

import torch.nn.functional as F
from torch import nn

from lib.judges.faces.checkpoints import Checkpoint

SIDE = 112  # pixels of its input
ROWS, COLUMNS = slice(35, 223), slice(32, 220)  # of a frame of 256 pixels
# (width of the input, width of the output, stride) of each unit
UNITS = tuple(
    (before if unit == 0 else width, width, 2 if unit == 0 else 1)
    for before, width, count in ((64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3))
    for unit in range(count)
)


class ArcFace(nn.Module):
    """forward: (B, 3, side, side) in [-1, 1] -> features (B, features) of unit length.

    units, side and features are the published network's by default; narrower ones serve in tests.
    """

    checkpoint = Checkpoint("arcface", "model_ir_se50.pth")

    def __init__(self, units=UNITS, side=SIDE, features=512):
        super().__init__()
        first, last = units[0][0], units[-1][1]
        for _, _, stride in units:
            side = -(-side // stride)
        self.input_layer = nn.Sequential(_conv3(3, first), nn.BatchNorm2d(first), nn.PReLU(first))
        self.body = nn.Sequential(*(_Unit(*unit) for unit in units))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Dropout(),  # which the published keys count
            nn.Flatten(),
            nn.Linear(last * side**2, features),
            nn.BatchNorm1d(features),
        )

    def forward(self, faces):
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=1)

    def features(self, frames):
        """`Frames` of B images -> (B, 512) of unit length; the dot product of two is their cosine."""
        return self(crop(frames.small))


def crop(frames):
    """Frames (B, 3, 256, 256) in [-1, 1] -> (B, 3, 112, 112): a fixed crop, as aligned faces have it."""
    return F.adaptive_avg_pool2d(frames[:, :, ROWS, COLUMNS], SIDE)


class _Unit(nn.Module):
    """An improved residual unit (section 3.1 of the paper) with squeeze and excitation."""

    def __init__(self, width, outputs, stride):
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            _conv3(width, outputs),
            nn.PReLU(outputs),
            _conv3(outputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            _SqueezeExcitation(outputs),
        )
        self.shortcut_layer = None
        if width != outputs:
            projection = nn.Conv2d(width, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = self.shortcut_layer(x) if self.shortcut_layer else x[:, :, :: self.stride, :: self.stride]
        return self.res_layer(x) + shortcut


class _SqueezeExcitation(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(width // 16, width, 1, bias=False)

    def forward(self, x):
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


def _conv3(width, outputs, stride=1):
    return nn.Conv2d(width, outputs, 3, stride, 1, bias=False)
