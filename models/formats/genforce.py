"""Our own format, that of the genforce model zoo: {"generator_smooth": state dict}, written by torch.save.

A network that was trained with clamped activations has their bound under "conv_clamp".
"""

import torch

from models.errors import UserError

CHECKPOINT_KEYS = ("generator_smooth", "generator")  # the first one is the moving average of the second


def read(content, file):
    """(state dict, conv_clamp or None) of the content of a genforce file. Raises UserError where it is not one."""
    found = [content[key] for key in CHECKPOINT_KEYS if isinstance(content, dict) and key in content]
    if not found or not is_state_dict(found[0]):
        keys = " or ".join(CHECKPOINT_KEYS)
        raise UserError(f"{file} is not a genforce generator: it has no float tensors under {keys}")
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
    """The content of a genforce file of this generator."""
    state = {key: value.clone(memory_format=torch.contiguous_format) for key, value in generator.state_dict().items()}
    clamp = getattr(generator, "conv_clamp", None)
    return {"generator_smooth": state} | ({} if clamp is None else {"conv_clamp": clamp})
