"""The judge of any images: a CLIP that says on which side of a pair of sentences an image lies.

Its number for a dipole (A, B) is cos(image, A) - cos(image, B): zero-shot classification before its softmax, which
would hide all but the border. It should not be the CLIP that trained the paths: that one sees what it asked for.
"""

import hashlib
import json
import math
import re
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F

from lib.dipoles import encode_dipoles, load_corpus
from lib.files import read_json
from lib.judges.judge import Judge
from models.clip_encoder import load_clip
from models.clip_interface import OPEN_CLIP
from models.errors import UserError
from models.files import sha256
from models.registry import CLIP_FILES

# The 40 attributes of CelebA (Liu et al., 2015), each as a dipole: with it, and without it or with its opposite.
CELEBA = "celeba"
CELEBA_FILE = Path(__file__).with_name("celeba_attributes.json")


class SentencesJudge(Judge):
    def __init__(self, name, encoder, dipoles, names=None, same_clip=False):
        """name: what the CLIP goes by; encoder: a `CLIPEncoder`; dipoles: pairs of sentences, all different.

        names: of the numbers; made of the sentences where they are not given. same_clip: whether this CLIP trained the
        paths, which its figures then say.
        """
        self.encoder, self.dipoles = encoder, [tuple(poles) for poles in dipoles]
        self.names = list(names or map(_name, self.dipoles))
        self.units = ["cosine difference"] * len(self.dipoles)
        self.note = f"judged by {name}, the CLIP that trained these paths" if same_clip else ""
        poles = F.normalize(encode_dipoles(self.dipoles, encoder), dim=-1)
        self.axes = poles[:, 0] - poles[:, 1]

    @cached_property
    def fingerprint(self):
        asked = json.dumps([self.dipoles, self.encoder.fingerprint])
        return f"clip-{hashlib.sha256(asked.encode()).hexdigest()}"

    @torch.no_grad()
    def __call__(self, images):
        return F.normalize(self.encoder.encode_images(images), dim=-1) @ self.axes.T

    def own(self, labels):
        """Each dipole's own is its own number, for as many labels as are among the sentences asked."""
        places = {poles[::-1]: (index, -1) for index, poles in enumerate(self.dipoles)}
        places |= {poles: (index, +1) for index, poles in enumerate(self.dipoles)}
        return [None if isinstance(label, str) else places.get(tuple(label)) for label in labels]

    @torch.no_grad()
    def features(self, images):
        """CLIP's image features (B, E), of length sqrt(E): x @ y.T / E, of which KID's kernel is made, is a cosine."""
        return F.normalize(self.encoder.encode_images(images), dim=-1) * math.sqrt(self.encoder.embed_dim)


def _name(poles):
    """A dipole in short, "B → A": without the words that both sentences begin with, and without their full stops."""
    words = [pole.rstrip(".").split() for pole in poles]
    while min(map(len, words)) > 1 and words[0][0] == words[1][0]:
        words = [rest[1:] for rest in words]
    return " → ".join(" ".join(rest) for rest in reversed(words))


def are_same(name, other):
    """Whether two names or files of CLIPs, as `load_clip` takes them, stand for the same weights.

    Files are compared by what is in them, names of OpenAI's weights in whichever library's spelling.
    """
    name, other = (str(CLIP_FILES.get(clip, clip)) for clip in (name, other))
    if Path(name).is_file() and Path(other).is_file():
        return sha256(name) == sha256(other)
    return _openai_name(name) == _openai_name(other)


def _openai_name(name):
    """The same string for "ViT-L/14@336px" and "open_clip:ViT-L-14-336-quickgelu/openai"; other names stay apart."""
    if name.startswith(OPEN_CLIP):
        model, _, tag = name.removeprefix(OPEN_CLIP).rpartition("/")
        if tag != "openai":
            return name
        name = model.removesuffix("-quickgelu")
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("px")


def _asked(request):
    """The dipoles that the judge is asked, and their names where they have some."""
    if request.sentences == CELEBA:
        attributes = read_json(CELEBA_FILE)
        return list(attributes.values()), list(attributes)
    dipoles = request.labels if request.sentences is None else load_corpus(request.sentences)
    dipoles = list(dict.fromkeys(tuple(poles) for poles in dipoles if not isinstance(poles, str)))
    if not dipoles:
        raise UserError("the paths have no sentences that a CLIP could be asked: name a corpus, a file of dipoles, or "
                        f"{CELEBA!r}")
    return dipoles, None


def load(argument, request):
    """clip:NAME, where NAME is as `load_clip` takes it."""
    if not argument:
        raise UserError("the judge clip needs the name of a CLIP, as clip:ViT-B/16")
    same = request.trained_clip is not None and are_same(argument, request.trained_clip)
    if same and not request.same_clip:
        raise UserError(f"{argument} is the CLIP that trained these paths, and would see what it asked for: choose "
                        "another, or give --same-clip")
    dipoles, names = _asked(request)
    return SentencesJudge(argument, load_clip(argument, request.device), dipoles, names, same)
