"""Our own layout, which is that of the genforce model zoo: {"generator_smooth": state dict}, as torch.save writes it.

A network that was trained with clamped activations has its bound beside it, under "conv_clamp".
"""

import torch

from models.errors import UserError

CHECKPOINT_KEYS = ("generator_smooth", "generator")  # the first is the average of the second


def read(content, file):
    """(state dict, conv_clamp or None) of what a genforce file holds. Raises UserError where it is no such thing."""
    found = [content[key] for key in CHECKPOINT_KEYS if isinstance(content, dict) and key in content]
    if not found or not is_state_dict(found[0]):
        keys = " or ".join(CHECKPOINT_KEYS)
        raise UserError(f"{file} is no genforce generator: it has no float tensors under {keys}")
    return found[0], content.get("conv_clamp")


def is_state_dict(state):
    return isinstance(state, dict) and all(
        isinstance(key, str)
        and isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and not value.is_meta
        for key, value in state.items()
    )


def content(generator):
    """What a genforce file of this generator holds."""
    state = {key: value.clone(memory_format=torch.contiguous_format) for key, value in generator.state_dict().items()}
    clamp = getattr(generator, "conv_clamp", None)
    return {"generator_smooth": state} | ({} if clamp is None else {"conv_clamp": clamp})
