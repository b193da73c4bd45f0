"""What has been read already, code by code, so that an evaluation that was stopped goes on, and one that is asked
again with more codes or another own number reads only what it lacks.

    key.json              what the readings depend on
    reach.json            where the paths were found to have their reach
    along/<code>.npz      what was read along all paths from one code
    at_reach/<code>.npz   what was read at each path's reach
"""

import fcntl
import os
from dataclasses import replace

import numpy as np

from lib.files import read_json, write_json
from lib.settings import Range
from models import directories
from models.errors import UserError
from models.files import replacing
from models.untrusted.numpy_files import load_stored

REACH = Range(low=0)


class Store:
    """The readings of one judge in a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.lock = None
        self.is_new = False  # whether all that is in it was read since it was opened

    def open(self, key):
        """Make the directory, or empty it where its key, a plain dict, is another one.

        Raises UserError where another process has it open. Only the first of several processes may open it.
        """
        self.lock = directories.open_directory(self.directory, make=True)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise UserError(f"another process is reading into {self.directory}: wait for it") from None
        file = self.directory / "key.json"
        if not file.is_file() or read_json(file) != key:
            directories.empty(self.directory)
            write_json(key, file)
            self.is_new = True
        directories.remove_partial(self.directory)  # left by a process that was killed

    def close(self):
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def discard(self):
        """Remove the directory, and those above it that are empty then, unless it has readings of an earlier time."""
        if self.lock is None or not self.is_new:
            return
        directories.remove(self.directory)
        for above in self.directory.parents:
            try:
                above.rmdir()
            except OSError:  # not empty
                return

    def save(self, kind, code, arrays):
        save_arrays(self.directory / kind / f"{code}.npz", arrays)

    def load(self, kind, code, shapes):
        """{name: array}, or None where they are not there or damaged, or lack an array of `shapes`, {name: shape}, or
        have it in another shape."""
        arrays = load_arrays(self.directory / kind / f"{code}.npz")
        if arrays is None or any(name not in arrays or arrays[name].shape != shape for name, shape in shapes.items()):
            return None
        return arrays if all(array.dtype.kind == "f" for array in arrays.values()) else None

    def known_reach(self, codes, aims):
        """The aims with the radius that was found before for the same codes and own numbers; None where it was not."""
        file = self.directory / "reach.json"
        known = read_json(file) if file.is_file() else None
        if not isinstance(known, dict) or known.get("for") != _found_for(codes, aims):
            return None
        reach = known.get("reach")
        if not isinstance(reach, list) or len(reach) != len(aims) or not all(type(one) is float and one in REACH
                                                                            for one in reach):
            return None
        return [replace(aim, radius=radius) for aim, radius in zip(aims, known["reach"])]

    def keep_reach(self, codes, aims):
        found = {"for": _found_for(codes, aims), "reach": [aim.radius for aim in aims]}
        write_json(found, self.directory / "reach.json")

    def stacked(self, kind, codes):
        """The arrays of all codes, {name: (B, ...)}: each is in a file, which goes when it is no longer needed, so that
        many codes fill no memory.

        Raises UserError where the codes have different arrays, which were not read by the same evaluation.
        """
        stacks = {}
        for row, code in enumerate(codes):
            arrays = load_arrays(self.directory / kind / f"{code}.npz") or {}
            if row and {name: array.shape for name, array in arrays.items()} != {
                    name: stack.shape[1:] for name, stack in stacks.items()}:
                raise UserError(f"{self.directory} has readings that do not belong together: remove it")
            for name, array in arrays.items():
                if name not in stacks:
                    shape = len(codes), *array.shape
                    stacks[name] = _in_file(self.directory / f".{kind}-{name}.partial", shape, array.dtype)
                stacks[name][row] = array
        return stacks


def _found_for(codes, aims):
    return {"codes": codes, "own": [[aim.own, aim.sign] for aim in aims]}


def _in_file(path, shape, dtype):
    """An array in a file that has no name any more: it ends with the process, however that ends."""
    with directories.opened(path.parent) as parent:
        descriptor = os.open(path.name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
        os.unlink(path.name, dir_fd=parent)
    with open(descriptor, "w+b") as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def save_arrays(path, arrays):
    """Write {name: array} as an .npz, whole or not at all."""
    with replacing(path, durable=False) as file:
        np.savez(file, **arrays)


def load_arrays(path):
    """{name: array} of an .npz that `save_arrays` wrote; None where it is missing, or damaged as by a power cut."""
    try:
        return load_stored(path)
    except UserError:
        return None
