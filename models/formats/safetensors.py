"""A genforce state dict in a safetensors file, with its options in the metadata."""

import safetensors.torch
from safetensors import SafetensorError, safe_open

from models.errors import UserError
from models.formats import genforce


def read(file):
    """(state dict, options) of a file. Raises UserError where it is damaged, or not of floats."""
    try:
        with safe_open(file, "pt") as tensors:
            state = {key: tensors.get_tensor(key) for key in tensors.keys()}
            metadata = tensors.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{file} cannot be read as safetensors ({reason}): download or copy it again") from None
    if not genforce.is_state_dict(state):
        raise UserError(f"{file} is not a generator: it has tensors that are not floats")
    return state, {name: metadata[name] for name in genforce.OPTIONS if name in metadata}


def content(generator):
    """The bytes of a safetensors file of this generator."""
    held = genforce.content(generator)
    state = held.pop("generator_smooth")
    return safetensors.torch.save(state, {"format": "pt"} | {name: str(value) for name, value in held.items()})
