"""What a file must be before it is used: its hash, and its content."""

import os
import pickle
import subprocess

import pytest
import torch
from loopback_server import Page, status
from nvidia_pickles import tiny_pickle
from tar_archives import sha256
from tiny_assets import CAR, DOG, PROBE, refused

from models import registry
from models.load_generator import load_generator


def test_records_are_what_sha256sum_reads(command, place):
    command("--only", "probe")
    assert subprocess.run(["sha256sum", "--strict", "-c", "probe.pth.sha256"], cwd=place.probe).returncode == 0


def test_file_that_changed_is_downloaded_again(command, place):
    command("--only", "probe")
    file = place.probe / "probe.pth"
    stamp = file.stat()
    file.write_bytes(PROBE[:-1] + b"x")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as a failing disk does
    code, _, (line,) = command("--only", "probe")
    assert code == 0 and "has changed" in line
    assert file.read_bytes() == PROBE


def test_file_copied_in_by_hand_is_used_once_verified(command, place, server, networks):
    place.nets.mkdir(parents=True)
    place.probe.mkdir(parents=True)
    (place.probe / "probe.pth").write_bytes(PROBE)
    for file, content in networks.items():
        (place.nets / file).write_bytes(content)
    assert command("--list")[1].count("unchecked") == 3
    assert command()[0] == 0
    assert server.requests == []
    assert command("--list")[1].count("here") == 3


@pytest.mark.parametrize("name, content", [("nets", b"not a generator"), ("nets", PROBE), ("probe", PROBE[:-30])])
def test_invalid_file_copied_in_by_hand_is_replaced(name, content, command, place):
    file = place.to / "weights" / name / (f"{CAR}.pth" if name == "nets" else "probe.pth")
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    code, _, (line,) = command("--only", name if name == "probe" else CAR)
    assert code == 0 and "not valid" in line
    assert file.read_bytes() != content


def test_nvidias_pickle_is_converted(command, place, server, data, tmp_path):
    pickled = tiny_pickle(data, tmp_path / "car.pkl")
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pkl", pickled.read_bytes(), form="nvidia")
    assert command("--only", CAR)[0] == 0
    converted = load_generator(place.nets / f"{CAR}.pth").state_dict()
    assert all(torch.equal(converted[key], tensor) for key, tensor in load_generator(pickled).state_dict().items())
    assert list(torch.load(place.nets / f"{CAR}.pth", weights_only=True)) == ["generator_smooth"]
    assert place.files() == {f"weights/nets/{CAR}.pth"}
    server.requests.clear()
    assert command("--only", CAR)[0] == 0 and server.requests == []


def test_file_that_cannot_be_converted_fails_its_source_alone(command, place, server, networks):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pkl", pickle.dumps({"G_ema": os.getcwd}), form="nvidia")
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    code, _, (_, line) = command("--only", CAR)
    assert code == 0 and "car.pkl" in line and "getcwd" in line
    assert (place.nets / f"{CAR}.pth").read_bytes() == networks[f"{CAR}.pth"]


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>This item was removed</html>", b"\n <HTML><body>sign in", PROBE, b"", b"half"]
)
def test_file_that_is_not_a_generator_is_refused(content, command, place, server):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pth", content)
    code, _, (_, line) = command("--only", CAR)
    assert code == 1 and "car.pth" in line
    assert not place.to.exists()


def test_generator_of_another_resolution_is_refused(command, place, server, networks, monkeypatch):
    weights = registry.Weights(place.nets / f"{CAR}.pth", "StyleGAN2", 1024)
    monkeypatch.setitem(registry.GENERATORS, CAR, weights)
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    code, _, (_, line) = command("--only", CAR)
    assert code == 1 and "64 px" in line and "1024 px" in line
    assert not place.to.exists()


def test_wrong_hash_is_reported_with_the_expected_one_and_the_file_deleted(command, place, server):
    server.pages["probe.tar"].content += b"x"
    found = sha256(server.pages["probe.tar"].content)
    refused(command("--only", "probe"), "probe.tar", found, place.archives["probe"]["sha256"], "deleted")
    assert not place.to.exists()
    assert server.asked("probe.tar") == [None]


def test_hash_that_is_not_published_is_recorded_and_checked_later(command, place, server, networks):
    server.pages["nets.tar"] = Page(b"", status(404))
    place.single(CAR, "car.pth", networks[f"{CAR}.pth"])
    assert command("--only", CAR)[0] == 0
    file, record = place.nets / f"{CAR}.pth", place.nets / f"{CAR}.pth.sha256"
    assert f"{sha256(networks[file.name])}  {file.name}" in record.read_text().splitlines()
    file.unlink()
    server.pages["car.pth"].content = networks[f"{DOG}.pth"]
    code, _, (_, line) = command("--only", CAR)
    assert code == 1 and "--force" in line and sha256(networks[f"{DOG}.pth"]) in line
    assert not file.exists()
    assert command("--only", CAR, "--force")[0] == 0
    assert file.read_bytes() == networks[f"{DOG}.pth"]
