"""From what a judge read along an experiment's paths to the figures that are reported."""

from dataclasses import dataclass, replace

import numpy as np

from lib.evaluation import measures

NEAR = 0.02  # so near to REACHED, what is read is taken as read there


@dataclass(frozen=True)
class Aim:
    """What one path is meant to change, and where it is looked at."""

    own: int  # index of its own number
    sign: int  # +1 where positive shifts should raise it
    chosen_by: str  # "judge", "user", or "most moved": then the figures flatter the path
    radius: float  # where the mean own effect is 0.5, as nearly as the steps tell; else the end


def aim_of(numbers, radii, own=None, chosen_by="most moved"):
    """The `Aim` of a path whose numbers (B, 2S + 1, J) were read at steps -S..S of radii (S + 1).

    own: (index, sign) of the number that it should move; None: the number that it moves most.
    """
    moved = measures.differences(numbers)
    index, sign = own or measures.most_moved(moved)
    curve = sign * moved[:, :, index].mean(axis=0)
    radius, _ = measures.crossing(curve[None], radii)
    return Aim(index, sign, chosen_by if own else "most moved", float(radius[0]))


def refined(aim, numbers, radii, at_reach):
    """The aim of a path, with a better radius if the mean own effect in what was read at the old one, at_reach
    (B, 2, J), is not REACHED."""
    effect = aim.sign * (at_reach[:, 1, aim.own] - at_reach[:, 0, aim.own]).mean()
    if abs(effect - measures.REACHED) <= NEAR:
        return aim
    moved, radii = with_reach(measures.differences(numbers), radii, at_reach[:, 1] - at_reach[:, 0], aim.radius)
    radius, _ = measures.crossing(aim.sign * moved[None, :, :, aim.own].mean(axis=1), radii)
    return replace(aim, radius=float(radius[0]))


def with_reach(moved, radii, at_reach, radius):
    """Insert what was read at `radius` into a path: moved (B, S + 1, J), radii (S + 1), at_reach (B, J).

    Between two steps the reach is an estimate; with what was read at the estimate the path is known there.
    """
    place = int(np.searchsorted(radii, radius))
    if np.isclose(radii, radius, rtol=1e-6).any():
        return moved, radii
    return np.insert(moved, place, at_reach, axis=1), np.insert(radii, place, radius)


def curves_of(moved, radii, aim, other, weights):
    """How a path's own number, and another one, move along it: {"radii", "own", "other"}, with the mean over codes and
    its interval at each radius, (3, S + 1)."""
    columns = {"own": aim.sign * moved[:, :, aim.own], "other": moved[:, :, other]}
    curves = {name: np.array([measures.interval(values) for values in (weights @ column).T]).T
              for name, column in columns.items()}
    return {"radii": radii} | curves


def path_report(numbers, at_reach, radii, aim, weights, per_code):
    """All that is reported of one path: {"figures": {name: (R,)}, "moved_at_reach": (J), "moved_at_end": (J),
    "strongest_other": index, "curves": of `curves_of`}.

    numbers (B, 2S + 1, J) and at_reach (B, 2, J), of the negative end and the positive one, are scaled. per_code:
    {name: (B,)}, figures that are means over codes.
    """
    moved = measures.differences(numbers)
    moved, radii = with_reach(moved, radii, at_reach[:, 1] - at_reach[:, 0], aim.radius)
    figures = measures.path_figures(moved, radii, aim.own, aim.sign, weights)
    figures["monotonicity"] = weights @ (aim.sign * measures.spearman(numbers[:, :, aim.own]))
    figures |= {name: weights @ values for name, values in per_code.items()}
    there = measures.at_radius(moved.mean(axis=0)[None], radii, figures["reach"][:1])[0]
    others = np.abs(there)
    others[aim.own] = -1
    strongest = int(others.argmax())
    return {
        "figures": figures,
        "moved_at_reach": there,
        "moved_at_end": moved[:, -1].mean(axis=0),
        "strongest_other": strongest if len(there) > 1 else None,
        "curves": curves_of(moved, radii, aim, strongest, weights),
    }
