"""ProgGAN generator, in the layout of the genforce checkpoints.

"Progressive Growing of GANs" (Karras et al., 2018), fully grown: z -> 4x4 -> ... -> image. State dicts have the keys
and shapes of the published genforce files.
"""

import math
import re

import torch
import torch.nn.functional as F
from torch import nn

from models import ops
from models.frozen import layers as frozen_layers
from models.registry import FAMILIES

LEAKY_SLOPE = 0.2


def pixel_norm(x):
    """Scales each pixel to unit mean square over its channels (Karras et al. 2018, section 4.2)."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class Conv(nn.Module):
    """Pixel norm, a convolution with an equalised learning rate, and a leaky ReLU (with slope 1: no activation)."""

    def __init__(self, in_channels, out_channels, kernel_size, padding, gain, slope=LEAKY_SLOPE):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = gain / math.sqrt(in_channels * kernel_size**2)
        self.padding = padding
        self.slope = slope
        self._prepared = frozen_layers.Prepared()

    def forward(self, x):
        return ops.bias_act(self.convolve(pixel_norm(x)), self.bias, slope=self.slope)

    def convolve(self, x):
        if self.padding == 1 and frozen_layers.are_fixed((self.weight, self.bias), x):
            resolution = x.shape[-1]
            convolution = self._prepared.of(
                self.weight, lambda weight: frozen_layers.convolution(weight * self.weight_gain, resolution)
            )
            return frozen_layers.Convolution.apply(x, convolution)
        return F.conv2d(x, self.weight * self.weight_gain, padding=self.padding)


class ProgGAN(nn.Module):
    """ProgGAN generator: z (B, z_dim) -> images (B, 3, R, R), nominally in [-1, 1]."""

    family = FAMILIES["ProgGAN"]

    def __init__(self, z_dim, channels):
        """channels: feature maps at 4, 8, .. pixels, up to the resolution."""
        super().__init__()
        self.z_dim = z_dim
        self.resolution = 2 << len(channels)
        self.num_blocks = len(channels)
        self.register_buffer("lod", torch.zeros(()))
        before = z_dim
        for i, after in enumerate(channels):
            # The first layer sees z as a single pixel, which padding by 3 turns into 4 x 4.
            first = (4, 3) if i == 0 else (3, 1)
            self.add_module(f"layer{2 * i}", Conv(before, after, *first, gain=math.sqrt(2)))
            self.add_module(f"layer{2 * i + 1}", Conv(after, after, 3, 1, gain=math.sqrt(2)))
            self.add_module(f"output{i}", Conv(after, 3, 1, 0, gain=1.0, slope=1.0))
            before = after

    @staticmethod
    def recognises(keys):
        return any(re.match(r"(layer|output)\d", key) for key in keys)

    @staticmethod
    def settings(shapes):
        """The constructor's arguments, read from the shapes {key: shape} of a state dict."""
        blocks = sum(key.startswith("output") and key.endswith(".weight") for key in shapes)
        return shapes["layer0.weight"][1], [shapes[f"layer{2 * i}.weight"][0] for i in range(blocks)]

    @property
    def image_sizes(self):
        """Only one: fully grown, it has no smaller images."""
        return [self.resolution]

    @property
    def feature_layers(self):
        """Names of the layers that `features_from_z` knows, in the order of computation."""
        return [f"layer{i}" for i in range(2 * self.num_blocks)]

    def entry_weights(self):
        """The weight of the only layer that sees z, as a matrix (channels * pixels, z_dim)."""
        return [self.layer0.weight.movedim(1, -1).flatten(0, 2)]

    def from_z(self, z, psi=1.0, resolution=None):
        """As `forward`; without W there is no truncation, so psi is 1."""
        return self(z, resolution)

    def features_from_z(self, z, psi, layer):
        """z (B, z_dim) -> activations of one of `feature_layers` (B, C, H, W); no layer behind it is computed."""
        return self.activations(z, int(layer.removeprefix("layer")))

    def activations(self, z, last):
        """z (B, z_dim) -> what convolution `last` gives (B, C, H, W), of 0 to 2 * num_blocks - 1."""
        x = z[:, :, None, None]
        for i in range(last + 1):
            if i > 0 and i % 2 == 0:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = getattr(self, f"layer{i}")(x)
        return x

    def forward(self, z, resolution=None):
        """A smaller `resolution` gives the image of the network as it was before it grew beyond that size."""
        last = self.num_blocks - 1 if resolution is None else resolution.bit_length() - 3
        return getattr(self, f"output{last}")(self.activations(z, 2 * last + 1))
