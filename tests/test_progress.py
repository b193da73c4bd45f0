"""The page of a run that is being trained, and what the trainer tells those that watch it."""

import json
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from outcomes import done
from PIL import Image
from torch import nn
from tqdm import tqdm

from lib.methods.method import Method
from lib.pages.progress import Progress, curve, strip_file, write_progress
from lib.progress import Watch
from lib.settings import TrainingSettings
from lib.training import trainer
from models.errors import UserError

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
LABEL = ("a face with <glasses>", "a face without glasses")
STATS = {10 * i: {"loss": 1 / i, "spread": 0.1, "lr": 0.01, "peak_gib": 0.5} for i in range(1, 6)}


class Shifts(nn.Module):
    """Straight paths whose length is trained."""

    num_paths = 2

    def __init__(self):
        super().__init__()
        self.length = nn.Parameter(torch.ones(1))

    def forward(self, positions, indices):
        return torch.ones_like(positions) * self.length


class Space:
    """Images of one colour, the code's; slow ones where asked."""

    device, dim = torch.device("cpu"), 3
    generator = nn.Linear(1, 1)
    generator.z_dim, generator.resolution = 3, 8
    fails = False

    def codes_of(self, z):
        return z

    def positions(self, codes):
        return codes

    def shift(self, codes, offsets):
        return codes + offsets

    def synthesise(self, codes):
        if self.fails:
            raise UserError("an image contains NaN")
        return codes[:, :, None, None].expand(-1, -1, 8, 8)


class Pull(Method):
    """Trains towards a constant; the first iteration takes SLOW seconds more than the others."""

    SLOW = 0.0

    def __init__(self, **settings):
        given = {"batch_size": 4, "max_iter": 12, "log_freq": 4, "ckp_freq": 2} | settings
        super().__init__(TrainingSettings(gan="", **given), Space(), [LABEL, LABEL])
        self.trained = Shifts()

    def ends(self, batch):
        return [batch[0] + self.trained.length]

    def see(self, codes, batch):
        return codes

    def updated(self, iteration):
        if iteration == 0:
            time.sleep(self.SLOW)

    def loss(self, seen, ends, batch):
        return seen[0].square().mean()


class Stop:
    def __init__(self, after=None):
        self.left = after

    def requested(self):
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


def experiment_of(method, directory):
    return SimpleNamespace(name="run", settings=method.settings, checkpoint=directory / "checkpoint.pt",
                           directory=directory)  # fmt: skip


def run(directory, stop_after=None, **settings):
    """Trains a `Pull` in a directory, from its checkpoint if there is one; returns its watcher."""
    method = Pull(**settings)
    experiment = experiment_of(method, directory)
    watch = Watch(experiment, method)
    trainer.train(experiment, method, Stop(stop_after), [watch])
    return watch


def pictures(directory):
    return sorted(int(file.stem) for file in (directory / "progress").iterdir())


def test_a_run_leaves_a_page_with_pictures_of_its_start_and_its_end(tmp_path):
    run(tmp_path)
    assert {0, 12} <= {*pictures(tmp_path)} <= {0, 2, 4, 6, 8, 10, 12}
    page = (tmp_path / "progress.html").read_text()
    assert "Trained" in page and "iteration 12" in page and "<polyline" in page and "&lt;glasses&gt;" in page
    assert "location.reload" not in page
    with Image.open(tmp_path / strip_file(12)) as strip:
        assert strip.size == (5 * 8, 3 * 8)


def test_pictures_show_the_path_as_it_is_by_now_from_the_second_sentence_to_the_first(tmp_path):
    method = Pull()
    watch = Watch(experiment_of(method, tmp_path), method)
    frames = watch._frames().astype(int)
    assert frames.shape == (3, 5, 8, 8, 3)
    assert (np.diff(frames.mean(axis=(2, 3, 4)), axis=1) >= 0).all() and frames[0, 0].mean() < frames[0, 4].mean()
    with torch.no_grad():
        method.trained.length.zero_()
    assert (watch._frames() == frames[:, 2:3]).all()


def test_pictures_cost_at_most_a_share_of_the_time(tmp_path, monkeypatch):
    """A picture takes 1 s, and an iteration 25: the second picture is due after 200 s."""
    clock = count()
    monkeypatch.setattr("lib.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(Pull, "updated", lambda method, iteration: [next(clock) for _ in range(25)])
    run(tmp_path)
    assert pictures(tmp_path) == [0, 8, 12]


def test_pictures_that_cannot_be_made_do_not_stop_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Space, "fails", True)
    run(tmp_path)
    assert not (tmp_path / "progress").exists() and "<polyline" in (tmp_path / "progress.html").read_text()


def test_watching_changes_nothing_of_what_is_trained(tmp_path):
    run(tmp_path / "watched")
    method = Pull()
    trainer.train(experiment_of(method, tmp_path / "alone"), method, Stop())
    found, expected = (torch.load(tmp_path / name / "checkpoint.pt") for name in ("watched", "alone"))
    assert torch.equal(found["support_sets"]["length"], expected["support_sets"]["length"])
    assert [entry["loss"] for entry in found["stats"].values()] == [e["loss"] for e in expected["stats"].values()]


def test_statistics_have_mean_spread_and_peak_and_go_on_where_a_run_stopped(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", stop_after=6)
    assert "Stopped" in (tmp_path / "parts" / "progress.html").read_text()
    run(tmp_path / "parts")
    whole, parts = (json.loads((tmp_path / name / "stats.json").read_text()) for name in ("whole", "parts"))
    assert whole.keys() == {"4", "8", "12"} == parts.keys()
    for at, entry in whole.items():
        assert entry.keys() == {"loss", "spread", "lr", "peak_gib"} and entry["spread"] > 0 and entry["peak_gib"] > 0.01
        assert all(parts[at][name] == entry[name] for name in ("loss", "spread", "lr"))


def test_time_left_is_that_of_iterations_after_the_first(tmp_path, monkeypatch):
    bars = []
    monkeypatch.setattr(trainer, "tqdm", lambda **given: bars.append(tqdm(**given)) or bars[-1])
    monkeypatch.setattr(Pull, "SLOW", 1.0)
    method = Pull(log_freq=100, ckp_freq=100)
    trainer.train(experiment_of(method, tmp_path), method, Stop())
    facts = bars[0].format_dict
    assert facts["n"] == 12 and facts["initial"] == 1 and facts["elapsed"] < 1


@pytest.mark.parametrize("loss", [0.0, 1e17, -1e300])
def test_curve_of_equal_losses_is_drawn_in_the_middle(loss):
    drawn = curve({i: {"loss": loss, "lr": 0.1} for i in (1, 2)}, 2)
    assert len({point.split(",")[1] for point in drawn["line"].split()}) == 1 and "nan" not in drawn["line"]


def test_curve_of_a_long_run_is_drawn_with_a_limited_number_of_points():
    drawn = curve({i: {"loss": 1.0, "lr": 0.1} for i in range(1, 2001)}, 2000)
    assert len(drawn["line"].split()) == 400 and drawn["line"].split()[-1].startswith("999.0,")
    assert [text for _, text in drawn["iterations"]] == ["0", "500", "1000", "1500", "2000"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (Path(CHROMIUM).exists() and Path(DRIVER).exists()):
        pytest.skip(f"needs {CHROMIUM} and {DRIVER}")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def wait_for(browser, script):
    deadline = time.monotonic() + 60
    while not browser.execute_script(f"return {script}"):
        assert time.monotonic() < deadline, script
        time.sleep(0.1)


def show(folder, iteration, **facts):
    for at in (0, iteration):
        (folder / strip_file(at)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((24, 40, 3), 100, np.uint8)).save(folder / strip_file(at))
    write_progress(Progress("run", iteration, 50, STATS, 0, LABEL, [0, iteration], **facts), folder)


def test_page_opens_itself_again_and_follows_the_run_to_where_it_ends(browser, tmp_path):
    wip, complete = tmp_path / "wip" / "run", tmp_path / "complete" / "run"
    show(wip, 20, seconds_left=100)
    browser.get((wip / "progress.html").as_uri())
    assert "about 100 s left" in browser.find_element("tag name", "header").text
    assert browser.execute_script("return [...document.images].every(image => image.naturalWidth == 40)")
    show(wip, 30)
    wait_for(browser, "document.title.startsWith('30 of 50')")
    show(complete, 50, running=False)
    for file in sorted(wip.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    wait_for(browser, "document.title.startsWith('50 of 50')")
    assert browser.current_url == (complete / "progress.html").as_uri()


def test_tensorboard_gets_the_statistics(data, tiny_clip_file, run_warm, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done(run_warm("train.py", f"--gan={data / 'stylegan2_tiny.pth'}", f"--clip-model={tiny_clip_file}", "--no-cuda",
                  "--corpus=expressions3", "--loss=cossim", "--batch-size=2", "--max-iter=4", "--log-freq=2",
                  "--tensorboard", cwd=tmp_path))  # fmt: skip
    (stats,) = tmp_path.rglob("stats.json")
    events = EventAccumulator(str(stats.parent / "tensorboard"))
    events.Reload()
    losses = {scalar.step: scalar.value for scalar in events.Scalars("loss")}
    assert losses == pytest.approx({int(at): entry["loss"] for at, entry in json.loads(stats.read_text()).items()})
    assert {"loss", "spread", "lr", "peak_gib"} == {*events.Tags()["scalars"]}


def test_tensorboard_that_is_missing_is_refused_by_what_to_install(tmp_path, monkeypatch):
    from lib.training.tensorboard import TensorBoard

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-tensorboard\.txt"):
        TensorBoard(experiment_of(Pull(), tmp_path))
