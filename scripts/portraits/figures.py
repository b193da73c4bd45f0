"""Make the README's pictures from the results of `make demo`.

    python -m scripts.portraits.figures RESULTS_DIR CODE

RESULTS_DIR is the folder of the demo's index.html, CODE the first characters of the code whose paths are shown.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lib.command_line import run
from lib.files import read_json
from lib.settings import WalkSettings, read_object
from lib.walking.pictures import film_frames, save_gif
from models.errors import UserError
from scripts.portraits.measure import samples, write_sheet

DOCS = Path("docs")
ANIMATIONS = {"smile": 2, "bald": 3, "beard": 4}  # name: path
LABEL_WIDTH, HEIGHT = 190, 128  # pixels, of a row


def stacked_strips(code, dipoles):
    """The strips of all paths in a code's directory, one below the other, each between its two sentences."""
    strips = [Image.open(code / "paths_strips" / f"path_{k:03d}_strip.jpg") for k in range(len(dipoles))]
    width, height = strips[0].width * HEIGHT // strips[0].height, HEIGHT
    sheet = Image.new("RGB", (width + 2 * LABEL_WIDTH, height * len(strips)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for k, (strip, (first, second)) in enumerate(zip(strips, dipoles)):
        middle = k * height + height // 2
        sheet.paste(strip.resize((width, height), Image.Resampling.LANCZOS), (LABEL_WIDTH, k * height))
        draw.text((LABEL_WIDTH - 10, middle), two_lines(second), "black", font, anchor="rm", align="right")
        draw.text((LABEL_WIDTH + width + 10, middle), two_lines(first), "black", font, anchor="lm")
    return sheet


def two_lines(sentence):
    """A sentence without "a photo of", in lines that fit beside a strip."""
    words = sentence.removeprefix("a photo of ").rstrip(".").split()
    half = (len(words) + 1) // 2 if len(words) > 3 else len(words)
    return "\n".join(" ".join(part) for part in (words[:half], words[half:]) if part)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS_DIR")
    parser.add_argument("code", metavar="CODE")
    args = parser.parse_args(arguments)
    found = sorted(args.results.glob(f"{args.code}*/paths_strips"))
    if len(found) != 1:
        raise UserError(f"{args.results} has {len(found)} codes that begin with {args.code!r}: give one that exists "
                        "once")
    code = found[0].parent
    dipoles = read_json(args.results.parents[2] / "models" / "semantic_dipoles.json")
    DOCS.mkdir(exist_ok=True)
    walk = WalkSettings.read(read_object(code / "settings.json"), code / "settings.json")
    for name, k in ANIMATIONS.items():
        frames = film_frames(code / "paths_strips" / f"path_{k:03d}_film.jpg", walk.frames_per_path)
        save_gif(frames, DOCS / f"{name}.gif", height=128, fps=20)
    stacked_strips(code, dipoles).save(DOCS / "paths.jpg", quality=90)
    for kind in ("stylegan2", "pggan"):
        write_sheet(samples(f"{kind}_portraits64", 64), DOCS / f"samples_{kind}.jpg")


if __name__ == "__main__":
    run(main)
