"""What a training iteration draws, and whom its gradients reach."""

from collections import Counter

import pytest
import torch

from lib.dipoles import encode_dipoles, load_corpus
from lib.latent_space import latent_space
from lib.objectives import IDEAS, LOSSES
from lib.support_sets import CorpusSupportSets, LatentSupportSets
from lib.trainer import draw, generator_for, learning_rate, paths_of, step_loss
from models.clip_encoder import load_clip


def drawn(iteration, seed=5, batch_size=8):
    return draw(iteration, batch_size, 3, 16, (0.25, 0.45), seed)


@pytest.fixture(scope="module")
def clip_encoder(tiny_clip_file):
    return load_clip(tiny_clip_file)


@pytest.fixture(scope="module")
def corpus(clip_encoder):
    return CorpusSupportSets(encode_dipoles(load_corpus("expressions3"), clip_encoder), 0.75)


def latent_support_sets(space):
    return LatentSupportSets.random(3, 4, space.dim, 9.0, 0.5, torch.Generator().manual_seed(0))


def test_draw_depends_on_seed_and_iteration_alone():
    first = drawn(7)
    torch.manual_seed(1)
    drawn(8)
    assert all(torch.equal(a, b) for a, b in zip(first, drawn(7)))
    for other in (drawn(8), drawn(7, seed=6)):
        assert not torch.isclose(first[0], other[0]).any()
        assert not torch.isclose(first[2].abs(), other[2].abs()).any()


def test_draws_repeat_neither_across_seeds_nor_streams():
    """Torch's generator knows the lowest 32 bits of a seed only."""
    numbers = [
        tuple(torch.randint(1 << 62, (2,), generator=generator_for(seed, stream, index)).tolist())
        for seed in (0, 1, 2, 2**31 - 1) for stream in (0, 1, 2) for index in range(200)
    ]  # fmt: skip
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("batch_size, num_paths", [(4, 4), (3, 9), (10, 4), (4, 6), (1, 5), (7, 3)])
def test_paths_are_drawn_equally_often(batch_size, num_paths):
    """Over a run whose items are a multiple of the paths; at any other time counts differ by one at most."""
    counts = Counter()
    for iteration in range(2 * num_paths):
        counts.update(paths_of(iteration, batch_size, num_paths, seed=0).tolist())
        numbers = [counts[k] for k in range(num_paths)]
        assert max(numbers) - min(numbers) <= 1
    assert set(counts.values()) == {2 * batch_size}


def test_order_of_the_paths_is_random():
    rounds = {tuple(paths_of(iteration, 6, 6, seed).tolist()) for seed in (0, 1) for iteration in range(20)}
    assert len(rounds) > 30


def test_shifts_are_uniform_in_their_range_with_both_signs():
    shifts = torch.cat([drawn(iteration)[2] for iteration in range(500)])
    assert ((shifts.abs() >= 0.25) & (shifts.abs() <= 0.45)).all()
    assert abs((shifts > 0).float().mean() - 0.5) < 0.04
    quarters = torch.histc(shifts.abs(), 4, 0.25, 0.45) / len(shifts)
    assert (quarters - 0.25).abs().max() < 0.04


def test_latent_codes_are_standard_normal():
    z = torch.cat([drawn(iteration)[0] for iteration in range(200)])
    assert z.mean().abs() < 0.03 and abs(z.std() - 1) < 0.03
    assert torch.corrcoef(z.T).fill_diagonal_(0).abs().max() < 0.12


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("idea", IDEAS)
@pytest.mark.parametrize("network, name", [("stylegan2", "W+"), ("stylegan2", "W"), ("stylegan2", "Z"), ("pggan", "Z")])
def test_gradients_reach_the_support_sets_alone(network, name, idea, kind, clip_encoder, corpus, request):
    space = latent_space(request.getfixturevalue(f"tiny_{network}"), name)
    sets = latent_support_sets(space)
    batch = draw(0, 3, 3, space.generator.z_dim, (0.5, 1.0), seed=0)
    step_loss(space, clip_encoder, sets, corpus, batch, (idea, kind, 0.5)).backward()
    for parameter in sets.parameters():
        assert parameter.grad.isfinite().all() and (parameter.grad != 0).any(dim=1).all()
    for frozen in [*space.generator.parameters(), *clip_encoder.parameters()]:
        assert not frozen.requires_grad and frozen.grad is None


def test_step_loss_compares_the_image_at_the_signed_shift_with_the_pole_it_leads_to(
    tiny_stylegan2, clip_encoder, corpus
):
    space = latent_space(tiny_stylegan2, "W+", 5)
    sets = latent_support_sets(space)
    z = drawn(0)[0][:6].reshape(3, 32)
    indices, shifts = torch.tensor([2, 0, 1]), torch.tensor([3.0, -4.0, 5.0])
    found = step_loss(space, clip_encoder, sets, corpus, (z, indices, shifts), ("styleclip", "cossim", 1.0))
    codes = tiny_stylegan2.w_plus(tiny_stylegan2.mapping(z)).clone()
    codes[:, :6] += (shifts[:, None] * sets(codes[:, :6].flatten(1), indices)).view(3, 6, 32)
    poles = torch.stack([corpus.poles[2, 0], corpus.poles[0, 1], corpus.poles[1, 0]])
    cosines = torch.cosine_similarity(clip_encoder.encode_images(tiny_stylegan2(codes)), poles)
    torch.testing.assert_close(found, 1 - cosines.mean())


def test_loss_falls(tiny_stylegan2, clip_encoder, corpus):
    space = latent_space(tiny_stylegan2, "W+", 5)
    sets = latent_support_sets(space)
    optimizer = torch.optim.Adam(sets.parameters(), lr=0.01)
    losses = []
    for iteration in range(30):
        batch = draw(iteration, 6, 3, 32, (0.5, 1.0), seed=0)
        loss = step_loss(space, clip_encoder, sets, corpus, batch, ("nonlinear", "cossim", 1.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < sum(losses[:10]) - 1


def test_learning_rate_is_a_tenth_in_the_last_tenth():
    rates = [learning_rate(iteration, 20, 0.5) for iteration in range(20)]
    assert rates == [0.5] * 18 + [0.05] * 2
