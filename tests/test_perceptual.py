"""LPIPS against the package of its authors, and what is said where its classifier is not on this machine."""

import zlib

import numpy as np
import pytest
import torch
import torchvision

from lib.judges import perceptual
from lib.judges.perceptual import BACKBONES, Lpips, load_lpips
from models.errors import UserError
from models.files import sha256
from models.untrusted.tensor_files import load_tensors

# What the package lpips 0.1.4 gives for `pairs` with the weights of `ruled`.
PUBLISHED = {"alex": [0.0382538, 0.0903344], "vgg": [0.0682817, 0.1399907]}


def ruled(name):
    """The state dict of a backbone's layers, by a rule in place of trained weights: of normal numbers."""
    with torch.device("meta"):
        shapes = getattr(torchvision.models, BACKBONES[name].build)(weights=None).features.state_dict()
    state = {}
    for key, empty in shapes.items():
        normal = np.random.RandomState(zlib.crc32(f"features.{key}".encode())).standard_normal(empty.shape)
        gain = 0.1 if empty.ndim == 1 else (2 / np.prod(empty.shape[1:])) ** 0.5
        state[f"features.{key}"] = torch.from_numpy(normal.astype(np.float32)) * gain
    return state


@pytest.fixture(scope="module")
def pairs():
    """Two images each: the first two lie half as far apart as the others."""
    images = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (4, 3, 64, 64)).astype(np.float32))
    return images[:2], torch.stack([(images[0] + images[2]) / 2, images[3]])


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """installed(name) -> puts the backbone's ruled weights where torchvision's would lie."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))

    def install(name):
        folder = tmp_path / "checkpoints"
        folder.mkdir(exist_ok=True)
        torch.save(ruled(name), folder / "weights")
        file = f"{BACKBONES[name].build}-{sha256(folder / 'weights')[:8]}.pth"
        (folder / "weights").rename(folder / file)
        monkeypatch.setitem(perceptual.BACKBONES, name, BACKBONES[name]._replace(file=file))
        return folder / file

    return install


@pytest.mark.parametrize("name", BACKBONES)
def test_distances_are_the_published_ones(name, pairs, installed):
    installed(name)
    network = load_lpips(name)
    torch.testing.assert_close(network(*pairs), torch.tensor(PUBLISHED[name]), rtol=1e-4, atol=0)
    torch.testing.assert_close(network(*pairs[::-1]), network(*pairs))
    assert torch.equal(network(pairs[0], pairs[0]), torch.zeros(2))
    assert not any(weights.requires_grad for weights in network.parameters())


def test_gradient_reaches_the_images_and_is_finite_where_nothing_is_active(pairs):
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    torch.nn.init.constant_(layers[0].bias, -100.0)  # nothing passes the ReLU
    images = pairs[0].clone().requires_grad_()
    Lpips(layers, (1,), [torch.ones(4)])(images, pairs[1]).sum().backward()
    assert images.grad.isfinite().all()
    torch.nn.init.constant_(layers[0].bias, 0.0)
    Lpips(layers, (1,), [torch.ones(4)])(images, pairs[1]).sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().max() > 0


@pytest.mark.parametrize("name", BACKBONES)
def test_linear_weights_are_the_authors_own(name):
    backbone = BACKBONES[name]
    notice = (backbone.linear.parent / "NOTICE").read_text()
    assert f"{sha256(backbone.linear)}  {backbone.linear.name}" in notice and "Richard Zhang" in notice
    assert all(weight.min() >= 0 for weight in load_tensors(backbone.linear).values())  # a distance


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_are_torchvision_s(name):
    weights = {"alex": torchvision.models.AlexNet_Weights, "vgg": torchvision.models.VGG16_Weights}[name]
    assert weights.DEFAULT.url == f"https://download.pytorch.org/models/{BACKBONES[name].file}"


@pytest.mark.parametrize("name", BACKBONES)
def test_missing_classifier_is_told_with_what_gets_it_and_nothing_is_downloaded(name, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=BACKBONES[name].file) as caught:
        load_lpips(name)
    line = str(caught.value)
    assert "\n" not in line and f"torchvision.models.{BACKBONES[name].build}(weights='DEFAULT')" in line
    assert not list(tmp_path.iterdir())


def test_damaged_classifier_is_told(installed):
    file = installed("alex")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged"):
        load_lpips()
