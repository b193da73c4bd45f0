"""Measure the CLIP of the photographic faces: how well it tells the poles of the corpus `faces` apart.

    python -m scripts.faces.measure_clip --clip build/faces/clip_0.pt

Prints, for each dipole (A, B), the correlation of t . u with the number that taught the CLIP and with the number of the
judge `faces64`, which did not, over images that were not trained on; then the cosines between the dipoles' t. Here u is
an image's unit feature and t = unit(unit(A) - unit(B)).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lib.command_line import run
from lib.dipoles import encode_dipoles, load_corpus
from lib.judges import load_judge
from models.clip_encoder import load_clip
from scripts.faces.captions import INDEX
from scripts.faces.train_clip import load_data

# The attribute of each dipole of the corpus, in its order.
ATTRIBUTES = ("smile", "mouth", "glasses", "hat", "beard", "long_hair", "light", "blue_background", "right", "woman")


@torch.no_grad()
def features(encoder, images):
    """Unit features (N, E) of images (N, 3, 64, 64) uint8."""
    parts = [encoder.encode_images(part.float() / 127.5 - 1) for part in images.split(100)]
    return F.normalize(torch.cat(parts), dim=1)


def correlations(first, second):
    """Of the columns of two arrays (N, K): (K,)."""
    first, second = ((x - x.mean(axis=0)) / x.std(axis=0) for x in (first, second))
    return (first * second).mean(axis=0)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/faces"))
    parser.add_argument("--clip", default="clip_faces64", help="a name or a file")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    _, held_out = load_data(args.work)
    encoder, dipoles = load_clip(args.clip), load_corpus("faces")
    poles = F.normalize(encode_dipoles(dipoles, encoder), dim=-1)
    targets = F.normalize(poles[:, 0] - poles[:, 1], dim=-1)
    seen = (features(encoder, held_out.images) @ targets.T).numpy()
    taught = held_out.read[: len(seen), [INDEX[name] for name in ATTRIBUTES]].numpy()
    judge = load_judge("faces64:woman", labels=dipoles)
    numbers = torch.cat([judge(part.float() / 127.5 - 1) for part in held_out.images.split(50)]).numpy()
    judged = np.stack([sign * numbers[:, column] for column, sign in judge.own(dipoles)], axis=1)
    print(f"{'':16} teacher  judge  teacher and judge")
    rows = zip(ATTRIBUTES, correlations(seen, taught), correlations(seen, judged), correlations(taught, judged))
    for name, *found in rows:
        print(f"{name:16} " + " ".join(f"{one:7.2f}" for one in found))
    print("cosines of the dipoles:")
    print(np.array2string((targets @ targets.T).numpy(), precision=2, suppress_small=True))


if __name__ == "__main__":
    run(main)
