"""Our own format, that of the genforce model zoo: {"generator_smooth": state dict}, written by torch.save.

Some networks have settings that do not follow from their tensors' shapes. They are stored beside the state dict.
"""

import torch

from models.errors import UserError

OPTIONS = {
    "conv_clamp": "StyleGAN2: the bound of activations and images, where it was trained with one",
    "upsampling": "BigGANDeep: a 1 for each block that doubles the resolution, a 0 for each other",
    "class_names": "BigGANs: the names of the classes, one class per line, synonyms separated by commas",
}
CHECKPOINT_KEYS = ("generator_smooth", "generator")  # the first one is the moving average of the second


def read(content, file):
    """(state dict, options) of the content of a genforce file. Raises UserError where it is not one."""
    found = [content[key] for key in CHECKPOINT_KEYS if isinstance(content, dict) and key in content]
    if not found or not is_state_dict(found[0]):
        keys = " or ".join(CHECKPOINT_KEYS)
        raise UserError(f"{file} is not a genforce generator: it has no float tensors under {keys}")
    return found[0], {name: content[name] for name in OPTIONS if content.get(name) is not None}


def is_state_dict(state):
    return isinstance(state, dict) and all(
        isinstance(key, str)
        and isinstance(value, torch.Tensor)
        and value.is_floating_point()
        for key, value in state.items()
    )


def check_filled(state, file):
    """Raise UserError where a tensor of a state dict has no numbers."""
    empty = next((key for key, value in state.items() if not value.numel()), None)
    if empty is not None:
        raise UserError(f"{file} is broken: {empty} is empty")


def content(generator):
    """The content of a genforce file of this generator."""
    state = {key: value.clone(memory_format=torch.contiguous_format) for key, value in generator.state_dict().items()}
    options = {name: getattr(generator, name, None) for name in OPTIONS}
    return {"generator_smooth": state} | {name: value for name, value in options.items() if value is not None}
