"""Files into their places: each in one step, whole or not at all, with its hash recorded beside it.

Without a record a file is verified before it is relied on. So a record is removed before its file is replaced, and
written after.
"""

import os
import shutil
from contextlib import contextmanager

from lib.downloading.archives import unpack
from lib.downloading.assets import is_address
from lib.downloading.checking import check_content
from lib.downloading.hashes import UNKNOWN, Record, copy_hashing, record_path


@contextmanager
def empty_directory(work):
    """A directory below `work` that exists for the time of the block."""
    directory = work / "unpacked"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def place_files(asset, files, directory, work, origin):
    """Unpack {file: function that opens it}, and place the files in a directory once all are verified.

    Raises UserError where a file is not what it should be; an archive with a published hash is not checked further.
    """
    with empty_directory(work) as unpacked:
        hashes = unpack(files, unpacked)
        for file in () if asset.sha256 else hashes:
            check_content(unpacked / file, asset, file)
        for file, sha256 in hashes.items():
            place(unpacked / file, directory / file, sha256, origin)


def as_genforce(arrived, path, source):
    """A file that may be moved: `arrived` itself where it was fetched, else at `path` its copy or its conversion."""
    if source.format != "genforce":
        from models.formats import convert

        convert(arrived, path)
        return path
    if is_address(source.location):
        return arrived
    with open(arrived, "rb") as stream:
        copy_hashing(stream, path)
    return path


def place(new, target, sha256, origin):
    """Move a file into its place, and record its hash."""
    record_path(target).unlink(missing_ok=True)
    os.replace(new, target)
    write_record(target, sha256, origin)


def write_record(target, sha256, origin=UNKNOWN):
    record = Record(record_path(target), origin=origin)
    record.add(target.name, sha256)
    record.write()


def exchange(new, target):
    """Move a directory to `target`; one that is there already is moved beside `new`, as <name>.old."""
    old = new.with_name(f"{new.name}.old")
    if os.path.lexists(target):
        os.rename(target, old)
    try:
        os.rename(new, target)
    except OSError:
        if os.path.lexists(old):
            os.rename(old, target)
        raise
