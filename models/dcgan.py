"""DCGAN generator: z -> 4x4 -> ... -> image, by transposed convolutions alone.

"Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks" (Radford et al., 2016),
as PyTorch's tutorial builds it, of any depth and width. Batch norm takes stored statistics, so it is an affine map of
each channel: `models.formats.dcgan` folds it into the convolution before it. An image is a function of its z alone.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from models.frozen import transposed
from models.frozen.layers import Prepared, are_fixed
from models.frozen.transposed import transposed_convolution
from models.registry import FAMILIES

KERNEL = 4  # pixels a side, of every layer
COLOURS = 3


class ActivatedTransposed(nn.Module):
    """Transposed convolution with 4x4 weights, then ReLU or tanh: (B, in, H, W) -> (B, out, 2H, 2W), or, as the first
    one, a single pixel -> 4x4."""

    def __init__(self, in_channels, out_channels, first, activation="relu"):
        super().__init__()
        weight = torch.randn(in_channels, out_channels, KERNEL, KERNEL)
        # Each pixel sums over one tap of the first layer's kernel, and over four of the others'.
        self.weight = nn.Parameter(weight * math.sqrt(2 / (in_channels * (1 if first else 4))))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.first, self.activation = first, activation
        self._prepared = Prepared()

    def forward(self, x):
        if are_fixed((self.weight, self.bias), x):
            convolution = self._prepared.of(self.weight, lambda weight: transposed_convolution(weight, self.first))
            return transposed.ActivatedTransposed.apply(x, self.bias, convolution, self.activation)
        stride, padding = (1, 0) if self.first else (2, 1)
        x = F.conv_transpose2d(x, self.weight, self.bias, stride, padding)
        return F.relu(x) if self.activation == "relu" else torch.tanh(x)


class DCGAN(nn.Module):
    """DCGAN generator: z (B, z_dim) -> images (B, 3, R, R) in [-1, 1]."""

    family = FAMILIES["DCGAN"]

    def __init__(self, z_dim, channels):
        """channels: feature maps at 4, 8, .. pixels, up to the resolution, where they are the image's three."""
        super().__init__()
        self.z_dim = z_dim
        self.resolution = 2 << len(channels)
        self.num_layers = len(channels)
        widths = [z_dim, *channels[:-1], COLOURS]
        for i in range(self.num_layers):
            activation = "tanh" if i == self.num_layers - 1 else "relu"
            layer = ActivatedTransposed(widths[i], widths[i + 1], first=i == 0, activation=activation)
            self.add_module(f"transposed{i}", layer)

    @staticmethod
    def recognises(keys):
        return any(key.startswith("transposed") for key in keys)

    @staticmethod
    def settings(shapes):
        """The constructor's arguments, read off a state dict's shapes {key: shape}."""
        layers = sum(key.startswith("transposed") and key.endswith(".weight") for key in shapes)
        return shapes["transposed0.weight"][0], [shapes[f"transposed{i}.weight"][1] for i in range(layers)]

    @property
    def image_sizes(self):
        """It makes the whole image only."""
        return [self.resolution]

    @property
    def feature_layers(self):
        """Names of the layers that `features_from_z` knows, in the order of computation; the last one makes the
        image."""
        return [f"layer{i}" for i in range(self.num_layers)]

    def entry_weights(self):
        """The weight of the only layer that sees z, as a matrix (channels * pixels, z_dim)."""
        return [self.transposed0.weight.flatten(1).T]

    def truncate(self, z, psi):
        """Standard normal z (B, z_dim) -> those of a distribution `psi` times as wide."""
        return z if psi == 1 else psi * z

    def from_z(self, z, psi=1.0, resolution=None):
        """As `forward`: what goes in is truncated already, so psi is 1, and there is one resolution."""
        return self(z)

    def features_from_z(self, z, psi, layer):
        """z (B, z_dim) -> activations of one of `feature_layers` (B, C, H, W); no layer behind it is computed."""
        return self.activations(z, int(layer.removeprefix("layer")))

    def activations(self, z, last):
        """z (B, z_dim) -> what layer `last` gives (B, C, H, W)."""
        x = z[:, :, None, None]
        for i in range(last + 1):
            x = getattr(self, f"transposed{i}")(x)
        return x

    def forward(self, z):
        return self.activations(z, self.num_layers - 1)
