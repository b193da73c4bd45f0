"""Directions as LatentCLR has them: one vector for each path, or a small network that gives a vector at each position.

State dicts have the keys and shapes of the `model` in its published checkpoints.
"""

import re
from collections import OrderedDict

import torch
from torch import nn

from lib.paths.fields import of_each_path, unit
from lib.paths.paths import Paths
from models.errors import UserError

NET = re.compile(r"nets\.\d+\.linear_\d+\.weight")


def mlp(depth, in_features, middle_features, out_features, final_norm=False):
    """`depth` linear layers, between them batch norm and ReLU; the last has no bias unless it is the only one."""
    layers, widths = OrderedDict(), [in_features, *[middle_features] * (depth - 1), out_features]
    for i in range(1, depth + 1):
        layers[f"linear_{i}"] = nn.Linear(widths[i - 1], widths[i], bias=i == 1 or i < depth)
        if i < depth or final_norm:
            layers[f"batchnorm_{i}"] = nn.BatchNorm1d(widths[i])
        if i < depth:
            layers[f"relu_{i}"] = nn.ReLU()
    return nn.Sequential(layers)


class Directions(Paths):
    """K directions in a space of dimension d; a subclass says by which vector each path leaves a position."""

    def vectors(self, x):
        """Positions x (N, d) -> the vectors of all paths there, of any length (K, N, d)."""
        return torch.stack([self.vector(k, x) for k in range(self.num_paths)])

    def vector(self, k, x):
        """Positions x (n, d) -> the vectors of path k there, of any length (n, d)."""
        raise NotImplementedError

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> unit directions (B, d)."""
        return unit(of_each_path(x, indices, self.vector))


class GlobalDirections(Directions):
    """The same vector at every position: params (K, d)."""

    def __init__(self, num_paths, dim):
        super().__init__()
        self.num_paths = num_paths
        self.params = nn.Parameter(torch.randn(num_paths, dim))

    def vector(self, k, x):
        return self.params[k].expand(len(x), -1)

    def straight(self):
        return unit(self.params.detach())


class NetworkDirections(Directions):
    """A network for each path. Depth 1 is an affine map. In training, batch norm takes the statistics of the positions
    that one path is asked for together."""

    def __init__(self, num_paths, dim, depth):
        super().__init__()
        self.num_paths = num_paths
        self.nets = nn.ModuleList(mlp(depth, dim, dim, dim) for _ in range(num_paths))

    def vector(self, k, x):
        return self.nets[k](x)


def directions_from_state(state, dim, source):
    """`Directions` from the `model` of a checkpoint. Raises UserError, naming `source`, where it has none in d
    dimensions."""
    is_flat = isinstance(state, dict) and all(isinstance(one, torch.Tensor) for one in state.values())
    tensors = {str(key): one for key, one in state.items()} if is_flat else {}
    first = next((tensors[key] for key in ("params", "nets.0.linear_1.weight") if key in tensors), None)
    if first is None or first.ndim != 2 or 0 in first.shape:
        raise UserError(f"{source} holds no directions of LatentCLR: neither params nor networks")
    if first.shape[1] != dim:
        raise UserError(f"{source} has directions in {first.shape[1]} dimensions, which do not fit a latent space of "
                        f"dimension {dim}")
    with torch.device("meta"):  # sizes are compared before memory is asked for
        directions = _as_described(tensors, dim)
    if {key: one.shape for key, one in directions.state_dict().items()} != {key: tensors[key].shape for key in tensors}:
        raise UserError(f"{source} holds no directions of LatentCLR: its tensors are not of networks of one kind")
    if not all(one.isfinite().all() for one in tensors.values()):
        raise UserError(f"{source} has directions that are not finite: its training has diverged")
    directions.load_state_dict({key: one.float() for key, one in tensors.items()}, assign=True)
    return directions


def _as_described(tensors, dim):
    """Directions of the kind and number that the keys {name: tensor} describe."""
    if "params" in tensors:
        return GlobalDirections(len(tensors["params"]), dim)
    nets = {key.split(".")[1] for key in tensors if NET.fullmatch(key)}
    depth = sum(NET.fullmatch(key) is not None and key.startswith("nets.0.") for key in tensors)
    return NetworkDirections(len(nets), dim, depth)
