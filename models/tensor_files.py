"""Files of tensors from anyone: nothing but tensors and plain containers is read out of them."""

import warnings
from pathlib import Path

import torch

from models.errors import UserError


def load_tensors(path, device="cpu"):
    """The content of a file that torch.save wrote.

    Raises UserError where the file is missing, broken, or holds anything but tensors and plain containers of them.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of odd files before it fails on them
            return torch.load(path, map_location=device, weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file fails in any way: unpickling, a missing record, a wrong type
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path} cannot be read as a file of tensors ({reason}): get it again") from None
