"""Files of tensors from anyone: nothing but tensors and plain containers is read out of them."""

import argparse
import io
import math
import mmap
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch

from models.errors import UserError
from models.untrusted.pickles import BrokenPickle, ForbiddenGlobal, Function, load

# Tensors may share their storage, or repeat it by strides of 0: together they may be this much larger than their file.
MOST_SHARED = 256 << 20  # bytes

ZIP = b"PK\x03\x04"
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # with which torch.save began before it wrote zip archives
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Unread:
    """What stands in a file's content for an object that is neither built nor looked at."""

    def __init__(self, *_):
        pass

    def __setstate__(self, _):
        pass


def load_tensors(path, device="cpu", unread=()):
    """The content of a file that torch.save wrote.

    unread: full names of classes and functions, such as "numpy.dtype", whose objects become `Unread` ones; all others
    but those of tensors are refused.

    Raises UserError where the file is missing, broken, holds anything but tensors and plain containers of them, or
    claims to hold more than its own size.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        _check_claims(path)
        known = [argparse.Namespace, *((Unread, name) for name in unread)]
        with warnings.catch_warnings(), torch.serialization.safe_globals(known):
            warnings.simplefilter("ignore")  # torch warns of odd files before it fails on them
            content = torch.load(path, map_location=device, weights_only=True)
        check_size(content, path)
        return content
    except (MemoryError, UserError):
        raise
    except Exception as error:  # a damaged file fails in any way: unpickling, a missing record, a wrong type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path} cannot be read as a file of tensors ({reason}): get it again") from None


def check_size(content, path):
    """Raise UserError where the tensors in nested containers would fill much more memory than their file fills disk."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))
    if size > Path(path).stat().st_size + MOST_SHARED:
        raise UserError(f"{path} claims {size:,} bytes of tensors, which it does not have: get it again")


def _tensors(content):
    """Every tensor in nested lists, tuples and dicts, which may contain themselves."""
    waiting, seen = [content], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, dict) else item)


def _check_claims(path):
    """Raise BrokenPickle, or what zipfile raises, where a file says that it holds more bytes than it has."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        is_zip = file.read(len(ZIP)) == ZIP  # which is how torch.load tells the two apart
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(record.file_size for record in archive.infolist())
        if claimed > size:
            raise BrokenPickle(f"it claims {claimed:,} bytes and has {size:,}")
    elif size:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            _read_legacy(stream, size, lambda module, name: Function(lambda *_: {}))


class _Storage(NamedTuple):
    dtype: torch.dtype
    length: int


def _read_legacy(stream, size, find):
    """What torch.save wrote before it wrote zip archives: its object, with `_Storage` for storages.

    `stream` is left where the bytes of the storages begin. `find` as in `pickles.load`, for all globals but storages.
    Raises BrokenPickle where it is no such file, or where a storage claims more than `size` bytes.
    """

    def find_or_storage(module, name):
        return STORAGES[name] if module == "torch" and name in STORAGES else find(module, name)

    def storage(identity):
        _, dtype, _, _, length = identity[:5]
        # What torch has besides (complex numbers, quantised ones) has other types; a claim counts all the same.
        width = dtype.itemsize if isinstance(dtype, torch.dtype) else 1
        if type(length) is not int or not 0 <= length * width <= size:
            raise BrokenPickle(f"it claims {length} numbers and has {size:,} bytes")
        return _Storage(dtype, length)

    if load(stream, find) != MAGIC_NUMBER:
        raise BrokenPickle("torch.save did not write it")
    load(stream, find)  # the version of the protocol
    load(stream, find)  # the machine's number sizes
    content = load(stream, find_or_storage, storage)
    load(stream, find)  # the storages' keys
    return content


def _nothing(module, name):
    raise ForbiddenGlobal(module, name)


def read_storage(content):
    """The numbers of one storage, from the bytes that pickling a tensor gives: (n,). Raises BrokenPickle."""
    stream = io.BytesIO(content)
    storage = _read_legacy(stream, len(content), _nothing)
    if not isinstance(storage, _Storage) or not isinstance(storage.dtype, torch.dtype):
        raise BrokenPickle("it has no storage where a tensor's should be")
    start = stream.tell() + 8  # past the length, once more
    if len(content) - start != storage.length * storage.dtype.itemsize:
        raise BrokenPickle(f"a storage has {len(content) - start} bytes for {storage.length} numbers")
    if not storage.length:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(memoryview(content)[start:]), dtype=storage.dtype)


def strided(numbers, offset, size, stride):
    """The tensor of `size` and `stride` in a storage (n,), copied. Raises BrokenPickle where it leaves the storage."""
    whole = [*size, *stride, offset]
    if len(size) != len(stride) or not all(type(number) is int and number >= 0 for number in whole):
        raise BrokenPickle("a tensor's shape is damaged")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    if math.prod(size) > len(numbers) or (math.prod(size) and last >= len(numbers)):
        raise BrokenPickle(f"a tensor claims {math.prod(size):,} numbers and its storage has {len(numbers):,}")
    return numbers.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)
