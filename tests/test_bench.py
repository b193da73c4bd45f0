"""The bench compares what computes the same."""

import copy

import pytest
import torch

from lib.dipoles import encode_dipoles, load_corpus
from lib.latent_space import latent_space
from lib.methods import find_method
from lib.training.step import step
from models.clip_encoder import load_clip
from models.dcgan import DCGAN
from scripts.bench import plain
from scripts.bench.methods import plain_sight
from scripts.bench.networks import contraclip
from scripts.bench.transposed import compositions


@pytest.mark.parametrize("network, space", [("stylegan2", "W+"), ("pggan", "Z"), ("biggan", "Z")])
def test_plain_step_has_the_loss_and_gradient_of_ours(network, space, tiny_clip_file, request):
    generator = copy.deepcopy(request.getfixturevalue(f"tiny_{network}"))
    space, clip_encoder = latent_space(generator, space), load_clip(tiny_clip_file)
    text_features = encode_dipoles(load_corpus("expressions3"), clip_encoder)

    def method():
        return contraclip(space, clip_encoder, text_features, 4, 9.0, batch_size=4, css_beta=0.75, temperature=0.5)

    ours, plainly = method(), method()
    loss = step(ours, ours.draw(0))
    generator.requires_grad_(True)
    clip_encoder.requires_grad_(True)
    objective = ("nonlinear", "contrastive", 0.5)
    plain_loss = plain.step_loss(space, clip_encoder, plainly.trained, plainly.text, plainly.draw(0), objective)
    plain_loss.backward()
    assert loss == pytest.approx(plain_loss.item(), rel=1e-4)
    gradients = [one.trained.SUPPORT_SETS.grad.double().flatten() for one in (ours, plainly)]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9999


def test_plain_layers_of_dcgan_give_what_the_frozen_ones_give():
    generator = DCGAN(5, [6, 7, 3]).requires_grad_(False)
    compared = list(compositions(generator, 2))
    assert [name for name, *_ in compared] == ["5 -> 6", "6 -> 7", "7 -> 3", "all"]
    for _, plainly, frozen, x in compared:
        torch.testing.assert_close(plainly(x), frozen(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, settings", [
    ("warpedganspace", {"reconstructor_type": "LeNet", "num_support_sets": 3, "num_support_dipoles": 4}),
    ("latentclr", {"num_directions": 3, "feature_layer": "layer2"}),
])  # fmt: skip
def test_plain_step_of_a_method_has_the_loss_and_gradient_of_ours(name, settings, tiny_stylegan2):
    generator, cls = copy.deepcopy(tiny_stylegan2), find_method(name)
    settings = cls.Settings(gan="", batch_size=4, **settings)
    method = cls(settings, latent_space(generator, "W"), cls.find_labels(settings))
    method.begin()
    batch, gradients = method.draw(0), []
    loss = step(method, batch)
    gradients.append(next(method.paths.parameters()).grad.clone())
    method.trained.zero_grad()
    generator.requires_grad_(True)
    plain_loss = plain.method_loss(method, batch, plain_sight(method))
    plain_loss.backward()
    gradients.append(next(method.paths.parameters()).grad)
    assert loss == pytest.approx(plain_loss.item(), rel=1e-4)
    assert torch.cosine_similarity(*(one.double().flatten() for one in gradients), dim=0) > 0.9999
