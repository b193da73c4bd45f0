"""A judge's numbers of the images of codes, as many images at a time as fit."""

import numpy as np
import torch
from tqdm import tqdm

from lib import distributed
from lib.walking.synthesis import Synthesiser, default_batch_size
from models.errors import UserError

SMALL = 64  # pixels: up to here larger batches than a walk's are up to a fourth faster on a CPU


def _batch_size(generator):
    return default_batch_size(generator) * (4 if generator.resolution <= SMALL else 1)


def bar(what, total):
    """Progress of images that are read; silent where there are none, and in all processes but the first."""
    silent = not total or not distributed.is_first()
    return tqdm(total=total, desc=what, unit="image", dynamic_ncols=True, disable=silent)


class NotFinite(UserError):
    """An image, or what is read of it, holds NaN or infinity."""


class Reader:
    """Codes of a space -> what a judge reads from their images.

    perceptual: images, images (B, 3, H, W) -> distances (B,), or None. identities: whether they are compared, which may
    take as long as the numbers. The methods' `progress(n)` is told of images as they are read. They raise NotFinite.
    """

    def __init__(self, space, judge, batch_size=None, perceptual=None, identities=True):
        self.judge, self.identity, self.perceptual = judge, judge.identity if identities else None, perceptual
        self.synthesiser = Synthesiser(space.synthesise, batch_size or _batch_size(space.generator))

    def samples(self, codes, progress):
        """Codes (N, ...) -> {"numbers": (N, J), "features": (N, F)}, the latter where the judge has any."""
        return self._read(codes, {"numbers": self.judge, "features": self.judge.features}, progress)

    def along(self, start, paths, progress):
        """Paths (K, 2S + 1, ...) from a code start (1, ...), which is in the middle of each ->
        {"numbers": (K, 2S + 1, J), "identity": (K, 2S + 1)}, the latter where the judge compares identities."""
        count, middle = len(paths), paths.shape[1] // 2
        moved = torch.cat([paths[:, :middle], paths[:, middle + 1 :]], dim=1).flatten(0, 1)
        read = self._read(torch.cat([start, moved]), {"numbers": self.judge, **self._embedding()}, progress)
        embedded = read.get("embedded", read["numbers"])
        found = {"numbers": _around(read["numbers"], count)}
        if self.identity:
            found["identity"] = _around(self._compare(embedded[:1], embedded), count)
        return found

    def at_reach(self, start, ends, progress):
        """Ends (K, 2, ...) of paths from a code start (1, ...) -> {"numbers": (K, 2, J)} and, each where there is such
        a thing: "features" (K, 2, F), "start_features" (F), and, averaged over the two ends, "identity" and "lpips"
        (K,): how they compare with the start."""
        wanted = {"numbers": self.judge, "features": self.judge.features, **self._embedding()}
        if self.perceptual:
            origin = self.synthesiser.batches(start, lambda images: images.clamp(-1, 1))[0]
            wanted["lpips"] = lambda images: self.perceptual(images, origin.expand_as(images))
        read = self._read(torch.cat([start, ends.flatten(0, 1)]), wanted, progress)
        found = {"numbers": read["numbers"][1:].reshape(len(ends), 2, -1)}
        if "features" in read:
            found["features"] = read["features"][1:].reshape(len(ends), 2, -1)
            found["start_features"] = read["features"][0]
        if self.identity:
            embedded = read.get("embedded", read["numbers"])
            compared = self._compare(embedded[:1], embedded[1:])
            found["identity"] = compared.reshape(len(ends), 2).mean(axis=1)
        if self.perceptual:
            found["lpips"] = read["lpips"][1:].reshape(len(ends), 2).mean(axis=1)
        return found

    def _embedding(self):
        """What identities are compared by, unless it is the numbers, which are read anyway."""
        apart = self.identity and self.identity.embed is not self.judge
        return {"embedded": self.identity.embed} if apart else {}

    def _compare(self, start, others):
        start, others = torch.from_numpy(start), torch.from_numpy(others)
        return self.identity.compare(start.expand_as(others), others).numpy()

    def _read(self, codes, wanted, progress):
        """Codes (N, ...) -> {name: (N, ...)}, of the functions of images in `wanted` those that give anything."""

        def see(images):
            if not images.isfinite().all():
                raise NotFinite("the generator's images are not finite (NaN)")
            images = images.clamp(-1, 1)  # as pictures show them
            found = {name: read(images) for name, read in wanted.items()}
            progress(len(images))
            return {name: array.float().cpu().numpy() for name, array in found.items() if array is not None}

        parts = self.synthesiser.batches(codes, see)
        read = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if not np.isfinite(read["numbers"]).all():
            raise NotFinite("the judge reads numbers that are not finite (NaN)")
        return read


def _around(read, count):
    """What was read of the start and, path by path, of the codes about it (1 + K * 2S, ...) -> (K, 2S + 1, ...)."""
    moved = read[1:].reshape(count, -1, *read.shape[1:])
    half = moved.shape[1] // 2
    start = np.broadcast_to(read[0], (count, 1, *read.shape[1:]))
    return np.concatenate([moved[:, :half], start, moved[:, half:]], axis=1)
