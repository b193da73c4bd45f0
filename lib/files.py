"""Files that are never half-written."""

import json
from pathlib import Path

from models.errors import UserError
from models.files import replacing


def write_text(text, path):
    with replacing(path) as file:
        file.write(text.encode())


def write_json(content, path):
    write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", path)


def read_json(path):
    """The content of a JSON file. Raises UserError where it is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (ValueError, RecursionError) as error:  # ValueError: of JSON, of UTF-8, of numbers too long
        raise UserError(f"{path} is not valid JSON: {error}") from None


def check_generator(before, now, directory):
    """Raise UserError where the settings before were of another generator's file than those now.

    Files are told apart by their SHA-256, `gan_sha256`, which the authors' experiments and early ones of ours do not
    state. Returns the names of the settings that need no other comparison.
    """
    if before.gan_sha256 is None:
        return {"gan_sha256"}
    if before.gan_sha256 != now.gan_sha256:
        raise UserError(
            f"{directory} was made with another file of this generator's name (its SHA-256 begins with "
            f"{before.gan_sha256[:12]}, now with {str(now.gan_sha256)[:12]}): bring that file back, or rename this one"
        )
    return {"gan_sha256", "gan"}


def save_tensors(content, path):
    import torch  # here: download.py and the processes that encode pictures write files and need no torch

    with replacing(path) as file:
        torch.save(content, file)
