"""What is seen in the explorer, as a value: where it starts, how far each slider is, and the visitor's own sentences.

A look is stored as JSON, and in a link as "#look=" and that JSON, compressed. Both may come from strangers.
"""

import base64
import binascii
import json
import math
import zlib
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from lib.settings import SEED, SHARE
from models.errors import UserError
from models.untrusted.plain_data import NotPlain, Plain

FORMAT = 1
MOST_BYTES = 1 << 18  # of a look's JSON: a code of W+ at 1024 px is 50 KB
MOST_NUMBERS = 1 << 15  # of a code
MOST_SHIFTS, MOST_SENTENCES, LARGEST_SHIFT = 1000, 32, 1e6
LONGEST_ID, LONGEST_SENTENCE = 100, 500  # characters
LINK = "#look="


@dataclass(frozen=True)
class Start:
    """A code that paths begin at: drawn by a seed, or as it is, such as that of an inverted photograph.

    numbers: of such a code, the bytes of its float32; shape: (L, w_dim) of W+, or (w_dim,) where all layers share one;
    (z_dim,) of a generator without W.
    """

    seed: int | None = 0
    truncation: float = 1.0
    numbers: bytes = b""
    shape: tuple = ()

    @classmethod
    def of_seed(cls, seed, truncation=1.0):
        return cls(seed, float(truncation))

    @classmethod
    def of_code(cls, code, truncation=1.0):
        """code (1, L, w_dim) or (1, z_dim)."""
        code = code.detach()[0].float().cpu()
        code = code[0] if code.ndim == 2 and bool((code == code[0]).all()) else code
        return cls(None, float(truncation), code.numpy().astype("<f4").tobytes(), tuple(code.shape))

    def code(self):
        """The code as it was given to `of_code`, but of layers that share a w only that: `shape`."""
        return torch.from_numpy(np.frombuffer(self.numbers, "<f4").astype(np.float32)).reshape(self.shape)

    def content(self):
        if self.seed is not None:
            return {"seed": self.seed, "truncation": self.truncation}
        code = base64.b64encode(self.numbers).decode()
        return {"code": code, "shape": list(self.shape), "truncation": self.truncation}


@dataclass(frozen=True)
class Sentences:
    """A dipole that a visitor has typed. refined: the first digits of the SHA-256 of its path, if it was trained
    further; such a path cannot be made again from the sentences alone."""

    first: str
    second: str
    refined: str = ""


@dataclass(frozen=True)
class Look:
    """gan_sha256: of the generator's file. moved_by: ((slider's id, shift), ...), sorted, none of them 0. sentences:
    those of the visitor whose sliders are moved."""

    gan_sha256: str
    start: Start = Start()
    moved_by: tuple = ()
    sentences: tuple = field(default=())

    @property
    def shifts(self):
        """{slider's id: shift}, without zeros."""
        return dict(self.moved_by)

    def shift(self, slider):
        return self.shifts.get(slider, 0.0)

    def moved(self, shifts):
        """With some sliders, {id: shift}, elsewhere."""
        return self.moved_to(self.shifts | shifts)

    def moved_to(self, shifts):
        """With all sliders, {id: shift}, as given; the others are at 0."""
        moved_by = tuple(sorted((name, float(shift)) for name, shift in shifts.items() if shift))
        return replace(self, moved_by=moved_by)

    def reset(self):
        """With all sliders at 0."""
        return replace(self, moved_by=(), sentences=())

    def at(self, start):
        """The same shifts from another start."""
        return replace(self, start=start)

    def saying(self, sentences):
        """With these `Sentences` of the visitor."""
        return replace(self, sentences=tuple(sentences))

    def to_json(self, indent=1):
        content = {
            "look": FORMAT,
            "generator": self.gan_sha256,
            "start": self.start.content(),
            "shifts": dict(self.moved_by),
            "sentences": [[one.first, one.second, one.refined] for one in self.sentences],
        }
        return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)

    def to_link(self):
        """The part of an address from "#" on."""
        packed = zlib.compress(self.to_json(indent=None).encode(), 9)
        return LINK + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def from_json(cls, text):
        """From JSON, str or bytes. Raises UserError where it is not a look."""
        return _read(_parsed(text))

    @classmethod
    def from_link(cls, link):
        """From a link, or its part from "#" on. Raises UserError where it is not a look's."""
        _, _, packed = str(link).strip().rpartition(LINK)
        try:
            content = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
            reading = zlib.decompressobj()
            text = reading.decompress(content, MOST_BYTES + 1)
        except (ValueError, binascii.Error, zlib.error):
            raise UserError("the link does not hold a look: it was shortened or edited") from None
        if not reading.eof and len(text) <= MOST_BYTES:
            raise UserError("the link holds a part of a look: it was shortened")
        return cls.from_json(text)


def _parsed(text):
    if len(text) > MOST_BYTES:
        raise UserError(f"a look has at most {MOST_BYTES:,} bytes, and this is larger: it is something else")
    try:
        content = Plain().tree(json.loads(text))
    except NotPlain as error:
        raise UserError(f"this is not a look: it {error}") from None
    except (ValueError, RecursionError):
        raise UserError("this is not a look: it is not valid JSON") from None
    if not isinstance(content, dict) or "look" not in content:
        raise UserError("this is not a look: it lacks what the explorer writes")
    if content["look"] != FORMAT:
        raise UserError("this look is of another version of the explorer")
    return content


def _read(content):
    gan, shifts, sentences = (content.get(key) for key in ("generator", "shifts", "sentences"))
    _check(isinstance(gan, str) and len(gan) == 64 and set(gan) <= set("0123456789abcdef"), "generator")
    _check(isinstance(shifts, dict) and len(shifts) <= MOST_SHIFTS, "shifts")
    for name, shift in shifts.items():
        _check(isinstance(name, str) and 0 < len(name) <= LONGEST_ID and _is_number(shift), "shifts")
    _check(isinstance(sentences, list) and len(sentences) <= MOST_SENTENCES, "sentences")
    found = [_sentences(one) for one in sentences]
    return Look(gan, _start(content.get("start"))).moved_to(shifts).saying(found)


def _sentences(content):
    is_whole = isinstance(content, list) and len(content) == 3 and all(isinstance(one, str) for one in content)
    _check(is_whole and all(one.isprintable() and len(one) <= LONGEST_SENTENCE for one in content), "sentences")
    return Sentences(*content)


def _start(content):
    _check(isinstance(content, dict), "start")
    truncation = content.get("truncation")
    _check(_is_number(truncation) and truncation in SHARE, "truncation")
    if "code" not in content:
        seed = content.get("seed")
        _check(type(seed) is int and seed in SEED, "seed")
        return Start(seed, float(truncation))
    code, shape = content["code"], content.get("shape")
    _check(isinstance(shape, list) and len(shape) in (1, 2) and all(type(side) is int and side > 0 for side in shape)
           and math.prod(shape) <= MOST_NUMBERS and isinstance(code, str), "code")
    try:
        numbers = base64.b64decode(code, validate=True)
    except (ValueError, binascii.Error):
        numbers = b""
    _check(len(numbers) == 4 * math.prod(shape) and bool(np.isfinite(np.frombuffer(numbers, "<f4")).all()), "code")
    return Start(None, float(truncation), numbers, tuple(shape))


def _is_number(value):
    return type(value) in (int, float) and abs(value) < LARGEST_SHIFT  # NaN is not below


def _check(good, part):
    if not good:
        raise UserError(f"this look has a {part} that no explorer wrote: it was damaged or edited")
