"""Batch norm for the training of a BigGAN, whose network takes stored statistics alone.

    with_batch_statistics(generator)    for most of the training: keeps every unit in use at a high learning rate
    standardise(generator, codes)       then: an image no longer depends on the others of its batch, as in use
"""

import torch

from models.biggan import ActivatedConv


def normalisations(generator):
    """(norm, the convolution behind it) in the order of computation."""
    norms = [norm for block in generator.blocks for norm in (block[0].bn1, block[0].bn2)]
    convolutions = [module for module in generator.modules() if isinstance(module, ActivatedConv)]
    return list(zip([*norms, generator.output_layer["0"]], convolutions, strict=True))


def with_batch_statistics(generator):
    """Let each normalisation take the statistics of its batch, until the hooks that are returned are removed."""
    return [convolution.register_forward_pre_hook(_by_batch(norm)) for norm, convolution in normalisations(generator)]


def _by_batch(norm):
    """A hook that replaces the stored statistics in a norm's two factors by those of what is normalised."""

    def hook(_, inputs):
        x, (gain, offset), *rest = inputs
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        bias = offset + norm.stored_mean * gain
        gain = gain * torch.sqrt((norm.stored_var + norm.EPS) / (variance + norm.EPS))
        return x, (gain, bias - mean * gain), *rest

    return hook


@torch.no_grad()
def standardise(generator, codes):
    """Store the statistics of codes (B, z_dim + embed_dim), each layer's behind those that come before it."""

    def storing(norm, hook):
        def store(module, inputs):
            changed = hook(module, inputs)
            norm.stored_var, norm.stored_mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
            return changed

        return store

    hooks = [
        convolution.register_forward_pre_hook(storing(norm, _by_batch(norm)))
        for norm, convolution in normalisations(generator)
    ]
    generator(codes)
    for hook in hooks:
        hook.remove()


def random_codes(generator, count=512):
    return generator.codes(torch.randn(count, generator.z_dim), torch.arange(count) % generator.num_classes)
