"""A directory that one process at a time downloads to."""

import fcntl
import os
from contextlib import contextmanager, suppress

from models.errors import UserError

WORK = ".download"  # below the directory of the assets: on the same disk, so that a rename puts files into place


@contextmanager
def claimed(directory):
    """The directory `.download` in a directory, where files arrive; every other process is kept out of it.

    Raises UserError where another process has it. Leaves no empty directory behind.
    """
    work = directory / WORK
    made = [path for path in (work, *work.parents) if not path.exists()]
    work.mkdir(parents=True, exist_ok=True)
    path = work / "lock"
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process before may have removed the file between our open and our lock: then the lock excludes nobody.
            ours = path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat())
        except BlockingIOError:
            ours = False
        if not ours:
            raise UserError(f"another process is downloading to {directory}: wait until it has finished")
        try:
            yield work
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                for empty in [work, *made[1:]]:
                    empty.rmdir()
