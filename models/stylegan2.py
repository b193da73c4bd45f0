"""StyleGAN2 generator, in the layout of the genforce checkpoints.

The networks of "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., 2020): a mapping network
z -> w, truncation towards the mean w, and a synthesis network with skip connections. State dicts have the keys and
shapes of the published genforce files. Noise is read from the checkpoint's buffers, never drawn, so an image is a
function of its latent code alone.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from models import ops
from models.frozen import layers as frozen_layers
from models.registry import FAMILIES

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2)  # keeps the variance through a leaky ReLU
MAPPING_LR_MULTIPLIER = 0.01  # mapping weights are stored divided by this


def blur_kernel():
    """The [1, 3, 3, 1] low-pass filter, with the gain of 4 that upsampling by two in both directions needs."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    return torch.outer(taps, taps)[None, None]


def upsample(image, kernel):
    """Twice as large in both directions: image (B, C, H, W) -> (B, C, 2H, 2W). kernel: as `blur_kernel`."""
    return ops.upfirdn2d(image, kernel[0, 0], up=2, padding=(2, 1, 2, 1))


class Dense(nn.Module):
    """Fully connected layer with an equalised learning rate: (..., in) -> (..., out)."""

    def __init__(self, in_features, out_features, lr_multiplier=1.0, bias_offset=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.bias_offset = bias_offset

    def forward(self, x):
        return F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain + self.bias_offset)


class Mapping(nn.Module):
    """z (B, z_dim) -> w (B, w_dim)."""

    def __init__(self, widths):
        super().__init__()
        self.num_layers = len(widths) - 1
        for i, (before, after) in enumerate(pairwise(widths)):
            self.add_module(f"dense{i}", Dense(before, after, MAPPING_LR_MULTIPLIER))

    def forward(self, z):
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for i in range(self.num_layers):
            x = F.leaky_relu(getattr(self, f"dense{i}")(x), LEAKY_SLOPE) * ACTIVATION_GAIN
        return x


class Truncation(nn.Module):
    """Pull latent codes towards the mean of W, on every layer."""

    def __init__(self, w_dim):
        super().__init__()
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, w, psi):
        """w (..., w_dim) -> (..., w_dim); psi = 1 leaves w as it is, psi = 0 gives the mean."""
        return w if psi == 1 else self.w_avg + (w - self.w_avg) * psi


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style (Karras et al. 2020, section 2.2).

    Scaling the activations before and demodulating after is equivalent to a separate weight for each sample, but needs
    no grouped convolution: the whole batch shares one weight.
    """

    conv_clamp = None  # bound of a subclass's output, if the network was trained with one

    def __init__(self, in_channels, out_channels, w_dim, kernel_size, demodulate):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style = Dense(w_dim, in_channels, bias_offset=1.0)
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.demodulate = demodulate

    def convolve(self, x, weight):
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def forward(self, x, style):
        """x (B, in, H, W), style (B, in) -> (B, out, H', W'), without bias."""
        weight = self.weight * self.weight_gain
        x = self.convolve(x * style[:, :, None, None], weight)
        if self.demodulate:
            norm = F.linear(style.square(), weight.square().sum(dim=(2, 3)))
            x = x * torch.rsqrt(norm + 1e-8)[:, :, None, None]
        return x

    def clamp(self, x):
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)


class StyledLayer(ModulatedConv):
    """Modulated 3x3 convolution, constant noise, bias and leaky ReLU."""

    def __init__(self, in_channels, out_channels, w_dim, resolution):
        super().__init__(in_channels, out_channels, w_dim, kernel_size=3, demodulate=True)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))
        self._prepared = frozen_layers.Prepared()

    def forward(self, x, style):
        if frozen_layers.are_fixed((self.weight, self.bias, self.noise_strength, self.noise), x):
            return self.forward_frozen(x, style)
        x, noise = super().forward(x, style), self.noise * self.noise_strength
        return ops.bias_act(x, self.bias, noise, LEAKY_SLOPE, ACTIVATION_GAIN, self.conv_clamp)

    def forward_frozen(self, x, style):
        """The same as `forward`, by `frozen_layers`. The gain of the activation is moved into the constants."""
        convolution, squares = self._prepared.of(self.weight, self.prepare)
        demodulation = torch.rsqrt(F.linear(style.square(), squares) + 1e-8) * ACTIVATION_GAIN
        noise, bias = self.noise[0, 0] * (self.noise_strength * ACTIVATION_GAIN), self.bias * ACTIVATION_GAIN
        constants = noise, bias, convolution, LEAKY_SLOPE, self.conv_clamp
        return frozen_layers.StyledLayer.apply(x, style, demodulation, *constants)

    def prepare(self, weight):
        """The convolution with a weight, and the sums of the squares of the weight (out, in)."""
        weight = weight * self.weight_gain
        convolution = frozen_layers.convolution(weight, self.noise.shape[-1], self.low_pass())
        return convolution, weight.square().sum(dim=(2, 3))

    def low_pass(self):
        """The kernel of the filter after upsampling; None if the layer does not upsample."""
        return None


class UpsamplingLayer(StyledLayer):
    """Styled layer that doubles the resolution: transposed convolution, then the low-pass filter."""

    def __init__(self, *args):
        super().__init__(*args)
        self.filter = nn.Module()
        self.filter.register_buffer("kernel", blur_kernel())

    def convolve(self, x, weight):
        # The published weights are for correlation; a transposed convolution would mirror them.
        x = F.conv_transpose2d(x, weight.flip(2, 3).transpose(0, 1), stride=2)
        return ops.upfirdn2d(x, self.filter.kernel[0, 0], padding=(1, 1, 1, 1))

    def low_pass(self):
        return self.filter.kernel


class ToRGB(ModulatedConv):
    """Modulated 1x1 convolution to an image."""

    def __init__(self, in_channels, w_dim):
        super().__init__(in_channels, 3, w_dim, kernel_size=1, demodulate=False)

    def forward(self, x, style):
        # With three output channels, the weight is smaller than the activations, so it is scaled for each sample.
        weight = self.weight[:, :, 0, 0] * self.weight_gain * style[:, None]
        return self.clamp(torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).unflatten(2, x.shape[2:]))


class Synthesis(nn.Module):
    """w+ (B, L, w_dim) -> images (B, 3, R, R), through the styles of its layers."""

    def __init__(self, channels, w_dim):
        super().__init__()
        self.num_blocks = len(channels)
        self.early_layer = nn.Module()
        self.early_layer.const = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.layer0 = StyledLayer(channels[0], channels[0], w_dim, 4)
        self.output0 = ToRGB(channels[0], w_dim)
        for i in range(1, self.num_blocks):
            resolution = 4 << i
            self.add_module(f"layer{2 * i - 1}", UpsamplingLayer(channels[i - 1], channels[i], w_dim, resolution))
            self.add_module(f"layer{2 * i}", StyledLayer(channels[i], channels[i], w_dim, resolution))
            self.add_module(f"output{i}", ToRGB(channels[i], w_dim))
        self.upsample = nn.Module()
        self.upsample.register_buffer("kernel", blur_kernel())

    def layers_in_order(self):
        """Yield (name, module, index of the w+ layer that drives it), in the order of computation."""
        for i in range(self.num_blocks):
            for j in (0,) if i == 0 else (2 * i - 1, 2 * i):
                yield f"layer{j}", getattr(self, f"layer{j}"), j
            yield f"output{i}", getattr(self, f"output{i}"), 2 * i + 1

    def layers_up_to(self, last):
        """As `layers_in_order`, those that what layer `last` gives depends on: the RGB layers only for an image."""
        for name, layer, index in self.layers_in_order():
            if last.startswith("output") or not isinstance(layer, ToRGB):
                yield name, layer, index
            if name == last:
                break

    def styles(self, w_plus, last=None):
        """w+ (B, L, w_dim) -> {layer's name: style vector (B, channels into that layer)}, up to layer `last`."""
        layers = self.layers_in_order() if last is None else self.layers_up_to(last)
        return {name: layer.style(w_plus[:, index]) for name, layer, index in layers}

    def style_widths(self):
        """The lengths of the style vectors, {layer's name: channels}: of the convolutions, and of the RGB layers."""
        widths = {name: layer.weight.shape[1] for name, layer, _ in self.layers_in_order()}
        rgb_layers = {name: width for name, width in widths.items() if name.startswith("output")}
        return {name: width for name, width in widths.items() if name not in rgb_layers}, rgb_layers

    def forward(self, styles, resolution=None):
        """Styles as returned by `styles` -> images (B, 3, R, R), nominally in [-1, 1].

        With a smaller `resolution` it stops there and returns the image that the skip connections have summed so far.
        """
        batch = styles["layer0"].shape[0]
        x = self.early_layer.const.expand(batch, -1, -1, -1)
        image = None
        for name, layer, _ in self.layers_in_order():
            if isinstance(layer, ToRGB):
                rgb = layer(x, styles[name])
                image = rgb if image is None else upsample(image, self.upsample.kernel) + rgb
                if image.shape[-1] == resolution:
                    break
            else:
                x = layer(x, styles[name])
        return image

    def features(self, styles, last):
        """What layer `last` gives, and no layer behind it is computed: activations (B, C, H, W), or the image that an
        RGB layer completes (B, 3, H, W). styles: at least those of `styles(w_plus, last)`."""
        if last.startswith("output"):
            return self(styles, resolution=4 << int(last.removeprefix("output")))
        x = self.early_layer.const.expand(styles["layer0"].shape[0], -1, -1, -1)
        for name, layer, _ in self.layers_up_to(last):
            x = layer(x, styles[name])
        return x


class StyleGAN2(nn.Module):
    """StyleGAN2 generator. Latent codes: z (B, z_dim), w (B, w_dim), w+ (B, num_layers, w_dim), or styles."""

    family = FAMILIES["StyleGAN2"]
    conv_clamp = None

    def __init__(self, mapping_widths, channels, conv_clamp=None):
        """mapping_widths: [z_dim, ..., w_dim]; channels: feature maps at 4, 8, .. pixels, up to the resolution.

        conv_clamp: activations and images are clamped to +-conv_clamp, as in networks trained in half precision.
        """
        super().__init__()
        self.z_dim, self.w_dim = mapping_widths[0], mapping_widths[-1]
        self.resolution = 2 << len(channels)
        self.num_layers = 2 * len(channels)
        self.mapping = Mapping(mapping_widths)
        self.truncation = Truncation(self.w_dim)
        self.synthesis = Synthesis(channels, self.w_dim)
        self.conv_clamp = conv_clamp
        for module in self.synthesis.modules():
            if isinstance(module, ModulatedConv):
                module.conv_clamp = conv_clamp

    @staticmethod
    def recognises(keys):
        return any(key.startswith("synthesis.") for key in keys)

    @staticmethod
    def settings(shapes):
        """The constructor's arguments, read from the shapes {key: shape} of a state dict."""
        depth = sum(key.startswith("mapping.dense") and key.endswith(".weight") for key in shapes)
        widths = [shapes["mapping.dense0.weight"][1]] + [shapes[f"mapping.dense{i}.weight"][0] for i in range(depth)]
        blocks = sum(key.startswith("synthesis.output") and key.endswith("style.bias") for key in shapes)
        return widths, [shapes[f"synthesis.layer{2 * i}.weight"][0] for i in range(blocks)]

    @property
    def image_sizes(self):
        """Pixels per side of the images that the skip connections sum; the last one is the final image."""
        return [4 << i for i in range(self.synthesis.num_blocks)]

    @property
    def feature_layers(self):
        """Names of the layers that `features` knows, in the order of computation."""
        return [name for name, _, _ in self.synthesis.layers_in_order()]

    def entry_weights(self):
        """For each layer of w+, the weight (channels, w_dim) of the style that it makes; the last layer's is an RGB
        layer's, and those of other RGB layers, which share theirs with a convolution, are left out."""
        # Of two that share a layer of w+, the RGB layer comes first, and the convolution takes its place.
        styled = {index: layer for _, layer, index in self.synthesis.layers_in_order()}
        return [styled[index].style.weight for index in range(self.num_layers)]

    def w_plus(self, w, psi=1.0):
        """w (B, w_dim) -> truncated, the same on every layer: (B, num_layers, w_dim)."""
        return self.truncation(w, psi)[:, None].expand(-1, self.num_layers, -1)

    def styles(self, w_plus):
        return self.synthesis.styles(w_plus)

    def from_z(self, z, psi=1.0, resolution=None):
        """z (B, z_dim) -> images (B, 3, R, R), nominally in [-1, 1]."""
        return self(self.w_plus(self.mapping(z), psi), resolution)

    def features_from_z(self, z, psi, layer):
        """z (B, z_dim) -> what one of `feature_layers` gives (B, C, H, W)."""
        return self.features(self.w_plus(self.mapping(z), psi), layer)

    def features(self, w_plus, layer):
        """w+ (B, num_layers, w_dim) -> what one of `feature_layers` gives (B, C, H, W)."""
        return self.synthesis.features(self.synthesis.styles(w_plus, layer), layer)

    def forward(self, w_plus, resolution=None):
        """w+ (B, num_layers, w_dim) -> images (B, 3, R, R), nominally in [-1, 1]."""
        return self.synthesis(self.styles(w_plus), resolution)
