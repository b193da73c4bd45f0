"""Files that are never half-written."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

from models.errors import UserError


@contextmanager
def replacing(path, durable=True):
    """A binary file that takes `path`'s place once it is written whole, and is gone if anything fails before.

    A durable one outlives a power cut too; pictures, of which there are many and which can be made again, need not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say which file it was
        raise
    finally:
        partial.unlink(missing_ok=True)


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


def differences(before, now, ignored=frozenset()):
    """Where two dicts of settings differ, as "lr is 0.1, was 0.2, .."; empty where they do not."""
    named = (before.keys() | now.keys()) - ignored
    differing = sorted(key for key in named if before.get(key) != now.get(key))
    return ", ".join(f"{key} is {now.get(key)!r}, was {before.get(key)!r}" for key in differing)


def save_tensors(content, path):
    import torch  # not above: the processes that encode pictures import this module too

    with replacing(path) as file:
        torch.save(content, file)
