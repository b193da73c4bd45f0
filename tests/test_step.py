"""The step through the seam between trainer and methods: what it gave before there was a seam, bit for bit."""

from itertools import product

import numpy as np
import pytest
import torch

from lib.dipoles import encode_dipoles, load_corpus
from lib.draws import draw
from lib.latent_space import latent_space
from lib.methods import objectives
from lib.methods.contraclip import ContraCLIP, ContraCLIPSettings
from lib.paths.support_sets import CorpusSupportSets, LatentSupportSets
from lib.training.frozen import FrozenHalf
from lib.training.step import step
from models.clip_encoder import load_clip

IDEAS = [("nonlinear", 0.5), ("nonlinear", 0.75), ("linear", 0.5), ("styleclip", 0.5)]
CASES = list(product(("cossim", "contrastive"), IDEAS, (None, 2), ("fp32", "bf16")))


@pytest.fixture(scope="module")
def space(tiny_stylegan2):
    return latent_space(tiny_stylegan2, "W", truncation=0.7)


@pytest.fixture(scope="module")
def clip_encoder(tiny_clip_file):
    return load_clip(tiny_clip_file)


@pytest.fixture(scope="module")
def text_features(clip_encoder):
    return encode_dipoles(load_corpus("expressions3"), clip_encoder)


@pytest.fixture
def contraclip(space, clip_encoder, text_features):
    """contraclip(kind, idea, beta) -> the method at the weights and settings of the numbers that were recorded."""

    def build(kind, idea, beta):
        settings = ContraCLIPSettings(gan="", batch_size=6, seed=5, loss=kind, temperature=0.5, css_beta=beta,
                                      linear=idea == "linear", styleclip=idea == "styleclip",
                                      min_shift_magnitude=0.5, max_shift_magnitude=1.0)  # fmt: skip
        method = ContraCLIP(settings, space, load_corpus("expressions3"))
        method.clip_encoder, method.text = clip_encoder, CorpusSupportSets(text_features, beta)
        method.trained = LatentSupportSets.random(3, 4, space.dim, 9.0, 0.5, torch.Generator().manual_seed(0))
        return method

    return build


@pytest.mark.parametrize("kind, idea_and_beta, micro_batch_size, precision", CASES)
def test_step_gives_what_it_gave_before_there_were_methods(
    kind, idea_and_beta, micro_batch_size, precision, contraclip, data
):
    """`step.npz` was recorded with the code before; kernels differ between kinds of processors in the last digits."""
    idea, beta = idea_and_beta
    method = contraclip(kind, idea, beta)
    value = step(method, method.draw(3), FrozenHalf(method.see, precision), micro_batch_size)
    name = f"{kind}-{idea}-{beta}-{micro_batch_size}-{precision}"
    tolerance = {"fp32": 1e-4, "bf16": 0.3}[precision]  # as other processors multiply
    with np.load(data / "layout1" / "step.npz") as recorded:
        assert abs(value - recorded[f"{name}-loss"]) <= tolerance * abs(recorded[f"{name}-loss"])
        for key, parameter in (("sets", method.trained.SUPPORT_SETS), ("gamma", method.trained.LOGGAMMA)):
            expected = recorded[f"{name}-{key}"]
            assert np.abs(parameter.grad.numpy() - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("kind, idea_and_beta", list(product(("cossim", "contrastive"), IDEAS)))
def test_step_equals_the_published_order_of_operations_bit_for_bit(kind, idea_and_beta, contraclip, space):
    """One pass, one graph from the offsets to the loss, as ContraCLIP was computed before the seam."""
    idea, beta = idea_and_beta
    method = contraclip(kind, idea, beta)
    found = step(method, method.draw(3))
    z, indices, shifts = draw(3, 6, 3, 32, (0.5, 1.0), 5)
    sets = LatentSupportSets.random(3, 4, space.dim, 9.0, 0.5, torch.Generator().manual_seed(0))
    codes = space.codes_of(z)
    offsets = shifts[:, None] * sets(space.positions(codes), indices)
    moved = offsets.detach().requires_grad_()
    with torch.no_grad():
        plain = method.see(codes, None)
    shifted = method.see(space.shift(codes, moved), None)
    with torch.no_grad():
        targets = objectives.text_targets(idea, method.text, plain, indices, shifts)
    loss = objectives.loss(kind, objectives.image_moves(idea, plain, shifted), targets, indices, shifts, 0.5)
    offsets.backward(torch.autograd.grad(loss, moved)[0])
    assert found == loss.item()
    for parameter, expected in zip(method.trained.parameters(), sets.parameters()):
        assert torch.equal(parameter.grad, expected.grad)
