"""Runs that are killed, interrupted, disturbed or begun twice: what is left of them, and how they go on."""

import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from beside import TIMEOUT, Beside

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = "ContraCLIP_stylegan2_tiny-W-K2-D4-eps0.25_0.45-nonlinear_beta-0.5-contrastive_0.5-faces"
WIP, COMPLETE = Path("experiments", "wip", NAME), Path("experiments", "complete", NAME)


@pytest.fixture(scope="module")
def arguments(data, tiny_clip_file, tmp_path_factory):
    """Of a run whose checkpoints fall between its entries of stats.json."""
    corpus = tmp_path_factory.mktemp("corpus") / "faces.txt"
    corpus.write_text("a happy face | a sad face\na young face | an old face\n")
    return [
        f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}", f"--corpus={corpus}",
        "--stylegan-space=W", "--loss=contrastive", "--temperature=0.5", "--lr=0.02", "--batch-size=2", "--no-cuda",
        "--num-latent-support-dipoles=4", "--max-iter=60", "--log-freq=5", "--ckp-freq=7",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(arguments, run_warm, tmp_path_factory):
    """The working directory of the run that nothing disturbed."""
    cwd = tmp_path_factory.mktemp("uninterrupted")
    process = run_warm("train.py", *arguments, cwd=cwd)
    assert process.returncode == 0, process.stderr
    return cwd


class Training(Beside):
    """A train.py that goes on beside the test; killed at the end of the block if it still runs."""

    def __init__(self, warm, cwd, arguments):
        super().__init__(cwd, [sys.executable, str(REPOSITORY / "train.py"), *arguments], warm.start)

    def wait_for_checkpoint(self, newer_than=0):
        file = self.cwd / WIP / "models" / "checkpoint.pt"
        deadline = time.monotonic() + TIMEOUT
        while not file.exists() or file.stat().st_mtime_ns <= newer_than:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return file.stat().st_mtime_ns


def contents(directory):
    return {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def load(file):
    return torch.load(file, weights_only=True)


def statistics(cwd):
    """What stats.json has of a run's course, without the memory of its process."""
    stats = json.loads((cwd / COMPLETE / "stats.json").read_text())
    return {at: [entry[name] for name in ("loss", "spread", "lr")] for at, entry in stats.items()}


def assert_same_end(cwd, uninterrupted):
    assert not (cwd / WIP).exists()
    expected = load(uninterrupted / COMPLETE / "models" / "latent_support_sets.pt")
    found = load(cwd / COMPLETE / "models" / "latent_support_sets.pt")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert statistics(cwd) == statistics(uninterrupted)
    rates = [[group["lr"] for group in load(one / COMPLETE / "models" / "checkpoint.pt")["optimizer"]["param_groups"]]
             for one in (cwd, uninterrupted)]  # fmt: skip
    assert rates[0] == rates[1]


def finish(cwd, arguments, run_warm, **options):
    process = run_warm("train.py", *arguments, cwd=cwd, **options)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr


def interrupt(warm, cwd, arguments, number):
    """A run that got a signal after its first checkpoint: exit code, output."""
    with Training(warm, cwd, arguments) as training:
        training.wait_for_checkpoint()
        code = training.end(number)
    return code, training.said


@pytest.fixture(scope="module")
def ctrl_c(warm, arguments, tmp_path_factory):
    """(working directory, exit code, output) of a run that began in an empty directory of its name."""
    cwd = tmp_path_factory.mktemp("ctrl_c")
    (cwd / WIP).mkdir(parents=True)
    return cwd, *interrupt(warm, cwd, arguments, signal.SIGINT)


@pytest.fixture(scope="module")
def terminated(warm, arguments, tmp_path_factory):
    """(working directory, exit code, output)"""
    cwd = tmp_path_factory.mktemp("terminated")
    return cwd, *interrupt(warm, cwd, arguments, signal.SIGTERM)


def test_run_that_was_killed_again_and_again_ends_as_if_it_never_was(
    warm, arguments, uninterrupted, run_warm, tmp_path
):
    delays = random.Random(0)
    written, iterations = 0, []
    for _ in range(3):
        with Training(warm, tmp_path, arguments) as training:
            written = training.wait_for_checkpoint(newer_than=written)
            time.sleep(delays.uniform(0, 0.1))
            assert training.end(signal.SIGKILL) == -signal.SIGKILL
        iterations.append(load(tmp_path / WIP / "models" / "checkpoint.pt")["iteration"])
        written = (tmp_path / WIP / "models" / "checkpoint.pt").stat().st_mtime_ns
    assert 0 < iterations[0] < iterations[1] < iterations[2] < 60  # it went on, and did not begin anew
    finish(tmp_path, arguments, run_warm)
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.parametrize("way, code", [("ctrl_c", 130), ("terminated", 143)])
def test_stopping_writes_a_checkpoint_and_says_so_in_one_line(way, code, request):
    cwd, found, output = request.getfixturevalue(way)
    assert found == code
    said = [line for line in output.splitlines() if line and "training:" not in line and not line.startswith("shifts:")]
    assert len(said) == 1 and "checkpoint.pt" in said[0], output
    state = load(cwd / WIP / "models" / "checkpoint.pt")
    assert 7 <= state["iteration"] < 60
    assert len(json.loads((cwd / WIP / "stats.json").read_text())) == state["iteration"] // 5
    assert not (cwd / COMPLETE).exists()


def test_run_in_a_once_empty_directory_goes_on_after_ctrl_c_beside_a_stale_partial_file(
    arguments, ctrl_c, uninterrupted, run_warm, tmp_path
):
    shutil.copytree(ctrl_c[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / WIP / "models" / ".checkpoint.pt.1.partial").write_bytes(b"half")
    finish(tmp_path, arguments, run_warm)
    assert_same_end(tmp_path, uninterrupted)


def test_run_goes_on_with_another_checkpoint_interval_and_device_flag(
    arguments, terminated, uninterrupted, run_warm, tmp_path
):
    shutil.copytree(terminated[0], tmp_path, dirs_exist_ok=True)
    changed = [flag for flag in arguments if flag != "--no-cuda"] + ["--cuda", "--ckp-freq=11"]
    finish(tmp_path, changed, run_warm, env={"CUDA_VISIBLE_DEVICES": ""})
    assert_same_end(tmp_path, uninterrupted)


def test_other_arguments_in_the_same_directory_are_named_and_change_nothing(arguments, terminated, run_warm):
    cwd = terminated[0]
    before = contents(cwd)
    others = ["--lr=0.5", "--batch-size=3", "--max-iter=9", "--precision=bf16"]
    process = run_warm("train.py", *arguments, *others, cwd=cwd)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert "lr is 0.5, was 0.02" in line and "batch_size is 3, was 2" in line and "max_iter is 9, was 60" in line
    assert "precision is 'bf16', was 'fp32'" in line
    assert "log_freq" not in line and contents(cwd) == before


def test_second_process_is_turned_away_and_the_first_goes_on(warm, arguments, uninterrupted, run_warm, tmp_path):
    with Training(warm, tmp_path, arguments) as first:
        first.wait_for_checkpoint()
        first.process.send_signal(signal.SIGSTOP)  # holds it, so that it cannot end before the second comes
        before = contents(tmp_path)
        second = run_warm("train.py", *arguments, cwd=tmp_path)
        assert second.returncode == 2
        (line,) = second.stderr.splitlines()
        assert "another process" in line and NAME in line
        assert contents(tmp_path) == before
        assert first.end(signal.SIGCONT) == 0
    assert_same_end(tmp_path, uninterrupted)


def before_its_settings_were_written(wip):
    for file in ("args.json", "command.sh", "stats.json", "models/checkpoint.pt", "models/latent_support_sets.pt"):
        (wip / file).unlink()


def before_its_paths_were_saved(wip):
    (wip / "models" / "latent_support_sets.pt").unlink()


def before_it_was_moved(wip):
    (wip / ".lock").touch()


@pytest.mark.parametrize(
    "killed", [before_its_settings_were_written, before_its_paths_were_saved, before_it_was_moved]
)
def test_run_is_finished_from_what_a_kill_left(killed, arguments, uninterrupted, run_warm, tmp_path):
    shutil.copytree(uninterrupted / COMPLETE, tmp_path / WIP)
    killed(tmp_path / WIP)
    finish(tmp_path, arguments, run_warm)
    assert_same_end(tmp_path, uninterrupted)
    assert not list((tmp_path / COMPLETE).rglob(".lock"))


def test_run_that_was_killed_before_its_first_checkpoint_begins_anew(arguments, uninterrupted, run_warm, tmp_path):
    shutil.copytree(uninterrupted / COMPLETE, tmp_path / WIP)
    models = tmp_path / WIP / "models"
    (models / "checkpoint.pt").unlink()
    (models / "latent_support_sets.pt").unlink()
    args = json.loads((tmp_path / WIP / "args.json").read_text()) | {"batch_size": 64, "lr": 7.0, "seed": 9}
    (tmp_path / WIP / "args.json").write_text(json.dumps(args))
    finish(tmp_path, arguments, run_warm)
    assert_same_end(tmp_path, uninterrupted)


def test_finished_run_goes_on_longer_and_its_walks_are_walked_anew(arguments, data, run_warm, tmp_path):
    shorter, longer = [*arguments, "--max-iter=4"], [*arguments, "--max-iter=9"]
    finish(tmp_path, shorter, run_warm)
    sampled = run_warm("sample_gan.py", f"--gan={data / 'stylegan2_tiny.pth'}", "--num-samples=1", cwd=tmp_path)
    walk = [f"--exp={COMPLETE}", "--pool=stylegan2_tiny-1", "--shift-steps=1", "--eps=5", "--workers=0"]
    walked = run_warm("traverse_latent_space.py", *walk, cwd=tmp_path)
    assert (sampled.returncode, walked.returncode) == (0, 0), sampled.stderr + walked.stderr
    (codes,) = (tmp_path / COMPLETE / "results").rglob("paths_latent_codes.pt")
    before = codes.read_bytes()

    process = run_warm("train.py", *longer, cwd=tmp_path)
    assert process.returncode == 0 and "going on from iteration 4" in process.stderr
    assert not (tmp_path / WIP).exists() and codes.read_bytes() == before
    assert json.loads((tmp_path / COMPLETE / "args.json").read_text())["max_iter"] == 9
    assert load(tmp_path / COMPLETE / "models" / "checkpoint.pt")["iteration"] == 9

    assert run_warm("traverse_latent_space.py", *walk, cwd=tmp_path).returncode == 0
    assert codes.read_bytes() != before
    assert run_warm("train.py", *shorter, cwd=tmp_path).returncode == 2


def test_longer_run_that_was_stopped_goes_on(warm, arguments, run_warm, tmp_path):
    finish(tmp_path, [*arguments, "--max-iter=4"], run_warm)
    endless = [*arguments, "--max-iter=100000"]
    with Training(warm, tmp_path, endless) as training:
        training.wait_for_checkpoint(newer_than=(tmp_path / COMPLETE / "models/checkpoint.pt").stat().st_mtime_ns)
        assert training.end(signal.SIGINT) == 130
    reached = load(tmp_path / WIP / "models" / "checkpoint.pt")["iteration"]
    with Training(warm, tmp_path, endless) as training:
        training.wait_for_checkpoint(newer_than=(tmp_path / WIP / "models/checkpoint.pt").stat().st_mtime_ns)
        assert training.end(signal.SIGINT) == 130
    assert load(tmp_path / WIP / "models" / "checkpoint.pt")["iteration"] > reached > 4


def test_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_good_checkpoint(arguments, run_warm, tmp_path):
    process = run_warm("train.py", *arguments, "--lr=1e30", "--ckp-freq=1", cwd=tmp_path)
    assert process.returncode == 2
    said = [line for line in process.stderr.splitlines() if line and not line.startswith("training:")]
    assert len(said) == 1 and "not finite" in said[0] and "checkpoint.pt" in said[0]
    state = load(tmp_path / WIP / "models" / "checkpoint.pt")
    assert state["iteration"] >= 1
    assert all(tensor.isfinite().all() for tensor in state["support_sets"].values())
    assert not (tmp_path / COMPLETE).exists()
