"""The plain step: what a straightforward implementation does. Used only for comparison in the benchmark.

The same networks and mathematics without regard to speed: float32, a modulated weight for each sample in one grouped
convolution, gradients enabled for all weights of the generator and of CLIP, both images in one graph, one optimiser
over the support sets.
"""

import copy

import torch
import torch.nn.functional as F

from lib.methods import objectives
from models.stylegan2 import ACTIVATION_GAIN, LEAKY_SLOPE, StyledLayer, UpsamplingLayer


def filtered(x, kernel, padding):
    """x (B, C, H, W), zero-padded and filtered with kernel (1, 1, 4, 4), each channel as a separate image."""
    batch, channels = x.shape[:2]
    x = F.conv2d(F.pad(x.reshape(batch * channels, 1, *x.shape[2:]), (*padding, *padding)), kernel)
    return x.view(batch, channels, *x.shape[2:])


def modulated_conv(layer, x, style):
    """x (B, in, H, W), style (B, in) -> (B, out, H', W'), with a weight for each sample in one grouped convolution."""
    batch, inputs, height, width = x.shape
    weight = layer.weight * layer.weight_gain * style[:, None, :, None, None]
    if layer.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    outputs, size = weight.shape[1], weight.shape[-1]
    x = x.reshape(1, batch * inputs, height, width)
    if isinstance(layer, UpsamplingLayer):
        weight = weight.flip(3, 4).transpose(1, 2).reshape(batch * inputs, outputs, size, size)
        x = F.conv_transpose2d(x, weight, stride=2, groups=batch)
        x = x.view(batch, outputs, *x.shape[2:])
        return filtered(x, layer.filter.kernel, (1, 1))
    x = F.conv2d(x, weight.view(batch * outputs, inputs, size, size), padding=size // 2, groups=batch)
    return x.view(batch, outputs, height, width)


def stylegan2_images(generator, w_plus):
    """w+ (B, num_layers, w_dim) -> images (B, 3, R, R)."""
    layers = generator.synthesis.layers_in_order()
    return images_of_styles(generator, {name: layer.style(w_plus[:, index]) for name, layer, index in layers})


def images_of_styles(generator, styles, last=None):
    """{layer's name: style (B, channels)} -> images (B, 3, R, R), or the activations of the convolution that is called
    `last`, up to which there are styles."""
    synthesis, image = generator.synthesis, None
    x = synthesis.early_layer.const.repeat(len(styles["layer0"]), 1, 1, 1)
    for name, layer, _ in synthesis.layers_in_order():
        if last is not None and not isinstance(layer, StyledLayer):
            continue
        y = modulated_conv(layer, x, styles[name]) + layer.bias[:, None, None]
        if isinstance(layer, StyledLayer):
            x = F.leaky_relu(y + layer.noise * layer.noise_strength, LEAKY_SLOPE) * ACTIVATION_GAIN
            if name == last:
                return x
        elif image is None:
            image = y
        else:
            spread = F.pad(image[..., None, :, None], (0, 1, 0, 0, 0, 1)).flatten(4, 5).flatten(2, 3)
            image = filtered(spread, synthesis.upsample.kernel, (2, 1)) + y
    return image


def pixel_norm(x):
    return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)


def progan_images(generator, z):
    """z (B, z_dim) -> images (B, 3, R, R)."""

    def conv(layer, x):
        return F.conv2d(pixel_norm(x), layer.weight * layer.weight_gain, layer.bias, padding=layer.padding)

    x = z[:, :, None, None]
    for i in range(generator.num_blocks):
        if i > 0:
            x = F.interpolate(x, scale_factor=2)
        for j in (2 * i, 2 * i + 1):
            x = F.leaky_relu(conv(getattr(generator, f"layer{j}"), x), 0.2)
    return conv(getattr(generator, f"output{generator.num_blocks - 1}"), x)


def images_of(generator, codes):
    if generator.family.conditional:
        return generator(codes)  # whose layers go step by step while there are gradients for their weights
    return (stylegan2_images if hasattr(generator, "synthesis") else progan_images)(generator, codes)


def step_loss(space, clip_encoder, support_sets, corpus_support_sets, batch, objective):
    """The loss whose gradient `lib.training.step.step` computes."""
    z, indices, shifts = batch
    idea, kind, temperature = objective
    codes = space.codes_of(z)
    plain = clip_encoder.encode_images(images_of(space.generator, codes))
    offsets = shifts[:, None] * support_sets(space.positions(codes), indices)
    shifted = clip_encoder.encode_images(images_of(space.generator, space.shift(codes, offsets)))
    targets = objectives.text_targets(idea, corpus_support_sets, plain, indices, shifts)
    moves = objectives.image_moves(idea, plain, shifted)
    return objectives.loss(kind, moves, targets, indices, shifts, temperature)


class PlainSynthesis:
    """In place of a `lib.latent_space` space of StyleGAN2: the same, with images and activations computed plainly."""

    def __init__(self, space):
        self.space = space

    def __getattr__(self, name):
        return getattr(self.space, name)

    def styles(self, codes, last=None):
        if self.space.name != "S":
            return self.space.generator.synthesis.styles(codes, last)
        widths = self.space.widths
        return dict(zip(widths, codes.split(list(widths.values()), dim=1)))

    def synthesise(self, codes):
        return images_of_styles(self.space.generator, self.styles(codes))

    def features(self, codes, layer):
        return images_of_styles(self.space.generator, self.styles(codes, layer), layer)


def plainly(method):
    """A method with the same weights whose images are computed plainly."""
    twin = copy.copy(method)
    twin.space = PlainSynthesis(method.space)
    return twin


def method_loss(method, batch):
    """The loss of any method whose gradient `lib.training.step.step` computes, in one graph."""
    twin = plainly(method)
    ends = twin.ends(batch)
    seen = [twin.see(end, batch) for end in ends]
    seen = [one[0] if isinstance(one, tuple) and len(one) == 1 else one for one in seen]
    return twin.loss(seen, ends, batch)
