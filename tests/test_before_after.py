"""What the picture of docs/quality.md says beside each path."""

import torch

from scripts.portraits import before_after


class PixelJudge:
    """Reads three numbers off an image's first pixel."""

    names = "smile", "hair_length", "age"

    def __call__(self, images):
        return images[:, :, 0, 0]

    def own(self, labels):
        return [(0, 1), (2, -1)]


def images_of(changes):
    """Two codes' images (2, K, 3, 3, 4, 4) of paths that change the numbers by `changes` (K, 3) from end to end."""
    steps = torch.tensor([-0.5, 0.0, 0.5])[None, :, None] * torch.tensor(changes)[:, None]
    return steps[None, :, :, :, None, None].expand(2, -1, -1, -1, 4, 4) + torch.rand(2, 1, 1, 3, 1, 1)


def test_other_changes_are_shares_of_the_own_one_in_its_direction(monkeypatch):
    monkeypatch.setattr(before_after, "PortraitsJudge", PixelJudge)
    notes = before_after.also_changed([None, None], images_of([[0.5, -0.2, 0.3], [0.04, 0.2, -0.4]]))
    assert notes == ["age +0.60\nhair length -0.40", "hair length +0.50"]
