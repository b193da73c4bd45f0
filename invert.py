"""Find latent codes whose images look like pictures, and make a pool of them for traverse_latent_space.py."""

if __name__ == "__main__":  # before the other imports, since a signal may come during them
    from lib.startup import begin

    begin()

import shlex
from pathlib import Path

from lib.arguments import check_plain_name, number, positive_float, positive_int, seed, steps
from lib.command_line import Formatter, Parser, add_device_arguments, choose_device, run
from lib.settings import SHARE, InversionSettings, Range
from lib.status import doing
from models.errors import UserError
from models.registry import GENERATORS, family_of

NAME, AUTO = "inverted", "auto"
EXAMPLE = """
example, on the embedded portraits:
  python invert.py --gan=stylegan2_portraits64 --steps=100 portrait.png

The pool is experiments/latent_codes/<gan>/<gan>-<NAME>. Pictures that it has already are not inverted again. Walk it
with --w-space, unless its codes are of Z.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    p.add_argument("pictures", nargs="+", metavar="PICTURE", help="a JPEG, PNG or WebP")
    p.add_argument("-v", "--verbose", action="store_true", help="say what of each picture was inverted")
    p.add_argument("--gan", "--gan-type", dest="gan", required=True,
                   help=f"a name ({', '.join(GENERATORS)}), a checkpoint file, or python:FILE:FUNCTION, a "
                        "generator of your own: its code is run (docs/generators.md)")
    p.add_argument("--name", default=NAME, help="what the pool's name ends with")
    p.add_argument("--align", default=AUTO, choices=(AUTO, "face", "square"),
                   help="square: take the middle of a picture; face: bring its face to where the generator's faces "
                        "are; auto: do so where both have one")

    g = p.add_argument_group("codes")
    g.add_argument("--stylegan-space", choices=("Z", "W", "W+"),
                   help="where codes are sought (default: W+, or Z of a generator without it)")
    g.add_argument("--truncation", type=number(float, SHARE), default=1.0, metavar="PSI",
                   help="in Z of a StyleGAN2: that of the walk")
    g.add_argument("--compare", default=AUTO, metavar="BY",
                   help="what pictures are compared by: pixels, lpips or clip:NAME, both with pixels; auto: lpips if "
                        "torchvision's weights for it are on this machine, else pixels")
    g.add_argument("--start", default="samples", choices=("samples", "mean"),
                   help="begin where a regression on random samples leads, or the best of them; or at the mean of W")
    g.add_argument("--samples", type=number(int, Range(low=2, high=10**5)), default=InversionSettings.samples,
                   metavar="N", help="how many")
    g.add_argument("--tries", type=number(int, Range(low=1, high=100)), metavar="T",
                   help="searches from different starts, of which the best goes on after half of the steps (default: 3 "
                        "in Z, 1 elsewhere)")
    g.add_argument("--steps", type=steps, metavar="S",
                   help=f"steps of the search (default: {InversionSettings.steps})")
    g.add_argument("--seconds", type=positive_float, help="instead of steps, the time for all pictures together")
    g.add_argument("--no-noise", dest="noise", action="store_false",
                   help="StyleGAN2: keep the noise as it is, instead of letting it take what no code can show")
    g.add_argument("--seed", type=seed, default=0, help="the seed of the samples")

    g = p.add_argument_group("work")
    g.add_argument("--no-reach", dest="reach", action="store_false",
                   help="do not say how much of a picture the generator can show, for which 8 of its own samples are "
                        "inverted, once for these flags")
    g.add_argument("--batch-size", type=positive_int, metavar="B", help="pictures at a time (default: what fits)")
    add_device_arguments(p)
    return p


def check(args):
    """Refuse arguments that contradict each other, before anything is loaded."""
    family = family_of(args.gan)
    if family:
        check_family(args, family)
    if args.steps is not None and args.seconds is not None:
        raise UserError("--steps and --seconds both say when the search ends: leave out one of the two")
    check_plain_name(args.name, f"--name {args.name!r}")
    for picture in args.pictures:
        if not Path(picture).exists():
            raise UserError(f"there is no picture {picture}: give the path of a JPEG, PNG or WebP")


def check_family(args, family):
    """Refuse what a generator does not have, and choose the space where none is named."""
    args.stylegan_space = args.stylegan_space or next(name for name in ("W+", "W", "Z") if name in family.spaces)
    family.check(args.gan, args.stylegan_space, args.truncation)
    if family.conditional:
        raise UserError(f"{args.gan} is a {family.name}, whose codes hold a class, and pictures are inverted without "
                        "classes: choose another generator")
    if args.stylegan_space == "Z" and args.start == "mean":
        raise UserError("--start=mean goes with W and W+, as codes of Z are far from their mean: use --start=samples")
    if args.truncation != 1 and (args.stylegan_space != "Z" or family.scales_z):
        raise UserError("--truncation goes with Z of a StyleGAN2, and other codes are used as they are: leave it out")


def main(arguments):
    args = parser().parse_args(arguments)
    check(args)

    with doing("loading PyTorch"):
        from lib.inversion.comparing import default_comparison, load_comparison
        from lib.inversion.pictures import Cutter
        from lib.inversion.pools import SHEET, Bar, default_batch_size, make_pool
        from lib.inversion.reach import find_reach
        from lib.latent_space import latent_space
        from lib.settings import InvertedPoolSettings
        from lib.walking.sampling import pool_directory
        from models.files import sha256
        from models.load_generator import generator_file, load_generator

        device = choose_device(args)
    args.cuda, args.device = device.type == "cuda", str(device)
    with doing("loading the generator"):
        generator = load_generator(args.gan, device)
    check_family(args, generator.family)
    space = latent_space(generator, args.stylegan_space, None, args.truncation)
    args.gan_sha256, args.steps = sha256(generator_file(args.gan)), args.steps or InversionSettings.steps
    args.compare = default_comparison() if args.compare == AUTO else args.compare
    load_comparison(args.compare, device)  # refuses what is not there before anything is made
    with doing("reading the pictures"):
        pictures = list(map(Cutter(space, args.align), args.pictures))
    batch_size = min(len(pictures), args.batch_size or default_batch_size(generator))
    settings = InvertedPoolSettings.of(vars(args))
    reach = None
    if args.reach:
        with Bar("inverting own samples, once for this generator (--no-reach leaves it out)") as progress:
            reach = find_reach(space, settings, args.gan_sha256, progress)
    directory = pool_directory(args.gan, None, args.name)
    records = make_pool(directory, pictures, space, settings, reach, batch_size)
    for picture, (code, record) in zip(pictures, records):
        distance = record["distance"]
        print(f"{picture.name}: " + (reach.words(distance) if reach else f"distance {distance:.3f}"))
        if args.verbose:
            frame = picture.frame
            print(f"  {code}  {frame.side:.0f} px around ({frame.x:.0f}, {frame.y:.0f}), turned by {frame.angle:.2f}")
    print(f"pool: {directory}, shown in {directory / SHEET}")
    walk = ["--w-space"] if space.name != "Z" else []
    print("next: " + shlex.join(["python", "traverse_latent_space.py", *walk, f"--pool={directory.name}"])
          + " --exp=latest")  # fmt: skip


if __name__ == "__main__":
    run(main)
