"""Straight lines: each path has one direction, the same at every position."""

import torch
import torch.nn.functional as F
from torch import nn

from lib.paths.paths import Paths
from models.errors import UserError


class Lines(Paths):
    """K directions in a space of dimension d, as the rows of DIRECTIONS (K, d), of any length."""

    def __init__(self, directions):
        super().__init__()
        self.DIRECTIONS = nn.Parameter(directions)

    @classmethod
    def random(cls, num_paths, dim, generator):
        return cls(torch.randn(num_paths, dim, generator=generator))

    @classmethod
    def from_state(cls, state, dim, source):
        """From a state dict. Raises UserError, naming `source`, if it does not hold lines in `dim` dimensions."""
        directions = state.get("DIRECTIONS") if isinstance(state, dict) else None
        if not isinstance(directions, torch.Tensor) or directions.ndim != 2 or not directions.is_floating_point():
            raise UserError(f"{source} does not hold lines: it has no matrix DIRECTIONS")
        if directions.shape[1] != dim:
            raise UserError(f"{source} has DIRECTIONS {tuple(directions.shape)}, which does not fit a latent space of "
                            f"dimension {dim}")
        if not directions.isfinite().all():
            raise UserError(f"{source} has DIRECTIONS that are not finite: its training diverged, train it again")
        return cls(directions.float())

    @property
    def num_paths(self):
        return len(self.DIRECTIONS)

    def straight(self):
        return F.normalize(self.DIRECTIONS.detach(), dim=1)

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> unit directions (B, d)."""
        return F.normalize(self.DIRECTIONS, dim=1)[indices.to(x.device)]
