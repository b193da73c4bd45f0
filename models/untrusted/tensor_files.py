"""Files of tensors that are not to be trusted: only tensors and plain containers are read from them."""

import argparse
import mmap
import warnings
import zipfile
from pathlib import Path

import torch

from models.errors import UserError
from models.untrusted.pickles import BrokenPickle, Function
from models.untrusted.storages import read_legacy

# Tensors may share a storage, or repeat it by strides of 0: all tensors may take this much more memory than their file.
MOST_SHARED = 256 << 20  # bytes

ZIP = b"PK\x03\x04"


class Unread:
    """Replaces an object in the content of a file that is not needed: it is neither built nor looked at."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _):
        pass


def load_tensors(path, device="cpu", unread=()):
    """The content of a file that torch.save wrote.

    unread: full names of classes and functions, such as "numpy.dtype", whose objects are replaced by `Unread` ones; all
    others but those of tensors are refused.

    Raises UserError where the file is missing or damaged, where it contains anything but tensors and plain containers
    of them, and where it claims to contain more bytes than it has.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        _check_claims(path)
        known = [argparse.Namespace, *((Unread, name) for name in unread)]
        with warnings.catch_warnings(), torch.serialization.safe_globals(known):
            warnings.simplefilter("ignore")  # torch warns about damaged files before it fails
            content = torch.load(path, map_location=device, weights_only=True)
        check_size(content, path)
        return content
    except (MemoryError, UserError):
        raise
    except Exception as error:  # of any kind: torch does not say which ones a damaged file can raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path} cannot be read as a file of tensors ({reason}): download or copy it again") from None


def check_size(content, path):
    """Raise UserError where the tensors in nested containers take much more memory than their file takes disk space."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))
    if size > Path(path).stat().st_size + MOST_SHARED:
        raise UserError(f"{path} claims {size:,} bytes of tensors, which it does not have: download or copy it again")


def _tensors(content):
    """Every tensor in nested lists, tuples and dicts, some of which may contain themselves."""
    waiting, seen = [content], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, dict) else item)


def _check_claims(path):
    """Raise BrokenPickle, or what zipfile raises, where a file claims to contain more bytes than it has."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        is_zip = file.read(len(ZIP)) == ZIP  # torch.load distinguishes its formats in the same way
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(record.file_size for record in archive.infolist())
        if claimed > size:
            raise BrokenPickle(f"it claims {claimed:,} bytes, but has {size:,}")
    elif size:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            read_legacy(stream, size, lambda module, name: Function(lambda *_: {}))
