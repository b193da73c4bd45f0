"""Judges: networks that read numbers from images, to measure what a path changed. Each is a file of this room.

    portraits       the 25 factors of drawn portraits
    clip:NAME       how far an image is on either side of pairs of sentences, by a CLIP
    onnx:FILE       the numbers of an .onnx network of one's own
    faces           what the field's published networks read from photographs of faces
    faces64         what small embedded networks read from the embedded photographic faces

A judge enters JUDGES by one line: its kind, and the module whose `load(argument, request)` makes it.
"""

from importlib import import_module
from typing import NamedTuple

from models.errors import UserError, quoted

JUDGES = {
    "portraits": "lib.judges.portraits",
    "clip": "lib.judges.sentences",
    "onnx": "lib.judges.onnx_file",
    "faces": "lib.judges.faces",
    "faces64": "lib.judges.faces64",
}

# The generators that have a judge of their own. All others are judged by a CLIP that did not train their paths.
JUDGE_OF = {
    "stylegan2_portraits64": "portraits",
    "pggan_portraits64": "portraits",
    "biggan_portraits64": "portraits",
    "dcgan_faces64": "faces64",
}
CLIPS = ("ViT-B/16", "ViT-B/32")


class Request(NamedTuple):
    """What judges are told besides their name."""

    labels: tuple = ()  # of the paths: (first sentence, second sentence), or a string where a path has none
    sentences: str | None = None  # what a CLIP is asked: a corpus, a file of dipoles, "celeba"; None: the labels
    trained_clip: str | None = None  # the CLIP that trained the paths, by name or file; None: none did
    same_clip: bool = False  # let that CLIP judge its own paths
    device: str = "cpu"
    gan: str | None = None  # the generator whose images are judged, as --gan names it


def load_judge(name, **request):
    """The `Judge` of a name, on a device; `request` as in `Request`.

    Raises UserError where there is no such judge, where its weights are absent, where it cannot judge these paths, and
    where it is that of other embedded generators.
    """
    kind, _, argument = str(name).partition(":")
    if kind not in JUDGES:
        raise UserError(f"{quoted(name)} is not a judge; the judges are {', '.join(JUDGES)}")
    request = Request(**request)
    right = JUDGE_OF.get(request.gan)
    if right and kind != right and kind in JUDGE_OF.values():
        raise UserError(f"the judge {kind} does not read the images of {request.gan}: its own judge is {right}")
    return import_module(JUDGES[kind]).load(argument, request)


def default_judge(gan, trained_clip=None):
    """The name of a generator's judge, where the user names none."""
    return JUDGE_OF.get(gan) or "clip:" + next(name for name in CLIPS if name != trained_clip)
