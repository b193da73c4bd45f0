"""rosinality's checkpoints: the published images, and networks that are not supported."""

import argparse

import pytest
import torch
from reading import error_of

from models.formats import read_generator
from models.load_generator import load_generator


def test_rosinality_images_conform(data, published, conforms):
    expected = published("rosinality_tiny")
    generator = load_generator(data / "rosinality_tiny.pt")
    w = generator.mapping(expected["z"])
    conforms(w, expected["w"])
    conforms(generator(generator.w_plus(w)), expected["image_from_w"])
    conforms(generator.w_plus(w, 0.7)[:, 0], expected["w_psi07"])
    conforms(generator(generator.w_plus(w, 0.7)), expected["image_from_z_psi07"])


def test_rosinality_checkpoint_of_training(data, tmp_path):
    """It has its arguments and optimisers, but neither the mean of W nor, in early ones, noise."""
    content = torch.load(data / "rosinality_tiny.pt")
    del content["latent_avg"]
    content["g_ema"] = {key: value for key, value in content["g_ema"].items() if not key.startswith("noises.")}
    content |= {"g": content["g_ema"], "args": argparse.Namespace(size=64), "g_optim": {"state": {0: {"step": 1}}}}
    torch.save(content, tmp_path / "training.pt")
    generator = read_generator(tmp_path / "training.pt")
    w = generator.mapping(torch.randn(10_000, 32, generator=torch.Generator().manual_seed(1))).detach()
    assert ((generator.truncation.w_avg - w.mean(dim=0)).abs() < 0.06 * w.std(dim=0)).all()
    again = read_generator(tmp_path / "training.pt")
    torch.testing.assert_close(again.state_dict(), generator.state_dict(), rtol=0, atol=0)
    assert abs(generator.synthesis.layer8.noise.std() - 1) < 0.1


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda state: state.pop("conv1.conv.weight"), "g_ema"),
        (lambda state: state.pop("input.input"), "early_layer"),
        (lambda state: state.update({"style.3.weight": torch.zeros(7)}), "mapping.dense2.weight"),
        (lambda state: state.update({"convs.0.conv.mask": torch.zeros(7)}), "convs.0.conv.mask"),
        (lambda state: state.update({"extra": torch.zeros(7)}), "extra"),
        (lambda state: state["to_rgbs.2.upsample.kernel"].fill_(0.1), "to_rgbs.2.upsample.kernel"),
        (lambda state: state.update({"convs.1.conv.weight": torch.zeros(7)}), "synthesis.layer"),
    ],
)
def test_other_rosinality_files_are_refused_by_what_differs(change, named, data, tmp_path):
    content = torch.load(data / "rosinality_tiny.pt")
    change(content["g_ema"])
    torch.save(content, tmp_path / "other.pt")
    assert named in error_of(tmp_path / "other.pt")
