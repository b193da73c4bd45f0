"""Pools of inverted pictures: written by invert.py, read by traverse_latent_space.py like any other.

    experiments/latent_codes/<gan>/<gan>-<name>/
        args.json                       `InvertedPoolSettings`
        sheet.jpg                       each picture with its inversion on its right
        .inverting.pt                   where an interrupted inversion goes on
        <sha1 of the code>/
            latent_code_z.pt            of an inversion in Z
            latent_code_w+.pt           (1, num_layers, w_dim), of one in W or W+
            image_z.jpg or image_w.jpg  the inversion
            image_original.jpg          the picture as it was given to the inversion
            inversion.json              its name, its SHA-1, the frame it was cut from, and how far the inversion is

A picture that is there already is not inverted again.
"""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from lib import pools
from lib.files import read_json, save_tensors, write_json
from lib.inversion.optimisation import invert
from lib.latent_space import latent_space
from lib.pixels import to_images, to_uint8
from lib.walking import synthesis
from lib.walking.pictures import save_jpeg, save_sheet
from models import directories
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

CHECKPOINT, RECORD, ORIGINAL, SHEET = ".inverting.pt", "inversion.json", "image_original.jpg", "sheet.jpg"
SECONDS = 20  # between two checkpoints
SHOWN = 32  # pictures on the sheet
GRADIENT = 4  # images' memory, for one with a gradient


def default_batch_size(generator):
    """How many pictures are inverted together. On a GPU, gradients take most of the memory."""
    at_once = synthesis.default_batch_size(generator)
    is_cuda = next(generator.parameters()).device.type == "cuda"
    return max(1, at_once // GRADIENT) if is_cuda else at_once


class Checkpoint:
    """The checkpoint of an inversion of pictures, by their SHA-1s, in a file."""

    def __init__(self, file, pictures):
        self.file, self.key = file, [picture.sha1 for picture in pictures]
        self.written = time.monotonic()

    def load(self):
        state = read_checkpoint(self.file)
        return state if state is not None and state["pictures"] == self.key else None

    def save(self, state, last):
        if last or time.monotonic() - self.written > SECONDS:
            save_tensors(state() | {"pictures": self.key}, self.file)
            self.written = time.monotonic()


def read_checkpoint(file):
    """What `Checkpoint` wrote; None where there is nothing. Raises UserError where the file is damaged."""
    if not file.is_file():
        return None
    state = load_tensors(file)
    kinds = {"pictures": list, "step": int, "seconds": float, "values": list, "means": list, "squares": list}
    if not isinstance(state, dict) or any(type(state.get(name)) is not kind for name, kind in kinds.items()):
        raise UserError(f"{file} is not a checkpoint of an inversion: remove it to begin that anew")
    return state


def make_pool(directory, pictures, space, settings, reach, batch_size):
    """Invert pictures, `batch_size` at a time, and write them; returns their records, in order.

    space: Z, W or W+, where codes are sought. settings: `InvertedPoolSettings`. reach: a `Reach`, or None. Interrupted
    at any time, the same call ends with the same files, unless the time is limited. Raises UserError if the directory
    holds a pool of other settings.
    """
    with pools.claimed(directory, settings):
        pictures = list({picture.sha1: picture for picture in pictures}.values())
        batches = _batches(directory, pictures, batch_size)
        share = settings.seconds and settings.seconds / max(1, len(batches))
        for number, batch in enumerate(batches, start=1):
            label = "inverting" if len(batches) == 1 else f"inverting, {number} of {len(batches)}"
            _invert(directory, batch, space, replace(settings, seconds=share), reach, label)
        found = records(directory)
        ordered = [found[picture.sha1] for picture in pictures]
        files = [directory / code / name for code, record in ordered[:SHOWN]
                 for name in (ORIGINAL, f"image_{record['stylegan_space'][0].lower()}.jpg")]  # fmt: skip
        save_sheet(files, directory / SHEET)
    return ordered


def _batches(directory, pictures, batch_size):
    """The pictures that are not there yet, first those whose inversion was interrupted, as they were together then."""
    state = read_checkpoint(directory / CHECKPOINT)
    known, named = records(directory), {picture.sha1: picture for picture in pictures}
    begun = [named[sha1] for sha1 in state["pictures"] if sha1 in named] if state else []
    if state and len(begun) < len(state["pictures"]):  # some of them are not wanted any more
        begun = []
    rest = [one for one in pictures if one.sha1 not in known and one not in begun]
    batches = [rest[first : first + batch_size] for first in range(0, len(rest), batch_size)]
    return [begun, *batches] if begun else batches


def _invert(directory, batch, space, settings, reach, label):
    targets = torch.stack([to_images(picture.pixels) for picture in batch])
    checkpoint = Checkpoint(directory / CHECKPOINT, batch)
    with Bar(label) as progress:
        found = invert(space, targets, settings, progress, checkpoint)
    known = records(directory)
    left = [i for i, picture in enumerate(batch) if picture.sha1 not in known]
    codes = [_stored(space, code) for code in found.codes.split(1)]
    beside = [partial(_write_beside, picture, _record(picture, distance, space, reach))
              for picture, distance in zip(batch, found.distances.tolist())]  # fmt: skip
    pools.write_codes(directory, [codes[i] for i in left], f"image_{space.name[0].lower()}.jpg",
                      lambda _: to_uint8(found.images[left]), save_jpeg, [beside[i] for i in left])  # fmt: skip
    directories.remove(directory / CHECKPOINT)


class Bar:
    """A progress bar, as `progress` of `invert`. Nothing is shown before the first step."""

    def __init__(self, label):
        self.label, self.bar = label, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()

    def __call__(self, share, distances):
        if self.bar is None:
            layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
            self.bar = tqdm(total=1.0, desc=self.label, bar_format=layout, dynamic_ncols=True)
        self.bar.set_postfix(distance=f"{distances.mean().item():.3f}", refresh=False)
        self.bar.update(share - self.bar.n)


def _stored(space, code):
    """What is stored of a code (1, ...): {file name: tensor}; the first one names the directory."""
    code, family = code.cpu().clone(), space.generator.family
    if space.name != "Z":
        return {"latent_code_w+.pt": code}
    name = next((name for name in ("W", "W+") if name in family.spaces), None)
    if name is None:
        return {"latent_code_z.pt": code}
    return pools.codes_of_z(latent_space(space.generator, name, None, space.truncation), code)


def _record(picture, distance, space, reach):
    found = {"picture": Path(picture.name).name, "sha1": picture.sha1, "frame": [*map(float, picture.frame)],
             "stylegan_space": space.name, "distance": distance}  # fmt: skip
    return found if reach is None else found | {"own_samples": reach.own, "random_samples": reach.other}


def _write_beside(picture, record, directory):
    save_jpeg(picture.pixels, directory / ORIGINAL)
    write_json(record, directory / RECORD)


def records(directory):
    """{SHA-1 of a picture: (SHA-1 of its code, its record)} of a pool."""
    found = {}
    for file in sorted(directory.glob(f"[!.]*/{RECORD}")):
        record = read_json(file)
        kinds = {"sha1": str, "distance": float, "stylegan_space": str}
        if not isinstance(record, dict) or any(type(record.get(name)) is not kind for name, kind in kinds.items()):
            raise UserError(f"{file} is damaged: remove its directory")
        found[record["sha1"]] = file.parent.name, record
    return found

