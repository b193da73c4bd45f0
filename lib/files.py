"""Files that are never half-written."""

import io
import json

from models.errors import UserError, one_line
from models.files import replacing
from models.untrusted.text_files import load_json


def write_text(text, path):
    with replacing(path) as file:
        file.write(text.encode())


def write_json(content, path):
    write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", path)


def read_json(path):
    """The content of a JSON file, plain data within the limits of `models.untrusted.plain_data`.

    Raises UserError if it is missing, broken or too large.
    """
    return load_json(path)


def check_generator(before, now, directory):
    """Raise UserError if the settings `before` have another generator file than those `now`.

    Files are compared by their SHA-256, `gan_sha256`, which the authors' experiments and early ones of ours lack.
    Returns the names of the settings that need not be compared any further.
    """
    if before.gan_sha256 is None:
        return {"gan_sha256"}
    if before.gan_sha256 != now.gan_sha256:
        raise UserError(
            f"{directory} was made with another file with this generator's name (its SHA-256 begins with "
            f"{one_line(before.gan_sha256, 12)}, now with {str(now.gan_sha256)[:12]}): restore that file, or give this "
            "one another name"
        )
    return {"gan_sha256", "gan"}


def save_tensors(content, path):
    import torch  # here, since download.py and the processes that encode pictures use this module without torch

    # In memory first: torch hides the error of a disk that is full behind one of its own.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as file:
        file.write(buffer.getbuffer())
