"""What a visitor asks for and gets, and what others do not see of it."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mean_colours import Colours
from PIL import Image

from lib.exploring.judging import Judging
from lib.exploring.looks import Look
from lib.exploring.sliders import sliders_of
from lib.exploring.work import Stopped
from lib.exploring.world import World
from lib.files import write_json
from lib.methods import dipole_paths
from lib.pools import code_directories, find_pool, read_code
from lib.trained import find_experiment, open_experiment
from lib.walking.pictures import there_and_back
from models.errors import UserError

DIPOLES = [("a happy face", "a sad face"), ("an old face", "a young face")]  # of the experiment in W
HAT = ("a face with a hat", "a face without a hat")


@pytest.fixture
def judged(world):
    world.judging = Judging("colours", Colours(), world.gan_sha256)
    return world.visitor()


def said(visitor, dipole=HAT):
    return visitor.say(*dipole).result()


def test_sliders_of_experiments(world):
    assert [slider.space for slider in world.sliders] == ["W", "W", "Z", "Z", "W+", "W+", "S", "S"]
    first = world.sliders[0]
    assert (first.first, first.second, first.title) == ("a happy face", "a sad face", "a sad face → a happy face")
    assert first.high == -first.low == 3.2
    assert world.sliders[2].title == "Z 0" and world.sliders[2].high == 3.2
    assert len({slider.id for slider in world.sliders}) == 8


def test_slider_knows_what_was_measured_of_it(experiments, tmp_path):
    figures = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("own_effect", "leak", "stray")}
    entry = {"path": 1, "label": list(DIPOLES[1]), "own": "age", "sign": 1, "strongest_other": None, "figures": figures}
    summary = {"format": 1, "codes": 8, "pool": "pool", "judge": {"name": "a judge"}, "paths": [entry]}
    write_json(summary, tmp_path / "results" / "pool" / "walk" / "evaluation" / "summary.json")
    (left_out, _), (found, _) = sliders_of(replace(experiments[0], directory=tmp_path))
    assert found.measured == entry and left_out.measured is None


def test_shift_beyond_the_range_ends_at_its_end(world, visitor):
    slider = world.sliders[0]
    assert visitor.moved(world.look(), {slider.id: -100.0}).shift(slider.id) == slider.low
    with pytest.raises(UserError, match="there is no slider"):
        visitor.moved(world.look(), {"another": 1.0})
    for shift in (float("nan"), float("inf"), 10**400, "1", None, True):
        with pytest.raises(UserError, match="only be at a number"):
            visitor.moved(world.look(), {slider.id: shift})


@pytest.mark.parametrize("seed, truncation", [(-1, 1.0), (2**40, 1.0), ("1", 1.0), (True, 1.0), (1, 0), (1, 1.5),
                                              (1, float("nan")), (1, "1")])  # fmt: skip
def test_seed_and_truncation_are_checked(world, seed, truncation):
    with pytest.raises(UserError, match="is not a"):
        world.look(seed, truncation)


def test_history_goes_back_and_forward(world, visitor):
    history, looks = visitor.history, [world.look(seed) for seed in range(4)]
    for look in looks[:3]:
        history.see(look)
    history.see(looks[2])
    assert history.back() == looks[1] and history.back() == looks[0] and history.back() is None
    assert history.forward() == looks[1] and history.can_go_back and history.can_go_forward
    history.see(looks[3])
    assert history.forward() is None and history.back() == looks[1]


def test_numbers_before_and_now_those_that_changed_most_first(world, judged, slider_in):
    look = judged.moved(world.look(seed=1), {slider_in("W").id: 3.0})
    numbers = judged.numbers(look)
    changes = [abs(one.now - one.before) for one in numbers]
    assert sorted(changes, reverse=True) == changes and changes[0] > 0
    pixels = {which: judged.picture(one).pixels for which, one in (("before", look.reset()), ("now", look))}
    for number in numbers:
        colour = Colours.names.index(number.name)
        for which, picture in pixels.items():
            assert getattr(number, which) == pytest.approx(picture[..., colour].mean() / 255, abs=0.01)


def test_without_a_judge_there_are_no_numbers(world, visitor):
    assert visitor.numbers(world.look()) == [] and visitor.prepare_judge() is None


def test_judge_without_a_scale_learns_it_from_samples_once(world, judged, monkeypatch):
    monkeypatch.setattr("lib.exploring.judging.FEWER", 40)
    monkeypatch.setattr("lib.evaluation.samples.CACHE", Path("cache"))
    judge = Colours()
    judge.scaled = False
    world.judging = Judging("colours", judge, world.gan_sha256)
    assert judged.numbers(world.look()) == []
    work = judged.prepare_judge()
    work.result()
    assert work.share == 1 and judged.prepare_judge() is None
    samples = [judged.numbers(world.look(seed))[0].now for seed in range(6)]
    assert len(set(samples)) == 6 and -2 < min(samples) < max(samples) < 3
    again = Judging("colours", judge, world.gan_sha256)
    again.recall(world.space())
    assert again.is_ready


def test_strip_grid_and_animation_show_the_sliders_moved(world, visitor, slider_in):
    look, across, down = world.look(seed=1), slider_in("W"), slider_in("S")
    look = visitor.moved(look, {slider_in("Z").id: 1.0})

    def at(**shifts):
        return visitor.picture(visitor.moved(look, {{"w": across.id, "s": down.id}[name]: shift
                                                    for name, shift in shifts.items()})).pixels

    strip = visitor.strip(look, across.id, 3)
    assert all((one.pixels == at(w=shift)).all() for one, shift in zip(strip, (across.low, 0, across.high)))
    grid = visitor.grid(look, across.id, down.id, 3)
    assert [len(row) for row in grid] == [3, 3, 3]
    assert (grid[0][2].pixels == at(w=across.high, s=down.high)).all()
    assert (grid[2][0].pixels == at(w=across.low, s=down.low)).all()
    with Image.open(io.BytesIO(visitor.animation(look, across.id, frames=4))) as film:
        assert film.n_frames == len(there_and_back(range(4))) and film.size == (128, 128)


def test_pictures_are_encoded_whole(world, visitor):
    picture = visitor.picture(world.look())
    assert (np.asarray(Image.open(io.BytesIO(picture.png()))) == picture.pixels).all()
    assert np.abs(np.asarray(Image.open(io.BytesIO(picture.jpeg()))).astype(int) - picture.pixels).mean() < 3


def test_pool_of_one_is_a_pool(world, visitor, slider_in, experiments, settings):
    look = visitor.moved(world.look(seed=1), {slider_in("W").id: 2.0, slider_in("Z").id: 1.0})
    directory = visitor.save_pool(look, "mine")
    assert directory == find_pool("stylegan2_tiny-mine", "stylegan2_tiny", settings.gan_sha256)
    [source] = code_directories(directory)
    code = read_code(source, experiments[0].space, w_space=True)
    assert (visitor.picture(look.reset().at(look.start.of_code(code))).pixels == visitor.picture(look).pixels).all()
    assert torch.equal(torch.load(io.BytesIO(visitor.code_file(look)), weights_only=True), code)
    visitor.save_pool(look, "mine")
    with pytest.raises(UserError, match="made with other arguments"):
        visitor.save_pool(world.look(seed=2), "mine")
    with pytest.raises(UserError, match="style space"):
        visitor.save_pool(visitor.moved(look, {slider_in("S").id: 1.0}), "styles")
    for name in ("", "../up", "a b"):
        with pytest.raises(UserError, match="not a name"):
            visitor.save_pool(look, name)


def test_own_sentences_are_a_slider_of_that_visitor_alone(world, visitor):
    other, slider = world.visitor(), said(visitor)
    assert (slider.first, slider.second, slider.own, slider.space) == (*HAT, True, "W")
    assert visitor.sliders[-1] == slider and slider not in other.sliders and slider not in world.sliders
    look = visitor.moved(world.look(), {slider.id: slider.high})
    assert (visitor.picture(look).pixels != visitor.picture(world.look()).pixels).any()
    with pytest.raises(UserError, match="there is no slider"):
        other.picture(look)
    assert said(other).id == slider.id
    assert (other.picture(look).pixels == visitor.picture(look).pixels).all()
    visitor.forget(slider.id)
    assert slider not in visitor.sliders and slider in other.sliders


def test_look_with_own_sentences_is_restored_with_them(world, visitor):
    slider = said(visitor)
    look = visitor.moved(world.look(seed=2), {slider.id: slider.high / 2, world.sliders[0].id: 1.0})
    other = world.visitor()
    restored, remarks = other.adopt(Look.from_link(look.to_link()))
    assert restored == look and not remarks
    assert other.picture(restored).png() == visitor.picture(look).png()


def test_look_of_what_is_not_here_is_restored_without_it_or_refused(world, visitor):
    look = world.look().moved({"elsewhere-0": 1.0, world.sliders[0].id: 1.0})
    restored, remarks = visitor.adopt(look)
    assert list(restored.shifts) == [world.sliders[0].id] and "1 of its sliders" in remarks[0]
    with pytest.raises(UserError, match="another generator"):
        visitor.adopt(replace(look, gan_sha256="0" * 64))


@pytest.mark.parametrize("sentences, message", [
    (("a face", "a face"), "must differ"), (("", "a face"), "empty"), (("a face\n", "\x1b[2J"), "printed"),
    (("a face " * 80, "a face"), "too long|characters"), (("word " * 90, "a face"), "too long"),
])  # fmt: skip
def test_sentences_that_are_no_dipole_are_refused_by_their_work(world, visitor, sentences, message):
    with pytest.raises(UserError, match=message):
        visitor.say(*sentences).result()
    assert visitor.sliders == world.sliders


def test_sentences_that_the_clip_does_not_tell_are_refused(world, visitor, monkeypatch):
    encoder = world.sentences.encoder
    monkeypatch.setattr(encoder, "encode_text", lambda sentences: torch.ones(len(sentences), encoder.embed_dim))
    with pytest.raises(UserError, match="does not tell"):
        said(visitor)


def test_without_a_clip_sliders_work_and_sentences_say_what_is_missing(experiments, settings, monkeypatch, tmp_path):
    monkeypatch.setattr("models.clip_encoder.CACHE", tmp_path)
    plain = replace(experiments[0], settings=replace(settings, clip_model="ViT-B/32"))
    world = World(plain.generator, plain.settings, [plain])
    try:
        visitor = world.visitor()
        visitor.picture(visitor.moved(world.look(), {world.sliders[0].id: 1.0}))
        assert "the weights of the CLIP ViT-B/32 are not here" in world.sentences_missing
        for ask in (lambda: visitor.say(*HAT), visitor.prepare_sentences):
            with pytest.raises(UserError, match="are not here"):
                ask()
    finally:
        world.close()


def test_measuring_is_told_and_can_be_stopped(world, visitor):
    shares = []
    measured = world.sentences.prepare

    def prepare(progress=None):
        def told(done, total):
            shares.append(done / total)
            if len(shares) == 2:
                work.stop()
            progress(done, total)

        return measured(told)

    world.sentences.prepare = prepare
    work = visitor.prepare_sentences()
    with pytest.raises(Stopped):
        work.result()
    assert 0 < shares[0] < shares[1] < 1 and visitor.prepare_sentences() is not None


def test_refined_path_is_another_slider_and_is_kept_as_an_experiment(world, visitor, settings, monkeypatch):
    monkeypatch.setitem(dipole_paths.PAIRED, "max_iter", 3)
    slider = said(visitor)
    work = visitor.refine(slider.id)
    refined = work.result()
    assert work.share == 1 and refined.method == "refined" and refined.id != slider.id
    kept, both = visitor.keep([refined.id], "hat"), visitor.keep([slider.id], "hat")
    assert find_experiment("latest") in (kept, both)
    for directory, one, method in ((kept, refined, "contraclip"), (both, slider, "text")):
        found = open_experiment(directory)
        assert found.labels == [HAT] and found.settings.method == method
        assert 16 * found.step(16) == pytest.approx(one.high, rel=0.1)
        codes, look = found.sample(1, seed=3), visitor.moved(world.look(seed=3), {one.id: one.high})
        picture = np.asarray(found.pictures(found.shift(codes, {0: one.high}))[0]).astype(int)
        assert np.abs(picture - visitor.picture(look).pixels).max() <= 1
        assert json.loads((directory / "args.json").read_text())["corpus"] == "own"
    with pytest.raises(UserError, match="is there already"):
        visitor.keep([slider.id], "hat")
    with pytest.raises(UserError, match="not a slider of your own"):
        visitor.keep([world.sliders[0].id], "other")


def test_refining_that_is_stopped_leaves_nothing(world, visitor, tmp_path):
    slider = said(visitor)
    work = visitor.refine(slider.id)
    with pytest.raises(UserError, match="still refining"):
        visitor.refine(slider.id)
    while work.share is None and not work.done:
        work.wait(0.01)
    work.stop()
    assert work.result() is None and visitor.sliders[-1] == slider
    assert not (tmp_path / "experiments" / "wip").exists()


def test_visitor_is_found_again_by_its_key_and_only_by_it(world, visitor, monkeypatch):
    assert world.visitor(visitor.key) is visitor
    assert world.visitor("guessed") is not visitor and world.visitor("guessed").key != "guessed"
    monkeypatch.setattr("lib.exploring.world.MOST_VISITORS", 2)
    for _ in range(3):
        world.visitor()
    assert world.visitor(visitor.key) is not visitor
