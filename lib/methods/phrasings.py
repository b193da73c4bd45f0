"""A sentence in many phrasings: those that CLIP's authors classify ImageNet with, less the one that speaks of many, so
79, as StyleCLIP and CF-CLIP use them."""

from functools import cache
from pathlib import Path

import torch.nn.functional as F

from lib.files import read_json

FILE = Path(__file__).with_name("imagenet_templates.json")


@cache
def templates():
    """Sentences with {} for the thing."""
    return read_json(FILE)


def encode_phrasings(sentence, clip_encoder):
    """A sentence -> CLIP's features of its phrasings (79, E), of unit length. A full stop at its end is left out.

    Raises UserError where it becomes too long.
    """
    thing = sentence.rstrip(".")
    return F.normalize(clip_encoder.encode_text([template.format(thing) for template in templates()]), dim=1)
