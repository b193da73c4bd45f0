"""SHA-256 of files, and the records of them beside what was downloaded."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lib.files import write_text
from models.files import sha256 as sha256_of

CHUNK = 1 << 20  # bytes
SOURCE = re.compile(r"# from (\S+), ([0-9a-f]{64}) as it came")
HASH = re.compile(r"([0-9a-f]{64})  (.+)")
STAMP = re.compile(r"# (\d+) bytes, changed at (\d+) ns")


def copy_hashing(stream, path):
    """Copy a binary stream to a new file; returns its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def record_path(target):
    """Where the record of a file stands, or that of an asset's experiments."""
    return target.with_name(f"{target.name}.sha256")


def _stamp(path):
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class Origin(NamedTuple):
    """Where a file was downloaded from."""

    location: str = ""
    sha256: str = ""  # of what came from there: an archive, or the file before it was converted


UNKNOWN = Origin()


@dataclass
class Record:
    """The SHA-256 of files, in a file that `sha256sum -c` can read.

    Comments give the files' origin, and the size and time of change of each file when its hash was last verified, so
    that a quick check need not read the file again.
    """

    path: Path
    hashes: dict = field(default_factory=dict)  # {file, relative to the record's directory: SHA-256}
    origin: Origin = UNKNOWN
    _stamps: dict = field(default_factory=dict)  # {file: (bytes, ns)}

    @classmethod
    def beside(cls, target):
        """The record of a file, or of an asset's experiments; an empty one where there is none."""
        return cls.read(record_path(target))

    @classmethod
    def read(cls, path):
        """The record in a file; an empty one where there is none, or where it cannot be read."""
        record = cls(Path(path))
        try:
            lines = record.path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return record
        name = None
        for line in lines:
            if match := SOURCE.fullmatch(line):
                record.origin = Origin(*match.groups())
            elif match := HASH.fullmatch(line):
                name = match[2]
                record.hashes[name] = match[1]
            elif name and (match := STAMP.fullmatch(line)):
                record._stamps[name] = int(match[1]), int(match[2])
        return record

    def add(self, name, sha256):
        """Record a file that has just been written or verified."""
        self.hashes[name] = sha256
        self._stamps[name] = _stamp(self.path.parent / name)

    def write(self):
        location, as_it_came = self.origin
        lines = [f"# from {location}, {as_it_came} as it came"] if location else []
        for name, sha256 in self.hashes.items():
            size, changed = self._stamps.get(name, (0, 0))
            lines += [f"{sha256}  {name}", f"# {size} bytes, changed at {changed} ns"]
        write_text("\n".join(lines) + "\n", self.path)

    def broken(self, quick):
        """The first file that is missing or has another hash; None where all are intact.

        A quick check reads only the files that changed their size or time since their hash was last verified.
        """
        verified = dict(self._stamps)
        for name, sha256 in self.hashes.items():
            file = self.path.parent / name
            if not file.is_file():
                return name
            if quick and self._stamps.get(name) == _stamp(file):
                continue
            if sha256_of(file) != sha256:
                return name
            verified[name] = _stamp(file)
        if verified != self._stamps:
            self._stamps = verified
            try:
                self.write()
            except OSError:  # a directory without permission to write: the next check takes as long
                pass
        return None
