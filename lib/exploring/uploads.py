"""What a visitor brings: a picture of one's own, which is inverted, and a code of one's own. None of it is kept."""

import os
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lib.exploring.looks import MOST_NUMBERS, Start
from lib.exploring.pictures import Picture
from lib.inversion import invert
from lib.inversion.comparing import default_comparison
from lib.inversion.pictures import Cutter
from lib.inversion.reach import LITTLE, between_samples
from lib.pixels import to_images, to_uint8
from lib.settings import InversionSettings
from models.errors import UserError, quoted
from models.untrusted.tensor_files import load_tensors

MOST_BYTES = 1 << 20  # of a file with one code
SECONDS, QUICK = 120, 256  # of an inversion, where pictures have more pixels than that per side


@dataclass(frozen=True, eq=False)
class Inverted:
    """start: the code. original, picture: the `Picture` that was inverted, as it was cut out, and the code's; distance:
    how far they are from each other, as `lib.inversion` compares them."""

    start: Start
    original: Picture
    picture: Picture
    distance: float
    remark: str = ""


class Inverter:
    """Inverts pictures for one generator. space: of the codes that pools store."""

    def __init__(self, space):
        self.space, self._cutter, self._between = space, None, None

    def __call__(self, content, name, work):
        """The `Inverted` of the bytes of a picture. name: what the visitor calls it. work: is told how far it is.

        Not for several threads at once. Raises UserError where it is no picture that can be read, and where the
        generator's codes cannot be found.
        """
        if self._cutter is None:
            self._cutter = Cutter(self.space)
        picture = self._cutter(content, name or "the picture")
        work.tell(0.0, "looking for the code whose picture is nearest to yours")
        target = to_images(picture.pixels)[None]
        settings = search_settings(self.space.generator)
        found = invert(self.space, target, settings, lambda share, distances: work.tell(share))
        return Inverted(
            start=Start.of_code(found.codes, self.space.truncation),
            original=Picture(picture.pixels),
            picture=Picture(to_uint8(found.images)[0]),
            distance=found.distances[0].item(),
            remark=self._remark(found.distances[0].item(), settings),
        )

    def _remark(self, distance, settings):
        """What is said of a picture that the generator shows in part only. That its own samples can be found all but
        exactly is taken for granted here; invert.py measures it."""
        if self._between is None:
            self._between = between_samples(self.space, settings.compare)
        share = 1 - distance / self._between
        if share >= LITTLE:
            return ""
        return (f"the generator can show this picture only in part: the code's picture is {distance:.2f} from it, and "
                f"any two of the generator's own are {self._between:.2f} from each other on average")


def search_settings(generator):
    """The `InversionSettings` of a visitor's picture: as invert.py's, but for the time of large ones."""
    space = next(name for name in ("W+", "W", "Z") if name in generator.family.spaces)
    seconds = SECONDS if generator.resolution > QUICK else None
    return InversionSettings(stylegan_space=space, compare=default_comparison(), seconds=seconds)


def read_code(content, name, truncation):
    """The `Start` of the bytes of a .pt that holds one code (1, ...), as the explorer writes it.

    Raises UserError where it holds anything else. Whether the code fits the generator is seen when it is rendered.
    """
    name = quoted(name or "the file")
    if len(content) > MOST_BYTES:
        raise UserError(f"{name} is too large to hold one code: give a .pt with one tensor (1, ...)")
    with _in_memory(content) as file:
        try:
            code = load_tensors(file)
        except UserError as error:
            raise UserError(str(error).replace(file, name)) from None
    if not isinstance(code, torch.Tensor) or code.ndim not in (2, 3) or len(code) != 1:
        raise UserError(f"{name} does not hold one code: give a .pt with one tensor (1, ...)")
    if not 0 < code.numel() <= MOST_NUMBERS or not code.is_floating_point() or not code.isfinite().all():
        raise UserError(f"{name} holds a code that is not of finite floating-point numbers, or too long")
    return Start.of_code(code, truncation)


@contextmanager
def _in_memory(content):
    """The path of a file that is on no disk."""
    descriptor = os.memfd_create("upload")
    try:
        os.write(descriptor, content)  # at once: it is no more than MOST_BYTES
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
