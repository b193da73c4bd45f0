"""Whether a file is what it should be: the generator of its name, or a file that torch.save wrote."""

import zipfile

from models.errors import UserError
from models.formats import TORCH_MAGIC

# The first bytes of a file by torch.save before it wrote zip archives: a pickled number.
LEGACY_TORCH = b"\x80\x02" + TORCH_MAGIC + b"."


def check_content(path, asset, file):
    """Raise UserError where `path` cannot be the asset's `file`. Nothing that it contains is run."""
    if file in asset.sources:
        _check_generator(path, asset.label(file))
    else:
        _check_written_by_torch(path)


def _check_generator(path, name):
    from models.load_generator import load_generator, mismatch

    other = mismatch(load_generator(path), name)
    if other:
        raise UserError(f"{path} contains {other}")


def _check_written_by_torch(path):
    with open(path, "rb") as stream:
        legacy = stream.read(len(LEGACY_TORCH)) == LEGACY_TORCH
    if not legacy and not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a complete file of torch.save")
