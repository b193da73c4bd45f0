"""Draw the paths of an experiment on the photographic faces as one sheet: the picture of docs/faces.md.

    python -m scripts.faces.sheet EXP_DIR --output docs/faces.jpg

A row for each path, a block of five images for each code: at -2.5, -1.25, 0, 1.25 and 2.5. The codes are the first ones
of a seed whose image the judge accepts as a face.
"""

import argparse

import torch
from PIL import Image, ImageDraw, ImageFont

from lib.command_line import run
from lib.judges import load_judge
from lib.paths.tracing import trace
from lib.pixels import to_uint8
from lib.trained import open_experiment
from scripts.path_labels import LABEL_WIDTH, two_lines

SIDE, GAP, STEPS, EPS = 64, 8, 2, 1.25  # pixels; steps in either direction, and their length


@torch.no_grad()
def faces(space, count, seed):
    """The first `count` codes of a seed that show a face."""
    z = torch.randn(2 * count, space.generator.z_dim, generator=torch.Generator().manual_seed(seed))
    codes = space.codes_of(z)
    return codes[load_judge("faces64").accepts(space.synthesise(codes))][:count]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", metavar="EXP_DIR")
    parser.add_argument("--seed", type=int, default=10_010, help="of the codes (default: 10010)")
    parser.add_argument("--codes", type=int, default=3)
    parser.add_argument("--output", default="faces.jpg")
    args = parser.parse_args(arguments)
    experiment = open_experiment(args.experiment)
    codes = faces(experiment.space, args.codes, args.seed)
    traced = trace(experiment.space, experiment.paths, codes, STEPS, EPS)  # (B, K, 5, d)
    block = (2 * STEPS + 1) * SIDE + GAP
    picture = Image.new("RGB", (2 * LABEL_WIDTH + len(codes) * block - GAP, traced.shape[1] * SIDE), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for k, (first, second) in enumerate(experiment.labels):
        for b, walked in enumerate(traced[:, k]):
            with torch.no_grad():
                frames = to_uint8(experiment.space.synthesise(walked))
            for i, frame in enumerate(frames):
                picture.paste(Image.fromarray(frame), (LABEL_WIDTH + b * block + i * SIDE, k * SIDE))
        middle = k * SIDE + SIDE // 2
        draw.text((LABEL_WIDTH - 10, middle), two_lines(second), "black", font, anchor="rm", align="right")
        draw.text((picture.width - LABEL_WIDTH + 10, middle), two_lines(first), "black", font, anchor="lm")
    picture.save(args.output, quality=90, subsampling=0)


if __name__ == "__main__":
    run(main)
