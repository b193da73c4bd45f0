"""Corpora: the seven published ones and ours, files of the user's own, and what is said of files that hold none."""

import json
import resource
import time

import pytest
import torch

from lib.config import CORPORA
from lib.dipoles import encode_dipoles, examine_dipoles, load_corpus
from models import clip_encoder
from models.clip_encoder import load_clip
from models.errors import UserError

PAIRS = [("a happy face.", "a sad face."), ("ein müdes Gesicht", "ein waches Gesicht — 目が覚めた")]


def test_corpora_are_the_published_ones(data):
    published = json.loads((data / "corpora.json").read_text(encoding="utf-8"))
    assert {name: load_corpus(name) for name in CORPORA if name != "faces"} == {
        name: [tuple(poles) for poles in dipoles] for name, dipoles in published.items()
    }


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(PAIRS),
        json.dumps(PAIRS, indent=1, ensure_ascii=False),
        "\ufeff" + json.dumps(PAIRS),
        "\n".join("|".join(poles) for poles in PAIRS),
        "\r\n".join("\t".join(poles) for poles in PAIRS),
        "# faces\n\n" + "\n \n  # more\n".join(f"  {first} | {second} " for first, second in PAIRS) + "\n\n",
    ],
    ids=["json", "indented json", "byte order mark", "bars", "tabs", "comments and blanks"],
)
def test_file_formats(text, tmp_path):
    (tmp_path / "faces.txt").write_text(text, encoding="utf-8", newline="")
    assert load_corpus(tmp_path / "faces.txt") == PAIRS


def test_bar_within_a_tabbed_line_is_text(tmp_path):
    (tmp_path / "faces.txt").write_text("a | b\tc\n")
    assert load_corpus(str(tmp_path / "faces.txt")) == [("a | b", "c")]


@pytest.mark.parametrize(
    "content, place, reason",
    [
        ("a|b\n\none sentence\n", ", line 3", "found 1"),
        ("# two\na|b\na|b|c\n", ", line 3", "found 3"),
        ("a|b\na| \n", ", line 2", "empty"),
        ("a|b\n\ta\n", ", line 2", "empty"),
        ("a|a \n", ", line 1", "both poles are 'a'"),
        ('[["a", "b"],\n ["one"]]', ", line 2", "found 1"),
        ('[["a", "b"], ["c", "d"],\n\n ["a", "b", "c"]]', ", line 3", "found 3"),
        ('[["a", "b"],\n ["", "b"]]', ", line 2", "empty"),
        ('[["a", "b"],\n ["b", "b"]]', ", line 2", "both poles are 'b'"),
        ('[["a", "b"],\n ["a", 1]]', ", line 2", "two sentences"),
        ('[["a", "b"],\n "ab"]', ", line 2", "two sentences"),
        ('[["a", "b"],\n null]', ", line 2", "two sentences"),
        ('[["a", "b"],\n ["a", "b"', ", line 2", "not valid JSON"),
        ('{"faces": [["a", "b"]]}', ", line 1", "a list of pairs"),
        (b"a|b\nm\xfcde|wach\n", "", "UTF-8"),
        ("", "", "no dipole"),
        ("# nothing but a comment\n", "", "no dipole"),
        ("[]", "", "no dipole"),
        ("[" * 100_000, "", "not a corpus"),
        ('[["a", "\\ud800"]]', ", line 1", "cannot be printed"),
    ],
)
def test_error_names_file_and_line(content, place, reason, tmp_path):
    file = tmp_path / "faces.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as raised:
        load_corpus(file)
    message = str(raised.value)
    assert message.startswith(f"{file}{place}") and reason in message and "\n" not in message


def test_neither_corpus_nor_file(tmp_path):
    for name in ("no_such_corpus", tmp_path):
        with pytest.raises(UserError, match=f"{name}'.* a corpus"):
            load_corpus(name)


@pytest.mark.parametrize("layout", ["one line", "a line each", "empty lines"])
def test_corpus_of_many_dipoles_is_read_in_no_time(layout, tmp_path):
    """2 MB, which once took 40 s, since the line of each dipole was counted from the beginning."""
    pairs = [[f"a face of the number {i} that is happy", f"the same face of the number {i} that is sad"]
             for i in range(20_000)]  # fmt: skip
    text = json.dumps(pairs, indent={"a line each": 0}.get(layout))
    (tmp_path / "many.json").write_text("\n" * 1_000_000 * (layout == "empty lines") + text)
    began = time.process_time()
    assert load_corpus(tmp_path / "many.json") == [tuple(pair) for pair in pairs]
    assert time.process_time() - began < 3


def test_corpus_larger_than_any_is_refused(tmp_path):
    with open(tmp_path / "large.txt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="larger"):
        load_corpus(tmp_path / "large.txt")


def test_many_sentences_are_encoded_a_few_at_once(tiny_clip_file, monkeypatch):
    encoder = load_clip(tiny_clip_file)
    expected = encode_dipoles(PAIRS * 3, encoder)
    seen = []
    monkeypatch.setattr(clip_encoder, "MOST_SENTENCES", 5)
    monkeypatch.setattr(encoder.model, "encode_text", lambda tokens: seen.append(len(tokens)) or tokens[:, :2].float())
    assert encode_dipoles(PAIRS * 3, encoder).shape == (6, 2, 2) and seen == [5, 5, 2]
    monkeypatch.undo()
    monkeypatch.setattr(clip_encoder, "MOST_SENTENCES", 5)
    torch.testing.assert_close(encode_dipoles(PAIRS * 3, encoder), expected)


def test_text_features_of_poles_stand_side_by_side(tiny_clip_file):
    encoder = load_clip(tiny_clip_file)
    features = encode_dipoles(PAIRS, encoder)
    assert features.shape == (2, 2, encoder.embed_dim)
    torch.testing.assert_close(features[1, 0], encoder.encode_text([PAIRS[1][0]])[0])


def test_words_that_the_portraits_clip_never_saw_are_told(capsys):
    encoder = load_clip("clip_portraits64")
    encode_dipoles([("A smiling, zebra-like face.", "a Wizard"), ("a zebra", "a smiling face")], encoder)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.endswith("mean: 'zebra', 'like', 'wizard'\n")
    encode_dipoles(load_corpus("attributes"), encoder)
    assert not capsys.readouterr().err


def test_a_clip_whose_tokens_all_have_embeddings_knows_every_word(tiny_clip_file):
    assert load_clip(tiny_clip_file).unknown_words(["a zebra in Zürich"]) == []


@pytest.fixture(scope="module")
def portraits_clip():
    return load_clip("clip_portraits64")


def examined(dipoles, encoder, capsys):
    """What is printed about dipoles."""
    examine_dipoles(dipoles, encode_dipoles(dipoles, encoder))
    return capsys.readouterr().err


def test_sentences_that_a_clip_cannot_tell_apart_are_refused(portraits_clip):
    dipoles = [("a photo of a smiling person.", "a photo of a sad person."), ("a photo of a dog.", "a photo of a cat.")]
    with pytest.raises(UserError, match=r"does not tell 'a photo of a dog\.' from 'a photo of a cat\.'"):
        examine_dipoles(dipoles, encode_dipoles(dipoles, portraits_clip))


def test_dipoles_that_repeat_others_are_told(portraits_clip, capsys):
    smile, beard = ("a smiling person", "a sad person"), ("a person with a beard", "a person without a beard")
    assert examined([smile, beard], portraits_clip, capsys) == ""
    told = examined([smile, beard, smile, beard[::-1]], portraits_clip, capsys)
    assert told == "dipoles are given twice: 2 is 0 again, 3 is 1 in reverse\n"


def test_dipoles_that_ask_for_nearly_the_same_are_told(tiny_clip_file, capsys):
    base, move = torch.zeros(2, 8), torch.eye(8)
    base[:, 0] = 2
    first = torch.stack([base[0] + move[1], base[0] - move[1]])
    second = torch.stack([base[0] + move[1] + 0.1 * move[2], base[0] - move[1] - 0.1 * move[2]])
    third = torch.stack([base[0] + move[3], base[0] - move[3]])
    examine_dipoles([("a", "b"), ("c", "d"), ("e", "f")], torch.stack([first, third, second]))
    (line,) = capsys.readouterr().err.splitlines()
    assert "1 pairs of dipoles ask for nearly the same (0 and 2)" in line


def test_poles_that_are_nearly_equal_are_told(capsys):
    features = torch.tensor([[[1.0, 0.0], [1.0, 0.1]]])
    examine_dipoles([("a", "b")], features)
    assert "hardly tells 'a' from 'b' (cosine 0.995)" in capsys.readouterr().err


def test_many_dipoles_that_are_hardly_told_apart_are_told_in_few_lines(capsys):
    """20,000 dipoles whose differences are all parallel: 200 million pairs of them."""
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1]]).expand(20_000, 2, 2)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    examine_dipoles([(f"a{i}", f"b{i}") for i in range(20_000)], features)
    assert time.process_time() - began < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KiB
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21 and "19,981 more dipoles" in lines[-2]
    assert "199,990,000 pairs of dipoles ask for nearly the same (0 and 1, 0 and 2, 0 and 3 ..)" in lines[-1]


def test_dipoles_of_the_same_sentences_do_not_count_as_nearly_the_same(capsys):
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).expand(4, 2, 2)
    examine_dipoles([("a", "b"), ("b", "a"), ("a", "b"), ("c", "d")], features)
    assert "3 pairs of dipoles ask for nearly the same (0 and 3, 1 and 3, 2 and 3)" in capsys.readouterr().err
