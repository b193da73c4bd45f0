"""Walk the paths of an experiment from every code of a pool, and show them as pictures and a page."""

from pathlib import Path

from lib import distributed
from lib.command_line import (
    Formatter,
    Parser,
    add_device_arguments,
    choose_device,
    number,
    pixels,
    positive_float,
    positive_int,
    run,
)
from models.errors import UserError
from models.registry import GENERATORS

# Flags that decide nothing about what the pictures show.
FREE_SETTINGS = {"verbose", "exp", "pool", "gan", "batch_size", "workers", "cuda", "ops"}

EXAMPLE = """
example, after train.py and sample_gan.py:
  python traverse_latent_space.py -v --gif --strip --exp=experiments/complete/EXP_DIR \\
      --pool=stylegan2_portraits64-4 --eps=0.1 --shift-steps=15

The results are below EXP_DIR/results/; open index.html there. What is there already is not made again.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    p.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    g = p.add_argument_group("what is walked")
    g.add_argument("--exp", required=True, metavar="EXP_DIR", help="a trained experiment's directory")
    g.add_argument("--gan", metavar="FILE", help="the experiment's generator, where its file is elsewhere now")
    g.add_argument("--pool", required=True, help="a pool of sample_gan.py: its name or directory")
    g.add_argument("--w-space", action="store_true", help="take the pool's W+ codes, as of inverted photographs")

    g = p.add_argument_group("paths")
    g.add_argument("--shift-steps", type=positive_int, default=16, metavar="S", help="steps in either sense")
    g.add_argument("--eps", type=positive_float, default=0.2, help="length of a step, in units of the latent space")
    g.add_argument("--shift-leap", type=positive_int, default=1, metavar="L", help="make an image every L steps")

    g = p.add_argument_group("pictures")
    g.add_argument("--batch-size", type=positive_int, metavar="B", help="images at a time (default: what fits)")
    g.add_argument("--workers", type=number(int, low=0), metavar="N",
                   help="processes that write the pictures (default: one a core); 0: none beside the generator's")
    g.add_argument("--img-size", type=pixels, metavar="PX", help="of the saved images (default: the generator's)")
    g.add_argument("--img-quality", type=number(int, 1, 95), default=95, metavar="Q", help="JPEG quality, 1 to 95")
    g.add_argument("--gif", action="store_true", help="make an animation of each path")
    g.add_argument("--gif-height", type=pixels, default=256, metavar="PX", help="height of animations")
    g.add_argument("--gif-fps", type=number(int, 1, 50), default=30, metavar="FPS", help="frames a second, up to 50")
    g.add_argument("--strip", action="store_true", help="make a strip of each path, images side by side")
    g.add_argument("--strip-number", type=positive_int, default=9, metavar="N", help="images a strip")
    g.add_argument("--strip-height", type=pixels, default=256, metavar="PX", help="height of strips")
    add_device_arguments(p)
    return p


def check(args):
    """Refuse what contradicts itself, before anything is loaded."""
    if args.shift_leap > args.shift_steps:
        raise UserError(f"--shift-leap {args.shift_leap} is above --shift-steps {args.shift_steps}: nothing would move")
    frames = 2 * (args.shift_steps // args.shift_leap) + 1
    if args.strip and min(args.strip_number, frames) * args.strip_height > 65_500:
        raise UserError(f"a strip of so many images of {args.strip_height} px is wider than a JPEG can be "
                        "(65,500 px): lower --strip-number or --strip-height")


def main(arguments):
    args = parser().parse_args(arguments)
    check(args)

    from tqdm import tqdm

    from lib.experiment import open_trained
    from lib.files import check_generator
    from lib.latent_space import latent_space
    from lib.pages.folder import write_pages
    from lib.paths.support_sets import LatentSupportSets
    from lib.walking import pools, traversal
    from lib.walking.encoding import default_workers
    from models.files import sha256
    from models.load_generator import generator_file, generator_name, load_generator
    from models.untrusted.tensor_files import load_tensors

    trained, dipoles, weights = open_trained(args.exp)
    if args.w_space and trained["stylegan_space"] == "Z":
        raise UserError(f"{args.exp} walks the space Z: --w-space goes with paths in W, W+ or S")
    gan = args.gan or trained["gan"]
    if not args.gan and gan not in GENERATORS and not Path(gan).is_file():
        raise UserError(f"{gan}, the generator of {args.exp}, is not there: say where it is now with --gan")
    if generator_name(gan) != generator_name(trained["gan"]):
        raise UserError(f"--gan {gan} is not named as the generator of {args.exp}, {trained['gan']}: name it so")
    gan_sha256 = sha256(generator_file(gan))
    check_generator(trained, {"gan_sha256": gan_sha256}, args.exp)
    generator = load_generator(gan, distributed.join(choose_device(args.cuda, args.ops)))
    space = latent_space(generator, trained["stylegan_space"], trained["stylegan_layer"], trained["truncation"])
    support_sets = LatentSupportSets.from_state(load_tensors(weights), space.dim, weights)
    support_sets = support_sets.to(pools.device_of(generator))
    if support_sets.num_paths != len(dipoles):
        raise UserError(f"{weights} has {support_sets.num_paths} paths for {len(dipoles)} semantic dipoles")
    pool_directory = pools.find_pool(args.pool, generator_name(gan), gan_sha256)
    sources = pools.code_directories(pool_directory)
    pools.read_code(sources[0], space, args.w_space)  # refuses at once what does not fit

    length = round(2 * args.shift_steps * args.eps, 3)
    name = f"{2 * args.shift_steps}_{args.eps}_{length}"
    results = Path(args.exp) / "results" / pool_directory.name / name
    settings = {key: value for key, value in vars(args).items() if key not in FREE_SETTINGS}
    own, silent = distributed.share(sources), not distributed.is_first()
    total = len(own) * support_sets.num_paths
    workers = default_workers() if args.workers is None else args.workers
    walk = traversal.traverse(space, support_sets, own, results, settings, args.w_space, args.batch_size, workers)
    for _ in tqdm(walk, total=total, desc="traversing", unit="path", dynamic_ncols=True, disable=silent):
        pass
    distributed.leave()
    if silent:
        return
    page = write_pages(results, dipoles, [source.name for source in sources])
    if args.verbose:
        print(f"{len(sources)} codes, {support_sets.num_paths} paths in {space.name} of {gan}")
    print(f"results: {page}")


if __name__ == "__main__":
    run(main)
