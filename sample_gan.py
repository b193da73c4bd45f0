"""Make a pool of latent codes and their images, for traverse_latent_space.py."""

from pathlib import Path

from lib import distributed
from lib.arguments import number, positive_int, seed
from lib.command_line import Formatter, Parser, add_device_arguments, choose_device, run
from lib.settings import SHARE, PoolSettings
from models.errors import UserError
from models.registry import GENERATORS, family_of

NUM_SAMPLES = 4
EXAMPLE = """
example, on the embedded portraits:
  python sample_gan.py -v --gan=stylegan2_portraits64 --truncation=0.7 --num-samples=4

The pool is experiments/latent_codes/<gan>/<gan>-<num-samples>, or <gan>-<name of FILE>; with --biggan-target-classes,
<gan>-class<number>-<num-samples>. Codes that exist already are not made again.
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
    p.add_argument("--from-codes", metavar="FILE.pt",
                   help="use the codes of a tensor as they are, such as those of inverted photographs. StyleGAN2: (n, "
                        "layers, w_dim) or (n, w_dim); walk such a pool with --w-space. BigGAN: (n, z_dim) with one "
                        "target class, or (n, z_dim + embed_dim)")
    p.add_argument("--batch-size", type=positive_int, metavar="B", help="images at a time (default: what fits)")
    add_device_arguments(p)
    return p


def check(args):
    """Refuse arguments that contradict each other, before anything is loaded."""
    family = family_of(args.gan)
    if family:
        family.check(args.gan, args.stylegan_space, args.truncation, args.biggan_target_classes)
    if args.from_codes is None:
        args.num_samples = args.num_samples or NUM_SAMPLES
    elif args.num_samples is not None or args.seed != 0 or args.stylegan_space != "Z":
        raise UserError("--from-codes uses all codes of its file as they are: leave out --num-samples, --seed and "
                        "--stylegan-space")
    elif family:
        check_truncation_of_file(args, family)


def check_truncation_of_file(args, family):
    """Refuse a truncation of codes that are used as they are, unless the image depends on it too."""
    if args.truncation != 1 and not family.conditional:
        raise UserError("--from-codes uses all codes of its file as they are: leave out --truncation")


def main(arguments):
    args = parser().parse_args(arguments)
    check(args)

    from tqdm import tqdm

    from lib import pools
    from lib.config import LATENT_CODES
    from lib.walking.pictures import save_jpeg
    from lib.walking.synthesis import Synthesiser, default_batch_size
    from models.class_names import suffix_of
    from models.files import sha256
    from models.load_generator import generator_file, generator_name, load_generator

    generator = load_generator(args.gan, distributed.join(choose_device(args.cuda, args.ops)))
    space = space_of(args, generator)
    args.biggan_target_classes = None if args.biggan_target_classes is None else space.classes
    sources, suffix = from_file(args, space) if args.from_codes else drawn(args, space)
    name = generator_name(args.gan)
    directory = LATENT_CODES / name / f"{name}{suffix_of(args.biggan_target_classes)}-{suffix}"
    settings = PoolSettings.of(vars(args) | {"gan_sha256": sha256(generator_file(args.gan))})
    distributed.from_first(lambda: pools.open_for_writing(directory, settings))
    image_name = f"image_{args.stylegan_space.lower()}.jpg"
    batch_size = args.batch_size or default_batch_size(generator)
    synthesise = Synthesiser(lambda codes: space.synthesise(codes.to(space.device)), batch_size)
    own, silent = distributed.share(sources), not distributed.is_first()
    with tqdm(total=len(own), desc="sampling", unit="code", dynamic_ncols=True, disable=silent) as progress:
        for first in range(0, len(own), batch_size):
            batch = own[first : first + batch_size]
            pools.write_codes(directory, batch, image_name, synthesise, save_jpeg)
            progress.update(len(batch))
    distributed.leave()
    if silent:
        return
    print(f"pool: {directory}")
    if args.verbose:
        for codes in sources:
            print(f"  {pools.code_hash(next(iter(codes.values())))}{class_of(codes, space)}")


def space_of(args, generator):
    """The space of the codes that a pool stores: W or W+, or Z if there is neither. Raises UserError for what is not
    there."""
    from lib.latent_space import latent_space

    space = latent_space(generator, args.stylegan_space, None, args.truncation, args.biggan_target_classes)
    name = next((name for name in ("W", "W+") if name in generator.family.spaces), None)
    return latent_space(generator, name, None, args.truncation) if name else space


def class_of(codes, space):
    """The class of a code, to print behind it; "" if the generator has no classes."""
    if not space.generator.family.conditional:
        return ""
    index = space.generator.classes(codes["latent_code_z.pt"].to(space.device)).item()
    return f"  class {index} {space.generator.names()[index]}".rstrip()


def drawn(args, space):
    """The random codes of the seed, as `pools.write_codes` takes them, and the end of the pool's name."""
    import torch

    from lib import pools

    z_dim = space.generator.z_dim
    codes = torch.randn(args.num_samples, z_dim, generator=torch.Generator().manual_seed(args.seed))
    return [pools.codes_of_z(space, z) for z in codes.split(1)], args.num_samples


def from_file(args, space):
    """The codes of --from-codes, as `pools.write_codes` takes them, and the end of the pool's name."""
    from lib import pools

    family = space.generator.family
    check_truncation_of_file(args, family)
    if not {"W", "W+"}.isdisjoint(family.spaces):
        stored, codes = "latent_code_w+.pt", pools.read_w_plus(args.from_codes, space.generator)
        args.stylegan_space = "W"
    elif family.conditional:
        stored, codes = "latent_code_z.pt", pools.read_conditional(args.from_codes, space)
    else:
        raise UserError(f"--from-codes takes codes of W or W+, and {args.gan} is a {family.name}, which has neither: "
                        "give a StyleGAN2")
    args.num_samples = len(codes)
    args.codes_sha1 = pools.code_hash(codes)  # for args.json: another tensor with this name would be another pool
    return [{stored: code.clone()} for code in codes.split(1)], Path(args.from_codes).stem


if __name__ == "__main__":
    run(main)
