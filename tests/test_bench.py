"""The bench compares what computes the same."""

import copy
import functools
import json
import time

import pytest
import torch

from lib.dipoles import encode_dipoles, load_corpus
from lib.judges.faces import arcface
from lib.latent_space import latent_space
from lib.paths.support_sets import LatentSupportSets
from lib.settings import WalkSettings
from lib.training.step import step
from lib.walking.traversal import traverse
from models.clip_encoder import load_clip
from models.dcgan import DCGAN
from scripts.bench import clip_loading, costs, methods, networks, plain, rendering
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


@pytest.mark.parametrize("kind, kinds", [
    ("film", {"film.jpg"}), ("images", {"000001.jpg"}), ("all", {"film.jpg", "000001.jpg", "000.gif", "strip.jpg"})])
def test_plain_walk_has_the_pictures_of_ours(kind, kinds, tiny_stylegan2, tmp_path):
    space = latent_space(tiny_stylegan2, "W")
    sets = LatentSupportSets.random(2, 4, 32, 9.0, 0.5, torch.Generator().manual_seed(0)).requires_grad_(False)
    settings = WalkSettings(shift_steps=1, eps=0.5, **rendering.PICTURES[kind])
    sources = rendering.write_pool(space, 1, tmp_path / "pool")
    rendering.traverse_plainly(space, sets, sources, tmp_path / "plain", settings)
    list(traverse(space, sets, sources, tmp_path / "ours", settings))
    rendering.check_same(tmp_path / "plain", tmp_path / "ours")
    made = {file.name for file in (tmp_path / "plain").rglob("path_001*/*")}
    made |= {file.name.rpartition("_")[2] for file in (tmp_path / "plain").rglob("path_*.*")}
    assert kinds <= made and ("000.gif" in made) == (kind == "all")


@pytest.fixture
def tiny_networks(tiny_stylegan2, tiny_clip_file, monkeypatch):
    """In place of those of the published shapes."""
    narrow = functools.partial(arcface.ArcFace, ((16, 16, 2), (16, 32, 2)), features=6)
    monkeypatch.setattr(arcface, "ArcFace", narrow)
    monkeypatch.setattr(networks, "random_generator", lambda kind, resolution: copy.deepcopy(tiny_stylegan2))
    monkeypatch.setattr(networks, "random_clip", lambda: load_clip(tiny_clip_file))


SMALLER = {
    "warpedganspace": {"reconstructor_type": "LeNet", "num_support_sets": 3, "num_support_dipoles": 4},
    "latentclr": {"num_directions": 3, "feature_layer": "layer2"},
    "styleclip-global": {"channel_images": 3, "micro_batch_size": 4},
}


@pytest.mark.parametrize("name", methods.SETTINGS)
def test_plain_step_of_a_method_has_the_loss_and_gradient_of_ours(name, tiny_networks, monkeypatch):
    space, settings = methods.SETTINGS[name]
    monkeypatch.setitem(methods.SETTINGS, name, (space, settings | SMALLER.get(name, {})))
    monkeypatch.setattr(methods.ChannelBench, "CHANNEL", 3)
    (seconds, _, loss, gradient), plainly = (
        methods.measured(kind, time.process_time, 1, name, 64, "cpu", None) for kind in ("ours", "plain")
    )
    assert seconds > 0 and (loss or name == "styleclip-global")
    assert loss == pytest.approx(plainly[2], rel=1e-4)
    assert torch.cosine_similarity(*(torch.from_numpy(one).double() for one in (gradient, plainly[3])), dim=0) > 0.9999


def test_plain_activations_are_those_of_the_frozen_layers(tiny_stylegan2):
    space = latent_space(tiny_stylegan2, "S")
    codes = space.codes_of(torch.randn(2, tiny_stylegan2.z_dim))
    for layer in ("layer0", "layer4"):
        torch.testing.assert_close(plain.PlainSynthesis(space).features(codes, layer), space.features(codes, layer),
                                   rtol=1e-4, atol=1e-4)  # fmt: skip


def test_costs_are_those_of_the_default_recipe(tiny_networks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = costs.Costs("stylegan2_256")
    method = one.method()
    assert method.settings.loss == "paired" and len(method.labels) == costs.PATHS and method.settings.batch_size == 1
    portraits = costs.Costs("portraits").method()
    assert portraits.settings.batch_size == 4 * costs.PATHS and portraits.space.truncation == 0.7
    operations, (seconds, peak) = one.operations(), one.iteration()
    assert operations > 1e6 and seconds > 0 and peak > 2**20
    assert 0 < one.walk() and all(0 < seconds for seconds in one.evaluation())
    assert not list(tmp_path.rglob("*.pt"))


def test_both_ways_to_load_a_clip_give_the_same_numbers(tmp_path, capsys):
    clip_loading.write_archive(tmp_path / "clip.pt", (16, 32, 1, 64, 16, 77, 49408, 64, 1, 1))
    found = []
    for loader in ("ours", "clip.load"):
        clip_loading.load(loader, tmp_path / "clip.pt")
        found.append(json.loads(capsys.readouterr().out))
    assert found[0][2] == found[1][2] and all(seconds > 0 and peak > 0 for seconds, peak, _ in found)
