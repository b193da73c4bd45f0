"""Tensors in pickles: their storages, as torch.save writes them into zip archives and wrote them before, and views.

Unpickling gives a `View` for each tensor. Its numbers are read once it is known that they are there.
"""

import io
import math
from typing import NamedTuple

import torch

from models.untrusted.pickles import BrokenPickle, ForbiddenGlobal, load

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # which the older files begin with
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
MOST_DIMENSIONS = 16
MOST_NUMBERS = 1 << 48  # of a tensor: strides stay within 64 bits


class Storage(NamedTuple):
    """`length` numbers, from the number `begin` on, of the bytes that a file keeps under `key`."""

    dtype: torch.dtype
    key: str
    length: int
    whole: int  # length of what is kept under the key
    begin: int = 0


class View:
    """A tensor that has not been read: size and stride in a `Storage`."""

    def __init__(self, storage, offset=0, size=(), stride=(), *_):
        if type(storage) is not Storage or not isinstance(storage.dtype, torch.dtype):
            raise BrokenPickle("a tensor has no storage of floating-point or whole numbers")
        self.storage, self.offset, self.size = storage, offset, size
        self.stride = checked_shape(offset, size, stride)
        check_extent(offset, size, self.stride, storage.length)

    @property
    def bytes(self):
        """Those of a dense tensor of this size."""
        return math.prod(self.size) * self.storage.dtype.itemsize

    @property
    def is_whole(self):
        """Whether the storage, read in order, is the tensor."""
        storage, dense = self.storage, _dense(self.size)
        return self.offset == 0 == storage.begin and self.stride == dense and math.prod(self.size) == storage.whole


def checked_shape(offset, size, stride):
    """The stride, with those along which there is at most one number replaced by those of a dense tensor.

    Raises BrokenPickle where size and stride are not those of a tensor.
    """
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
        raise BrokenPickle("a tensor's shape is damaged")
    if not all(type(number) is int and number >= 0 for number in (*size, *stride, offset)):
        raise BrokenPickle("a tensor's shape is damaged")
    if math.prod(max(side, 1) for side in size) >= MOST_NUMBERS:
        raise BrokenPickle(f"a tensor claims the shape {str(size)[:80]}")
    if not math.prod(size):
        return _dense(size)
    return tuple(step if length > 1 else own for length, step, own in zip(size, stride, _dense(size)))


def check_extent(offset, size, stride, length):
    """Raise BrokenPickle where a tensor exceeds its storage of `length` numbers."""
    count = math.prod(size)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride))
    if count and last >= length:
        raise BrokenPickle(f"a tensor claims {max(count, last + 1):,} numbers, but its storage has {length:,}")


def _dense(size):
    steps, step = [], 1
    for length in reversed(size):
        steps.append(step)
        step *= max(length, 1)
    return tuple(reversed(steps))


def storage_of(identity):
    """The `Storage` that a persistent id of torch.save stands for. Raises BrokenPickle where it is not one."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise BrokenPickle("it refers to data outside of it")
    _, dtype, key, _, length, *view = identity
    if type(key) is not str or type(length) is not int or length < 0:
        raise BrokenPickle(f"it claims {length} numbers" if type(length) is int else "a storage is damaged")
    if view and view[0] is not None:  # files of before 2018 have storages that are parts of others
        return _part_of(dtype, key, length, view[0])
    return Storage(dtype, key, length, length)


def _part_of(dtype, key, length, view):
    if type(view) is not tuple or len(view) != 3 or not all(type(number) is int and number >= 0 for number in view[1:]):
        raise BrokenPickle("a storage is damaged")
    _, begin, part = view
    if begin + part > length:
        raise BrokenPickle(f"a storage claims {begin + part:,} numbers, where there are {length:,}")
    return Storage(dtype, key, part, length, begin)


def read_legacy(stream, size, find):
    """(content, {key: first byte}) of what torch.save wrote before it wrote zip archives.

    `content` has a `Storage` for each storage, checked against the `size` bytes of the file; the bytes of a key's
    storage are in the stream from its first byte on. find: as in `pickles.load`, for globals other than storages.
    Raises BrokenPickle where it is not such a file, and where a storage claims more bytes than the file has.
    """
    claimed = {}  # {key: bytes}

    def find_or_storage(module, name):
        return STORAGES[name] if module == "torch" and name in STORAGES else find(module, name)

    def storage(identity):
        found = storage_of(identity)
        # Other types (complex numbers, quantised ones) are not listed, but take at least a byte per number as well.
        width = found.dtype.itemsize if isinstance(found.dtype, torch.dtype) else 1
        if found.whole * width > size:
            raise BrokenPickle(f"it claims {found.whole:,} numbers, but has {size:,} bytes")
        if claimed.setdefault(found.key, found.whole * width) != found.whole * width:
            raise BrokenPickle("a storage has two sizes")
        return found

    if load(stream, find) != MAGIC_NUMBER:
        raise BrokenPickle("it was not written by torch.save")
    load(stream, find)  # protocol version
    load(stream, find)  # sizes of the machine's number types
    content = load(stream, find_or_storage, storage)
    return content, _places(load(stream, find), claimed, stream.tell(), size)


def _places(keys, claimed, position, size):
    """{key: first byte} of storages that lie behind each other, each behind its length in eight bytes."""
    if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
        raise BrokenPickle("its list of storages is damaged")
    places = {}
    for key in keys:
        if key not in claimed:
            raise BrokenPickle("it has a storage that belongs to nothing")
        places[key] = position + 8
        position += 8 + claimed[key]
    if position > size or places.keys() != claimed.keys():
        raise BrokenPickle(f"its storages claim {position:,} bytes, but it has {size:,}")
    return places


def _nothing(module, name):
    raise ForbiddenGlobal(module, name)


def read_storage(content):
    """The numbers (n,) of one storage, from the bytes that stand for it in a pickled tensor. Raises BrokenPickle."""
    storage, places = read_legacy(io.BytesIO(content), len(content), _nothing)
    if type(storage) is not Storage or not isinstance(storage.dtype, torch.dtype):
        raise BrokenPickle("a tensor has no storage")
    start, size = places[storage.key], storage.length * storage.dtype.itemsize
    if len(content) - start != size or storage.begin:
        raise BrokenPickle(f"a storage has {len(content) - start} bytes for {storage.length} numbers")
    if not size:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(memoryview(content)[start:]), dtype=storage.dtype)


def strided(numbers, offset, size, stride):
    """A dense copy of the tensor of this size and stride in a storage (n,), of no more numbers than that has.

    Raises BrokenPickle where it exceeds that.
    """
    stride = checked_shape(offset, size, stride)
    check_extent(offset, size, stride, len(numbers))
    if math.prod(size) > len(numbers):
        raise BrokenPickle(f"a tensor claims {math.prod(size):,} numbers, but its storage has {len(numbers):,}")
    offset = offset if math.prod(size) else 0
    return numbers.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)
