"""Files that are never half-written, and their hashes."""

import hashlib
import io
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from models.directories import opened


@contextmanager
def replacing(path, durable=True):
    """A binary file that replaces `path` once it is completely written, and is removed if anything fails before.

    A durable file also survives a power cut. Pictures need not: there are many, and they can be made again. Missing
    directories are made; links are followed as `models.directories` says, and one at `path` itself is replaced.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with opened(path.parent, make=True) as directory:
            _unlink(partial.name, directory)  # of a process that was killed and had this one's number
            try:
                with _Buffered(io.FileIO(str(partial), "w", opener=_creating(directory))) as file:
                    yield file
                    if durable:
                        file.flush()
                        os.fsync(file.raw.fileno())
                os.replace(partial.name, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                _unlink(partial.name, directory)
    except OSError as error:
        if error.filename is None or error.filename == partial.name:  # the error of a full disk does not name the file
            error.filename, error.filename2 = str(path), None
        raise


class _Buffered(io.BufferedWriter):
    """A file that is written by `write` alone: Pillow writes to descriptors itself, and loses the rest where a disk
    takes only a part."""

    def fileno(self):
        raise io.UnsupportedOperation("fileno")


def _unlink(name, directory):
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _creating(directory):
    """An opener that makes a new file in the directory of a descriptor."""
    def create(path, flags):
        return os.open(os.path.basename(path), flags | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=directory)

    return create


def sha256(path):
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
