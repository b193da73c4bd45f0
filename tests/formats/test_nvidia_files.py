"""NVIDIA's pickles: the published images, and networks that are not supported."""

import sys

import nvidia_pickles
import pytest
import torch
from reading import error_of, images

from models.formats import convert, read_generator
from models.load_generator import load_generator
from models.stylegan2 import StyledLayer, ToRGB


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_nvidia_images_conform(protocol, nvidia_file, published, conforms):
    expected = published("nvidia_tiny")
    generator = load_generator(nvidia_file(protocol=protocol))
    w = generator.mapping(expected["z"])
    conforms(generator.w_plus(w), expected["w_plus_psi1"])
    conforms(generator.w_plus(w, 0.7), expected["w_plus_psi07"])
    conforms(generator(expected["w_plus_psi07"]), expected["image_from_w_plus_psi07"])
    assert generator.conv_clamp is None
    assert not hasattr(sys, "module_src_was_run")


@pytest.mark.parametrize("told_by", ["arguments", "layers"])
def test_clamp_is_kept(told_by, nvidia_file, nvidia_kwargs, published, tmp_path):
    """Of every layer and image, through both conversions; what the clamp does not reach stays as it is."""
    z = published("nvidia_tiny")["z"]
    if told_by == "arguments":
        file = nvidia_file(synthesis={"conv_clamp": 0.75, "num_fp16_res": 4})
    else:
        kwargs = nvidia_kwargs()["synthesis_kwargs"]
        del kwargs["conv_clamp"]
        file = nvidia_file(attributes={"synthesis.b4.conv1": {"conv_clamp": 0.75}}, synthesis_kwargs=kwargs)
    convert(file, tmp_path / "clamped.pth")
    convert(tmp_path / "clamped.pth", tmp_path / "clamped.safetensors")
    clamped = images(load_generator(file), z)
    for name in ("clamped.pth", "clamped.safetensors"):
        generator = load_generator(tmp_path / name)
        assert generator.conv_clamp == 0.75
        assert torch.equal(images(generator, z), clamped)
    free = load_generator(file)
    for layer in free.synthesis.children():
        if isinstance(layer, StyledLayer | ToRGB):
            layer.conv_clamp = None
            layer.register_forward_hook(lambda layer, _, output: output.clamp(-0.75, 0.75))
    assert torch.equal(images(free, z), clamped)
    free.synthesis.layer3._forward_hooks.clear()
    assert not torch.equal(images(free, z), clamped)


def test_other_multiplier_of_the_mapping_network(nvidia_file, published, conforms):
    def halve(state):
        state.update({key: value / 2 for key, value in state.items() if key.startswith("mapping.fc")})

    expected = published("nvidia_tiny")
    for changed in ({"mapping": {"lr_multiplier": 0.02}}, {"attributes": {"mapping.fc0": {"bias_gain": 0.02}}}):
        generator = load_generator(nvidia_file(halve, **changed))
        conforms(generator.w_plus(generator.mapping(expected["z"])), expected["w_plus_psi1"])


def test_asymmetric_filter_is_mirrored(nvidia_file):
    taps = torch.tensor([1.0, 3.0, 2.0, 1.0])
    taps = torch.outer(taps, taps) / 49

    def change(state):
        state.update({key: taps for key in state if key.endswith("resample_filter")})

    kernel = read_generator(nvidia_file(change)).synthesis.upsample.kernel
    torch.testing.assert_close(kernel, 4 * taps.flip(0, 1)[None, None])


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"c_dim": 10}, "class-conditional"),
        ({"img_channels": 1}, "img_channels"),
        ({"synthesis": {"architecture": "resnet"}}, "resnet"),
        ({"synthesis": {"architecture": "orig"}}, "orig"),
        ({"attributes": {"synthesis.b4": {"architecture": "resnet"}}}, "resnet"),
        ({"synthesis": {"activation": "relu"}}, "relu"),
        ({"mapping": {"activation": "swish"}}, "swish"),
        ({"synthesis": {"use_noise": False}}, "use_noise"),
        ({"synthesis": {"window": 7}}, "window"),
        ({"mapping": {"lr_multiplier": "big"}}, "lr_multiplier"),
        ({"synthesis": {"conv_clamp": -1}}, "conv_clamp"),
        ({"radius": 7}, "radius"),
        ({"change": lambda state: state.pop("mapping.w_avg")}, "truncation.w_avg"),
        ({"change": lambda state: state.pop("synthesis.b16.conv0.noise_const")}, "synthesis.layer3.noise"),
        ({"change": lambda state: state.update({"synthesis.b8.conv0.mask": torch.ones(1)})}, "mask"),
        ({"change": lambda state: state["synthesis.b8.conv0.weight"].fill_(float("nan"))}, "not finite"),
        ({"change": lambda state: state["synthesis.b16.resample_filter"].fill_(0.1)}, "resample_filter"),
        ({"change": lambda state: state.update({"synthesis.b12.torgb.bias": torch.ones(3)})}, "torgb.bias"),
        (
            {"change": lambda state: state.update({"synthesis.b8.conv0.resample_filter": torch.ones(12)})},
            "resample_filter",
        ),
    ],
)
def test_other_networks_are_refused_by_what_differs(changed, named, nvidia_file):
    assert named in error_of(nvidia_file(**changed))


def test_stylegan3_is_refused_by_name(tmp_path):
    child = nvidia_pickles.Network("SynthesisInput", {"_modules": {}})
    synthesis = nvidia_pickles.Network("SynthesisNetwork", {"_modules": {"input": child}})
    generator = nvidia_pickles.Network("Generator", {"_modules": {"synthesis": synthesis}, "_init_kwargs": {}})
    assert "StyleGAN3" in error_of(nvidia_pickles.dump({"G_ema": generator}, tmp_path / "sg3.pkl"))


@pytest.mark.parametrize(
    "opening",
    [b"\x80\x03cdnnlib.tflib.network\nNetwork\n", b"\x80\x04\x8c\x14dnnlib.tflib.network\x8c\x07Network\x93"],
)
def test_tensorflow_pickle_is_refused_by_name(opening, tmp_path):
    (tmp_path / "tf.pkl").write_bytes(opening + b")\x81}b.")
    message = error_of(tmp_path / "tf.pkl")
    assert "TensorFlow" in message and "legacy.py" in message


@pytest.mark.parametrize("content", [{}, {"G": 1}, {"G_ema": None}, [1], None, {"G_ema": {"weight": 1}}])
def test_pickle_without_generator(content, tmp_path):
    assert "G_ema" in error_of(nvidia_pickles.dump(content, tmp_path / "other.pkl"))


def test_discriminator_is_refused_by_name(tmp_path):
    network = nvidia_pickles.Network("Discriminator", {"_modules": {}})
    assert "Discriminator" in error_of(nvidia_pickles.dump({"G_ema": network}, tmp_path / "d.pkl"))
