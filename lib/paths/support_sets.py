"""RBF warpings: a vector field for each path, whose unit vectors are the path's directions.

Path k is driven by f_k(x) = sum_i a_i exp(-gamma_k |x - s_i|^2) over N antipodal pairs of support vectors s with
weights a = +1, -1 in turn; its direction at x is the gradient of f_k there, normalised (ContraCLIP, section 3.1).
"""

import math

import torch
from torch import nn

from lib.paths.paths import Paths
from models.errors import UserError


def warp_direction(x, supports, gamma):
    """Unit gradients of one warping function.

    x (b, d), supports (2N, d) with weights +1, -1 in turn, gamma scalar or (2N,) -> (b, d). Squared distances are
    expanded, so that no (b, 2N, d) tensor is built. All terms are scaled by the largest one, which changes no direction
    and keeps them from vanishing together far from all supports; where the gradient is exactly zero the direction is
    zero.
    """
    # Distances are between near-by points relative to their norms: a common origin keeps their digits.
    origin = x.detach().mean(dim=0)
    x, supports = x - origin, supports - origin
    distances = x.square().sum(1, keepdim=True) - 2 * x @ supports.T + supports.square().sum(1)
    exponents = -gamma * distances.clamp_min(0)
    terms = torch.exp(exponents - exponents.amax(dim=1, keepdim=True).detach())
    signs = torch.ones(len(supports), device=x.device, dtype=x.dtype)
    signs[1::2] = -1
    terms = terms * signs if gamma.numel() == 1 else terms * signs * gamma
    gradient = terms @ supports - terms.sum(1, keepdim=True) * x  # a common 2 gamma is left out: it is positive
    squared_norm = gradient.square().sum(1, keepdim=True)
    zero = squared_norm == 0
    return torch.where(zero, 0, gradient / squared_norm.masked_fill(zero, 1).sqrt())


def directions(x, indices, supports, gammas):
    """Each item's unit direction along its own path.

    x (B, d), path indices (B,), supports (K, 2N, d), gammas (K,) or (K, 2N) -> (B, d).
    """
    supports, gammas = supports.unbind(0), gammas.unbind(0)
    order = torch.argsort(indices, stable=True)
    paths, counts = torch.unique_consecutive(indices[order], return_counts=True)
    groups = x[order.to(x.device)].split(counts.tolist())
    parts = [warp_direction(group, supports[k], gammas[k]) for k, group in zip(paths.tolist(), groups)]
    return torch.cat(parts)[torch.argsort(order).to(x.device)]


def initial_radii(num_paths, jung_radius):
    """One radius a path, from 0.90 up to below 1.25 times the Jung radius: (K,)."""
    return jung_radius * (0.9 + 0.35 * torch.arange(num_paths) / num_paths)


def _alternate(alphas, shape):
    """Whether weights of support vectors are +1 and -1 in turn."""
    if not isinstance(alphas, torch.Tensor) or tuple(alphas.shape) != shape:
        return False
    return bool((alphas[:, ::2] == 1).all() and (alphas[:, 1::2] == -1).all())


class LatentSupportSets(Paths):
    """The trained paths: K support sets of N antipodal pairs in a latent space of dimension d.

    Parameters are stored as the authors' `latent_support_sets.pt` has them: SUPPORT_SETS (K, 2N d), LOGGAMMA (K, 1).
    A version of their code gave each support vector a gamma of its own: LOGGAMMA (K, 2N).
    """

    def __init__(self, num_paths, num_dipoles, dim):
        super().__init__()
        self.num_paths, self.num_dipoles, self.dim = num_paths, num_dipoles, dim
        self.SUPPORT_SETS = nn.Parameter(torch.zeros(num_paths, 2 * num_dipoles * dim))
        self.LOGGAMMA = nn.Parameter(torch.zeros(num_paths, 1))

    @classmethod
    def random(cls, num_paths, num_dipoles, dim, jung_radius, beta, generator):
        """Random antipodal pairs on a sphere for each path.

        gamma_k = -ln(beta) / (2 r_k)^2: a support vector's kernel has fallen to beta at its antipode.
        """
        sets = cls(num_paths, num_dipoles, dim)
        radii = initial_radii(num_paths, jung_radius)
        vectors = torch.randn(num_paths, num_dipoles, dim, generator=generator)
        vectors = vectors / vectors.norm(dim=-1, keepdim=True) * radii[:, None, None]
        sets.SUPPORT_SETS.data = torch.stack([vectors, -vectors], dim=2).reshape(num_paths, -1)
        sets.LOGGAMMA.data = torch.log(-math.log(beta) / (2 * radii) ** 2)[:, None]
        return sets

    @classmethod
    def from_state(cls, state, dim, source):
        """From tensors as in `latent_support_sets.pt`. Raises UserError, naming `source`, where they do not fit."""
        if not isinstance(state, dict) or not {"SUPPORT_SETS", "LOGGAMMA"} <= state.keys():
            raise UserError(f"{source} holds no support sets: SUPPORT_SETS and LOGGAMMA are not both there")
        vectors, loggammas = state["SUPPORT_SETS"], state["LOGGAMMA"]
        if not isinstance(vectors, torch.Tensor) or not isinstance(loggammas, torch.Tensor):
            raise UserError(f"{source} holds no support sets: SUPPORT_SETS and LOGGAMMA are no tensors")
        fits = vectors.ndim == 2 and vectors.shape[1] > 0 and vectors.shape[1] % (2 * dim) == 0
        if not fits or tuple(loggammas.shape) not in ((len(vectors), 1), (len(vectors), vectors.shape[1] // dim)):
            raise UserError(
                f"{source} has SUPPORT_SETS {tuple(vectors.shape)} and LOGGAMMA {tuple(loggammas.shape)}, which fit no "
                f"latent space of dimension {dim}"
            )
        if not (vectors.isfinite().all() and loggammas.isfinite().all()):
            raise UserError(f"{source} has SUPPORT_SETS or LOGGAMMA that are not finite: its training has diverged")
        if "ALPHAS" in state and not _alternate(state["ALPHAS"], (len(vectors), vectors.shape[1] // dim)):
            raise UserError(f"{source} has ALPHAS other than 1 and -1 in turn, and no path here has such weights")
        sets = cls(len(vectors), vectors.shape[1] // (2 * dim), dim)
        sets.LOGGAMMA.data = torch.zeros(loggammas.shape)
        sets.load_state_dict({key: state[key] for key in ("SUPPORT_SETS", "LOGGAMMA")})
        return sets

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> unit directions (B, d)."""
        supports = self.SUPPORT_SETS.view(self.num_paths, 2 * self.num_dipoles, self.dim)
        gammas = self.LOGGAMMA.exp()
        return directions(x, indices, supports, gammas[:, 0] if gammas.shape[1] == 1 else gammas)


class CorpusSupportSets(nn.Module):
    """The text's own warpings, fixed: each dipole's two poles in CLIP's embedding space."""

    def __init__(self, text_features, beta):
        """text_features (K, 2, E); gamma_k = -ln(beta) / |A - B|^2: a pole's kernel has fallen to beta at the other.

        The text alone sets the width; where on the warping an image lies depends on its feature's length too, which
        models that train on cosines leave free. The shorter the image features are, the closer a direction is to A - B;
        of features several times as long as the text's it is mostly the way to the origin, whatever the dipole. A beta
        nearer 1 widens the kernels and undoes that.
        """
        super().__init__()
        self.register_buffer("poles", text_features)
        squared = (text_features[:, 0] - text_features[:, 1]).square().sum(dim=1)
        self.register_buffer("gammas", -math.log(beta) / squared)

    def forward(self, x, indices):
        """Image features x (B, E), path indices (B,) -> unit directions (B, E)."""
        return directions(x, indices, self.poles, self.gammas)
