"""Archives that are not to be trusted: only regular files that were asked for are unpacked, into a new directory."""

import bz2
import gzip
import lzma
import os
import tarfile
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from lib.downloading.hashes import copy_hashing
from models.errors import quoted

MOST_MEMBERS = 100_000
MOST_AT_ONCE = 16 << 20  # bytes: a header that claims more is not one
# Weights cannot be compressed: an archive that gives so many times its size is not one of weights.
MOST_RATIO, ALWAYS_ALLOWED = 100, 256 << 20  # bytes
DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError, OverflowError, MemoryError)
COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


class ArchiveError(Exception):
    """An archive, or a directory in its stead, is refused; the message says why, in one line."""


@contextmanager
def regular_files(path, free):
    """{PurePosixPath: function that opens the file} of a tar archive, compressed or not.

    Raises ArchiveError where it is damaged or not an archive, where its files take more than `free` bytes, and where it
    contains anything that could reach outside of the directory that it is unpacked to: a link, a device, an absolute
    name, a name with `..`.
    """
    try:
        with _opened(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            members = _members(archive, free)
            yield {name: lambda member=member: archive.extractfile(member) for name, member in members.items()}
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the disk, not of the archive
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise ArchiveError(f"it is not a valid archive ({reason})") from None


@contextmanager
def _opened(path):
    """The bytes of a tar archive, decompressed, as a stream that has an end."""
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        start = file.read(8)
        file.seek(0)
        decompress = next((found for magic, found in COMPRESSIONS.items() if start.startswith(magic)), None)
        stream = stack.enter_context(decompress(file)) if decompress else file
        yield _Limited(stream, MOST_RATIO * os.path.getsize(path) + ALWAYS_ALLOWED)


class _Limited:
    """A stream that raises ArchiveError where a header claims too much, or the whole is longer than `most` bytes."""

    def __init__(self, stream, most):
        self.stream, self.most = stream, most
        self.tell = stream.tell

    def read(self, size):
        if size > MOST_AT_ONCE:
            raise ArchiveError(f"it has a header that claims {size:,} bytes")
        self._check(self.tell() + size)
        return self.stream.read(size)

    def seek(self, position, whence=os.SEEK_SET):
        self._check(position if whence == os.SEEK_SET else 0)
        return self.stream.seek(position, whence)

    def _check(self, position):
        if position > self.most:
            raise ArchiveError(f"it is longer than {self.most:,} bytes unpacked, more than weights can be")


def _members(archive, free):
    """{PurePosixPath: member} of an archive's regular files."""
    members, size = {}, 0
    for count, member in enumerate(archive):
        name = _checked(member)
        if count >= MOST_MEMBERS:
            raise ArchiveError(f"it has more than {MOST_MEMBERS:,} members")
        if not member.isreg():
            continue
        if name in members:
            raise ArchiveError(f"it contains {name} twice")
        members[name] = member
        size += member.size
    if size > free:
        raise ArchiveError(f"it takes {size:,} bytes unpacked, but the disk has only {free:,} free")
    return members


def _checked(member):
    """The name of an archive's member. Raises ArchiveError where the member is not a regular file or a directory."""
    name = PurePosixPath(member.name)
    if member.size < 0:
        raise ArchiveError("it contains a file of less than no bytes")
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or not member.name.isprintable():
        raise ArchiveError(f"it contains {quoted(member.name)}, which is not a safe name")
    if not (member.isreg() or member.isdir()) or member.issparse():
        kinds = {"a symbolic link": member.issym(), "a hard link": member.islnk(), "a sparse file": member.issparse()}
        kind = next((kind for kind, applies in kinds.items() if applies), "a special file")
        raise ArchiveError(f"it contains {quoted(member.name)}, {kind}")
    try:
        tarfile.data_filter(member, "/nowhere")
    except tarfile.FilterError as error:
        raise ArchiveError(str(error)) from None
    return name


def folder_files(directory):
    """{PurePosixPath: function that opens the file} of a directory.

    Raises ArchiveError where it contains anything but regular files and directories.
    """
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ArchiveError(f"it contains {path}, which is not a regular file")
        if path.is_file():
            found[PurePosixPath(path.relative_to(directory))] = lambda path=path: open(path, "rb")
    return found


def find_named(files, names):
    """{name: path in the archive} of files that lie anywhere in it.

    Raises ArchiveError where one is missing, or there twice.
    """
    found = {name: [path for path in files if path.name == name] for name in names}
    for name, paths in found.items():
        if len(paths) != 1:
            raise ArchiveError(f"it contains {name} twice" if paths else f"it does not contain {name}")
    return {name: path for name, (path,) in found.items()}


def unpack(files, directory):
    """Write {path: function that opens the file} below a directory; returns {path: SHA-256}."""
    hashes = {}
    for path, opened in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened() as stream:
            hashes[path] = copy_hashing(stream, target)
    return hashes
