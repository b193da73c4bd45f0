"""Make a pool of latent codes and their images, for traverse_latent_space.py."""

import argparse

from lib.command_line import Formatter, add_device_arguments, choose_device, number, positive_int, run, seed
from models.errors import UserError
from models.registry import GENERATORS, generator_kind

EXAMPLE = """
example, on the embedded portraits:
  python sample_gan.py -v --gan=stylegan2_portraits64 --truncation=0.7 --num-samples=4

The pool is experiments/latent_codes/<gan>/<gan>-<num-samples>. What is already there is not made again.
"""


def parser():
    p = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    p.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    p.add_argument("--gan", "--gan-type", dest="gan", required=True,
                   help=f"a name ({', '.join(GENERATORS)}) or a checkpoint file")
    p.add_argument("--stylegan-space", default="Z", choices=("Z", "W"),
                   help="StyleGAN2: which code the image is named after; Z, W and W+ are written")
    p.add_argument("--truncation", type=number(float, 0, 1, open_low=True), default=1.0, metavar="PSI",
                   help="StyleGAN2: pull codes towards the mean of W; 1 is none")
    p.add_argument("--num-samples", type=positive_int, default=4, metavar="N", help="codes")
    p.add_argument("--seed", type=seed, default=0, help="the codes follow from it")
    add_device_arguments(p)
    return p


def main(arguments):
    args = parser().parse_args(arguments)
    if generator_kind(args.gan) == "ProgGAN" and (args.stylegan_space != "Z" or args.truncation != 1):
        raise UserError(f"{args.gan} is a ProgGAN: it has no --stylegan-space but Z, and no --truncation")

    import torch
    from tqdm import tqdm

    from lib import pool
    from lib.config import LATENT_CODES
    from lib.latent_space import latent_space
    from models.load_generator import generator_name, load_generator

    generator = load_generator(args.gan, choose_device(args.cuda))
    latent_space(generator, args.stylegan_space, truncation=args.truncation)  # refuses what the generator has not
    name = generator_name(args.gan)
    directory = LATENT_CODES / name / f"{name}-{args.num_samples}"
    pool.open_for_writing(directory, vars(args))
    codes = torch.randn(args.num_samples, generator.z_dim, generator=torch.Generator().manual_seed(args.seed))
    image_name = f"image_{args.stylegan_space.lower()}.jpg"
    for z in tqdm(codes.split(1), desc="sampling", unit="code"):
        pool.write_code(directory, generator, z, args.truncation, image_name)
    print(f"pool: {directory}")
    if args.verbose:
        for z in codes.split(1):
            print(f"  {pool.code_hash(z)}")


if __name__ == "__main__":
    run(main)
