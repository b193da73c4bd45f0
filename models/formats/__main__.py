"""Convert a generator of any supported format to a genforce file, or to safetensors."""

import argparse
import os
import sys

from models.errors import UserError

EXAMPLE = """
FILE is a genforce .pth, an NVIDIA .pkl (StyleGAN2, by the code of StyleGAN2-ADA-PyTorch or StyleGAN3), a rosinality
.pt, a BigGAN's .bin (pytorch-pretrained-biggan) or .pth (BigGAN-PyTorch), or safetensors; its format is detected from
its content. Nothing in the file is run.

example:
  python -m models.formats stylegan2-ffhq-512x512.pkl ffhq512.pth
"""


def main():
    p = argparse.ArgumentParser(prog="python -m models.formats", description=__doc__, epilog=EXAMPLE,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("source", metavar="FILE", help="a generator")
    p.add_argument("target", metavar="OUT", help="file to write: as safetensors if its name ends so, else as genforce")
    args = p.parse_args()

    if os.path.isdir(args.target):
        sys.exit(_fail(f"{args.target} is a directory: OUT is the file to write"))

    from models.formats import convert

    try:
        convert(args.source, args.target)
    except UserError as error:
        sys.exit(_fail(error))
    except OSError as error:
        sys.exit(_fail(f"{error.strerror}: {error.filename}" if error.filename else str(error)))
    print(f"written: {os.path.normpath(args.target)}")


def _fail(message):
    print(f"python -m models.formats: error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
