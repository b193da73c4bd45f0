"""The normal distribution without its tails, from which some generators' codes are drawn."""

import torch


def truncated_normal(quantiles, limit, scale=1.0):
    """`scale` times a standard normal distribution cut off at +-`limit`, at its `quantiles` in [0, 1], of any shape."""
    low, high = torch.special.ndtr(torch.tensor([-limit, limit], dtype=torch.float64)).tolist()
    values = torch.special.ndtri(low + quantiles.double() * (high - low))
    return (scale * values.clamp(-limit, limit)).float()


def truncated(z, limit, scale=1.0):
    """Standard normal numbers, of any shape -> the same quantiles of `truncated_normal`."""
    return truncated_normal(torch.special.ndtr(z.double()), limit, scale)
