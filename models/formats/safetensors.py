"""A genforce state dict in a safetensors file, with its options in the metadata."""

import safetensors.torch

from models.errors import UserError
from models.formats import genforce
from models.untrusted.safetensors_files import load_safetensors


def read(file):
    """(state dict, options) of a file. Raises UserError where it is damaged, or not of floats."""
    state, metadata = load_safetensors(file)
    if not genforce.is_state_dict(state):
        raise UserError(f"{file} is not a generator: it has tensors that are not floats")
    return state, {name: metadata[name] for name in genforce.OPTIONS if name in metadata}


def content(generator):
    """The bytes of a safetensors file of this generator."""
    held = genforce.content(generator)
    state = held.pop("generator_smooth")
    return safetensors.torch.save(state, {"format": "pt"} | {name: str(value) for name, value in held.items()})
