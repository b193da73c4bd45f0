"""The files of an evaluation: figures, tables, plots, the page, and what is kept between evaluations."""

import json
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from colours import LABELS, ColourJudge
from PIL import Image

from lib.evaluation.evaluation import Subject
from lib.evaluation.figures import Aim
from lib.evaluation.output import write
from lib.evaluation.store import Store, load_arrays, save_arrays
from lib.evaluation.walks import ends_at, paths_from
from lib.files import write_json
from lib.pages.folder import refresh_pages, write_pages
from lib.pages.measured import find_measured
from lib.walking.synthesis import Synthesiser
from models.errors import UserError


@pytest.fixture
def written(subject, evaluate):
    readings, summary, reports = evaluate()
    return write(subject, readings, summary, reports), readings, summary


def test_all_files_are_written(written, subject):
    directory, readings, summary = written
    assert directory == subject.walk.directory / "evaluation"
    assert {file.name for file in directory.iterdir()} == {
        "index.html", "table.md", "summary.json", "numbers.npz", "heat_map.png", "curves.png", "pictures"}  # fmt: skip
    strict = json.loads((directory / "summary.json").read_text(), parse_constant=pytest.fail)
    assert strict["mean"] == summary["mean"]
    assert list(strict["paths"][0]["label"]) == list(LABELS[0])
    with np.load(directory / "numbers.npz") as arrays:
        assert (arrays["numbers"] == readings.along["numbers"]).all()
        assert arrays["names"].tolist() == ["red", "green", "blue"] and arrays["columns"].tolist() == [0, 1, 2]
        assert arrays["shifts"].tolist() == [-8, -4, 0, 4, 8]
        assert arrays["numbers"].shape == (4, 3, 5, 4)
    assert [path.name for path in directory.parent.iterdir() if path.name.startswith(".")] == []


def test_pictures_are_plots_and_frames(written, subject):
    directory, readings, _ = written
    for name in ("heat_map.png", "curves.png"):
        plot = np.asarray(Image.open(directory / name).convert("RGB"))
        assert min(plot.shape[:2]) > 200 and len(np.unique(plot.reshape(-1, 3), axis=0)) > 20
    picture = np.asarray(Image.open(directory / "pictures" / "path_001.jpg")).astype(int)
    assert picture.shape == (5 * 64, 4 * 64, 3)
    start, paths = paths_from(subject.walk, subject.space, subject.paths, subject.sources[2])
    codes = torch.cat([paths[1, :1], ends_at(paths, subject.walk.radii, np.array([a.radius for a in readings.aims]))[1],
                       start, paths[1, -1:]])[[0, 1, 3, 2, 4]]  # fmt: skip
    frames = Synthesiser(subject.space.synthesise, 5)(codes).astype(int)
    assert np.abs(picture[:, 128:192] - frames.reshape(5 * 64, 64, 3)).mean() < 4  # JPEG's loss


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_page_has_the_figures_beside_pictures_and_nothing_is_markup(written):
    directory, _, summary = written
    page = Links()
    page.feed((directory / "index.html").read_text())
    local = {link for link in page.links if not link.startswith(("#", "data:"))}
    assert local >= {"heat_map.png", "curves.png", "pictures/path_002.jpg", "table.md", "summary.json"}
    assert all((directory / link).exists() for link in local)
    assert "b" not in page.tags and "<b>red</b> $face" in page.text
    for entry in summary["paths"]:
        assert f"{entry['figures']['stray']['value']:.3f}" in page.text
    assert "flat" in page.text  # what was left out


def test_the_page_shows_the_gallerys_strips_where_there_are_any(subject, evaluate):
    strip = subject.walk.directory / "code_2" / "paths_strips" / "path_001_strip.jpg"
    strip.parent.mkdir(parents=True)
    strip.touch()
    (subject.walk.directory / "index.html").touch()
    page = Links()
    page.feed((write(subject, *evaluate()) / "index.html").read_text())
    assert page.links.count("../code_2/paths_strips/path_001_strip.jpg") == 1
    assert "../index.html#path_001" in page.links


def test_the_table_says_what_the_summary_does(written):
    directory, _, summary = written
    lines = (directory / "table.md").read_text().splitlines()
    heading = next(i for i, line in enumerate(lines) if line.startswith("| path"))
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[heading:]]
    assert cells[0][:4] == ["path", "own number", "own effect", "right way"] and "likeness" in cells[0]
    own = summary["paths"][1]["figures"]["own_effect"]
    assert cells[3][2] == f"{own['value']:.2f} ({own['low']:.2f} to {own['high']:.2f})"
    assert "<b>" not in lines[heading + 2]
    assert any("Left out" in line and "flat" in line for line in lines)
    assert "## corr\\_l1" in lines


def test_an_evaluation_by_another_judge_is_put_aside(subject, evaluate):
    readings, summary, reports = evaluate()
    directory = write(subject, readings, summary, reports)
    write(subject, readings, summary | {"judge": summary["judge"] | {"name": "clip:a/b"}}, reports)
    assert json.loads((directory / "summary.json").read_text())["judge"]["name"] == "clip:a/b"
    aside = directory.with_name("evaluation-colours")
    assert json.loads((aside / "summary.json").read_text())["judge"]["name"] == "colours"
    write(subject, readings, summary, reports)
    assert not aside.exists() and directory.with_name("evaluation-clip_a_b").is_dir()


def test_sentences_of_any_letters_are_plotted_without_a_warning(subject, evaluate):
    odd = Subject(**{**vars(subject), "labels": [("笑 $x^{ face", "\\frac{ _ face"), *LABELS[1:]]})
    judge = ColourJudge()
    judge.own = lambda labels: [None] * 3
    readings, summary, reports = evaluate(judge, of=odd)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(odd, readings, summary, reports)


def test_damaged_readings_count_as_absent(tmp_path):
    file = tmp_path / "reading.npz"
    assert load_arrays(file) is None
    save_arrays(file, {"numbers": np.arange(3)})
    assert load_arrays(file)["numbers"].tolist() == [0, 1, 2]
    file.write_bytes(file.read_bytes()[:60])
    assert load_arrays(file) is None


def test_readings_of_another_key_are_dropped_and_two_processes_do_not_share_them(tmp_path):
    store = Store(tmp_path / "kept" / "judge")
    store.open({"judge": "a"})
    store.save("along", "code", {"numbers": np.ones(2)})
    other = Store(tmp_path / "kept" / "judge")
    with pytest.raises(UserError, match="another process"):
        other.open({"judge": "a"})
    other.discard()  # it has nothing of its own
    store.close()
    other.open({"judge": "a"})
    assert other.load("along", "code", {"numbers": (2,)})["numbers"].tolist() == [1, 1]
    other.close()
    other.open({"judge": "b"})
    assert other.load("along", "code", {}) is None
    other.discard()
    assert not (tmp_path / "kept").exists()


def test_readings_in_another_shape_count_as_absent(tmp_path):
    store, shapes = Store(tmp_path), {"numbers": (2, 3), "bend": (2,)}
    whole = {"numbers": np.ones((2, 3)), "bend": np.ones(2), "identity": np.ones((2, 3))}
    for arrays, is_there in (
        (whole, True), (whole | {"bend": np.ones(3)}, False), ({"numbers": whole["numbers"]}, False),
        (whole | {"bend": np.array(["a", "b"])}, False), (whole | {"identity": np.array("a")}, False),
    ):  # fmt: skip
        store.save("along", "code", arrays)
        assert (store.load("along", "code", shapes) is not None) == is_there
    store.save("along", "other", {"numbers": np.ones((2, 3)), "bend": np.ones(3)})
    with pytest.raises(UserError, match="do not belong together"):
        store.stacked("along", ["code", "other"])


@pytest.mark.parametrize("reach", [None, 5, [], [1.0, 2.0], ["1"], [-1.0], [True], [1e400]])
def test_reach_that_is_not_one_is_found_anew(reach, tmp_path):
    store, aims = Store(tmp_path), [Aim(0, 1, "judge", 2.5)]
    store.keep_reach(["code"], aims)
    assert store.known_reach(["code"], aims) == aims
    found = json.loads((tmp_path / "reach.json").read_text())
    for content in (reach, found | {"reach": reach}):
        (tmp_path / "reach.json").write_text(json.dumps(content))
        assert store.known_reach(["code"], aims) is None


def entry_of(label, **changes):
    """A path's entry in a summary, as far as pages show it."""
    figures = {name: {"value": 0.5} for name in ("own_effect", "leak", "stray")} | {"leak": {"value": None}}
    return {"path": 0, "label": label, "own": "red", "sign": 1, "strongest_other": None, "figures": figures} | changes


@pytest.mark.parametrize("damage", [
    {"paths": 5}, {"paths": []}, {"paths": [5]}, {"judge": None}, {"judge": {"name": ["j"]}}, {"codes": "many"},
    {"pool": None},
    *({"paths": [entry_of(**{"label": ["a", "b"]} | changes)]} for changes in (
        {"label": ["a"]}, {"label": ["a", 3]}, {"label": None}, {"own": 3}, {"sign": "+"}, {"path": "0"},
        {"strongest_other": ["x"]}, {"figures": None}, {"figures": {"leak": {"value": 1}}},
        {"figures": {name: {"value": "<b>"} for name in ("own_effect", "leak", "stray")}},
    )),
])  # fmt: skip
def test_summary_that_is_damaged_is_not_shown(damage, tmp_path):
    whole = {"format": 1, "paths": [entry_of(["a", "b"])], "judge": {"name": "judge"}, "pool": "pool", "codes": 2}
    walk = tmp_path / "pool" / "walk"
    write_json(whole, walk / "evaluation" / "summary.json")
    assert find_measured(walk, [("a", "b")]).summary == whole
    write_json(whole | damage, walk / "evaluation" / "summary.json")
    assert find_measured(walk, [("a", "b")]) is None


def test_a_page_shows_what_was_measured_of_some_of_its_paths(tmp_path):
    whole = {"format": 1, "judge": {"name": "judge"}, "pool": "pool", "codes": 2}
    some, one = [entry_of(["a", "b"]), entry_of("c", path=1)], [entry_of("c", own="blue")]
    for name, paths in (("walk-paths2", one), ("walk-paths0+2", some)):
        write_json(whole | {"paths": paths}, tmp_path / "pool" / name / "evaluation" / "summary.json")
    found = find_measured(tmp_path / "pool" / "walk", [("a", "b"), "x", "c"])
    assert found.link == "../walk-paths0%2B2/evaluation/index.html"  # of more paths
    assert [found.entry(label) for label in (("a", "b"), "x", "c")] == [some[0], None, some[1]]
    assert find_measured(tmp_path / "pool" / "walk-paths2", ["c"]).entry("c")["own"] == "blue"
    assert find_measured(tmp_path / "pool" / "walk", ["x", "y"]) is None


def test_stacked_readings_lie_in_files_that_go_by_themselves(tmp_path):
    store = Store(tmp_path)
    for code in range(3):
        store.save("along", f"code_{code}", {"numbers": np.full((2, 2), code), "bend": np.array([code])})
    stacks = store.stacked("along", [f"code_{code}" for code in range(3)])
    assert isinstance(stacks["numbers"], np.memmap)
    assert stacks["numbers"][:, 0, 0].tolist() == stacks["bend"][:, 0].tolist() == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["along"]


def test_the_gallery_shows_what_was_measured(subject, evaluate):
    results = subject.walk.directory.parent
    gallery, settings = results / "a walk with pictures" / "index.html", subject.walk.settings
    shorter = replace(settings, shift_steps=settings.shift_steps // 2)
    for walk, walked in (subject.walk.directory, settings), (gallery.parent, shorter):
        write_json(walked.to_json(), walk / "code_1" / "settings.json")
        write_pages(walk, LABELS, ["code_1"])
    assert "stray" not in gallery.read_text()
    _, summary, _ = written = evaluate()
    write(subject, *written)
    refresh_pages(results.parents[1], LABELS)
    page = Links()
    page.feed(gallery.read_text())
    assert page.links.count("../8_2.0_16.0/evaluation/index.html#path_001") == 1
    assert (gallery.parent / "../8_2.0_16.0/evaluation/index.html").is_file()
    figures = summary["paths"][1]["figures"]
    assert f"of its range, leak {figures['leak']['value']:.2f} (" in " ".join(page.text.split())
    own = Links()
    own.feed((subject.walk.directory / "index.html").read_text())
    assert "evaluation/index.html#path_002" in own.links
    assert "They are of a walk to shifts of ±8, while this page’s goes to ±4." in " ".join(page.text.split())
    assert "They are of a walk" not in own.text


def test_measures_of_other_paths_or_versions_are_not_shown(written, subject):
    directory, _, summary = written
    walk = directory.parent
    assert find_measured(walk, LABELS).summary["mean"] == summary["mean"]
    assert find_measured(walk, LABELS[:2]) is None
    for content in ("[]", '{"format": 0}', "{"):
        (directory / "summary.json").write_text(content)
        assert find_measured(walk, LABELS) is None
