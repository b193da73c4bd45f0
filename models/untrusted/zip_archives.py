"""Zip archives as torch.save and TorchScript write them, read without believing what they say of themselves.

Such an archive is its records, one behind the other from the first byte on, then one directory of them, then one end of
the directory, which is the end of the file. Whatever lies elsewhere, such as a second directory, is refused, and so are
records that overlap, or that the directory describes otherwise than their own headers. The numbers of the fields are
those of PKWARE's APPNOTE.TXT.
"""

import struct
from typing import NamedTuple

import torch

from models.untrusted.pickles import BrokenPickle

LOCAL, CENTRAL, END, END_64, LOCATOR_64, DESCRIPTOR = (
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"
)  # fmt: skip
# Fields after the signature.
LOCAL_FIELDS = struct.Struct("<HHHHHIIIHH")
CENTRAL_FIELDS = struct.Struct("<HHHHHHIIIHHHHHII")
END_FIELDS = struct.Struct("<HHHHIIH")
END_64_FIELDS = struct.Struct("<QHHIIQQQQ")
LOCATOR_64_FIELDS = struct.Struct("<IQI")
SIZES_BEHIND = 1 << 3  # a flag: the sizes stand in a descriptor behind the record, and may be 0 in its header
ENCRYPTED = 1
IN_64 = 0xFFFFFFFF  # the number stands in an extra field instead
EXTRA_64 = 1
MOST_RECORDS = 200_000


class BrokenArchive(BrokenPickle):
    """Its message says what is wrong with the archive."""


class Record(NamedTuple):
    begin: int  # of its bytes
    size: int  # in bytes, as they lie in the file
    stored: bool  # not compressed


class Archive:
    """The records of an open file. Raises BrokenArchive where they are not as described above.

    file: opened for reading, unbuffered or not. content: its bytes, an mmap.
    """

    def __init__(self, file, content):
        self.file, self.content = file, content
        self.records = _records(content)

    def span(self, name):
        """(first byte, size) of a record. Raises BrokenArchive where it is missing or compressed."""
        record = self.records.get(name)
        if record is None:
            raise BrokenArchive(f"it lacks {name[:60]!r}")
        if not record.stored:
            raise BrokenArchive(f"its {name[:60]!r} is compressed, as torch never does: what it claims is not there")
        return record.begin, record.size

    def read(self, name, most):
        """The bytes of a record that has at most `most`."""
        begin, size = self.span(name)
        if size > most:
            raise BrokenArchive(f"its {name[:60]!r} has {size:,} bytes")
        return self.content[begin : begin + size]


def read_bytes(file, begin, size):
    """A tensor (size,) uint8 of a file's bytes, which are there."""
    numbers = torch.empty(size, dtype=torch.uint8)
    file.seek(begin)
    if size and file.readinto(memoryview(numbers.numpy())) != size:
        raise BrokenArchive("it became shorter while it was read")
    return numbers


def _records(content):
    """{name: Record}, in the order in which they lie in the file."""
    count, begin, end = _directory(content)
    found, behind = {}, 0
    for name, flags, method, packed, size, header in _entries(content, count, begin, end):
        if name in found:
            raise BrokenArchive(f"it has {name[:60]!r} twice")
        if header != behind:
            raise BrokenArchive("its records overlap, or something lies between them")
        start = _check_local(content, header, (name, flags, method, packed, size))
        if start + packed > begin:
            raise BrokenArchive(f"its {name[:60]!r} claims {packed:,} bytes, which it does not have")
        behind = start + packed
        if flags & SIZES_BEHIND:
            behind = _after_descriptor(content, behind, packed, size)
        found[name] = Record(start, packed, method == 0 and packed == size)
    if behind != begin:
        raise BrokenArchive("something lies between its records and their directory")
    return found


def _directory(content):
    """(number of records, first byte, last byte + 1) of the directory."""
    start = len(content) - 4 - END_FIELDS.size
    disk, first, here, count, size, begin, comment = _fields(content, start, END, END_FIELDS)
    end = start
    locator = start - 4 - LOCATOR_64_FIELDS.size
    if locator >= 0 and content[locator : locator + 4] == LOCATOR_64:
        _, end, _ = _fields(content, locator, LOCATOR_64, LOCATOR_64_FIELDS)
        whole, _, _, disk, first, here, count, size, begin = _fields(content, end, END_64, END_64_FIELDS)
        if whole != END_64_FIELDS.size - 8 or end + 4 + END_64_FIELDS.size != locator:
            raise BrokenArchive("the end of its directory is damaged")
    if comment or disk or first or here != count or begin + size != end or count > MOST_RECORDS:
        raise BrokenArchive("its directory is damaged, is not its last part, or is not its only one")
    return count, begin, end


def _entries(content, count, begin, end):
    """(name, flags, method, packed size, size, first byte of its header) of each entry of the directory, sorted by the
    last."""
    position, found = begin, []
    for _ in range(count):
        fields = _fields(content, position, CENTRAL, CENTRAL_FIELDS)
        _, _, flags, method, _, _, _, packed, size, name, extra, comment, disk, _, _, header = fields
        position += 4 + CENTRAL_FIELDS.size
        found.append((_text(content[position : position + name]), flags, method,
                      *_wide(content[position + name : position + name + extra], [size, packed, header])))
        position += name + extra + comment
        if position > end or disk:
            raise BrokenArchive("its directory is damaged")
    if position != end:
        raise BrokenArchive("its directory is damaged")
    found = [(name, flags, method, packed, size, header) for name, flags, method, size, packed, header in found]
    return sorted(found, key=lambda entry: entry[-1])


def _check_local(content, position, entry):
    """The first byte of a record, whose own header must agree with the directory."""
    name, flags, method, packed, size = entry
    fields = _fields(content, position, LOCAL, LOCAL_FIELDS)
    _, own_flags, own_method, _, _, _, own_packed, own_size, name_length, extra_length = fields
    start = position + 4 + LOCAL_FIELDS.size
    own_name = _text(content[start : start + name_length])
    start += name_length
    own_size, own_packed = _wide(content[start : start + extra_length], [own_size, own_packed])
    sizes = [(packed, size)] + ([(0, 0)] if flags & SIZES_BEHIND else [])
    if (own_name, own_flags, own_method) != (name, flags, method) or (own_packed, own_size) not in sizes:
        raise BrokenArchive(f"its {name[:60]!r} is described in two ways")
    if flags & ENCRYPTED:
        raise BrokenArchive(f"its {name[:60]!r} is encrypted")
    return start + extra_length


def _after_descriptor(content, position, packed, size):
    """Where the descriptor behind a record ends: signature, check sum, and sizes of four or eight bytes."""
    if content[position : position + 4] == DESCRIPTOR:
        for width, form in ((8, "<QQ"), (4, "<II")):
            sizes = content[position + 8 : position + 8 + 2 * width]
            if len(sizes) == 2 * width and struct.unpack(form, sizes) == (packed, size):
                return position + 8 + 2 * width
    raise BrokenArchive("the end of a record is damaged")


def _fields(content, position, signature, form):
    whole = 4 + form.size
    if position < 0 or content[position : position + 4] != signature or position + whole > len(content):
        raise BrokenArchive("its directory is missing or damaged")
    return form.unpack(content[position + 4 : position + whole])


def _wide(extra, numbers):
    """Numbers of four bytes, those that say so replaced by the ones of eight bytes in the extra fields, in order."""
    wide = b""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        if kind == EXTRA_64 and not wide:
            wide = extra[4 : 4 + length]
        extra = extra[4 + length :]
    found = []
    for number in numbers:
        if number == IN_64 and len(wide) >= 8:
            number, wide = struct.unpack("<Q", wide[:8])[0], wide[8:]
        found.append(number)
    return found


def _text(name):
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise BrokenArchive("it has a record whose name is not UTF-8") from None
