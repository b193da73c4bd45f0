"""A name, a file or the user's own code -> a frozen generator."""

from pathlib import Path

from models.errors import UserError, quoted, unknown
from models.formats import read_generator
from models.registry import GENERATORS, is_own_code, own_code


def load_generator(name_or_file, device="cpu"):
    """Load a generator in float32, frozen, in evaluation mode.

    `name_or_file` is a name in `registry.GENERATORS`, a file of a format in `models.formats`, or python:FILE:FUNCTION,
    which is run (`models.custom`). Raises UserError if it is none of these, and if the file does not hold a network
    that is supported here, naming what differs.
    """
    file = generator_file(name_or_file)
    if is_own_code(name_or_file):
        from models import custom

        return custom.load(str(name_or_file), device)
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
    """The name of this generator in those of experiments and pools; for a file, its stem; for the user's own code, its
    stem and the function, as in my_gan.build. Raises UserError if the file is hidden, or has no name."""
    if is_own_code(name_or_file):
        file, function = own_code(name_or_file)
        return f"{file.stem}.{function}"
    if str(name_or_file) in GENERATORS:
        return str(name_or_file)
    name = Path(name_or_file).stem
    if not name or name.startswith("."):  # "...pth" would lead out of the directory of the pools
        raise UserError(f"{quoted(name_or_file, 150)} has no name that a directory could have: rename the file, to "
                        "something that does not begin with a dot")
    return name


def generator_file(name_or_file):
    """The file of a generator. Raises UserError if there is no such generator, or if its weights are missing."""
    if is_own_code(name_or_file):
        file, _ = own_code(name_or_file)
        if not file.is_file():
            raise UserError(f"{name_or_file}: there is no file {file}")
        return file
    weights = GENERATORS.get(str(name_or_file))
    file = weights.file if weights else Path(name_or_file)
    if not file.is_file():
        raise _missing(name_or_file, weights)
    return file


def _missing(name, weights):
    """The error for a generator without a file. weights: its entry in `GENERATORS`, or None."""
    if weights is None:
        return unknown(name, "a generator", [*GENERATORS, "python:FILE:FUNCTION"])
    fetch = f"run `{weights.fetched_by}`" if weights.fetched_by else weights.by_hand
    fetch = fetch or "restore it with `git checkout models/pretrained`"
    return UserError(f"the weights of {name} are not in {weights.file}: {fetch}")
