"""The population of drawn portraits that the embedded generators learn: a latent code determines a portrait's factors.

Each factor is the cumulative normal distribution function of the code's coordinate along a direction of its own, a row
of a fixed random orthonormal matrix. So codes from N(0, I) have independent factors.
"""

import torch
import torch.nn.functional as F
from tqdm import tqdm

from lib.files import save_tensors
from lib.judges.portrait_factors import FACTORS
from scripts.portraits.renderer import render

Z_DIM = 32
RESOLUTION = 64
# Most people do not cry, wear glasses or wrinkle their nose: these factors are u ** exponent instead of a uniform u.
RARITY = {"tears": 4.0, "glasses": 2.5, "nose_wrinkle": 2.0}
# People who sit for a portrait keep their head about straight, and few have extreme shapes, so these factors use a part
# of [0, 1]. They move every line of a face, and would otherwise take most of a small generator's capacity.
RANGES = {"head_tilt": (0.35, 0.65), "head_turn": (0.3, 0.7), "face_width": (0.25, 0.75), "eye_size": (0.35, 0.85)}


def projection():
    """The orthonormal matrix (Z_DIM, Z_DIM) whose first 25 rows read the factors from codes; the others are unused."""
    generator = torch.Generator().manual_seed(2022)
    return torch.linalg.qr(torch.randn(Z_DIM, len(FACTORS), generator=generator), mode="complete").Q.T


def coordinates(z):
    """Latent codes z (B, Z_DIM), of any length -> Z_DIM independent numbers, uniform in [0, 1]."""
    z = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True))  # generators see only the direction of a code
    return torch.special.ndtr(z @ projection().T)


def factors_of(z):
    """Latent codes z (B, Z_DIM) -> factors (B, 25) in [0, 1]."""
    exponents = torch.tensor([RARITY.get(name, 1.0) for name in FACTORS])
    low, high = torch.tensor([RANGES.get(name, (0.0, 1.0)) for name in FACTORS]).T
    return low + (high - low) * coordinates(z)[:, : len(FACTORS)] ** exponents


def render_uint8(factors, description="portraits"):
    """Factors (N, 25) -> images (N, 3, 64, 64) uint8."""
    chunks = factors.split(64)
    bar = tqdm(chunks, desc=description, unit="batch", disable=len(chunks) == 1)
    return torch.cat([((render(chunk, RESOLUTION) + 1) * 127.5).round().to(torch.uint8) for chunk in bar])


def draw_pairs(count, seed):
    """`count` pairs of a latent code (count, Z_DIM) and its portrait (count, 3, 64, 64) uint8."""
    z = torch.randn(count, Z_DIM, generator=torch.Generator().manual_seed(seed))
    return z, render_uint8(factors_of(z))


def load_pairs(work, count):
    """The training pairs, made once and kept in `work`."""
    cache = work / f"pairs_{count}.pt"
    if not cache.exists():
        save_tensors(draw_pairs(count, seed=1), cache)
    return torch.load(cache, weights_only=True, mmap=True)


def to_float(images):
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return images.float() / 127.5 - 1


def halved(state):
    """A state dict with its floats in half precision, as weights are stored in the repository."""
    return {key: value.half() if value.is_floating_point() else value for key, value in state.items()}


def augment(images, generator):
    """Images (B, n, 3, H, W) in [-1, 1] with the faults of generated ones: contrast, brightness, blur and noise.

    The n images of an item are changed in the same way, except for the noise.
    """
    per_item = (len(images), 1, 1, 1, 1)
    contrast = 1 + 0.1 * torch.randn(per_item, generator=generator)
    brightness = 0.06 * torch.randn(per_item, generator=generator)
    blurred = F.avg_pool2d(F.pad(images.flatten(0, 1), (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(images)
    images = torch.lerp(images, blurred, torch.rand(per_item, generator=generator).square())
    noise = torch.randn(images.shape, generator=generator)
    return images * contrast + brightness + 0.03 * torch.rand(per_item, generator=generator) * noise
