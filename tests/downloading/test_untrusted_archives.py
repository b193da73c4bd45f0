"""Archives that are damaged, or that reach outside of the directory that they are unpacked to."""

import gzip
import shutil
import subprocess
import tarfile
import types
from pathlib import Path

import pytest
from tar_archives import special, tar
from tiny_assets import PROBE, refused, serve

from lib.downloading import archives

ESCAPES = {
    "dots": tar({"../probe.pth": PROBE}),
    "backslash": tar({"..\\probe.pth": PROBE}),
    "line break": tar({"probe\n.pth": PROBE}),
    "dots inside": tar({"probe/../../../probe.pth": PROBE}),
    "absolute": tar({"/tmp/escaped/probe.pth": PROBE}),
    "symbolic link": tar({"probe.pth": PROBE}, special("link", tarfile.SYMTYPE, "/etc")),
    "link inside": tar({"probe.pth": PROBE}, special("link", tarfile.SYMTYPE, "probe.pth")),
    "hard link": tar({"probe.pth": PROBE}, special("link", tarfile.LNKTYPE, "probe.pth")),
    "the file as a link": tar({}, special("probe.pth", tarfile.SYMTYPE, "/etc/passwd")),
    "character device": tar({"probe.pth": PROBE}, special("device", tarfile.CHRTYPE)),
    "block device": tar({"probe.pth": PROBE}, special("device", tarfile.BLKTYPE)),
    "pipe": tar({"probe.pth": PROBE}, special("pipe", tarfile.FIFOTYPE)),
}


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("content", ESCAPES.values(), ids=ESCAPES)
def test_archive_that_reaches_outside_is_refused(content, stated, command, place, tmp_path):
    serve(place, "probe", content, stated)
    refused(command("--only", "probe"), "probe.tar", "it contains")
    assert not place.to.exists() and not Path("/tmp/escaped").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"assets.json"}


@pytest.mark.parametrize("top", ["", "./", "probe/", "some/where/"])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_archive_may_have_a_top_directory_and_be_compressed(top, mode, command, place):
    serve(place, "probe", tar({f"{top}probe.pth": PROBE}, mode=mode))
    assert command("--only", "probe")[0] == 0
    assert place.files() == {"weights/probe/probe.pth"}


def test_file_that_is_not_one_of_the_assets_stays_in_the_archive(command, place):
    files = {"probe.pth": PROBE, "README": b"x", "stylegan2_tiny.pth": b"y"}
    serve(place, "probe", tar(files))
    assert command("--only", "probe")[0] == 0
    assert place.files() == {"weights/probe/probe.pth"}
    shutil.rmtree(place.to)
    serve(place, "probe", tar(files), stated=False)  # without a stated hash it must not contain others
    refused(command("--only", "probe"), "README")
    assert not place.to.exists()


@pytest.mark.parametrize(
    "content, named",
    [
        (tar({"other.pth": PROBE}), "does not contain probe.pth"),
        (tar({"a/probe.pth": PROBE, "b/probe.pth": PROBE}), "twice"),
        (tar({"probe.pth": PROBE})[:700], "not a valid archive"),
        (tar({"probe.pth": PROBE}, mode="w:gz")[:-40], "not a valid archive"),
        (b"not an archive", "not a valid archive"),
        (b"", "empty file"),
    ],
    ids=["without it", "twice", "truncated", "truncated and compressed", "text", "empty"],
)
def test_broken_archive_is_refused(content, named, command, place):
    serve(place, "probe", content)
    refused(command("--only", "probe"), "probe.tar", named)
    assert not place.to.exists()


def test_archive_larger_than_the_disk_is_not_unpacked(command, place, monkeypatch):
    bomb = tar({"probe.pth": bytes(3_000_000)}, mode="w:gz")
    serve(place, "probe", bomb)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1_000_000))
    refused(command("--only", "probe"), "3,000,000 bytes")
    assert "weights/probe/probe.pth" not in place.files()


def claiming(kind, size):
    """A header of this kind that claims this size, and some bytes."""
    member = special("x", kind)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(5000)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [1 << 40, (1 << 62) + 5])
@pytest.mark.parametrize("packed", [False, True])
def test_header_that_claims_more_than_memory_is_refused(kind, size, packed, command, place):
    content = claiming(kind, size)
    serve(place, "probe", gzip.compress(content) if packed else content)
    refused(command("--only", "probe"), "probe.tar", "a header that claims")
    assert not place.to.exists()


def test_file_of_a_negative_size_is_refused(command, place):
    serve(place, "probe", claiming(tarfile.REGTYPE, -(1 << 40)))
    refused(command("--only", "probe"), "probe.tar", "it")


def test_archive_that_unpacks_to_thousands_of_times_its_size_is_refused(command, place, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1_000_000)
    serve(place, "probe", tar({"probe.pth": bytes(10_000_000)}, mode="w:xz"))
    refused(command("--only", "probe"), "more than weights can be")
    assert "weights/probe/probe.pth" not in place.files()


def test_archive_of_too_many_members_is_refused(command, place, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    serve(place, "probe", tar({f"{i}.pth": b"" for i in range(20)}))
    refused(command("--only", "probe"), "more than 10 members")


def test_sparse_file_is_refused(command, place, tmp_path):
    with open(tmp_path / "probe.pth", "wb") as file:
        file.truncate(10_000_000)
    subprocess.run(["tar", "--sparse", "-cf", "sparse.tar", "probe.pth"], cwd=tmp_path, check=True)
    serve(place, "probe", (tmp_path / "sparse.tar").read_bytes())
    refused(command("--only", "probe"), "sparse")
    assert not place.to.exists()
