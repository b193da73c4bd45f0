"""Where the search for a code begins: at the mean, or at what many samples of the generator say of the picture.

A linear regression from what the samples show, small, to their codes is the better start by far than the one sample
that is most like the picture (docs/inverting.md); the better of the two is taken, picture by picture.
"""

import torch
import torch.nn.functional as F

from lib.draws import generator_for
from lib.inversion.comparing import pixels
from models.errors import UserError

STREAM = 21  # of `generator_for`
SIDE = 16  # pixels of what the regression sees
SHOWN = 64  # pixels at which samples are made, where a generator can stop there
RIDGE = 0.3  # of the mean square of a sample; 0.1 to 1 do as well
AT_ONCE = 32


@torch.no_grad()
def start(coordinates, targets, settings, tries=1):
    """Common offsets to begin at, (tries, B, M, d), for targets (B, 3, R, R). settings: `InversionSettings`.

    Each try has samples of its own. Raises UserError where the mean of Z is asked for.
    """
    space = coordinates.space
    if settings.start == "mean":
        if space.name == "Z":
            raise UserError("the mean of Z is no place to start from, as codes of Z are far from it: use "
                            "--start=samples")
        return torch.zeros(tries, len(targets), *coordinates.mean.shape, device=space.device)
    return torch.stack([_best(coordinates, targets, *_sampled(coordinates, settings, one)) for one in range(tries)])


def _sampled(coordinates, settings, one):
    """What samples show (N, F), and their offsets (N, M, d). one: the number of the try."""
    space, noise = coordinates.space, generator_for(settings.seed, STREAM, one)
    z = torch.randn(settings.samples, space.generator.z_dim, generator=noise)
    codes = [space.codes_of(part.to(space.device)) for part in z.split(AT_ONCE)]
    return torch.cat([small(_shown(space, part)) for part in codes]), coordinates.of(torch.cat(codes))


def _best(coordinates, targets, seen, offsets):
    """For each target (B, 3, R, R), what is better: the nearest of the samples, or the regression on them."""
    nearest = offsets[torch.cdist(small(targets), seen, p=1).argmin(dim=1)]
    candidates = nearest, regressed(small(targets), seen, offsets)
    distances = [_distances(coordinates, one, targets) for one in candidates]
    return torch.where((distances[1] < distances[0])[:, None, None], candidates[1], candidates[0])


def _distances(coordinates, offsets, targets):
    pairs = zip(offsets.split(AT_ONCE), targets.split(AT_ONCE))
    return torch.cat([pixels(coordinates.space.synthesise(coordinates.codes(one)), target) for one, target in pairs])


def small(images):
    """Images (B, 3, R, R) -> what is compared of them, (B, 3 * 16 * 16)."""
    return F.adaptive_avg_pool2d(images, SIDE).flatten(1)


def _shown(space, codes):
    """Images of codes, at a resolution that suffices."""
    sizes = [size for size in space.generator.image_sizes if size >= SHOWN]
    if space.resolution is not None or len(sizes) < 2:
        return space.synthesise(codes)
    space.resolution = sizes[0]
    try:
        return space.synthesise(codes)
    finally:
        space.resolution = None


def regressed(targets, seen, offsets):
    """Ridge regression in its dual form: targets (B, F), what samples show (N, F), their offsets (N, M, d) ->
    (B, M, d)."""
    centre, mean = seen.mean(dim=0), offsets.mean(dim=0)
    # In double precision, which not every device has.
    seen, targets = ((one - centre).cpu().double() for one in (seen, targets))
    products = seen @ seen.T
    products += RIDGE * products.diagonal().mean() * torch.eye(len(seen), dtype=seen.dtype)
    weights = torch.linalg.solve(products, (offsets - mean).flatten(1).cpu().double())
    return (targets @ seen.T @ weights).to(offsets).unflatten(1, mean.shape) + mean
