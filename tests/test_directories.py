"""Directories that are worked in: no link in one is followed, none vanishes unnoticed, one process at a time has it."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from lib import pools
from lib.experiment import Experiment
from lib.files import save_tensors, write_json, write_text
from lib.paths.support_sets import LatentSupportSets
from lib.settings import PoolSettings, TrainingSettings, WalkSettings
from lib.walking.pictures import save_jpeg
from lib.walking.traversal import CodeResults
from models import directories
from models.errors import UserError
from models.files import replacing

REPOSITORY = Path(__file__).resolve().parent.parent
POOL = Path("experiments", "latent_codes", "gan", "gan-1")


@pytest.fixture
def elsewhere(tmp_path):
    """A directory that nothing may touch, with a file in it; checked at the end."""
    directory = tmp_path / "elsewhere"
    write_text("precious", directory / "file")
    yield directory
    assert [path.name for path in directory.iterdir()] == ["file"]
    assert (directory / "file").read_text() == "precious"


@pytest.fixture
def cwd(tmp_path, monkeypatch):
    """The working directory, in which nothing is held in the end."""
    directory = tmp_path / "cwd"
    directory.mkdir()
    monkeypatch.chdir(directory)
    yield directory
    for held in directories.all_held():
        directories.release(held)


def an_experiment():
    return Experiment("NAME", TrainingSettings(gan="gan"), [["a", "b"]], "paths.pt")


# --- links


@pytest.mark.parametrize("link", ["models", "models/deeper", "results", "results/pool"])
def test_nothing_is_written_below_a_link_in_a_held_directory(link, cwd, elsewhere):
    (cwd / "exp" / link).parent.mkdir(parents=True)
    (cwd / "exp" / link).symlink_to(elsewhere)
    directories.hold("exp")
    for act in (
        lambda: write_text("text", Path("exp", link, "file")),
        lambda: write_text("text", Path("exp", link, "new", "file")),
        lambda: directories.make(Path("exp", link, "new")),
        lambda: directories.remove(Path("exp", link, "file")),
        lambda: directories.empty(Path("exp", link)),
        lambda: directories.rename(Path("exp", link, "file"), Path("exp", "file")),
        lambda: directories.remove_partial(Path("exp", link)),
    ):
        with pytest.raises(UserError, match=f"exp/{link} is a symbolic link to .*elsewhere"):
            act()


def test_link_itself_is_replaced_and_removed(cwd, elsewhere):
    directories.hold("exp", make=True)
    Path("exp/file").symlink_to(elsewhere / "file")
    write_text("text", "exp/file")
    assert not Path("exp/file").is_symlink() and Path("exp/file").read_text() == "text"
    Path("exp/directory").symlink_to(elsewhere)
    directories.remove("exp/directory")
    assert os.listdir("exp") == ["file"]


def test_links_above_a_held_directory_are_the_users(cwd, tmp_path):
    (tmp_path / "scratch").mkdir()
    Path("experiments").symlink_to(tmp_path / "scratch")
    directories.hold("experiments/wip/NAME", make=True)
    write_text("text", "experiments/wip/NAME/models/file")
    assert (tmp_path / "scratch/wip/NAME/models/file").read_text() == "text"


@pytest.fixture(params=["same disk", "other disk"])
def scratch(request, tmp_path):
    """A directory outside of the working directory."""
    if request.param == "same disk":
        (tmp_path / "scratch").mkdir()
        yield tmp_path / "scratch"
        return
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("/dev/shm is no other disk here")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.mark.parametrize("linked", ["experiments", "experiments/wip", "experiments/complete",
                                    "experiments/latent_codes"])  # fmt: skip
def test_users_directories_of_experiments_and_pools_may_be_links(linked, cwd, scratch):
    Path(linked).parent.mkdir(exist_ok=True)
    Path(linked).symlink_to(scratch)
    experiment = an_experiment()
    with experiment.claimed():
        experiment.begin({})
        save_tensors({}, experiment.checkpoint)
        experiment.finish({}, {})
    with pools.claimed(POOL, PoolSettings(gan="gan")):
        pass
    assert Path(linked).is_symlink()
    assert sorted(os.listdir("experiments/complete/NAME")) == ["args.json", "command.sh", "models"]
    assert os.listdir("experiments/complete") == ["NAME"] and not os.listdir("experiments/wip")
    assert os.listdir(POOL) == ["args.json"]


def test_partial_file_that_is_a_link_is_not_written_through(cwd, elsewhere):
    Path(f".file.{os.getpid()}.partial").symlink_to(elsewhere / "file")
    write_text("text", "file")
    assert os.listdir() == ["file"]


def test_partial_files_are_removed_and_links_to_directories_left(cwd, elsewhere):
    write_text("", "exp/deep/.checkpoint.pt.1.partial")
    write_text("", "exp/deep/checkpoint.pt")
    (elsewhere.parent / "cwd/exp/deep/link").symlink_to(elsewhere)
    directories.remove_partial("exp")
    assert sorted(os.listdir("exp/deep")) == ["checkpoint.pt", "link"]


def test_experiment_that_is_a_link_is_not_trained(cwd, elsewhere):
    Path("experiments/wip").mkdir(parents=True)
    Path("experiments/wip/NAME").symlink_to(elsewhere)
    with pytest.raises(UserError, match="wip/NAME is a symbolic link"), an_experiment().claimed():
        pass


@pytest.mark.parametrize("name", [".lock", "models"])
def test_links_in_an_experiment_are_not_followed_when_it_is_claimed(name, cwd, elsewhere):
    Path("experiments/wip/NAME").mkdir(parents=True)
    Path("experiments/wip/NAME", name).symlink_to(elsewhere if name == "models" else elsewhere / "new")
    try:
        with an_experiment().claimed():
            save_tensors({}, "experiments/wip/NAME/models/checkpoint.pt")
    except UserError as error:
        assert name == ".lock" and ".lock is a symbolic link" in str(error)
    else:
        assert os.listdir("experiments/wip/NAME/models") == ["checkpoint.pt"]


@pytest.mark.parametrize("linked", ["gan", "gan/gan-1"])
def test_pool_that_is_a_link_is_not_written(linked, cwd, elsewhere):
    link = Path("experiments/latent_codes", linked)
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(UserError, match=f"{linked} is a symbolic link"):
        with pools.claimed(POOL, PoolSettings(gan="gan")):
            pass


def test_walked_code_with_links_is_made_anew_without_them(cwd, elsewhere):
    """What was made of the same frames is kept when animations are added, but for links."""
    directories.hold("exp", make=True)
    results = Path("exp/results/pool/walk")
    write_json(WalkSettings().to_json(), results / "code" / "settings.json")
    write_text("picture", results / "code" / "original_image.jpg")
    (results / "code" / "paths_images").symlink_to(elsewhere)
    (results / "code" / "secret").symlink_to(elsewhere / "file")
    made = CodeResults(results / "code", 1, WalkSettings(gif=True))
    made.begin()
    assert sorted(os.listdir(made.partial)) == ["original_image.jpg", "settings.json"]
    made.release()


@pytest.fixture
def walked(data, cwd):
    """An experiment of one path and a pool of one code; returns the flags of a walk of it."""
    save_tensors(torch.ones(1, 32), "pool/code/latent_code_z.pt")
    write_json({"gan": str(data / "stylegan2_tiny.pth"), "stylegan_space": "W"}, "exp/args.json")
    write_json([["bright", "dark"]], "exp/models/semantic_dipoles.json")
    paths = LatentSupportSets.random(1, 4, 32, 6.0, 0.5, torch.Generator().manual_seed(0))
    save_tensors(paths.state_dict(), "exp/models/latent_support_sets.pt")
    return ["--pool=pool", "--shift-steps=1", "--no-cuda"]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("link", ["results", "results/pool/2_0.2_0.4/.code.partial"])
def test_walk_through_a_link_is_refused_in_one_line(link, workers, walked, run_warm, cwd, elsewhere):
    Path("exp", link).parent.mkdir(parents=True, exist_ok=True)
    Path("exp", link).symlink_to(elsewhere)
    process = run_warm("traverse_latent_space.py", "--exp=exp", f"--workers={workers}", *walked, cwd=cwd)
    assert process.returncode == 2, process.stderr
    assert process.stderr.splitlines()[-1].startswith(
        f"traverse_latent_space.py: error: exp/{link} is a symbolic link to {elsewhere}")


def test_walk_writes_no_pictures_through_a_link_from_its_workers(walked, run_warm, cwd, elsewhere):
    partial = Path("exp/results/pool/2_0.2_0.4/.code.partial")
    settings = WalkSettings(shift_steps=1, frames=False, film=True, gif_height=128, strip_height=128)
    write_json(settings.to_json(), partial / "settings.json")
    (partial / "paths_strips").symlink_to(elsewhere)
    process = run_warm("traverse_latent_space.py", "--exp=exp", "--workers=1", *walked, cwd=cwd)
    assert process.returncode == 2 and "paths_strips is a symbolic link" in process.stderr


def test_walk_of_an_experiment_that_is_a_link_is_refused(walked, run_warm, cwd):
    Path("link").symlink_to("exp")
    process = run_warm("traverse_latent_space.py", "--exp=link", *walked, cwd=cwd)
    assert process.returncode == 2 and "link is a symbolic link to exp" in process.stderr
    assert not Path("exp/results").exists()


# --- directories that vanish


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_held_directory_that_vanished_is_not_made_again(replaced, cwd):
    directories.hold("exp", make=True)
    os.rename("exp", "moved")
    if replaced:
        os.mkdir("exp")
    with pytest.raises(UserError, match="exp was removed or replaced"):
        write_text("text", "exp/models/file")
    assert not Path("exp/models").exists()


@pytest.mark.parametrize("gone", ["experiments/wip/NAME", "experiments/wip/NAME/models", "experiments"])
def test_training_whose_directory_vanished_ends_with_an_error(gone, cwd):
    experiment = an_experiment()
    with pytest.raises(UserError, match="was removed or replaced"), experiment.claimed():
        experiment.begin({})
        save_tensors({}, experiment.checkpoint)
        shutil.rmtree(gone)
        experiment.finish({}, {})
    assert not Path("experiments/complete").exists()


def test_file_whose_directory_vanishes_while_it_is_written_is_an_error(cwd):
    os.mkdir("directory")
    with pytest.raises(FileNotFoundError) as error, replacing("directory/file") as file:
        file.write(b"text")
        shutil.rmtree("directory")
    assert error.value.filename == "directory/file"


# --- locks on pools

SAMPLE = """
import sys, time
from pathlib import Path
from lib import pools
from lib.settings import PoolSettings
with pools.claimed(Path(sys.argv[1]), PoolSettings(gan="gan", seed=int(sys.argv[2]))):
    print("claimed", flush=True)
    sys.stdin.readline()
"""


def sampling(seed):
    command = [sys.executable, "-c", SAMPLE, str(POOL), str(seed)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, **pipes)


def test_second_sampling_of_a_pool_waits_and_one_with_another_seed_is_refused(cwd):
    with sampling(0) as first:
        assert first.stdout.readline() == "claimed\n"
        with pytest.raises(UserError, match="seed is 1, was 0"):
            with pools.claimed(POOL, PoolSettings(gan="gan", seed=1)):
                pass
        with sampling(0) as second:
            assert second.stderr.readline() == f"another process is making {POOL}: waiting for it\n"
            first.communicate("\n")
            assert second.stdout.readline() == "claimed\n"
            second.communicate("\n")
    assert (first.returncode, second.returncode) == (0, 0)


def test_codes_that_two_samplings_make_at_once_are_whole(cwd):
    """Many at once, as threads whose locks exclude each other as those of processes do."""
    codes = [{"latent_code_z.pt": torch.full((1, 4), float(n))} for n in range(6)]

    def synthesise(codes):
        return codes[:, :3].view(-1, 1, 1, 3).byte().numpy()

    def sample():
        lock = pools._lock(POOL)
        try:
            pools.write_codes(POOL, codes, "image.jpg", synthesise, lambda frame, path: write_text("picture", path))
        finally:
            os.close(lock)

    directories.make(POOL)
    threads = [threading.Thread(target=sample) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(path.relative_to(POOL).as_posix() for path in POOL.rglob("*") if path.is_file())
    names = sorted(pools.code_hash(code["latent_code_z.pt"]) for code in codes)
    assert found == [f"{name}/{file}" for name in names for file in ("image.jpg", "latent_code_z.pt")]


def test_partial_files_of_a_sampling_that_was_killed_are_removed(cwd):
    write_text("half", POOL / ".args.json.1.partial")
    write_text("half", POOL / f".{'0' * 40}.partial" / "latent_code_z.pt")
    with pools.claimed(POOL, PoolSettings(gan="gan")):
        assert os.listdir(POOL) == ["args.json"]


# --- disks that are full


def test_tensors_on_a_full_disk_are_an_error_that_names_the_file(cwd):
    import resource

    save_tensors({"before": torch.zeros(1)}, "checkpoint.pt")
    before, limits = Path("checkpoint.pt").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # its error comes where that of a full disk does
    try:
        with pytest.raises(OSError) as error:
            save_tensors({"now": torch.zeros(10_000)}, "checkpoint.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename == "checkpoint.pt" and error.value.strerror
    assert os.listdir() == ["checkpoint.pt"] and Path("checkpoint.pt").read_bytes() == before


def test_picture_on_a_full_disk_is_an_error_and_is_not_there_in_part(cwd):
    import resource

    frame = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError):
            save_jpeg(frame, "picture.jpg")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir() == []
