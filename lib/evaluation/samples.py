"""What a generator shows: numbers and features that a judge reads from its samples, read once and kept."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lib import distributed
from lib.config import CACHE
from lib.evaluation.reading import bar
from lib.evaluation.store import load_arrays, save_arrays
from lib.status import counting

COUNT = 2000
SEED = 5000  # not a pool's by default


@dataclass(frozen=True)
class Samples:
    numbers: np.ndarray  # (N, all numbers)
    features: np.ndarray | None  # (N, F); None where the judge has none


def read_samples(space, generator_sha256, reader, count=COUNT, purpose="frames are compared with", progress=None):
    """`count` `Samples` of a space's generator with the space's truncation, from the cache or read now by all processes
    together. reader: a `Reader` of that space. purpose: what they are for, to be shown: what they give, or are compared
    with. progress(images, of all): is told how far it is, instead of a bar on stderr; what it raises ends the
    reading."""
    key = _key(space, generator_sha256, reader.judge, count)
    found = distributed.from_first(lambda: _kept(key, count))
    if found is None:
        z = torch.randn(count, space.generator.z_dim, generator=torch.Generator().manual_seed(SEED))
        found = _read(space, z.to(space.device), reader, f"samples that {purpose}", progress)
        if distributed.is_first():
            save_arrays(_file(key), {"key": np.array(key), **found})
    return Samples(found["numbers"], found.get("features"))


def _read(space, z, reader, what, told=None):
    """What is read of z (N, z_dim). Each process reads whole batches, so that nothing depends on how many there are."""
    at_once = reader.synthesiser.batch_size
    batches = -(-len(z) // at_once)
    share = distributed.rows(batches)
    count = share.stop - share.start
    own = z[share.start * at_once :][: max(count, 1) * at_once]  # for the shape, where there are too many processes
    with torch.no_grad(), bar(what, 0 if told else len(own)) as progress:
        update = counting(told, len(own)) if told else progress.update
        read = reader.samples(space.codes_of(own), update)
    return {name: _gathered(torch.from_numpy(array), at_once, count, batches)[: len(z)] for name, array in read.items()}


def _gathered(own, at_once, count, batches):
    """The rows (n, ...) of `count` batches of each process, in the processes' order."""
    padded = F.pad(own, (0, 0, 0, -len(own) % at_once))  # the last batch may be smaller
    return distributed.gather(padded.unflatten(0, (-1, at_once))[:count], batches).flatten(0, 1).numpy()


def find_samples(space, generator_sha256, judge, counts):
    """The `Samples` that the cache has in the first of these numbers; None where it has none."""
    for count in counts:
        found = _kept(_key(space, generator_sha256, judge, count), count)
        if found is not None:
            return Samples(found["numbers"], found.get("features"))
    return None


def _key(space, generator_sha256, judge, count):
    return f"{generator_sha256} {judge.fingerprint} {space.truncation} {space.classes} {count} {SEED}"


def _file(key):
    return CACHE / f"samples-{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def _kept(key, count):
    file = _file(key)
    arrays = load_arrays(file) if file.is_file() else None
    if arrays is None or str(arrays.pop("key", "")) != key or "numbers" not in arrays:
        return None
    is_whole = all(array.ndim == 2 and len(array) == count and array.dtype.kind == "f" for array in arrays.values())
    return arrays if is_whole else None

