"""What several tests share: the published implementations' numbers, tiny networks, and the commands themselves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.clip_encoder import clip
from models.load_generator import load_generator

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = REPOSITORY / "tests" / "data"  # made by the published implementations: numbers to conform to

torch.set_num_threads(1)
# A shell that runs the tests in the background has them ignore Ctrl-C, and so would the commands that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Runs each command in a process of its own, forked from one that has imported torch: that costs seconds otherwise.
SERVER = """
import json, os, runpy, sys, traceback
sys.path[0] = sys.argv[1]
import lib.trained, lib.training.trainer, lib.walking.pools, lib.walking.traversal, models.clip_encoder
for line in sys.stdin:
    script, arguments, cwd, streams = json.loads(line)
    child = os.fork()
    if not child:
        code = 0
        try:
            os.chdir(cwd)
            for number, file in enumerate(streams, start=1):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.argv = [script, *arguments]
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session")
def data():
    return DATA


@pytest.fixture(scope="session")
def published():
    """published("objectives") -> {name: tensor} of what the published implementations computed."""

    def load(name):
        with np.load(DATA / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays}

    return load


@pytest.fixture(scope="session")
def conforms():
    """conforms(found, published): asserts the same shape, and equality within 1e-4 of the largest magnitude."""

    def check(found, expected):
        atol = 1e-4 * expected.abs().max().item()
        torch.testing.assert_close(found.detach(), expected, rtol=0, atol=atol, check_dtype=False)

    return check


@pytest.fixture(scope="session")
def tiny_stylegan2():
    """64 px, 10 layers, z and w of 32; random weights."""
    return load_generator(DATA / "stylegan2_tiny.pth")


@pytest.fixture(scope="session")
def tiny_pggan():
    """64 px, z of 32; random weights."""
    return load_generator(DATA / "pggan_tiny.pth")


@pytest.fixture(scope="session")
def tiny_clip_file(tmp_path_factory):
    """A ViT CLIP of random weights that sees 64 px and has 32 features, as a half-precision state dict."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = clip.model.CLIP(32, 64, 2, 64, 16, 77, 49408, 64, 1, 1)
    state = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    file = tmp_path_factory.mktemp("clip") / "tiny_clip.pt"
    torch.save(state, file)
    return file


@pytest.fixture(scope="session")
def run_command():
    """run_command("train.py", "--gan=..", cwd=tmp_path) -> CompletedProcess of the real command, its text captured.

    Its `cpu_seconds` are the processor's: unlike the clock's, they do not depend on what else the machine does.
    """

    def run(script, *args, cwd, timeout=120, env=None):
        command = [sys.executable, str(REPOSITORY / script), *map(str, args)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        before = os.times()
        process = subprocess.run(command, cwd=cwd, timeout=timeout, env=environment, capture_output=True, text=True)
        after = os.times()
        process.cpu_seconds = sum(after[2:4]) - sum(before[2:4])  # of ended children, user and system
        return process

    return run


@pytest.fixture(scope="session")
def run_warm(tmp_path_factory):
    """As run_command, without the imports' seconds."""
    streams = [tmp_path_factory.mktemp("streams") / name for name in ("out", "err")]
    command = [sys.executable, "-c", SERVER, str(REPOSITORY)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": "/nonexistent"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, env=environment, text=True) as server:

        def run(script, *args, cwd):
            order = [str(REPOSITORY / script), [*map(str, args)], str(cwd), [*map(str, streams)]]
            server.stdin.write(json.dumps(order) + "\n")
            server.stdin.flush()
            code = int(server.stdout.readline())
            return subprocess.CompletedProcess(order, code, *(stream.read_text() for stream in streams))

        yield run
        server.stdin.close()
