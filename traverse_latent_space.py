"""Walk the paths of an experiment from every code of a pool, and show them as pictures and a page."""

if __name__ == "__main__":  # before the other imports, since a signal may come during them
    from lib.startup import begin

    begin()

import shlex
import sys

from lib import distributed
from lib.arguments import length, number, pixels, positive_int, shift, steps
from lib.command_line import (
    Formatter,
    Parser,
    add_chosen_paths,
    add_device_arguments,
    add_path_arguments,
    check_path_arguments,
    choose_device,
    run,
)
from lib.settings import Range
from lib.status import doing
from models.errors import UserError

NEW_POOL = 8  # codes that are walked from if no pool is named
EXAMPLE = """
examples, after train.py:
  python traverse_latent_space.py --exp=latest
  python traverse_latent_space.py --exp=experiments/complete/EXP_DIR --pool=stylegan2_portraits64-4 --eps=0.1

The results are in EXP_DIR/results/; open the index.html there, which shows each path as a slider, an animation and a
strip. Pictures that exist already are not made again.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    p.add_argument("-v", "--verbose", action="store_true", help="print what was walked")
    g = p.add_argument_group("what is walked")
    g.add_argument("--exp", metavar="EXP_DIR",
                   help="a trained experiment's directory, or a published checkpoint; latest: the experiment that "
                        "ended last")
    add_path_arguments(g)
    g.add_argument("--pool", help=f"a pool of sample_gan.py: its name or directory (default: {NEW_POOL} random codes)")
    g.add_argument("--w-space", action="store_true",
                   help="use the pool's W+ codes as they are, such as those of inverted photographs")

    g = p.add_argument_group("paths")
    g.add_argument("--shift-steps", type=steps, default=16, metavar="S", help="steps in either direction")
    g.add_argument("--eps", type=length,
                   help="length of a step, in units of the latent space or, as 1%%, as a share of its Jung radius "
                        "(default: from the shifts that paired training measured; 0.2 without those)")
    g.add_argument("--shift-leap", type=positive_int, default=1, metavar="L", help="make an image every L steps")
    add_chosen_paths(g)
    g.add_argument("--shift", type=shift, metavar="R",
                   help="instead of a walk, one image of each path at this shift, a number or a share of the Jung "
                        "radius, as 10%%; a negative one leads to the second sentence")
    g.add_argument("--export-directions", metavar="FILE.npz",
                   help="also write straight paths for other tools; without --pool, nothing else is done")

    g = p.add_argument_group("pictures")
    g.add_argument("--batch-size", type=positive_int, metavar="B", help="images at a time (default: what fits)")
    g.add_argument("--workers", type=number(int, Range(low=0, high=1024)), metavar="N",
                   help="processes that write the pictures (default: one per core); 0: no extra processes")
    g.add_argument("--img-size", type=pixels, metavar="PX", help="size of the images (default: the generator's)")
    g.add_argument("--img-quality", type=number(int, Range(1, 95)), default=95, metavar="Q",
                   help="JPEG quality, 1 to 95")
    g.add_argument("--frames", action="store_true",
                   help="also write each image as a file of its own, not only all of a path in one")
    g.add_argument("--single-file", action="store_true",
                   help="also write the page with all of its pictures in it as one file, to be mailed")
    g.add_argument("--gif", action="store_true", help="make an animated GIF of each path")
    g.add_argument("--gif-height", type=pixels, metavar="PX",
                   help="height of animations (default: 256, or twice the images' if that is less)")
    g.add_argument("--gif-fps", type=number(int, Range(1, 50)), default=30, metavar="FPS",
                   help="frames per second, up to 50")
    g.add_argument("--strip", action="store_true", help="make a strip of each path, images side by side")
    g.add_argument("--strip-number", type=steps, default=9, metavar="N", help="images per strip")
    g.add_argument("--strip-height", type=pixels, metavar="PX",
                   help="height of strips (default: 256, or twice the images' if that is less)")
    add_device_arguments(p)
    return p


def parse(arguments):
    commands = parser()
    args = commands.parse_args(arguments)
    if args.exp is args.directions is None:
        commands.error("one of the following arguments is required: --exp, --directions")
    return args


def check(args):
    """Refuse arguments that contradict each other, before anything is loaded."""
    if args.exp is not None and args.directions is not None:
        raise UserError("--exp and --directions both say which paths are walked: leave out one of the two")
    check_path_arguments(args)
    if args.single_file and args.shift is not None:
        raise UserError("--single-file goes with a walk, which --shift leaves out: leave out one of the two")
    if args.shift_leap > args.shift_steps:
        raise UserError(f"--shift-leap {args.shift_leap} is above --shift-steps {args.shift_steps}: nothing would move")
    frames = 2 * (args.shift_steps // args.shift_leap) + 1
    height = args.strip_height or 256
    if args.strip and min(args.strip_number, frames) * height > 65_500:
        raise UserError(f"a strip of this many images of {height} px is wider than a JPEG can be "
                        "(65,500 px): lower --strip-number or --strip-height")


def main(arguments):
    args = parse(arguments)
    check(args)

    with doing("loading PyTorch"):
        from lib.methods.direction_files import write_directions
        from lib.trained import open_paths
        from lib.walking.plan import plan_walk
        from lib.walking.remarks import doubts, shares

        device = distributed.join(choose_device(args))
    with doing("loading the generator and the paths"):
        experiment = open_paths(args.exp, args, device)
    if args.export_directions is not None and distributed.is_first():
        write_directions(args.export_directions, experiment)
        print(f"directions: {args.export_directions}")
    if args.export_directions is not None and args.pool is None:
        distributed.leave()
        return
    if distributed.is_first():
        for line in shares(experiment, {"eps": args.eps, "shift": args.shift}):
            print(line)
    plan = plan_walk(experiment, args, NEW_POOL)
    if distributed.is_first():
        for line in doubts(plan):
            print(line, file=sys.stderr)
    if plan.shift is None:
        walk(plan, args)
    else:
        edit(plan, args)


def walk(plan, args):
    """Write the walk, with a bar, and its pages."""
    from tqdm import tqdm

    from lib.pages.folder import write_pages
    from lib.pages.single_file import write_single_file
    from lib.walking.encoding import default_workers
    from lib.walking.traversal import traverse

    experiment, paths, settings = plan.experiment, plan.paths, plan.settings
    results = plan.results / settings.name
    own, silent = distributed.share(plan.sources), not distributed.is_first()
    workers = default_workers() if args.workers is None else args.workers
    walked = traverse(experiment.space, paths, own, results, settings, args.batch_size, workers)
    total = len(own) * paths.num_paths
    for _ in tqdm(walked, total=total, desc="traversing", unit="path", dynamic_ncols=True, disable=silent):
        pass
    distributed.leave()
    if silent:
        return
    codes = [source.name for source in plan.sources]
    page = write_pages(results, experiment.labels, codes)
    if args.single_file:
        write_single_file(results, experiment.labels, codes,
                          lambda file, size: print(f"single file, about {size / 1e6:.1f} MB: {file}", flush=True))
    if args.verbose:
        print(f"{len(codes)} codes, {paths.num_paths} paths in {experiment.space.name} of {experiment.settings.gan}")
    print(f"results: {page}")
    if args.exp is not None:
        command = ["python", "evaluate.py", f"--exp={experiment.directory}", f"--pool={args.pool or plan.pool.name}",
                   f"--shift-steps={settings.shift_steps}", f"--eps={settings.eps:g}"]  # fmt: skip
        command += [f"--gan={args.gan}"] if args.gan else []
        print(f"next: {shlex.join(command)}")


def edit(plan, args):
    """Write single edits in place of a walk."""
    from lib.pages.gallery import title_of_end
    from lib.walking.edits import write_edits

    titles = [title_of_end(plan.experiment.labels[number], plan.shift) for number in plan.numbers]
    sheet = write_edits(plan, titles, args.batch_size)
    distributed.leave()
    if distributed.is_first():
        print(f"edits: {sheet}")


if __name__ == "__main__":
    run(main)
