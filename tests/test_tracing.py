"""How far one path has moved a code, against the walk that traces all paths."""

import pytest
import torch

from lib.latent_space import latent_space
from lib.paths.edits import EditsOfCodes
from lib.paths.lines import Lines
from lib.paths.support_sets import LatentSupportSets
from lib.paths.tracing import Bent, Straight, follow, trace

STEPS, EPS = 4, 0.3


def noise(seed):
    return torch.Generator().manual_seed(seed)


def paths_in(space, kind):
    if kind == "bent":
        return LatentSupportSets.random(3, 4, space.dim, 6.0, 0.5, noise(0))
    if kind == "lines":
        return Lines.random(3, space.dim, noise(0))
    starts = space.positions(codes_of(space))
    return EditsOfCodes(starts, torch.randn(2, 3, space.dim, generator=noise(0)))


def codes_of(space):
    return space.codes_of(torch.randn(2, space.generator.z_dim, generator=noise(1)))


@pytest.mark.parametrize("kind", ["bent", "lines", "of codes"])
@pytest.mark.parametrize("name", ["Z", "W", "W+", "S"])
def test_path_that_is_followed_meets_the_walk_at_its_steps(kind, name, tiny_stylegan2):
    space = latent_space(tiny_stylegan2, name)
    paths, codes = paths_in(space, kind), codes_of(space)
    walked, followed = trace(space, paths, codes, STEPS, EPS), follow(space, paths, codes, 1, STEPS, EPS)
    assert isinstance(followed, Bent if kind == "bent" else Straight)
    for step in range(-STEPS, STEPS + 1):
        found = space.shift(codes, followed.at(step * EPS))
        torch.testing.assert_close(found, walked[:, 1, STEPS + step], rtol=1e-5, atol=1e-5)


def test_between_two_steps_a_bent_path_is_linear(tiny_stylegan2):
    space = latent_space(tiny_stylegan2, "W")
    followed = follow(space, paths_in(space, "bent"), codes_of(space), 0, STEPS, EPS)
    between = torch.lerp(followed.at(EPS), followed.at(2 * EPS), 0.25)
    torch.testing.assert_close(followed.at(1.25 * EPS), between)
    assert not followed.at(0.0).any()
    torch.testing.assert_close(followed.at(STEPS * EPS), followed.offsets[:, -1])
