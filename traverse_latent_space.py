"""Walk the paths of an experiment from every code of a pool, and show them as pictures and a page."""

if __name__ == "__main__":  # before the other imports, since a signal may come during them
    from lib.startup import begin

    begin()

import shlex
import sys

from lib import distributed
from lib.arguments import Share, length, number, pixels, positive_int, shift, steps
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
from lib.settings import Range, WalkSettings
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
        from tqdm import tqdm

        from lib import pools
        from lib.methods.direction_files import write_directions
        from lib.pages.folder import write_pages
        from lib.pages.single_file import write_single_file
        from lib.paths.choice import ChosenPaths, chosen_paths
        from lib.trained import open_paths
        from lib.walking import traversal
        from lib.walking.encoding import default_workers
        from models.files import sha256

        device = distributed.join(choose_device(args))
    with doing("loading the generator and the paths"):
        experiment = open_paths(args.exp, args, device)
    if args.export_directions is not None and distributed.is_first():
        write_directions(args.export_directions, experiment)
        print(f"directions: {args.export_directions}")
    if args.export_directions is not None and args.pool is None:
        distributed.leave()
        return
    tell_shares(args, experiment)
    args.eps = experiment.length(args.eps or experiment.step(args.shift_steps))
    args.shift = experiment.length(args.shift)
    args.paths = None if args.paths is None else chosen_paths(args.paths, experiment.labels)
    paths = experiment.paths if args.paths is None else ChosenPaths(experiment.paths, args.paths)
    weights = {"weights_sha256": sha256(experiment.weights)}
    space, settings = experiment.space, WalkSettings.of(vars(args) | weights | {"film": True})
    if args.w_space and args.pool is None:
        raise UserError("--w-space needs --pool: a pool with W+ codes")
    if settings.w_space and space.name == "Z":
        raise UserError(f"the paths of {experiment.directory} are in Z, and --w-space needs paths in W, W+ or S: leave "
                        "it out")
    pool = find_pool(args.pool, experiment)
    sources = pools.code_directories(pool)
    pools.read_code(sources[0], space, settings.w_space)  # refuses codes that do not fit before anything is made

    if distributed.is_first():
        furthest = abs(args.shift or args.shift_steps * args.eps)
        for remark in remarks(experiment, pool, args.w_space, furthest):
            print(remark, file=sys.stderr)
    if args.shift is not None:
        edit(args, experiment, paths, sources, experiment.directory / "results" / pool.name)
        return
    results = experiment.directory / "results" / pool.name / settings.name
    own, silent = distributed.share(sources), not distributed.is_first()
    total = len(own) * paths.num_paths
    workers = default_workers() if args.workers is None else args.workers
    walk = traversal.traverse(space, paths, own, results, settings, args.batch_size, workers)
    for _ in tqdm(walk, total=total, desc="traversing", unit="path", dynamic_ncols=True, disable=silent):
        pass
    distributed.leave()
    if silent:
        return
    page = write_pages(results, experiment.labels, [source.name for source in sources])
    if args.single_file:
        write_single_file(results, experiment.labels, [source.name for source in sources],
                          lambda file, size: print(f"single file, about {size / 1e6:.1f} MB: {file}", flush=True))
    if args.verbose:
        print(f"{len(sources)} codes, {paths.num_paths} paths in {space.name} of {experiment.settings.gan}")
    print(f"results: {page}")
    if args.exp is not None:
        command = ["python", "evaluate.py", f"--exp={experiment.directory}", f"--pool={args.pool or pool.name}",
                   f"--shift-steps={args.shift_steps}", f"--eps={args.eps:g}"]  # fmt: skip
        command += [f"--gan={args.gan}"] if args.gan else []
        print(f"next: {shlex.join(command)}")


def tell_shares(args, experiment):
    """Say what lengths are that were given as shares of the Jung radius."""
    given = {"eps": args.eps, "shift": args.shift}
    for name, share in given.items():
        if isinstance(share, Share) and distributed.is_first():
            print(f"--{name}={share} is {experiment.length(share):g}: the space's Jung radius is "
                  f"{experiment.radius:.4g}")


def edit(args, experiment, paths, sources, results):
    """Write single edits below `results`."""
    from lib.pages.gallery import shown_path
    from lib.settings import suffix_of
    from lib.walking.edits import write_edits

    numbers = range(paths.num_paths) if args.paths is None else args.paths
    shown = {number: shown_path(number, experiment.labels[number]) for number in numbers}
    titles = {number: path.name or path.link[args.shift > 0] for number, path in shown.items()}
    directory = results / f"shift_{args.shift:g}{suffix_of(args.paths)}"
    sheet = write_edits(experiment.space, paths, titles, sources, directory, args.shift, args.w_space, args.batch_size)
    distributed.leave()
    if distributed.is_first():
        print(f"edits: {sheet}")


def remarks(experiment, pool, w_space, length):
    """What a user may not have meant: lines about going so far from a pool's codes."""
    from lib.pools import truncation_of

    made, walked = truncation_of(pool), experiment.settings.truncation
    if not w_space and made not in (None, walked):
        yield (f"the pool was made with truncation {made:g}, and the paths are walked with {walked:g}, as they were "
               "trained: its images look different in the walk")
    radius = getattr(experiment.settings, "jung_radius", None)
    if radius is not None and length > radius:
        yield (f"the paths go {length:.3g} from each code, and all codes lie in a ball of radius {radius:.3g}: images "
               "at its ends may fall apart; a smaller --eps stays closer")


def find_pool(name, experiment):
    """The directory of the pool with that name, or of one that is sampled now."""
    from lib import pools
    from lib.walking.sampling import sample_like
    from models.load_generator import generator_name

    settings = experiment.settings
    if name is None:
        return sample_like(settings, experiment.generator, NEW_POOL)
    return pools.find_pool(name, generator_name(settings.gan), settings.gan_sha256)


if __name__ == "__main__":
    run(main)
