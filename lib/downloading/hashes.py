"""SHA-256 of files, and the records of it that stand beside what was downloaded."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from lib.files import write_text
from models.files import sha256 as sha256_of

CHUNK = 1 << 20  # bytes
SOURCE = re.compile(r"# from (\S+), ([0-9a-f]{64}) as it came")
HASH = re.compile(r"([0-9a-f]{64})  (.+)")
STAMP = re.compile(r"# (\d+) bytes, changed at (\d+) ns")


def copy_hashing(stream, path):
    """Write what a binary stream holds to a new file; returns its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _stamp(path):
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@dataclass
class Record:
    """The hashes of files, in a file that `sha256sum -c` reads too, run in its directory.

    Comments keep where the files came from, and each one's size and time of change when it was last found sound, so
    that a quick look need not read it through again.
    """

    path: Path
    hashes: dict = field(default_factory=dict)  # file, relative to the record's directory: SHA-256
    source: str = ""  # address that the files were fetched from
    source_sha256: str = ""  # of what came from there: an archive, or a file before its conversion
    _stamps: dict = field(default_factory=dict)  # file: (bytes, ns)

    @classmethod
    def read(cls, path):
        """The record in a file; an empty one where there is none or where it cannot be read."""
        record = cls(Path(path))
        try:
            lines = record.path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return record
        name = None
        for line in lines:
            if match := SOURCE.fullmatch(line):
                record.source, record.source_sha256 = match.groups()
            elif match := HASH.fullmatch(line):
                name = match[2]
                record.hashes[name] = match[1]
            elif name and (match := STAMP.fullmatch(line)):
                record._stamps[name] = int(match[1]), int(match[2])
        return record

    def add(self, name, sha256):
        """Record a file that has just been written, or read through."""
        self.hashes[name] = sha256
        self._stamps[name] = _stamp(self.path.parent / name)

    def write(self):
        lines = [f"# from {self.source}, {self.source_sha256} as it came"] if self.source else []
        for name, sha256 in self.hashes.items():
            size, changed = self._stamps.get(name, (0, 0))
            lines += [f"{sha256}  {name}", f"# {size} bytes, changed at {changed} ns"]
        write_text("\n".join(lines) + "\n", self.path)

    def broken(self, quick):
        """The first file that is missing or has another hash; None where all are sound.

        A quick look reads only files whose size or time of change differ from those of the last look.
        """
        looked = dict(self._stamps)
        for name, sha256 in self.hashes.items():
            file = self.path.parent / name
            if not file.is_file():
                return name
            if quick and self._stamps.get(name) == _stamp(file):
                continue
            if sha256_of(file) != sha256:
                return name
            looked[name] = _stamp(file)
        if looked != self._stamps:
            self._stamps = looked
            try:
                self.write()
            except OSError:  # a directory that others own: the next look takes as long
                pass
        return None
