"""Files that are never half-written, and their hashes."""

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path, durable=True):
    """A binary file that replaces `path` once it is completely written, and is removed if anything fails before.

    A durable file also survives a power cut. Pictures need not: there are many, and they can be made again.
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
        error.filename = error.filename or str(path)  # the error of a full disk does not name the file
        raise
    finally:
        partial.unlink(missing_ok=True)


def sha256(path):
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
