"""Building ONNX graphs whose weights stay as small as they were stored: in half precision, or as bytes with a scale.

What reads such a file turns the weights into float32 when it loads it, by nodes that depend on nothing else.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 10  # what onnxruntime has read since 1.18
FEW = 32  # numbers that are not worth a node of their own


@dataclass(frozen=True)
class Weight:
    """Numbers as they are stored. What they stand for is `stored * scale + low`, or `stored` where scale is None."""

    stored: np.ndarray
    scale: float | None = None
    low: float = 0.0

    @property
    def shape(self):
        return self.stored.shape

    def value(self):
        """The numbers themselves: float32, or int64 where they are indices."""
        if self.stored.dtype.kind == "i":
            return self.stored.astype(np.int64)
        value = self.stored.astype(np.float32)
        return value if self.scale is None else value * np.float32(self.scale) + np.float32(self.low)

    def reshape(self, *shape):
        return Weight(self.stored.reshape(*shape), self.scale, self.low)

    def transpose(self, *axes):
        return Weight(np.ascontiguousarray(self.stored.transpose(*axes)), self.scale, self.low)


class Builder:
    """Collects nodes and weights; tensors are known by their names, which are numbers."""

    def __init__(self):
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self._known = {}  # constants, so that each is stored once
        self._count = 0

    def _name(self):
        self._count += 1
        return str(self._count)

    def input(self, name, shape):
        """Float numbers of the shape (any number of rows, *shape)."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["images", *shape]))
        return name

    def output(self, tensor, name, shape):
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["images", *shape]))

    def op(self, kind, *tensors, **attributes):
        """Add a node with one output. tensors: names of tensors, or numbers, which become constants."""
        tensors = [tensor if isinstance(tensor, str) else self.constant(tensor) for tensor in tensors]
        name = self._name()
        self.nodes.append(helper.make_node(kind, tensors, [name], **attributes))
        return name

    def constant(self, numbers):
        """A tensor of float32 or int64 numbers, by the kind of those given."""
        array = np.asarray(numbers)
        array = np.array(array, np.int64 if array.dtype.kind == "i" else np.float32)
        return self._store(array)

    def weight(self, weight):
        """The float32 (or int64) tensor of a `Weight`, which is stored as it is."""
        if weight.stored.dtype.kind == "i" or weight.stored.size <= FEW or weight.stored.dtype == np.float32:
            return self._store(weight.value())
        numbers = self.op("Cast", self._store(weight.stored), to=TensorProto.FLOAT)
        if weight.scale is None:
            return numbers
        return self.op("Add", self.op("Mul", numbers, np.float32(weight.scale)), np.float32(weight.low))

    def _store(self, array):
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self._name()
            self.initializers.append(numpy_helper.from_array(np.array(array), self._known[key]))
        return self._known[key]

    def convolution(self, tensor, weight, bias=None, stride=1, padding="SAME", depthwise=False):
        """tensor: (B, C, H, W). weight: (height, width, C, D), or (height, width, C, 1) if depthwise."""
        out_first = weight.transpose(2, 3, 0, 1) if depthwise else weight.transpose(3, 2, 0, 1)
        height, width, colours, _ = weight.shape
        inputs = [tensor, self.weight(out_first)] + ([self.weight(bias)] if bias else [])
        return self.op("Conv", *inputs, kernel_shape=[height, width], strides=[stride, stride],
                       auto_pad=auto_pad(padding), group=colours if depthwise else 1)

    def model(self, origin):
        """What the outputs need of the graph, as an onnx model, checked. origin: what the file says of itself."""
        needed, nodes = {output.name for output in self.outputs}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.insert(0, node)
        weights = [weight for weight in self.initializers if weight.name in needed]
        graph = helper.make_graph(nodes, "network", self.inputs, self.outputs, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.doc_string = origin
        onnx.checker.check_model(model, full_check=True)
        return model


def auto_pad(padding):
    """ONNX's name of TensorFlow's padding: "SAME" puts the odd pixel at the end."""
    return {"SAME": "SAME_UPPER", "VALID": "VALID"}[padding]
