"""Files of numpy that are not to be trusted: only arrays of numbers, and of text, are read from them."""

import io
import lzma
import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch

from models.errors import UserError

MOST_BYTES = 256 << 20  # of an array in an archive, which may be packed into very few
MOST_HEADER = 1 << 16  # bytes
MOST_TEXTS = 1_000_000
LARGEST_CHARACTER = 0x10FFFF
ERRORS = (ValueError, OSError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, RuntimeError, KeyError,
          TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)  # fmt: skip


def load_array(path):
    """The array of a .npy file, a float32 tensor.

    Raises UserError where the file is missing or damaged, where its array is of objects, which would be unpickled, or
    of anything but real numbers, and where it claims more numbers than it has.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        # A map is as long as the header claims: a shorter file is refused before memory is asked for.
        array = np.lib.format.open_memmap(path, mode="r")
        if array.dtype.kind not in "fiu":
            raise ValueError(f"its numbers are of the type {array.dtype}")
        return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    except ERRORS as error:
        raise _unreadable(path, error) from None


def array_names(path):
    """The names of the arrays in a .npz file. Raises UserError where it is missing or damaged."""
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except ERRORS as error:
        raise _unreadable(path, error) from None


def load_named_array(path, name):
    """One array of a .npz file: a float32 tensor, or nested lists of strings where it is of text.

    Raises UserError as `load_array`, and where it has more than 256 MiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as file:
                array = _read(file, info.file_size)
    except ERRORS as error:
        raise _unreadable(path, error) from None
    return array.tolist() if array.dtype.kind == "U" else torch.from_numpy(array.astype(np.float32))


def load_stored(path):
    """{name: array} of a .npz file that `numpy.savez` wrote, of numbers or text.

    Raises UserError as `load_array`, and where the arrays are packed, as `numpy.savez` never does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise ValueError("it is packed")
            if sum(record.file_size for record in records) > Path(path).stat().st_size:
                raise ValueError("it claims more bytes than it has")
            found = {}
            for record in records:
                with archive.open(record) as file:
                    found[record.filename.removesuffix(".npy")] = _read(file, record.file_size, record.file_size).copy()
            return found
    except ERRORS as error:
        raise _unreadable(path, error) from None


def _read(file, length, most=MOST_BYTES):
    """The array, of at most `most` bytes, in an open member of an archive, which claims to have `length`. Raises one of
    `ERRORS`."""
    begin = io.BytesIO(file.read(MOST_HEADER))  # a header's own length would be believed, up to 4 GiB
    version = np.lib.format.read_magic(begin)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its header has version {version}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read_header(begin)
    if dtype.hasobject or dtype.kind not in "fiuU":
        raise ValueError(f"its numbers are of the type {dtype}")
    count = math.prod(shape)
    if any(side < 0 for side in shape) or count * dtype.itemsize > min(most, length):
        raise ValueError(f"it claims {count} numbers")
    if dtype.kind == "U" and count > MOST_TEXTS:
        raise ValueError(f"it has {count:,} texts")
    size, content = count * dtype.itemsize, begin.read()
    content = content[:size] + file.read(max(size - len(content), 0))
    if dtype.kind == "U" and _largest(content, dtype) > LARGEST_CHARACTER:
        raise ValueError("it has text that is not Unicode")
    array = np.frombuffer(content, dtype, count)
    return array.reshape(shape, order="F" if by_columns else "C")


def _largest(content, dtype):
    """The largest code of a character in an array of text."""
    return np.frombuffer(content, np.dtype("u4").newbyteorder(dtype.byteorder)).max(initial=0)


def _unreadable(path, error):
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    return UserError(f"{path} cannot be read as an array of numpy's ({reason}): download or copy it again")
