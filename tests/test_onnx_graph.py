"""Strangers' .onnx files: what a plain network says of itself, and that all others are refused in one line."""

import random
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import UserError
from models.untrusted import onnx_graph
from models.untrusted.onnx_graph import read_graph
from models.untrusted.onnx_process import OnnxProcess
from models.untrusted.protobuf import BYTES, FIXED32, FIXED64, VARINT, BrokenMessage, Budget, Field, read_message

WEIGHTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes=None, weights=None, inputs=None, outputs=None, **more):
    """A network that averages each colour of its images and mixes the three into four numbers, or has other parts."""
    if nodes is None:
        nodes = [
            helper.make_node("GlobalAveragePool", ["x"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs or [value("x", ["n", 3, 8, 8])],
        outputs or [value("y", ["n", 4])],
        weights if weights is not None else [numpy_helper.from_array(WEIGHTS, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10, **more)


def with_weights(**changed):
    """The network, its weights changed in these fields."""
    content = model()
    for key, new in changed.items():
        weights = content.graph.initializer[0]
        weights.ClearField(key)
        if isinstance(new, list):
            getattr(weights, key).extend(new)
        elif new is not None:
            setattr(weights, key, new)
    return content


def with_node(kind, **attributes):
    domain = attributes.pop("domain", None)
    nodes = [helper.make_node(kind, ["x"], ["y"], domain=domain, **attributes)]
    return model(nodes, outputs=[value("y", ["n", 3, 8, 8])])


def inner_graph():
    return helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "inner", [], [value("z", ["n", 3, 8, 8])])


def refused(content):
    """The line with which bytes or a model are refused."""
    with pytest.raises(UserError) as caught:
        read_graph(content if isinstance(content, bytes) else content.SerializeToString(), "net.onnx")
    line = str(caught.value)
    assert "\n" not in line and line.startswith("net.onnx cannot be used, it ") and len(line) < 500
    return line


@pytest.fixture
def started():
    """started(model, **limits) -> its process; ended after the test."""
    processes = []

    def start(content, outputs=("y",), **limits):
        content = content if isinstance(content, bytes) else content.SerializeToString()
        read_graph(content, "net.onnx")
        processes.append(OnnxProcess(content, "net.onnx", list(outputs), threads=1, **limits))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


# --- what is let through


def test_inputs_and_outputs_of_a_network():
    graph = read_graph(model().SerializeToString(), "net.onnx")
    assert graph.input == ("x", (None, 3, 8, 8)) and graph.outputs == [("y", (None, 4))]


def test_weights_that_are_listed_as_inputs_too_are_weights():
    content = model(inputs=[value("x", ["n", 3, 8, 8]), value("w", [3, 4])])
    assert read_graph(content.SerializeToString(), "net.onnx").input.name == "x"


@pytest.mark.parametrize(
    "kind",
    ["FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "BOOL", "FLOAT16", "DOUBLE", "UINT32", "UINT64",
     "BFLOAT16"],
)  # fmt: skip
@pytest.mark.parametrize("raw", [True, False])
def test_weights_of_every_kind_of_number_are_counted(kind, raw):
    kind, numbers = getattr(TensorProto, kind), np.arange(300) % 2
    weights = helper.make_tensor("w", kind, [3, 100], numbers)
    if raw:
        array = numpy_helper.to_array(weights)
        weights = TensorProto(name="w", data_type=kind, dims=[3, 100], raw_data=array.tobytes())
    assert read_graph(model(weights=[weights]).SerializeToString(), "net.onnx").input.name == "x"
    weights.dims[1] = 101
    assert "claims 3x101 numbers for 'w' and holds 300" in refused(model(weights=[weights]))


def test_format_is_read_as_its_own_library_describes_it():
    library = {"MODEL": onnx.ModelProto, "GRAPH": onnx.GraphProto, "NODE": onnx.NodeProto, "TYPE": onnx.TypeProto,
               "ATTRIBUTE": onnx.AttributeProto, "TENSOR": onnx.TensorProto, "VALUE_INFO": onnx.ValueInfoProto,
               "TENSOR_TYPE": onnx.TypeProto.Tensor, "SHAPE": onnx.TensorShapeProto,
               "DIMENSION": onnx.TensorShapeProto.Dimension}  # fmt: skip
    field = onnx.TensorProto.DESCRIPTOR.fields_by_name["dims"]
    wires = {field.TYPE_INT64: VARINT, field.TYPE_INT32: VARINT, field.TYPE_UINT64: VARINT, field.TYPE_ENUM: VARINT,
             field.TYPE_FLOAT: FIXED32, field.TYPE_DOUBLE: FIXED64, field.TYPE_STRING: BYTES, field.TYPE_BYTES: BYTES,
             field.TYPE_MESSAGE: BYTES}  # fmt: skip
    for name, message in library.items():
        described = {
            one.number: Field(one.name, wires[one.type], one.is_repeated) for one in message.DESCRIPTOR.fields
        }
        ours = getattr(onnx_graph, name)
        assert {number: described[number] for number in ours} == ours, name
        assert all("opaque" in described[number].name for number in described.keys() - ours.keys()), name


# --- what is refused


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_truncated_file_is_refused(share):
    whole = model().SerializeToString()
    refused(whole[: int(share * len(whole))])


@pytest.mark.parametrize("content", [b"", b"not a network\n", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04" + b"\x00" * 60])
def test_file_of_something_else_is_refused(content):
    refused(content)


@pytest.mark.parametrize(
    "content, named",
    [
        (with_node("Loop", body=inner_graph()), "a loop (Loop)"),
        (with_node("Scan", body=inner_graph(), num_scan_inputs=1), "a loop (Scan)"),
        (with_node("SequenceMap", body=inner_graph()), "a loop (SequenceMap)"),
        (with_node("If", then_branch=inner_graph(), else_branch=inner_graph()), "a branch (If)"),
        (with_node("Relu", body=inner_graph()), "a graph within the graph"),
        (with_node("Relu", bodies=[inner_graph()]), "graphs within the graph"),
        (with_node("RandomUniformLike"), "chance (RandomUniformLike)"),
        (with_node("Gelu", domain="com.microsoft"), "'Gelu' of 'com.microsoft'"),
        (with_node("Relu", domain="my.own"), "'Relu' of 'my.own'"),
        (with_node("Relu", domain="ai.onnx.ml"), "'Relu' of 'ai.onnx.ml'"),
    ],
)
def test_operators_that_do_more_than_compute_are_refused(content, named):
    assert named in refused(content)


def test_functions_and_training_are_refused():
    function = helper.make_function("my.own", "f", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])],
                                    [helper.make_opsetid("", 17)])  # fmt: skip
    assert "functions" in refused(model(functions=[function]))
    training = model()
    training.training_info.add()
    assert "training" in refused(training)
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.add(name="a", ref_attr_name="b", type=onnx.AttributeProto.INT)
    assert "functions" in refused(model([node]))


def test_weights_outside_the_file_are_refused():
    content = with_weights(raw_data=None, data_location=TensorProto.EXTERNAL)
    content.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    assert "outside the file" in refused(content)
    assert "outside the file" in refused(with_weights(data_location=TensorProto.EXTERNAL))
    constant = with_weights(data_location=TensorProto.EXTERNAL).graph.initializer[0]
    assert "outside the file" in refused(with_node("Constant", value=constant))


def test_a_location_that_others_would_cut_to_external_is_refused():
    weights = model().graph.initializer[0].SerializeToString() + bytes([14 << 3, 0x81, 0x80, 0x80, 0x80, 0x10])
    assert TensorProto.FromString(weights).data_location == TensorProto.EXTERNAL
    plain = model(weights=[])
    graph = plain.graph.SerializeToString() + bytes([5 << 3 | 2, len(weights)]) + weights
    plain.ClearField("graph")
    content = plain.SerializeToString() + bytes([7 << 3 | 2]) + varint(len(graph)) + graph
    assert "outside the file" in refused(content)


def varint(number):
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded) + bytes([number])


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"raw_data": None}, "claims 3x4 numbers for 'w' and holds 0"),
        ({"raw_data": b"\0" * 44}, "holds 11"),
        ({"raw_data": b"\0" * 47}, "claims 3x4"),
        ({"dims": [1 << 30, 1 << 30]}, "claims 1073741824x1073741824"),
        ({"dims": [1 << 62, 4]}, "claims 4611686018427387904x4"),
        ({"dims": [-3, -4]}, "claims -3x-4"),
        ({"dims": [0, 1 << 40], "raw_data": None}, "claims 0x1099511627776"),
        ({"float_data": [0.0] * 12}, "claims 3x4"),
        ({"raw_data": None, "int32_data": [0] * 12}, "claims 3x4"),
        ({"data_type": TensorProto.STRING}, "unknown kind (8)"),
        ({"data_type": TensorProto.COMPLEX64}, "unknown kind (14)"),
        ({"data_type": 0}, "unknown kind (0)"),
        ({"string_data": [b"a"]}, "strings"),
    ],
)
def test_weights_that_are_not_what_they_claim_are_refused(changed, named):
    assert named in refused(with_weights(**changed))


def test_sparse_weights_are_refused():
    content = model()
    content.graph.sparse_initializer.add()
    assert "sparse" in refused(content)


@pytest.mark.parametrize(
    "content, named",
    [
        (model(inputs=[value("x", ["n", 3, 8, 8]), value("more", [1])]), "takes 2 inputs"),
        (model(inputs=[value("w", [3, 4])]), "takes 0 inputs"),
        (model(inputs=[value("x", ["n", 3, 8, 8], TensorProto.UINT8)]), "'x', which is not a tensor of float"),
        (model(inputs=[value("x", None)]), "'x', which is not a tensor of float numbers with a shape"),
        (model(inputs=[value("x", ["n", 3, 1 << 40, 8])]), "shape that cannot be"),
        (model(outputs=[value("y", [-1, 4])]), "shape that cannot be"),
        (model(outputs=[helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)]), "'y'"),
    ],
)
def test_inputs_and_outputs_that_are_no_judge_s_are_refused(content, named):
    assert named in refused(content)


def test_parts_that_others_would_merge_or_skip_are_refused():
    whole = model().SerializeToString()
    assert "graph twice" in refused(whole + bytes([7 << 3 | 2, 0]))
    assert "number 99" in refused(whole + bytes([0x98, 0x06, 0]))
    assert "ir_version written in another way" in refused(bytes([1 << 3 | 2, 0]) + whole)
    assert "claims" in refused(whole + bytes([14 << 3 | 2]) + varint(1 << 40))


def test_many_small_parts_are_refused_before_they_fill_the_memory():
    nodes = bytes([1 << 3 | 2, 0]) * (onnx_graph.MOST_PARTS + 1)
    whole = model()
    whole.ClearField("graph")
    assert "more than 300,000 parts" in refused(whole.SerializeToString() + b"\x3a" + varint(len(nodes)) + nodes)
    assert "more than 300,000 parts" in refused(with_weights(dims=[1] * (onnx_graph.MOST_PARTS + 1)))


@pytest.mark.parametrize(
    "content, named",
    [
        (b"\x08", "middle of a number"), (b"\x08" + b"\xff" * 10, "too long"),
        (b"\x08" + b"\x80" * 9 + b"\x7e", "too long"), (b"\x23", "number 4"), (b"\x0b", "a written in another way"),
        (b"\x12\x05ab", "claims 5 bytes where 2 are left"),
        (b"\x1d\x00\x00", "claims 4 bytes where 2"), (b"\x12\x00\x12\x00", "b twice"),
    ],
)  # fmt: skip
def test_broken_messages_are_refused(content, named):
    schema = {1: Field("a", VARINT), 2: Field("b"), 3: Field("c", FIXED32)}
    with pytest.raises(BrokenMessage, match=named):
        read_message(memoryview(content), schema, Budget(100))


def test_damaged_files_are_let_through_or_refused_in_one_line():
    rng, whole = random.Random(0), model().SerializeToString()
    for _ in range(3000):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            read_graph(bytes(content), "net.onnx")
        except UserError as error:
            assert "\n" not in str(error)


# --- what is computed


def images(count=5):
    return np.random.default_rng(1).normal(size=(count, 3, 8, 8)).astype(np.float32)


def test_network_is_computed(started):
    process, pixels = started(model()), images()
    expected = pixels.mean(axis=(2, 3)) @ WEIGHTS
    for _ in range(2):
        (found,) = process(pixels)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_bytes_that_also_are_of_onnxruntime_s_own_format_are_read_as_what_was_checked(started):
    content = model()
    content.ClearField("ir_version")
    content = bytes([1 << 3, 10, 2 << 3 | 2, 4]) + b"ORTM" + content.SerializeToString().replace(b"\x12\x00", b"")
    assert content[4:8] == b"ORTM"  # by which that format is known
    (found,) = started(content)(images())
    np.testing.assert_allclose(found, images().mean(axis=(2, 3)) @ WEIGHTS, rtol=1e-4, atol=1e-6)


def bomb(size, products=0):
    """A network that makes a matrix of size x size numbers of its 3 colours, and multiplies it by itself."""
    names = [f"m{i}" for i in range(products + 1)]
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["scale"], keepdims=0),
        helper.make_node("Mul", ["column", "scale"], ["scaled"]),
        helper.make_node("Mul", ["scaled", "row"], [names[0]]),
        *(helper.make_node("MatMul", [a, a], [b]) for a, b in pairwise(names)),
        helper.make_node("ReduceMax", [names[-1]], ["most"], keepdims=0),
        helper.make_node("Mul", ["x", "most"], ["y"]),
    ]
    ones = np.ones((size, 1), np.float32)
    weights = [numpy_helper.from_array(ones, "column"), numpy_helper.from_array(ones.T, "row")]
    return model(nodes, weights, outputs=[value("y", ["n", 3, 8, 8])])


def fails(process):
    with pytest.raises(UserError) as caught:
        process(images())
    assert "\n" not in str(caught.value) and str(caught.value).startswith("net.onnx ")
    assert not process.close.alive  # it has ended
    return str(caught.value)


def test_network_that_wants_gigabytes_is_stopped(started):
    process = started(bomb(40_000), memory=1 << 30)  # 6 GB
    assert "cannot be computed" in fails(process) or "ended the process" in fails(process)


def test_network_that_computes_too_long_is_stopped(started):
    process = started(bomb(2_000, products=400))
    process.patience = 0.3
    assert "takes longer than 0.3 s" in fails(process)


def test_process_that_dies_is_told(started):
    process = started(model())
    process.close.peek()[2][0].kill()
    assert "ended the process" in fails(process)


def test_what_onnxruntime_refuses_is_told(started):
    with pytest.raises(UserError, match=r"net\.onnx cannot be computed") as caught:
        started(with_node("NoSuchOperator"))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"net\.onnx cannot be computed"):
        started(model(), outputs=["z"])(images())


def test_answers_of_another_number_of_rows_are_refused(started):
    nodes = [helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)]
    assert "of the shape (1,) for 5 images" in fails(started(model(nodes, [], outputs=[value("y", [])])))


def test_process_ends_with_its_last_reference(started):
    process = OnnxProcess(model().SerializeToString(), "net.onnx", ["y"], threads=1)
    child = process.close.peek()[2][0]
    assert child.poll() is None
    del process
    assert child.poll() is not None
