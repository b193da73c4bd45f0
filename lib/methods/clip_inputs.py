"""What of an image CLIP is shown, where it is not just the whole image (`CLIPEncoder.encode_images`)."""

import torch
import torch.nn.functional as F
from torchvision.transforms import InterpolationMode, RandomPerspective
from torchvision.transforms.functional import center_crop, perspective, resize

from models.errors import UserError

UPSAMPLING, CELLS = 7, 32  # 224 pixels are 7 * 32
DISTORTION = 0.5  # share of half the image that a corner of a view may lie inwards


def styleclip_input(images):
    """Images (B, 3, S, S) -> what StyleCLIP's code shows CLIP: (B, 3, 224, 224), in the images' own range.

    Each pixel seven times, then means of S / 32 pixels a side. Neither [0, 1] nor CLIP's mean and deviation follow, by
    a slip (StyleCLIP's issue 38). Raises UserError where S is not a multiple of 32.

    Both steps are one matrix for rows and columns, so that the large image is never made.
    """
    side = images.shape[-1]
    if side % CELLS:
        raise UserError(f"--clip-input=published takes images whose side is a multiple of {CELLS} pixels, not {side}")
    pooling = styleclip_pooling(side).to(images)
    return pooling @ images @ pooling.T


def styleclip_pooling(side):
    """The matrix (224, side) of nearest upsampling by 7 and average pooling by side / 32."""
    size, outputs = side // CELLS, UPSAMPLING * CELLS
    columns = (torch.arange(outputs)[:, None] * size + torch.arange(size)) // UPSAMPLING
    return torch.zeros(outputs, side).scatter_add_(1, columns, torch.full(columns.shape, 1 / size))


def draw_views(count, side, generator):
    """The corners of random perspectives of images of `side` pixels: (count, 2, 4, 2), from and to, x before y.

    As torchvision draws them: a corner goes inwards by up to a quarter of the side in each direction.
    """
    corners = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator.initial_seed())
        for _ in range(count):
            torch.rand(1)  # by which RandomPerspective decides, at a probability of 1, to change the image
            corners.append(RandomPerspective.get_params(side, side, DISTORTION))
    return torch.tensor(corners)


def views_of(images, corners):
    """Images (B, 3, S, S) in [-1, 1], corners (V, 2, 4, 2) -> views (B, V, 3, S, S), with grey around them.

    All images share the perspectives.
    """
    views = [perspective(images, first.tolist(), last.tolist(), InterpolationMode.BILINEAR, [0.0] * 3)
             for first, last in corners]  # fmt: skip
    return torch.stack(views, dim=1)


def shortened(images, side):
    """Images (B, 3, H, W) -> (B, 3, side, side) by bicubic interpolation that does not average over the pixels that it
    skips, as torchvision did until 2022."""
    return center_crop(resize(images, side, InterpolationMode.BICUBIC, antialias=False), side)


def quantised(images):
    """Images, nominally in [-1, 1], through 8 bits, as StyleCLIP's scripts hand them on: rounded down."""
    return ((images.clamp(-1, 1) + 1) * 127.5).floor() / 127.5 - 1


def pooled_to(images, side):
    """Images brought to a side by adaptive average pooling, unless that is their height."""
    return images if images.shape[2] == side else F.adaptive_avg_pool2d(images, side)
