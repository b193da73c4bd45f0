"""A judge of one's own: an .onnx network and its JSON, what it is given to see, and what is refused."""

import json
import random

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lib.judges import load_judge
from models.errors import UserError

SIDE = 8
WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
DESCRIPTION = {"side": SIDE, "range": [0, 255], "names": ["red", "green", "blue"], "units": "of 255"}


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def colours(images="n", side=SIDE, last=False):
    """A network that gives the mean of each colour, and four mixtures of them as another output."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2] if last else [2, 3], keepdims=0),
        helper.make_node("MatMul", ["y", "w"], ["mixed"]),
    ]
    shape = (side, side, 3) if last else (3, side, side)
    graph = helper.make_graph(nodes, "graph", [value("x", images, *shape)],
                              [value("y", images, 3), value("mixed", images, 4)],
                              [numpy_helper.from_array(WEIGHTS, "w")])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.fixture
def write(tmp_path):
    """write(network, key=value, ..) -> the judge's name, its files written with these keys in place of others."""

    def make(network=None, description=None, **changed):
        content = network if isinstance(network, bytes) else (network or colours()).SerializeToString()
        (tmp_path / "net.onnx").write_bytes(content)
        described = json.dumps(DESCRIPTION | changed) if description is None else description
        (tmp_path / "net.json").write_text(described)
        return f"onnx:{tmp_path / 'net.onnx'}"

    return make


@pytest.fixture(scope="module")
def images():
    return torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def refused(name):
    with pytest.raises(UserError) as caught:
        load_judge(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


def test_numbers_are_the_network_s_with_the_names_of_the_json(write, images):
    judge = load_judge(write())
    assert (judge.names, judge.units, judge.scaled) == (["red", "green", "blue"], ["of 255"] * 3, False)
    found = judge(images.requires_grad_())
    images.requires_grad_(False)
    assert found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found, (images.mean(dim=(2, 3)) + 1) / 2 * 255)
    assert judge.features(images) is None and judge.own([("a", "b"), "direction 2"]) == [None, None]


@pytest.mark.parametrize("images_at_once", ["n", 1])
@pytest.mark.parametrize("last", [False, True])
def test_networks_take_many_images_or_one_and_colours_first_or_last(images_at_once, last, write, images):
    judge = load_judge(write(colours(images_at_once, last=last)))
    torch.testing.assert_close(judge(images), (images.mean(dim=(2, 3)) + 1) / 2 * 255)


def test_mean_and_deviation_are_of_colours_from_0_to_1(write, images):
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    judge = load_judge(write(range=None, mean=mean, deviation=deviation))
    expected = ((images.mean(dim=(2, 3)) + 1) / 2 - torch.tensor(mean)) / torch.tensor(deviation)
    torch.testing.assert_close(judge(images), expected)


def test_colours_can_be_the_other_way_round(write, images):
    torch.testing.assert_close(load_judge(write(colours="BGR"))(images), load_judge(write())(images).flip(1))


def test_images_of_another_size_are_resized(write):
    flat = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, 40, 24)
    torch.testing.assert_close(load_judge(write())(flat), torch.tensor([[0.0, 127.5, 255.0]] * 2), atol=1e-3, rtol=0)
    stripes = torch.where(torch.arange(64) % 2 == 0, 1.0, -1.0).expand(1, 3, 64, 64)
    assert (load_judge(write(range=[-1, 1]))(stripes).abs() < 0.05).all()  # antialiased: neither white nor black


def test_images_are_seen_in_several_passes(write, images, monkeypatch):
    monkeypatch.setattr("lib.judges.onnx_file.PIXELS_AT_ONCE", 2 * SIDE**2)
    judge = load_judge(write())
    assert judge.at_once == 2
    torch.testing.assert_close(judge(images), (images.mean(dim=(2, 3)) + 1) / 2 * 255)


def test_outputs_are_chosen_by_name(write, images):
    judge = load_judge(write(output="mixed", features="y", names=["a", "b", "c", "d"], scaled=True))
    means = (images.mean(dim=(2, 3)) + 1) / 2 * 255
    torch.testing.assert_close(judge.features(images), means)
    torch.testing.assert_close(judge(images), means @ torch.from_numpy(WEIGHTS), rtol=1e-4, atol=1e-2)
    assert judge.scaled


def test_fingerprint_is_of_the_network_and_of_its_description(write):
    first = load_judge(write()).fingerprint
    assert load_judge(write()).fingerprint == first
    assert len({first, load_judge(write(range=[0, 1])).fingerprint, load_judge(write(colours(1))).fingerprint}) == 3


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"side": 0}, "side is 0"), ({"side": 100_000}, "side is 100000"), ({"side": "8"}, "side is '8'"),
        ({"side": True}, "side is True"), ({"names": []}, "names"), ({"names": ["a", "a", "b"]}, "names"),
        ({"names": ["a", "", "b"]}, "names"), ({"names": ["a", "b\n", "c"]}, "names"), ({"names": "abc"}, "names"),
        ({"units": ["of 255"]}, "list of 3"), ({"units": 3}, "units"), ({"range": [0]}, "range is not 2 numbers"),
        ({"range": [1, 1]}, "range has no width"), ({"range": [0, "1"]}, "range"), ({"range": [0, 1e300]}, "range"),
        ({"range": [0, float("nan")]}, "range"), ({"range": None}, "either range or mean"),
        ({"mean": [0, 0, 0]}, "either range or mean"), ({"range": None, "mean": [0, 0, 0]}, "either range or mean"),
        ({"range": None, "mean": [0, 0, 0], "deviation": [1, 0, 1]}, "deviation is 0"),
        ({"range": None, "mean": [0, 0], "deviation": [1, 1, 1]}, "mean is not 3"), ({"colours": "RGBA"}, "'RGBA'"),
        ({"scaled": 1}, "scaled is 1"), ({"output": 3}, "output is not a name"), ({"size": 3}, "'size' is not one of"),
        ({"names": ["a", "b", "c", "d"]}, "gives 3 numbers for an image, and its JSON names 4"),
        ({"output": "z"}, "no output 'z', it has 'y', 'mixed'"), ({"features": "z"}, "no output 'z'"),
        ({"side": 16}, r"(any, 3, 8, 8), and by its JSON (any, 3, 16, 16)"),
    ],
)  # fmt: skip
def test_descriptions_that_cannot_be_are_refused_by_what_is_wrong(changed, named, write):
    line = refused(write(**changed))
    assert named in line and ("net.json" in line or "net.onnx" in line)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"side": 8}', "[" * 100_000, f'{{"a": 1{"0" * 5000}}}'])
def test_json_of_something_else_is_refused(text, write):
    assert "net.json" in refused(write(description=text))


def test_missing_files_are_refused(write, tmp_path):
    name = write()
    (tmp_path / "net.json").unlink()
    assert "net.json is missing" in refused(name)
    (tmp_path / "net.onnx").unlink()
    assert "net.onnx is missing" in refused(name)
    assert "is missing" in refused("onnx:") and "is missing" in refused(f"onnx:{tmp_path}")


def test_file_too_large_for_the_format_is_refused_unread(tmp_path):
    with open(tmp_path / "net.onnx", "wb") as file:
        file.truncate(3 << 30)  # takes no room on the disk
    assert "larger than 2 GiB" in refused(f"onnx:{tmp_path / 'net.onnx'}")


@pytest.mark.parametrize("network", [colours(2), colours(side=9)], ids=["two images", "another side"])
def test_networks_of_other_inputs_are_refused(network, write):
    assert "by its JSON (any, 3, 8, 8)" in refused(write(network))


def test_hostile_graph_is_refused_before_it_runs(write, tmp_path):
    network = colours()
    network.graph.initializer[0].ClearField("raw_data")
    network.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]
    assert "net.onnx" in refused(write(network))
    network = colours()
    network.graph.node[0].domain = "somebody"
    assert "'somebody'" in refused(write(network))


def test_onnxruntime_that_is_not_installed(write, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install -r requirements.txt" in refused(write())


def test_damaged_files_work_or_are_refused_in_one_line(write, images):
    rng, whole = random.Random(0), colours().SerializeToString()
    worked = 0
    for _ in range(12):
        content = bytearray(whole)
        content[rng.randrange(len(content))] = rng.randrange(256)
        name = write(bytes(content))
        try:
            worked += load_judge(name)(images).shape == (5, 3)
        except UserError as error:
            assert "\n" not in str(error)
    assert worked < 12
