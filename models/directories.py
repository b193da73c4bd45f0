"""Directories that are worked in: nothing in one is reached through a symbolic link, and none vanishes unnoticed.

An experiment or a pool may come from a stranger, with links in it that lead anywhere. So its directory is held while
something is written there: every path below it is followed step by step, without links, and it must still be the
directory that it was when it was first held. What lies above a held directory may be links, which are the user's own.
"""

import errno
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import UserError

_held = {}  # absolute path: (device, inode)

OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def hold(directory, make=False):
    """Follow no link below a directory from now on, nor at it, if it lies in one that is held already.

    make: create it, with those above it, where it is missing. Raises UserError where there is a link.
    """
    descriptor = open_directory(directory, make)
    try:
        _held[_absolute(directory)] = _identity(descriptor)
    finally:
        os.close(descriptor)


def release(directory):
    """Hold a directory no longer. Does nothing if it is not held."""
    _held.pop(_absolute(directory), None)


def any_held():
    """Whether work in some directory has begun."""
    return bool(_held)


def all_held():
    """What `hold_again` needs in another process."""
    return dict(_held)


def hold_again(held):
    """Hold what another process holds."""
    _held.update(held)


def is_still_there(directory):
    """Whether a held directory is still what it was."""
    try:
        return _identity_of(directory) == _held[_absolute(directory)]
    except OSError:
        return False


@contextmanager
def opened(directory, make=False):
    """A descriptor of a directory for the time of the block; see `open_directory`."""
    descriptor = open_directory(directory, make)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_directory(directory, make=False):
    """A descriptor of a directory, to be closed by the caller.

    make: create it, with those above it, where it is missing. Raises UserError where it is below a held directory that
    has vanished or been replaced, or where a link leads to it from there.
    """
    path = _absolute(directory)
    root, parts = _nearest_held(path)
    if root is None:
        if make:
            os.makedirs(path, exist_ok=True)
        return os.open(directory, OPEN)
    descriptor = _open_held(root)
    for depth, part in enumerate(parts, start=1):
        try:
            below = _open_below(descriptor, part, make)
        except OSError as error:
            raise _explained(error, os.path.join(root, *parts[:depth])) from None
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def make(directory):
    """Create a directory and those above it, where they are missing."""
    os.close(open_directory(directory, make=True))


def remove(path):
    """Remove a file, a link or a whole directory. Does nothing if there is none."""
    path = Path(path)
    with suppress(FileNotFoundError), opened(path.parent) as parent:
        if stat.S_ISDIR(os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode):
            shutil.rmtree(path.name, dir_fd=parent)
        else:
            os.unlink(path.name, dir_fd=parent)


def empty(directory):
    """Remove everything in a directory."""
    with opened(directory) as descriptor:
        names = os.listdir(descriptor)
    for name in names:
        remove(Path(directory) / name)


def rename(old, new):
    """Rename a file or a directory. A directory's parent must exist."""
    old, new = Path(old), Path(new)
    with opened(old.parent) as source, opened(new.parent) as target:
        try:
            os.rename(old.name, new.name, src_dir_fd=source, dst_dir_fd=target)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(old)) from None


def opener(path, flags):
    """For `open`: opens a file in a directory as `open_directory` does, and never one at the end of a link."""
    path = Path(path)
    with opened(path.parent) as parent:
        try:
            return os.open(path.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=parent)
        except OSError as error:
            raise _explained(error, str(path)) from None


def move(old, new):
    """Rename a directory, or copy it where `new` is on another disk; then too it appears there whole or not at all."""
    try:
        rename(old, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        old, new = Path(old), Path(new)
        partial = new.with_name(f".{new.name}.partial")
        remove(partial)
        try:
            shutil.copytree(old, partial, symlinks=True)
            rename(partial, new)
        finally:
            remove(partial)
        remove(old)


def remove_partial(directory):
    """Remove what `models.files.replacing` has left below a directory in a process that was killed."""
    with opened(directory) as descriptor:
        for _, _, names, below in os.fwalk(dir_fd=descriptor):
            for name in names:
                if name.startswith(".") and name.endswith(".partial"):
                    os.unlink(name, dir_fd=below)


def _absolute(path):
    return str(Path.cwd() / path)


def _nearest_held(path):
    """(the nearest held directory at or above an absolute path, the parts of the path below it), or (None, None)."""
    root, parts = Path(path), []
    while str(root) not in _held:
        if root == root.parent:
            return None, None
        parts.insert(0, root.name)
        root = root.parent
    return str(root), parts


def _open_held(root):
    try:
        descriptor = os.open(root, OPEN)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(_vanished(root)) from None
    if _identity(descriptor) != _held[root]:
        os.close(descriptor)
        raise UserError(_vanished(root))
    return descriptor


def _open_below(parent, name, make):
    try:
        return os.open(name, OPEN | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another process has made it meanwhile
        os.mkdir(name, dir_fd=parent)
    return os.open(name, OPEN | os.O_NOFOLLOW, dir_fd=parent)


def _explained(error, path):
    """The error for a directory that cannot be opened: of a link, a UserError."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR) and os.path.islink(path):
        return linked(path)
    return OSError(error.errno, error.strerror, _shown(path))


def linked(path):
    """The `UserError` for a symbolic link in the place of a directory."""
    return UserError(f"{_shown(path)} is a symbolic link to {os.readlink(path)}, and nothing is written through links "
                     "within experiments and pools: use the directory itself")


def _vanished(root):
    return f"{_shown(root)} was removed or replaced while it was being written to: run the command again"


def _shown(path):
    """As the user knows it: relative where it is below the working directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _identity(descriptor):
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _identity_of(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino
