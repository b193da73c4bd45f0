"""Edits: straight paths that are as long as they were found to be, so that a shift of 1 is the whole edit."""

import torch
from torch import nn

from lib.paths.paths import Paths
from models.errors import UserError

SAME_START = 1e-3  # of a code's length: how far the same code may lie from itself, made on another device


class Edits(Paths):
    """K offsets in a space of dimension d, the same at every position: EDITS (K, d)."""

    from_start = True

    def __init__(self, edits):
        super().__init__()
        self.EDITS = nn.Parameter(edits)

    @classmethod
    def from_state(cls, state, dim, source):
        """From a state dict. Raises UserError, naming `source`, where it is not of edits in d dimensions."""
        return cls(_checked(state, "EDITS", (None, dim), source))

    @property
    def num_paths(self):
        return len(self.EDITS)

    def straight(self):
        return self.EDITS.detach()

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> offsets (B, d)."""
        return self.EDITS[indices.to(x.device)]


class EditsOfCodes(Paths):
    """K offsets for each of N positions, and for no others: STARTS (N, d), EDITS (N, K, d)."""

    from_start = True

    def __init__(self, starts, edits):
        super().__init__()
        self.register_buffer("STARTS", starts)
        self.EDITS = nn.Parameter(edits)

    @classmethod
    def from_state(cls, state, dim, source):
        """From a state dict. Raises UserError, naming `source`, where it is not of edits in d dimensions."""
        starts = _checked(state, "STARTS", (None, dim), source)
        return cls(starts, _checked(state, "EDITS", (len(starts), None, dim), source))

    @property
    def num_paths(self):
        return self.EDITS.shape[1]

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> offsets (B, d). Raises UserError at a position that has none."""
        distances, rows = torch.cdist(x, self.STARTS).min(dim=1)
        if (distances > SAME_START * x.norm(dim=1)).any():
            raise UserError("these paths are of single codes, and a code of the pool is not among them: walk the pool "
                            "that they were optimised for, with the same truncation")
        return self.EDITS[rows, indices.to(x.device)]


def _checked(state, key, shape, source):
    """The float tensor `key` of a state dict. shape: with None where any length fits. Raises UserError."""
    tensor = state.get(key) if isinstance(state, dict) else None
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        raise UserError(f"{source} does not hold edits: it has no {key}")
    fits = tensor.ndim == len(shape) and all(one in (None, other) for one, other in zip(shape, tensor.shape))
    if not fits or 0 in tensor.shape:
        raise UserError(f"{source} has {key} {tuple(tensor.shape)}, which does not fit a latent space of dimension "
                        f"{shape[-1]}")
    if not tensor.isfinite().all():
        raise UserError(f"{source} has {key} that are not finite: its training has diverged")
    return tensor.float()
