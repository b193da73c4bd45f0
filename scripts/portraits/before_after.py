"""Draw the ends of all paths of two experiments side by side, from the same codes: the picture of docs/quality.md.

    python -m scripts.portraits.before_after EXP_DIR OTHER_EXP_DIR --output docs/quality.jpg

For each code, a block of five columns: the ends of the first experiment's path, the start, the ends of the second's.
"""

import argparse

import torch
from PIL import Image, ImageDraw, ImageFont

from lib.command_line import run
from lib.trained import open_experiment
from lib.walking.pictures import to_uint8
from lib.walking.traversal import trace
from models.errors import UserError
from scripts.portraits.figures import LABEL_WIDTH, two_lines

SIDE, GAP, HEADER = 64, 10, 22  # pixels


def ends(experiment, codes, steps, eps):
    """Images (B, K, 3, 64, 64, 3) uint8: the negative end, the start and the positive end of each path of each code."""
    traced = trace(experiment.space, experiment.paths, codes, steps, eps)[:, :, [0, steps, 2 * steps]]
    with torch.no_grad():
        images = [to_uint8(experiment.space.synthesise(part)) for part in traced.flatten(0, 2).split(64)]
    return torch.cat([torch.from_numpy(part) for part in images]).unflatten(0, traced.shape[:3]).numpy()


def sheet(labels, before, after):
    """The picture: a row for each path, a block for each code."""
    count, num_paths = before.shape[:2]
    block = 5 * SIDE + GAP
    picture = Image.new("RGB", (2 * LABEL_WIDTH + count * block, HEADER + num_paths * SIDE), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for b in range(count):
        left = LABEL_WIDTH + b * block
        for middle, text in ((SIDE, "before"), (5 * SIDE // 2, "start"), (4 * SIDE, "after")):
            draw.text((left + middle, HEADER // 2), text, "black", font, anchor="mm")
        for k in range(num_paths):
            frames = [before[b, k, 0], before[b, k, 2], after[b, k, 1], after[b, k, 0], after[b, k, 2]]
            for i, frame in enumerate(frames):
                picture.paste(Image.fromarray(frame), (left + i * SIDE, HEADER + k * SIDE))
    for k, (first, second) in enumerate(labels):
        middle = HEADER + k * SIDE + SIDE // 2
        draw.text((LABEL_WIDTH - 10, middle), two_lines(second), "black", font, anchor="rm", align="right")
        draw.text((picture.width - LABEL_WIDTH + 10, middle), two_lines(first), "black", font, anchor="lm")
    return picture


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", metavar="EXP_DIR")
    parser.add_argument("after", metavar="OTHER_EXP_DIR")
    parser.add_argument("--seed", type=int, default=10_000, help="of the codes (default: 10000)")
    parser.add_argument("--codes", type=int, default=3)
    parser.add_argument("--shift-steps", type=int, default=15)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--output", default="before_after.jpg")
    args = parser.parse_args(arguments)
    first, second = open_experiment(args.before), open_experiment(args.after)
    if first.labels != second.labels or first.space.name != second.space.name:
        raise UserError("the experiments have other sentences or spaces: give two of the same corpus and space")
    drawn = torch.Generator().manual_seed(args.seed)
    codes = first.space.codes_of(torch.randn(args.codes, first.generator.z_dim, generator=drawn))
    walked = [ends(one, codes, args.shift_steps, args.eps) for one in (first, second)]
    sheet(first.labels, *walked).save(args.output, quality=90, subsampling=0)


if __name__ == "__main__":
    run(main)
