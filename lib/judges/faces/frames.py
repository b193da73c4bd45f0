"""From images to what the face networks see: frames of 256 pixels, and crops around the faces in them.

The steps are those of WarpedGANSpace's evaluation (Tzelepis et al., ICCV 2021, arXiv 2109.13357), but for the crops:
the published script takes x for rows and y for columns.
"""

from functools import cached_property

import torch
from torchvision.transforms.functional import center_crop, normalize, resize

SIDE = 256  # pixels of a frame
MARGIN, MARGIN_BELOW = 50, 30  # pixels of a frame that a crop has beyond the face's box
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Frames:
    """A batch of images, and what is cut out of them.

    images (B, 3, H, W): RGB in [-1, 1]; what lies beyond is clipped, as in a picture's file. detect: frames
    (B, 3, 256, 256) in 0..255 -> boxes, a tensor (4,) for each frame or None where it shows no face; without `detect`
    all boxes are None.
    """

    def __init__(self, images, detect=None):
        self.images = images.float().clamp(-1, 1)
        self._detect = detect

    @cached_property
    def small(self):
        """(B, 3, 256, 256) in [-1, 1]: the short side resized, the middle of the long one."""
        return to_square(self.images, SIDE)

    @cached_property
    def boxes(self):
        """For each frame its face's box (x1, y1, x2, y2) in pixels of the frame; None where none was found."""
        return self._detect((self.small + 1) * 127.5) if self._detect else [None] * len(self.images)

    def crops(self, side, growth=0.0):
        """The faces with what surrounds them, the middle of their long side: (B, 3, side, side) in [0, 1].

        growth: how much a box' coordinates are scaled apart before. A frame without a box is taken whole.
        """
        pictures = []
        for frame, box in zip((self.small + 1) / 2, self.boxes):
            top, bottom, left, right = crop_bounds(box, growth)
            pictures.append(to_square(frame[None, :, top:bottom, left:right], side))
        return torch.cat(pictures)


def to_square(images, side):
    """(B, 3, H, W) -> (B, 3, side, side): short side resized bilinearly with antialiasing, then the centre."""
    return center_crop(shorten(images, side), [side, side])


def shorten(images, side):
    """(B, 3, H, W) with the short side resized to `side` pixels, bilinearly with antialiasing."""
    return resize(images, [side], antialias=True)


def for_imagenet(images):
    """(B, 3, H, W) in [0, 1] -> the same with ImageNet's mean and standard deviation taken out."""
    return normalize(images, **IMAGENET)


def crop_bounds(box, growth=0.0):
    """(top, bottom, left, right) of the crop around a face's box (x1, y1, x2, y2); the whole frame for None.

    growth scales the coordinates, not the box: x1 and y1 by 1 - growth, x2 and y2 by 1 + growth.
    """
    if box is None:
        return 0, SIDE, 0, SIDE
    x1, y1, x2, y2 = (min(max(float(value), 0.0), SIDE) for value in box)
    left, top = int(x1 * (1 - growth)) - MARGIN, int(y1 * (1 - growth)) - MARGIN
    right, bottom = int(x2 * (1 + growth)) + MARGIN, int(y2 * (1 + growth)) + MARGIN_BELOW
    return max(top, 0), min(bottom, SIDE), max(left, 0), min(right, SIDE)
