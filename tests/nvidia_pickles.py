"""Pickles of networks as NVIDIA's code writes them, made from a state dict without that code."""

import json
import pickle
import sys
from collections import OrderedDict
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch

CLASSES = {
    "": "Generator", "mapping": "MappingNetwork", "synthesis": "SynthesisNetwork", "fc": "FullyConnectedLayer",
    "affine": "FullyConnectedLayer", "b": "SynthesisBlock", "conv": "SynthesisLayer", "torgb": "ToRGBLayer",
}
# NVIDIA's loader runs it when it reads the pickle; ours must not.
SOURCE = "import sys\nsys.module_src_was_run = True\nclass Generator: pass\n"


def _reconstruct_persistent_obj(meta):
    raise AssertionError("pickles name it; nothing calls it")


class EasyDict(dict):
    pass


class Network:
    """Pickled as an instance of a persistent class."""

    def __init__(self, class_name, state):
        self.class_name, self.state = class_name, state

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.class_name, "state": self.state}
        return _reconstruct_persistent_obj, (meta,)


@contextmanager
def nvidia_modules():
    """Lets the classes above be pickled as if they came from NVIDIA's modules."""
    places = {_reconstruct_persistent_obj: "torch_utils.persistence", EasyDict: "dnnlib.util"}
    before = dict(sys.modules)
    for thing, name in places.items():
        for part in (name.split(".")[0], name):
            sys.modules[part] = ModuleType(part)
        setattr(sys.modules[name], thing.__name__, thing)
        thing.__module__ = name
    try:
        yield
    finally:
        for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
            sys.modules.pop(name, None)
        sys.modules.update({name: module for name, module in before.items() if name not in sys.modules})


def network(state_dict, init_kwargs, attributes=None, name=""):
    """The tree of networks with these tensors. attributes: {dotted name of a network: {further attribute: value}}."""
    parameters, buffers, children = OrderedDict(), OrderedDict(), OrderedDict()
    for key, value in state_dict.items():
        head, _, rest = key.partition(".")
        if rest:
            children.setdefault(head, {})[rest] = value
        elif head in ("w_avg", "resample_filter", "noise_const"):
            buffers[head] = value
        else:
            is_tensor = isinstance(value, torch.Tensor)
            parameters[head] = torch.nn.Parameter(value, requires_grad=False) if is_tensor else value
    path = f"{name}." if name else ""
    modules = {key: network(tensors, {}, attributes, path + key) for key, tensors in children.items()}
    state = {
        "training": False, "_parameters": parameters, "_buffers": buffers, "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(), "_is_full_backward_hook": None, "_modules": OrderedDict(modules),
        "_init_args": (), "_init_kwargs": init_kwargs, "weight_gain": np.float64(0.125),
        **(attributes or {}).get(name, {}),
    }
    return Network(CLASSES[name.split(".")[-1].rstrip("0123456789")], state)


def easy(kwargs):
    """Nested dicts as EasyDicts, which NVIDIA's training uses."""
    return EasyDict({key: easy(value) if isinstance(value, dict) else value for key, value in kwargs.items()})


def dump(content, file, protocol=4):
    with nvidia_modules(), open(file, "wb") as stream:
        pickle.dump(content, stream, protocol)
    return file


def tiny_pickle(data, file):
    """Write the NVIDIA pickle of the tiny network in tests/data."""
    kwargs = json.loads((data / "nvidia_tiny.json").read_text())["init_kwargs"]
    state = torch.load(data / "nvidia_tiny_state_dict.pt", weights_only=True)
    return dump({"G_ema": network(state, easy(kwargs))}, file)
