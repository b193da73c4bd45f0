"""Sample faces of dcgan_faces64 and let published networks look at them, for the CLIP's training.

    python -m scripts.faces.score --images 40000
    python -m scripts.faces.score --images 40000 --part 1/2     # in another process: every second file

Writes WORK/scores/NNNN.npz of 500 images each, with what the networks say of them; `scripts.faces.teachers` makes
numbers of it. A file that is there is not made again, so a run that was stopped goes on.
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from lib.command_line import run
from lib.pixels import to_uint8
from models.face_networks import ENLARGED, INPUTS, MARGIN, load_network, resizing
from models.files import replacing
from models.load_generator import load_generator

IMAGES_PER_FILE = 500
FIRST_SEED = 500  # of the files' codes; those from 10,000 on are for reporting
SCALES = (0.85, 1.0)  # of z, alternately: truncations at which paths begin, and which they leave
AT_ONCE = 20
MASK = 64  # pixels of the stored mask


@cache
def enlarging(network, margin):
    """The matrix (side, 64) that brings a row of pixels to a network's size, as `enlarged` and `prepared` do."""
    bicubic = F.interpolate(torch.eye(64)[None, None], (ENLARGED, 64), mode="bicubic", antialias=True)[0, 0].numpy()
    return resizing(ENLARGED, INPUTS[network].side, margin) @ bicubic


def said(name, outputs, images, margins=(MARGIN,)):
    """Each of a network's outputs for images (B, 3, 64, 64) in [0, 1], averaged over them with these margins."""
    taken, answers = INPUTS[name], []
    for margin in margins:
        matrix = enlarging(name, margin)
        large = np.clip(matrix @ images @ matrix.T, 0, 1)
        answers.append(load_network(name).run(taken.low + (taken.high - taken.low) * large, outputs))
    return {one: np.mean([answer[one] for answer in answers], axis=0) for one in outputs}


def look(images):
    """What the networks say of images (B, 3, 64, 64) in [-1, 1]: a dict of arrays of B rows."""
    images, crops = ((images + 1) / 2).numpy(), (0, MARGIN)  # face-api's depend on how much there is around a face
    rows = said("facemesh", ("flag", "mesh", "lips"), images) | said("faceres", ("descriptor",), images)
    rows |= said("expression", ("probabilities",), images, crops) | said("age_gender", ("age", "gender"), images, crops)
    mask = torch.from_numpy(said("selfie", ("mask",), images, (0,))["mask"])
    mask = F.adaptive_avg_pool2d(mask.reshape(len(images), 1, *mask.shape[-2:]), MASK)[:, 0]
    rows["descriptor"] = rows["descriptor"].astype(np.float16)
    return rows | {"mask": (mask * 255).round().to(torch.uint8).numpy()}


@torch.no_grad()
def look_at(generator, z, mirrored=False):
    """Codes z (N, z_dim) -> their images, (N, 3, 64, 64) uint8, or the mirror images of these, and what the networks
    say of them: a dict of arrays."""
    parts = [generator(part) for part in z.split(AT_ONCE)]
    parts = [part.flip(-1) for part in parts] if mirrored else parts
    rows = [look(images) for images in parts]
    content = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return content | {"images": to_uint8(torch.cat(parts)).transpose(0, 3, 1, 2)}


def codes(index, z_dim):
    """The codes (IMAGES_PER_FILE, z_dim) of file `index`."""
    z = torch.randn(IMAGES_PER_FILE, z_dim, generator=torch.Generator().manual_seed(FIRST_SEED + index))
    return z * torch.tensor(SCALES).repeat(IMAGES_PER_FILE // len(SCALES))[:, None]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/faces"))
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--part", default="0/1", metavar="I/N", help="make file I of every N only")
    args = parser.parse_args(arguments)
    part, parts = (int(number) for number in args.part.split("/"))
    torch.set_num_threads(1)
    generator = load_generator("dcgan_faces64")
    for index in tqdm(range(part, args.images // IMAGES_PER_FILE, parts), desc="scores", unit="file"):
        file = args.work / "scores" / f"{index:04d}.npz"
        if not file.exists():
            z = codes(index, generator.z_dim)
            with replacing(file) as stream:
                np.savez(stream, z=z.numpy(), **look_at(generator, z))


if __name__ == "__main__":
    run(main)
