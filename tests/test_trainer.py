"""What a training iteration draws, and whom its gradients reach."""

import copy
import math
from collections import Counter

import pytest
import torch
from torch.nn import functional

from lib.dipoles import encode_dipoles, load_corpus
from lib.draws import draw, generator_for, paths_of
from lib.latent_space import latent_space
from lib.methods.contraclip import ContraCLIP, ContraCLIPSettings
from lib.methods.objectives import IDEAS, LOSSES
from lib.paths.support_sets import CorpusSupportSets, LatentSupportSets
from lib.training.frozen import FrozenHalf
from lib.training.step import step
from lib.training.trainer import gradient_cosine
from models.clip_encoder import load_clip
from models.load_generator import load_generator


def drawn(iteration, seed=5, batch_size=8):
    return draw(iteration, batch_size, 3, 16, (0.25, 0.45), seed)


@pytest.fixture(scope="module")
def clip_encoder(tiny_clip_file):
    return load_clip(tiny_clip_file)


@pytest.fixture(scope="module")
def corpus(clip_encoder):
    return CorpusSupportSets(encode_dipoles(load_corpus("expressions3"), clip_encoder), 0.75)


def contraclip(space, encoder, corpus, idea="nonlinear", kind="cossim", batch_size=3):
    """The method on three dipoles, with support sets that are always the same."""
    settings = ContraCLIPSettings(gan="", loss=kind, temperature=0.5, linear=idea == "linear",
                                  styleclip=idea == "styleclip", batch_size=batch_size, min_shift_magnitude=0.5,
                                  max_shift_magnitude=1.0)  # fmt: skip
    method = ContraCLIP(settings, space, ["direction 0", "direction 1", "direction 2"])
    method.clip_encoder, method.text = encoder, corpus
    method.trained = LatentSupportSets.random(3, 4, space.dim, 9.0, 0.5, torch.Generator().manual_seed(0))
    return method


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
    method = contraclip(space, clip_encoder, corpus, idea, kind)
    step(method, method.draw(0))
    for parameter in method.trained.parameters():
        assert parameter.grad.isfinite().all() and (parameter.grad != 0).any(dim=1).all()
    for frozen in [*space.generator.parameters(), *clip_encoder.parameters()]:
        assert not frozen.requires_grad and frozen.grad is None


def test_step_compares_the_image_at_the_signed_shift_with_the_pole_it_leads_to(
    tiny_stylegan2, clip_encoder, corpus
):
    space = latent_space(tiny_stylegan2, "W+", 5)
    method = contraclip(space, clip_encoder, corpus, "styleclip")
    z = drawn(0)[0][:6].reshape(3, 32)
    indices, shifts = torch.tensor([2, 0, 1]), torch.tensor([3.0, -4.0, 5.0])
    found = step(method, (z, indices, shifts))
    codes = tiny_stylegan2.w_plus(tiny_stylegan2.mapping(z)).clone()
    codes[:, :6] += (shifts[:, None] * method.paths(codes[:, :6].flatten(1), indices)).view(3, 6, 32)
    poles = torch.stack([corpus.poles[2, 0], corpus.poles[0, 1], corpus.poles[1, 0]])
    cosines = torch.cosine_similarity(clip_encoder.encode_images(tiny_stylegan2(codes)), poles)
    assert math.isclose(found, 1 - cosines.mean().item(), rel_tol=1e-5)


def test_loss_falls(tiny_stylegan2, clip_encoder, corpus):
    space = latent_space(tiny_stylegan2, "W+", 5)
    method = contraclip(space, clip_encoder, corpus, batch_size=6)
    optimizer = torch.optim.Adam(method.trained.parameters(), lr=0.01)
    losses = []
    for iteration in range(30):
        optimizer.zero_grad()
        losses.append(step(method, method.draw(iteration)))
        optimizer.step()
    assert sum(losses[-10:]) < sum(losses[:10]) - 1


def test_learning_rate_is_a_tenth_in_the_last_tenth():
    method = ContraCLIP(ContraCLIPSettings(gan="", lr=0.5, max_iter=20), None, [])
    rates = [method.learning_rate(iteration) for iteration in range(20)]
    assert rates == [0.5] * 18 + [0.05] * 2


def gradients(method, micro_batch_size=None, precision="fp32"):
    """(loss, gradient of all support sets as one vector) of one step, in the precision of the text's features."""
    method.trained.to(method.text.poles.dtype).zero_grad()
    batch = [x.to(method.text.poles.dtype) if x.is_floating_point() else x for x in method.draw(0)]
    loss = step(method, batch, FrozenHalf(method.see, precision), micro_batch_size)
    return loss, torch.cat([parameter.grad.flatten() for parameter in method.trained.parameters()])


class Float64Encoder:
    """Stands in for CLIP, whose layer norms are float32 always."""

    projection = torch.randn(3 * 8 * 8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def encode_images(self, images):
        return torch.tanh(functional.avg_pool2d(images, 8).flatten(1) @ self.projection)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("idea, kind", [("nonlinear", "contrastive"), ("styleclip", "cossim")])
def test_micro_batches_give_the_gradient_of_the_whole_batch(size, idea, kind, tiny_stylegan2):
    space = latent_space(copy.deepcopy(tiny_stylegan2).double(), "W+", 5)
    poles = torch.randn(3, 2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    method = contraclip(space, Float64Encoder(), CorpusSupportSets(poles, 0.75), idea, kind, batch_size=7)
    loss, whole = gradients(method)
    loss_in_parts, parts = gradients(method, micro_batch_size=size)
    assert math.isclose(loss, loss_in_parts, rel_tol=1e-12)
    assert whole.abs().max() > 0 and (parts - whole).abs().max() < 1e-10 * whole.abs().max()


def saved_bytes(step):
    """The most bytes that autograd holds at a time for a backward pass during step()."""
    held = most = 0

    class Held:
        def __init__(self, tensor):
            nonlocal held, most
            self.tensor, self.bytes = tensor, tensor.nbytes
            held += self.bytes
            most = max(most, held)

        def __del__(self):
            nonlocal held
            held -= self.bytes

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda kept: kept.tensor):
        step()
    return most


def test_micro_batches_need_the_memory_of_their_size(tiny_stylegan2, clip_encoder, corpus):
    given = latent_space(tiny_stylegan2, "W+", 5), clip_encoder, corpus, "nonlinear", "contrastive"
    one = saved_bytes(lambda: gradients(contraclip(*given, batch_size=1)))
    parts = saved_bytes(lambda: gradients(contraclip(*given, batch_size=7), micro_batch_size=1))
    whole = saved_bytes(lambda: gradients(contraclip(*given, batch_size=7)))
    assert parts < 1.05 * one and whole > 4.5 * one


@pytest.mark.parametrize("gan, name", [("stylegan2", "W"), ("pggan", "Z")])
def test_precisions_keep_the_direction_of_the_gradient(gan, name):
    """On the embedded portraits. On the CPU tf32 is float32."""
    encoder = load_clip("clip_portraits64")
    corpus = CorpusSupportSets(encode_dipoles(load_corpus("attributes")[:3], encoder), 0.5)
    space = latent_space(load_generator(f"{gan}_portraits64"), name)
    method = contraclip(space, encoder, corpus, "linear", batch_size=7)
    exact = gradients(method, micro_batch_size=4)[1].clone()
    cosines = {}
    for precision in ("tf32", "fp16", "bf16"):
        found = gradients(method, micro_batch_size=4, precision=precision)[1]
        assert found.dtype == torch.float32
        cosines[precision] = gradient_cosine(found, exact)
    assert cosines["tf32"] > 1 - 1e-6 > cosines["fp16"] > 0.99 and cosines["fp16"] > cosines["bf16"] > 0.8


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_gradients_beyond_the_range_of_fp16_come_back(factor, tiny_stylegan2, clip_encoder):
    space = latent_space(tiny_stylegan2, "W", 5)
    codes = space.codes_of(drawn(0)[0].view(4, 32)).detach().clone().requires_grad_()
    frozen = FrozenHalf(contraclip(space, clip_encoder, None).see, "fp16")
    pull = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    found, scaled = (frozen.gradient(frozen(codes, None), codes, [pull * scale]) for scale in (1, factor))
    assert found.abs().max() > 0
    torch.testing.assert_close(scaled, found * factor, rtol=0.05, atol=0.02 * factor * found.abs().max().item())


def test_networks_that_cannot_be_compiled_run_as_they_are(data, tiny_clip_file, run_command, tmp_path):
    arguments = [f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}", "--corpus=expressions3",
                 "--batch-size=2", "--max-iter=2", "--no-cuda", "--compile", "--loss=cossim"]  # fmt: skip
    no_compiler = {"CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    process = run_command("train.py", *arguments, cwd=tmp_path, env=no_compiler, timeout=400)
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("--compile is left out") == 1 and "Traceback" not in process.stderr
    assert "trained: " in process.stdout
