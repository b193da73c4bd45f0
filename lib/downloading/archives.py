"""Archives that are not to be trusted: only regular files that were asked for are unpacked, into a new directory."""

import tarfile
import zlib
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from lib.downloading.hashes import copy_hashing


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
        with tarfile.open(path) as archive:
            members = {}
            for member in archive:
                name = _checked(member)
                if not member.isreg():
                    continue
                if name in members:
                    raise ArchiveError(f"it contains {name} twice")
                members[name] = member
            size = sum(member.size for member in members.values())
            if size > free:
                raise ArchiveError(f"it takes {size:,} bytes unpacked, but the disk has only {free:,} free")
            yield {name: lambda member=member: archive.extractfile(member) for name, member in members.items()}
    except (tarfile.TarError, EOFError, zlib.error, LZMAError, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the disk, not of the archive
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise ArchiveError(f"it is not a valid archive ({reason})") from None


def _checked(member):
    """The name of an archive's member. Raises ArchiveError where the member is not a regular file or a directory."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or not member.name.isprintable():
        raise ArchiveError(f"it contains {member.name!r}, which is not a safe name")
    if not (member.isreg() or member.isdir()) or member.issparse():
        kinds = {"a symbolic link": member.issym(), "a hard link": member.islnk(), "a sparse file": member.issparse()}
        kind = next((kind for kind, applies in kinds.items() if applies), "a special file")
        raise ArchiveError(f"it contains {member.name!r}, {kind}")
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
