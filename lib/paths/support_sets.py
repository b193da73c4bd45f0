"""RBF warpings: a vector field for each path, whose normalised vectors are the path's directions.

Path k follows f_k(x) = sum_i a_i exp(-gamma_k |x - s_i|^2), a sum over N antipodal pairs of support vectors s with
alternating weights a = +1, -1. Its direction at x is the normalised gradient of f_k there (ContraCLIP, section 3.1).
"""

import math

import torch
from torch import nn

from lib.paths.fields import of_each_path, unit
from lib.paths.paths import Paths
from models.errors import UserError


def warp_direction(x, supports, gamma, weights=None):
    """Unit gradients of one warping function.

    x (b, d), supports (2N, d), gamma scalar or (2N,), weights (2N,), by default alternating +1, -1 -> (b, d). Squared
    distances are expanded, so that no (b, 2N, d) tensor is built. All terms are scaled by the largest kernel: this
    changes no direction, and keeps them from underflowing far from all supports. Where the gradient is exactly zero, so
    is the direction.
    """
    # The points are close to each other relative to their norms: moving the origin among them preserves precision.
    origin = x.detach().mean(dim=0)
    x, supports = x - origin, supports - origin
    distances = x.square().sum(1, keepdim=True) - 2 * x @ supports.T + supports.square().sum(1)
    exponents = -gamma * distances.clamp_min(0)
    terms = torch.exp(exponents - exponents.amax(dim=1, keepdim=True).detach())
    if weights is None:
        weights = torch.ones(len(supports), device=x.device, dtype=x.dtype)
        weights[1::2] = -1
    terms = terms * weights if gamma.numel() == 1 else terms * weights * gamma
    gradient = terms @ supports - terms.sum(1, keepdim=True) * x  # without a common factor 2 gamma, which is positive
    return unit(gradient)


def directions(x, indices, supports, gammas, weights=None):
    """Each item's unit direction along its own path.

    x (B, d), path indices (B,), supports (K, 2N, d), gammas (K,) or (K, 2N), weights None or (K, 2N) -> (B, d).
    """
    supports, gammas = supports.unbind(0), gammas.unbind(0)
    weights = [None] * len(supports) if weights is None else weights.unbind(0)
    return of_each_path(x, indices, lambda k, group: warp_direction(group, supports[k], gammas[k], weights[k]))


def initial_radii(num_paths, jung_radius):
    """A radius for each path, from 0.90 to just below 1.25 times the Jung radius: (K,)."""
    return jung_radius * (0.9 + 0.35 * torch.arange(num_paths) / num_paths)


def random_dipoles(radii, num_dipoles, dim, generator):
    """Antipodal pairs on spheres of radii (K,), in random directions: (K, 2N d)."""
    vectors = torch.randn(len(radii), num_dipoles, dim, generator=generator)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True) * radii[:, None, None]
    return torch.stack([vectors, -vectors], dim=2).reshape(len(radii), -1)


def _alternate(alphas, shape):
    """Whether the weights of support vectors alternate between +1 and -1."""
    if not isinstance(alphas, torch.Tensor) or tuple(alphas.shape) != shape:
        return False
    return bool((alphas[:, ::2] == 1).all() and (alphas[:, 1::2] == -1).all())


def _checked(state, dim, source):
    """SUPPORT_SETS and LOGGAMMA of a state dict. Raises UserError, naming `source`, if they do not fit."""
    if not isinstance(state, dict) or not {"SUPPORT_SETS", "LOGGAMMA"} <= state.keys():
        raise UserError(f"{source} does not hold support sets: it lacks SUPPORT_SETS or LOGGAMMA")
    vectors, loggammas = state["SUPPORT_SETS"], state["LOGGAMMA"]
    if not isinstance(vectors, torch.Tensor) or not isinstance(loggammas, torch.Tensor):
        raise UserError(f"{source} does not hold support sets: SUPPORT_SETS or LOGGAMMA is not a tensor")
    fits = vectors.ndim == 2 and vectors.shape[1] > 0 and vectors.shape[1] % (2 * dim) == 0
    if not fits or tuple(loggammas.shape) not in ((len(vectors), 1), (len(vectors), vectors.shape[1] // dim)):
        raise UserError(
            f"{source} has SUPPORT_SETS {tuple(vectors.shape)} and LOGGAMMA {tuple(loggammas.shape)}, which do not "
            f"fit a latent space of dimension {dim}"
        )
    if not (vectors.isfinite().all() and loggammas.isfinite().all()):
        raise UserError(f"{source} has SUPPORT_SETS or LOGGAMMA that are not finite: its training diverged, train "
                        "it again")
    return vectors, loggammas


class LatentSupportSets(Paths):
    """The trained paths: K support sets of N antipodal pairs in a latent space of dimension d.

    Parameters are stored as the authors' `latent_support_sets.pt` has them: SUPPORT_SETS (K, 2N d), LOGGAMMA (K, 1).
    One version of their code had a gamma for each support vector: LOGGAMMA (K, 2N).
    """

    def __init__(self, num_paths, num_dipoles, dim):
        super().__init__()
        self.num_paths, self.num_dipoles, self.dim = num_paths, num_dipoles, dim
        self.SUPPORT_SETS = nn.Parameter(torch.zeros(num_paths, 2 * num_dipoles * dim))
        self.LOGGAMMA = nn.Parameter(torch.zeros(num_paths, 1))

    @classmethod
    def random(cls, num_paths, num_dipoles, dim, jung_radius, beta, generator):
        """Random antipodal pairs on a sphere for each path.

        gamma_k = -ln(beta) / (2 r_k)^2, so that the kernel of a support vector has the value beta at its antipode.
        """
        sets = cls(num_paths, num_dipoles, dim)
        radii = initial_radii(num_paths, jung_radius)
        sets.SUPPORT_SETS.data = random_dipoles(radii, num_dipoles, dim, generator)
        sets.LOGGAMMA.data = torch.log(-math.log(beta) / (2 * radii) ** 2)[:, None]
        return sets

    @classmethod
    def around(cls, centre, directions, num_dipoles, radius, beta, generator, spread=0.5):
        """Antipodal pairs about a centre (d,), scattered about the line of each path: directions (K, d), unit.

        v = radius * unit(direction + spread * n / sqrt(d)), n ~ N(0, I), gives the support vectors centre +- v; kernels
        have fallen to beta at the antipode, as in `random`.
        """
        num_paths, dim = directions.shape
        sets = cls(num_paths, num_dipoles, dim)
        noise = torch.randn(num_paths, num_dipoles, dim, generator=generator)
        vectors = radius * nn.functional.normalize(directions[:, None] + spread * noise / math.sqrt(dim), dim=-1)
        sets.SUPPORT_SETS.data = torch.stack([centre + vectors, centre - vectors], dim=2).reshape(num_paths, -1)
        sets.LOGGAMMA.data.fill_(math.log(-math.log(beta) / (2 * radius) ** 2))
        return sets

    @classmethod
    def from_state(cls, state, dim, source):
        """From tensors as in `latent_support_sets.pt`. Raises UserError, naming `source`, if they do not fit."""
        vectors, loggammas = _checked(state, dim, source)
        if "ALPHAS" in state and not _alternate(state["ALPHAS"], (len(vectors), vectors.shape[1] // dim)):
            raise UserError(f"{source} has ALPHAS that do not alternate between 1 and -1: such paths are not supported")
        sets = cls(len(vectors), vectors.shape[1] // (2 * dim), dim)
        sets.LOGGAMMA.data = torch.zeros(loggammas.shape)
        sets.load_state_dict({key: state[key] for key in ("SUPPORT_SETS", "LOGGAMMA")})
        return sets

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> unit directions (B, d)."""
        supports = self.SUPPORT_SETS.view(self.num_paths, 2 * self.num_dipoles, self.dim)
        gammas = self.LOGGAMMA.exp()
        return directions(x, indices, supports, gammas[:, 0] if gammas.shape[1] == 1 else gammas)


class WeightedSupportSets(LatentSupportSets):
    """Support sets as WarpedGANSpace has them: weights ALPHAS (K, 2N) of their own, and what is trained may be chosen.

    Its published code takes the gamma of its command where gammas are not trained, and does not look at LOGGAMMA; here
    LOGGAMMA always counts.
    """

    def __init__(self, num_paths, num_dipoles, dim, learn_alphas=False, learn_gammas=False):
        super().__init__(num_paths, num_dipoles, dim)
        alphas = torch.tensor([1.0, -1.0]).repeat(num_paths, num_dipoles)
        self.ALPHAS = nn.Parameter(alphas, requires_grad=learn_alphas)
        self.LOGGAMMA.requires_grad_(learn_gammas)

    @classmethod
    def random(cls, num_paths, num_dipoles, dim, gamma, generator, **learnt):
        """Random antipodal pairs; path k's lie on a sphere of the radius 1 + 3 k / K (WarpedGANSpace's code)."""
        sets = cls(num_paths, num_dipoles, dim, **learnt)
        radii = 1 + 3 * torch.arange(num_paths) / num_paths
        sets.SUPPORT_SETS.data = random_dipoles(radii, num_dipoles, dim, generator)
        sets.LOGGAMMA.data.fill_(math.log(gamma))
        return sets

    @classmethod
    def from_state(cls, state, dim, source, **learnt):
        """From tensors as in its `support_sets.pt`. Raises UserError, naming `source`, where they do not fit."""
        vectors, _ = _checked(state, dim, source)
        sets, alphas = cls(len(vectors), vectors.shape[1] // (2 * dim), dim, **learnt), state.get("ALPHAS")
        if not isinstance(alphas, torch.Tensor) or alphas.shape != sets.ALPHAS.shape or not alphas.isfinite().all():
            raise UserError(f"{source} has no finite ALPHAS {tuple(sets.ALPHAS.shape)}: it is not of WarpedGANSpace")
        if state["LOGGAMMA"].shape != sets.LOGGAMMA.shape:
            raise UserError(f"{source} has several gammas for each path: it is not of WarpedGANSpace")
        sets.load_state_dict({key: state[key] for key in ("SUPPORT_SETS", "ALPHAS", "LOGGAMMA")})
        return sets

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> unit directions (B, d)."""
        supports = self.SUPPORT_SETS.view(self.num_paths, 2 * self.num_dipoles, self.dim)
        return directions(x, indices, supports, self.LOGGAMMA.exp()[:, 0], self.ALPHAS)


class CorpusSupportSets(nn.Module):
    """The warpings of the text, which are fixed: the two poles of each dipole in CLIP's embedding space."""

    def __init__(self, text_features, beta):
        """text_features (K, 2, E). gamma_k = -ln(beta) / |A - B|^2: a pole's kernel has the value beta at the other.

        The text alone sets the width, but where an image lies on the warping also depends on the length of its feature,
        which models that train on cosines do not control. The shorter the image features are, the closer a direction is
        to A - B. For features several times as long as the text's, it mostly points to the origin, whatever the dipole.
        A beta closer to 1 widens the kernels and counteracts this.
        """
        super().__init__()
        self.register_buffer("poles", text_features)
        squared = (text_features[:, 0] - text_features[:, 1]).square().sum(dim=1)
        self.register_buffer("gammas", -math.log(beta) / squared)

    def forward(self, x, indices):
        """Image features x (B, E), path indices (B,) -> unit directions (B, E)."""
        return directions(x, indices, self.poles, self.gammas)
