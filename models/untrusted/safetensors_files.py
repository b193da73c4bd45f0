"""Files of safetensors that are not to be trusted: the library checks what their headers claim, here it is limited."""

import os
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from models.errors import UserError
from models.untrusted.plain_data import NotPlain, Plain

KINDS = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
MOST_HEADER = 16 << 20  # bytes: a hundred thousand tensors


def load_safetensors(path):
    """({name: tensor}, {name: text}) of the tensors and the metadata in a file.

    The tensors are as `load_tensors` gives them. Raises UserError where the file is damaged, claims more than it has,
    or has tensors of other kinds, and where it is missing.
    """
    with _opened(path) as file:
        return {key: file.get_tensor(key).clone() for key in file.keys()}, Plain().tree(file.metadata() or {})


def check_safetensors(path):
    """Raise UserError where `load_safetensors` would; no tensor is read."""
    with _opened(path):
        pass


@contextmanager
def _opened(path):
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        with open(path, "rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > min(MOST_HEADER, os.path.getsize(path)):
            raise NotPlain(f"has a header of {header:,} bytes")
        with safe_open(path, "pt") as file:
            plain = Plain()
            for key in file.keys():
                kind = file.get_slice(plain.key(key)).get_dtype()
                if kind not in KINDS:
                    raise NotPlain(f"has a tensor of {kind}")
            yield file
        return
    except NotPlain as error:
        reason = f"it {error}"
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
    raise UserError(f"{path} cannot be read as safetensors ({reason}): download or copy it again")
