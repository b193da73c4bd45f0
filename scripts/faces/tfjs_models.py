"""TensorFlow.js graph models (a .json file and a .bin file) as ONNX graphs, for the operators that face networks use.

TensorFlow keeps colours last, ONNX first. Tensors come out of convolutions with colours first and stay so until an
operator needs them otherwise; each tensor is transposed at most once. Integers become int64, which ONNX wants for
shapes and indices.
"""

import base64
import json
import math
from pathlib import Path

import numpy as np
from onnx import TensorProto

from scripts.faces.onnx_graphs import Builder, Weight, auto_pad

LAST, FIRST = "colours last", "colours first"


def read_weights(manifest):
    """{name: Weight} of a manifest of weights: the content of the JSON, whose .bin files lie beside `file`."""
    file, groups = manifest
    weights = {}
    for group in groups:
        content = b"".join((Path(file).parent / path).read_bytes() for path in group["paths"])
        start = 0
        for entry in group["weights"]:
            coding = entry.get("quantization", {})
            dtype = np.dtype(coding.get("dtype", entry["dtype"])).newbyteorder("<")
            count = math.prod(entry["shape"])
            stored = np.frombuffer(content, dtype, count, start).reshape(entry["shape"])
            weights[entry["name"]] = Weight(stored, coding.get("scale"), coding.get("min", 0.0))
            start += count * dtype.itemsize
        if start != len(content):
            raise ValueError(f"{file}: its weights take {start} bytes, and {len(content)} are there")
    return weights


def read_manifest(file):
    """The manifest that is a file's whole content: what `read_weights` takes."""
    return file, json.loads(Path(file).read_text())


class GraphModel:
    """Converts one graph, node by node in the order of the file, which is topological."""

    def __init__(self, file):
        content = json.loads(Path(file).read_text())
        self.origin = content["generatedBy"]
        self.nodes = {node["name"]: Node(node) for node in content["modelTopology"]["node"]}
        self.weights = read_weights((file, content["weightsManifest"]))
        self.build = Builder()
        self.values = {}  # {name of a node: {LAST or FIRST: name in the ONNX graph}}

    def convert(self, outputs):
        """The ONNX model. outputs: {name: (node, shape)}, without the number of images: (numbers,), or a picture's
        (colours, height, width).
        """
        for node in self.nodes.values():
            if node.op != "Const":
                self.values[node.name] = getattr(self, f"_{node.op.strip('_')}")(node)
        for name, (node, shape) in outputs.items():
            tensor = self._first(node) if len(shape) == 3 else self.build.op("Flatten", self._last(node))
            self.build.output(tensor, name, shape)
        return self.build.model(self.origin)

    # How the tensor of a node is asked for. Constants are neither first nor last: `_first` and `_last` lay them out.

    def _layouts(self, name):
        if name in self.weights:
            return {LAST: self.build.weight(self.weights[name])}
        return self.values[name]

    def _last(self, name):
        layouts = self._layouts(name)
        if LAST not in layouts:
            layouts[LAST] = self.build.op("Transpose", layouts[FIRST], perm=[0, 2, 3, 1])
        return layouts[LAST]

    def _first(self, name):
        """Colours first, of a picture (B, H, W, C), or of a constant that is spread over one."""
        if name in self.weights:
            return self.build.weight(_spread(self.weights[name]))
        layouts = self._layouts(name)
        if FIRST not in layouts:
            layouts[FIRST] = self.build.op("Transpose", layouts[LAST], perm=[0, 3, 1, 2])
        return layouts[FIRST]

    def _is_picture(self, name):
        return name not in self.weights and FIRST in self.values[name]

    def _number(self, name):
        """A constant's value, for operators that ONNX tells by attributes or by constants of its own."""
        return self.weights[name].value()

    # Operators.

    def _Placeholder(self, node):
        _, height, width, colours = (int(size["size"]) for size in node.attr["shape"]["shape"]["dim"])
        return {FIRST: self.build.input("images", (colours, height, width))}

    def _elementwise(self, kind):
        def convert(node):
            if any(map(self._is_picture, node.inputs)):
                return {FIRST: self.build.op(kind, *map(self._first, node.inputs))}
            return {LAST: self.build.op(kind, *map(self._last, node.inputs))}

        return convert

    def __getattr__(self, name):
        if name[1:] in ELEMENTWISE:
            return self._elementwise(ELEMENTWISE[name[1:]])
        raise ValueError(f"the operator {name[1:]} is not known here")

    def _Relu6(self, node):
        layout, tensor = self._as_it_is(node.inputs[0])
        return {layout: self.build.op("Clip", tensor, 0.0, 6.0)}

    def _Maximum(self, node):
        """max(min(relu(x), 6), 0), as some write Relu6, is put in its place."""
        inner = self.nodes[node.inputs[0]]
        relu = self.nodes[inner.inputs[0]] if inner.op == "Minimum" else inner
        if relu.op == "Relu" and inner.op == "Minimum":
            bounds = [self.weights.get(name) for name in (inner.inputs[1], node.inputs[1])]
            if None not in bounds and [bound.value().tolist() for bound in bounds] == [6, 0]:
                return self._Relu6(relu)
        return self._elementwise("Max")(node)

    def _as_it_is(self, name):
        return next(iter(self._layouts(name).items()))

    def _Identity(self, node):
        return dict(self._layouts(node.inputs[0]))

    def _FusedConv2D(self, node):
        tensor = self._convolution(node, self.weights[node.inputs[2]])
        return {FIRST: self._then(tensor, node.names("fused_ops")[1:], node.inputs[3:])}

    def _Conv2D(self, node):
        return {FIRST: self._convolution(node)}

    def _DepthwiseConv2dNative(self, node):
        return {FIRST: self._convolution(node, depthwise=True)}

    def _convolution(self, node, bias=None, depthwise=False):
        return self.build.convolution(self._first(node.inputs[0]), self.weights[node.inputs[1]], bias,
                                      node.ints("strides")[1], node.text("padding"), depthwise)

    def _then(self, tensor, operators, inputs):
        """What a fused operator does after adding its bias."""
        for operator in operators:
            if operator == "Prelu":
                tensor = self.build.op("PRelu", tensor, self._first(inputs[0]))
            else:
                tensor = self.build.op(ELEMENTWISE[operator], tensor)
        return tensor

    def _Conv2DBackpropInput(self, node):
        """Its first input, the shape of what comes out, is what the stride makes of the third."""
        _, weight, tensor = node.inputs
        height, width, _, _ = self.weights[weight].shape
        (stride,) = set(node.ints("strides")[1:3])
        if (height, width) != (stride, stride):
            raise ValueError("transposed convolutions are known here where their squares do not overlap")
        return {FIRST: self.build.op("ConvTranspose", self._first(tensor),
                                     self.build.weight(self.weights[weight].transpose(3, 2, 0, 1)),
                                     strides=[stride, stride])}

    def _pool(self, node, kind):
        return {FIRST: self.build.op(kind, self._first(node.inputs[0]), kernel_shape=node.ints("ksize")[1:3],
                                     strides=node.ints("strides")[1:3], auto_pad=auto_pad(node.text("padding")))}

    def _MaxPool(self, node):
        return self._pool(node, "MaxPool")

    def _AvgPool(self, node):
        return self._pool(node, "AveragePool")

    def _ResizeBilinear(self, node):
        if not node.attr["half_pixel_centers"]["b"] or node.attr["align_corners"]["b"]:
            raise ValueError("pictures are resized here with half-pixel centres alone")
        tensor = self._first(node.inputs[0])
        sizes = self.build.constant(self._number(node.inputs[1]))
        return {FIRST: self.build.op("Resize", tensor, "", "", sizes, mode="linear", axes=[2, 3],
                                     coordinate_transformation_mode="half_pixel")}

    def _Pad(self, node):
        before, after = self._number(node.inputs[1])[[0, 3, 1, 2]].T
        return {FIRST: self.build.op("Pad", self._first(node.inputs[0]), [*before, *after])}

    def _FusedMatMul(self, node):
        tensor = self.build.op("Gemm", *map(self._last, node.inputs[:3]))
        return {LAST: self._then(tensor, node.names("fused_ops")[1:], node.inputs[3:])}

    def _BatchMatMulV2(self, node):
        inputs = [self._last(name) for name in node.inputs]
        if node.attr["adj_x"]["b"]:
            raise ValueError("of two matrices, the second one alone is transposed here")
        if node.attr["adj_y"]["b"]:
            inputs[1] = self.build.op("Transpose", inputs[1], perm=[0, 2, 1])
        return {LAST: self.build.op("MatMul", *inputs)}

    def _reduction(self, kind):
        def convert(node):
            axes = np.atleast_1d(self._number(node.inputs[1]))
            picture = self._is_picture(node.inputs[0])
            if picture and axes.tolist() != [1, 2]:
                raise ValueError("pictures are reduced here over rows and columns alone")
            tensor = self._first(node.inputs[0]) if picture else self._last(node.inputs[0])
            axes = [2, 3] if picture else axes
            keep = int(node.attr["keep_dims"]["b"])
            return {LAST: self.build.op(kind, tensor, axes, keepdims=keep)}

        return convert

    def _Mean(self, node):
        return self._reduction("ReduceMean")(node)

    def _Min(self, node):
        return self._reduction("ReduceMin")(node)

    def _Max(self, node):
        return self._reduction("ReduceMax")(node)

    def _Softmax(self, node):
        return {LAST: self.build.op("Softmax", self._last(node.inputs[0]), axis=-1)}

    def _Shape(self, node):
        layout, tensor = self._as_it_is(node.inputs[0])
        shape = self.build.op("Shape", tensor)
        return {LAST: shape if layout == LAST else self.build.op("Gather", shape, [0, 2, 3, 1])}

    def _Reshape(self, node):
        return {LAST: self.build.op("Reshape", *map(self._last, node.inputs))}

    def _Transpose(self, node):
        perm = self._number(node.inputs[1]).tolist()
        return {LAST: self.build.op("Transpose", self._last(node.inputs[0]), perm=perm)}

    def _ExpandDims(self, node):
        axes = np.atleast_1d(self._number(node.inputs[1]))
        return {LAST: self.build.op("Unsqueeze", self._last(node.inputs[0]), axes)}

    def _Pack(self, node):
        axis = int(node.attr["axis"]["i"])
        parts = [self.build.op("Unsqueeze", self._last(name), [axis]) for name in node.inputs]
        return {LAST: self.build.op("Concat", *parts, axis=axis)}

    def _ConcatV2(self, node):
        *parts, axis = node.inputs
        return {LAST: self.build.op("Concat", *map(self._last, parts), axis=int(self._number(axis)))}

    def _GatherV2(self, node):
        tensor, indices, axis = node.inputs
        return {LAST: self.build.op("Gather", self._last(tensor), self._last(indices), axis=int(self._number(axis)))}

    def _StridedSlice(self, node):
        """ONNX's Slice, and Squeeze of the axes where TensorFlow takes one index."""
        begin, end, step = (self._number(name) for name in node.inputs[1:4])
        shift = 0
        if node.mask("ellipsis_mask", 0):  # the indices after it are those of the last axes
            shift = -len(begin)
        starts, ends, axes, single = [], [], [], []
        for i in range(len(begin)):
            if node.mask("ellipsis_mask", i):
                continue
            whole = np.iinfo(np.int64).max
            starts.append(0 if node.mask("begin_mask", i) else begin[i])
            ends.append(whole if node.mask("end_mask", i) else end[i])
            axes.append(i + shift)
            if node.mask("shrink_axis_mask", i):
                single.append(i + shift)
                ends[-1] = starts[-1] + 1
        tensor = self.build.op("Slice", self._last(node.inputs[0]), starts, ends, axes, step[-len(axes):])
        return {LAST: self.build.op("Squeeze", tensor, single) if single else tensor}

    def _Cast(self, node):
        to = {"DT_FLOAT": TensorProto.FLOAT, "DT_INT32": TensorProto.INT64}[node.attr["DstT"]["type"]]
        return {LAST: self.build.op("Cast", self._last(node.inputs[0]), to=to)}

    def _Fill(self, node):
        shape, number = node.inputs
        return {LAST: self.build.op("Expand", self._last(number), self._last(shape))}

    def _ZerosLike(self, node):
        return {LAST: self.build.op("Expand", 0.0, self.build.op("Shape", self._last(node.inputs[0])))}

    def _Atan2(self, node):
        """atan2(y, x), which ONNX lacks: atan(y / x), moved by half a turn where x is negative."""
        build = self.build
        y, x = map(self._last, node.inputs)
        half = build.op("Where", build.op("Less", y, 0.0), -math.pi, math.pi)
        moved = build.op("Where", build.op("Less", x, 0.0), half, 0.0)
        return {LAST: build.op("Add", build.op("Atan", build.op("Div", y, x)), moved)}


# TensorFlow's operators that are applied number by number, as ONNX calls them.
ELEMENTWISE = {
    "Add": "Add", "AddV2": "Add", "AddN": "Sum", "Sub": "Sub", "Mul": "Mul", "Relu": "Relu", "Sigmoid": "Sigmoid",
    "Prelu": "PRelu", "Minimum": "Min", "Floor": "Floor", "Neg": "Neg", "Sin": "Sin", "Cos": "Cos",
    "LessEqual": "LessOrEqual", "GreaterEqual": "GreaterOrEqual", "LogicalAnd": "And", "Range": "Range",
    "Tile": "Tile", "MatMul": "MatMul",
}  # fmt: skip


class Node:
    """One entry of the graph, and its attributes."""

    def __init__(self, content):
        self.name, self.op = content["name"], content["op"]
        self.attr = content.get("attr", {})
        # Without ":0" at the end of a name, and without "^name", which only says what is to be computed before.
        self.inputs = [name.split(":")[0] for name in content.get("input", ()) if name[0] != "^"]

    def ints(self, name):
        return [int(number) for number in self.attr[name]["list"]["i"]]

    def text(self, name):
        return base64.b64decode(self.attr[name]["s"]).decode()

    def names(self, name):
        return [base64.b64decode(text).decode() for text in self.attr[name]["list"]["s"]]

    def mask(self, name, place):
        return int(self.attr[name]["i"]) >> place & 1


def _spread(weight):
    """A constant (C,), (1, 1, C) or without axes, so that it spreads over pictures with colours first."""
    return weight if not weight.shape else weight.reshape(-1, 1, 1)
