"""Make a pool of latent codes and their images, for traverse_latent_space.py."""

if __name__ == "__main__":  # before the other imports, since a signal may come during them
    from lib.startup import begin

    begin()

from pathlib import Path

from lib import distributed
from lib.arguments import check_plain_name, number, positive_int, seed
from lib.command_line import Formatter, Parser, add_device_arguments, choose_device, run
from lib.settings import SHARE
from lib.status import doing
from models.errors import UserError
from models.registry import GENERATORS, family_of

NUM_SAMPLES = 4
EXAMPLE = """
example, on the embedded portraits:
  python sample_gan.py -v --gan=stylegan2_portraits64 --truncation=0.7 --num-samples=4

The pool is experiments/latent_codes/<gan>/<gan>-<num-samples>, <gan>-<name of FILE>, or <gan>-<NAME>; with
--biggan-target-classes, <gan>-class<number>-.. Codes that exist already are not made again.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    p.add_argument("-v", "--verbose", action="store_true", help="list the codes")
    p.add_argument("--gan", "--gan-type", dest="gan", required=True,
                   help=f"a name ({', '.join(GENERATORS)}), a checkpoint file, or python:FILE:FUNCTION, a "
                        "generator of your own: its code is run (docs/generators.md)")
    p.add_argument("--stylegan-space", default="Z", choices=("Z", "W"),
                   help="StyleGAN2: which code the image is named after; those of Z, W and W+ are all written")
    p.add_argument("--truncation", type=number(float, SHARE), default=1.0, metavar="PSI",
                   help="StyleGAN2: pull codes towards the mean of W; DCGAN: scale z; 1: no truncation. BigGAN: "
                        "scale z, and cut its normal distribution off at 2 PSI")
    p.add_argument("--biggan-target-classes", nargs="+", metavar="CLASS",
                   help="BigGAN: the classes that codes are drawn from, by number or name (default: all)")
    p.add_argument("--num-samples", type=positive_int, metavar="N", help=f"number of codes (default: {NUM_SAMPLES})")
    p.add_argument("--seed", type=seed, default=0, help="the seed of the codes")
    p.add_argument("--name", default="", metavar="NAME", help="what the pool's name ends with, instead of its number")
    p.add_argument("--from-codes", metavar="FILE.pt",
                   help="use the codes of a tensor as they are, such as those of inverted photographs. StyleGAN2: (n, "
                        "layers, w_dim) or (n, w_dim); walk such a pool with --w-space. BigGAN: (n, z_dim) with one "
                        "target class, or (n, z_dim + embed_dim)")
    p.add_argument("--accepted-by", default="", metavar="JUDGE",
                   help="leave out codes whose image this judge does not accept; faces64: an image without a face")
    p.add_argument("--batch-size", type=positive_int, metavar="B", help="images at a time (default: what fits)")
    add_device_arguments(p)
    return p


def check(args):
    """Refuse arguments that contradict each other, before anything is loaded."""
    family = family_of(args.gan)
    if family:
        family.check(args.gan, args.stylegan_space, args.truncation, args.biggan_target_classes)
    check_plain_name(args.name, f"--name {args.name!r}", may_be_empty=True)
    if args.from_codes is None:
        args.num_samples = args.num_samples or NUM_SAMPLES
    elif args.num_samples is not None or args.seed != 0 or args.stylegan_space != "Z" or args.accepted_by:
        raise UserError("--from-codes uses all codes of its file as they are: leave out --num-samples, --seed, "
                        "--stylegan-space and --accepted-by")
    elif family:
        check_truncation_of_file(args, family)


def check_truncation_of_file(args, family):
    """Refuse a truncation of codes that are used as they are, unless the image depends on it too."""
    if args.truncation != 1 and not family.conditional:
        raise UserError("--from-codes uses all codes of its file as they are: leave out --truncation")


def main(arguments):
    args = parser().parse_args(arguments)
    check(args)

    with doing("loading PyTorch"):
        from lib.judges import load_judge
        from lib.settings import PoolSettings
        from lib.walking import sampling
        from models.load_generator import load_generator

        device = distributed.join(choose_device(args))
    args.cuda, args.device = device.type == "cuda", str(device)
    with doing("loading the generator"):
        generator = load_generator(args.gan, device)
    space = sampling.space_of_pool(generator, args.stylegan_space, args.truncation, args.biggan_target_classes)
    args.biggan_target_classes = None if args.biggan_target_classes is None else space.classes
    if args.from_codes:
        check_truncation_of_file(args, generator.family)
        codes, args.codes_sha1 = sampling.from_file(args.from_codes, space, args.gan)
        args.num_samples, name = len(codes), Path(args.from_codes).stem
        args.stylegan_space = "W" if space.name in ("W", "W+") else "Z"
    else:
        with doing("drawing codes"):
            judge = None
            if args.accepted_by:
                judge = load_judge(args.accepted_by, device=str(space.device), gan=args.gan)
            codes, name = sampling.drawn(space, args.num_samples, args.seed, judge), args.num_samples
    directory = sampling.pool_directory(args.gan, args.biggan_target_classes, args.name or name)
    sampling.make_pool(directory, codes, space, PoolSettings.of(vars(args)), args.batch_size)
    distributed.leave()
    if distributed.is_first():
        show(directory, codes, space, args.verbose)


def show(directory, codes, space, verbose):
    """Print where the pool is, and with `verbose` its codes."""
    from lib.pools import code_hash
    from lib.walking.sampling import SHEET

    print(f"pool: {directory}, shown in {directory / SHEET}")
    if verbose:
        for code in codes:
            print(f"  {code_hash(next(iter(code.values())))}{class_of(code, space)}")


def class_of(codes, space):
    """The class of a code, to print behind it; "" if the generator has no classes."""
    if not space.generator.family.conditional:
        return ""
    index = space.generator.classes(codes["latent_code_z.pt"].to(space.device)).item()
    return f"  class {index} {space.generator.names()[index]}".rstrip()


if __name__ == "__main__":
    run(main)
