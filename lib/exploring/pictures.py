"""A picture that is shown, and its bytes."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class Picture:
    """pixels (H, W, 3) uint8."""

    pixels: np.ndarray

    @property
    def image(self):
        return Image.fromarray(self.pixels)

    def png(self):
        return self._encoded("PNG", compress_level=1)

    def jpeg(self, quality=95):
        return self._encoded("JPEG", quality=quality, subsampling="4:4:4")

    def _encoded(self, kind, **options):
        file = io.BytesIO()
        self.image.save(file, kind, **options)
        return file.getvalue()
