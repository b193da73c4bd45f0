"""The seam: a method needs its own lines and an entry in the registry, and is trained, resumed, walked and shown."""

import pytest
import torch
from method_runs import make_pool, stopped_at, walk

import train
from lib import methods
from lib.methods.method import Method
from lib.trained import open_experiment
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors


class Pull(Method):
    """Pulls codes towards a constant."""

    find_labels = staticmethod(lambda settings: ["direction 0", "direction 1"])
    experiment_name = staticmethod(lambda settings, gan, corpus, num_paths: f"Pull_{gan}-K{num_paths}")

    def ends(self, batch):
        z, indices = batch
        return [self.space.shift(z, self.paths(z, indices))]

    def see(self, codes, batch):
        return codes

    def loss(self, seen, ends, batch):
        return (seen[0] - 1).square().mean()


@pytest.fixture
def workplace(tmp_path, monkeypatch, data):
    """A working directory with a pool of one code, and the method in the registry."""
    monkeypatch.setitem(methods.METHODS, "pull", f"{__name__}:Pull")
    monkeypatch.chdir(tmp_path)
    make_pool(tmp_path)
    return tmp_path


def arguments(data, *more):
    return [f"--gan={data / 'stylegan2_tiny.pth'}", "--method=pull", "--lr=0.1", "--batch-size=4", "--max-iter=20",
            "--ckp-freq=7", "--no-cuda", *more]  # fmt: skip


def test_another_method_is_trained_walked_and_shown(workplace, data):
    train.main(arguments(data))
    directory = workplace / "experiments" / "complete" / "Pull_stylegan2_tiny-K2"
    before, after = (
        load_tensors(directory / "models" / name)["DIRECTIONS"].mean(dim=1) for name in ("paths_init.pt", "paths.pt")
    )
    assert (after > before + 1).all()
    experiment = open_experiment(directory)
    assert experiment.labels == ["direction 0", "direction 1"] and experiment.settings.method == "pull"
    assert walk(directory).shape == (2, 3, 32)
    assert "direction 1" in (directory / "results" / "pool" / "2_0.2_0.4" / "index.html").read_text()


def test_another_method_resumes_bit_for_bit(workplace, data):
    train.main(arguments(data, "--exp-id=whole"))
    with stopped_at(10, Pull):
        train.main(arguments(data))
    train.main(arguments(data))
    ends = [load_tensors(workplace / f"experiments/complete/Pull_stylegan2_tiny-K2{suffix}/models/paths.pt")
            for suffix in ("", "-whole")]  # fmt: skip
    assert torch.equal(ends[0]["DIRECTIONS"], ends[1]["DIRECTIONS"])


def test_a_flag_that_the_method_does_not_use_is_refused(workplace, data):
    with pytest.raises(UserError, match="--css-beta is not used by --method=pull"):
        train.main(arguments(data, "--css-beta=0.5"))
