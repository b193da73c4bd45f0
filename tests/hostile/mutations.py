"""Hostile files, made from valid ones by a random generator's choices: equal seeds make equal files."""

import io
import json
import pickletools
import random
import struct
import zipfile

import torch

NUMBERS = [0, 1, -1, 2, 255, 2**31 - 1, 2**31, 2**62, 2**63, 2**64, 2**70, 10**400, -(2**63)]
TEXTS = ["", "x", "x" * 5000, "9" * 5000, "\ud800", "\x1b[31m", "a\nb", "../../x", "é" * 300, "__class__", "0"]
LARGE = 1 << 24  # elements of a tensor, which were expanded: it takes minutes to make another kind of them
VALUES = [None, True, 0, -1, 10**30, 1e308, float("nan"), float("inf"), [], {}, "", "x" * 10_000, [[[[[]]]]], {"a": {}}]


def mutated(content, draw):
    """A file's bytes -> those of a hostile one. draw: a random.Random."""
    if content[:4] == b"PK\x03\x04":
        ways = [of_bytes, of_archive, of_archive, of_tensors, of_tensors]
    elif content[:1] == b"\x80":
        ways = [of_bytes, of_pickle, of_pickle, of_tensors]
    elif content[:1] in (b"[", b"{"):
        ways = [of_bytes, of_json, of_json]
    else:
        ways = [of_bytes]
    try:
        return draw.choice(ways)(content, draw)
    except Exception:  # what a way cannot read or write, it cannot change
        return of_bytes(content, draw)


def of_bytes(content, draw):
    """Some bytes flipped, removed, repeated or overwritten, mostly near the beginning or the end, where claims are."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5, 30])):
        if not content:
            break
        zone = draw.choice([min(len(content), 200), min(len(content), 5000), len(content)])
        position = draw.randrange(zone)
        position = position if draw.random() < 0.6 else len(content) - 1 - position
        kind = draw.randrange(5)
        if kind == 0:
            content[position] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[position] = draw.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del content[position : position + draw.choice([1, 4, 100])]
        elif kind == 3:
            content[position:position] = content[position : position + draw.choice([1, 8, 60])]
        else:
            size = draw.choice([2, 4, 8])
            content[position : position + size] = struct.pack("<Q", draw.choice(NUMBERS[:-2]) % 2**64)[:size]
    return bytes(content[: draw.randrange(len(content) + 1)] if draw.random() < 0.1 else content)


def of_pickle(content, draw):
    """Operations of the first pickles of a file removed, repeated, exchanged, or given other arguments."""
    pieces, end = [], 0
    while content[end : end + 1] == b"\x80" and len(pieces) < 20_000:
        begin = end
        positions = [begin + position for _, _, position in pickletools.genops(io.BytesIO(content[begin:]))]
        end = positions[-1] + 1
        pieces += [content[first:last] for first, last in zip(positions, [*positions[1:], end])]
    for _ in range(draw.choice([1, 1, 2, 4])):
        at = draw.randrange(len(pieces))
        kind = draw.randrange(6)
        if kind == 0:
            pieces[at] = b""
        elif kind == 1:
            pieces[at] += pieces[at] * draw.choice([1, 3, 2000])
        elif kind == 2:
            other = draw.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif kind == 3:
            pieces[at] = _integer(draw.choice(NUMBERS))
        elif kind == 4:
            text = draw.choice(TEXTS).encode("utf-8", "surrogatepass")
            pieces[at] = b"X" + struct.pack("<I", len(text)) + text
        else:
            numbers = [i for i, piece in enumerate(pieces) if piece[:1] in b"KMJ"]
            if numbers:
                pieces[draw.choice(numbers)] = _integer(draw.choice(NUMBERS))
    return b"".join(pieces) + content[end:]


def _integer(number):
    content = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    if len(content) < 256:
        return b"\x8a" + bytes([len(content)]) + content
    return b"\x8b" + struct.pack("<i", len(content)) + content


def of_archive(content, draw):
    """A zip archive written anew: its pickle or another record changed, left out, doubled or compressed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {record: archive.read(record) for record in archive.namelist()}
    pickles = [name for name in records if name.endswith("data.pkl")]
    chosen = draw.choice(pickles) if pickles and draw.random() < 0.7 else draw.choice([*records])
    kind = draw.randrange(8)
    compression = zipfile.ZIP_DEFLATED if kind == 0 else zipfile.ZIP_STORED
    if chosen in pickles:
        records[chosen] = draw.choice([of_pickle, of_pickle, of_bytes])(records[chosen], draw)
    elif kind < 3:
        del records[chosen]
    else:
        records[chosen] = draw.choice([b"", records[chosen] * 2, records[chosen][:-1], of_bytes(records[chosen], draw)])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, record in records.items():
            archive.writestr(name, record)
        if kind == 1:
            archive.writestr(draw.choice(["x/data.pkl", "y", "../z"]), b"\x80\x02}.")
        archive.comment = b"x" * 10 if kind == 2 else b""
    whole = file.getvalue()
    return whole + whole if kind == 3 else whole


def of_tensors(content, draw):
    """A file of torch.save, written by torch.save with some tensors, keys or values replaced."""
    found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    places = []

    def walk(item):
        if isinstance(item, dict):
            places.extend((item, key) for key in item)
            for value in item.values():
                walk(value)
        elif isinstance(item, list):
            places.extend((item, i) for i in range(len(item)))
            for value in item:
                walk(value)

    walk(holder := [found])
    for _ in range(draw.choice([1, 1, 2, 3])):
        item, key = draw.choice(places)
        if draw.random() < 0.25 and isinstance(item, dict) and key in item:
            value = item.pop(key)
            if draw.random() < 0.7:
                item[draw.choice([*TEXTS, *NUMBERS, None, (), f"{key}x", str(key).replace("1", "9" * 5000)])] = value
        elif isinstance(item, list) or key in item:
            item[key] = changed(item[key], draw)
    file = io.BytesIO()
    torch.save(holder[0], file, _use_new_zipfile_serialization=draw.random() < 0.8)
    return file.getvalue()


def changed(value, draw):
    """A tensor of another kind, shape or layout; another value in place of something else."""
    if not isinstance(value, torch.Tensor) or value.numel() > LARGE or draw.random() < 0.1:
        return draw.choice([*VALUES, *NUMBERS, torch.zeros(2), torch.tensor(float("nan"))])
    flat = value.detach().float()
    ways = [
        lambda: flat.cfloat(), lambda: flat.to(torch.float8_e4m3fn), lambda: flat.to_sparse(), lambda: flat.to("meta"),
        lambda: flat.double(), lambda: flat.half(), lambda: flat.long(), lambda: flat > 0, lambda: flat[:0],
        lambda: flat[..., :0], lambda: flat[None], lambda: flat.flatten(), lambda: flat.reshape(-1)[0], lambda: flat.T,
        lambda: torch.nested.nested_tensor([flat]), lambda: flat.clone().requires_grad_(), lambda: flat.fill_(1e38),
        lambda: torch.nn.Parameter(flat), lambda: flat * float("nan"), lambda: flat[:, :1], lambda: flat[0],
        lambda: torch.zeros(1).expand(draw.choice([(8000, 8000), (1 << 40,), (100_000, 512), (4, 1 << 20)])),
        lambda: torch.zeros(1).expand([side * draw.choice([1, 1, 100]) for side in flat.shape]),
        lambda: torch.cat([flat] * draw.choice([2, 30])), lambda: torch.quantize_per_tensor(flat, 0.1, 0, torch.quint8),
        lambda: flat.as_strided((1,) * flat.ndim, (2**62,) * flat.ndim), lambda: flat.to(torch.uint16),
    ]  # fmt: skip
    return draw.choice(ways)()


def of_json(content, draw):
    """JSON with some values or keys replaced, nested deeply, or repeated."""
    found = json.loads(content)
    places = []

    def walk(item):
        for key, value in item.items() if isinstance(item, dict) else enumerate(item):
            places.append((item, key))
            if isinstance(value, (dict, list)):
                walk(value)

    walk(holder := [found])
    for _ in range(draw.choice([1, 1, 2])):
        item, key = draw.choice(places)
        if isinstance(item, dict) and draw.random() < 0.3:
            item[draw.choice(TEXTS)] = item.pop(key, None)
        else:
            item[key] = draw.choice([*VALUES, *TEXTS, *NUMBERS])
    text = json.dumps(holder[0])
    if draw.random() < 0.1:
        text = draw.choice(["[" * 3000 + text + "]" * 3000, text.replace("0", "9" * 5000), "\n" * 10**5 + text])
    return text.encode("utf-8", "surrogatepass")


def drawn(reader, number, seed):
    """The random generator of one input."""
    return random.Random(f"{seed}:{reader}:{number}")
