"""Measure the embedded world: how well its networks know the portraits that they were trained on.

    python -m scripts.portraits.measure --sheet samples.png

Prints the scorer's error, the share of each factor's range that the generators reach, and how often CLIP distinguishes
the poles of the corpus `attributes`.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from lib.command_line import run
from lib.judges.portrait_factors import FACTORS
from lib.judges.portraits import load_scorer
from lib.pixels import to_uint8
from models.load_generator import load_generator
from models.registry import CLIP_FILES
from scripts.portraits import scorer, train_clip, world
from scripts.portraits.train_generator import images_of, population_of

GENERATORS = ("stylegan2_portraits64", "pggan_portraits64", "biggan_portraits64")
SAMPLES = 2000


@torch.no_grad()
def samples(name, count, seed=11):
    """Images of `count` random codes of a generator: (count, 3, 64, 64)."""
    generator = load_generator(name)
    parts = zip(*(part.split(100) for part in population_of(name).draw_codes(count, seed)))
    return torch.cat([images_of(generator, z, world.RESOLUTION, *classes) for z, *classes in parts])


@torch.no_grad()
def ranges(factor_scorer, images):
    """The 5% and 95% quantiles of each factor, as read by the scorer: (2, 25)."""
    scores = torch.cat([factor_scorer(part) for part in images.split(250)])
    return torch.quantile(scores, torch.tensor([0.05, 0.95]), dim=0)


def coverage(reached, asked):
    """The share of the intervals `asked` (2, 25) that is within the intervals `reached` (2, 25): (25,)."""
    overlap = torch.minimum(reached[1], asked[1]) - torch.maximum(reached[0], asked[0])
    return (overlap / (asked[1] - asked[0])).clamp(0, 1)


def write_sheet(images, path):
    """Write 64 images (64, 3, 64, 64) as one 8 x 8 sheet, twice as large."""
    pixels = to_uint8(images).reshape(8, 8, 64, 64, 3).transpose(0, 2, 1, 3, 4).reshape(512, 512, 3)
    Image.fromarray(pixels).resize((1024, 1024), Image.Resampling.LANCZOS).save(path)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, help="write 64 samples of each generator to this PNG; its name is added")
    args = parser.parse_args(arguments)
    factor_scorer = load_scorer()
    error = scorer.errors(factor_scorer)
    covered = []
    for name in GENERATORS:
        images = samples(name, SAMPLES)
        renders = world.to_float(population_of(name).draw_pairs(SAMPLES, seed=10)[-1])
        covered.append(coverage(ranges(factor_scorer, images), ranges(factor_scorer, renders)))
        if args.sheet:
            write_sheet(images[:64], args.sheet.with_stem(f"{args.sheet.stem}_{name.split('_')[0]}"))

    print(f"{'factor':>22}  scorer's error   range covered by " + " and ".join(GENERATORS))
    for i, name in enumerate(FACTORS):
        print(f"{name:>22}  {error[i]:14.3f}   " + "  ".join(f"{one[i]:6.0%}" for one in covered))
    print(f"{'mean':>22}  {error.mean():14.3f}   least: " + "  ".join(f"{one.min():6.0%}" for one in covered))
    print("\nWhich of two poles a held-out render shows, by CLIP:")
    train_clip.report(*train_clip.evaluate(str(CLIP_FILES["clip_portraits64"]), seed=0))


if __name__ == "__main__":
    run(main)
