r"""Make animations of chosen paths from one code, such as those of the README.

    python -m scripts.animations EXP_DIR dcgan_faces64-8 70f1 smile=0 glasses=2 hat=3 --shift-steps 10 --eps 0.25 \
        --height 128 --output docs --force

Besides the experiment, it takes the name of a pool, the first characters of one of its codes, and NAME=PATH for each
NAME.gif.
"""

import argparse
from pathlib import Path

import torch

from lib import pools
from lib.command_line import run
from lib.paths.tracing import trace
from lib.pixels import to_uint8
from lib.trained import open_experiment
from lib.walking.pictures import save_gif
from models.errors import UserError
from models.load_generator import generator_name


def animation(text):
    name, _, path = text.partition("=")
    if not name or not path.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, int(path)


@torch.no_grad()
def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", metavar="EXP_DIR")
    parser.add_argument("pool", metavar="POOL")
    parser.add_argument("code", metavar="CODE")
    parser.add_argument("animations", metavar="NAME=PATH", nargs="+", type=animation)
    parser.add_argument("--shift-steps", type=int, default=15)
    parser.add_argument("--eps", type=float)
    parser.add_argument("--height", type=int, default=192, help="pixels")
    parser.add_argument("--output", type=Path, default=Path("."))
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    args = parser.parse_args(arguments)
    files = {args.output / f"{name}.gif": path for name, path in args.animations}
    there = [file for file in files if file.exists()]
    if there and not args.force:
        raise UserError(f"{there[0]} is there already: choose another --output, or add --force")
    experiment = open_experiment(args.experiment)
    space, settings = experiment.space, experiment.settings
    pool = pools.find_pool(args.pool, generator_name(settings.gan), settings.gan_sha256)
    found = [source for source in pools.code_directories(pool) if source.name.startswith(args.code)]
    if len(found) != 1:
        raise UserError(f"{pool} has {len(found)} codes that begin with {args.code!r}: give one that exists once")
    start, eps = pools.read_code(found[0], space), args.eps or experiment.step(args.shift_steps)
    traced = trace(space, experiment.paths, start, args.shift_steps, eps)[0]
    args.output.mkdir(parents=True, exist_ok=True)
    for file, path in files.items():
        save_gif(to_uint8(space.synthesise(traced[path])), file, height=args.height, fps=20)


if __name__ == "__main__":
    run(main)
