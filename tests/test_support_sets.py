"""The warpings' directions against the published implementation and against the calculus they stand for."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib.paths.support_sets import CorpusSupportSets, LatentSupportSets, directions
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors

K, N, D = 3, 4, 6


@pytest.fixture
def warping():
    """Positions (8, D), their paths, support vectors (K, 2N, D) and gammas (K,), in double precision."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, D, generator=generator, dtype=torch.float64)
    supports = torch.randn(K, 2 * N, D, generator=generator, dtype=torch.float64)
    gammas = torch.tensor([0.05, 0.2, 0.7], dtype=torch.float64)
    return x, torch.tensor([2, 0, 1, 1, 0, 2, 2, 0]), supports, gammas


def potential(x, supports, gamma):
    """f of one position x (D,) as the paper writes it."""
    weights = torch.tensor([1.0, -1.0], dtype=x.dtype).repeat(len(supports) // 2)
    return (weights * torch.exp(-gamma * (x - supports).square().sum(1))).sum()


def test_latent_directions_conform(data, published, conforms):
    expected = published("support_sets")
    sets = LatentSupportSets.from_state(load_tensors(data / "latent_support_sets.pt"), 192, "file")
    conforms(sets(expected["code"], expected["indices"]), expected["direction"])


def test_corpus_directions_conform(published, conforms):
    expected = published("support_sets")
    sets = CorpusSupportSets(expected["text_features"], expected["css_beta"].item())
    conforms(sets(expected["image_features"], expected["css_indices"]), expected["css_direction"])
    conforms(sets.gammas.log()[:, None], expected["css_loggamma"])


def test_direction_is_the_normalised_gradient(warping):
    x, indices, supports, gammas = warping
    found = directions(x, indices, supports, gammas)
    for item, k, direction in zip(x, indices, found):
        gradient = torch.func.grad(potential)(item, supports[k], gammas[k])
        torch.testing.assert_close(direction, gradient / gradient.norm())


def test_direction_is_where_finite_differences_rise(warping):
    x, indices, supports, gammas = warping
    steps = 1e-6 * torch.eye(D, dtype=x.dtype)
    for item, k, direction in zip(x, indices, directions(x, indices, supports, gammas)):
        rise = [potential(item + step, supports[k], gammas[k]) - potential(item - step, supports[k], gammas[k])
                for step in steps]  # fmt: skip
        torch.testing.assert_close(direction, torch.stack(rise) / torch.stack(rise).norm(), rtol=0, atol=1e-6)


def test_derivatives_of_the_direction(warping):
    x, indices, supports, gammas = warping

    def by_parameters(x, supports, log_gammas):
        return directions(x, indices, supports, log_gammas.exp())

    inputs = [tensor.clone().requires_grad_() for tensor in (x, supports, gammas.log())]
    assert torch.autograd.gradcheck(by_parameters, inputs)


def test_zero_gradient_gives_zeros_and_no_nan():
    """A pair whose vectors coincide warps nothing; the other item's path is in the same batch."""
    sets = LatentSupportSets.random(2, 1, D, 1.0, 0.5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        sets.SUPPORT_SETS[0, D:] = sets.SUPPORT_SETS[0, :D]
    x = torch.randn(2, D, generator=torch.Generator().manual_seed(1))
    found = sets(x, torch.tensor([0, 1]))
    assert (found[0] == 0).all() and math.isclose(found[1].norm().item(), 1, abs_tol=1e-6)
    (found * torch.randn_like(found)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in sets.parameters())
    assert (sets.SUPPORT_SETS.grad[0] == 0).all()


@pytest.mark.parametrize("distance", [1e2, 1e3, 1e5])
def test_far_away_direction_is_a_finite_unit_vector(distance):
    sets = LatentSupportSets.random(1, 8, 192, 9.0, 0.5, torch.Generator().manual_seed(0))
    x = torch.randn(5, 192, generator=torch.Generator().manual_seed(1))
    x = x / x.norm(dim=1, keepdim=True) * distance
    indices = torch.zeros(5, dtype=torch.long)
    assert (potential(x[0], sets.SUPPORT_SETS.view(-1, 192), sets.LOGGAMMA.exp()) == 0) == (distance > 1e2)
    found = sets(x, indices)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(5))
    found.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in sets.parameters())


def test_distance_from_the_origin_costs_no_digits(warping):
    x, indices, supports, gammas = warping
    x, supports, gammas = (x + 1000).float(), (supports + 1000).float(), gammas.float()
    exact = directions(x.double(), indices, supports.double(), gammas.double())
    torch.testing.assert_close(directions(x, indices, supports, gammas).double(), exact, rtol=0, atol=1e-4)


def test_items_do_not_depend_on_the_batch(warping):
    x, indices, supports, gammas = warping
    alone = [directions(x[i : i + 1], indices[i : i + 1], supports, gammas) for i in range(len(x))]
    torch.testing.assert_close(directions(x, indices, supports, gammas), torch.cat(alone))


class LargestTensor(TorchDispatchMode):
    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.size = max(self.size, *sizes, 0)
        return result


def test_no_tensor_holds_every_difference():
    """Positions minus support vectors would be (B, 2N, d); all that is needed is no larger than the inputs."""
    batch, num_dipoles, dim = 32, 8, 24
    sets = LatentSupportSets.random(2, num_dipoles, dim, 9.0, 0.5, torch.Generator().manual_seed(0))
    x = torch.randn(batch, dim, requires_grad=True)
    with LargestTensor() as largest:
        sets(x, torch.ones(batch, dtype=torch.long)).sum().backward()
    assert 0 < largest.size <= max(x.numel(), sets.SUPPORT_SETS.numel(), batch * 2 * num_dipoles)


def test_state_of_the_authors_file_comes_back_unchanged(data):
    state = load_tensors(data / "latent_support_sets.pt")
    sets = LatentSupportSets.from_state(state, 192, "file")
    assert (sets.num_paths, sets.num_dipoles, sets.dim) == (3, 8, 192)
    assert sets.state_dict().keys() == state.keys()
    assert all(torch.equal(sets.state_dict()[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [],
        lambda state: {"SUPPORT_SETS": state["SUPPORT_SETS"]},
        lambda state: {"LOGGAMMA": state["LOGGAMMA"]},
        lambda state: state | {"SUPPORT_SETS": state["SUPPORT_SETS"][:, :-192]},
        lambda state: state | {"LOGGAMMA": state["LOGGAMMA"][:2]},
        lambda state: state | {"LOGGAMMA": state["LOGGAMMA"][:, 0]},
        lambda state: state | {"SUPPORT_SETS": state["SUPPORT_SETS"].flatten()},
        lambda state: state | {"SUPPORT_SETS": state["SUPPORT_SETS"][:, :0]},
        lambda state: state | {"SUPPORT_SETS": state["SUPPORT_SETS"].tolist()},
        lambda state: state | {"SUPPORT_SETS": state["SUPPORT_SETS"] * math.nan},
    ],
)
def test_state_that_does_not_fit(change, data):
    state = change(load_tensors(data / "latent_support_sets.pt"))
    with pytest.raises(UserError, match=r"^weights\.pt .*SUPPORT_SETS"):
        LatentSupportSets.from_state(state, 192, "weights.pt")


def test_random_radii_and_gammas_conform(published, conforms):
    expected = published("support_sets")
    sets = LatentSupportSets.random(3, 8, 192, 9.0, 0.5, torch.Generator().manual_seed(0))
    norms = sets.SUPPORT_SETS.view(3, 16, 192).norm(dim=2)
    conforms(norms, expected["init_support_set_norms"])
    conforms(norms.mean(dim=1), expected["init_radii"])
    conforms(sets.LOGGAMMA, expected["init_loggamma"])


def test_random_pairs_are_antipodal_and_their_kernels_fall_to_beta():
    sets = LatentSupportSets.random(K, N, D, 2.0, 0.3, torch.Generator().manual_seed(0))
    pairs = sets.SUPPORT_SETS.detach().view(K, N, 2, D)
    torch.testing.assert_close(pairs[:, :, 0], -pairs[:, :, 1])
    squared = (pairs[:, :, 0] - pairs[:, :, 1]).square().sum(-1)
    torch.testing.assert_close(torch.exp(-sets.LOGGAMMA.detach().exp() * squared), torch.full((K, N), 0.3))
    assert len(pairs[:, :, 0].flatten(0, 1).unique(dim=0)) == K * N


@pytest.mark.parametrize("length", [0.01, 0.5, 1.0, 2.0, 10.0])
def test_image_features_of_any_length_have_directions_that_a_larger_beta_turns_along_the_dipole(length):
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(64, generator=generator)
    poles = common + 0.4 * torch.randn(6, 2, 64, generator=generator)
    images = length * (0.3 * common + torch.randn(6, 64, generator=generator))
    axes = F.normalize(poles[:, 0] - poles[:, 1], dim=1)
    found = []
    for beta in (0.25, 0.5, 0.75, 0.9, 0.9999):
        directions = CorpusSupportSets(poles, beta)(images, torch.arange(6))
        torch.testing.assert_close(directions.norm(dim=1), torch.ones(6))
        found.append((directions * axes).sum(dim=1).mean().item())
    assert found == sorted(found) and found[-1] > 0.99
