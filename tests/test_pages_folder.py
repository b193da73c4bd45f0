"""The pages of a results folder, from what the walk left beside each code's pictures."""

import json

import pytest

from lib.files import write_json
from lib.pages import single_file
from lib.pages.folder import read_results, write_pages
from lib.pages.gallery import in_script
from lib.pages.single_file import write_single_file
from models.errors import UserError

WALK = {"shift_steps": 7, "eps": 0.1, "shift_leap": 2, "gif": True, "strip": True, "strip_number": 9}
LABELS = [("a happy face.", "a sad face."), "direction 1"]


@pytest.fixture
def folder(tmp_path):
    """folder({setting: value}, ..) -> a results folder with a code per argument, whose walks differ in these."""

    def make(*codes):
        directory = tmp_path / "exp" / "results" / "pool" / "14_0.1_1.4"
        for number, changes in enumerate(codes):
            write_json(WALK | changes, directory / f"code{number}" / "settings.json")
        return directory

    return make


def test_the_facts_are_those_of_the_walk(folder):
    results = read_results(folder({}, {}), LABELS, ["code0", "code1"])
    assert (results.experiment, results.pool, results.labels) == ("exp", "pool", LABELS)
    assert (results.frames_per_path, results.start, results.eps) == (7, 3, 0.2)
    assert results.gifs and results.strip_frames == 7  # a strip does not show more frames than there are
    assert "has length 1.2" in results.how_made  # 7 steps, in leaps of two


def test_only_what_every_code_has_is_shown(folder):
    directory = folder({}, {"gif": False}, {"strip_number": 3}, {"strip": False})
    assert not read_results(directory, LABELS, ["code0", "code1"]).gifs
    assert read_results(directory, LABELS, ["code0", "code2"]).strip_frames == 0
    assert read_results(directory, LABELS, ["code0", "code3"]).strip_frames == 0
    assert read_results(directory, LABELS, ["code2"]).strip_frames == 3


def test_codes_with_and_without_films_stand_side_by_side(folder):
    film = {"film": True, "frames": False, "gif": False, "strip": False, "strip_number": 5, "gif_fps": 20}
    directory = folder(film, {})
    results = read_results(directory, LABELS, ["code0", "code1"])
    assert results.films == ["code0"] and (results.fps, results.shown_cells) == (20, 5)
    page = write_pages(directory, LABELS, ["code0", "code1"]).read_text("utf-8")
    assert page.count('data-film="code0/paths_strips/path_00') == page.count('data-frames="code1/paths_images') == 2
    assert "code1/paths_strips" not in page  # not every code has strips and animations
    assert 'data-film="' not in write_pages(directory, LABELS, ["code1"]).read_text("utf-8")


def test_all_pages_are_written_and_nothing_else(folder):
    directory = folder({}, {})
    assert write_pages(directory, LABELS, ["code0", "code1"]) == directory / "index.html"
    pages = {path.name: path.read_text("utf-8") for path in directory.iterdir() if path.is_file()}
    assert pages.keys() == {"index.html", "results.md", "results_strips.md"}
    assert all("direction 1" in page and "code1/original_image.jpg" in page for page in pages.values())


def test_an_experiment_is_named_as_its_directory_is(folder, tmp_path, monkeypatch):
    directory = folder({})
    monkeypatch.chdir(tmp_path / "exp")
    assert read_results(directory.relative_to(tmp_path / "exp"), LABELS, ["code0"]).experiment == "exp"


def test_a_code_that_was_not_walked_is_a_users_error(folder):
    directory = folder({})
    with pytest.raises(UserError, match=r"settings\.json is missing"):
        write_pages(directory, LABELS, ["code0", "elsewhere"])
    assert [path.name for path in directory.iterdir()] == ["code0"]


def test_a_single_file_needs_films_and_has_a_limit(folder, tmp_path, monkeypatch):
    directory, told = folder({"film": True}), []
    with pytest.raises(UserError, match=r"path_000_film.jpg is missing, .* walk again"):
        write_single_file(directory, LABELS, ["code0"], lambda *said: told.append(said))
    (directory / "code0" / "paths_strips").mkdir()
    for file in ("original_image.jpg", "paths_strips/path_000_film.jpg", "paths_strips/path_001_film.jpg"):
        (directory / "code0" / file).write_bytes(b"jpeg" * 75)
    monkeypatch.setattr(single_file, "MOST_BYTES", 1199)
    with pytest.raises(UserError, match="too many for a browser"):
        write_single_file(directory, LABELS, ["code0"], lambda *said: told.append(said))
    assert not told and not (directory / "gallery.html").exists()
    monkeypatch.setattr(single_file, "MOST_BYTES", 1200)
    file = write_single_file(directory, LABELS, ["code0"], lambda *said: told.append(said))
    assert told == [(file, 1200)] and file.read_text().count("data:image/jpeg;base64,anBlZ2pw") == 3


def test_no_name_of_a_code_ends_the_script_that_has_its_image():
    written = in_script({"</script><b>": "data:,"})
    assert "<" not in written and json.loads(written) == {"</script><b>": "data:,"}
