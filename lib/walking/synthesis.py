"""Images of latent codes, as many at a time as fit into memory."""

import sys

import numpy as np
import torch
from tqdm import tqdm

from lib.pixels import to_uint8
from models.errors import UserError

# What fits, for a StyleGAN2 of the published widths: measured at 256 px, and scaled in proportion to the side.
BYTES_A_SIDE = 700_000  # memory of one image, divided by its pixels per side
CUDA_SHARE = 4  # use a fourth of the device, which may be shared
CUDA_MOST = 64
# On CPU larger batches gain up to a fourth at 64 px and lose as much from 256 px on, where caches overflow.
CPU_PIXELS = 2**16


def default_batch_size(generator):
    """How many images to make at a time. It depends on the device, not on what is free, so that runs are repeatable."""
    device = next(generator.parameters()).device
    if device.type != "cuda":
        return max(1, CPU_PIXELS // generator.resolution**2)
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(CUDA_MOST, memory // CUDA_SHARE // (BYTES_A_SIDE * generator.resolution)))


class Synthesiser:
    """Codes -> frames, `batch_size` at a time; fewer once the device has run out of memory."""

    def __init__(self, synthesise, batch_size):
        """synthesise: codes (B, ...) -> images (B, 3, H, W) in [-1, 1]."""
        self.synthesise, self.batch_size = synthesise, batch_size
        self.has_said = False

    def __call__(self, codes):
        """Codes (N, ...) -> frames (N, H, W, 3) uint8, a numpy array. Raises UserError where not even one fits."""
        return np.concatenate(self.batches(codes, to_uint8))

    @torch.no_grad()
    def batches(self, codes, see):
        """Codes (N, ...) -> [see(images (B, 3, H, W)) of each batch]. Raises UserError where not even one fits."""
        while True:
            try:
                return [see(self.synthesise(part)) for part in codes.split(self.batch_size)]
            except torch.OutOfMemoryError:
                at_once = min(self.batch_size, len(codes))
            self._halve(at_once)

    def _halve(self, at_once):
        if at_once == 1:
            raise UserError("the device's memory is too small for one image of this generator: use --no-cuda")
        self.batch_size = at_once // 2
        if not self.has_said:
            tqdm.write(f"{at_once} images at a time do not fit into the device's memory: going on with fewer",
                       file=sys.stderr)
            self.has_said = True
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
