"""The Markdown pages: their tables, their links, and that labels are text."""

from dataclasses import replace

import pytest

from lib.pages.markdown import write_markdown, write_strips_markdown
from lib.pages.results import Results

RESULTS = Results(experiment="exp_1", pool="pool", labels=[("a happy face.", "a sad face.")],
                  codes=["c0ffee", "decade"], frames_per_path=9, eps=0.15, gifs=True, strip_frames=5)


@pytest.fixture
def pages(tmp_path):
    """pages(field=value, ..) -> the text of the page of animations and of the page of strips."""

    def write(**changes):
        write_markdown(replace(RESULTS, **changes), tmp_path / "results.md")
        write_strips_markdown(replace(RESULTS, **changes), tmp_path / "results_strips.md")
        return [(tmp_path / name).read_text("utf-8") for name in ("results.md", "results_strips.md")]

    return write


def test_a_table_per_path(pages):
    animations, strips = pages(labels=[("a happy face.", "a sad face."), ("day", "night")])
    for page in (animations, strips):
        assert "# exp\\_1\n" in page and "## a sad face. → a happy face.\n" in page and "## night → day\n" in page
        assert page.count("c0ffee/original_image.jpg") == page.count("decade/original_image.jpg") == 2
    assert 'src="decade/paths_strips/path_001.gif"' in animations and "_strip.jpg" not in animations
    assert 'src="decade/paths_strips/path_001_strip.jpg"' in strips and ".gif" not in strips


def test_what_was_not_made_is_not_linked(pages):
    assert not any("paths_strips" in page for page in pages(gifs=False, strip_frames=0))


def test_sentences_are_text(pages):
    hostile = "<script>x</script> a|b *c* _d_ [e](f) `g` & Größe\n# 寒い"
    heading = r"## plain → &lt;script&gt;x&lt;/script&gt; a\|b \*c\* \_d\_ \[e\](f) \`g\` &amp; Größe \# 寒い"
    for page in pages(labels=[(hostile, "plain")]):
        assert heading in page.splitlines()


def test_names_of_codes_are_text(pages):
    """They are those of a pool's directories, which may be a stranger's."""
    for page in pages(codes=['"><script>x`|', "c0ffee"], experiment="e\x1b[31m"):
        assert "<script>" not in page and "\x1b" not in page and "| `c0ffee` |" in page
        assert 'src="%22%3E%3Cscript%3Ex%60%7C/original_image.jpg"' in page


def test_a_path_without_sentences_goes_by_its_name(pages):
    for page in pages(labels=["direction 0", ("day", "night"), "ear_size | 2"]):
        headings = [line for line in page.splitlines() if line.startswith("## ")]
        assert headings == ["## direction 0", "## night → day", r"## ear\_size \| 2"]
        assert "| path_002 |" in page
