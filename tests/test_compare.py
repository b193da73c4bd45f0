"""The comparison of methods: what is run in which order, how paths are made comparable, what is written, going on."""

import shlex

import numpy as np
import pytest
import torch
from PIL import Image

from lib.dipoles import load_corpus
from lib.judges import load_judge
from lib.judges.judge import Judge
from lib.latent_space import ZSpace
from lib.paths.lines import Lines
from models.errors import UserError
from models.registry import family_of
from scripts.compare import __main__ as compare
from scripts.compare import schedule, tables, training, walked
from scripts.compare.contenders import CONTENDERS, Contender
from scripts.compare.results import Results
from scripts.compare.schedule import Run, best_setting
from scripts.compare.worlds import WORLDS

WORLD = "stylegan2_portraits64"
MADE_UP = {
    "fast": Contender("Fast", "sefa", reads_corpus=False, closed_form=True, one_seed=True,
                      published={"num-directions": 4}, tried=({"sefa-layers": (0, 1)}, {"sefa-layers": (99,)})),
    "slow": Contender("Slow", "latentclr", reads_corpus=False, missing="ArcFace",
                      published={"num-directions": 3, "batch-size": 2, "max-iter": 2}),
}  # fmt: skip


@pytest.fixture
def made_up(monkeypatch):
    for name, contender in MADE_UP.items():
        monkeypatch.setitem(CONTENDERS, name, contender)
    return list(MADE_UP)


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results.json", {"budget": 5}, tmp_path / "lock")


def tuned(score):
    return {"tuning": {"score": score}}


class Flat(torch.nn.Module):
    """A generator of images (B, 3, 4, 4) of colours (B, 3) in the place of z."""

    z_dim, resolution = 3, 4

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def from_z(self, z, psi, resolution=None):
        return (0.1 * z)[:, :, None, None].expand(-1, -1, 4, 4)


class Colours(Judge):
    names, units, fingerprint, scaled = ["red", "green", "blue"], ["mean"] * 3, "colours", True

    def __call__(self, images):
        return images.mean(dim=(2, 3))


@pytest.fixture
def colours():
    """(space, paths, codes, judge, scale): path 0 moves blue backwards, 1 red with some green, 2 green and blue."""
    paths = Lines(torch.tensor([[0.0, 0, -2], [3.0, 0.3, 0], [0, 1.0, 1.0]]))
    codes = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    return ZSpace(Flat()), paths, codes, Colours(), lambda numbers: numbers


def test_paths_of_methods_without_text_are_matched_with_number_and_direction(colours):
    red, minus_blue, blue = walked.match(*colours, [(0, 1), (2, -1), (2, 1)])
    assert (red.path, red.sign) == (1, 1)
    assert (minus_blue.path, minus_blue.sign) == (0, 1)
    assert (blue.path, blue.sign) == (0, -1)
    assert red.leak == pytest.approx(0.1, abs=1e-3) and blue.leak == pytest.approx(0, abs=1e-6)


def test_a_path_is_as_long_as_it_takes_to_move_its_own_number(colours):
    space, paths, codes, *_ = colours
    (red,) = walked.each_its_own(*colours, [(0, 1)], [1])
    chosen = walked.chosen_paths(paths, [{"path": 1, "sign": 1, "length": red.length}])
    ends = [space.shift(codes, side * chosen(codes, torch.zeros(8, dtype=torch.long))) for side in (-1, 1)]
    moved = (0.1 * (ends[1] - ends[0]))[:, 0]
    torch.testing.assert_close(moved, torch.full((8,), walked.AIMED), rtol=1e-4, atol=0)


def test_a_path_that_was_made_for_a_dipole_is_not_turned_and_its_leak_is_bounded(colours):
    (blue,) = walked.each_its_own(*colours, [(2, 1)], [0])
    assert (blue.sign, blue.reached, blue.leak) == (1, False, walked.MOST_LEAK)


def test_contenders_run_where_their_spaces_are():
    assert "styleclip-mapper" in schedule.contenders_in(WORLD)
    assert "styleclip-mapper" not in schedule.contenders_in("pggan_portraits64")
    assert "sefa" in schedule.contenders_in("pggan_portraits64")


def test_the_published_settings_come_first_and_the_best_ones_once_all_are_measured(made_up, results):
    def order():
        return [step and (step.run.key.partition("/")[2], step.report)
                for step in schedule.steps(results, [WORLD], made_up, [0, 1], factors=[2])]  # fmt: skip

    assert order()[:2] == [("fast/published-seed0", True), ("slow/published-seed0", True)]
    assert None in order()
    for setting, score in (("published", 0.5), ("1", 0.2)):
        results.add(Run(WORLD, "fast", setting).key, tuned(score))
    assert best_setting(results, WORLD, "fast") is None
    results.add(Run(WORLD, "fast", "2").key, {"failed": "refused"})
    assert best_setting(results, WORLD, "fast") == "1"
    results.add(Run(WORLD, "slow").key, {"failed": "refused"})
    assert best_setting(results, WORLD, "slow") == "published"
    assert order()[2:] == [
        ("fast/published-seed0", False), ("fast/1-seed0", False), ("fast/2-seed0", False), ("fast/1-seed0", True),
        ("slow/published-seed0", False), ("slow/published-seed0", True),
        ("slow/published-seed1", True), ("slow/published-seed0-x2", True),
    ]  # fmt: skip


def test_iterations_fill_the_budget_up_to_the_published_number():
    run, rate = Run(WORLD, "contraclip"), {"start": 30.0, "iteration": 2.0}
    assert training.iterations(run, rate, budget=60) == 15
    assert training.iterations(run, rate, budget=20) == 1
    assert training.iterations(run, rate, budget=600) == 70


def test_every_setting_is_one_that_train_accepts():
    import train

    for world in WORLDS:
        for name in schedule.contenders_in(world):
            for setting in schedule.settings_in(world, name):
                flags = training.flags_of(training.train_flags(Run(world, name, setting), pool="a pool"))
                settings = train.settings_of(train.parse(flags), family_of(world))
                assert settings.method == CONTENDERS[name].method


@pytest.mark.parametrize("world", [name for name, world in WORLDS.items() if world.numbers])
def test_the_numbers_of_a_world_are_those_of_the_dipoles_that_its_judge_can_tell(world):
    world = WORLDS[world]
    if world.own:
        assert world.numbers == tuple(world.own.values())
    else:
        labels = [tuple(label) for label in load_corpus(world.corpus)]
        judge = load_judge(world.judge, labels=tuple(labels), device="cpu")
        assert judge.own(labels)[: len(world.numbers)] == [(judge.names.index(name), 1) for name in world.numbers]
        assert judge.own(labels)[len(world.numbers) :] == [None]


def test_results_of_other_conditions_are_refused_and_those_of_others_are_kept(tmp_path, results):
    other = Results(results.file, {"budget": 5}, results.lock)
    results.add("a", {"trained": 1 / 3})
    other.add("b", {"trained": 2.0})
    other.add("a", {"tuning": {"score": 1}})
    results.read()
    assert results.runs == {"a": {"trained": 0.33333, "tuning": {"score": 1}}, "b": {"trained": 2.0}}
    with pytest.raises(UserError, match="budget"):
        Results(results.file, {"budget": 6}, results.lock)


@pytest.fixture
def place(tmp_path, monkeypatch, run_warm, made_up):
    """A comparison of two made-up contenders at tiny size: go(..) runs it, `commands` are those that it has run."""
    commands = []

    def warm_command(script, cwd, flags, clock=False):
        cwd.mkdir(parents=True, exist_ok=True)
        commands.append(shlex.join([script, *flags]))
        process = run_warm(script, *flags, "--no-cuda", cwd=cwd)
        if process.returncode:
            raise UserError(process.stderr.splitlines()[-1].partition("error: ")[2])
        return 3.0, 10**9

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "command", warm_command)
    monkeypatch.setattr("scripts.compare.pools.command", warm_command)
    monkeypatch.setattr(training, "PROBES", (1,))
    (tmp_path / "comparison.md").write_text(f"before\n{tables.MARKS[0].format(WORLD)}\n{tables.MARKS[1]}\nafter\n")

    def go(*more):
        compare.main([f"--world={WORLD}", "--method", *made_up, "--seeds", "0", "--factors", "--codes=2",
                      "--tuning-codes=2", "--samples=100", "--budget=5", "--results=results.json", "--docs=.",
                      *more])  # fmt: skip

    go.commands = commands
    return go


def test_a_comparison_goes_on_where_it_stopped_and_writes_table_plot_and_picture(place, tmp_path, monkeypatch, capsys):
    from scripts.compare.measuring import Measure

    report = Measure.report

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Measure, "report", stop)
    with pytest.raises(KeyboardInterrupt):
        place()
    trained = len(place.commands)
    monkeypatch.setattr(Measure, "report", report)
    place()
    assert len(place.commands) == len(set(place.commands)) > trained  # nothing was trained twice
    text = (tmp_path / "comparison.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    rows = {tuple(cell.strip() for cell in line.split("|")[1:3]): line for line in text.splitlines() if "|" in line}
    assert len(rows) in (4, 5) and any(key[0] == "Slow †" for key in rows)
    figures = [float(cell.split()[0]) for cell in rows["Slow †", "default"].split("|")[3:9]]
    assert np.isfinite(figures).all() and 0 <= figures[3] <= 1
    assert Image.open(tmp_path / f"comparison_{WORLD}.jpg").height > 2 * 64
    assert Image.open(tmp_path / f"comparison_{WORLD}.png").width > 300
    done, text = len(place.commands), (tmp_path / "results.json").read_text()
    place()
    assert len(place.commands) == done and (tmp_path / "results.json").read_text() == text
    place("--work=elsewhere", "--write")  # as in a clone, which has the results alone
    assert len(place.commands) == done and "is left as it is" in capsys.readouterr().out


def test_what_train_refuses_is_a_result(place, tmp_path):
    place()
    found = Results(tmp_path / "results.json", {}, tmp_path / "lock").get(Run(WORLD, "fast", "2").key)
    assert "layers are 0 to" in found["failed"]


def test_a_command_is_timed_and_what_it_refuses_is_said_in_its_own_words(tmp_path):
    seconds, memory = training.command("train.py", tmp_path / "place", ["-h"])
    assert 0 < seconds < 60 and 10**6 < memory < 10**9
    assert "usage" in (tmp_path / "place" / "log.txt").read_text()
    with pytest.raises(UserError, match=r"^argument --seed"):
        training.command("train.py", tmp_path, ["--gan=stylegan2_portraits64", "--corpus=attributes", "--seed=-1"])
