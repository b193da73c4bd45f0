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

The pool is experiments/latent_codes/<gan>/<gan>-<num-samples>, or <gan>-<name of FILE>. Codes that exist already are
not made again.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    p.add_argument("-v", "--verbose", action="store_true", help="list the codes")
    p.add_argument("--gan", "--gan-type", dest="gan", required=True,
                   help=f"a name ({', '.join(GENERATORS)}) or a checkpoint file")
    p.add_argument("--stylegan-space", default="Z", choices=("Z", "W"),
                   help="StyleGAN2: which code the image is named after; those of Z, W and W+ are all written")
    p.add_argument("--truncation", type=number(float, SHARE), default=1.0, metavar="PSI",
                   help="StyleGAN2: pull codes towards the mean of W; 1: no truncation")
    p.add_argument("--num-samples", type=positive_int, metavar="N", help=f"number of codes (default: {NUM_SAMPLES})")
    p.add_argument("--seed", type=seed, default=0, help="the seed of the codes")
    p.add_argument("--from-codes", metavar="FILE.pt",
                   help="StyleGAN2: use the codes of a tensor (n, layers, w_dim) or (n, w_dim) as they are, such as "
                        "those of inverted photographs; walk such a pool with --w-space")
    p.add_argument("--batch-size", type=positive_int, metavar="B", help="images at a time (default: what fits)")
    add_device_arguments(p)
    return p


def check(args):
    """Refuse arguments that contradict each other, before anything is loaded."""
    family = family_of(args.gan)
    if family:
        family.check(args.gan, args.stylegan_space, args.truncation)
    if args.from_codes is None:
        args.num_samples = args.num_samples or NUM_SAMPLES
    elif args.num_samples is not None or args.truncation != 1 or args.seed != 0 or args.stylegan_space != "Z":
        raise UserError("--from-codes uses all codes of its file as they are: leave out --num-samples, --truncation, "
                        "--seed and --stylegan-space")


def main(arguments):
    args = parser().parse_args(arguments)
    check(args)

    from tqdm import tqdm

    from lib import pools
    from lib.config import LATENT_CODES
    from lib.walking.pictures import save_jpeg
    from lib.walking.synthesis import Synthesiser, default_batch_size
    from models.files import sha256
    from models.load_generator import generator_file, generator_name, load_generator

    generator = load_generator(args.gan, distributed.join(choose_device(args.cuda, args.ops)))
    sources, suffix = from_file(args, generator) if args.from_codes else drawn(args, generator)
    name = generator_name(args.gan)
    directory = LATENT_CODES / name / f"{name}-{suffix}"
    settings = PoolSettings.of(vars(args) | {"gan_sha256": sha256(generator_file(args.gan))})
    distributed.from_first(lambda: pools.open_for_writing(directory, settings))
    image_name = f"image_{args.stylegan_space.lower()}.jpg"
    batch_size = args.batch_size or default_batch_size(generator)
    synthesise = Synthesiser(lambda codes: generator(codes.to(pools.device_of(generator))), batch_size)
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
            print(f"  {pools.code_hash(next(iter(codes.values())))}")


def drawn(args, generator):
    """The random codes of the seed, as `pools.write_codes` takes them, and the end of the pool's name."""
    import torch

    from lib import pools
    from lib.latent_space import latent_space

    latent_space(generator, args.stylegan_space, truncation=args.truncation)  # refuses what the generator does not have
    codes = torch.randn(args.num_samples, generator.z_dim, generator=torch.Generator().manual_seed(args.seed))
    return [pools.codes_of_z(generator, z, args.truncation) for z in codes.split(1)], args.num_samples


def from_file(args, generator):
    """The codes of --from-codes, as `pools.write_codes` takes them, and the end of the pool's name."""
    from lib import pools

    if "W+" not in generator.family.spaces:
        raise UserError(f"--from-codes takes codes of W or W+, and {args.gan} is a {generator.family.name}, which has "
                        "neither: give a StyleGAN2")
    codes = pools.read_w_plus(args.from_codes, generator)
    args.stylegan_space, args.num_samples = "W", len(codes)
    args.codes_sha1 = pools.code_hash(codes)  # for args.json: another tensor with this name would be another pool
    return [{"latent_code_w+.pt": code.clone()} for code in codes.split(1)], Path(args.from_codes).stem


if __name__ == "__main__":
    run(main)
