"""What the gallery's HTML says: labels as text, and where two sentences differ."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from lib.pages.gallery import _differences, write_html
from lib.pages.results import Results

RESULTS = Results(experiment="exp_1", pool="pool", labels=[("a happy face.", "a sad face.")],
                  codes=["c0ffee", "decade"], frames_per_path=9, eps=0.15, gifs=True, strip_frames=5)
HOSTILE = "<script>x</script> \"quoted\" 'n' & {{ 7 * 7 }} {% raw %} Größe"


class Content(HTMLParser):
    """A page's elements, their attributes, and the text that a reader sees."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        if self.tags and self.tags[-1] not in ("style", "script"):
            self.text += data

    def values(self, name):
        return [value for key, value in self.attributes if key == name]


@pytest.fixture
def content(tmp_path):
    """content(field=value, ..) -> the `Content` of the gallery of these results."""

    def write(**changes):
        write_html(replace(RESULTS, **changes), tmp_path / "index.html")
        return Content((tmp_path / "index.html").read_text("utf-8"))

    return write


def test_the_order_is_said_where_sentences_are_shown(content):
    for films in ((), RESULTS.codes):
        text = " ".join(content(films=films).text.split())
        assert text.index("a sad face.") < text.index("a happy face.")
        assert "On the left each dipole’s second sentence, on the right its first" in text
        assert "The sentence that the corpus names first is on the right" in text
    assert "sentence" not in content(labels=["direction 0"], films=RESULTS.codes).text


def test_names_and_sentences_are_text(content):
    plain, page = content(), content(labels=[(HOSTILE, "plain")], experiment="<b>", pool="<i>", codes=["<u>", '"'])
    assert page.tags == plain.tags
    assert {key for key, _ in page.attributes} == {key for key, _ in plain.attributes}
    assert HOSTILE in page.text and "<b>" in page.text and "<i>" in page.text and "<u>" in page.text
    assert page.values("data-right") == [HOSTILE]
    assert f"Code 1, from “plain” to “{HOSTILE}”" in page.values("aria-label")
    assert "<u>/original_image.jpg" in page.values("href") and '"/original_image.jpg' in page.values("href")


def test_a_path_without_sentences_goes_by_its_name(content):
    page = content(labels=[HOSTILE, "direction 1"])
    assert page.tags == content(labels=["direction 0", "direction 1"]).tags
    assert "2 paths ·" in page.text and "sentence" not in page.text
    assert {"Paths", f"Code 2, along {HOSTILE}"} <= set(page.values("aria-label"))
    assert not page.values("data-left") and not page.values("data-right")
    assert page.text.count(HOSTILE) == page.text.count("direction 1") == 2  # the link to it and the heading


def test_named_paths_and_dipoles_stand_side_by_side(content):
    page = content(labels=["direction 0", ("day", "night")])
    assert page.values("id") == ["path_000", "path_001"] and page.values("data-left") == ["night"]
    assert "Where a path has two contrasting sentences" in page.text
    assert "1 semantic dipole ·" in content().text and "negative" not in content().text


@pytest.mark.parametrize("first, second, parts", [
    ("a face with open eyes.", "a face with closed eyes.", ("a face with", "closed", "open", "eyes.")),
    ("a face with glasses", "a face", ("a", "face", "face with glasses", "")),
    ("a happy face", "face", ("", "face", "a happy face", "")),
    ("day", "night", ("", "night", "day", "")),
    ("same words", "same words", ("same", "words", "words", "")),
])
def test_where_sentences_differ(first, second, parts):
    assert _differences(second, first) == parts
