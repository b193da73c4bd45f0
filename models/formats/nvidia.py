"""StyleGAN2 as NVIDIA's PyTorch code pickles it (that of StyleGAN2-ADA and of StyleGAN3): {"G_ema": network, ...}."""

import math
import mmap
import re

import torch

from models.errors import UserError
from models.stylegan2 import MAPPING_LR_MULTIPLIER
from models.untrusted.nvidia_modules import Module, load_modules, read_tensors, submodules
from models.untrusted.pickles import BrokenPickle, ForbiddenGlobal

PARAMETERS = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs")
# Settings that do not follow from the shapes of the tensors, with the only value that our networks have.
FIXED = {
    "mapping": {"activation": "lrelu"},
    "synthesis": {"activation": "lrelu", "architecture": "skip", "use_noise": True, "kernel_size": 3},
}
READ_ELSEWHERE = {
    "mapping": {"num_layers", "embed_features", "layer_features", "lr_multiplier", "w_avg_beta"},
    "synthesis": {"channel_base", "channel_max", "resample_filter", "conv_clamp"},
}
# Settings of how an image is computed, which do not change the image.
IRRELEVANT = {"num_fp16_res", "use_fp16", "fp16_channels_last", "channels_last", "fused_modconv_default"}
TENSORFLOW = (
    "it is a TensorFlow pickle, but only NVIDIA's PyTorch pickles are supported: convert it with the legacy.py of "
    "github.com/NVlabs/stylegan3 (python legacy.py --source=IN.pkl --dest=OUT.pkl)"
)


def read(file):
    """(state dict in our layout, options) of the G_ema in such a pickle.

    Raises UserError where the pickle is damaged or contains more than networks, and where G_ema is not a network of
    ours, naming what differs. Nothing in the file is run.
    """
    try:
        with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            return _read(stream)
    except ForbiddenGlobal as error:
        reason = TENSORFLOW if error.name.startswith("dnnlib.tflib") else f"{error}; nothing in it was run"
        raise UserError(f"{file} is not read: {reason}") from None
    except BrokenPickle as error:
        raise UserError(f"{file} is not a pickled generator: {error}") from None
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _read(stream):
    content = load_modules(stream)
    generator = content.get("G_ema") if isinstance(content, dict) else content
    if not isinstance(generator, Module):
        raise UserError("it has no G_ema, the averaged generator of NVIDIA's pickles: give a file that has one")
    modules = dict(submodules(generator))
    _check(generator, modules)
    multiplier, clamp = _settings(generator, modules)
    options = {} if clamp is None else {"conv_clamp": clamp}
    return _translated(read_tensors(modules, len(stream)), multiplier), options


def _arguments(module):
    """{name: value} of the arguments that a network was built with."""
    positional, named = module.state.get("_init_args", ()), module.state.get("_init_kwargs", {})
    if not isinstance(positional, (list, tuple)) or not isinstance(named, dict):
        raise BrokenPickle("its _init_kwargs are damaged")
    return dict(zip(PARAMETERS, positional)) | named


def _check(generator, modules):
    """Raise UserError where the network is not a StyleGAN2, or one that ours cannot be."""
    names = {module.class_name for module in modules.values()}
    if "SynthesisInput" in names or any(re.match(r"synthesis\.L\d+_", name) for name in modules):
        raise UserError("it is a StyleGAN3, which is not supported: give a StyleGAN2 (NVIDIA's file names begin with "
                        "stylegan2-)")
    if generator.class_name != "Generator":
        raise UserError(f"its G_ema is a {generator.class_name[:40]!r}, not the Generator of StyleGAN2")
    arguments = _arguments(generator)
    if arguments.get("c_dim", 0) != 0 or "mapping.embed" in modules:
        raise UserError(f"it is class-conditional (c_dim is {arguments.get('c_dim')}), but only "
                        "unconditional generators are supported: give an unconditional one")
    if arguments.get("img_channels", 3) != 3:
        raise UserError(f"its img_channels is {arguments['img_channels']!r}, but only 3 (RGB) is supported")
    odd = sorted(map(str, arguments.keys() - set(PARAMETERS)))
    if odd:
        raise UserError(f"its Generator has the setting {odd[0][:40]!r}, which StyleGAN2 does not have")


def _built(modules, part):
    """Attributes of the built network, for settings that its arguments may leave out."""
    names = {"mapping": ("mapping.fc0",), "synthesis": ("synthesis.b4", "synthesis.b4.conv1")}[part]
    return {key: value for name in names if name in modules for key, value in modules[name].state.items()}


def _settings(generator, modules):
    """(learning-rate multiplier of the mapping network, conv_clamp or None). Raises UserError where ours differs."""
    found = {}
    for part, fixed in FIXED.items():
        given = _arguments(generator).get(f"{part}_kwargs") or {}
        if not isinstance(given, dict):
            raise BrokenPickle(f"its {part}_kwargs are damaged")
        odd = sorted(map(str, given.keys() - fixed.keys() - READ_ELSEWHERE[part] - IRRELEVANT))
        if odd:
            raise UserError(f"its {part}_kwargs have {odd[0][:40]!r}, which StyleGAN2 does not have")
        settings = _built(modules, part) | given
        for key, ours in fixed.items():
            if settings.get(key, ours) != ours:
                theirs = str(settings[key])[:40]
                raise UserError(f"its {part} network has {key} {theirs!r}, but only {ours!r} is supported")
        found |= settings
    multiplier = found.get("lr_multiplier", found.get("bias_gain", MAPPING_LR_MULTIPLIER))
    if type(multiplier) not in (int, float) or not 0 < multiplier < math.inf:
        raise BrokenPickle("its lr_multiplier is not a positive number")
    return multiplier, found.get("conv_clamp")


def _translated(tensors, multiplier):
    """The state dict in our layout: other names, shapes, offsets and orientations."""
    state = {}
    for key, value in tensors.items():
        if key == "mapping.w_avg":
            state["truncation.w_avg"] = value
        elif match := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", key):
            # The stored weights are those applied, divided by the multiplier.
            state[f"mapping.dense{match[1]}.{match[2]}"] = value * (multiplier / MAPPING_LR_MULTIPLIER)
        elif match := re.fullmatch(r"synthesis\.b(\d+)\.(.+)", key):
            name, value = _of_block(int(match[1]).bit_length() - 3, match[2], value)
            if name:
                _put(state, f"synthesis.{name}", value, key)
        else:
            raise UserError(f"its G_ema has a tensor {key[:60]}, which StyleGAN2 does not have")
    return state


def _put(state, name, value, key):
    """Add a tensor. Each of their blocks has a filter of its own, all of which must equal our single one."""
    if name in state and not torch.equal(state[name], value):
        raise UserError(f"its {key[:60]} differs from the one of another block")
    state[name] = value


def _of_block(i, key, value):
    """(our name, or None where ours has no such tensor; our tensor) of tensor `key` in the block of 4 * 2**i pixels."""
    if key == "const":
        return "early_layer.const", value[None]
    if key == "resample_filter":
        return ("upsample.kernel", _kernel(value)) if i > 0 else (None, value)
    layer, _, rest = key.partition(".")
    ours = {"conv0": f"layer{2 * i - 1}", "conv1": f"layer{2 * i}", "torgb": f"output{i}"}.get(layer)
    if rest == "resample_filter":
        return (f"{ours}.filter.kernel", _kernel(value)) if layer == "conv0" else (None, value)
    if ours is None or rest not in ("weight", "bias", "noise_strength", "noise_const", "affine.weight", "affine.bias"):
        raise UserError(f"its synthesis network has a tensor {key[:60]}, which StyleGAN2 does not have")
    if rest == "affine.bias":
        value = value - 1  # our layers add 1 to the bias of a style
    elif rest == "noise_const":
        rest, value = "noise", value[None, None]
    elif rest == "weight" and layer == "conv0":
        if value.ndim != 4:
            raise UserError(f"its {key[:60]} has shape {tuple(value.shape)}, but only four dimensions are supported")
        value = value.flip(2, 3)  # to upsample, theirs convolves and ours correlates
    return f"{ours}.{rest.replace('affine', 'style')}", value


def _kernel(value):
    """A low-pass filter in our layout: mirrored, and with the gain of 4 for upsampling."""
    if tuple(value.shape) != (4, 4):
        raise UserError(f"its resample_filter has shape {tuple(value.shape)}, but only (4, 4) is supported")
    return value.flip(0, 1)[None, None] * 4
