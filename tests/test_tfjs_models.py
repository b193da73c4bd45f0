"""TensorFlow.js models as ONNX graphs: layouts, padding and weights that are stored as bytes."""

import base64
import json

import numpy as np
import onnxruntime
import pytest

from scripts.faces.tfjs_models import GraphModel


def text(value):
    return {"s": base64.b64encode(value.encode()).decode()}


def write_model(directory):
    """conv 3 x 3, stride 2, SAME, of 5 x 6 pixels; Relu6 as some write it; times a constant per colour; mean."""
    random = np.random.default_rng(0)
    kernel = random.integers(0, 256, (3, 3, 2, 4), dtype=np.uint8)
    factor = random.normal(size=4).astype(np.float16)
    weights = [
        {"name": "k", "shape": [3, 3, 2, 4], "dtype": "float32",
         "quantization": {"dtype": "uint8", "scale": 0.01, "min": -1.2}},
        {"name": "f", "shape": [4], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "six", "shape": [], "dtype": "float32"}, {"name": "zero", "shape": [], "dtype": "float32"},
        {"name": "axes", "shape": [2], "dtype": "int32"},
    ]  # fmt: skip
    content = [kernel, factor, np.float32(6), np.float32(0), np.array([1, 2], np.int32)]
    (directory / "m.bin").write_bytes(b"".join(part.tobytes() for part in content))
    size = [{"size": size} for size in ("-1", "5", "6", "2")]
    nodes = [
        {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": size}}}},
        {"name": "conv", "op": "Conv2D", "input": ["x", "k"],
         "attr": {"strides": {"list": {"i": ["1", "2", "2", "1"]}}, "padding": text("SAME")}},
        {"name": "relu", "op": "Relu", "input": ["conv"]},
        {"name": "low", "op": "Minimum", "input": ["relu", "six"]},
        {"name": "high", "op": "Maximum", "input": ["low", "zero"]},
        {"name": "scaled", "op": "Mul", "input": ["high", "f", "^low"]},
        {"name": "mean", "op": "Mean", "input": ["scaled:0", "axes"], "attr": {"keep_dims": {"b": False}}},
    ]  # fmt: skip
    nodes += [{"name": weight["name"], "op": "Const"} for weight in weights]
    model = {"generatedBy": "somebody", "modelTopology": {"node": nodes},
             "weightsManifest": [{"paths": ["m.bin"], "weights": weights}]}  # fmt: skip
    (directory / "m.json").write_text(json.dumps(model))
    return kernel * 0.01 - 1.2, factor.astype(float)


def expected_of(images, kernel, factor):
    """TensorFlow's rule for SAME: of 5 rows one is added before and one after, of 6 columns one after."""
    padded = np.pad(images.transpose(0, 2, 3, 1), ((0, 0), (1, 1), (0, 1), (0, 0)))
    found = np.zeros((len(images), 3, 3, 4))
    for row in range(3):
        for column in range(3):
            part = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            found[:, row, column] = np.tensordot(part, kernel, 3)
    return np.clip(found, 0, 6) * factor


def test_a_graph_computes_what_tensorflow_would(tmp_path):
    kernel, factor = write_model(tmp_path)
    model = GraphModel(tmp_path / "m.json").convert({"mean": ("mean", (4,)), "scaled": ("scaled", (4, 3, 3))})
    assert model.doc_string == "somebody"
    images = np.random.default_rng(1).normal(size=(3, 2, 5, 6)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    mean, scaled = session.run(["mean", "scaled"], {"images": images})
    expected = expected_of(images, kernel, factor)
    np.testing.assert_allclose(scaled, expected.transpose(0, 3, 1, 2), atol=1e-4)
    np.testing.assert_allclose(mean, expected.mean(axis=(1, 2)), atol=1e-4)


def test_weights_stay_as_small_as_they_were(tmp_path):
    write_model(tmp_path)
    model = GraphModel(tmp_path / "m.json").convert({"mean": ("mean", (4,))})
    stored = {weight.data_type for weight in model.graph.initializer if np.prod(weight.dims) == 72}
    assert stored == {2}  # uint8
    assert {node.op_type for node in model.graph.node} >= {"Conv", "Clip"}
    assert "Relu" not in {node.op_type for node in model.graph.node}


def test_an_unknown_operator_is_named(tmp_path):
    write_model(tmp_path)
    model = json.loads((tmp_path / "m.json").read_text())
    model["modelTopology"]["node"][2]["op"] = "Erf"
    (tmp_path / "m.json").write_text(json.dumps(model))
    with pytest.raises(ValueError, match="the operator Erf is not known"):
        GraphModel(tmp_path / "m.json").convert({"mean": ("mean", (4,))})


def test_weights_that_do_not_fill_their_file_are_refused(tmp_path):
    write_model(tmp_path)
    with open(tmp_path / "m.bin", "ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="its weights take"):
        GraphModel(tmp_path / "m.json")
