"""What a run needs is measured before it begins; what does not fit is refused by what does."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from outcomes import done, refused
from torch import nn

import train
from lib.methods import text_start
from lib.methods.method import Method
from lib.settings import TrainingSettings
from lib.training import memory, trainer
from lib.training.memory import Line, Needs, fitting_micro_batch_size, free_in_cgroups
from lib.training.step import step
from models.errors import UserError

MIB = 2**20
FIXED, PLAIN, GRAPH = 40 * MIB, 3 * MIB, 10 * MIB  # of a step: whatever its size, and for each image


class Pull(Method):
    """A method whose networks need memory by rule: of images that are seen at once, and in one pass, of all."""

    seen = held = limit = 0

    def __init__(self, **settings):
        space = SimpleNamespace(device=torch.device("cpu"), dim=4, generator=SimpleNamespace(z_dim=4))
        super().__init__(TrainingSettings(gan="", max_iter=4, log_freq=2, **settings), space, ["direction 0"])
        self.trained = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))

    def ends(self, batch):
        return [batch[0], self.trained(batch[0])]

    def see(self, codes, batch):
        if self.limit and len(codes) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        METER.note(len(codes) * (GRAPH if codes.requires_grad and torch.is_grad_enabled() else PLAIN))
        return codes * 2

    def loss(self, seen, ends, batch):
        return (seen[1] - 1).square().mean()


class FakeMeter:
    """Memory by rule: the largest thing noted since `reset`."""

    on_gpu, total = False, 10_000 * MIB

    def __call__(self, device):
        return self

    def note(self, size):
        self.most = max(self.most, FIXED + size)

    def reset(self):
        self.most = 0
        return True

    def used(self):
        return 0

    def peak(self):
        return self.most

    def free(self):
        return self.total


METER = FakeMeter()


@pytest.fixture(autouse=True)
def meter(monkeypatch):
    monkeypatch.setattr(memory, "Meter", METER)
    monkeypatch.setattr(METER, "total", 1105 * MIB)  # 994.5 for a step
    METER.reset()
    return METER


def test_a_batch_that_fits_is_left_as_it_is_after_one_small_step(monkeypatch):
    method = Pull(batch_size=20)
    steps = []
    monkeypatch.setattr(Needs, "_step", lambda self, size, micro: steps.append((size, micro)))
    assert fitting_micro_batch_size(method, method.settings) is None
    assert steps == [(2, None)]


def test_a_batch_that_does_not_fit_is_refused_by_what_does():
    method = Pull(batch_size=3000)
    with pytest.raises(UserError) as caught:
        fitting_micro_batch_size(method, method.settings)
    # 95 of 10 MiB fit besides 40; 3000 images need 32 parts of that many, and these are evened out.
    assert str(caught.value) == (
        "a batch of 3000 needs about 29.3 GiB of RAM, and 1.0 GiB are free: the largest that fit are --batch-size 95, "
        "or --micro-batch-size 94 (images at a time) with the batch as it is"
    )


@pytest.mark.parametrize("given, chosen", [(None, 94), (50, 50), (94, 94), (1000, 94)])
def test_automatic_size_is_what_fits(given, chosen):
    method = Pull(batch_size=3000, micro_batch_size=given)
    assert fitting_micro_batch_size(method, method.settings, automatic=True) == chosen


def test_a_micro_batch_that_does_not_fit_is_refused():
    method = Pull(batch_size=3000, micro_batch_size=1000)
    with pytest.raises(UserError, match=r"3000, 1000 images at a time, needs about 9\.8 GiB .* --micro-batch-size 94 "):
        fitting_micro_batch_size(method, method.settings)


def test_where_nothing_fits_nothing_is_named(meter, monkeypatch):
    monkeypatch.setattr(meter, "total", 30 * MIB)
    method = Pull(batch_size=3000)
    with pytest.raises(UserError, match=r"not even one image at a time fits$"):
        fitting_micro_batch_size(method, method.settings, automatic=True)


def test_measuring_leaves_no_trace_in_what_is_trained():
    method = Pull(batch_size=3000)
    before, state = copy.deepcopy(method.trained.state_dict()), torch.get_rng_state()
    fitting_micro_batch_size(method, method.settings, automatic=True)
    assert all(torch.equal(value, before[name]) for name, value in method.trained.state_dict().items())
    assert all(parameter.grad is None for parameter in method.trained.parameters())
    assert torch.equal(torch.get_rng_state(), state) and method.settings.batch_size == 3000


def test_sizes_that_are_measured_stay_within_what_is_free(meter, monkeypatch):
    monkeypatch.setattr(meter, "total", 200 * MIB)
    method, most = Pull(batch_size=3000), []
    note = meter.note
    monkeypatch.setattr(meter, "note", lambda size: (note(size), most.append(meter.most)))
    fitting_micro_batch_size(method, method.settings, automatic=True)
    assert max(most) <= 200 * MIB


def test_parts_are_measured_with_few_images(monkeypatch):
    """What whole batches need says how many make a clear difference, here 64 MiB at 10 MiB each."""
    method, sizes, measured = Pull(batch_size=3000), [], Needs._step
    monkeypatch.setattr(Needs, "_step", lambda self, size, micro: (sizes.append(micro), measured(self, size, micro)))
    fitting_micro_batch_size(method, method.settings, automatic=True)
    assert [size for size in sizes if size] == [7, 14]


@pytest.mark.parametrize("flags", [[], ["--path=sets"], ["--loss=cossim", "--lss-start=text", "--path=lines"]])
def test_a_batch_that_does_not_fit_is_refused_before_the_text_start_is_measured(
        flags, data, tiny_clip_file, tmp_path, monkeypatch):  # fmt: skip
    def too_large(method, settings, automatic):
        assert step(method, method.draw(0)) > 0  # it is of the right shapes
        raise UserError("too large")

    def measured(*_):
        raise AssertionError("the text start was measured")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "fitting_micro_batch_size", too_large)
    monkeypatch.setattr(text_start, "measure_response", measured)
    with pytest.raises(UserError, match="too large"):
        train.main([f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}", "--corpus=expressions3",
                    "--no-cuda", "--batch-size=4", *flags])  # fmt: skip
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("args.json"))


def test_a_line_says_the_largest_size_within_memory():
    assert Line(40, 10).largest(100, most=1000) == 6 and Line(40, 10).largest(100, most=5) == 5
    assert Line(40, 0).largest(100, most=1000) == 1000 and Line(400, 0).largest(100, most=1000) == 0


class Stop:
    def requested(self):
        return False


@pytest.mark.parametrize("micro", [None, 8])
def test_a_gpu_that_runs_out_of_memory_is_said_with_what_fits(micro, tmp_path):
    method = Pull(batch_size=16, micro_batch_size=micro)
    experiment = SimpleNamespace(settings=method.settings, checkpoint=tmp_path / "checkpoint.pt", directory=tmp_path)
    method.limit = 4
    at_once, ways = (16, "--batch-size 8, or --micro-batch-size 8") if micro is None else (8, ".*--micro-batch-size 4")
    said = rf"out of memory with {at_once} images at a time: try {ways} \(images at a time\) with"
    with pytest.raises(UserError, match=said):
        trainer.train(experiment, method, Stop())
    assert not list(tmp_path.iterdir())
    experiment.settings = replace(method.settings, micro_batch_size=4)
    assert trainer.train(experiment, method, Stop())


def write_group(folder, limit, used, cached, version):
    folder.mkdir(parents=True, exist_ok=True)
    names = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
             2: ("memory.max", "memory.current", "inactive_file")}[version]  # fmt: skip
    for name, content in zip([*names[:2], "memory.stat"], [limit, used, f"anon 5\n{names[2]} {cached}\n"]):
        (folder / name).write_text(f"{content}\n")


def test_limits_of_all_cgroups_above_are_read(tmp_path):
    write_group(tmp_path / "batch", 1000, 600, 100, 2)
    write_group(tmp_path / "batch" / "job", "max", 300, 0, 2)
    assert free_in_cgroups("0::/batch/job\n", tmp_path) == [500]
    write_group(tmp_path / "batch" / "job", 400, 300, 20, 2)
    assert free_in_cgroups("0::/batch/job\n", tmp_path) == [120, 500]


def test_limits_of_cgroups_of_version_1_are_read_also_where_the_path_is_that_of_the_host(tmp_path):
    write_group(tmp_path / "memory", 1000, 600, 50, 1)
    assert free_in_cgroups("5:cpu:/a\n4:memory:/docker/0123\n0::/\n", tmp_path) == [450]


@pytest.fixture
def arguments(data, tiny_clip_file):
    return [f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}", "--corpus=expressions3",
            "--loss=cossim", "--no-cuda", "--max-iter=1"]  # fmt: skip


def test_a_batch_beyond_the_machine_is_refused_before_anything_is_written(arguments, run_warm, tmp_path):
    line = refused(run_warm("train.py", *arguments, "--batch-size=100000000", cwd=tmp_path))
    assert "a batch of 100000000 needs about" in line and "GiB of RAM" in line and "--batch-size " in line
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("args.json"))


def test_automatic_size_is_none_where_the_batch_fits(arguments, run_warm, tmp_path):
    done(run_warm("train.py", *arguments, "--batch-size=2", "--micro-batch-size=auto", cwd=tmp_path))
    (file,) = tmp_path.rglob("args.json")
    assert '"micro_batch_size": null' in file.read_text()
