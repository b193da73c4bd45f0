"""Protocol Buffers' wire format, read strictly, and no further than asked.

A message is a row of fields: a tag, which is the field's number times 8 plus how its value is written, and the value.
Other readers pass over fields that they do not know, join messages that stand twice, and cut large numbers short, so
that two of them may see two different things in one file. Here a message is what its schema says, or it is refused: who
reads the same bytes next sees what was checked. A message inside another stays bytes until it is read itself.
"""

from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a value is written
WIDTHS = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10  # bytes, of 7 bits each
LAST_BYTES = bytes(range(0x80))  # what a VARINT ends with; its other bytes have the highest bit set


class BrokenMessage(Exception):
    """What is wrong with the bytes, to be said after "it"."""


class Field(NamedTuple):
    name: str
    wire: int = BYTES
    many: bool = False


class Budget:
    """How many more fields may be read: many small ones fill more memory than they fill disk."""

    def __init__(self, fields):
        self.whole = self.left = fields

    def spend(self):
        self.left -= 1
        if self.left < 0:
            raise BrokenMessage(f"has more than {self.whole:,} parts")


def read_message(content, schema, budget):
    """The fields of a message: {name: value}, or {name: [value, ..]} for a field that may stand many times.

    content: memoryview of bytes; schema: {number: Field}. Values are ints in [0, 2^64) where they are written as
    VARINT, and memoryviews of their bytes otherwise; numbers of a field that may stand many times can also be packed
    into one memoryview (`integers` and `count` take both). What the message lacks is not in the dict. Raises
    BrokenMessage.
    """
    found, position = {}, 0
    while position < len(content):
        budget.spend()
        tag, position = _varint(content, position)
        number, wire = tag >> 3, tag & 7
        field = schema.get(number)
        if field is None:
            raise BrokenMessage(f"has a part of number {number}, which its format does not have")
        if wire != field.wire and not (field.many and wire == BYTES):
            raise BrokenMessage(f"has {field.name} written in another way than its format says")
        value, position = _value(content, position, wire)
        if field.many:
            found.setdefault(field.name, []).append(value)
        elif field.name in found:
            raise BrokenMessage(f"has {field.name} twice")
        else:
            found[field.name] = value
    return found


def _value(content, position, wire):
    if wire == VARINT:
        return _varint(content, position)
    length = WIDTHS.get(wire)
    if length is None:
        length, position = _varint(content, position)
    if length > len(content) - position:
        raise BrokenMessage(f"claims {length:,} bytes where {len(content) - position:,} are left")
    return content[position : position + length], position + length


def _varint(content, position):
    """The number that begins at a position, seven bits a byte, the lowest first; and where it ends."""
    value = 0
    for index in range(LONGEST_VARINT):
        if position + index >= len(content):
            raise BrokenMessage("ends in the middle of a number")
        byte = content[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, position + index + 1
    raise BrokenMessage("has a number that is written too long")


def integers(values, budget):
    """The numbers of a VARINT field that may stand many times: a list of ints, of which those from 2^63 on are meant as
    negative."""
    numbers = []
    for value in values:
        position = 0
        while isinstance(value, memoryview) and position < len(value):
            budget.spend()
            number, position = _varint(value, position)
            numbers.append(number)
        if not isinstance(value, memoryview):
            numbers.append(value)
    return [number - (1 << 64 if number >> 63 else 0) for number in numbers]


def count(values, wire):
    """How many numbers there are in a field that may stand many times, without reading them."""
    return sum(1 if isinstance(value, int) else _count_packed(bytes(value), wire) for value in values)


def _count_packed(content, wire):
    if wire == VARINT:
        whole = not content or content[-1] in LAST_BYTES
        numbers = len(content) - len(content.translate(None, LAST_BYTES))
    else:
        numbers, rest = divmod(len(content), WIDTHS[wire])
        whole = not rest
    if not whole:
        raise BrokenMessage("ends in the middle of a number")
    return numbers


def text(value):
    """The string in a memoryview, "" for None."""
    try:
        return bytes(value or b"").decode("utf-8")
    except UnicodeDecodeError:
        raise BrokenMessage("has a name that is not UTF-8") from None
