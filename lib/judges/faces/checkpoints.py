"""The published files of weights: where download.py puts them, and reading them into their networks."""

from dataclasses import dataclass

import torch

from models.errors import UserError
from models.files import sha256
from models.registry import PRETRAINED
from models.untrusted.tensor_files import load_tensors

# Training scripts keep their best score beside the weights, as a number of numpy's. Nobody here asks for it.
UNREAD = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
COUNTER = "num_batches_tracked"  # of batch norms, unused here; files of before 2018 have none


@dataclass(frozen=True)
class Checkpoint:
    """The file that a network was published as."""

    archive: str  # the name that `download.py --only` takes
    name: str  # below models/pretrained/ARCHIVE

    @property
    def file(self):
        return PRETRAINED / self.archive / self.name

    @property
    def sha256(self):
        return sha256(self.file)


def load_network(build, device="cpu"):
    """A network with its published weights, in float32, frozen, in evaluation mode.

    build: a function without arguments -> a module that names its `Checkpoint` as `checkpoint`. Raises UserError where
    the file is missing, cannot be read, or holds other tensors than the module has.
    """
    with torch.device("meta"):  # the file brings the numbers, so none are drawn
        network = build()
    file = network.checkpoint.file
    state = _fitting(_state_dict(load_tensors(file, unread=UNREAD)), network.state_dict(), file, type(network).__name__)
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval().to(device)


def _state_dict(content):
    """The state dict in a file's content: itself, or its entry "state_dict"; without DataParallel's prefix."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        return {}
    wrapped = bool(content) and all(isinstance(key, str) and key.startswith("module.") for key in content)
    return {key.removeprefix("module."): value for key, value in content.items()} if wrapped else content


def _fitting(state, expected, file, network):
    """`state` in float32, with the counters that it may lack. Raises UserError where it is not what is expected."""

    def check(condition, difference):
        if not condition:
            raise UserError(f"{file} does not hold {network}'s weights ({difference}): get the published file again")

    needed = [key for key in expected if not key.endswith(COUNTER)]
    lacking = [key for key in needed if key not in state]
    check(not lacking, f"{len(lacking)} of {len(needed)} tensors are missing, such as {lacking[:1]}")
    unknown = [key for key in state if key not in expected]
    check(not unknown, f"it has {len(unknown)} more tensors, such as {str(unknown[:1])[:80]}")
    for key in needed:
        value, shape = state[key], tuple(expected[key].shape)
        check(_is_plain(value), f"{key} is not a tensor of floating-point numbers")
        check(tuple(value.shape) == shape, f"{key} is {tuple(value.shape)}, not {shape}")
        check(value.isfinite().all(), f"{key} has numbers that are not finite")
    zero = torch.zeros((), dtype=torch.long)
    return {key: zero.clone() if key not in needed else state[key].detach().float().contiguous() for key in expected}


def _is_plain(value):
    return (
        isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and not value.is_meta
    )
