"""Directions from sentences in closed form, on worlds whose features are linear in the code: the answer is known."""

import pytest
import torch
import torch.nn.functional as F

from lib.methods import text_start
from lib.methods.text_start import Response, TextStart, directions, held_out_cosines, measure_response, text_differences


def response_of(differences, features=None, basis=None):
    """A response at codes whose differences (n, p, E) are given."""
    _, p, size = differences.shape
    features = torch.randn(200, size, generator=torch.Generator().manual_seed(3)) if features is None else features
    return Response(torch.zeros(p), features, torch.eye(p) if basis is None else basis, differences)


def noisy(jacobian, n=32, noise=0.3):
    """Differences (n, p, E) about a mean Jacobian (p, E)."""
    drawn = torch.randn(n, *jacobian.shape, generator=torch.Generator().manual_seed(4))
    return jacobian + noise * jacobian.std() * drawn


@pytest.fixture
def jacobian():
    return torch.randn(6, 10, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def poles():
    return torch.randn(3, 2, 10, generator=torch.Generator().manual_seed(2))


def test_text_differences_are_those_of_unit_features(poles):
    first, second = (pole / pole.norm(dim=1, keepdim=True) for pole in poles.unbind(1))
    expected = (first - second) / (first - second).norm(dim=1, keepdim=True)
    torch.testing.assert_close(text_differences(7 * poles), expected)


def test_each_direction_moves_along_its_own_text_and_not_along_the_others(jacobian, poles):
    targets = text_differences(poles)
    found = directions(response_of(jacobian.expand(5, -1, -1)), targets, alpha=0.3, beta=1e-6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    effects = found @ jacobian @ targets.T  # of path k along t_j
    own = effects.diag()
    assert (own > 0).all()
    assert (effects - torch.diag(own)).abs().max() < 1e-3 * own.min()


def test_least_visible_of_all_directions_with_the_same_effect(jacobian, poles):
    """The solution of min d^T (H + alpha I) d under t_j . J d = delta_jk, by Lagrange's multipliers."""
    targets, response = text_differences(poles), response_of(jacobian.expand(5, -1, -1))
    cost = response.visibility + 0.3 * torch.eye(6)
    constraints = targets @ jacobian.T  # (K, p)
    system = torch.cat([torch.cat([cost, constraints.T], 1), torch.cat([constraints, torch.zeros(3, 3)], 1)])
    wanted = torch.cat([torch.zeros(6, 3), torch.eye(3)])
    expected = F.normalize(torch.linalg.solve(system, wanted)[:6].T, dim=1)
    torch.testing.assert_close(directions(response, targets, 0.3, 1e-7), expected, rtol=1e-3, atol=1e-4)


def test_held_out_cosine_falls_where_directions_fit_noise(jacobian, poles):
    targets = text_differences(poles)
    clean, loud = (response_of(noisy(jacobian, noise=noise)) for noise in (0.1, 3.0))
    assert held_out_cosines(clean, targets, 0.3, 0.01).mean() > held_out_cosines(loud, targets, 0.3, 0.01).mean() + 0.2


def test_the_noisier_the_response_the_larger_the_constant(poles):
    """Of two dimensions that show alike one is noise: a small constant would trust it."""
    strengths = torch.tensor([1.0, 1.0, 0.02, 0.02, 0.02, 0.02])[:, None]
    jacobian = strengths * torch.randn(6, 10, generator=torch.Generator().manual_seed(1))
    drawn = torch.randn(32, 6, 10, generator=torch.Generator().manual_seed(5))
    quiet, loud = (TextStart.fit(response_of(jacobian + noise * drawn), poles) for noise in (0.001, 0.5))
    assert loud.alpha > 3 * quiet.alpha


def test_natural_shift_crosses_half_of_what_images_show(jacobian, poles):
    start = TextStart.fit(response_of(jacobian.expand(8, -1, -1)), poles)
    shifts = start.natural_shifts()
    rises = 2 * shifts * ((start.directions @ jacobian) * start.targets).sum(dim=1)
    seen = start.response.features @ start.targets.T
    low, high = torch.quantile(seen, torch.tensor([0.05, 0.95]), dim=0)
    torch.testing.assert_close(rises, 0.5 * (high - low))


class LinearSpace:
    """A space of dimension `dim` whose codes fill `rank` dimensions of it."""

    device = torch.device("cpu")

    def __init__(self, dim, rank):
        self.dim = dim
        self.generator = type("Generator", (), {"z_dim": rank})
        self.spread = torch.randn(rank, dim, generator=torch.Generator().manual_seed(0))

    def codes_of(self, z):
        return z @ self.spread

    def positions(self, codes):
        return codes

    def shift(self, codes, offsets):
        return codes + offsets


@pytest.fixture
def seen(monkeypatch):
    """see(codes) -> features, and the codes that it was called with; few codes are measured."""
    monkeypatch.setattr(text_start, "FEATURE_CODES", 40)
    monkeypatch.setattr(text_start, "RESPONSE_CODES", 3)

    def see(codes):
        see.count += len(codes)
        return 5 + torch.tanh(codes @ weights[: codes.shape[1]])

    see.count, weights = 0, 0.1 * torch.randn(100, 8, generator=torch.Generator().manual_seed(6))
    return see


def test_response_is_the_difference_over_a_finite_step(seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = LinearSpace(5, 5)
    response = measure_response(space, seen, 10.0, ["linear"])
    step = text_start.STEP * 10
    torch.testing.assert_close(response.basis @ response.basis.T, torch.eye(5), rtol=0, atol=1e-5)
    z = torch.randn(3, 5, generator=text_start.generator_for(0, 11, 0))
    code = space.codes_of(z)[1]
    ends = [F.normalize(seen(code + sign * step * response.basis), dim=1) for sign in (1, -1)]
    torch.testing.assert_close(response.differences[1], (ends[0] - ends[1]) / (2 * step))


def test_response_is_measured_once_for_any_sentences(seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = measure_response(LinearSpace(5, 5), seen, 10.0, ["linear"])
    count = seen.count
    again = measure_response(LinearSpace(5, 5), seen, 10.0, ["linear"])
    assert seen.count == count and torch.equal(again.differences, first.differences)
    measure_response(LinearSpace(5, 5), seen, 10.0, ["another"])
    assert seen.count == 2 * count


def test_a_damaged_cache_is_measured_anew(seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = measure_response(LinearSpace(5, 5), seen, 10.0, ["linear"])
    (file,) = (tmp_path / "experiments" / "cache").iterdir()
    file.write_bytes(b"half of it")
    assert torch.equal(measure_response(LinearSpace(5, 5), seen, 10.0, ["linear"]).differences, first.differences)


@pytest.mark.parametrize("dim, rank, most, expected", [(20, 4, 64, 4), (20, 20, 64, 20), (20, 12, 6, 6)])
def test_moves_are_tried_where_codes_are_and_where_they_show(dim, rank, most, expected, seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_start, "MOST_DIRECTIONS", most)
    space = LinearSpace(dim, rank)
    basis = measure_response(space, seen, 10.0, ["linear"]).basis
    assert basis.shape == (expected, dim)
    torch.testing.assert_close(basis @ basis.T, torch.eye(expected), rtol=0, atol=1e-4)
    span = torch.linalg.qr(space.spread.T).Q
    torch.testing.assert_close(basis @ span @ span.T, basis, rtol=0, atol=1e-4)
