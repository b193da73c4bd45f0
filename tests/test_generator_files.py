"""A file as the generator of all three commands, and how it is told from another one of the same name."""

import hashlib
import json
import shutil

import pytest
from nvidia_pickles import tiny_pickle
from outcomes import change_args, done, refused

EXPERIMENT = "experiments/complete/ContraCLIP_faces-W-K3-D4-eps0.25_0.45-nonlinear_beta-0.5-cossim-expressions3"
POOL = "experiments/latent_codes/faces/faces-1"


def commands(clip, gan):
    """{script: arguments} for the generator `gan`."""
    return {
        "sample_gan.py": [f"--gan={gan}", "--num-samples=1", "--no-cuda"],
        "train.py": [f"--gan={gan}", "--stylegan-space=W", "--corpus=expressions3", f"--clip-model={clip}",
                     "--batch-size=2", "--max-iter=1", "--num-latent-support-dipoles=4", "--loss=cossim", "--no-cuda"],
        "traverse_latent_space.py": [f"--exp={EXPERIMENT}", "--pool=faces-1", "--shift-steps=1", "--no-cuda"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def used(data, tiny_clip_file, run_warm, tmp_path_factory):
    """A working directory in which all three commands were given an NVIDIA pickle, faces.pkl."""
    cwd = tmp_path_factory.mktemp("used")
    tiny_pickle(data, cwd / "faces.pkl")
    for script, arguments in commands(tiny_clip_file, "faces.pkl").items():
        done(run_warm(script, *arguments, cwd=cwd))
    return cwd


@pytest.fixture
def workplace(used, tmp_path):
    return shutil.copytree(used, tmp_path / "workplace")


def test_file_is_identified_by_its_hash(used):
    expected = hashlib.sha256((used / "faces.pkl").read_bytes()).hexdigest()
    for directory in (EXPERIMENT, POOL):
        args = json.loads((used / directory / "args.json").read_text())
        assert args["gan"] == "faces.pkl" and args["gan_sha256"] == expected
    assert (used / EXPERIMENT / "results" / "faces-1").is_dir()


def test_another_file_of_the_same_name_is_refused(workplace, data, tiny_clip_file, run_warm):
    shutil.copy(data / "rosinality_tiny.pt", workplace / "faces.pkl")
    for script, arguments in commands(tiny_clip_file, "faces.pkl").items():
        assert "another file" in refused(run_warm(script, *arguments, cwd=workplace))


def test_pool_of_another_file_is_refused(workplace, tiny_clip_file, run_warm):
    change_args(workplace / POOL, gan_sha256="0" * 64)
    walk = commands(tiny_clip_file, "faces.pkl")["traverse_latent_space.py"]
    assert POOL in refused(run_warm("traverse_latent_space.py", *walk, cwd=workplace))


def test_experiments_and_pools_without_a_hash_are_accepted(workplace, data, tiny_clip_file, run_warm):
    shutil.copy(data / "rosinality_tiny.pt", workplace / "faces.pkl")
    for directory in (EXPERIMENT, POOL):
        change_args(workplace / directory, ["gan_sha256"])
    for script, arguments in commands(tiny_clip_file, "faces.pkl").items():
        done(run_warm(script, *arguments, cwd=workplace))
    for directory in (EXPERIMENT, POOL):
        assert "gan_sha256" not in json.loads((workplace / directory / "args.json").read_text())


def test_same_file_elsewhere_is_accepted(workplace, tiny_clip_file, run_warm):
    (workplace / "moved").mkdir()
    (workplace / "faces.pkl").rename(workplace / "moved" / "faces.pkl")
    for script, arguments in commands(tiny_clip_file, "moved/faces.pkl").items():
        moved = ["--gan=moved/faces.pkl"] if script == "traverse_latent_space.py" else []
        done(run_warm(script, *arguments, *moved, cwd=workplace))


def test_walk_with_a_generator_of_another_name_is_refused(workplace, data, tiny_clip_file, run_warm):
    walk = commands(tiny_clip_file, "faces.pkl")["traverse_latent_space.py"]
    other = f"--gan={data / 'stylegan2_tiny.pth'}"
    assert "stylegan2_tiny" in refused(run_warm("traverse_latent_space.py", *walk, other, cwd=workplace))
