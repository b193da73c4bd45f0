"""BigGANs as their packages publish them: plain state dicts that hold weights and their spectral norms separately.

    pytorch-pretrained-biggan   pytorch_model.bin: BigGAN-deep; its config.json says which blocks double the resolution
    BigGAN-PyTorch              G_ema.pth: BigGAN, hierarchical (hier, G_shared)

The norms of a trained generator are constant; they are folded into the weights here.
"""

from itertools import pairwise

import torch.nn.functional as F

from models.biggan import BigGANDeep, TabulatedNorm
from models.errors import UserError
from models.formats.building import settings_of
from models.formats.genforce import check_filled, is_state_dict
from models.untrusted.text_files import load_json

SPECTRAL_EPS = 1e-6  # of BigGAN-PyTorch's unit vectors
MOST_CONFIG_BYTES = 1 << 20
# Feature maps before, between and after the blocks of the published networks, relative to the last number. Every second
# block doubles the resolution.
PUBLISHED = (
    [16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1],
    [16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1],
    [16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1, 1, 1],
)


def recognises(content):
    return isinstance(content, dict) and ("generator.gen_z.weight_orig" in content or "linear.u0" in content)


def read(content, file):
    """(state dict in our layout, options) of the content of such a file. Raises UserError if it is not one."""
    if not is_state_dict(content):
        raise UserError(f"{file} is not a BigGAN: it contains something other than float tensors")
    check_filled(content, file)
    if "linear.u0" in content:
        return _folded(content, file, "weight", {"u0": 0, "sv0": None}, _one_power_step), {}
    state = _folded(content, file, "weight_orig", {"weight_u": 0, "weight_v": 1}, _by_stored_vectors)
    for part in ("weight", "bias"):
        head = state.get(f"generator.conv_to_rgb.{part}")
        if head is not None and head.ndim:
            state[f"generator.conv_to_rgb.{part}"] = head[:3].clone()  # the published code discards the other channels
    return state, {"upsampling": _upsampling(state, file)}


def _by_stored_vectors(matrix, u, v):
    """The norm that torch's spectral_norm divides by in evaluation mode."""
    return u @ matrix @ v


def _one_power_step(matrix, u, _):
    """The norm that BigGAN-PyTorch divides by in evaluation mode: it takes one step of power iteration from u0."""
    v = F.normalize(u @ matrix, dim=0, eps=SPECTRAL_EPS)
    return v @ matrix.T @ F.normalize(matrix @ v, dim=0, eps=SPECTRAL_EPS)


def _folded(content, file, stored, companions, norm):
    """The state dict with each weight divided by its norm.

    stored: the name of a weight that has a norm. companions: {name of a tensor beside it: the dimension of the weight's
    matrix (out, rest) that gives its length; None: it is a number}. norm(matrix, *companions): the divisor.
    """
    state = dict(content)
    for key, weight in content.items():
        module, _, name = key.rpartition(".")
        beside = {f"{module}.{companion}": dimension for companion, dimension in companions.items()}
        if name != stored or not beside.keys() & content.keys():
            continue
        if weight.ndim < 2:
            raise UserError(f"{file} does not fit: {key} has shape {tuple(weight.shape)}")
        matrix = weight.float().flatten(1)
        for other, dimension in beside.items():
            expected = 1 if dimension is None else matrix.shape[dimension]
            if other not in content or content[other].numel() != expected:
                raise UserError(f"{file} does not fit: {other}, the spectral norm's, should have {expected} numbers")
        vectors = [state.pop(other).float().flatten() for other in beside]
        del state[key]
        state[f"{module}.weight"] = (weight.float() / norm(matrix, *vectors)).to(weight.dtype)
    return state


def _upsampling(state, file):
    """A 1 for each block that doubles the resolution and a 0 for each other block, which no tensor's shape tells."""
    *_, channels = settings_of(BigGANDeep, {key: tuple(value.shape) for key, value in state.items()}, file)
    config = _config_beside(file)
    if config is not None:
        return _upsampling_of(_read_config(config), channels, config, file)
    if [width / max(channels[-1], 1) for width in channels] in PUBLISHED:
        return "01" * (len(channels) // 2)
    raise UserError(f"{file} has the widths of none of the published BigGAN-deep: put its config.json beside it, whose "
                    "`layers` say which blocks double the resolution")


def _config_beside(file):
    """NAME.json, the published NAME-config.json of a NAME-pytorch_model.bin, or config.json; None: there is none."""
    names = f"{file.stem}.json", file.name.replace("pytorch_model.bin", "config.json"), "config.json"
    found = (file.with_name(name) for name in names if name != file.name)
    return next((path for path in found if path.is_file()), None)


def _read_config(path):
    if path.stat().st_size > MOST_CONFIG_BYTES:
        raise UserError(f"{path} is larger than the settings of a BigGAN-deep can be")
    return load_json(path)


def _upsampling_of(config, channels, path, file):
    config = config if isinstance(config, dict) else {}
    layers, width = config.get("layers"), config.get("channel_width")
    if not isinstance(layers, list) or not all(_is_layer(layer) for layer in layers) or type(width) is not int:
        raise UserError(f"{path} does not hold the settings of a BigGAN-deep: it lacks `layers` or `channel_width`")
    if config.get("eps", TabulatedNorm.EPS) != TabulatedNorm.EPS:
        eps = str(config["eps"])[:40]
        raise UserError(f"{path} has eps {eps!r}, and only networks with {TabulatedNorm.EPS} can be read")
    stated = [(before * width, after * width) for _, before, after in layers]
    if stated != [*pairwise(channels)]:
        raise UserError(f"{path} does not fit {file.name} beside it: its layers have other widths, or another number")
    return "".join("1" if doubles else "0" for doubles, _, _ in layers)


def _is_layer(layer):
    return isinstance(layer, list) and [type(part) for part in layer] == [bool, int, int]
