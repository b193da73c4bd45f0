"""Files of safetensors that are not to be trusted: tensors, and text about them."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from models.errors import UserError


def load_safetensors(path):
    """({name: tensor}, {name: text}) of a file. Raises UserError where it is missing or damaged."""
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        with safe_open(path, "pt") as tensors:
            return {key: tensors.get_tensor(key) for key in tensors.keys()}, tensors.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read as safetensors ({reason}): download or copy it again") from None
