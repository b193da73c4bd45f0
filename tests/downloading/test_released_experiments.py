"""Released experiments: which are placed, and which of the user's own stay."""

import shutil

import pytest
from tar_archives import tar
from tiny_assets import refused, serve


@pytest.mark.parametrize("flag", ["-m", "--contraclip-models"])
def test_experiments_are_downloaded_on_request(flag, command, place):
    assert command(flag)[0] == 0
    complete = place.to / "experiments" / "complete"
    assert {path.name for path in complete.iterdir()} == {"one", "two", "walks.sha256"}
    assert (complete / "one" / "models" / "latent_support_sets.pt").read_bytes() == b"weights of one"


def test_own_experiment_is_not_overwritten_without_force(command, place):
    own = place.to / "experiments" / "complete" / "one"
    own.mkdir(parents=True)
    (own / "args.json").write_text("mine")
    code, _, (line,) = command("--only", "walks")
    assert code == 0 and str(own) in line and "--force" in line
    assert [path.name for path in own.iterdir()] == ["args.json"] and (own / "args.json").read_text() == "mine"
    assert (own.parent / "two" / "args.json").read_bytes() == b"{ }"
    assert command("--only", "walks", "--force")[0] == 0
    assert (own / "args.json").read_bytes() == b"{}" and (own / "models").is_dir()
    assert not list(own.parent.rglob("*.old"))


def test_experiments_are_downloaded_once_and_may_get_results(command, place, server):
    command("--only", "walks")
    server.requests.clear()
    (place.to / "experiments" / "complete" / "one" / "results").mkdir()
    assert command("--only", "walks")[0] == 0 and server.requests == []
    shutil.rmtree(place.to / "experiments" / "complete" / "two")
    assert "broken" in command("--list")[1]
    assert command("--only", "walks")[0] == 0
    assert (place.to / "experiments" / "complete" / "two" / "args.json").is_file()
    assert (place.to / "experiments" / "complete" / "one" / "results").is_dir()


@pytest.mark.parametrize(
    "files, named",
    [
        ({"one/weights.pt": b""}, "contains no experiment"),
        ({"args.json": b"{}"}, "''"),
        ({"a/one/args.json": b"", "b/one/args.json": b""}, "'one'"),
        ({".download/args.json": b""}, "'.download'"),
    ],
)
def test_archive_without_clear_experiments_is_refused(files, named, command, place):
    serve(place, "walks", tar(files))
    refused(command("--only", "walks"), named)
    assert not place.to.exists()
