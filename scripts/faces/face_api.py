"""face-api's three networks of faces, of which its package holds only the weights, as ONNX graphs.

Each takes images (B, 3, 112, 112), RGB from 0 to 255. Two are four dense blocks of depthwise separable convolutions,
the third is a small Xception (Chollet, 2017, arXiv:1610.02357).
"""

from functools import partial

import numpy as np

from scripts.faces.onnx_graphs import Builder
from scripts.faces.tfjs_models import read_manifest, read_weights

ORIGIN = "https://github.com/vladmandic/face-api"
SIDE = 112
MEAN = (122.782, 117.001, 104.298)
MIDDLE_BLOCKS = 2  # of the Xception


class Network(Builder):
    """A graph whose layers take their weights by the names in a manifest."""

    def __init__(self, file):
        super().__init__()
        self.weights = read_weights(read_manifest(file))
        images = self.input("images", (3, SIDE, SIDE))
        mean = np.reshape(MEAN, (3, 1, 1))
        self.images = self.op("Div", self.op("Sub", images, mean), 255.0)

    def plain(self, name, tensor, stride=2):
        return self.convolution(tensor, self.weights[f"{name}/filters"], self.weights[f"{name}/bias"], stride)

    def separable(self, name, tensor, stride=1):
        """A depthwise convolution and one of single pixels, with nothing between them."""
        tensor = self.convolution(tensor, self.weights[f"{name}/depthwise_filter"], None, stride, depthwise=True)
        return self.convolution(tensor, self.weights[f"{name}/pointwise_filter"], self.weights[f"{name}/bias"])

    def linear(self, name, tensor):
        return self.op("Gemm", tensor, self.weight(self.weights[f"{name}/weights"]),
                       self.weight(self.weights[f"{name}/bias"]))

    def pooled(self, tensor):
        """The mean over all pixels, (B, C): what average pooling by 7 leaves of 7 x 7 pixels."""
        return self.op("ReduceMean", tensor, [2, 3], keepdims=0)


def _dense_features(network):
    """The four blocks: in each, a layer takes the ReLU of the sum of those before it."""
    tensor = network.images
    for block in range(4):
        first = partial(network.plain if block == 0 else network.separable, stride=2)
        total = network.op("Relu", first(f"dense{block}/conv0", tensor))
        tensor = total
        for layer in range(1, 4):
            total = network.op("Add", total, network.separable(f"dense{block}/conv{layer}", tensor))
            tensor = network.op("Relu", total)
    return network.pooled(tensor)


def expression(file):
    """Outputs: probabilities (B, 7) of `models.face_networks.EXPRESSIONS`; features (B, 256)."""
    network = Network(file)
    features = _dense_features(network)
    network.output(network.op("Softmax", network.linear("fc", features), axis=-1), "probabilities", (7,))
    network.output(features, "features", (256,))
    return network.model(ORIGIN)


def landmarks68(file):
    """Outputs: points (B, 136), x and y of each of 68 in turn, as shares of the side; features (B, 256)."""
    network = Network(file)
    features = _dense_features(network)
    network.output(network.linear("fc", features), "points", (136,))
    network.output(features, "features", (256,))
    return network.model(ORIGIN)


def age_gender(file):
    """Outputs: age (B, 1) in years; gender (B, 2), probabilities of male and female; features (B, 512)."""
    network = Network(file)
    features = _xception_features(network)
    network.output(network.linear("fc/age", features), "age", (1,))
    network.output(network.op("Softmax", network.linear("fc/gender", features), axis=-1), "gender", (2,))
    network.output(features, "features", (512,))
    return network.model(ORIGIN)


def _xception_features(network):
    tensor = network.op("Relu", network.plain("entry_flow/conv_in", network.images))
    tensor = _reduction(network, "entry_flow/reduction_block_0", tensor, activate=False)
    tensor = _reduction(network, "entry_flow/reduction_block_1", tensor)
    for block in range(MIDDLE_BLOCKS):
        before = tensor
        for layer in range(3):
            tensor = network.separable(f"middle_flow/main_block_{block}/separable_conv{layer}",
                                       network.op("Relu", tensor))
        tensor = network.op("Add", tensor, before)
    tensor = _reduction(network, "exit_flow/reduction_block", tensor)
    return network.pooled(network.op("Relu", network.separable("exit_flow/separable_conv", tensor)))


def _reduction(network, name, before, activate=True):
    """Half the resolution: two convolutions and the largest of 3 x 3 pixels, added to a shortcut."""
    tensor = network.op("Relu", before) if activate else before
    tensor = network.separable(f"{name}/separable_conv0", tensor)
    tensor = network.separable(f"{name}/separable_conv1", network.op("Relu", tensor))
    tensor = network.op("MaxPool", tensor, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    return network.op("Add", tensor, network.plain(f"{name}/expansion_conv", before))
