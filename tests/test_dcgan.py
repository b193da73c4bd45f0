"""DCGAN: the layout of PyTorch's tutorial, folded and read from files that may not be trusted, and its space."""

import numpy as np
import pytest
import torch
from torch import nn

from lib.latent_space import latent_space
from lib.pools import codes_of_z
from models.errors import UserError
from models.formats import convert
from models.frozen.transposed import Doubling, NarrowDoubling, transposed_convolution
from models.load_generator import load_generator


def tutorial(z_dim=5, widths=(12, 8), colours=3, bias=False):
    """The generator of PyTorch's tutorial, with random weights and the statistics of some training."""
    layers, before = [], z_dim
    for i, after in enumerate(widths):
        layers += [nn.ConvTranspose2d(before, after, 4, *((2, 1) if i else (1, 0)), bias=bias)]
        layers += [nn.BatchNorm2d(after), nn.ReLU(True)]
        before = after
    layers += [nn.ConvTranspose2d(before, colours, 4, *((2, 1) if widths else (1, 0)), bias=bias), nn.Tanh()]
    network = nn.Sequential()
    network.main = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.normal_(generator=generator).mul_(0.3)
        if name.endswith("running_var"):
            value.abs_().add_(0.5)
    return network.eval()


def z_of(count, dim):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def save(content, tmp_path):
    torch.save(content, tmp_path / "faces.pt")
    return tmp_path / "faces.pt"


def error_of(content, tmp_path):
    with pytest.raises(UserError) as raised:
        load_generator(save(content, tmp_path))
    assert "\n" not in str(raised.value) and "faces.pt" in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("z_dim, widths", [(5, ()), (5, (12, 8)), (7, (16, 12, 8, 6, 4))])
@pytest.mark.parametrize("bias", [False, True])
def test_images_are_the_tutorials_of_any_depth_and_width(z_dim, widths, bias, tmp_path, conforms):
    network = tutorial(z_dim, widths, bias=bias)
    z = z_of(3, z_dim)
    generator = load_generator(save(network.state_dict(), tmp_path))
    assert (generator.z_dim, generator.resolution) == (z_dim, 4 << len(widths))
    assert generator.family.name == "DCGAN" and generator.image_sizes == [generator.resolution]
    conforms(generator(z), network.main(z[:, :, None, None]))


WRAPPERS = {
    "bare": lambda state: state,
    "under a key": lambda state: {"epoch": 3, "netG_state_dict": state},
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "genforce's key": lambda state: {"generator": state},
    "behind its discriminator": lambda state: {"netD": DISCRIMINATOR, "netG": state},
    "averaged": lambda state: {"netG": tutorial(6).state_dict(), "netG_ema": state},
}
DISCRIMINATOR = {f"main.{i}.weight": torch.ones(8, 3, 4, 4) for i in (0, 2, 5)} | {"main.3.weight": torch.ones(8)}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_state_dict_is_found_in_its_wrapper(wrapper, tmp_path, conforms):
    network, z = tutorial(), torch.ones(1, 5)
    generator = load_generator(save(WRAPPERS[wrapper](network.state_dict()), tmp_path))
    conforms(generator(z), network.main(z[:, :, None, None]))


@pytest.mark.parametrize("target", ["ours.pth", "ours.safetensors"])
def test_converted_file_is_the_same_generator(target, tmp_path):
    source = save(tutorial().state_dict(), tmp_path)
    convert(source, tmp_path / target)
    z = torch.ones(1, 5)
    assert torch.equal(load_generator(tmp_path / target)(z), load_generator(source)(z))


@pytest.mark.parametrize("lacking", ["main.0", "main.1.running_var", "main.3", "main.4.bias"])
def test_gap_in_its_keys_is_named(lacking, tmp_path):
    state = tutorial().state_dict()
    for key in [key for key in state if f"{key}.".startswith(f"{lacking}.")]:
        del state[key]
    assert lacking in error_of(state, tmp_path)


@pytest.mark.parametrize("colours", [1, 4])
def test_number_of_channels_is_named(colours, tmp_path):
    assert f"{colours} channels" in error_of(tutorial(colours=colours).state_dict(), tmp_path)


def test_discriminator_is_told_from_a_generator(tmp_path):
    assert "discriminator" in error_of(DISCRIMINATOR, tmp_path)


@pytest.mark.parametrize(
    "key, value",
    [
        ("main.0.weight", torch.ones(5, 12, 5, 5)),
        ("main.0.weight", torch.ones(())),
        ("main.3.weight", torch.ones(11, 8, 4, 4)),
        ("main.4.running_mean", torch.ones(9)),
        ("main.7.scale", torch.ones(8)),
        ("other.weight", torch.ones(8)),
        ("main.0.weight", torch.ones(5, 12, 4, 4, dtype=torch.int64)),
        ("main.4.running_var", -torch.ones(8)),
        ("main.3.weight", torch.full((12, 8, 4, 4), float("nan"))),
    ],
)
def test_tensor_that_does_not_fit_is_told_in_one_line(key, value, tmp_path):
    error_of(tutorial().state_dict() | {key: value}, tmp_path)


def test_layers_that_would_take_all_memory_are_refused(tmp_path):
    """A tensor that repeats one number takes no room in a file."""

    def wide(i):
        return {f"main.{3 * i}.weight": torch.ones(()).expand(80, 80, 4, 4)} | {
            f"main.{3 * i + 1}.{name}": torch.ones(80) for name in ("weight", "bias", "running_mean", "running_var")
        }

    state = wide(0)
    for i in range(1, 11):
        state |= wide(i)
    state["main.33.weight"] = torch.ones(80, 3, 4, 4)
    assert "4096 px" in error_of(state, tmp_path)
    state = {key: value for key, value in state.items() if int(key.split(".")[1]) < 30}
    assert "1 GiB" in error_of(state | {"main.30.weight": torch.ones(80, 3, 4, 4)}, tmp_path)


def test_empty_layer_is_told(tmp_path):
    state = tutorial(widths=(8,)).state_dict()
    state = {key: value[:, :0] if key == "main.0.weight" else value[:0] for key, value in state.items() if value.ndim}
    assert "empty" in error_of(state, tmp_path)


@pytest.mark.parametrize("widths", [(), (12, 8)])
def test_frozen_layers_are_the_layers_with_their_gradient(widths, tmp_path):
    generator = load_generator(save(tutorial(5, widths).state_dict(), tmp_path))
    found = []
    for frozen in (True, False):
        generator.requires_grad_(not frozen)
        z = z_of(3, 5).requires_grad_()
        images = generator(z)
        assert ("ActivatedTransposed" in type(images.grad_fn).__name__) == frozen
        images.backward(torch.ones_like(images).cumsum(2))
        found += [images.detach(), z.grad]
    torch.testing.assert_close(found[:2], found[2:], rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_narrow_layer_is_the_transposed_convolution():
    weight, x, bias = torch.randn(6, 3, 4, 4), torch.randn(2, 6, 5, 7), torch.randn(3)
    narrow = transposed_convolution(weight, from_pixel=False)
    assert isinstance(narrow, NarrowDoubling)
    torch.testing.assert_close(narrow.forward(x, bias), Doubling(weight).forward(x, bias), rtol=1e-4, atol=1e-4)
    assert type(transposed_convolution(weight.repeat(1, 3, 1, 1), from_pixel=False)) is Doubling


@pytest.fixture(scope="module")
def faces():
    return load_generator("dcgan_faces64")


def test_embedded_faces_are_within_a_255th_of_the_original(faces, published):
    expected = published("dcgan_faces64")
    assert (faces(expected["z"]) - expected["images"]).abs().max() < 2 / 255  # of a range of 2


def test_truncation_scales_z_once(faces):
    z = torch.from_numpy(np.linspace(-2, 2, 200, dtype=np.float32)).view(2, 100)
    space = latent_space(faces, truncation=0.5)
    codes = space.codes_of(z)
    assert torch.equal(codes, z / 2) and torch.equal(space.codes_of_stored(codes), codes)
    assert torch.equal(codes_of_z(space, z)["latent_code_z.pt"], codes)
    assert torch.equal(space.synthesise(space.shift(codes, torch.ones(2, 100))), faces(z / 2 + 1))


@pytest.mark.parametrize("name", ["W", "W+", "S"])
def test_it_has_no_other_space(name, faces):
    with pytest.raises(UserError, match="Z"):
        latent_space(faces, name)
