"""Images as pixels, by the one rule that all pictures follow."""

import torch

from models.errors import UserError


def to_uint8(images):
    """Images (..., 3, H, W), floats in [-1, 1], as pixels (..., H, W, 3) uint8 in a numpy array.

    The rule is fixed, round((x + 1) * 127.5), and independent of an image's own range, so that frames stay comparable.
    Values beyond [-1, 1] are clamped. Raises UserError if a value is NaN.
    """
    images = torch.as_tensor(images).detach().float()
    if images.isnan().any():
        raise UserError("an image contains NaN: the generator or its latent code is broken, or a path too long")
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.movedim(-3, -1).contiguous().cpu().numpy()


def to_images(pixels):
    """The inverse of `to_uint8`: pixels (..., H, W, 3) uint8 in a numpy array -> images (..., 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels).movedim(-1, -3) / 127.5 - 1
