"""Several processes, started as users do: what they make is what one makes, and they end together."""

import functools
import importlib.util
import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from beside import TIMEOUT, Beside
from PIL import Image

TORCHRUN = importlib.util.find_spec("torch.distributed.run").origin
REPOSITORY = Path(__file__).resolve().parent.parent
NAME = "ContraCLIP_stylegan2_tiny-W-K2-D4-eps0.25_0.45-nonlinear_beta-0.5-contrastive_0.5-faces"
WIP, COMPLETE = Path("experiments", "wip", NAME), Path("experiments", "complete", NAME)
CHECKPOINT = WIP / "models" / "checkpoint.pt"


class Torchrun(Beside):
    """`torchrun --nproc-per-node=2` of a command, beside the test; ended with its processes at the end of the block."""

    def __init__(self, warm, cwd, script, *arguments, restarts=0):
        command = [sys.executable, TORCHRUN, "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}",
                   str(REPOSITORY / script), *map(str, arguments)]  # fmt: skip
        super().__init__(cwd, command, warm.start)

    def __exit__(self, *_):
        if self.process.poll() is None:  # so that it ends its ranks
            self.end(signal.SIGTERM)

    def ranks(self):
        """The process ids of its ranks, in their order."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        of_rank = {}
        for child in children:
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            of_rank |= {int(entry[5:]): int(child) for entry in environment if entry.startswith(b"RANK=")}
        return [of_rank[rank] for rank in sorted(of_rank)]


@pytest.fixture(scope="module")
def arguments(data, tiny_clip_file, tmp_path_factory):
    """Of a run whose batch of three is no multiple of two processes."""
    corpus = tmp_path_factory.mktemp("corpus") / "faces.txt"
    corpus.write_text("a happy face | a sad face\na young face | an old face\n")
    return [
        f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}", f"--corpus={corpus}",
        "--stylegan-space=W", "--loss=contrastive", "--temperature=0.5", "--batch-size=3", "--no-cuda",
        "--num-latent-support-dipoles=4", "--max-iter=50", "--ckp-freq=7",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def alone(arguments, run_warm, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("alone")
    process = run_warm("train.py", *arguments, cwd=cwd)
    assert process.returncode == 0, process.stderr
    return cwd


@pytest.fixture(scope="module")
def together(warm, arguments, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("together")
    with Torchrun(warm, cwd, "train.py", *arguments) as run:
        assert run.end() == 0, run.said
    return cwd, run.said


def load(file):
    return torch.load(file, weights_only=True)


def trained(cwd):
    assert not (cwd / WIP).exists()
    return load(cwd / COMPLETE / "models" / "latent_support_sets.pt")


def assert_close(found, expected):
    for name, weights in trained(expected).items():
        assert (trained(found)[name] - weights).norm() < 1e-5 * weights.norm()


def wait_for_checkpoint(cwd, run):
    deadline = time.monotonic() + TIMEOUT
    while not (cwd / CHECKPOINT).exists():
        assert run.process.poll() is None and time.monotonic() < deadline, run.said
        time.sleep(0.005)


def test_two_processes_train_what_one_does(alone, together):
    cwd, said = together
    assert_close(cwd, alone)
    files = [{file.relative_to(cwd) for file in cwd.rglob("*")} for cwd in (alone, cwd)]
    assert files[0] == files[1]
    assert said.count("trained: ") == 1 and said.count(" 0/50") == 1


def test_parts_of_the_same_size_make_them_equal_bit_for_bit(warm, arguments, run_warm, tmp_path):
    """At a learning rate that carries any difference far."""
    changed = [*arguments, "--lr=0.02", "--max-iter=10", "--micro-batch-size=1"]
    (tmp_path / "alone").mkdir()
    (tmp_path / "together").mkdir()
    process = run_warm("train.py", *changed, cwd=tmp_path / "alone")
    assert process.returncode == 0, process.stderr
    with Torchrun(warm, tmp_path / "together", "train.py", *changed) as run:
        assert run.end() == 0, run.said
    for name, weights in trained(tmp_path / "alone").items():
        assert torch.equal(trained(tmp_path / "together")[name], weights)


def test_killed_process_stops_the_others_and_a_restart_goes_on(warm, arguments, together, tmp_path):
    """The first process, which is the one that writes."""
    with Torchrun(warm, tmp_path, "train.py", *arguments, restarts=1) as run:
        wait_for_checkpoint(tmp_path, run)
        os.kill(run.ranks()[0], signal.SIGKILL)
        assert run.end() == 0, run.said
    for name, weights in trained(together[0]).items():
        assert torch.equal(trained(tmp_path)[name], weights)


def test_stopped_processes_leave_a_checkpoint_that_one_process_goes_on_from(
    warm, arguments, alone, run_warm, tmp_path
):
    with Torchrun(warm, tmp_path, "train.py", *arguments) as run:
        wait_for_checkpoint(tmp_path, run)
        assert run.end(signal.SIGTERM) != 0
    assert run.said.count("stopped: ") == 1 and "sign of life" not in run.said
    assert 7 <= load(tmp_path / CHECKPOINT)["iteration"] < 50
    process = run_warm("train.py", *arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert_close(tmp_path, alone)


def test_error_is_told_once(warm, arguments, tmp_path):
    with Torchrun(warm, tmp_path, "train.py", *arguments, "--clip-model=nowhere.pt") as run:
        assert run.end() != 0
    assert run.said.count("there is no file") == 1 and "has ended" not in run.said
    assert not (tmp_path / "experiments").exists()


def test_pool_and_paths_are_shared_out(warm, data, alone, run_warm, tmp_path):
    generator = f"--gan={data / 'stylegan2_tiny.pth'}"
    walk = ["--shift-steps=1", "--eps=0.1", "--batch-size=1", "--no-cuda"]
    (tmp_path / "together").mkdir()
    sample = ["sample_gan.py", generator, "--num-samples=3", "--batch-size=1", "--no-cuda"]
    traverse = ["traverse_latent_space.py", f"--exp={alone / COMPLETE}", *walk]
    assert run_warm(*sample, cwd=tmp_path).returncode == 0
    with Torchrun(warm, tmp_path / "together", *sample) as run:
        assert run.end() == 0, run.said
    assert run.said.count("pool: ") == 1
    pools = [cwd / "experiments" / "latent_codes" / "stylegan2_tiny" / "stylegan2_tiny-3"
             for cwd in (tmp_path, tmp_path / "together")]  # fmt: skip
    results = alone / COMPLETE / "results"
    assert run_warm(*traverse, f"--pool={pools[0]}", cwd=tmp_path).returncode == 0
    results.rename(tmp_path / "results")
    with Torchrun(warm, tmp_path / "together", *traverse, f"--pool={pools[1]}") as run:
        assert run.end() == 0, run.said
    assert run.said.count("results: ") == 1
    for first, second in (pools, (tmp_path / "results", results)):
        files = [{file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
                 for folder in (first, second)]  # fmt: skip
        assert files[0] == files[1] and len(files[0]) > 10
        for file in files[0]:  # other numbers of codes are traced together: equal but for rounding
            if file.suffix == ".pt":
                torch.testing.assert_close(*(torch.load(folder / file) for folder in (first, second)))
            if file.suffix == ".jpg":
                images = [np.asarray(Image.open(folder / file)).astype(int) for folder in (first, second)]
                assert abs(images[0] - images[1]).mean() < 0.5


STANDSTILL = """
import os, signal, sys, time
import torch
from lib import command_line, distributed, heartbeat

def main(arguments):
    heartbeat.BEAT, heartbeat.SILENCE = 0.1, 5
    distributed.join(torch.device("cpu"))
    if not distributed.is_first():
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(300)

command_line.run(main)
"""


def free_port():
    """A free port below those that the system hands out, so that no other process gets it before it is used."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port was found")


class Rank(Beside):
    """One process of several, started by hand."""

    def __init__(self, warm, cwd, script, settings):
        cwd.mkdir()
        start = functools.partial(warm.start, env=os.environ | settings)
        super().__init__(cwd, [sys.executable, script], start)


def test_process_that_stands_still_ends_the_others(warm, tmp_path):
    """As after a loss of the network: no connection closes. (Started by hand: torchrun would wait for the dead.)"""
    settings = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    script = tmp_path / "standstill.py"
    script.write_text(STANDSTILL)
    with Rank(warm, tmp_path / "0", script, settings | {"RANK": "0"}) as first:
        with Rank(warm, tmp_path / "1", script, settings | {"RANK": "1"}):
            assert first.end() == 1
    assert "process 1 of this run has given no sign of life" in first.said
