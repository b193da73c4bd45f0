"""What a path changes, in figures: each a function of numbers that a judge read along the path, averaged over codes.

Numbers are in units of their own range, so that 1 is the width of what the generator shows. A path is read at steps
-S..S about its start (frames 0..2S, the start in the middle), which lie at distances `radii` (S + 1), the start's 0
among them. `moved[b, i, j]` is number j at +radii[i] minus number j at -radii[i], from code b. A path's own number is
the one that it is meant to move, and `sign` the direction (+1 or -1) in which positive shifts should move it.

Every mean over codes takes `weights` (R, B), whose rows are ways to weigh the B codes: the first row weighs all codes
alike and gives the figure itself, the others are bootstrap resamples of the codes and give its interval. A figure is
thus an array (R,), which `interval` sums up.
"""

import numpy as np

REACHED = 0.5  # the own effect, in units of the number's range, at which paths are compared
RESAMPLES = 1000


def resamples(codes, count=RESAMPLES, seed=0):
    """Weights (1 + count, codes): equal ones, then those of `count` bootstrap resamples of the codes (Efron 1979)."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(codes, np.full(codes, 1 / codes), size=count)
    return np.concatenate([np.full((1, codes), 1 / codes), counts / codes])


def interval(values, level=0.95):
    """A figure (R,) -> (the figure, low, high): the percentile interval of its resamples.

    Values may be infinite, hence no interpolation between two resamples. Those that are NaN, as a distance among codes
    in a resample of a single code, are left out.
    """
    defined = values[1:][~np.isnan(values[1:])]
    if not len(defined):
        return float(values[0]), float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(values[0]), float(low), float(high)


def differences(numbers):
    """Numbers (..., 2S + 1, J) at steps -S..S -> how far they moved from end to end, (..., S + 1, J)."""
    middle = numbers.shape[-2] // 2
    return numbers[..., middle:, :] - numbers[..., middle::-1, :]


def most_moved(moved):
    """Which number a path (B, S + 1, J) moves most at its end, averaged over codes, and in which direction."""
    mean = moved[:, -1].mean(axis=0)
    number = int(np.abs(mean).argmax())
    return number, 1 if mean[number] >= 0 else -1


def crossing(curves, radii, level=REACHED):
    """The smallest radius at which a curve (R, S + 1) is at `level`, linear between the radii, and whether it is
    anywhere, (R,) each. Where it is not, the last radius stands."""
    is_there = curves >= level
    reached, first = is_there.any(axis=1), is_there.argmax(axis=1)
    rows, before = np.arange(len(curves)), np.maximum(first - 1, 0)
    rise = curves[rows, first] - curves[rows, before]
    share = np.divide(level - curves[rows, before], rise, out=np.zeros(len(curves)), where=rise > 0)
    radius = radii[before] + share * (radii[first] - radii[before])
    return np.where(reached, radius, radii[-1]), reached


def at_radius(curves, radii, radius):
    """Curves (R, S + 1, ...) at a radius each (R,), linear between the radii -> (R, ...)."""
    after = np.clip(np.searchsorted(radii, radius), 1, len(radii) - 1)
    share = (radius - radii[after - 1]) / (radii[after] - radii[after - 1])
    share = share.reshape(-1, *[1] * (curves.ndim - 2))
    rows = np.arange(len(curves))
    return (1 - share) * curves[rows, after - 1] + share * curves[rows, after]


def path_figures(moved, radii, own, sign, weights):
    """The figures of one path that follow from how far its numbers moved.

    moved (B, S + 1, J), radii (S + 1) ascending from 0, own: index of the path's own number. Returns arrays (R,):

        own_effect  mean of sign * moved at the end, of the own number
        right_way   share of codes whose own number moves the right way at the end
        strongest   1 where the own number moves most of all at the end, and the right way
        reach       the smallest radius at which the mean own effect is 0.5
        reached     1 where there is one; where there is none, reach is the end
        leak        at reach: the largest systematic change of another number, over the own effect
        stray       at reach: the mean absolute change of the other numbers, over codes and numbers, over the own effect

    Leak and stray are infinite where the path does not move its own number the right way at all. Both are 0 where there
    is no other number.
    """
    codes, _, count = moved.shape
    mean = np.tensordot(weights, moved, axes=1)  # (R, S + 1, J)
    own_curve = sign * mean[:, :, own]
    reach, reached = crossing(own_curve, radii)
    others = np.arange(count) != own
    at_reach = np.abs(at_radius(mean, radii, reach)[:, others])
    strays = np.abs(moved[:, :, others]).mean(axis=2) if count > 1 else np.zeros((codes, len(radii)))
    effect = at_radius(own_curve, radii, reach)
    end_others = np.abs(mean[:, -1][:, others])
    return {
        "own_effect": own_curve[:, -1],
        "right_way": weights @ (sign * moved[:, -1, own] > 0),
        "strongest": (own_curve[:, -1] > end_others.max(axis=1, initial=0)).astype(float),
        "reach": reach,
        "reached": reached.astype(float),
        "leak": _share(at_reach.max(axis=1, initial=0), effect),
        "stray": _share(at_radius(weights @ strays, radii, reach), effect),
    }


def _share(change, effect):
    """change / effect; infinite where the effect is not positive."""
    return np.divide(change, effect, out=np.full(len(effect), np.inf), where=effect > 0)


def spearman(numbers):
    """Spearman's rank correlation of numbers (..., T) with their position 0..T-1 -> (...).

    Equal numbers share the mean of their ranks. Numbers that do not change at all are given 0.
    """
    above = numbers[..., :, None] > numbers[..., None, :]
    equal = numbers[..., :, None] == numbers[..., None, :]
    ranks = above.sum(axis=-1) + (equal.sum(axis=-1) - 1) / 2
    positions = np.arange(numbers.shape[-1]) - (numbers.shape[-1] - 1) / 2
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(ranks).sum(axis=-1) * np.square(positions).sum())
    return np.divide(ranks @ positions, spread, out=np.zeros(ranks.shape[:-1]), where=spread > 0)


def bend(positions):
    """Distance between the ends of paths (..., T, d) over their length (WarpedGANSpace's phi): 1 for a line, 0 for a
    loop. A path without length is given 1."""
    length = np.linalg.norm(np.diff(positions, axis=-2), axis=-1).sum(axis=-1)
    ends = np.linalg.norm(positions[..., -1, :] - positions[..., 0, :], axis=-1)
    return np.divide(ends, length, out=np.ones(np.shape(length)), where=length > 0)


def covariation(walks, ranges, positions=None):
    """WarpedGANSpace's cov(a, i) / std(i) of attributes a with positions i along paths, both unbiased.

    walks (..., T, A); ranges (A, 2): each attribute is mapped from its range to [-1, 1] and clipped. positions (T, A)
    or (T, 1), by default 0..T-1: for an attribute that compares with the middle image, as identity, distances from it.
    Returns (..., A): Pearson's correlation times the attribute's own standard deviation.
    """
    low, high = np.asarray(ranges, dtype=float).T
    mapped = np.clip(2 * (walks - low) / (high - low) - 1, -1, 1)
    steps = walks.shape[-2]
    positions = np.arange(steps)[:, None] if positions is None else positions
    positions = positions - positions.mean(axis=0)
    covariance = ((mapped - mapped.mean(axis=-2, keepdims=True)) * positions).sum(axis=-2) / (steps - 1)
    return covariance / np.sqrt(np.square(positions).sum(axis=0) / (steps - 1))


def corr(covariations):
    """WarpedGANSpace's `corr`: |mean over codes| of covariations (B, K, A) -> (K, A). A path that raises an attribute
    from one code and lowers it from another has 0."""
    return np.abs(covariations.mean(axis=0))


def corr_l1(table):
    """WarpedGANSpace's `corr_l1`: `corr` (K, A) over the sum of its row. A row of zeros stays."""
    total = table.sum(axis=1, keepdims=True)
    return np.divide(table, total, out=np.zeros(table.shape), where=total > 0)


def kid(frames, samples, weights):
    """Kernel inception distance (Binkowski et al. 2018) of frames from a generator's samples: 0 on average where both
    are of one distribution, whatever their numbers; it may come out below.

    frames (B, E, F): features of E frames from each code; samples (N, F). The cubic polynomial kernel is taken of
    features about the samples' mean, in units of their deviation (one for all of them: a feature that is rarely there
    would rule by its own), so that the distance does not depend on the network's units. Frames of one code are not
    independent, and are not compared with each other. The samples are taken in as many blocks of the frames' number as
    there are, and the mean over the blocks is the distance. Returns (R,); NaN where the samples' features do not vary.
    """
    codes, ends, _ = frames.shape
    block = min(codes * ends, len(samples))
    samples = samples[: len(samples) // block * block]
    mean, deviation = samples.mean(axis=0), np.sqrt(samples.var(axis=0).mean())
    if not deviation > 0:
        return np.full(len(weights), np.nan)
    samples, frames = ((x - mean) / deviation for x in (samples, frames))
    among_samples = np.mean([_mean_of_pairs(part) for part in samples.reshape(-1, block, samples.shape[1])])
    with_samples = np.stack([_kernel(code, samples).mean() for code in frames])  # (B,)
    return _among_codes(frames, weights) + among_samples - 2 * weights @ with_samples


def _kernel(x, y):
    linear = x @ y.T / x.shape[1] + 1
    return linear * linear * linear


def _mean_of_pairs(x):
    """Mean of the kernel over pairs of different rows."""
    kernel = _kernel(x, x)
    return (kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1))


def _among_codes(frames, weights):
    """Mean of the kernel over pairs of frames (B, E, F) from different codes, for each row of weights (R, B). NaN where
    a row weighs one code alone."""
    codes, ends, width = frames.shape
    total = np.zeros(len(weights))
    for b, code in enumerate(frames):  # by code: all pairs at once would fill memory where there are many
        with_others = _kernel(code, frames.reshape(-1, width)).reshape(ends, codes, ends).mean(axis=(0, 2))
        with_others[b] = 0
        total += weights[:, b] * (weights @ with_others)
    different = 1 - np.square(weights).sum(axis=1)
    return np.divide(total, different, out=np.full(len(weights), np.nan), where=different > 1e-9)
