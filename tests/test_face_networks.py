"""The networks that read faces give what the packages' own JavaScript gives for the same images."""

import numpy as np
import pytest
import torch

from models import face_networks
from models.errors import UserError
from models.face_networks import INPUTS, MARGIN, FaceNetwork, enlarged, load_network, prepared, resizing

# {(network, output): array of tests/data/face_networks.npz}
OUTPUTS = {
    ("expression", "probabilities"): "face_api_expression", ("age_gender", "age"): "face_api_age",
    ("age_gender", "gender"): "face_api_gender", ("landmarks68", "points"): "face_api_landmark68",
    ("faceres", "male"): "faceres_gender", ("faceres", "ages"): "faceres_age",
    ("faceres", "descriptor"): "faceres_descriptor", ("selfie", "mask"): "selfie_mask",
    ("emotion", "probabilities"): "emotion_probabilities",
} | {
    ("facemesh", output): f"facemesh_attention_{output}"
    for output in ("flag", "mesh", "lips", "left_eye", "right_eye", "left_iris", "right_iris")
}  # fmt: skip


@pytest.fixture(scope="module")
def reference(data):
    with np.load(data / "face_networks.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def images(reference):
    """(2, 3, 224, 224) in [0, 1]."""
    return reference["images"].transpose(0, 3, 1, 2).astype(np.float32) / 255


@pytest.mark.parametrize("name", INPUTS)
def test_a_network_gives_the_published_numbers(name, images, reference):
    network = load_network(name)
    outputs = [output for its, output in OUTPUTS if its == name]
    found = network.run(prepared(images, network.input), outputs)
    for output in outputs:
        expected = reference[OUTPUTS[name, output]].astype(np.float32)
        tolerance = (5e-4 if output == "mask" else 1e-4) * np.abs(expected).max()
        np.testing.assert_allclose(found[output].reshape(expected.shape), expected, rtol=0, atol=tolerance)


def test_each_image_is_read_by_itself(images):
    network = load_network("facemesh")
    inputs = prepared(np.concatenate([images] * 4), network.input)
    outputs = ["mesh", "left_eye_features"]
    together, alone = network.run(inputs, outputs), network.run(inputs[1:2], outputs)
    for output in outputs:
        assert len(together[output]) == 8
        np.testing.assert_allclose(together[output][[1]], alone[output], rtol=0, atol=1e-4)


def test_resizing_takes_tensorflows_places():
    row = np.arange(8, dtype=np.float32)
    np.testing.assert_allclose(resizing(8, 4) @ row, [0, 2, 4, 6])
    np.testing.assert_allclose(resizing(4, 8) @ row[:4], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3])


def test_a_margin_is_a_reflection_without_the_edge():
    row = np.arange(4, dtype=np.float32)
    np.testing.assert_allclose(resizing(4, 8, margin=2) @ row, [2, 1, 0, 1, 2, 3, 2, 1])


def test_images_of_any_size_become_as_large_as_the_networks_expect():
    small = torch.linspace(-1, 1, 64).expand(2, 3, 64, 64)
    assert enlarged(small).shape == (2, 3, 224, 224)
    assert enlarged(small).min() >= 0 and enlarged(small).max() <= 1
    large = torch.full((1, 3, 512, 512), 0.5)
    np.testing.assert_allclose(enlarged(large), 0.75, rtol=1e-6)
    assert load_network("emotion")(large, ["probabilities"], MARGIN)["probabilities"].shape == (1, 7)


def test_a_missing_file_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"emotion\.onnx is missing"):
        FaceNetwork("emotion", directory=tmp_path)


def test_a_broken_file_is_told_in_one_line(tmp_path):
    (tmp_path / "emotion.onnx").write_bytes(b"\x08\x0anothing")
    with pytest.raises(UserError, match=r"emotion\.onnx cannot be read") as error:
        FaceNetwork("emotion", directory=tmp_path)
    assert "\n" not in str(error.value)


def test_without_onnxruntime_the_package_is_named(monkeypatch):
    monkeypatch.setattr(face_networks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnxruntime: pip install -r requirements\.txt"):
        FaceNetwork("emotion")
