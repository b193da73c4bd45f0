"""Networks as NVIDIA's PyTorch code pickles them: their tensors and settings, read without running their code.

A network is stored as a call of `torch_utils.persistence._reconstruct_persistent_obj` with the Python source of its
class and the `__dict__` of the instance. The source is ignored.
"""

import struct
from typing import NamedTuple

from models.untrusted.pickles import BrokenPickle, ForbiddenGlobal, Function, load
from models.untrusted.plain_data import NotPlain, Plain
from models.untrusted.storages import read_storage, strided

# {numpy's name of a type: struct's}
NUMBERS = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "b1": "?"}
MOST_MODULES = 2_000
DEEPEST = 8  # levels of networks in networks


class Module(NamedTuple):
    """A network."""

    class_name: str
    state: dict  # the `__dict__`


class _Tensor(NamedTuple):
    storage: bytes
    offset: int
    size: tuple
    stride: tuple

    def read(self):
        return strided(read_storage(self.storage), self.offset, self.size, self.stride).float()


def _module(meta):
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise BrokenPickle("it has a network without a class")
    if not isinstance(meta.get("class_name"), str) or not isinstance(meta.get("state"), dict):
        raise BrokenPickle("it has a network without a name or a state")
    return Module(meta["class_name"], meta["state"])


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
    """A number of numpy; None for types that no setting has."""
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
    ("builtins", "set"): lambda *_: None,  # as Python 3.7 pickles sets, which contain names of buffers here
}


def load_modules(stream):
    """The content of a pickle (a BytesIO or an mmap), plain data with a `Module` for each network.

    Raises BrokenPickle where it is damaged or exceeds the limits of `plain_data`, and ForbiddenGlobal where it needs
    more than networks do.
    """
    plain = Plain()
    plain.convert = lambda item, depth: _converted(item, depth, plain)
    try:
        return plain.tree(load(stream, _find))
    except NotPlain as error:
        raise BrokenPickle(f"it {error}") from None


def _converted(item, depth, plain):
    if type(item) is Module:
        return Module(plain.tree(item.class_name, depth), plain.tree(item.state, depth + 1))
    if type(item) is _Tensor:
        return item
    raise NotPlain(f"has a {type(item).__name__.lower()}")


def _find(module, name):
    if (module, name) not in GLOBALS:
        raise ForbiddenGlobal(module, name)
    return Function(GLOBALS[module, name])


def submodules(root):
    """(dotted name, Module) of a network, with an empty name, and of every network in it. Raises BrokenPickle."""
    waiting, count = [("", root, 0)], 0
    while waiting:
        name, module, depth = waiting.pop()
        count += 1
        if not isinstance(module, Module):
            raise BrokenPickle(f"{name} is not a network")
        if depth > DEEPEST or count > MOST_MODULES:
            raise BrokenPickle("its networks are nested too deeply, or are too many")
        yield name, module
        children = module.state.get("_modules", {})
        for key, child in (children.items() if isinstance(children, dict) else ()):
            if child is not None:
                waiting.append((f"{name}.{key}" if name else str(key), child, depth + 1))


def read_tensors(modules, size):
    """{key of a state dict: tensor} of {dotted name: Module}. Raises BrokenPickle where they exceed `size` bytes."""
    found, claimed = {}, 0
    for name, module in modules.items():
        for kind in ("_parameters", "_buffers"):
            held = module.state.get(kind, {})
            for key, tensor in (held.items() if isinstance(held, dict) else ()):
                if tensor is None:
                    continue
                if not isinstance(tensor, _Tensor):
                    raise BrokenPickle(f"{name}.{key} is not a tensor")
                claimed += len(tensor.storage)
                if claimed > size:
                    raise BrokenPickle("its tensors claim more bytes than it has")
                found[f"{name}.{key}"] = tensor.read()
    return found
