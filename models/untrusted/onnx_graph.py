"""What an .onnx file holds, read without computing anything.

Only what a network of plain tensor operators needs is let through: ONNX's own operators, no loops, branches or
functions, weights inside the file and of the size that they claim. The numbers of the fields are those of onnx.proto;
what is not read here is listed, so that nothing unknown gets past (see `protobuf`).
"""

import math
from typing import NamedTuple

from models.errors import UserError
from models.untrusted.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    BrokenMessage,
    Budget,
    Field,
    count,
    integers,
    read_message,
    text,
)

MOST_PARTS = 300_000  # fields that are read one by one, a few dozen for each operator
MOST_BYTES = 2**31 - 1  # of a file: what Protocol Buffers themselves allow


def _many(name, wire=BYTES):
    return Field(name, wire, many=True)


MODEL = {
    1: Field("ir_version", VARINT), 2: Field("producer_name"), 3: Field("producer_version"), 4: Field("domain"),
    5: Field("model_version", VARINT), 6: Field("doc_string"), 7: Field("graph"), 8: _many("opset_import"),
    14: _many("metadata_props"), 20: _many("training_info"), 25: _many("functions"), 26: _many("configuration"),
}  # fmt: skip
GRAPH = {
    1: _many("node"), 2: Field("name"), 5: _many("initializer"), 10: Field("doc_string"), 11: _many("input"),
    12: _many("output"), 13: _many("value_info"), 14: _many("quantization_annotation"), 15: _many("sparse_initializer"),
    16: _many("metadata_props"),
}  # fmt: skip
NODE = {
    1: _many("input"), 2: _many("output"), 3: Field("name"), 4: Field("op_type"), 5: _many("attribute"),
    6: Field("doc_string"), 7: Field("domain"), 8: Field("overload"), 9: _many("metadata_props"),
    10: _many("device_configurations"),
}  # fmt: skip
ATTRIBUTE = {
    1: Field("name"), 2: Field("f", FIXED32), 3: Field("i", VARINT), 4: Field("s"), 5: Field("t"), 6: Field("g"),
    7: _many("floats", FIXED32), 8: _many("ints", VARINT), 9: _many("strings"), 10: _many("tensors"),
    11: _many("graphs"), 13: Field("doc_string"), 14: Field("tp"), 15: _many("type_protos"), 20: Field("type", VARINT),
    21: Field("ref_attr_name"), 22: Field("sparse_tensor"), 23: _many("sparse_tensors"),
}  # fmt: skip
TENSOR = {
    1: _many("dims", VARINT), 2: Field("data_type", VARINT), 3: Field("segment"), 4: _many("float_data", FIXED32),
    5: _many("int32_data", VARINT), 6: _many("string_data"), 7: _many("int64_data", VARINT), 8: Field("name"),
    9: Field("raw_data"), 10: _many("double_data", FIXED64), 11: _many("uint64_data", VARINT), 12: Field("doc_string"),
    13: _many("external_data"), 14: Field("data_location", VARINT), 16: _many("metadata_props"),
}  # fmt: skip
VALUE_INFO = {1: Field("name"), 2: Field("type"), 3: Field("doc_string"), 4: _many("metadata_props")}
TYPE = {
    1: Field("tensor_type"), 4: Field("sequence_type"), 5: Field("map_type"), 6: Field("denotation"),
    8: Field("sparse_tensor_type"), 9: Field("optional_type"),
}  # fmt: skip
TENSOR_TYPE = {1: Field("elem_type", VARINT), 2: Field("shape")}
SHAPE = {1: _many("dim")}
DIMENSION = {1: Field("dim_value", VARINT), 2: Field("dim_param"), 3: Field("denotation")}

FLOAT = 1
# data_type: (bytes of a number in raw_data, the field that holds them otherwise)
NUMBERS = {
    FLOAT: (4, "float_data"), 2: (1, "int32_data"), 3: (1, "int32_data"), 4: (2, "int32_data"), 5: (2, "int32_data"),
    6: (4, "int32_data"), 7: (8, "int64_data"), 9: (1, "int32_data"), 10: (2, "int32_data"), 11: (8, "double_data"),
    12: (4, "uint64_data"), 13: (8, "uint64_data"), 16: (2, "int32_data"),
}  # fmt: skip
DATA = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")

DOMAINS = ("", "ai.onnx")  # two names of ONNX's own operators
REFUSED = {"Loop": "a loop", "Scan": "a loop", "SequenceMap": "a loop", "If": "a branch"} | dict.fromkeys(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"), "chance"
)


class Port(NamedTuple):
    """What goes into a network, or comes out: float numbers of this shape, None where any length will do."""

    name: str
    shape: tuple


class Graph(NamedTuple):
    input: Port
    outputs: list  # of Port


def read_graph(content, file):
    """What goes into the network in `content`, the bytes of `file`, and what comes out of it: a `Graph`.

    Raises UserError, one line, where it is not whole, holds less than it claims, or could do anything but compute
    ONNX's own operators once each on numbers that are all in the file.
    """
    try:
        return _read(memoryview(content))
    except BrokenMessage as error:
        raise UserError(f"{file} cannot be used, it {error}: export a plain network of ONNX's own operators into one "
                        "file") from None


def _read(content):
    if len(content) > MOST_BYTES:
        raise BrokenMessage("is larger than 2 GiB")
    budget = Budget(MOST_PARTS)
    model = read_message(content, MODEL, budget)
    _refuse(model, functions="functions", training_info="instructions for training")
    if not model.keys() >= {"ir_version", "graph", "opset_import"}:
        raise BrokenMessage("holds no ONNX graph")
    graph = read_message(model["graph"], GRAPH, budget)
    _refuse(graph, sparse_initializer="sparse weights")
    weights = {_check_tensor(tensor, budget) for tensor in graph.get("initializer", ())}
    for node in graph.get("node", ()):
        _check_node(read_message(node, NODE, budget), budget)
    inputs, outputs = ([_port(value, budget) for value in graph.get(key, ())] for key in ("input", "output"))
    inputs = [port for port in inputs if port.name not in weights]  # where early files list them too
    if len(inputs) != 1 or not outputs:
        raise BrokenMessage(f"takes {len(inputs)} inputs and gives {len(outputs)} outputs, where a judge takes one")
    return Graph(inputs[0], outputs)


def _refuse(message, **words):
    for name, word in words.items():
        if name in message:
            raise BrokenMessage(f"has {word}")


def _check_node(node, budget):
    kind, domain = text(node.get("op_type")), text(node.get("domain"))
    if domain not in DOMAINS:
        raise BrokenMessage(f"has the operator {kind!r} of {domain!r}, which is not ONNX's own")
    if kind in REFUSED:
        raise BrokenMessage(f"has {REFUSED[kind]} ({kind})")
    for attribute in node.get("attribute", ()):
        content = read_message(attribute, ATTRIBUTE, budget)
        _refuse(content, g="a graph within the graph", graphs="graphs within the graph", ref_attr_name="functions",
                sparse_tensor="sparse weights", sparse_tensors="sparse weights", tp="types as numbers",
                type_protos="types as numbers")  # fmt: skip
        tensors = content.get("tensors", [])
        for tensor in [content["t"], *tensors] if "t" in content else tensors:
            _check_tensor(tensor, budget)


def _check_tensor(tensor, budget):
    """Its name. Raises BrokenMessage unless it holds as many numbers as its shape claims, here and nowhere else."""
    content = read_message(tensor, TENSOR, budget)
    name = text(content.get("name"))
    _refuse(content, external_data="weights outside the file", segment="weights in pieces", string_data="strings")
    if content.get("data_location"):
        raise BrokenMessage("has weights outside the file")
    if content.get("data_type") not in NUMBERS:
        raise BrokenMessage(f"has weights {name!r} of an unknown kind ({content.get('data_type')})")
    width, field = NUMBERS[content["data_type"]]
    dims = integers(content.get("dims", ()), budget)
    claimed = math.prod(dims) if all(0 <= length < 2**31 for length in dims) else -1
    held = [key for key in DATA if key in content]
    if held == ["raw_data"]:
        found, rest = divmod(len(content["raw_data"]), width)
    else:
        found, rest = count(content.get(field, ()), TENSOR_WIRES[field]), held not in ([], [field])
    if rest or found != claimed:
        raise BrokenMessage(f"claims {'x'.join(map(str, dims))} numbers for {name!r} and holds {found:,}"[:200])
    return name


TENSOR_WIRES = {field.name: field.wire for field in TENSOR.values()}


def _port(value, budget):
    content = read_message(value, VALUE_INFO, budget)
    name, kinds = text(content.get("name")), read_message(content.get("type", b""), TYPE, budget)
    tensor = read_message(kinds.pop("tensor_type", b""), TENSOR_TYPE, budget)
    if kinds.keys() - {"denotation"} or tensor.get("elem_type") != FLOAT or "shape" not in tensor:
        raise BrokenMessage(f"takes or gives {name!r}, which is not a tensor of float numbers with a shape")
    dims = read_message(tensor["shape"], SHAPE, budget).get("dim", ())
    return Port(name, tuple(_length(dim, budget) for dim in dims))


def _length(dim, budget):
    content = read_message(dim, DIMENSION, budget)
    length = content.get("dim_value")
    if length is not None and ("dim_param" in content or length >= 2**31):
        raise BrokenMessage("claims a shape that cannot be")
    return length
