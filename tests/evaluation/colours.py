"""A made-up judge, and what it sees."""

import torch

from lib.judges.judge import Identity, Judge
from lib.paths.tracing import trace

LABELS = [("a <b>red</b> $face", "a grey face"), ("a green face", "a grey face"), "direction 2"]


class ColourJudge(Judge):
    """Reads the mean of each colour, and a number that never varies."""

    fingerprint = "colours"

    def __init__(self, labelled=((0, 1), (1, -1), None)):
        self.names, self.units = ["red", "green", "blue", "flat"], ["mean"] * 4
        self.labelled = list(labelled)
        self.identity = Identity("likeness", "cosine", 1.0, pooled, cosine)

    def __call__(self, images):
        return torch.cat([images.mean(dim=(2, 3)), torch.full((len(images), 1), 0.5)], dim=1)

    def own(self, labels):
        assert labels == LABELS
        return self.labelled

    def features(self, images):
        return pooled(images)


def pooled(images):
    return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


def cosine(one, other):
    return torch.nn.functional.cosine_similarity(one, other)


def seen(space, codes):
    """The images of codes as pictures show them."""
    return space.synthesise(codes).clamp(-1, 1)


def along(subject, judge):
    """The judge's numbers at all frames, one image at a time: (B, K, 9, J)."""
    space = subject.space
    starts = torch.cat([torch.load(source / "latent_code_z.pt") for source in subject.sources])
    with torch.no_grad():
        traced = trace(space, subject.paths, space.codes_of(starts), 4, 2.0)
        numbers = torch.cat([judge(seen(space, code[None])) for code in traced.flatten(0, 2)])
    return traced, numbers.unflatten(0, traced.shape[:3]).numpy()
