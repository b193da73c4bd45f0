"""The seam: a method needs its own lines and an entry in the registry, and is trained, resumed, walked and shown."""

import pytest
import torch

import train
import traverse_latent_space
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
    (tmp_path / "pool" / "code").mkdir(parents=True)
    torch.save(torch.ones(1, 32), tmp_path / "pool" / "code" / "latent_code_z.pt")
    return tmp_path


def arguments(data, *more):
    return [f"--gan={data / 'stylegan2_tiny.pth'}", "--method=pull", "--lr=0.1", "--batch-size=4", "--max-iter=20",
            "--ckp-freq=7", "--no-cuda", *more]  # fmt: skip


class Stopped(Exception):
    pass


def test_another_method_is_trained_walked_and_shown(workplace, data):
    train.main(arguments(data))
    directory = workplace / "experiments" / "complete" / "Pull_stylegan2_tiny-K2"
    before, after = (
        load_tensors(directory / "models" / name)["DIRECTIONS"].mean(dim=1) for name in ("paths_init.pt", "paths.pt")
    )
    assert (after > before + 1).all()
    experiment = open_experiment(directory)
    assert experiment.labels == ["direction 0", "direction 1"] and experiment.settings.method == "pull"
    traverse_latent_space.main([f"--exp={directory}", "--pool=pool", "--shift-steps=1", "--no-cuda", "--workers=0"])
    results = directory / "results" / "pool" / "2_0.2_0.4"
    assert "direction 1" in (results / "index.html").read_text()
    assert load_tensors(results / "code" / "paths_latent_codes.pt").shape == (2, 3, 32)


def test_another_method_resumes_bit_for_bit(workplace, data, monkeypatch):
    train.main(arguments(data, "--exp-id=whole"))
    draw = Method.draw

    def stop_at_ten(self, iteration):
        if iteration == 10:
            raise Stopped
        return draw(self, iteration)

    monkeypatch.setattr(Pull, "draw", stop_at_ten)
    with pytest.raises(Stopped):
        train.main(arguments(data))
    monkeypatch.setattr(Pull, "draw", draw)
    train.main(arguments(data))
    ends = [load_tensors(workplace / f"experiments/complete/Pull_stylegan2_tiny-K2{suffix}/models/paths.pt")
            for suffix in ("", "-whole")]  # fmt: skip
    assert torch.equal(ends[0]["DIRECTIONS"], ends[1]["DIRECTIONS"])


def test_a_flag_that_the_method_does_not_use_is_refused(workplace, data):
    with pytest.raises(UserError, match="--css-beta is not used by --method=pull"):
        train.main(arguments(data, "--css-beta=0.5"))
