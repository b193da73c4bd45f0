"""Runs of a method in the test's own process: stopped in the middle, and walked from a pool of one code."""

from contextlib import contextmanager

import pytest
import torch

import traverse_latent_space
from models.untrusted.tensor_files import load_tensors


class Stopped(Exception):
    pass


@contextmanager
def stopped_at(iteration, method):
    """Within it a training by `method`, a class, must come to that iteration, and ends before it."""
    draw = method.draw

    def stop(self, i):
        if i == iteration:
            raise Stopped
        return draw(self, i)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(method, "draw", stop)
        yield


def make_pool(workplace, width=32):
    """A pool of one z, of ones."""
    (workplace / "pool" / "code").mkdir(parents=True, exist_ok=True)
    torch.save(torch.ones(1, width), workplace / "pool" / "code" / "latent_code_z.pt")


def walk(directory, *more):
    """The codes along the paths of an experiment, or a checkpoint's file, from that pool: (K, 3, ...)."""
    traverse_latent_space.main([f"--exp={directory}", "--pool=pool", "--shift-steps=1", "--no-cuda", "--workers=0",
                                *more])  # fmt: skip
    home = directory if directory.is_dir() else directory.with_suffix("")
    return load_tensors(home / "results" / "pool" / "2_0.2_0.4" / "code" / "paths_latent_codes.pt")
