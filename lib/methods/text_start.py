"""Directions from sentences alone, in closed form: where training begins, or all there is (--max-iter=0).

With u the unit CLIP feature of an image and t_k = unit(unit(A_k) - unit(B_k)) what dipole k asks of it:

    S = covariance of u over random codes, M = (S + mean eigenvalue * I)^-1
    J = du/dw at further codes, by central differences
    H = mean J^T M J, scaled to trace d: how strongly moves show, A = (H + alpha I)^-1
    G = mean t_k^T J: how moves change what dipole k is about, Q = G A G^T
    D = (Q + beta mean(diag Q) I)^-1 G A, rows to unit length

Row k moves images along t_k, not along the other dipoles' t, and as little as possible otherwise. The central
differences are taken over a finite step: they average over the generator's small wiggles, which the gradient follows.

What J costs does not depend on the sentences: it is measured once for a generator, a space and a CLIP (`Response`).
"""

import hashlib
import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product

import torch
import torch.nn.functional as F
from tqdm import tqdm

from lib import distributed
from lib.config import CACHE
from lib.dipoles import text_differences
from lib.draws import generator_for
from lib.files import save_tensors
from lib.status import counting
from models.errors import UserError
from models.untrusted.shapes import Misfit, checked
from models.untrusted.tensor_files import load_tensors

FEATURE_CODES = 1024  # for the covariance of features
RESPONSE_CODES = 48  # for J
STEP = 0.07  # of the central differences, as a share of the Jung radius
ALPHAS, BETAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), (0.01, 0.3)
LEAST_SLOPE = 1e-6  # change of t_k . u per unit of move: a path without effect has natural shifts too
FOLDS = 4  # parts of the codes, each of which is held out once to choose among the constants
# Moves are tried along the principal directions of the positions, but for those of less than this share of the longest:
# codes of W fill few of the dimensions of W+ and S.
LEAST_SPREAD = 1e-3
# Of more directions than this, along those that show most: gradients of PROJECTIONS random combinations of the features
# at BASIS_CODES codes.
MOST_DIRECTIONS, PROJECTIONS, BASIS_CODES = 64, 16, 24
IMAGES_AT_ONCE = 32  # fastest on a CPU


@dataclass(frozen=True)
class Response:
    """How images, seen by a CLIP, respond to moves of their codes in a space of dimension d.

    mean (d,): of the positions. features (N, E): unit features at random codes. basis (p, d): orthonormal directions
    of the moves. differences (n, p, E): change of the unit feature per unit of move, at n codes.
    """

    mean: torch.Tensor
    features: torch.Tensor
    basis: torch.Tensor
    differences: torch.Tensor

    def inverse_covariance(self, ridge=1.0):
        """(S + ridge * mean eigenvalue * I)^-1 of the features' covariance S: (E, E)."""
        covariance = torch.cov(self.features.T)
        return torch.linalg.inv(covariance + ridge * covariance.diag().mean() * torch.eye(len(covariance)))

    @cached_property
    def metric(self):
        """M: (E, E)."""
        return self.inverse_covariance()

    @cached_property
    def visibility(self):
        """H in the coordinates of the basis: (p, p), with trace p."""
        found = torch.einsum("nae,ef,nbf->ab", self.differences, self.metric, self.differences)
        return found * len(found) / found.trace()

    def changes(self, directions):
        """Change of the unit feature per unit of move along directions (K, d), linearly: (n, K, E)."""
        return torch.einsum("nae,ka->nke", self.differences, directions @ self.basis.T)

    @cached_property
    def folds(self):
        """[(a mask (n,) of codes, the response at the others, the response at these), ...]: each code is once among
        those that are held out."""
        fold = torch.arange(len(self.differences)) % FOLDS
        return [(fold == k, self._of_codes(fold != k), self._of_codes(fold == k)) for k in range(FOLDS)]

    def _of_codes(self, chosen):
        """The response at some of the codes only: a mask (n,)."""
        part = replace(self, differences=self.differences[chosen])
        vars(part)["metric"] = self.metric  # of the features, which are the same
        return part


def directions(response, targets, alpha, beta):
    """The closed form: D (K, d), unit rows. targets t (K, E)."""
    regularised = torch.linalg.inv(response.visibility + alpha * torch.eye(len(response.basis)))
    gains = targets @ response.differences.mean(dim=0).T  # (K, p)
    mutual = gains @ regularised @ gains.T
    mutual = mutual + beta * mutual.diag().mean() * torch.eye(len(mutual))
    return F.normalize(torch.linalg.solve(mutual, gains @ regularised) @ response.basis, dim=1)


def held_out_cosines(response, targets, alpha, beta):
    """For each code the cosine, averaged over paths, of what the closed form of the other codes changes there with
    t_k: (n,)."""
    found = torch.zeros(len(response.differences))
    for held_out, others, these in response.folds:
        changes = these.changes(directions(others, targets, alpha, beta))
        found[held_out] = F.cosine_similarity(changes, targets, dim=-1).mean(dim=1)
    return found


@dataclass(frozen=True)
class TextStart:
    """Directions (K, d) of paths, unit rows; the t (K, E) that they follow, the response that they come from, and the
    alpha that was chosen."""

    directions: torch.Tensor
    targets: torch.Tensor
    response: Response
    alpha: float

    @classmethod
    def fit(cls, response, text_features):
        """The closed form with the constants that generalise best. text_features (K, 2, E): of the poles.

        No judge chooses, but CLIP's own cosine between what directions found at some codes change at the others and
        t_k: the largest alpha within one standard error of the best (Breiman et al. 1984, section 3.4.3), and the
        better beta. It costs no image.
        """
        targets = text_differences(text_features)
        cosines = {constants: held_out_cosines(response, targets, *constants) for constants in product(ALPHAS, BETAS)}
        best = max(cosines.values(), key=torch.mean)
        sufficient = best.mean() - best.std() / len(best) ** 0.5
        alpha = max(alpha for (alpha, _), found in cosines.items() if found.mean() >= sufficient)
        beta = max(BETAS, key=lambda beta: cosines[alpha, beta].mean())
        return cls(directions(response, targets, alpha, beta), targets, response, alpha)

    def of_path(self, k):
        """The start of one path alone."""
        return replace(self, directions=self.directions[[k]], targets=self.targets[[k]])

    def natural_shifts(self):
        """For each path the shift r, in units of the space, between whose ends -r and r the images cross, by the linear
        response, half of what the generator's images show along t_k: of the 5% to 95% range of t_k . u. (K,)"""
        seen = self.response.features @ self.targets.T
        low, high = torch.quantile(seen, torch.tensor([0.05, 0.95]), dim=0)
        slopes = (self.response.changes(self.directions).mean(dim=0) * self.targets).sum(dim=1)
        return 0.5 * (high - low) / (2 * slopes.clamp_min(LEAST_SLOPE))


def measure_response(space, see, radius, name, seed=0, progress=None):
    """The `Response` of a space's generator, seen by a CLIP; from the cache where it was measured before.

    see: codes (B, ...) -> image features (B, E) of any length. radius: the Jung radius of the positions. name: plain
    values that tell this generator, space and CLIP from all others. progress(images, of all): is told how far it is,
    instead of a bar on stderr; what it raises ends the measuring, and nothing is kept.
    """
    file = _file(radius, name, seed)

    def found():
        response = _read(file, space.dim)
        if response is None:
            response = _Measuring(space, see, radius, seed, progress).measure()
            save_tensors({one.name: getattr(response, one.name) for one in fields(response)}, file)
        return response

    return distributed.from_first(found)


def is_measured(radius, name, seed):
    """Whether the cache has the response that `measure_response` gives."""
    return _file(radius, name, seed).is_file()


def _file(radius, name, seed):
    constants = FEATURE_CODES, RESPONSE_CODES, STEP, LEAST_SPREAD, MOST_DIRECTIONS, PROJECTIONS, BASIS_CODES
    key = json.dumps([name, radius, seed, constants])
    return CACHE / f"response-{hashlib.sha256(key.encode()).hexdigest()[:32]}.pt"


def _read(file, dim):
    """The response in a file of the cache; None where there is none, or it is damaged or of another space."""
    if not file.is_file():
        return None
    shapes = {"mean": (dim,), "features": (None, None), "basis": (None, dim), "differences": (None, None, None)}
    try:
        response = Response(**checked(load_tensors(file), shapes))
    except (UserError, Misfit):
        return None
    fits = response.differences.shape[1:] == (len(response.basis), response.features.shape[1])
    return response if fits else None


class _Measuring:
    def __init__(self, space, see, radius, seed, progress=None):
        self.space, self.see, self.radius, self.seed, self.progress = space, see, radius, seed, progress

    def measure(self):
        codes = self.codes(FEATURE_CODES, stream=10)
        positions = self.space.positions(codes)
        basis = self.basis(positions)
        images = FEATURE_CODES + 2 * RESPONSE_CODES * len(basis)
        told = self.progress
        with tqdm(total=images, desc="text start", unit="image", dynamic_ncols=True, disable=told is not None) as bar:
            self.update = counting(told, images) if told else bar.update
            features = self.features(codes)
            step = STEP * self.radius
            offsets = torch.cat([step * basis, -step * basis]).to(self.space.device)
            moved = self.codes(RESPONSE_CODES, stream=11).split(1)
            differences = torch.stack([self.difference(code, offsets) / (2 * step) for code in moved])
        return Response(positions.mean(dim=0).cpu(), features, basis, differences)

    def codes(self, number, stream):
        z = torch.randn(number, self.space.generator.z_dim, generator=generator_for(self.seed, stream, 0))
        return self.space.codes_of(z.to(self.space.device))

    @torch.no_grad()
    def features(self, codes):
        """Unit features (B, E), on the CPU."""
        found = []
        for part in codes.split(IMAGES_AT_ONCE):
            found.append(F.normalize(self.see(part), dim=1).cpu())
            self.update(len(part))
        return torch.cat(found)

    def difference(self, code, offsets):
        """u(w + s e_a) - u(w - s e_a) for all directions of the basis: (p, E)."""
        ahead, behind = self.features(self.space.shift(code.expand(len(offsets), *code.shape[1:]), offsets)).chunk(2)
        return ahead - behind

    def basis(self, positions):
        """The directions along which moves are tried: (p, d), orthonormal rows."""
        _, spread, directions = torch.linalg.svd((positions - positions.mean(dim=0)).cpu(), full_matrices=False)
        directions = directions[spread > LEAST_SPREAD * spread[0]]
        if len(directions) <= MOST_DIRECTIONS:
            return directions
        generator, gradients = generator_for(self.seed, 12, 1), []
        for code in self.codes(BASIS_CODES, stream=12).split(1):
            codes = code.repeat(PROJECTIONS, *[1] * (code.ndim - 1))
            offsets = torch.zeros(PROJECTIONS, self.space.dim, device=codes.device, requires_grad=True)
            features = F.normalize(self.see(self.space.shift(codes, offsets)), dim=1)
            pull = torch.randn(features.shape, generator=generator).to(features.device)
            gradients.append(torch.autograd.grad(features, offsets, pull)[0].cpu() @ directions.T)
        return torch.linalg.svd(torch.cat(gradients), full_matrices=False).Vh[:MOST_DIRECTIONS] @ directions
