"""Draw the ends of all paths of two experiments beside each other, from the same codes: the picture of docs/quality.md.

    python -m scripts.portraits.before_after EXP_DIR OTHER_EXP_DIR --output docs/quality.jpg

The left half shows the first experiment, the right half the second: from each code, the negative end, the start and the
positive end of each path. Beside a row stand the factors besides its own that the path changes most, over 48 codes, and
their change from end to end as a share of the own one's.
"""

import argparse

import torch
from PIL import Image, ImageDraw, ImageFont

from lib.command_line import run
from lib.judges.portraits import PortraitsJudge
from lib.paths.tracing import trace
from lib.pixels import to_uint8
from lib.trained import open_experiment
from models.errors import UserError
from scripts.path_labels import LABEL_WIDTH, two_lines

SIDE, GAP, HEADER, NOTE_WIDTH = 64, 8, 30, 150  # pixels
MEASURED = 48  # codes, of which the first ones are shown
MOST, LEAST_SHARE = 2, 0.2  # of the other factors at most so many are named, from this share of the own change on
ALARM = (190, 30, 20)


@torch.no_grad()
def ends(experiment, codes, steps, eps):
    """Images (B, K, 3, 3, 64, 64): the negative end, the start and the positive end of each path of each code."""
    traced = trace(experiment.space, experiment.paths, codes, steps, eps)[:, :, [0, steps, 2 * steps]]
    images = torch.cat([experiment.space.synthesise(part) for part in traced.flatten(0, 2).split(64)])
    return images.unflatten(0, traced.shape[:3])


def also_changed(labels, images):
    """For each path, lines such as "glasses +0.62" of what else its ends (B, K, 3, 3, 64, 64) differ in."""
    judge, notes = PortraitsJudge(), []
    numbers = torch.cat([judge(part) for part in images.flatten(0, 2).split(64)]).unflatten(0, images.shape[:3])
    changes = (numbers[:, :, 2] - numbers[:, :, 0]).mean(dim=0)
    for change, (own, sign) in zip(changes, judge.own(labels)):
        shares = change / (sign * change[own])
        shares[own] = 0
        most = [j for j in shares.abs().argsort(descending=True)[:MOST] if shares[j].abs() >= LEAST_SHARE]
        notes.append("\n".join(f"{judge.names[j].replace('_', ' ')} {shares[j]:+.2f}" for j in most))
    return notes


def half(title, images, notes):
    """A half of the sheet: images (B, K, 3, 3, 64, 64), a row for each path, and the notes beside the rows."""
    count, num_paths = images.shape[:2]
    block = 3 * SIDE + GAP
    picture = Image.new("RGB", (count * block + NOTE_WIDTH, HEADER + num_paths * SIDE), "white")
    draw, font, bold = ImageDraw.Draw(picture), ImageFont.load_default(13), ImageFont.load_default(16)
    draw.text(((count * block - GAP) // 2, HEADER // 2), title, "black", bold, anchor="mm")
    draw.text((count * block, HEADER // 2), "also changes", ALARM, font, anchor="lm")
    for k in range(num_paths):
        for b in range(count):
            for i, frame in enumerate(to_uint8(images[b, k])):
                picture.paste(Image.fromarray(frame), (b * block + i * SIDE, HEADER + k * SIDE))
        note = notes[k] or f"nothing by {LEAST_SHARE} or more"
        draw.text((count * block, HEADER + k * SIDE + SIDE // 2), note, ALARM, font, anchor="lm")
    return picture


def sheet(labels, before, after):
    """Both halves, and beside them the sentences that each path leads from and to."""
    picture = Image.new("RGB", (before.width + after.width + LABEL_WIDTH, before.height), "white")
    picture.paste(before, (LABEL_WIDTH, 0))
    picture.paste(after, (LABEL_WIDTH + before.width, 0))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for k, (first, second) in enumerate(labels):
        sentences = f"{' '.join(two_lines(second).split())}\nto {' '.join(two_lines(first).split())}"
        draw.text((LABEL_WIDTH - 10, HEADER + k * SIDE + SIDE // 2), sentences, "black", font, anchor="rm",
                  align="right")
    return picture


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", metavar="EXP_DIR")
    parser.add_argument("after", metavar="OTHER_EXP_DIR")
    parser.add_argument("--seed", type=int, default=10_000, help="of the codes (default: 10000)")
    parser.add_argument("--codes", type=int, default=3, help="that are shown (default: 3)")
    parser.add_argument("--shift-steps", type=int, default=15)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--output", default="before_after.jpg")
    args = parser.parse_args(arguments)
    first, second = open_experiment(args.before), open_experiment(args.after)
    if first.labels != second.labels or first.space.name != second.space.name:
        raise UserError("the experiments have other sentences or spaces: give two of the same corpus and space")
    drawn = torch.Generator().manual_seed(args.seed)
    codes = first.space.codes_of(torch.randn(max(args.codes, MEASURED), first.generator.z_dim, generator=drawn))
    halves = []
    for title, experiment in (("before", first), ("after", second)):
        images = ends(experiment, codes, args.shift_steps, args.eps)
        halves.append(half(title, images[: args.codes], also_changed(experiment.labels, images)))
    sheet(first.labels, *halves).save(args.output, quality=90, subsampling=0)


if __name__ == "__main__":
    run(main)
