"""Tar archives as bytes, valid ones and others."""

import hashlib
import io
import tarfile


def tar(files, *members, mode="w"):
    """The bytes of an archive of {name: bytes} and of further members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return file.getvalue()


def special(name, kind, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def sha256(content):
    return hashlib.sha256(content).hexdigest()
