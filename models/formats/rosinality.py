"""StyleGAN2 as in the community port by rosinality: {"g_ema": state dict, "latent_avg": (w_dim,)}.

The layers are numbered in the order of the network: conv1 and to_rgb1 at 4 pixels, then for each doubling two `convs`,
the first of which upsamples, and one of `to_rgbs`. Its transposed convolutions do not mirror their weights, ours do.
"""

import math
import re

import torch

from models.errors import UserError
from models.formats.building import MOST_DIMENSIONS
from models.formats.genforce import check_filled, is_state_dict
from models.stylegan2 import Mapping

MEAN_SAMPLES = 16_384  # to estimate the mean of W where the file does not have it
MOST_WEIGHTS = 1 << 24  # of a mapping network whose mean is estimated, eight times the published ones
MOST_LAYERS = 21  # those of 4096 pixels
LAYER = {
    "conv.weight": "weight",
    "activate.bias": "bias",
    "bias": "bias",
    "noise.weight": "noise_strength",
    "conv.modulation.weight": "style.weight",
    "conv.modulation.bias": "style.bias",
    "conv.blur.kernel": "filter.kernel",
}


def recognises(content):
    return isinstance(content, dict) and isinstance(content.get("g_ema"), dict)


def read(content, file):
    """(state dict in our layout, options: none) of the content of such a file. Raises UserError where it is not one."""
    found = content["g_ema"]
    if not is_state_dict(found) or "conv1.conv.weight" not in found:
        raise UserError(f"{file} is not a StyleGAN2 by rosinality: its g_ema has other tensors")
    check_filled(found, file)
    state = {}
    for key, value in found.items():
        name = _name(key)
        if name is None:
            raise UserError(f"{file} is not a StyleGAN2 by rosinality: its g_ema has an unknown tensor {key}")
        value = _value(name, value.float())
        if name in state and not torch.equal(state[name], value):
            raise UserError(f"{file}: its {key} differs from the one of another resolution")
        state[name] = value
    mean = content.get("latent_avg")
    if not isinstance(mean, torch.Tensor) or not mean.is_floating_point():
        mean = _mean({key: value for key, value in state.items() if key.startswith("mapping.")}, file)
    state["truncation.w_avg"] = mean.float().flatten()
    _add_noise(state)
    return state, {}


def _name(key):
    """Our name of a tensor; None where it is unknown."""
    if key == "input.input":
        return "synthesis.early_layer.const"
    if re.fullmatch(r"to_rgbs\.\d+\.upsample\.kernel", key):
        return "synthesis.upsample.kernel"
    if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
        return f"mapping.dense{int(match[1]) - 1}.{match[2]}"
    if match := re.fullmatch(r"noises\.noise_(\d+)", key):
        return f"synthesis.layer{match[1]}.noise"
    if match := re.fullmatch(r"(conv|to_rgb)(?:1|s\.(\d+))\.(.+)", key):
        kind = {"conv": "layer", "to_rgb": "output"}[match[1]]
        number = 0 if match[2] is None else int(match[2]) + 1
        return f"synthesis.{kind}{number}.{LAYER[match[3]]}" if match[3] in LAYER else None
    return None


def _value(name, value):
    """A tensor in our layout."""
    if name.endswith("style.bias"):
        return value - 1  # our layers add 1 to the bias of a style
    if name.endswith("kernel"):
        return value.flip(0, 1)[None, None] if value.ndim == 2 else value
    if name.endswith(("noise_strength", "bias")):
        return value.reshape(()) if name.endswith("strength") and value.numel() == 1 else value.flatten()
    if value.ndim == 5:  # a convolution's weight: (1, out, in, k, k)
        upsamples = re.fullmatch(r"synthesis\.layer\d*[13579]\.weight", name)
        return value[0].flip(2, 3) if upsamples else value[0]
    return value


def _mean(weights, file):
    """The mean of W (w_dim,) over random codes, as rosinality's code estimates it for checkpoints of its training."""
    shapes = [tuple(weights.get(f"mapping.dense{i}.weight", torch.empty(0)).shape) for i in range(len(weights) // 2)]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise UserError(f"{file} is not a StyleGAN2 by rosinality: its mapping network (style.1, ...) is incomplete")
    width = max(side for shape in shapes for side in shape)
    if width > MOST_DIMENSIONS or sum(math.prod(shape) for shape in shapes) > MOST_WEIGHTS:
        raise UserError(f"{file} lacks the mean of W (latent_avg), and its mapping network is too large to estimate it")
    mapping = Mapping([shapes[0][1], *(shape[0] for shape in shapes)])
    try:
        mapping.load_state_dict({key.removeprefix("mapping."): value for key, value in weights.items()})
    except RuntimeError:
        raise UserError(f"{file} is not a StyleGAN2 by rosinality: its mapping network has other shapes") from None
    z = torch.randn(MEAN_SAMPLES, shapes[0][1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return mapping(z).mean(dim=0)


def _add_noise(state):
    """Add the noise that early files lack: the same in each call."""
    layers = min(sum(key.endswith("noise_strength") for key in state), MOST_LAYERS)
    drawn = torch.Generator().manual_seed(0)
    for i in range(layers):
        side = 4 << (i + 1) // 2
        state.setdefault(f"synthesis.layer{i}.noise", torch.randn(1, 1, side, side, generator=drawn))
