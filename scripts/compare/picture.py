"""The picture of a comparison: each method's walk of the same face along the same meaning, a row for each."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from lib import pools
from lib.paths.tracing import trace
from lib.pixels import to_uint8
from lib.trained import open_experiment
from models.files import replacing
from scripts.compare.walked import chosen_paths

STEPS, LEAP = 12, 3  # in either direction, of which every third one is shown
SIDE, LABEL_WIDTH, HEADER = 72, 230, 24  # pixels


@torch.no_grad()
def frames(directory, gan, candidates, path, source, device="cpu"):
    """Images (N, H, W, 3) uint8 of one of a run's paths, from the code in `source`, end to end."""
    trained = open_experiment(directory, gan, device)
    paths = chosen_paths(trained.paths, [candidates[path]]).to(device)
    code = pools.read_code(source, trained.space)
    walked = trace(trained.space, paths, code, STEPS, 1 / STEPS, LEAP)[0, 0]
    return to_uint8(trained.space.synthesise(walked))


def sheet(rows, poles):
    """rows: {title: images (N, H, W, 3) uint8}. poles: what the left and the right end should show."""
    count = len(next(iter(rows.values())))
    picture = Image.new("RGB", (LABEL_WIDTH + count * SIDE, HEADER + len(rows) * SIDE), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    draw.text((LABEL_WIDTH, HEADER // 2), poles[0], "black", font, anchor="lm")
    draw.text((LABEL_WIDTH + count * SIDE // 2, HEADER // 2), "start", "black", font, anchor="mm")
    draw.text((picture.width, HEADER // 2), poles[1], "black", font, anchor="rm")
    for row, (title, images) in enumerate(rows.items()):
        top = HEADER + row * SIDE
        draw.text((LABEL_WIDTH - 10, top + SIDE // 2), title, "black", font, anchor="rm", align="right")
        for n, image in enumerate(images):
            shown = Image.fromarray(np.ascontiguousarray(image))
            if shown.height != SIDE:
                shown = shown.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            picture.paste(shown, (LABEL_WIDTH + n * SIDE, top))
    return picture


def save(picture, path):
    with replacing(path, durable=False) as file:
        picture.save(file, "JPEG", quality=90, subsampling=0)
