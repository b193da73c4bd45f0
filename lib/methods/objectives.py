"""Where the text asks an image to move, and how far from that the images moved."""

import torch
import torch.nn.functional as F

IDEAS = ("nonlinear", "linear", "styleclip")
LOSSES = ("cossim", "contrastive")


def image_moves(idea, plain, shifted):
    """The part of the image features that is compared with the text: two of (B, E) -> (B, E)."""
    return shifted if idea == "styleclip" else shifted - plain


def text_targets(idea, corpus_support_sets, plain, indices, shifts):
    """Where the text asks item b to move: plain features (B, E), path indices (B,), signed shifts (B,) -> (B, E).

    nonlinear: along the warping of the dipole at the image's own feature, by the signed shift (ContraCLIP, eq. 5);
    linear: from the image's feature to the difference of the poles; styleclip: to the pole itself.
    """
    if idea == "nonlinear":
        return corpus_support_sets(plain, indices) * shifts[:, None]
    first, second = corpus_support_sets.poles[indices.to(plain.device)].unbind(1)
    positive = (shifts > 0)[:, None]
    if idea == "linear":
        return torch.where(positive, first - second, second - first) - plain
    return torch.where(positive, first, second)


def loss(kind, moves, targets, indices, shifts, temperature):
    """The loss of moves (B, E) towards targets (B, E), a scalar.

    cossim: 1 - mean cosine. contrastive: cross-entropy over the cosines of each move with all targets, divided by the
    temperature (ContraCLIP, eq. 6). Items with the same path and sign have the same target and are not negatives of
    each other.
    """
    if kind == "cossim":
        return 1 - F.cosine_similarity(moves, targets, dim=1).mean()
    logits = F.normalize(moves, dim=1) @ F.normalize(targets, dim=1).T / temperature
    asks = torch.where(shifts > 0, indices.to(shifts.device) + 1, -indices.to(shifts.device) - 1)
    same = asks[:, None] == asks[None, :]
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(moves), device=moves.device))
