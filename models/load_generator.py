"""A name or a file -> a frozen generator."""

from pathlib import Path

from models.errors import UserError
from models.formats import read_generator
from models.registry import GENERATORS


def load_generator(name_or_file, device="cpu"):
    """Load a generator in float32, frozen, in evaluation mode.

    `name_or_file` is a name in `registry.GENERATORS` or a file of a format in `models.formats`. Raises UserError if it
    is neither, and if the file does not hold a network that is supported here, naming what differs.
    """
    file = generator_file(name_or_file)
    generator = read_generator(file)
    other = mismatch(generator, str(name_or_file))
    if other:
        raise UserError(f"{file} holds {other}: put the right file there")
    return generator.float().requires_grad_(False).eval().to(device)


def mismatch(generator, name):
    """In words, how a generator differs from what its name promises; None if it does not, or if the name is unknown."""
    weights = GENERATORS.get(name)
    family = generator.family.name
    if weights is None or (family, generator.resolution) == (weights.family, weights.resolution):
        return None
    return f"a {family} of {generator.resolution} px, and {name} is a {weights.family} of {weights.resolution} px"


def generator_name(name_or_file):
    """The name of this generator in those of experiments and pools; for a file, its stem."""
    return str(name_or_file) if str(name_or_file) in GENERATORS else Path(name_or_file).stem


def generator_file(name_or_file):
    """The file of a generator. Raises UserError if there is no such generator, or if its weights are missing."""
    weights = GENERATORS.get(str(name_or_file))
    file = weights.file if weights else Path(name_or_file)
    if not file.is_file():
        raise UserError(_missing(name_or_file, weights))
    return file


def _missing(name_or_file, weights):
    if weights is None:
        return f"{name_or_file!r} is neither a file nor a generator; the generators are {', '.join(GENERATORS)}"
    fetch = f"run `{weights.fetched_by}`" if weights.fetched_by else "restore it with `git checkout models/pretrained`"
    return f"the weights of {name_or_file} are not in {weights.file}: {fetch}"
