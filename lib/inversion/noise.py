"""The noise of a StyleGAN2, while a code is sought (Karras et al. 2020, arXiv:1912.04958, appendix D).

A picture has detail that belongs to no code, such as the exact place of each hair. Where the noise may take it, the
code need not. A loss on what the noise's pixels have in common with their neighbours, at all scales, keeps it from
taking more. In the end it is given up: an image here is a function of its code alone, with the noise of the generator's
file.
"""

import copy

import torch
import torch.nn.functional as F

from models.stylegan2 import StyledLayer

SMALLEST = 8  # pixels


def with_noise_of_its_own(generator):
    """A copy of a generator that shares its weights, but whose layers may be given other noise."""
    return copy.deepcopy(generator, {id(weight): weight for weight in generator.parameters()})


def noisy_layers(generator):
    """The layers of a generator whose noise has any strength."""
    return [layer for layer in generator.modules() if isinstance(layer, StyledLayer) and layer.noise_strength != 0]


def correlation(noise):
    """The squared correlation (B,) of noise (B, 1, H, W) with its neighbours to the right and below, summed over its
    scales, each half as large as the one before."""
    total = 0
    while True:
        for axis in (2, 3):
            total = total + (noise * noise.roll(1, axis)).mean(dim=(1, 2, 3)).square()
        if noise.shape[-1] <= SMALLEST:
            return total
        noise = F.avg_pool2d(noise, 2) * 2


@torch.no_grad()
def normalise(noise):
    """Give each map of noise (B, 1, H, W) mean 0 and deviation 1, in place."""
    noise -= noise.mean(dim=(1, 2, 3), keepdim=True)
    noise *= noise.square().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12).rsqrt()
