"""StyleGAN2 as NVIDIA's PyTorch code pickles it (StyleGAN2-ADA's, and StyleGAN3's for StyleGAN2): {"G_ema": ..}.

A network is stored there as a call of `torch_utils.persistence._reconstruct_persistent_obj` with the Python source of
its class and the instance's `__dict__`. The source is never run: tensors and settings are read from the rest.
"""

import math
import mmap
import re
import struct
from typing import NamedTuple

import torch

from models.errors import UserError
from models.stylegan2 import MAPPING_LR_MULTIPLIER
from models.untrusted.pickles import BrokenPickle, ForbiddenGlobal, Function, load
from models.untrusted.tensor_files import read_storage, strided

PARAMETERS = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs")
# What the networks are built with, where it is not read off the tensors' shapes, and what ours can do.
FIXED = {
    "mapping": {"activation": "lrelu"},
    "synthesis": {"activation": "lrelu", "architecture": "skip", "use_noise": True, "kernel_size": 3},
}
READ_ELSEWHERE = {
    "mapping": {"num_layers", "embed_features", "layer_features", "lr_multiplier", "w_avg_beta"},
    "synthesis": {"channel_base", "channel_max", "resample_filter", "conv_clamp"},
}
# How it is computed, not what.
IRRELEVANT = {"num_fp16_res", "use_fp16", "fp16_channels_last", "channels_last", "fused_modconv_default"}
# numpy's names of its types, and struct's.
NUMBERS = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "b1": "?"}
MOST_MODULES = 2_000
DEEPEST = 8


class _Module(NamedTuple):
    class_name: str
    state: dict


class _Tensor(NamedTuple):
    storage: bytes
    offset: int
    size: tuple
    stride: tuple

    def read(self):
        return strided(read_storage(self.storage), self.offset, self.size, self.stride).float()


def _module(meta):
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise BrokenPickle("it has a network that is no class")
    if not isinstance(meta.get("class_name"), str) or not isinstance(meta.get("state"), dict):
        raise BrokenPickle("it has a network without name or state")
    return _Module(meta["class_name"], meta["state"])


def _tensor(storage, offset, size, stride, *_):
    if type(storage) is not bytes or type(size) is not tuple or type(stride) is not tuple:
        raise BrokenPickle("a tensor is damaged")
    return _Tensor(storage, offset, size, stride)


def _parameter(tensor, *_):
    return tensor


def _bytes(content):
    if type(content) is not bytes:
        raise BrokenPickle("a tensor's storage is damaged")
    return content


def _empty_dict():
    return {}


def _dtype(code, *_):
    return code


def _scalar(code, content):
    """A number of numpy's; None for types that no setting has."""
    return struct.unpack("<" + NUMBERS[code], content)[0] if type(code) is str and code in NUMBERS else None


GLOBALS = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    ("collections", "OrderedDict"): _empty_dict,
    ("dnnlib.util", "EasyDict"): _empty_dict,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _bytes,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy", "dtype"): _dtype,
    ("builtins", "set"): lambda *_: None,  # Python 3.7 pickles sets so; theirs hold names of buffers
}


def _find(module, name):
    if module.startswith("dnnlib.tflib"):
        raise UserError("it is a TensorFlow pickle, and only NVIDIA's PyTorch ones are read: convert it with the "
                        "legacy.py of github.com/NVlabs/stylegan3 (python legacy.py --source=IN.pkl --dest=OUT.pkl)")
    if (module, name) not in GLOBALS:
        raise ForbiddenGlobal(module, name)
    return Function(GLOBALS[module, name])


def read(file):
    """(state dict in our layout, conv_clamp or None) of the G_ema in such a pickle.

    Raises UserError where the pickle is damaged or does more than store networks, and where G_ema is none of ours,
    naming what differs. Nothing in the file is run.
    """
    try:
        with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            return _read(stream)
    except ForbiddenGlobal as error:
        raise UserError(f"{file} is not read: {error}; nothing of it was run") from None
    except BrokenPickle as error:
        raise UserError(f"{file} is no pickle of a generator: {error}") from None
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _read(stream):
    content = load(stream, _find)
    generator = content.get("G_ema") if isinstance(content, dict) else content
    if not isinstance(generator, _Module):
        raise UserError("it has no G_ema, the averaged generator of NVIDIA's pickles: give one that has")
    modules = dict(_modules(generator))
    _check(generator, modules)
    multiplier, clamp = _settings(generator, modules)
    return _translated(_tensors(modules, len(stream)), multiplier), clamp


def _modules(root):
    """Every network in a network, by its dotted name: the root's is empty."""
    waiting, count = [("", root, 0)], 0
    while waiting:
        name, module, depth = waiting.pop()
        count += 1
        if not isinstance(module, _Module):
            raise BrokenPickle(f"{name} is no network")
        if depth > DEEPEST or count > MOST_MODULES:
            raise BrokenPickle("its networks are nested without end")
        yield name, module
        children = module.state.get("_modules", {})
        for key, child in (children.items() if isinstance(children, dict) else ()):
            if child is not None:
                waiting.append((f"{name}.{key}" if name else str(key), child, depth + 1))


def _arguments(module):
    """What a network was built with, by name."""
    positional, named = module.state.get("_init_args", ()), module.state.get("_init_kwargs", {})
    if not isinstance(positional, (list, tuple)) or not isinstance(named, dict):
        raise BrokenPickle("its _init_kwargs are damaged")
    return dict(zip(PARAMETERS, positional)) | named


def _check(generator, modules):
    """Raise UserError where the network is another one than StyleGAN2 as ours can be."""
    names = {module.class_name for module in modules.values()}
    if "SynthesisInput" in names or any(re.match(r"synthesis\.L\d+_", name) for name in modules):
        raise UserError("it is a StyleGAN3, whose networks are others: give a StyleGAN2 (of NVIDIA's, the names begin "
                        "with stylegan2-)")
    if generator.class_name != "Generator":
        raise UserError(f"its G_ema is a {generator.class_name[:40]!r}, not the Generator of StyleGAN2")
    arguments = _arguments(generator)
    if arguments.get("c_dim", 0) != 0 or "mapping.embed" in modules:
        raise UserError(f"it is class-conditional (c_dim is {arguments.get('c_dim')}), and paths are learned for "
                        "generators without classes: give an unconditional one")
    if arguments.get("img_channels", 3) != 3:
        raise UserError(f"its img_channels is {arguments['img_channels']!r}, and a generator of RGB images has 3")
    odd = sorted(map(str, arguments.keys() - set(PARAMETERS)))
    if odd:
        raise UserError(f"its Generator has the setting {odd[0][:40]!r}, which StyleGAN2's has not")


def _built(modules, part):
    """What the built network itself says of settings that its arguments may leave out."""
    told = {"mapping": ("mapping.fc0",), "synthesis": ("synthesis.b4", "synthesis.b4.conv1")}[part]
    return {key: value for name in told if name in modules for key, value in modules[name].state.items()}


def _settings(generator, modules):
    """(learning-rate multiplier of the mapping network, conv_clamp or None); UserError at what ours cannot do."""
    found = {}
    for part, fixed in FIXED.items():
        given = _arguments(generator).get(f"{part}_kwargs") or {}
        if not isinstance(given, dict):
            raise BrokenPickle(f"its {part}_kwargs are damaged")
        odd = sorted(map(str, given.keys() - fixed.keys() - READ_ELSEWHERE[part] - IRRELEVANT))
        if odd:
            raise UserError(f"its {part}_kwargs have {odd[0][:40]!r}, which StyleGAN2 has not")
        settings = _built(modules, part) | given
        for key, ours in fixed.items():
            if settings.get(key, ours) != ours:
                theirs = str(settings[key])[:40]
                raise UserError(f"its {part} network has {key} {theirs!r}, and only {ours!r} can be read")
        found |= settings
    multiplier = found.get("lr_multiplier", found.get("bias_gain", MAPPING_LR_MULTIPLIER))
    if type(multiplier) not in (int, float) or not 0 < multiplier < math.inf:
        raise BrokenPickle("its lr_multiplier is no positive number")
    return multiplier, found.get("conv_clamp")


def _tensors(modules, size):
    """{key as in a state dict: tensor} of all networks. Raises BrokenPickle where they exceed `size` bytes."""
    found, claimed = {}, 0
    for name, module in modules.items():
        for kind in ("_parameters", "_buffers"):
            held = module.state.get(kind, {})
            for key, tensor in (held.items() if isinstance(held, dict) else ()):
                if tensor is None:
                    continue
                if not isinstance(tensor, _Tensor):
                    raise BrokenPickle(f"{name}.{key} is no tensor")
                claimed += len(tensor.storage)
                if claimed > size:
                    raise BrokenPickle("its tensors claim more bytes than it has")
                found[f"{name}.{key}"] = tensor.read()
    return found


def _translated(tensors, multiplier):
    """NVIDIA's tensors as ours: names, shapes, and what is counted or oriented otherwise."""
    state = {}
    for key, value in tensors.items():
        if key == "mapping.w_avg":
            state["truncation.w_avg"] = value
        elif match := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", key):
            # Stored weights are 1 / multiplier as large as the ones applied.
            state[f"mapping.dense{match[1]}.{match[2]}"] = value * (multiplier / MAPPING_LR_MULTIPLIER)
        elif match := re.fullmatch(r"synthesis\.b(\d+)\.(.+)", key):
            name, value = _of_block(int(match[1]).bit_length() - 3, match[2], value)
            if name:
                _put(state, f"synthesis.{name}", value, key)
        else:
            raise UserError(f"its G_ema has a tensor {key[:60]}, which StyleGAN2 has not")
    return state


def _put(state, name, value, key):
    """All blocks have filters of their own for what is one of ours."""
    if name in state and not torch.equal(state[name], value):
        raise UserError(f"its {key[:60]} differs from that of another block")
    state[name] = value


def _of_block(i, key, value):
    """(our name or None where we need none, our tensor) of tensor `key` in the block of 4 * 2**i pixels."""
    if key == "const":
        return "early_layer.const", value[None]
    if key == "resample_filter":
        return ("upsample.kernel", _kernel(value)) if i > 0 else (None, value)
    layer, _, rest = key.partition(".")
    ours = {"conv0": f"layer{2 * i - 1}", "conv1": f"layer{2 * i}", "torgb": f"output{i}"}.get(layer)
    if rest == "resample_filter":
        return (f"{ours}.filter.kernel", _kernel(value)) if layer == "conv0" else (None, value)
    if ours is None or rest not in ("weight", "bias", "noise_strength", "noise_const", "affine.weight", "affine.bias"):
        raise UserError(f"its synthesis network has a tensor {key[:60]}, which StyleGAN2 has not")
    if rest == "affine.bias":
        value = value - 1  # ours counts from the identity
    elif rest == "noise_const":
        rest, value = "noise", value[None, None]
    elif rest == "weight" and layer == "conv0":
        value = value.flip(2, 3)  # theirs is a convolution where it upsamples, ours a correlation
    return f"{ours}.{rest.replace('affine', 'style')}", value


def _kernel(value):
    """A low-pass filter as ours: mirrored, and with the gain of 4 that upsampling needs."""
    if tuple(value.shape) != (4, 4):
        raise UserError(f"its resample_filter has the shape {tuple(value.shape)}, and only [1, 3, 3, 1] can be read")
    return value.flip(0, 1)[None, None] * 4
