"""Mirrors: a server or a directory that is tried before the owners."""

import pytest
from loopback_server import Page, status
from tar_archives import tar
from tiny_assets import CAR, DOG, PROBE

import download
from models.errors import UserError


def test_mirror_is_tried_first(command, place, server, tmp_path):
    server.pages["copy/probe.tar"] = Page(server.pages["probe.tar"].content)
    assert command("--only", "probe", "--mirror", server.url("copy/"))[0] == 0
    assert [path for path, _ in server.requests] == ["copy/probe.tar"]


def test_mirror_may_have_the_files(command, place, server, networks):
    server.pages[f"copy/weights/nets/{CAR}.pth"] = Page(networks[f"{CAR}.pth"])
    code, _, (line,) = command("--only", CAR, "--mirror", server.url("copy"))
    assert code == 0 and "copy/nets.tar" in line
    assert (place.nets / f"{CAR}.pth").read_bytes() == networks[f"{CAR}.pth"]
    assert not (place.nets / f"{DOG}.pth").exists()


def test_owners_are_asked_where_a_mirror_lacks_the_file_or_has_a_wrong_one(command, place, server):
    server.pages["copy/probe.tar"] = Page(tar({"probe.pth": b"other"}))
    server.pages["copy/weights/probe/probe.pth"] = Page(b"<html>sign in</html>")
    code, _, told = command("--only", "probe", "--mirror", server.url("copy"))
    assert code == 0 and len(told) == 2 and "SHA-256" in told[0] and "web page" in told[1]
    assert (place.probe / "probe.pth").read_bytes() == PROBE


def test_other_addresses_of_an_archive_are_tried_where_the_first_fails(command, place, server):
    page, server.pages["probe.tar"] = server.pages["probe.tar"], Page(b"", status(404))
    server.pages["second.tar"] = page
    place.archives["probe"]["other_urls"] = [server.url("second.tar")]
    code, _, (line,) = command("--only", "probe")
    assert code == 0 and "probe.tar" in line
    assert (place.probe / "probe.pth").read_bytes() == PROBE
    assert server.url("second.tar") in command("--list", "--only", "probe")[1]


def test_directory_as_a_mirror_with_archives(command, place, server, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name in ("nets", "probe", "walks"):
        (mirror / f"{name}.tar").write_bytes(server.pages[f"{name}.tar"].content)
    assert command("-m", "--mirror", mirror)[::2] == (0, [])
    assert server.requests == []
    assert len(list(mirror.iterdir())) == 3
    assert len(place.files()) == 6


def test_destination_of_another_download_is_a_mirror(command, place, server):
    command("-m")
    mirror = place.to.rename(place.to.with_name("carried"))
    server.requests.clear()
    code, _, told = command("-m", "--mirror", mirror)
    assert code == 0 and server.requests == []
    assert len(told) == 3 and all("no such file" in line for line in told)
    assert place.files() == {str(path.relative_to(mirror)) for path in mirror.rglob("*") if path.is_file()} - {
        str(path.relative_to(mirror)) for path in mirror.rglob("*.sha256")
    }


def test_damaged_files_of_a_mirror_are_detected(command, place, server):
    command("-m")
    mirror = place.to.rename(place.to.with_name("carried"))
    (mirror / "weights" / "probe" / "probe.pth").write_bytes(PROBE[::-1])
    (mirror / "experiments" / "complete" / "two" / "args.json").write_text("{3}")
    for name in ("probe", "walks"):
        server.pages[f"{name}.tar"] = Page(b"", status(404))
    code, _, told = command("-m", "--only", "probe", "--mirror", mirror)
    assert code == 1
    assert "SHA-256" in told[1] and "two/args.json" in told[4]
    assert not place.to.exists()


def test_experiments_of_a_mirror_must_not_contain_links(command, place, server, tmp_path):
    one = tmp_path / "mirror" / "experiments" / "complete" / "one"
    one.mkdir(parents=True)
    (one / "args.json").write_text("{}")
    (one / "out").symlink_to("/etc")
    server.pages["walks.tar"] = Page(b"", status(404))
    code, _, told = command("--only", "walks", "--mirror", tmp_path / "mirror")
    assert code == 1 and any("not a regular file" in line for line in told)
    assert not place.to.exists()


@pytest.mark.parametrize("mirror", ["no/such/directory", "ftp://example.org/weights"])
def test_mirror_that_is_neither_directory_nor_address_is_refused(mirror, place):
    with pytest.raises(UserError, match=f"--mirror {mirror} is neither"):
        download.main(place.arguments("--mirror", mirror))
