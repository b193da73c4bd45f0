"""Principal components of codes, and of a layer's activations with the directions of codes that go with them.

GANSpace (Härkönen et al. 2020), sections 2.2 and 2.3.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tqdm import tqdm

from lib import distributed
from lib.draws import generator_for
from lib.methods.eigenvectors import anchored, leading_eigenvectors
from models.errors import UserError

CODES_AT_ONCE = 1000
IMAGES_AT_ONCE = 64
# Up to here the covariance of all dimensions is kept (128 MiB). Beyond, scikit-learn's incremental PCA keeps the
# leading components alone, as the published code does.
MOST_EXACT = 4096


@dataclass(frozen=True)
class Components:
    """directions (K, d): unit rows. deviations (K,): of codes along them, in units of the space. shares (K,): of the
    variance, that of the codes or of the layer's activations."""

    directions: torch.Tensor
    deviations: torch.Tensor
    shares: torch.Tensor


def drawn_codes(space, number, seed, stream, at_once):
    """Yields `number` random codes of a space in batches of `at_once`."""
    generator = generator_for(seed, stream, 0)
    for first in range(0, number, at_once):
        z = torch.randn(min(at_once, number - first), space.generator.z_dim, generator=generator)
        yield space.codes_of(z.to(space.device))


class Moments:
    """The mean (d,) and covariance (d, d) of rows that arrive in batches, in double precision."""

    def __init__(self):
        self.count, self.total, self.products, self.origin = 0, 0, 0, None

    def add(self, rows):
        """rows (n, d)"""
        rows = rows.double()
        self.origin = rows.mean(dim=0) if self.origin is None else self.origin  # near the mean: no digits are lost
        rows = rows - self.origin
        self.count += len(rows)
        self.total, self.products = self.total + rows.sum(dim=0), self.products + rows.T @ rows

    @property
    def mean(self):
        return self.origin + self.total / self.count

    @property
    def covariance(self):
        mean = self.total / self.count
        return (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


@torch.no_grad()
def components_of_codes(space, count, samples, seed):
    """The `count` leading `Components` of the positions of random codes."""
    moments = Moments()
    for codes in _shown(drawn_codes(space, samples, seed, 13, CODES_AT_ONCE), samples, "codes"):
        moments.add(space.positions(codes).cpu())
    covariance = moments.covariance
    values, directions = leading_eigenvectors(covariance, count)
    return Components(directions.float(), values.clamp_min(0).sqrt(), values.clamp_min(0) / covariance.trace())


@torch.no_grad()
def components_of_layer(space, layer, count, samples, seed, at_once=None):
    """`Components` of positions that go with the `count` leading components of a layer's activations.

    Activations are seen twice: once for their components, once, at other codes, for the regression.
    """
    at_once = max(at_once or IMAGES_AT_ONCE, count + 1)  # incremental PCA needs as many in a batch as components

    def activations(stream):
        batches = drawn_codes(space, samples, seed, stream, at_once)
        for codes in _shown(batches, samples, f"activations of {layer}"):
            yield space.positions(codes).cpu().double(), space.features(codes, layer).flatten(1).cpu()

    mean, basis, deviations, shares = _components(activations(13), count)
    if not deviations[-1] > 1e-6 * deviations[0]:
        raise UserError(f"the activations of {layer} vary in fewer than --num-directions {count} directions: lower it")
    to_unit = (basis / deviations[:, None]).T
    pairs = ((positions, (rows.double() - mean) @ to_unit) for positions, rows in activations(14))
    positions, coordinates = (torch.cat(parts) for parts in zip(*pairs))
    return _regressed(positions, coordinates, shares)


def _components(batches, count):
    """(mean (D,), basis (K, D), deviations (K,), shares (K,)) of the activations in batches of (positions, rows)."""
    moments = estimator = None
    for _, rows in batches:
        if rows.shape[1] <= MOST_EXACT:
            moments = moments or Moments()
            moments.add(rows)
        else:
            from sklearn.decomposition import IncrementalPCA

            estimator = estimator or IncrementalPCA(count)
            if len(rows) >= count:  # a last batch that is smaller is left out, which it refuses
                estimator.partial_fit(rows.numpy())
    if moments:
        covariance = moments.covariance
        values, basis = leading_eigenvectors(covariance, count)
        return moments.mean, basis, values.clamp_min(0).sqrt(), values.clamp_min(0) / covariance.trace()
    fields = estimator.mean_, estimator.components_, estimator.explained_variance_, estimator.explained_variance_ratio_
    mean, basis, variances, shares = (torch.from_numpy(field).double() for field in fields)
    return mean, anchored(basis), variances.sqrt(), shares


def _regressed(positions, coordinates, shares):
    """`Components` of positions (N, d) by least squares on coordinates (N, K), which are of unit variance."""
    positions = positions - positions.mean(dim=0)
    solution = torch.linalg.lstsq(coordinates - coordinates.mean(dim=0), positions).solution  # (K, d)
    directions = F.normalize(solution, dim=1)
    return Components(directions.float(), (positions @ directions.T).std(dim=0), shares)


def _shown(batches, total, what):
    with tqdm(total=total, desc=what, unit="code", dynamic_ncols=True, disable=not distributed.is_first()) as bar:
        for codes in batches:
            yield codes
            bar.update(len(codes))
