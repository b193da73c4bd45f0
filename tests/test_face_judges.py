"""The networks that judge faces against the published implementations' numbers, their files, and the judge of them."""

import io
import json
import math
import pickle
import shutil
import struct
import zlib

import numpy as np
import pytest
import torch

from lib.downloading.assets import read_assets
from lib.judges import load_judge
from lib.judges.faces import celeba_attributes, checkpoints, fairface, hopenet, s3fd
from lib.judges.faces.action_units import ActionUnits
from lib.judges.faces.arcface import ArcFace, crop
from lib.judges.faces.celeba_attributes import CelebAAttributes
from lib.judges.faces.checkpoints import load_network
from lib.judges.faces.fairface import FairFace
from lib.judges.faces.frames import Frames, crop_bounds
from lib.judges.faces.hopenet import Hopenet
from lib.judges.faces.judge import NETWORKS, FaceJudge, load_identity
from lib.judges.faces.s3fd import S3FD
from models.errors import UserError

KINDS = {
    "arcface": ArcFace,
    "fairface": FairFace,
    "hopenet": Hopenet,
    "celeba_attributes": CelebAAttributes,
    "s3fd": S3FD,
    "au_detector": ActionUnits,
}
WRAPPED = (CelebAAttributes, ActionUnits)  # published as {"state_dict": ..}
STAGES = ("maxpool", "layer1", "layer2", "layer3", "layer4")


@pytest.fixture(scope="module")
def shapes(data):
    """{network: {key: shape}} as published."""
    return json.loads((data / "detectors" / "shapes.json").read_text())


@pytest.fixture
def numbers(data):
    """numbers("arcface") -> {name: tensor, or array of strings} of what the published implementation computed."""

    def load(name):
        with np.load(data / "detectors" / f"{name}.npz") as arrays:
            return {
                key: torch.from_numpy(arrays[key]) if arrays[key].dtype.kind in "fi" else arrays[key].tolist()
                for key in arrays
            }

    return load


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """The directory that weights are looked for in, empty."""
    monkeypatch.setattr(checkpoints, "PRETRAINED", tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path)  # up to 170 MB, which pytest would keep


@pytest.fixture
def by_rule(shapes, pretrained):
    """by_rule("arcface", numbers) -> the network with the weights of the published numbers, read from a file."""

    def load(name, published):
        kind, salt, gain = KINDS[name], int(published["rule_salt"]), float(published["rule_gain"])
        state = {key: _drawn(key, shape, salt, gain) for key, shape in shapes[name].items() if "num_batches" not in key}
        _save({"state_dict": state} if kind in WRAPPED else state, kind)
        return load_network(kind)

    return load


def _drawn(key, shape, salt, gain):
    drawn = np.random.RandomState((zlib.crc32(key.encode()) + salt) % 2**32).standard_normal(shape)
    if key.endswith("running_var"):
        drawn = 0.5 + abs(drawn)
    elif key.endswith("running_mean"):
        drawn = 0.3 * drawn
    elif len(shape) == 1:
        drawn = 1 + 0.2 * drawn if key.endswith("weight") else 0.1 * drawn
    else:
        drawn = drawn * gain * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(drawn.astype(np.float32))


def _save(content, kind, **options):
    file = kind.checkpoint.file
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, file, **options)
    return file


def _images(published):
    """The published images, by their formula: (B, 3, H, W) in 0..255."""
    height, width = published["image_size"].tolist()
    rows, columns = np.arange(height)[:, None] / height, np.arange(width) / width
    waves = published["image_waves"].numpy()[..., None, None]
    a, u, v, p = (waves[:, :, :, index] for index in range(4))
    summed = (a * np.cos(2 * np.pi * (u * rows + v * columns + p))).sum(2)
    images = torch.from_numpy((127.5 + 127.5 * np.tanh(summed)).astype(np.float32))
    torch.testing.assert_close(images[:, :, :4, :4], published["image_corner"])
    return images


def _frames(published):
    """`Frames` of the published images, with the boxes that are published beside them."""
    boxes = published.get("boxes")
    return Frames(_images(published) / 127.5 - 1, boxes is not None and (lambda frames: list(boxes)))


def _cells(images, count):
    """Means over count x count cells of equal size."""
    return torch.nn.functional.avg_pool2d(images, images.shape[-1] // count)


def _rms(x):
    return x.square().mean((1, 2, 3)).sqrt()


@pytest.fixture
def traced():
    """traced(network, names, inputs) -> (the network's outputs, root mean squares of those modules' (B, names))."""

    def run(network, names, inputs):
        found, modules = {}, dict(network.named_modules())
        hooks = [
            modules[name].register_forward_hook(lambda _, __, x, name=name: found.__setitem__(name, _rms(_first(x))))
            for name in names
        ]
        with torch.no_grad():
            outputs = network(inputs)
        for hook in hooks:
            hook.remove()
        return outputs, torch.stack([found[name] for name in names], 1)

    return run


def _first(x):
    return x[0] if isinstance(x, tuple) else x


# --- the networks and their inputs


@pytest.mark.parametrize("name", KINDS)
def test_state_dicts_have_the_published_keys_and_shapes(name, shapes):
    with torch.device("meta"):
        network = KINDS[name]()
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == shapes[name]


def test_frames_are_the_middle_square_of_the_shortened_image(numbers, conforms):
    published = numbers("resizing")
    small = (_frames(published).small + 1) * 127.5
    conforms(_cells(small, 16), published["resized_cells"])
    conforms(small[:, :, :8, :8], published["resized_corner"])


def test_frames_of_small_images_are_enlarged_and_clipped():
    frames = Frames(torch.full((1, 3, 64, 64), 1.5))
    assert frames.small.shape == (1, 3, 256, 256) and frames.small.max() == 1


def test_arcface_conforms(numbers, by_rule, traced, conforms):
    published = numbers("arcface")
    network, frames = by_rule("arcface", published), _frames(published)
    faces_ = crop(frames.small)
    conforms(_cells(faces_, 7), published["pooled_cells"])
    conforms(faces_[:, :, :4, :4], published["pooled_corner"])
    features, rms = traced(network, ["input_layer", *(f"body.{unit}" for unit in range(24))], faces_)
    conforms(rms, published["unit_rms"])
    conforms(features, published["feature"])
    identity = load_identity()
    found = identity.embed(frames.images)
    conforms(identity.compare(found, found[:1]), published["cosine"])


def test_fairface_conforms(numbers, by_rule, traced, conforms):
    published = numbers("fairface")
    network, frames = by_rule("fairface", published), _frames(published)
    inputs = network.prepare(frames)
    _check_inputs(inputs, published, conforms, 7)
    with torch.no_grad():
        conforms(network.pooled(inputs), published["pooled"])
    logits, rms = traced(network, STAGES, inputs)
    conforms(rms, published["stage_rms"])
    conforms(logits, published["logits"])
    for prefix, given in (("", logits), ("readout_", published["readout_logits"])):
        found = fairface.numbers(given)
        conforms(found[:, 0], published[f"{prefix}female"])
        conforms(found[:, 1], published[f"{prefix}age_expected_class"])
        conforms(found[:, 2:], published[f"{prefix}race_probabilities"])
    assert torch.equal(network.read(frames), fairface.numbers(logits))


def test_hopenet_conforms(numbers, by_rule, traced, conforms):
    published = numbers("hopenet")
    network, frames = by_rule("hopenet", published), _frames(published)
    inputs = network.prepare(frames)
    _check_inputs(inputs, published, conforms, 7)
    with torch.no_grad():
        conforms(network.pooled(inputs)[:, :256], published["pooled_first"])
    logits, rms = traced(network, STAGES, inputs)
    conforms(rms, published["stage_rms"])
    conforms(logits, published["logits"])
    conforms(hopenet.degrees(logits), published["degrees"])
    conforms(hopenet.degrees(published["readout_logits"]), published["readout_degrees"])


def test_celeba_attributes_conform(numbers, by_rule, traced, conforms):
    published = numbers("celeba_attributes")
    network, frames = by_rule("celeba_attributes", published), _frames(published)
    inputs = network.prepare(frames)
    _check_inputs(inputs, published, conforms, 7)
    with torch.no_grad():
        pooled = network.pooled(inputs)
        conforms(pooled[:, :256], published["pooled_first"])
        conforms(network.stem(pooled), published["stem"])
    logits, rms = traced(network, STAGES, inputs)
    conforms(rms, published["stage_rms"])
    conforms(logits, published["logits"])
    for prefix, given in (("", logits), ("readout_", published["readout_logits"])):
        conforms(celeba_attributes.expected_class(given), published[f"{prefix}expected_class"])


def test_action_units_conform(numbers, by_rule, traced, conforms):
    published = numbers("au_detector")
    network, frames = by_rule("au_detector", published), _frames(published)
    inputs = network.prepare(frames)
    _check_inputs(inputs, published, conforms, 8)
    maps, rms = traced(network, published["stage_names"], inputs)
    conforms(rms, published["stage_rms"])
    conforms(_cells(maps, 8), published["heatmap_cells"])
    conforms(maps[:, :, :4, :4], published["heatmap_corner"])
    conforms(maps.amax((2, 3)), published["intensities"])


def test_s3fd_conforms(numbers, by_rule, conforms):
    published = numbers("s3fd")
    network = by_rule("s3fd", published)
    with torch.no_grad():
        levels = network(_images(published))
    for level, (classes, boxes) in enumerate(levels, start=1):
        conforms(classes, published[f"cls_{level}"])
        conforms(boxes, published[f"reg_{level}"])


def test_s3fd_boxes_conform(numbers, conforms):
    published = numbers("s3fd")
    levels = [(published[f"decode_cls_{level}"], published[f"decode_reg_{level}"]) for level in range(1, 7)]
    for image, (boxes, scores) in enumerate(zip(*s3fd.decode(levels))):
        assert (scores > s3fd.CANDIDATE).sum() == published[f"candidates_{image}"]
        assert len(s3fd.select(boxes, scores, least=0)[0]) == published[f"before_threshold_{image}"]
        found, confidences = s3fd.select(boxes, scores)
        conforms(torch.cat([found, confidences[:, None]], 1), published[f"boxes_{image}"])


def _check_inputs(inputs, published, conforms, cells):
    """The frames and crops on the way to a network's input."""
    small = (_frames(published).small + 1) * 127.5
    conforms(_cells(small, 8), published["image256_cells"])
    conforms(small[:, :, :4, :4], published["image256_corner"])
    conforms(_cells(inputs, cells), published["input_cells"])
    conforms(inputs[:, :, :4, :4], published["input_corner"])


@pytest.mark.parametrize(("name", "growth"), [("fairface", fairface.GROWTH), ("hopenet", 0), ("au_detector", 0)])
def test_crops_take_x_for_columns_and_y_for_rows(name, growth, numbers):
    published = numbers(name)
    found = [crop_bounds(box, growth) for box in published["boxes"]]
    assert torch.equal(torch.tensor(found, dtype=torch.int16), published["crop_bounds"])


@pytest.mark.parametrize("box", [(300, 300, 400, 400), (-90, -90, -80, -80), (-1e30, 0, 1e30, 256)])
def test_boxes_beyond_the_frame_leave_something_to_see(box):
    top, bottom, left, right = crop_bounds(torch.tensor(box))
    assert 0 <= top < bottom <= 256 and 0 <= left < right <= 256


def test_frames_without_a_face_are_seen_whole():
    frames = Frames(torch.rand(2, 3, 256, 256), lambda frames: [None, torch.tensor([100.0, 60.0, 164.0, 124.0])])
    assert crop_bounds(None, 0.25) == (0, 256, 0, 256)
    torch.testing.assert_close(frames.crops(256)[0], (frames.small[0] + 1) / 2)
    with torch.device("meta"):
        network = S3FD()
    expected = [[0.5, 0.5, 1, 1], [132 / 256, 92 / 256, 0.25, 0.25]]
    torch.testing.assert_close(network.read(frames), torch.tensor(expected))


def test_a_flat_image_has_finite_action_units():
    with torch.device("meta"):
        network = ActionUnits()
    assert not network.prepare(Frames(torch.full((1, 3, 64, 64), 0.3))).any()


# --- files


def _tiny_arcface():
    return ArcFace(units=((16, 16, 2), (16, 24, 2)), side=8, features=24)


@pytest.fixture
def tiny_state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _tiny_arcface().state_dict()


@pytest.mark.parametrize("layout", ["zip", "legacy", "wrapped", "parallel", "half", "uncounted", "best_score"])
def test_weights_are_read_from_every_layout(layout, tiny_state, pretrained):
    content, expected = tiny_state, tiny_state
    if layout == "wrapped":
        content = {"state_dict": tiny_state, "epoch": 7, "optimizer": {"state": {}, "param_groups": []}}
    elif layout == "best_score":
        content = {"state_dict": tiny_state, "best": np.float64(0.9)}
    elif layout == "parallel":
        content = {f"module.{key}": value for key, value in tiny_state.items()}
    elif layout == "half":
        content = {key: value.half() if value.is_floating_point() else value for key, value in tiny_state.items()}
        expected = {key: value.float() if value.is_floating_point() else value for key, value in content.items()}
    elif layout == "uncounted":
        content = {key: value for key, value in tiny_state.items() if "num_batches" not in key}
    _save(content, ArcFace, _use_new_zipfile_serialization=layout != "legacy")
    found = load_network(_tiny_arcface)
    assert not found.training and not any(weight.requires_grad for weight in found.parameters())
    assert found.state_dict().keys() == expected.keys()
    for key, value in found.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=0)


def test_weights_that_torch_of_2017_saved_with_python_2_are_read(tiny_state, pretrained):
    state = {key: value for key, value in tiny_state.items() if "num_batches" not in key}
    file = ArcFace.checkpoint.file
    file.parent.mkdir()
    file.write_bytes(_saved_in_2017(state))
    found = load_network(_tiny_arcface).state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def _saved_in_2017(state):
    """What torch 0.2's torch.save wrote with Python 2: byte strings, and tensors without what came later."""

    def text(string):
        return b"U" + bytes([len(string)]) + string.encode()

    def integers(*numbers):
        return b"(" + b"".join(b"J" + struct.pack("<i", number) for number in numbers) + b"t"

    def tensor(key, value):
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cuda:0")
        storage += b"J" + struct.pack("<i", value.numel()) + b"NtQ"
        where = b"J" + struct.pack("<i", 0) + integers(*value.shape) + integers(*value.stride())
        return b"ctorch._utils\n_rebuild_tensor\n(" + storage + where + b"tR"

    items = b"".join(b"](" + text(key) + tensor(key, value) + b"e" for key, value in state.items())
    content = b"\x80\x02ccollections\nOrderedDict\n](" + items + b"e\x85R."
    sizes = b"\x80\x02}(" + text("protocol_version") + b"M\xe9\x03" + text("little_endian") + b"\x88u."
    keys = b"\x80\x02](" + b"".join(map(text, state)) + b"e."
    storages = (struct.pack("<q", value.numel()) + value.numpy().tobytes() for value in state.values())
    magic, version = (pickle.dumps(number, 2) for number in (0x1950A86A20F9469CFC6C, 1001))
    return b"".join([magic, version, sizes, content, keys, *storages])


def _without_one(state):
    return {key: value for key, value in state.items() if key != "output_layer.3.bias"}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_without_one, r"1 of \d+ tensors are missing, such as \['output_layer.3.bias'\]"),
        (lambda state: state | {"fc.weight": torch.ones(3)}, r"1 more tensors, such as \['fc.weight'\]"),
        (lambda state: state | {5: torch.ones(3)}, r"1 more tensors"),
        (lambda state: state | {"output_layer.3.bias": torch.ones(2, 12)}, r"is \(2, 12\), not \(24,\)"),
        (lambda state: state | {"output_layer.3.bias": torch.ones(24).long()}, "not a tensor of floating-point"),
        (lambda state: state | {"output_layer.3.bias": torch.ones(24).to_sparse()}, "not a tensor of floating-point"),
        (lambda state: state | {"output_layer.3.bias": torch.ones(24, device="meta")}, "not a tensor of floating"),
        (lambda state: state | {"output_layer.3.bias": [1.0] * 24}, "not a tensor of floating-point"),
        (lambda state: state | {"output_layer.3.bias": torch.full((24,), torch.nan)}, "not finite"),
        (lambda state: [state], "tensors are missing"),
        (lambda state: {}, "tensors are missing"),
        (lambda state: {"state_dict": None}, "tensors are missing"),
        (lambda state: None, "tensors are missing"),
    ],
)
def test_other_tensors_are_told_in_one_line(spoil, reason, tiny_state, pretrained):
    file = _save(spoil(tiny_state), ArcFace)
    with pytest.raises(UserError, match=reason) as error:
        load_network(_tiny_arcface)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


class _Calling:
    def __reduce__(self):
        return (print, ("a stranger's code ran",))


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"PK\x03\x04", b"<html>", pickle.dumps(_Calling(), 2)])
def test_files_of_anything_else_are_told_in_one_line(content, pretrained, capsys):
    file = ArcFace.checkpoint.file
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_network(_tiny_arcface)
    assert str(file) in str(error.value) and "\n" not in str(error.value)
    assert not capsys.readouterr().out


def test_nothing_beside_the_weights_is_run(tiny_state, pretrained, capsys):
    stream = io.BytesIO()
    torch.save({"state_dict": tiny_state, "arch": _Calling()}, stream)
    file = ArcFace.checkpoint.file
    file.parent.mkdir()
    file.write_bytes(stream.getvalue())
    with pytest.raises(UserError):
        load_network(_tiny_arcface)
    assert not capsys.readouterr().out


def test_download_brings_every_network(shapes):
    assets = read_assets()
    for kind in NETWORKS:
        asset = assets[kind.checkpoint.archive]
        assert kind.checkpoint.name in asset.files
        assert kind.checkpoint.file == checkpoints.PRETRAINED.parent.parent / asset.directory / kind.checkpoint.name


# --- the judge


@pytest.fixture(scope="module")
def action_units():
    """The network of action units with weights of chance, as its file has them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ActionUnits().eval()
    return network.requires_grad_(False)


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_numbers_of_all_networks_have_names_and_units():
    with torch.device("meta"):
        judge = FaceJudge([kind() for kind in NETWORKS], "")
    assert len(judge.names) == len(set(judge.names)) == len(judge.units) == 9 + 3 + 5 + 4 + 12
    assert judge.names[:3] == ["female", "age", "race_white"] and judge.names[-1] == "au26_jaw_drop"
    assert dict(zip(judge.names, judge.units))["yaw"] == "degrees"
    assert len(judge.ranges) == len(judge.names)
    low, high = dict(zip(judge.names, judge.ranges))["pitch"]
    assert -low == high == pytest.approx(0.5 * 180 / math.pi, abs=0.1)


def test_a_judge_of_some_networks_gives_their_numbers(action_units, images):
    arcface = ArcFace(units=((16, 16, 2), (16, 16, 2)), features=8).eval()
    judge = FaceJudge([arcface, action_units], "")
    found = judge(images)
    assert judge.names == list(ActionUnits.names) and found.shape == (2, 12) and found.dtype == torch.float32
    torch.testing.assert_close(found, action_units.read(Frames(images)), rtol=0, atol=0)
    torch.testing.assert_close(judge(images[1:]), found[1:], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[0], found[1]) and not found.requires_grad
    embed, compare = judge.identity.embed, judge.identity.compare
    torch.testing.assert_close(compare(embed(images), embed(images)), torch.full((2,), judge.identity.same))
    assert (compare(embed(images), embed(images.flip(0))) < 0.9999).all()
    assert judge.features(images).shape == (2, 8)
    assert judge.scaled is False and judge.own([("a", "b")]) == [None]


def test_a_judge_without_arcface_knows_no_identity(action_units, images):
    judge = FaceJudge([action_units], "")
    assert judge.identity is None and judge.features(images) is None


def test_crops_follow_the_detector(action_units, images, monkeypatch):
    box = torch.tensor([100.0, 100.0, 120.0, 130.0])
    with torch.device("meta"):
        detector = S3FD()
    monkeypatch.setattr(S3FD, "detect", lambda self, frames: [box, None])
    found = FaceJudge([action_units, detector], "")(images)
    frames = Frames(images, lambda frames: [box, None])
    torch.testing.assert_close(found[:, 4:], action_units.read(frames))
    assert not torch.allclose(found[0, 4:], action_units.read(Frames(images))[0])
    torch.testing.assert_close(found[0, :4], torch.tensor([110.0, 115.0, 20.0, 30.0]) / 256)


def test_absent_weights_are_told_in_one_line(action_units, images, pretrained):
    _save({"state_dict": action_units.state_dict()}, ActionUnits)
    judge = load_judge("faces")
    assert "identity" in judge.note and "yaw, pitch, roll" in judge.note and "au1_" not in judge.note
    assert "python download.py --only fairface hopenet celeba_attributes sfd arcface`" in judge.note
    assert "\n" not in judge.note and load_identity() is None
    torch.testing.assert_close(judge(images), FaceJudge([action_units], "")(images), rtol=0, atol=0)


def test_a_fingerprint_is_of_the_weights(action_units, pretrained):
    state = action_units.state_dict()
    _save(state, ActionUnits)
    first, again = (load_judge("faces").fingerprint for _ in range(2))
    _save(state | {"l.bias": state["l.bias"] + 1}, ActionUnits)
    assert first == again != load_judge("faces").fingerprint


def test_no_weights_at_all_are_a_users_error(pretrained):
    with pytest.raises(UserError, match=r"download.py --only fairface hopenet celeba_attributes sfd au_detector arc"):
        load_judge("faces")


def test_the_judge_has_no_argument():
    with pytest.raises(UserError, match="nothing after its name"):
        load_judge("faces:arcface")
