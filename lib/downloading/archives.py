"""Archives from anyone: what is unpacked are plain files that were asked for, into a directory of their own."""

import tarfile
import zlib
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from lib.downloading.hashes import copy_hashing

EXPERIMENT_HAS = "args.json"


class Refused(Exception):
    """What is wrong with an archive, in one line."""


@contextmanager
def plain_files(path, free):
    """{PurePosixPath: function that opens the file} of a tar archive, packed in any way; it may hold `free` bytes.

    Raises Refused where the archive is no archive or broken, and where it holds anything that could reach out of the
    directory that it is unpacked to: a link, a device, an absolute name, a name with `..`.
    """
    try:
        with tarfile.open(path) as archive:
            members = {}
            for member in archive:
                name = _checked(member)
                if not member.isreg():
                    continue
                if name in members:
                    raise Refused(f"it holds {name} twice")
                members[name] = member
            size = sum(member.size for member in members.values())
            if size > free:
                raise Refused(f"unpacked it takes {size:,} bytes, and the disk has {free:,} free")
            yield {name: lambda member=member: archive.extractfile(member) for name, member in members.items()}
    except (tarfile.TarError, EOFError, zlib.error, LZMAError, OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise Refused(f"it is no sound archive ({reason})") from None


def _checked(member):
    """The name of an archive's member. Raises Refused where it is dangerous."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or not member.name.isprintable():
        raise Refused(f"it holds {member.name!r}, which is no safe name")
    if not (member.isreg() or member.isdir()) or member.issparse():
        kinds = {"a symbolic link": member.issym(), "a hard link": member.islnk(), "a sparse file": member.issparse()}
        kind = next((kind for kind, so in kinds.items() if so), "a device or the like")
        raise Refused(f"it holds {member.name!r}, {kind}")
    try:
        tarfile.data_filter(member, "/nowhere")
    except tarfile.FilterError as error:
        raise Refused(str(error)) from None
    return name


def folder_files(directory):
    """What `plain_files` gives, of a directory. Raises Refused where it holds anything but files and directories."""
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Refused(f"it holds {path}, no plain file")
        if path.is_file():
            found[PurePosixPath(path.relative_to(directory))] = lambda path=path: open(path, "rb")
    return found


def find_named(files, names):
    """{name: path in the archive} of files that lie anywhere in it. Raises Refused where one is missing or twice."""
    found = {name: [path for path in files if path.name == name] for name in names}
    for name, paths in found.items():
        if len(paths) != 1:
            raise Refused(f"it holds {name} twice" if paths else f"it lacks {name}")
    return {name: path for name, (path,) in found.items()}


def find_experiments(files):
    """{"<experiment>/<file>": path in the archive} of every directory that has an args.json, anywhere in it.

    Raises Refused where there is none, or two of one name.
    """
    roots = {path.parent for path in files if path.name == EXPERIMENT_HAS}
    roots = {root for root in roots if not roots & set(root.parents)}
    names = [root.name for root in roots]
    if not names:
        raise Refused(f"it holds no experiment, which is a directory with {EXPERIMENT_HAS}")
    odd = next((name for name in names if not name or name.startswith(".") or names.count(name) > 1), None)
    if odd is not None:
        raise Refused(f"it holds an experiment of the name {odd!r}, or two of that name")
    found = {}
    for path in sorted(files):
        root = next((parent for parent in path.parents if parent in roots), None)
        if root is not None:
            found[f"{root.name}/{path.relative_to(root)}"] = path
    return found


def unpack(files, directory):
    """Write {path: function that opens the file} below a directory; returns {path: SHA-256}."""
    hashes = {}
    for path, opened in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened() as stream:
            hashes[path] = copy_hashing(stream, target)
    return hashes
