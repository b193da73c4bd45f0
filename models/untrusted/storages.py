"""Tensors in pickles: their storages, as torch.save wrote them before it wrote zip archives, and views of these."""

import io
import math
from typing import NamedTuple

import torch

from models.untrusted.pickles import BrokenPickle, ForbiddenGlobal, load

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # which these files begin with
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


class _Storage(NamedTuple):
    dtype: torch.dtype
    length: int


def read_legacy(stream, size, find):
    """The object that torch.save wrote before it wrote zip archives, with claims in place of storages.

    `stream` is left where the bytes of the storages begin. size: bytes of the file. find: as in `pickles.load`, for
    globals other than storages. Raises BrokenPickle where it is not such a file, and where a storage claims more bytes
    than the file has.
    """

    def find_or_storage(module, name):
        return STORAGES[name] if module == "torch" and name in STORAGES else find(module, name)

    def storage(identity):
        _, dtype, _, _, length = identity[:5]
        # Other types (complex numbers, quantised ones) are not listed, but take at least a byte per number as well.
        width = dtype.itemsize if isinstance(dtype, torch.dtype) else 1
        if type(length) is not int or not 0 <= length * width <= size:
            raise BrokenPickle(f"it claims {length} numbers, but has {size:,} bytes")
        return _Storage(dtype, length)

    if load(stream, find) != MAGIC_NUMBER:
        raise BrokenPickle("it was not written by torch.save")
    load(stream, find)  # protocol version
    load(stream, find)  # sizes of the machine's number types
    content = load(stream, find_or_storage, storage)
    load(stream, find)  # keys of the storages
    return content


def _nothing(module, name):
    raise ForbiddenGlobal(module, name)


def read_storage(content):
    """The numbers (n,) of one storage, from the bytes that stand for it in a pickled tensor. Raises BrokenPickle."""
    stream = io.BytesIO(content)
    storage = read_legacy(stream, len(content), _nothing)
    if not isinstance(storage, _Storage) or not isinstance(storage.dtype, torch.dtype):
        raise BrokenPickle("a tensor has no storage")
    start = stream.tell() + 8  # the length of the storage is repeated before its bytes
    if len(content) - start != storage.length * storage.dtype.itemsize:
        raise BrokenPickle(f"a storage has {len(content) - start} bytes for {storage.length} numbers")
    if not storage.length:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(memoryview(content)[start:]), dtype=storage.dtype)


def strided(numbers, offset, size, stride):
    """A copy of the tensor of this size and stride in a storage (n,). Raises BrokenPickle where it exceeds that."""
    whole = [*size, *stride, offset]
    if len(size) != len(stride) or not all(type(number) is int and number >= 0 for number in whole):
        raise BrokenPickle("a tensor's shape is damaged")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    if math.prod(size) > len(numbers) or (math.prod(size) and last >= len(numbers)):
        raise BrokenPickle(f"a tensor claims {math.prod(size):,} numbers, but its storage has {len(numbers):,}")
    return numbers.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)
