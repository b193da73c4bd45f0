"""WarpedGANSpace's reconstructors: from two images, along which path the second was moved, and how far.

Both see the images side by side on their channels, at full resolution and in the generator's range; neither is
pretrained. State dicts have the keys and shapes of the published ones, without the classifier that ResNet does not use.
"""

import torch
from torch import nn

LEAST_PIXELS = 32  # a side, for LeNet


class Reconstructor(nn.Module):
    """Features of two images, and a head each for the path and the magnitude."""

    def heads(self, features):
        """Features (B, F) -> logits of the paths (B, K), signed magnitudes (B,)."""
        return self.path_indices(features), self.shift_magnitudes(features)[:, 0]


class LeNet(Reconstructor):
    """Three convolutions of 5x5 pixels with batch norm (after LeCun et al. 1998)."""

    def __init__(self, num_paths, channels=3):
        super().__init__()
        self.feature_extractor = nn.Sequential(
            nn.Conv2d(2 * channels, 6, 5), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 120, 5), nn.BatchNorm2d(120), nn.ReLU(),
        )  # fmt: skip
        self.path_indices = self._head(num_paths)
        self.shift_magnitudes = self._head(1)

    @staticmethod
    def _head(width):
        return nn.Sequential(nn.Linear(120, 84), nn.BatchNorm1d(84), nn.ReLU(), nn.Linear(84, width))

    def forward(self, image, shifted):
        """Images (B, C, H, W) x 2 -> logits of the paths (B, K), signed magnitudes (B,)."""
        return self.heads(self.feature_extractor(torch.cat([image, shifted], dim=1)).mean(dim=(2, 3)))


class ResNet(Reconstructor):
    """ResNet-18 (He et al. 2016) with a first convolution for two images."""

    def __init__(self, num_paths, channels=3):
        from torchvision.models import resnet18

        super().__init__()
        self.features_extractor = resnet18(weights=None)
        first = nn.Conv2d(2 * channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        self.features_extractor.conv1, self.features_extractor.fc = first, nn.Identity()
        self.path_indices = nn.Linear(512, num_paths)
        self.shift_magnitudes = nn.Linear(512, 1)

    def forward(self, image, shifted):
        """Images (B, C, H, W) x 2 -> logits of the paths (B, K), signed magnitudes (B,)."""
        return self.heads(self.features_extractor(torch.cat([image, shifted], dim=1)))


RECONSTRUCTORS = {"LeNet": LeNet, "ResNet": ResNet}
