"""Pools of inverted pictures, and how far a generator can show what they show."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lib.inversion import pools, reach
from lib.inversion.frames import centre_square
from lib.inversion.pictures import Picture
from lib.inversion.pools import CHECKPOINT, make_pool, read_checkpoint, records
from lib.inversion.reach import Reach, find_reach
from lib.latent_space import latent_space
from lib.pixels import to_uint8
from lib.pools import code_directories, code_hash, read_code
from lib.settings import InversionSettings, InvertedPoolSettings
from models.errors import UserError
from models.untrusted.tensor_files import load_tensors
from scripts.bench import inversion

SETTINGS = InvertedPoolSettings(gan="tiny", gan_sha256="0" * 64, stylegan_space="W+", samples=16, steps=4)
REACH = Reach(own=0.1, other=0.6)


@pytest.fixture(scope="module")
def space(tiny_stylegan2):
    return latent_space(tiny_stylegan2, "W+")


@pytest.fixture(scope="module")
def pictures(space):
    z = torch.randn(3, space.generator.z_dim, generator=torch.Generator().manual_seed(1))
    frames = to_uint8(space.synthesise(space.codes_of(z)))
    return [Picture(f"/somewhere/{i}.png", frame, centre_square(frame)) for i, frame in enumerate(frames)]


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from lib.config import LATENT_CODES

    return LATENT_CODES / "tiny" / "tiny-inverted"


def contents(directory):
    return {file.relative_to(directory): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_a_pool_holds_codes_pictures_inversions_and_distances(space, pictures, directory):
    made = make_pool(directory, pictures, space, SETTINGS, REACH, 2)
    assert [record["picture"] for _, record in made] == ["0.png", "1.png", "2.png"]
    for picture, (name, record) in zip(pictures, made):
        code = directory / name
        assert {file.name for file in code.iterdir()} == {
            "latent_code_w+.pt", "image_w.jpg", "image_original.jpg", "inversion.json"
        }  # fmt: skip
        stored = load_tensors(code / "latent_code_w+.pt")
        assert code_hash(stored) == name and torch.equal(read_code(code, space, w_space=True), stored)
        assert abs(np.asarray(Image.open(code / "image_original.jpg")).astype(int) - picture.pixels).mean() < 3
        shown = to_uint8(space.synthesise(stored))[0].astype(int)
        assert abs(np.asarray(Image.open(code / "image_w.jpg")) - shown).mean() < 3
        assert record["sha1"] == picture.sha1 and 0 < record["distance"] < 1
        assert record["frame"] == [32.0, 32.0, 64.0, 0.0] and record["own_samples"] == REACH.own
    assert len(code_directories(directory)) == 3 and (directory / "sheet.jpg").is_file()
    assert not (directory / CHECKPOINT).exists()


def test_codes_of_z_are_walked_as_any_pool_s(tiny_stylegan2, pictures, directory):
    space = latent_space(tiny_stylegan2, "Z", truncation=0.7)
    settings = replace(SETTINGS, stylegan_space="Z", truncation=0.7)
    ((name, _),) = make_pool(directory, pictures[:1], space, settings, None, 1)
    names = {file.name for file in (directory / name).iterdir()}
    assert names >= {"latent_code_z.pt", "latent_code_w.pt", "latent_code_w+.pt", "image_z.jpg"}
    shown = to_uint8(space.synthesise(read_code(directory / name, space)))[0].astype(int)
    assert abs(np.asarray(Image.open(directory / name / "image_z.jpg")) - shown).mean() < 3


class Stop(Exception):
    pass


@pytest.mark.parametrize("step", [1, 3, 6, 8])
def test_a_pool_that_was_interrupted_ends_with_the_same_files(step, space, pictures, directory, tmp_path, monkeypatch):
    make_pool(directory, pictures, space, SETTINGS, REACH, 2)
    whole = contents(directory)
    directory.rename(tmp_path / "whole")
    monkeypatch.setattr(pools, "SECONDS", 0)
    seen = []

    def saving(content, path):
        saved(content, path)
        seen.append(content["step"])
        if len(seen) == step:
            raise Stop

    saved = pools.save_tensors
    monkeypatch.setattr(pools, "save_tensors", saving)
    with pytest.raises(Stop):
        make_pool(directory, pictures, space, SETTINGS, REACH, 2)
    assert len(records(directory)) == (2 if step > 4 else 0)
    make_pool(directory, pictures, space, SETTINGS, REACH, 2)
    assert len(seen) == 8  # no step was made again
    assert contents(directory) == whole


def test_only_new_pictures_are_inverted(space, pictures, directory, monkeypatch):
    make_pool(directory, pictures[:2], space, SETTINGS, REACH, 4)
    before = contents(directory)
    inverted = []
    invert = pools.invert

    def counting(space, targets, *others):
        inverted.append(len(targets))
        return invert(space, targets, *others)

    monkeypatch.setattr(pools, "invert", counting)
    make_pool(directory, [*pictures, pictures[0]], space, SETTINGS, REACH, 4)
    assert inverted == [1] and len(records(directory)) == 3
    after = contents(directory)
    assert {file: after[file] for file in before if file.name != "sheet.jpg"}.items() <= before.items()


def test_other_settings_make_another_pool(space, pictures, directory):
    make_pool(directory, pictures[:1], space, SETTINGS, REACH, 1)
    with pytest.raises(UserError, match="steps is 5, was 4"):
        make_pool(directory, pictures[:1], space, replace(SETTINGS, steps=5), REACH, 1)


def test_damaged_files_of_a_pool_are_refused(space, pictures, directory, tmp_path):
    ((name, _),) = make_pool(directory, pictures[:1], space, SETTINGS, REACH, 1)
    (directory / name / "inversion.json").write_text('{"sha1": 3}')
    with pytest.raises(UserError, match="is damaged"):
        records(directory)
    torch.save({"step": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "checkpoint.pt")


def test_reach_is_a_scale_from_own_samples_to_random_ones():
    assert REACH.share(0.1) == 1 and REACH.share(0.05) == 1
    assert REACH.share(0.6) == 0 and REACH.share(0.35) == pytest.approx(0.5)
    assert "hardly" in REACH.words(0.5) and "in part" in REACH.words(0.2) and "well" in REACH.words(0.11)


def test_reach_is_measured_once_and_again_where_its_file_is_broken(space, directory, monkeypatch):
    measured = []
    measure = reach.measured_reach
    monkeypatch.setattr(reach, "measured_reach", lambda *given: measured.append(0) or measure(*given))
    monkeypatch.setattr(reach, "SAMPLES", 2)
    settings = InversionSettings(samples=16, steps=6)
    first = find_reach(space, settings, "0" * 64)
    assert 0 < first.own < first.other and find_reach(space, settings, "0" * 64) == first and len(measured) == 1
    assert find_reach(space, replace(settings, steps=7), "0" * 64) != first and len(measured) == 2
    for file in reach.CACHE.iterdir():
        file.write_text(file.read_text()[:40])
    assert find_reach(space, settings, "0" * 64) == first and len(measured) == 3


def test_the_bench_measures_what_it_says():
    settings = InversionSettings(samples=16, steps=2, tries=2)
    faces = inversion.faces(2, 5, settings)
    assert 0 <= faces["recovered"] <= faces["of"] == 2 and len(faces["identities"]) == 2 and faces["seconds"] > 0
    portraits = inversion.portraits(2, 5, settings)
    assert 0 < portraits["renders"]["judge's own"] < portraits["renders"]["factor error"] < 0.5
    assert portraits["own samples"]["distance"] < portraits["photographs"]["distance"]
    assert portraits["photographs"]["shown"]["most"] <= 1 and len(portraits["renders"]["by factor"]) == 25
