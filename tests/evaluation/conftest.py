"""An evaluation of made-up paths by a made-up judge."""

import pytest
import torch
from colours import LABELS, ColourJudge

from lib.evaluation import evaluation, samples
from lib.evaluation.evaluation import Subject
from lib.evaluation.store import Store
from lib.evaluation.summary import sum_up
from lib.evaluation.walks import Walk
from lib.files import save_tensors
from lib.latent_space import latent_space
from lib.paths.lines import Lines
from lib.settings import WalkSettings
from lib.walking import synthesis


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(samples, "CACHE", tmp_path / "cache")


@pytest.fixture
def space(tiny_stylegan2):
    return latent_space(tiny_stylegan2, "W", truncation=0.7)


@pytest.fixture
def lines():
    return Lines.random(3, 32, torch.Generator().manual_seed(0))


@pytest.fixture
def subject(space, lines, tmp_path):
    for i, z in enumerate(torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(1))):
        save_tensors(z, tmp_path / "pool" / f"code_{i}" / "latent_code_z.pt")
    walk = Walk(tmp_path / "exp" / "results" / "pool" / "8_2.0_16.0", WalkSettings(shift_steps=4, eps=2.0))
    sources = sorted((tmp_path / "pool").iterdir())
    return Subject("an experiment", "pool", space, lines, LABELS, sources, walk, {"gan_sha256": "gan", "weights": "w"})


@pytest.fixture
def images_made(monkeypatch):
    """images_made() -> how many images were made since it was asked last."""
    made = [0]

    class Counted(synthesis.Synthesiser):
        def batches(self, codes, see):
            made[0] += len(codes)
            return super().batches(codes, see)

    monkeypatch.setattr("lib.evaluation.reading.Synthesiser", Counted)

    def since():
        count, made[0] = made[0], 0
        return count

    return since


@pytest.fixture
def evaluate(subject, own_cache, tmp_path):
    """evaluate(judge, ..) -> (readings, summary, reports), without files but what is kept."""

    def run(judge=None, of=subject, **asked):
        judge = judge or ColourJudge()
        store = Store(tmp_path / "kept")
        try:
            readings = evaluation.read(of, judge, store, steps=2, sample_count=40, **asked)
            return readings, *sum_up(of, judge, "colours", readings, resamples=50)
        finally:
            store.close()

    return run
