"""From a notebook: codes by a seed, several paths at once, pictures, and paths of new sentences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.methods import text_start
from lib.paths.tracing import trace
from lib.pixels import to_uint8
from lib.trained import open_experiment, open_text
from models.errors import UserError

HAT, SMILE = ("a face with a hat", "a face without a hat"), ("a happy face", "a sad face")


@pytest.fixture
def experiment(data, monkeypatch, tmp_path, tiny_clip_file):
    """An experiment with bent paths in W, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_start, "FEATURE_CODES", 40)
    monkeypatch.setattr(text_start, "RESPONSE_CODES", 4)
    found = open_experiment(data / "layout1" / "complete", data / "stylegan2_tiny.pth")
    return replace(found, settings=replace(found.settings, clip_model=str(tiny_clip_file)))


def test_codes_of_a_seed_are_those_of_a_pool(experiment):
    z = torch.randn(3, 32, generator=torch.Generator().manual_seed(7))
    assert torch.equal(experiment.sample(3, seed=7), experiment.space.codes_of(z))


def test_one_path_leads_where_the_walk_leads(experiment):
    codes = experiment.sample(2)
    eps = experiment.step(16)
    walked = trace(experiment.space, experiment.paths, codes, 16, eps)
    for steps in (-16, -5, 16):
        torch.testing.assert_close(experiment.shift(codes, {1: steps * eps}), walked[:, 1, 16 + steps], atol=1e-4,
                                   rtol=1e-3)  # fmt: skip
    assert torch.equal(experiment.shift(codes, {1: 0.0}), codes)


def test_paths_add_whatever_their_order(experiment):
    codes = experiment.sample(2)
    together = experiment.shift(codes, {0: 1.0, 1: -2.0})
    assert torch.equal(together, experiment.shift(codes, {1: -2.0, 0: 1.0}))
    offsets = experiment.offsets(codes, {0: 1.0}) + experiment.offsets(codes, {1: -2.0})
    torch.testing.assert_close(together, experiment.space.shift(codes, offsets))


def test_path_that_is_not_there_is_refused(experiment):
    with pytest.raises(UserError, match="there is no path 99"):
        experiment.shift(experiment.sample(), {99: 1.0})


def test_pictures_are_the_images_of_codes(experiment):
    codes = experiment.sample(2)
    for picture, code in zip(experiment.pictures(codes), codes.split(1)):
        assert (np.asarray(picture) == to_uint8(experiment.space.synthesise(code))[0]).all()


def test_new_sentences_have_paths_that_do_not_depend_on_each_other(experiment):
    seen = []
    said = experiment.say([HAT, SMILE], progress=lambda done, total: seen.append(done / total))
    assert seen[-1] == 1 and said.labels == [HAT, SMILE] and said.space.name == "W"
    alone = experiment.say([SMILE], progress=lambda done, total: seen.append("again"))
    assert "again" not in seen and alone.labels == [SMILE]
    codes = experiment.sample()
    torch.testing.assert_close(alone.shift(codes, {0: 1.0}), said.shift(codes, {1: 1.0}))
    reach = said.step(1)
    assert (said.offsets(codes, {0: reach}).norm() - reach).abs() < 1e-4 * reach


def test_text_start_of_a_corpus_is_opened_without_a_run(experiment, data, tmp_path, tiny_clip_file, monkeypatch):
    monkeypatch.setattr("lib.trained.DEFAULT_CLIP", str(tiny_clip_file))
    (tmp_path / "two.txt").write_text("\n".join("|".join(dipole) for dipole in (HAT, SMILE)))
    found = open_text(data / "stylegan2_tiny.pth", tmp_path / "two.txt")
    assert found.labels == [HAT, SMILE] and found.settings.method == "text" and found.paths.num_paths == 2
    assert found.step(1) == float(f"{found.settings.walk_length:.2g}")
