"""What every judge is: images in, named numbers out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple


class Identity(NamedTuple):
    """How far two pictures show the same one."""

    name: str
    unit: str
    same: float  # what `compare` gives for two equal images
    embed: Callable  # images (B, 3, H, W) in [-1, 1] -> (B, D)
    compare: Callable  # two of these, (B, D) each -> (B,)


class Judge(ABC):
    """Reads N numbers off images.

    names, units        of the numbers, one each: lists of N strings
    fingerprint         a hash of all that the numbers depend on besides the images, for caches
    scaled              whether 1 already is the width of what a number can be; else ranges are to be measured
    ranges              each number's (low, high), where its authors state one for WarpedGANSpace's tables; else None
    note                what must be said wherever its figures are shown; empty where nothing must
    identity            an `Identity`, or None
    """

    names: list[str]
    units: list[str]
    fingerprint: str
    scaled = False
    ranges = None
    note = ""
    identity = None

    @abstractmethod
    def __call__(self, images):
        """Images (B, 3, H, W) in [-1, 1] -> numbers (B, N), float32 and without a graph."""

    def accepts(self, images):
        """Whether each image shows what the judge reads, such as a face: (B,) of bool, or None if it cannot tell."""
        return None

    def own(self, labels):
        """For each path's label, the number that its two sentences speak of, as (index, +1 or -1).

        labels: (first sentence, second sentence), or a string for a path without sentences. The sign is +1 where the
        first sentence, to which positive shifts lead, is the number's high end. None: the number that moves most.
        """
        return [None] * len(labels)

    def features(self, images):
        """Images (B, 3, H, W) in [-1, 1] -> features (B, F) by which sets of images are compared, or None."""
        return None
