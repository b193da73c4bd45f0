"""LatentCLR's projector and objective: edits by one direction change features alike, by other directions otherwise."""

import math

import torch
from torch import nn

from lib.paths.fields import unit
from lib.paths.networks import mlp


class Projector(nn.Module):
    """Features (B, ...) -> unit vectors (B, F), or vectors of any length.

    kind: identity; linear: one linear layer with batch norm; nonlinear: an MLP of `depth` layers.
    """

    def __init__(self, kind="identity", in_features=0, width=64, out_features=32, depth=3, normalize=True):
        super().__init__()
        self.normalize = normalize
        if kind == "linear":
            self.net = mlp(1, in_features, in_features, out_features, final_norm=True)
        elif kind == "nonlinear":
            self.net = mlp(depth, in_features, width, out_features)
        else:
            self.net = nn.Identity()

    def forward(self, features):
        projected = self.net(features.flatten(1))
        return unit(projected) if self.normalize else projected


def rows(projector, plain, edited, together=True):
    """How each edit changed the projected features: plain (N, ...), edited (K N, ...) -> unit vectors (K N, F).

    together: batch norm in the projector takes statistics of all codes and edits at once. Otherwise, as published, of
    the codes alone and of each direction alone, which takes away what all edits by one direction have in common. An
    edit that changes nothing is a row of zeros, where the published code gives NaN.
    """
    count = len(edited) // len(plain)
    if together and any(isinstance(module, nn.BatchNorm1d) for module in projector.modules()):
        before, after = projector(torch.cat([plain, edited])).split([len(plain), len(edited)])
    else:
        with torch.no_grad():
            before = projector(plain)
        after = torch.cat([projector(part) for part in edited.split(len(plain))])
    return unit(after - before.repeat(count, 1))


def log_ratios(rows, num_directions, temperature, similarity="anchored"):
    """How much more alike each row is to those of its own direction than to the others' (LatentCLR, eq. 4 and 5).

    rows (K N, F), direction by direction -> (K N,): the logarithm of the mean of exp(temperature * similarity) over the
    other N - 1 rows of its direction, less that over the (K - 1) N rows of other directions. The temperature is a
    factor, the inverse of the paper's.

    similarity: "absolute", as published, of the product's absolute value, which lets a direction do the opposite to
    another code; "signed", of the product; "anchored", signed to the rows of the same direction, whose edits have all
    the same sign, and absolute to the others, which are to be neither like it nor its opposite.
    """
    products = temperature * rows @ rows.T
    size = len(rows) // num_directions
    direction = torch.arange(len(rows), device=rows.device) // size
    same = direction[:, None] == direction
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    to_own = products.abs() if similarity == "absolute" else products
    to_others = products if similarity == "signed" else products.abs()
    own = to_own.masked_fill(~same | itself, -torch.inf).logsumexp(dim=1) - math.log(size - 1)
    return own - to_others.masked_fill(same, -torch.inf).logsumexp(dim=1) + math.log((num_directions - 1) * size)
