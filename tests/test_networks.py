"""The generators against the published implementations, and what loading says of files that hold none."""

import json
import os
import pickle
import re

import pytest
import torch

from models import registry
from models.errors import UserError
from models.load_generator import load_generator
from models.pggan import ProgGAN
from models.registry import Weights
from models.stylegan2 import StyleGAN2

PUBLISHED = [name for name, weights in registry.GENERATORS.items() if weights.file.parent.name == "genforce"]


@pytest.fixture
def save(data, tmp_path):
    """save(network, change) -> the file of a tiny checkpoint, its state dict changed by `change`."""

    def write(network="stylegan2", change=lambda state: None, key="generator_smooth"):
        state = torch.load(data / f"{network}_tiny.pth")["generator_smooth"]
        change(state)
        torch.save({key: state}, tmp_path / "changed.pth")
        return tmp_path / "changed.pth"

    return write


def error_of(name_or_file):
    with pytest.raises(UserError) as raised:
        load_generator(name_or_file)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_stylegan2_images_conform(tiny_stylegan2, published, conforms):
    expected = published("stylegan2_tiny")
    w = tiny_stylegan2.mapping(expected["z"])
    for psi, w_plus, image in ((1.0, "w_plus_psi1", "image_from_z"), (0.7, "w_plus_psi07", "image_from_w_plus_psi07")):
        codes = tiny_stylegan2.w_plus(w, psi)
        conforms(codes, expected[w_plus])
        conforms(tiny_stylegan2(codes), expected[image])
    conforms(tiny_stylegan2(expected["w_plus_perturbed"]), expected["image_from_w_plus_perturbed"])


def test_stylegan2_styles_conform(tiny_stylegan2, published, conforms):
    expected = published("stylegan2_tiny")
    names = {f"layer{i}": f"style{i:02d}" for i in range(9)} | {f"output{i}": f"output_style{i}" for i in range(5)}
    styles = tiny_stylegan2.styles(expected["w_plus_perturbed"])
    assert styles.keys() == names.keys()
    for name, style in styles.items():
        conforms(style, expected[names[name]])


def test_pggan_images_conform(tiny_pggan, published, conforms):
    expected = published("pggan_tiny")
    conforms(tiny_pggan(expected["z"]), expected["image_from_z"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoints_fit(name, data):
    shapes = json.loads((data / "genforce_state_dict_shapes.json").read_text())[name]
    network = {"StyleGAN2": StyleGAN2, "ProgGAN": ProgGAN}[registry.GENERATORS[name].family]
    with torch.device("meta"):
        generator = network(*network.settings(shapes))
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
    generator.load_state_dict(state, strict=True, assign=True)
    assert generator.resolution == registry.GENERATORS[name].resolution == int(re.search(r"\d+$", name)[0])


def test_every_published_checkpoint_is_tested(data):
    assert sorted(PUBLISHED) == sorted(json.loads((data / "genforce_state_dict_shapes.json").read_text()))


@pytest.mark.parametrize("network", ["stylegan2", "pggan"])
@pytest.mark.parametrize("resolution", [4, 16, 32])
def test_smaller_resolution_is_the_image_of_the_smaller_network(network, resolution, request, monkeypatch):
    """The network that ends there has the same weights and no others; what lies beyond is not computed."""
    generator = request.getfixturevalue(f"tiny_{network}")
    state = generator.state_dict()
    *first, channels = type(generator).settings({key: tuple(value.shape) for key, value in state.items()})
    smaller = type(generator)(*first, channels[: resolution.bit_length() - 2])
    smaller.load_state_dict({key: state[key] for key in smaller.state_dict()})
    codes = torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(0))
    smaller_codes = codes
    if network == "stylegan2":
        codes = codes[:, None] * torch.linspace(0.5, 1.5, generator.num_layers)[:, None]
        smaller_codes = codes[:, : smaller.num_layers]
    for last in {"stylegan2": ("synthesis.layer8", "synthesis.output4"), "pggan": ("layer9", "output4")}[network]:
        monkeypatch.setattr(generator.get_submodule(last), "forward", None)
    image = generator(codes, resolution=resolution)
    assert image.shape == (2, 3, resolution, resolution)
    torch.testing.assert_close(image, smaller(smaller_codes))


@pytest.mark.parametrize("network", ["stylegan2", "pggan"])
@pytest.mark.parametrize("key", ["generator_smooth", "generator"])
def test_half_precision_file_is_loaded_frozen_in_float32(network, key, save):
    def halve(state):
        state.update({name: value.half() for name, value in state.items()})

    generator = load_generator(save(network, halve, key))
    assert {value.dtype for value in generator.state_dict().values()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    assert not any(module.training for module in generator.modules())


def test_averaged_weights_are_preferred(save, tmp_path):
    both = torch.load(save()) | {"generator": torch.load(save(change=lambda s: s["truncation.w_avg"].fill_(9)))}
    torch.save(dict(reversed(both.items())), tmp_path / "both.pth")
    assert not (load_generator(tmp_path / "both.pth").truncation.w_avg == 9).any()


def test_neither_name_nor_file():
    assert "'no_such_generator' is not a generator" in error_of("no_such_generator")


@pytest.mark.parametrize("command", ["python download.py", None])
def test_missing_weights_name_the_command_that_brings_them(command, tmp_path, monkeypatch):
    weights = Weights(tmp_path / "absent.pth", "StyleGAN2", 64, fetched_by=command)
    monkeypatch.setitem(registry.GENERATORS, "absent", weights)
    message = error_of("absent")
    assert (command or "git checkout") in message and "absent.pth" in message


@pytest.mark.parametrize("kind, resolution", [("StyleGAN2", 1024), ("ProgGAN", 64)])
def test_registered_name_must_hold_its_own_network(kind, resolution, data, monkeypatch):
    monkeypatch.setitem(registry.GENERATORS, "other", Weights(data / "stylegan2_tiny.pth", kind, resolution))
    message = error_of("other")
    assert f"{kind} of {resolution} px" in message and "StyleGAN2 of 64 px" in message


@pytest.mark.parametrize(
    "network, key",
    [
        ("stylegan2", "mapping.dense0.weight"),
        ("stylegan2", "truncation.w_avg"),
        ("stylegan2", "synthesis.layer4.weight"),
        ("stylegan2", "synthesis.layer3.filter.kernel"),
        ("pggan", "layer0.weight"),
        ("pggan", "layer5.bias"),
    ],
)
def test_missing_key_is_named(network, key, save):
    assert key in error_of(save(network, lambda state: state.pop(key)))


@pytest.mark.parametrize("network, key", [("stylegan2", "synthesis.layer9.bias"), ("pggan", "layer99.weight")])
def test_unknown_key_is_named(network, key, save):
    assert key in error_of(save(network, lambda state: state.update({key: torch.zeros(3)})))


@pytest.mark.parametrize(
    "network, key, shape",
    [
        ("stylegan2", "synthesis.layer2.style.weight", (7, 32)),
        ("stylegan2", "synthesis.layer8.noise", (1, 1, 32, 32)),
        ("pggan", "output2.weight", (4, 32, 1, 1)),
    ],
)
def test_wrong_shape_is_named(network, key, shape, save):
    message = error_of(save(network, lambda state: state.update({key: torch.zeros(shape)})))
    assert key in message and str(shape) in message


@pytest.mark.parametrize(
    "network, key", [("pggan", "layer0.weight"), ("stylegan2", "mapping.dense0.weight")]
)
def test_key_without_dimensions_is_named(network, key, save):
    assert key in error_of(save(network, lambda state: state.update({key: torch.zeros(())})))


@pytest.mark.parametrize("position", range(100, 60_000, 6_000))
def test_damaged_file(position, data, tmp_path):
    content = bytearray((data / "pggan_tiny.pth").read_bytes())
    content[position : position + 40] = bytes(range(40))
    (tmp_path / "damaged.pth").write_bytes(content)
    try:
        load_generator(tmp_path / "damaged.pth")  # damage to a weight's own bytes cannot be told
    except UserError as error:
        assert "damaged.pth" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint\n" * 100, b"PK\x03\x04 broken"])
def test_file_of_another_kind(content, tmp_path):
    (tmp_path / "other.pth").write_bytes(content)
    assert "other.pth" in error_of(tmp_path / "other.pth")


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1],
        {"state_dict": {"weight": torch.zeros(1)}},
        {"generator": {"a": 1}},
        {"generator": None},
        {"generator": [torch.zeros(1)]},
        {"generator": torch.zeros(1)},
        {"generator": {1: torch.zeros(1)}},
        {"generator": {"layer0.weight": torch.zeros(1, dtype=torch.int64)}},
    ],
)
def test_tensors_of_something_else(content, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    assert "generator_smooth" in error_of(tmp_path / "other.pth")


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_truncated_file(kept, data, tmp_path):
    whole = (data / "pggan_tiny.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: int(kept * len(whole))])
    assert "cut.pth" in error_of(tmp_path / "cut.pth")


class Hostile:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("save_to", [torch.save, lambda content, file: file.write_bytes(pickle.dumps(content, 2))])
def test_hostile_pickle_runs_nothing(save_to, tmp_path):
    save_to({"generator_smooth": Hostile(tmp_path / "ran")}, tmp_path / "hostile.pth")
    assert "hostile.pth" in error_of(tmp_path / "hostile.pth")
    assert not (tmp_path / "ran").exists()
