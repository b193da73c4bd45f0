"""DCGAN as PyTorch's tutorial builds and saves it, with or without a wrapper round the state dict.

    {"main.0.weight": ..., "main.1.weight": ..., ...}       the state dict, also of a DataParallel ("module.main.0...")
    {"netG_state_dict": state dict, ...}                    or under any other key, beside a discriminator's

`main` is a sequence of transposed convolution, batch norm and ReLU, which ends with a transposed convolution and tanh.
Batch norm is folded into the convolutions here.
"""

import re

import torch

from models.dcgan import COLOURS, KERNEL
from models.errors import UserError
from models.formats.genforce import check_filled, is_state_dict

KEY = re.compile(r"(?:module\.)?main\.(\d{1,4})\.(\w{1,40})")
COUNTER = "num_batches_tracked"  # of a batch norm; an integer, and of no use in evaluation
NORM = ("weight", "bias", "running_mean", "running_var")
EPS = 1e-5  # of nn.BatchNorm2d
AVERAGED = re.compile("ema|avg|average|smooth", re.IGNORECASE)


def recognises(content):
    return bool(_found(content))


def read(content, file):
    """(state dict in our layout, options) of the content of such a file. Raises UserError where it is not a DCGAN of
    three colours, naming what differs."""
    state = _found(content)[0]
    if not is_state_dict(state):
        raise UserError(f"{file} is not a DCGAN: it has tensors that are not of floats")
    check_filled(state, file)
    parts = {}
    for key, value in state.items():
        match = KEY.fullmatch(key)
        if not match:
            raise UserError(f"{file} is not a DCGAN of PyTorch's tutorial: it has {key[:60]}")
        parts.setdefault(int(match[1]), {})[match[2]] = value
    layers = _layers(parts, file)
    folded = {}
    for i, (convolution, norm) in enumerate(layers):
        folded[f"transposed{i}.weight"], folded[f"transposed{i}.bias"] = _folded(convolution, norm)
    return folded, {}


def _found(content):
    """The state dicts with the tutorial's keys in the content of a file: generators first, averaged ones before all."""
    if not isinstance(content, dict):
        return []
    named = [("", content), *((key, value) for key, value in content.items() if isinstance(value, dict))]
    found = [(name, _without_counters(state)) for name, state in named if _places(state)]
    found.sort(key=lambda one: (2 in _places(one[1]), not AVERAGED.search(str(one[0]))))
    return [state for _, state in found]


def _places(state):
    """The positions in `main` that have tensors. The tutorial's discriminator, whose keys look the same, has some at 2,
    where a generator has a ReLU."""
    matches = (KEY.fullmatch(key) for key in state if isinstance(key, str))
    return {int(match[1]) for match in matches if match}


def _without_counters(state):
    return {key: value for key, value in state.items() if not (isinstance(key, str) and key.endswith(COUNTER))}


def _layers(parts, file):
    """[(convolution, norm or None)] of {position in `main`: {name: tensor}}, in order, their shapes checked."""
    if 2 in parts:
        raise UserError(f"{file} is not a DCGAN's generator: it has main.2, as a discriminator has")
    last = max(parts)
    expected = {i for i in range(last + 1) if i % 3 != 2}  # every third is a ReLU
    if last % 3 or parts.keys() != expected:
        odd = min(parts.keys() ^ expected, default=last)
        raise UserError(f"{file} is not a DCGAN of PyTorch's tutorial: main.{odd} "
                        f"{'should not have tensors' if odd in parts else 'is missing'}")
    layers = [(parts[i], parts.get(i + 1)) for i in range(0, last + 1, 3)]
    width = None
    for i, (convolution, norm) in zip(range(0, last + 1, 3), layers):
        width = _check_convolution(f"main.{i}", convolution, width, file)
        if norm is not None:
            _check(f"main.{i + 1}", norm, dict.fromkeys(NORM, (width,)), file)
    if width != COLOURS:
        raise UserError(f"{file} makes images of {width} channels, but only {COLOURS} (RGB) are supported")
    return layers


def _check_convolution(name, found, inputs, file):
    """The channels out of a transposed convolution. inputs: the channels into it; None: any. Raises UserError."""
    weight = found.get("weight")
    if weight is None or weight.ndim != 4:
        shape = "is missing" if weight is None else f"has shape {tuple(weight.shape)}"
        raise UserError(f"{file} is not a DCGAN of PyTorch's tutorial: {name}.weight {shape}")
    outputs = weight.shape[1]
    expected = {"weight": (weight.shape[0] if inputs is None else inputs, outputs, KERNEL, KERNEL)}
    _check(name, found, expected | ({"bias": (outputs,)} if "bias" in found else {}), file)
    return outputs


def _check(name, found, expected, file):
    """Raise UserError at the first tensor {name: tensor} that is missing, unknown, or of another shape."""
    for key in [*expected, *found]:
        shape = tuple(found[key].shape) if key in found else "none, it is missing"
        if shape != expected.get(key):
            raise UserError(f"{file} is not a DCGAN of PyTorch's tutorial: {name}.{key} has shape {shape}, expected "
                            f"{expected.get(key, 'no such key')}")


def _folded(convolution, norm):
    """(weight (in, out, 4, 4), bias (out,)) of a transposed convolution with the batch norm behind it."""
    weight = convolution["weight"]
    bias = convolution.get("bias", torch.zeros(weight.shape[1]))
    if norm is None:
        return weight, bias.to(weight.dtype)
    gain, offset, mean, variance = (norm[name].double() for name in NORM)
    scale = gain / torch.sqrt(variance + EPS)
    bias = offset + (bias.double() - mean) * scale
    return (weight.double() * scale[:, None, None]).to(weight.dtype), bias.to(weight.dtype)
