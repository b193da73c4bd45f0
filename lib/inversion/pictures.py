"""Pictures as they are given to an inversion: read, cut out, at the generator's resolution."""

import hashlib
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lib.inversion.faces import face_frame, template_of
from lib.inversion.frames import Frame, centre_square, cut_out
from lib.pixels import to_uint8
from models.errors import UserError, quoted
from models.untrusted.pictures import load_picture


class Picture(NamedTuple):
    name: str
    pixels: np.ndarray  # (R, R, 3) uint8, what is inverted
    frame: Frame  # where that was in the picture

    @property
    def sha1(self):
        return hashlib.sha1(self.pixels.tobytes()).hexdigest()


class Cutter:
    """Picture files -> `Picture`s for a space."""

    def __init__(self, space, align="auto"):
        """align: "square" takes the middle of each picture; "face" brings the face to where the generator has it;
        "auto" does so where both have one."""
        self.space, self.align = space, align

    @cached_property
    def template(self):
        found = None if self.align == "square" else template_of(self.space)
        if self.align == "face" and found is None:
            raise UserError("--align=face needs a generator of faces, and facemesh sees none in its samples: use "
                            "--align=square")
        return found

    def __call__(self, source, name=None):
        """source, name: as `load_picture` takes them. Raises UserError where it cannot be read, and where "face" is
        asked for, and picture or generator show none."""
        name = str(name or source)
        pixels = load_picture(source, name=name)
        frame = face_frame(pixels, self.template) if self.template else None
        if frame is None and self.align == "face":
            raise UserError(f"{quoted(name, 150)} shows no face that facemesh finds: use --align=square")
        frame = frame or centre_square(pixels)
        resolution = self.space.resolution or self.space.generator.resolution
        return Picture(name, to_uint8(cut_out(pixels, frame, resolution)), frame)
