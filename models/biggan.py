"""BigGAN generators, laid out as the published PyTorch checkpoints are.

"Large Scale GAN Training for High Fidelity Natural Image Synthesis" (Brock et al., 2019) describes two networks:
`BigGAN`, here as in BigGAN-PyTorch, and `BigGANDeep`, as in the package pytorch-pretrained-biggan. State dicts have the
published keys, with each spectral norm folded into its weight (`models.formats.biggan`). Batch norm always uses stored
statistics, so an image is a function of its code and the truncation alone.

A latent code is z followed by the embedding of its class: (B, z_dim + embed_dim). With codes of shape
(B, num_layers, z_dim + embed_dim), the first linear layer and each block have a code of their own.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from models.class_names import imagenet_names
from models.frozen import layers as frozen_layers
from models.registry import FAMILIES
from models.truncated_normal import truncated

LARGEST_Z = 2.0  # in either direction, before z is scaled by the truncation


class Conv(nn.Module):
    """Convolution with 1x1 or 3x3 weights: (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels, out_channels, kernel_size, bias=True):
        super().__init__()
        weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(weight / math.sqrt(in_channels * kernel_size**2))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class ActivatedConv(Conv):
    """Normalisation and ReLU, nearest-neighbour upsampling by 2 if `doubled`, and then the convolution."""

    def __init__(self, *args):
        super().__init__(*args)
        self._prepared = frozen_layers.Prepared()

    def forward(self, x, norm, doubled=False):
        """x (B, in, H, W) -> (B, out, H or 2H, W or 2W). norm: gain and offset of x, (in,) or (B, in) each."""
        if frozen_layers.are_fixed((self.weight, self.bias), x) and frozen_layers.is_large(x):
            return self.forward_frozen(x, *norm, doubled)
        gain, offset = (factor[..., None, None] for factor in norm)
        x = F.relu(x * gain + offset)
        return super().forward(double(x) if doubled else x)

    def forward_frozen(self, x, gain, offset, doubled):
        """The same as `forward`, computed by `models.frozen`."""
        resolution = x.shape[-1] << doubled
        convolution = self._prepared.of(self.weight, lambda weight: frozen_layers.convolution(weight, resolution))
        gain, offset = (factor.expand(len(x), -1) for factor in (gain, offset))
        return frozen_layers.ActivatedConvolution.apply(x, gain, offset, self.bias, convolution, doubled)


def double(x):
    """Nearest neighbours: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Attention(nn.Module):
    """Self-attention over the pixels, with keys and values of half the resolution (Zhang et al., 2019)."""

    def __init__(self, channels, gamma, names):
        """gamma: the initial weight of the attention's output. names: of the convolutions to queries, keys, values, and
        back to `channels`. The two layouts differ in the shape of gamma and in the names."""
        super().__init__()
        self.gamma, self.names = nn.Parameter(gamma), names
        narrow, half = channels // 8, channels // 2
        for name, before, after in zip(names, (*[channels] * 3, half), (narrow, narrow, half, channels)):
            self.add_module(name, Conv(before, after, 1, bias=False))

    def forward(self, x):
        to_queries, to_keys, to_values, back = (getattr(self, name) for name in self.names)
        parts = to_queries(x), F.max_pool2d(to_keys(x), 2), F.max_pool2d(to_values(x), 2)
        found = F.scaled_dot_product_attention(*(part.flatten(2).transpose(1, 2) for part in parts), scale=1.0)
        return x + self.gamma * back(found.transpose(1, 2).unflatten(2, x.shape[2:]))


class ClassConditional(nn.Module):
    """What both networks have: z_dim, embed_dim, num_classes, num_layers, num_feature_layers, resolution, and methods
    `embed` and `features`.

    class_names: the names of the classes, one class per line, synonyms separated by commas; None: unknown.
    """

    class_names = None

    @property
    def image_sizes(self):
        """The synthesis cannot stop at a smaller image."""
        return [self.resolution]

    @property
    def feature_layers(self):
        """Names of the layers that `features_from_z` knows, in the order of computation."""
        return [f"layer{i}" for i in range(self.num_feature_layers)]

    def from_z(self, codes, psi=1.0, resolution=None):
        """The same as `forward`; psi is the truncation."""
        return self(codes, psi)

    def features_from_z(self, codes, psi, layer):
        """Latent codes -> activations of one of `feature_layers` (B, C, H, W); no layer behind it is computed."""
        return self.features(codes, int(layer.removeprefix("layer")), psi)

    def names(self):
        """The names of each class, synonyms separated by commas; "" for a class without a name."""
        if self.class_names is not None:
            return self.class_names.split("\n")
        return imagenet_names() if self.num_classes == 1000 else [""] * self.num_classes

    def codes(self, z, classes):
        """z (B, z_dim) and indices of classes (B,) -> latent codes (B, z_dim + embed_dim)."""
        return torch.cat([z, self.embed(classes)], dim=1)

    def classes(self, codes):
        """Latent codes (B, z_dim + embed_dim) -> indices (B,) of the classes with the nearest embeddings."""
        embeddings = self.embed(torch.arange(self.num_classes, device=codes.device))
        return torch.cdist(codes[:, self.z_dim :], embeddings).argmin(dim=1)

    def codes_of_layers(self, codes):
        """The code (B, z_dim + embed_dim) of each layer, in order."""
        return codes.unbind(1) if codes.ndim == 3 else (codes,) * self.num_layers


class TabulatedNorm(nn.Module):
    """Batch norm with statistics for each truncation: row i of the tables (rows, C) is for i / (rows - 1)."""

    EPS = 1e-4

    def __init__(self, channels, rows):
        super().__init__()
        self.register_buffer("running_means", torch.zeros(rows, channels))
        self.register_buffer("running_vars", torch.ones(rows, channels))

    def normalising(self, truncation):
        """(gain, offset), each (C,), such that x * gain + offset is normalised; linear interpolation between rows.

        The published code exchanges the two weights of the interpolation, and for some truncations that have a row,
        such as 0.58, floating-point rounding makes it miss the row.
        """
        position = truncation * (len(self.running_means) - 1)
        if abs(position - round(position)) < 1e-6:
            position = round(position)
        row, share = int(position), position % 1
        mean, variance = (
            torch.lerp(table[row], table[row + 1], share) if share else table[row]
            for table in (self.running_means, self.running_vars)
        )
        gain = torch.rsqrt(variance + self.EPS)
        return gain, -mean * gain


class FinalNorm(TabulatedNorm):
    """Normalisation that does not depend on the code."""

    def __init__(self, channels, rows):
        super().__init__(channels, rows)
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, truncation):
        gain, offset = self.normalising(truncation)
        return gain * self.weight, offset * self.weight + self.bias


class TabulatedConditionalNorm(TabulatedNorm):
    """Normalisation, followed by a scale and an offset that are linear in the code."""

    def __init__(self, channels, code_dim, rows):
        super().__init__(channels, rows)
        self.scale = nn.Linear(code_dim, channels, bias=False)
        self.offset = nn.Linear(code_dim, channels, bias=False)

    def forward(self, code, truncation):
        """code (B, code_dim) -> (gain, offset), each (B, C)."""
        gain, offset = self.normalising(truncation)
        scale = 1 + self.scale(code)
        return gain * scale, offset * scale + self.offset(code)


class DeepBlock(nn.Module):
    """Residual block whose inner layers have a quarter of the channels (Brock et al. 2019, figure 16)."""

    def __init__(self, in_channels, out_channels, code_dim, rows, doubles):
        super().__init__()
        self.out_channels, self.doubles = out_channels, doubles
        middle = in_channels // 4
        convolutions = (in_channels, middle, 1), (middle, middle, 3), (middle, middle, 3), (middle, out_channels, 1)
        for i, (before, after, kernel_size) in enumerate(convolutions):
            self.add_module(f"bn_{i}", TabulatedConditionalNorm(before, code_dim, rows))
            self.add_module(f"conv_{i}", ActivatedConv(before, after, kernel_size))

    def forward(self, x, code, truncation):
        shortcut = x[:, : self.out_channels]
        x = self.conv_0(x, self.bn_0(code, truncation))
        x = self.conv_1(x, self.bn_1(code, truncation), self.doubles)
        x = self.conv_2(x, self.bn_2(code, truncation))
        x = self.conv_3(x, self.bn_3(code, truncation))
        return x + (double(shortcut) if self.doubles else shortcut)


class DeepLayers(nn.Module):
    """Everything after the class embedding; a separate module because the published keys are `generator.*`."""

    def __init__(self, code_dim, channels, doubling, attention_at, rows):
        super().__init__()
        self.gen_z = nn.Linear(code_dim, 16 * channels[0])
        blocks = [
            DeepBlock(before, after, code_dim, rows, doubles)
            for (before, after), doubles in zip(pairwise(channels), doubling)
        ]
        if attention_at is not None:
            names = [f"snconv1x1_{name}" for name in ("theta", "phi", "g", "o_conv")]
            blocks.insert(attention_at, Attention(channels[attention_at], torch.zeros(1), names))
        self.layers = nn.ModuleList(blocks)
        self.bn = FinalNorm(channels[-1], rows)
        self.conv_to_rgb = ActivatedConv(channels[-1], 3, 3)


class BigGANDeep(ClassConditional):
    """BigGAN-deep: codes (B, z_dim + embed_dim) -> images (B, 3, R, R) in [-1, 1]."""

    family = FAMILIES["BigGANDeep"]
    upsampling = None

    def __init__(self, z_dim, embed_dim, num_classes, rows, attention_at, channels, upsampling, class_names=None):
        """rows: of the tables of statistics. attention_at: index of the block that the attention precedes; None: no
        attention. channels: numbers of feature maps before, between and after the blocks. upsampling: a string with a
        1 for each block that doubles the resolution and a 0 for each other block."""
        super().__init__()
        self.z_dim, self.embed_dim, self.num_classes, self.class_names = z_dim, embed_dim, num_classes, class_names
        self.num_layers = len(channels)
        self.upsampling = upsampling
        self.resolution = 4 << upsampling.count("1")
        self.embeddings = nn.Linear(num_classes, embed_dim, bias=False)
        doubling = [flag == "1" for flag in upsampling]
        self.generator = DeepLayers(z_dim + embed_dim, channels, doubling, attention_at, rows)
        self.num_feature_layers = len(self.generator.layers)

    @staticmethod
    def recognises(keys):
        return any(key.startswith("generator.") for key in keys)

    @staticmethod
    def settings(shapes):
        """The constructor's arguments except the last two, from a state dict's shapes {key: shape}."""
        embed_dim, num_classes = (shapes["embeddings.weight"][i] for i in range(2))
        width, code_dim = (shapes["generator.gen_z.weight"][i] for i in range(2))
        rows = shapes["generator.bn.running_means"][0]
        attention_at = next((i for i in range(len(shapes)) if f"generator.layers.{i}.gamma" in shapes), None)
        channels, layer = [width // 16], 0
        while layer <= (attention_at or 0) or f"generator.layers.{layer}.conv_3.weight" in shapes:
            if layer != attention_at:
                channels.append(shapes[f"generator.layers.{layer}.conv_3.weight"][0])
            layer += 1
        if channels != sorted(channels, reverse=True):
            raise ValueError("one of its blocks has more output than input channels")
        if code_dim <= embed_dim:
            raise ValueError("its codes have no room for z")
        return [code_dim - embed_dim, embed_dim, num_classes, rows, attention_at, channels]

    def embed(self, classes):
        """Indices of classes (B,) -> embeddings (B, embed_dim)."""
        return self.embeddings.weight[:, classes].T

    def entry_weights(self):
        """For the linear layer and each block, the weight (outputs, z_dim) by which z enters. The class has its own."""
        weights = [self.generator.gen_z.weight]
        for block in self.generator.layers:
            if not isinstance(block, Attention):
                norms = (getattr(block, f"bn_{i}") for i in range(4))
                weights.append(torch.cat([part.weight for norm in norms for part in (norm.scale, norm.offset)]))
        return [weight[:, : self.z_dim] for weight in weights]

    @staticmethod
    def truncate(z, truncation):
        """Standard normal z -> the z of codes, as the network was trained with; a truncation of 1 cuts z off at +-2."""
        return truncated(z, LARGEST_Z, truncation)

    def features(self, codes, last=None, truncation=1.0):
        """The activations after `generator.layers.<last>`, counting the attention; -1: after the linear layer, None:
        after all layers. codes as in `forward` -> (B, C, H, W)."""
        net, codes = self.generator, iter(self.codes_of_layers(codes))
        # The published weights are for channels in the last dimension.
        x = net.gen_z(next(codes)).unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2)
        for layer in net.layers[: None if last is None else last + 1]:
            x = layer(x) if isinstance(layer, Attention) else layer(x, next(codes), truncation)
        return x

    def forward(self, codes, truncation=1.0):
        x = self.features(codes, truncation=truncation)
        return torch.tanh(self.generator.conv_to_rgb(x, self.generator.bn(truncation)))


class StoredNorm(nn.Module):
    """Batch norm with stored statistics, followed by a gain and a bias for each sample."""

    EPS = 1e-5

    def __init__(self, channels, code_dim=None):
        """code_dim None: gain and bias are the same for all codes."""
        super().__init__()
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))
        if code_dim is None:
            self.gain, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        else:
            self.gain = nn.Linear(code_dim, channels, bias=False)
            self.bias = nn.Linear(code_dim, channels, bias=False)

    def forward(self, code=None):
        """code (B, code_dim) -> (gain, offset), each (B, C); without a code each (C,)."""
        gain, bias = (self.gain, self.bias) if code is None else (1 + self.gain(code), self.bias(code))
        gain = gain * torch.rsqrt(self.stored_var + self.EPS)
        return gain, bias - self.stored_mean * gain


class Block(nn.Module):
    """Residual block that doubles the resolution (Brock et al. 2019, figure 15)."""

    def __init__(self, in_channels, out_channels, code_dim):
        super().__init__()
        self.bn1, self.conv1 = StoredNorm(in_channels, code_dim), ActivatedConv(in_channels, out_channels, 3)
        self.bn2, self.conv2 = StoredNorm(out_channels, code_dim), ActivatedConv(out_channels, out_channels, 3)
        self.conv_sc = Conv(in_channels, out_channels, 1)

    def forward(self, x, code):
        # A 1x1 convolution commutes with nearest-neighbour upsampling, and is cheaper before it.
        shortcut = double(self.conv_sc(x))
        x = self.conv1(x, self.bn1(code), doubled=True)
        return self.conv2(x, self.bn2(code)) + shortcut


class BigGAN(ClassConditional):
    """BigGAN: codes (B, z_dim + embed_dim) -> images (B, 3, R, R) in [-1, 1]. Each layer has its own part of z."""

    family = FAMILIES["BigGAN"]

    def __init__(self, z_dim, embed_dim, num_classes, attention_after, channels, class_names=None):
        """z_dim: a multiple of len(channels). attention_after: indices of the blocks that an attention follows.
        channels: numbers of feature maps at 4, 8, .. pixels, up to the resolution."""
        super().__init__()
        self.z_dim, self.embed_dim, self.num_classes, self.class_names = z_dim, embed_dim, num_classes, class_names
        self.num_layers = len(channels)
        self.resolution = 2 << len(channels)
        self.part = z_dim // self.num_layers
        self.shared = nn.Embedding(num_classes, embed_dim)
        self.linear = nn.Linear(self.part, 16 * channels[0])
        blocks = [[Block(*pair, embed_dim + self.part)] for pair in pairwise(channels)]
        for i in attention_after:
            blocks[i].append(Attention(channels[i + 1], torch.zeros(()), ("theta", "phi", "g", "o")))
        self.blocks = nn.ModuleList(map(nn.ModuleList, blocks))
        self.num_feature_layers = len(blocks)
        self.output_layer = nn.ModuleDict({"0": StoredNorm(channels[-1]), "2": ActivatedConv(channels[-1], 3, 3)})

    @staticmethod
    def recognises(keys):
        return any(key.startswith("blocks.") for key in keys)

    @staticmethod
    def settings(shapes):
        """The constructor's arguments except the last, from a state dict's shapes {key: shape}."""
        num_classes, embed_dim = (shapes["shared.weight"][i] for i in range(2))
        part, channels = shapes["linear.weight"][1], [shapes["blocks.0.0.conv1.weight"][1]]
        while f"blocks.{len(channels) - 1}.0.conv1.weight" in shapes:
            channels.append(shapes[f"blocks.{len(channels) - 1}.0.conv1.weight"][0])
        attention_after = [i for i in range(len(channels) - 1) if f"blocks.{i}.1.gamma" in shapes]
        return [part * len(channels), embed_dim, num_classes, attention_after, channels]

    def embed(self, classes):
        """Indices of classes (B,) -> embeddings (B, embed_dim)."""
        return self.shared(classes)

    def entry_weights(self):
        """For the linear layer and each block, the weight (outputs, z_dim) by which z enters, which is 0 but for the
        part of z that the layer has. The class has its own."""
        weights = [self.linear.weight]
        for block, *_ in self.blocks:
            maps = (part for norm in (block.bn1, block.bn2) for part in (norm.gain, norm.bias))
            weights.append(torch.cat([one.weight[:, self.embed_dim :] for one in maps]))
        zeros = ((i * self.part, self.z_dim - (i + 1) * self.part) for i in range(len(weights)))
        return [F.pad(weight, around) for weight, around in zip(weights, zeros)]

    @staticmethod
    def truncate(z, truncation):
        """Standard normal z -> the z of codes; a truncation of 1 leaves z as it is, as the network was trained with."""
        return z if truncation == 1 else truncated(z, LARGEST_Z, truncation)

    def features(self, codes, last=None, truncation=1.0):
        """The activations after block `last` and its attention; -1: after the linear layer, None: after all blocks.
        codes as in `forward` -> (B, C, H, W)."""
        first, *others = (
            (code[:, : self.z_dim].split(self.part, dim=1)[i], code[:, self.z_dim :])
            for i, code in enumerate(self.codes_of_layers(codes))
        )
        x = self.linear(first[0]).unflatten(1, (-1, 4, 4))
        for block, (z, embedding) in zip(self.blocks[: None if last is None else last + 1], others):
            x = block[0](x, torch.cat([embedding, z], dim=1))
            x = x if len(block) == 1 else block[1](x)
        return x

    def forward(self, codes, truncation=1.0):
        """The truncation changes nothing: this layout has one set of statistics."""
        x = self.features(codes)
        return torch.tanh(self.output_layer["2"](x, self.output_layer["0"]()))
