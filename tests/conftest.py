"""What several tests share: the published implementations' numbers, tiny networks, and the commands themselves.

The fixtures import what takes seconds: pytest-xdist's first process, which runs no test, reads this file too.
"""

import os

# One thread in this process and all that it starts; torch reads it when it is imported.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
# A slow machine would say what it is doing where a test counts the lines.
os.environ["CONTRACLIP_SILENCE"] = "3600"

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from beside import TIMEOUT
from warm import Server

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = REPOSITORY / "tests" / "data"  # made by the published implementations: numbers to conform to

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would the commands that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data():
    return DATA


@pytest.fixture(scope="session")
def published():
    """published("objectives") -> {name: tensor} of what the published implementations computed."""
    import numpy as np
    import torch

    def load(name):
        with np.load(DATA / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays}

    return load


@pytest.fixture(scope="session")
def conforms():
    """conforms(found, published): asserts the same shape, and equality within 1e-4 of the largest magnitude."""
    import torch

    def check(found, expected):
        atol = 1e-4 * expected.abs().max().item()
        torch.testing.assert_close(found.detach(), expected, rtol=0, atol=atol, check_dtype=False)

    return check


@pytest.fixture(scope="session")
def tiny_stylegan2():
    """64 px, 10 layers, z and w of 32; random weights."""
    from models.load_generator import load_generator

    return load_generator(DATA / "stylegan2_tiny.pth")


@pytest.fixture(scope="session")
def tiny_pggan():
    """64 px, z of 32; random weights."""
    from models.load_generator import load_generator

    return load_generator(DATA / "pggan_tiny.pth")


@pytest.fixture(scope="session")
def tiny_biggan():
    """32 px, z of 16, nine classes; random weights."""
    from models.load_generator import load_generator

    return load_generator(DATA / "biggan_pytorch_tiny.pth")


@pytest.fixture(scope="session")
def tiny_biggan_deep():
    """16 px, z of 4, ten classes; random weights."""
    from models.load_generator import load_generator

    return load_generator(DATA / "biggan_deep_tiny.bin")


@pytest.fixture(scope="session")
def tiny_clip_file(tmp_path_factory):
    """A ViT CLIP of random weights that sees 64 px and has 32 features, as a half-precision state dict."""
    import torch

    from models.clip_encoder import clip

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

    def run(script, *args, cwd, timeout=TIMEOUT, env=None):
        command = [sys.executable, str(REPOSITORY / script), *map(str, args)]
        before = os.times()
        process = subprocess.run(
            command, cwd=cwd, timeout=timeout, env={**os.environ, **(env or {})}, capture_output=True, text=True
        )
        after = os.times()
        process.cpu_seconds = sum(after[2:4]) - sum(before[2:4])  # of ended children, user and system
        return process

    return run


@pytest.fixture(scope="session")
def warm():
    """warm.start(command, cwd=..) -> a process like subprocess.Popen's, without the seconds that its imports take."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def run_warm(warm, tmp_path_factory):
    """As run_command, without the imports' seconds, and with no access to a hub of models."""
    streams = [tmp_path_factory.mktemp("streams") / name for name in ("out", "err")]
    no_hub = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": "/nonexistent"}

    def run(script, *args, cwd, timeout=TIMEOUT, env=None):
        command = [sys.executable, str(REPOSITORY / script), *map(str, args)]
        with open(streams[0], "w") as out, open(streams[1], "w") as err:
            environment = {**os.environ, **no_hub, **(env or {})}
            process = warm.start(command, cwd=cwd, stdout=out, stderr=err, env=environment)
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
        return subprocess.CompletedProcess(command, code, *(stream.read_text() for stream in streams))

    return run
