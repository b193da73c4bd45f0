"""A name or a file -> a frozen generator."""

from pathlib import Path

from models.errors import UserError
from models.formats import read_generator
from models.registry import GENERATORS


def load_generator(name_or_file, device="cpu"):
    """Load a generator in float32, frozen, in evaluation mode.

    `name_or_file` is a name of `registry.GENERATORS` or a file of a format in `models.formats`. Raises UserError where
    there is no such thing, and where the file holds none of our networks, naming what differs.
    """
    file = generator_file(name_or_file)
    generator = read_generator(file)
    other = mismatch(generator, str(name_or_file))
    if other:
        raise UserError(f"{file} holds {other}: put the right file there")
    return generator.float().requires_grad_(False).eval().to(device)


def mismatch(generator, name):
    """In words, what a generator is and what the name stands for, where they differ; None where they do not, or where
    no generator goes by that name."""
    weights = GENERATORS.get(name)
    family = generator.family.name
    if weights is None or (family, generator.resolution) == (weights.family, weights.resolution):
        return None
    return f"a {family} of {generator.resolution} px, and {name} is a {weights.family} of {weights.resolution} px"


def generator_name(name_or_file):
    """The name that experiments and pools of this generator carry: a file's stem."""
    return str(name_or_file) if str(name_or_file) in GENERATORS else Path(name_or_file).stem


def generator_file(name_or_file):
    """The file of a generator. Raises UserError where there is no such generator, or its weights are missing."""
    weights = GENERATORS.get(str(name_or_file))
    file = weights.file if weights else Path(name_or_file)
    if not file.is_file():
        raise UserError(_missing(name_or_file, weights))
    return file


def _missing(name_or_file, weights):
    if weights is None:
        return (
            f"{name_or_file!r} is neither a file nor a generator; the generators are {', '.join(GENERATORS)}"
        )
    fetch = f"run `{weights.fetched_by}`" if weights.fetched_by else "restore it with `git checkout models/pretrained`"
    return f"the weights of {name_or_file} are not in {weights.file}: {fetch}"
