"""Which files are downloaded, from which source, and what stays as it is."""

import fcntl
import io

import pytest
import torch
from loopback_server import Page, status
from tiny_assets import CAR, DOG, PROBE, refused

import download
from models.errors import UserError
from models.load_generator import load_generator


def test_everything_but_optional_assets_is_downloaded_by_default_and_only_once(command, place, server, networks):
    code, out, told = command()
    assert (code, told) == (0, [])
    assert place.files() == {f"weights/nets/{CAR}.pth", f"weights/nets/{DOG}.pth", "weights/probe/probe.pth"}
    assert all((place.nets / file).read_bytes() == content for file, content in networks.items())
    assert (place.probe / "probe.pth").read_bytes() == PROBE
    assert "nets: 2 of 2" in out and "probe: 1 of 1" in out
    server.requests.clear()
    assert command()[0] == 0
    assert server.requests == []


def test_only_names_archives_and_generators(command, place):
    assert command("--only", "probe")[0] == 0
    assert place.files() == {"weights/probe/probe.pth"}
    assert command("--only", CAR)[0] == 0
    assert f"weights/nets/{CAR}.pth" in place.files()


def test_unknown_name_is_refused_with_the_known_ones(place):
    with pytest.raises(UserError, match=f"'nest'.* nets, probe, walks, {CAR}, {DOG}"):
        download.main(place.arguments("--only", "probe", "nest"))
    assert not place.to.exists()


def test_force_downloads_existing_files(command, server):
    command("--only", "probe")
    assert command("--only", "probe", "--force")[0] == 0
    assert server.asked("probe.tar") == [None, None]


def test_existing_file_stays_when_it_cannot_be_downloaded_again(command, place, server):
    command("--only", "probe")
    server.pages["probe.tar"] = Page(b"", status(404))
    code, out, _ = command("--only", "probe", "--force")
    assert code == 1 and "1 of 1 here" in out and "not downloaded again: probe.pth" in out
    (place.probe / "probe.pth").write_bytes(b"broken")
    code, out, _ = command("--only", "probe")
    assert code == 1 and "0 of 1 here" in out and "not valid: probe.pth" in out


def test_archive_adds_absent_files_and_keeps_existing_ones(command, place, networks):
    place.nets.mkdir(parents=True)
    other = io.BytesIO()
    torch.save(torch.load(io.BytesIO(networks[f"{DOG}.pth"])), other)
    mine = other.getvalue()
    (place.nets / f"{DOG}.pth").write_bytes(mine)
    assert command("--only", CAR)[0] == 0
    assert (place.nets / f"{CAR}.pth").read_bytes() == networks[f"{CAR}.pth"]
    assert (place.nets / f"{DOG}.pth").read_bytes() == mine


def test_generator_comes_from_the_next_source_when_one_fails(command, place, server, networks):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "gone.pth", b"", status(403))
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    code, _, (first, second) = command("--only", CAR)
    assert code == 0 and f"nets: {server.url('nets.tar')}" in first and "404" in first
    assert f"{CAR}: {server.url('gone.pth')}" in second and "403" in second
    assert [path for path, _ in server.requests] == ["nets.tar", "gone.pth", "car.pth"]
    assert (place.nets / f"{CAR}.pth").read_bytes() == networks[f"{CAR}.pth"]


def test_missing_files_are_summed_up_and_the_rest_is_downloaded(command, place, server, networks):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    code, out, _ = command()
    assert code == 1
    assert f"nets: 1 of 2 here, in {place.nets}; missing: {DOG}" in out and "probe: 1 of 1" in out


def test_second_process_is_refused(command, place):
    work = place.probe / ".download"
    work.mkdir(parents=True)
    with open(work / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(command("--only", "probe"), "another process")
    assert command("--only", "probe")[0] == 0
    assert not work.exists()


def test_list_names_everything_and_downloads_nothing(command, place, server):
    place.single(CAR, "car.pkl", b"", form="nvidia")
    command("--only", "probe")
    server.requests.clear()
    (place.nets).mkdir(parents=True)
    code, out, told = command("--list")
    assert (code, told, server.requests) == (0, [], [])
    lines = dict(line.split()[:2] for line in out.splitlines() if line.startswith("  ") and "from" not in line)
    assert lines == {CAR: "missing", DOG: "missing", "probe.pth": "here", "walks": "missing"}
    assert all(server.url(path) in out for path in ("nets.tar", "probe.tar", "walks.tar", "car.pkl"))
    assert "0.0 MB" in next(line for line in out.splitlines() if "probe.pth" in line)
    (place.probe / "probe.pth").write_bytes(b"x")
    assert "broken" in command("--list")[1]
    assert not (place.nets / ".download").exists()


def test_generators_without_an_archive_come_from_their_own_addresses(command, place, server, data, tmp_path):
    """As BigGANs do: converted, and from a mirror's directory as they lie there."""
    name = "biggan_pytorch_tiny"
    place.archives = {"classes": {"unpacks_to": "weights/classes", "files": [f"{name}.pth"], "optional": True}}
    place.singles = {name: []}
    place.single(name, "G_ema.pth", (data / f"{name}.pth").read_bytes(), form="biggan")
    assert "converted from biggan" in command("--list")[1]
    code, out, told = command("--only", name)
    assert (code, told) == (0, []) and "classes: 1 of 1 here" in out
    file = place.to / "weights" / "classes" / f"{name}.pth"
    state = load_generator(file).state_dict()
    torch.testing.assert_close(state, load_generator(data / f"{name}.pth").state_dict(), rtol=0, atol=0)
    server.requests.clear()
    place.to = place.to.rename(tmp_path / "mirror").with_name("second")
    assert command("--only", "classes", "--mirror", tmp_path / "mirror")[0] == 0
    assert load_generator(place.to / "weights" / "classes" / f"{name}.pth").resolution == 32
    assert server.requests == []
