"""VGG-19 (Simonyan & Zisserman 2015), whose deepest activations CF-CLIP keeps near to those of the unedited image."""

import torch.nn.functional as F
from torch import nn

from lib.judges.faces.checkpoints import Checkpoint

WIDTHS = (64, 128, 256, 512, 512)  # of the convolutions of each block
COUNTS = (2, 2, 4, 4, 4)
MEAN_BGR = (0.40760392, 0.45795686, 0.48501961)  # of the colours in [0, 1]
SCALE = 255
LAST = (5, 2)  # block and convolution that are read


class VGG19(nn.Module):
    """forward: images (B, 3, H, W) in [-1, 1] -> activations relu5_2 (B, 512, H / 16, W / 16).

    The module is laid out as the published file, whose convolutions behind relu5_2 are not used.
    """

    checkpoint = Checkpoint("vgg19", "vgg19_conv.pth")

    def __init__(self, widths=WIDTHS):
        super().__init__()
        before = 3
        for block, (width, count) in enumerate(zip(widths, COUNTS), start=1):
            for i in range(1, count + 1):
                self.add_module(f"conv{block}_{i}", nn.Conv2d(before, width, 3, padding=1))
                before = width

    def forward(self, images):
        mean = images.new_tensor(MEAN_BGR).view(-1, 1, 1)
        x = ((images.flip(1) + 1) / 2 - mean) * SCALE
        for block, count in enumerate(COUNTS, start=1):
            if block > 1:
                x = F.max_pool2d(x, 2)
            for i in range(1, count + 1):
                x = getattr(self, f"conv{block}_{i}")(x).relu()
                if (block, i) == LAST:
                    return x
        raise AssertionError("no convolution is the last")
