"""What an inversion makes small: how far images are from the pictures that they should look like.

    pixels      the absolute difference of pixels, averaged over a picture at three scales
    lpips       the same, and LPIPS, which looks at what a classifier sees of both
    clip:NAME   the same, and one minus the cosine of a CLIP's features of both

Pixels always count: networks alone leave colours and places open.
"""

import torch
import torch.nn.functional as F

from models.errors import UserError, quoted

PIXELS, LPIPS, CLIP = "pixels", "lpips", "clip:"
SCALES = 1, 2, 4  # pixels a side that are averaged
LPIPS_SIDE = 256  # larger pictures are averaged down to it, as StyleGAN2's projector does
LPIPS_BACKBONE = "vgg"


def pixels(images, targets):
    """The mean absolute difference of images (B, 3, R, R), at the mean of SCALES: (B,)."""
    found = [(pooled(images, scale) - pooled(targets, scale)).abs().mean(dim=(1, 2, 3)) for scale in SCALES]
    return torch.stack(found).mean(dim=0)


def pooled(images, scale):
    return images if scale == 1 else F.avg_pool2d(images, scale)


class Pixels:
    """targets (B, 3, R, R) -> a function of images (B, 3, R, R), differentiable, that gives distances (B,)."""

    def to(self, targets):
        return lambda images: pixels(images, targets)


class Lpips(Pixels):
    def __init__(self, device):
        from lib.judges.perceptual import load_lpips

        self.network = load_lpips(LPIPS_BACKBONE, device)

    def to(self, targets):
        small = self._small(targets)
        return lambda images: pixels(images, targets) + self.network(self._small(images), small)

    def _small(self, images):
        scale = max(1, images.shape[-1] // LPIPS_SIDE)
        return pooled(images, scale)


class Clip(Pixels):
    def __init__(self, name, device):
        from models.clip_encoder import load_clip

        self.encoder = load_clip(name, device)

    def to(self, targets):
        with torch.no_grad():
            features = F.normalize(self.encoder.encode_images(targets), dim=1)

        def distance(images):
            cosines = (F.normalize(self.encoder.encode_images(images), dim=1) * features).sum(dim=1)
            return pixels(images, targets) + 1 - cosines

        return distance


def default_comparison():
    """LPIPS where its weights are on this machine, else pixels."""
    from lib.judges.perceptual import has_weights

    return LPIPS if has_weights(LPIPS_BACKBONE) else PIXELS


def load_comparison(name, device="cpu"):
    """The comparison of a name. Raises UserError where there is none, and where its weights are not here."""
    if name == PIXELS:
        return Pixels()
    if name == LPIPS:
        return Lpips(device)
    if name.startswith(CLIP) and name != CLIP:
        return Clip(name.removeprefix(CLIP), device)
    raise UserError(f"{quoted(name)} is not a comparison: it is {PIXELS}, {LPIPS} or {CLIP}NAME")
