"""Files of numpy that are not to be trusted: only an array of numbers is read from them."""

from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch

from models.errors import UserError

DAMAGE = (ValueError, OSError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError)


def load_array(path):
    """The array of a .npy file, a float32 tensor.

    Raises UserError where the file is missing or damaged, where its array is of objects, which would be unpickled, or
    of anything but real numbers, and where it claims more numbers than it has.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        # A map is as long as the header claims: a shorter file is refused before memory is asked for.
        array = np.lib.format.open_memmap(path, mode="r")
        if array.dtype.kind not in "fiu":
            raise ValueError(f"its numbers are of the type {array.dtype}")
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    except DAMAGE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path} cannot be read as an array of numpy's ({reason}): download or copy it again") from None
