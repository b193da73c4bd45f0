"""Other people's generators: their images are the published ones, and hostile files do nothing."""

import argparse
import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import nvidia_pickles
import pytest
import safetensors.torch
import torch

from models.errors import UserError
from models.formats import __main__ as formats_command
from models.formats import convert, read_generator
from models.load_generator import load_generator
from models.stylegan2 import StyledLayer, ToRGB
from models.untrusted import pickles

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def nvidia_state(data):
    return torch.load(data / "nvidia_tiny_state_dict.pt")


@pytest.fixture(scope="session")
def nvidia_kwargs(data):
    """nvidia_kwargs(synthesis={..}, z_dim=..) -> what the tiny network was built with, changed."""

    def changed(mapping=None, synthesis=None, **others):
        kwargs = json.loads((data / "nvidia_tiny.json").read_text())["init_kwargs"]
        kwargs["mapping_kwargs"] |= mapping or {}
        kwargs["synthesis_kwargs"] |= synthesis or {}
        return nvidia_pickles.easy(kwargs | others)

    return changed


@pytest.fixture
def nvidia_file(nvidia_state, nvidia_kwargs, tmp_path):
    """nvidia_file(synthesis={..}, change=.., attributes=..) -> an NVIDIA pickle of the tiny network."""

    def write(change=lambda state: None, attributes=None, protocol=4, **changed):
        state = {key: value.clone() for key, value in nvidia_state.items()}
        change(state)
        network = nvidia_pickles.network(state, nvidia_kwargs(**changed), attributes)
        content = {"G": network, "D": None, "G_ema": network, "training_set_kwargs": nvidia_pickles.EasyDict(path="a")}
        return nvidia_pickles.dump(content, tmp_path / "nvidia.pkl", protocol)

    return write


def error_of(file):
    with pytest.raises(UserError) as raised:
        read_generator(file)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400 and file.name in message
    return message


def images(generator, z, psi=1.0):
    with torch.no_grad():
        return generator(generator.w_plus(generator.mapping(z), psi))


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


def test_rosinality_images_conform(data, published, conforms):
    expected = published("rosinality_tiny")
    generator = load_generator(data / "rosinality_tiny.pt")
    w = generator.mapping(expected["z"])
    conforms(w, expected["w"])
    conforms(generator(generator.w_plus(w)), expected["image_from_w"])
    conforms(generator.w_plus(w, 0.7)[:, 0], expected["w_psi07"])
    conforms(generator(generator.w_plus(w, 0.7)), expected["image_from_z_psi07"])


@pytest.mark.parametrize("target", ["out.pth", "out.safetensors"])
@pytest.mark.parametrize("source", ["stylegan2_tiny.pth", "pggan_tiny.pth", "rosinality_tiny.pt", "nvidia"])
def test_converted_generator_is_the_same(source, target, data, nvidia_file, tmp_path):
    source = nvidia_file() if source == "nvidia" else data / source
    convert(source, tmp_path / target)
    convert(tmp_path / target, tmp_path / "again.pth")
    expected = read_generator(source)
    for file in (tmp_path / target, tmp_path / "again.pth"):
        found = read_generator(file)
        assert type(found) is type(expected)
        torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert list(torch.load(tmp_path / "again.pth")) == ["generator_smooth"]
    assert not list(tmp_path.glob(".*"))


def test_half_precision_is_kept(data, tmp_path):
    state = torch.load(data / "pggan_tiny.pth")["generator_smooth"]
    torch.save({"generator": {key: value.half() for key, value in state.items()}}, tmp_path / "half.pth")
    convert(tmp_path / "half.pth", tmp_path / "half.safetensors")
    assert {value.dtype for value in read_generator(tmp_path / "half.safetensors").state_dict().values()} == {
        torch.float16
    }


def test_failed_conversion_leaves_what_was_there(nvidia_file, tmp_path):
    (tmp_path / "out.pth").write_text("before")
    source = nvidia_file(c_dim=2)
    with pytest.raises(UserError):
        convert(source, tmp_path / "out.pth")
    assert (tmp_path / "out.pth").read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["nvidia.pkl", "out.pth"]


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


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["top", "kwargs", "tensor", "training"])
@pytest.mark.parametrize("function", [os.mkdir, eval])
def test_hostile_call_runs_nothing(place, function, nvidia_file, nvidia_kwargs, nvidia_state, tmp_path):
    ran = tmp_path / "ran"
    hostile = Hostile(function, str(ran) if function is os.mkdir else f"open({str(ran)!r}, 'w')")
    kwargs = nvidia_kwargs() | ({"z_dim": hostile} if place == "kwargs" else {})
    attributes = {"mapping.fc1": {"weight_gain": hostile}} if place == "tensor" else None
    network = nvidia_pickles.network(nvidia_state, kwargs, attributes)
    content = {"G_ema": network, "training_set_kwargs": hostile if place == "training" else None}
    message = error_of(nvidia_pickles.dump(hostile if place == "top" else content, tmp_path / "hostile.pkl"))
    assert function.__name__ in message
    assert not ran.exists()


def stream(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def text(word):
    return b"\x8c" + bytes([len(word)]) + word.encode()


RECORD = text("torch_utils.persistence") + text("_reconstruct_persistent_obj") + b"\x93"
TEN_GB = 10 << 30
HOSTILE_STREAMS = {
    "dotted name": stream(text("torch"), text("_utils._rebuild_parameter.__globals__"), b"\x93", b")R"),
    "dotted allowed name": stream(text("collections"), text("OrderedDict.fromkeys"), b"\x93", b")R"),
    "parted otherwise": stream(text("torch"), text("_utils._rebuild_parameter"), b"\x93", b")R"),
    "name that is no text": stream(b"K\x01K\x02\x93"),
    "old global": stream(b"cposix\nsystem\n", text("true"), b"\x85R"),
    "INST": stream(b"(", text("true"), b"iposix\nsystem\n"),
    "OBJ": stream(b"(", RECORD, b"o"),
    "NEWOBJ_EX": stream(RECORD, b")}\x92"),
    "EXT1": stream(b"\x82\x01"),
    "EXT4": stream(b"\x84\x01\x00\x00\x00"),
    "persistent id": stream(b"K\x01Q"),
    "old persistent id": stream(b"Pmodule\n"),
    "state of a global": stream(RECORD, b"}", text("call"), text("x"), b"sb"),
    "state of nothing": stream(b"}b"),
    "call of data": stream(text("x"), b")R"),
    "call with a list": stream(RECORD, b"]R"),
    "record of nothing": stream(RECORD, b")R"),
    "record of a number": stream(RECORD, b"K\x01\x85R"),
    "long bytes": stream(b"\x8e", struct.pack("<Q", TEN_GB), b"abc"),
    "longer bytes": stream(b"\x8e", struct.pack("<Q", 1 << 62), b"abc"),
    "long text": stream(b"\x8d", struct.pack("<Q", TEN_GB), b"abc"),
    "long bytearray": stream(b"\x96", struct.pack("<Q", TEN_GB), b"abc"),
    "long number": stream(b"\x8b", struct.pack("<i", (1 << 31) - 1), b"abc"),
    "long frame": stream(b"\x95", struct.pack("<Q", TEN_GB), b"N"),
    "far memo": stream(b"Nr\xff\xff\xff\xff"),
    "memo of nothing": stream(b"h\x07"),
    "decimal without end": stream(b"I" + b"9" * 100_000 + b"\n"),
    "deep lists": stream(b"]" * 100_000 + b"a" * 99_999),
    "deep tuples": stream(b")" + b"\x85" * 100_000),
    "deep key": stream(b"}", b")" + b"\x85" * 100_000, b"Ns"),
    "marks": stream(b"(" * 100_000),
    "without end": stream(b"N" * 120_000),
    "append to no list": stream(b"NNa"),
    "item of no dict": stream(b"NNNs"),
    "nothing": stream(b""),
    "empty": b"\x80\x04",
    "list in itself": stream(b"]\x94h\x00a"),
    "network in itself": stream(
        b"}\x94(", text("type"), text("class"), text("class_name"), text("Generator"), text("state"), b"}\x94u0",
        RECORD, b"h\x00\x85R\x94h\x01", text("_modules"), b"}", text("x"), b"h\x02ss0",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_STREAMS)
def test_hostile_stream_is_one_line_and_little_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MOST_OPERATIONS", 110_000 if name == "without end" else 1 << 30)
    (tmp_path / "hostile.pkl").write_bytes(HOSTILE_STREAMS[name])
    error_of(tmp_path / "hostile.pkl")  # and what is imported first is no part of what is measured next
    if len(HOSTILE_STREAMS[name]) < 100_000:
        tracemalloc.start()
        try:
            error_of(tmp_path / "hostile.pkl")
            assert tracemalloc.get_traced_memory()[1] < 2 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("kept", [0.0001, 0.01, 0.3, 0.7, 0.999, 0.999999])
def test_truncated_nvidia_file(kept, nvidia_file):
    file = nvidia_file()
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    error_of(file)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_nvidia_file(seed, nvidia_file):
    file = nvidia_file()
    content = bytearray(file.read_bytes())
    drawn = torch.Generator().manual_seed(seed)
    for position in torch.randint(len(content), (30,), generator=drawn).tolist():
        content[position] ^= 1 << torch.randint(8, (), generator=drawn).item()
    file.write_bytes(content)
    try:
        read_generator(file)  # damage to a weight's own bytes cannot be told
    except UserError as error:
        assert "\n" not in str(error)


class Claimed:
    """A tensor whose storage and shape claim what they like; 77 numbers are there."""

    def __init__(self, numbers=77, offset=0, size=(32,), stride=(1,), content=None):
        if content is None:
            content = torch.zeros(77)._typed_storage().__reduce__()[1][0]
            assert content.count(b"K\x4d") == 1
            content = content.replace(b"K\x4d", b"\x8a\x09" + numbers.to_bytes(9, "little", signed=True))
        storage = Hostile(torch.storage._load_from_bytes, content)
        self.call = torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "claimed",
    [
        {"numbers": 10 << 30},
        {"numbers": -1},
        {"numbers": 78},
        {"size": (10 << 30,)},
        {"size": (10 << 30,), "stride": (0,)},
        {"size": (1 << 40, 0, 1 << 40), "stride": (0, 0)},
        {"size": (78,)},
        {"size": (32,), "stride": (3,)},
        {"offset": 70},
        {"offset": -1},
        {"size": ("32",)},
        {"stride": (-1,)},
        {"content": b""},
        {"content": b"\x80\x02N." * 5},
        {"content": pickle.dumps(Hostile(os.mkdir, "ran"), 2)},
    ],
)
def test_false_claims_are_refused_before_anything_is_allocated(claimed, nvidia_file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.chdir(tmp_path)
    file = nvidia_file(lambda state: state.update({"mapping.w_avg": Claimed()}))
    assert read_generator(file).truncation.w_avg.eq(0).all()
    file = nvidia_file(lambda state: state.update({"mapping.w_avg": Claimed(**claimed)}))
    error_of(file)
    assert not (tmp_path / "ran").exists()


def test_one_storage_claimed_by_many_tensors(nvidia_file):
    """A file of 4 MB that would need 400 MB."""
    content = torch.zeros(1 << 20)._typed_storage().__reduce__()[1][0]

    def change(state):
        state.update({f"mapping.fc{i}.weight": Claimed(size=(1024, 1024), stride=(1024, 1), content=content)
                      for i in range(100)})

    assert "claim" in error_of(nvidia_file(change))


@pytest.mark.parametrize("legacy", [True, False])
def test_claims_of_torch_files_are_refused(legacy, tmp_path, monkeypatch):
    file = tmp_path / "claims.pth"
    if legacy:
        torch.save({"generator": {"w": torch.zeros(77)}}, file, _use_new_zipfile_serialization=False)
        content = file.read_bytes()
        file.write_bytes(content.replace(b"K\x4d", b"\x8a\x09" + (10 << 30).to_bytes(9, "little")))
    else:
        torch.save({"generator": {"w": torch.zeros(1 << 20)}}, tmp_path / "small.pth")
        with zipfile.ZipFile(tmp_path / "small.pth") as small, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
            for record in small.namelist():
                bomb.writestr(record, small.read(record))
    monkeypatch.setattr(torch, "load", None)
    assert "claims" in error_of(file)
    with zipfile.ZipFile(file, "a") as archive:  # a legacy file with a small archive behind it is no archive
        archive.writestr("small", b"")
    assert "claims" in error_of(file)


def test_strides_that_repeat_are_no_way_to_large_tensors(tmp_path):
    torch.save({"generator": {"layer0.weight": torch.zeros(1).expand(1 << 30)}}, tmp_path / "repeats.pth")
    assert "claims" in error_of(tmp_path / "repeats.pth")


def test_content_that_holds_itself(tmp_path):
    content = {"other": []}
    content["other"].append(content)
    torch.save(content, tmp_path / "itself.pth")
    assert "generator_smooth" in error_of(tmp_path / "itself.pth")


@pytest.mark.parametrize("legacy", [True, False])
def test_legacy_torch_files_are_read(legacy, data, tmp_path):
    content = torch.load(data / "stylegan2_tiny.pth")
    torch.save(content, tmp_path / "saved.pth", _use_new_zipfile_serialization=not legacy)
    found = read_generator(tmp_path / "saved.pth").state_dict()
    torch.testing.assert_close(found, dict(content["generator_smooth"]), rtol=0, atol=0)


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


@pytest.mark.parametrize(
    "tensors, metadata, named",
    [
        ({"layer0.weight": torch.zeros(2, 2)}, {}, "lod"),
        ({"conv.weight": torch.zeros(2, 2)}, {}, "ProgGAN"),
        ({"layer0.weight": torch.zeros(2, dtype=torch.int32)}, {}, "floats"),
        (None, {"conv_clamp": "much"}, "conv_clamp"),
        (None, {"conv_clamp": "-1"}, "conv_clamp"),
    ],
)
def test_other_safetensors_are_refused(tensors, metadata, named, data, tmp_path):
    tensors = tensors or torch.load(data / "stylegan2_tiny.pth")["generator_smooth"]
    safetensors.torch.save_file(tensors, tmp_path / "other.safetensors", metadata)
    assert named in error_of(tmp_path / "other.safetensors")


@pytest.mark.parametrize("kept", [0.001, 0.5, 0.999])
def test_truncated_safetensors(kept, data, tmp_path):
    convert(data / "pggan_tiny.pth", tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: int(kept * len(whole))])
    error_of(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>", b"\x1f\x8b" * 20, b"(dp0\nS'G_ema'\np1\n."])
def test_files_of_no_known_format(content, tmp_path):
    (tmp_path / "page.pkl").write_bytes(content)
    assert "NVIDIA" in error_of(tmp_path / "page.pkl")


def convert_command(*arguments):
    command = [sys.executable, "-m", "models.formats", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_conversion_by_command(nvidia_file, tmp_path):
    source = nvidia_file()
    process = convert_command(source, tmp_path / "new" / "out.pth")
    assert (process.returncode, process.stderr) == (0, "")
    assert "out.pth" in process.stdout and load_generator(tmp_path / "new" / "out.pth").resolution == 64
    process = convert_command(tmp_path / "absent", tmp_path / "out.pth")
    assert process.returncode == 2 and process.stderr.count("\n") == 1 and "absent" in process.stderr
    process = convert_command("-h")
    assert process.returncode == 0 and "NVIDIA" in process.stdout
    process = convert_command(source, tmp_path)
    assert process.returncode == 2 and "is a directory" in process.stderr


def test_conversion_to_where_nothing_can_be_written(data, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["formats", str(data / "pggan_tiny.pth"), "/proc/out.pth"])
    with pytest.raises(SystemExit) as raised:
        formats_command.main()
    error = capsys.readouterr().err
    assert raised.value.code == 2 and error.count("\n") == 1 and "/proc" in error


def test_help_of_the_conversion_needs_no_torch():
    program = "import runpy, sys; sys.argv[1:] = ['-h']; sys.modules['torch'] = None; "
    command = [sys.executable, "-c", program + "runpy.run_module('models.formats', run_name='__main__')"]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
