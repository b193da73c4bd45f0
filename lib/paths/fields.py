"""What fields of directions have in common: unit vectors, and items that each ask a field of their own."""

import torch


def unit(vectors):
    """Vectors (..., d) over their lengths; a vector of zeros stays, and takes no gradient."""
    squared_norm = vectors.square().sum(-1, keepdim=True)
    zero = squared_norm == 0
    return torch.where(zero, 0, vectors / squared_norm.masked_fill(zero, 1).sqrt())


def of_each_path(x, indices, field):
    """What each item's own path makes of it.

    x (B, d), path indices (B,), field: (k, positions (b, d) of the items of path k) -> (b, d); gives (B, d).
    """
    order = torch.argsort(indices, stable=True)
    paths, counts = torch.unique_consecutive(indices[order], return_counts=True)
    groups = x[order.to(x.device)].split(counts.tolist())
    parts = [field(k, group) for k, group in zip(paths.tolist(), groups)]
    return torch.cat(parts)[torch.argsort(order).to(x.device)]
