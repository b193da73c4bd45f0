"""Captions say what is true, in words that cover the corpora, and training reads them as CLIP's tokenizer does."""

import random

import pytest
import torch

from lib.dipoles import load_corpus
from lib.files import save_tensors
from models.clip_encoder import clip
from scripts.portraits import captions, renderer, train_clip
from scripts.portraits.captions import AXES, EMOTIONS, INDEX, POLES, STATEMENTS

# The sentences of the corpora about faces.
CORPUS = [pole for name in ("attributes", "expressions", "complex") for poles in load_corpus(name) for pole in poles]


@pytest.fixture(scope="module")
def portraits():
    return captions.sample_factors(2000, torch.Generator().manual_seed(0)).tolist()


def test_statements_are_true(portraits):
    rng = random.Random(0)
    for row in portraits:
        _, said = captions.describe(row, rng)
        names = [name for statement in said for name in statement.ranges]
        assert all(statement.holds(row) for statement in said)
        assert len(said) <= 4 and len(names) == len(set(names))


def test_caption_and_its_factors_agree(portraits):
    for seed, row in enumerate(portraits[:200]):
        text, mentioned = captions.caption_with_factors(row, random.Random(seed))
        assert text == captions.caption(row, random.Random(seed))
        assert mentioned == sorted(set(mentioned)) and all(0 <= index < len(INDEX) for index in mentioned)


def test_a_noun_tells_the_sex_only_where_it_is_clear(portraits):
    rng = random.Random(0)
    for row in portraits:
        words = set(captions.caption(row, rng).strip(".").replace(",", "").split())
        if words & {"man", "guy", "gentleman", "male"}:
            assert row[INDEX["femininity"]] <= 0.35
        if words & {"woman", "lady", "female"}:
            assert row[INDEX["femininity"]] >= 0.65


def test_the_grammar_speaks_as_the_corpora_do():
    words = {word for text in CORPUS for word in text.strip(".").split()}
    assert words - {"a", "photo", "of"} <= captions.all_words()
    forms = {form for statement in STATEMENTS for form in statement.forms}
    faces = ("a happy", "a sad", "a fearful", "a disgusted", "an angry", "a neutral")
    assert {f"* with {face} face" for face in faces} <= forms


@pytest.mark.parametrize("forms, expected", [
    (("old *",), "a photo of an old person."),
    (("man", "* with beard"), "a photo of a man with beard."),
    (("shaved *", "angry *", "man"), "a photo of an angry shaved man."),
    (("man", "* with a beard", "* crying"), "a photo of a man with a beard crying."),
])
def test_sentences_of_the_corpora_can_be_said(forms, expected):
    assert expected in {captions.sentence(forms, random.Random(seed)) for seed in range(3000)}


def test_poles_are_the_dipoles_of_the_attributes():
    assert len(POLES) == len(load_corpus("attributes"))
    for (name, sign), dipole in zip(POLES, load_corpus("attributes")):
        ends = [{word for pair in AXES[name] for word in pair[side].split()} for side in (0, 1)]
        high, low = dipole if sign > 0 else dipole[::-1]
        assert (set(high.strip(".").split()) - set(low.strip(".").split())) & ends[1] or name == "hair_amount"
        assert (set(low.strip(".").split()) - set(high.strip(".").split())) & ends[0]


@pytest.mark.parametrize("factor", AXES)
def test_contrasts_differ_in_one_factor(factor, portraits):
    rng = random.Random(0)
    for row in portraits[:100]:
        (low, low_said), (high, high_said) = captions.contrast(row, factor, rng)
        assert low != high
        assert low_said[0].ranges[factor][1] < high_said[0].ranges[factor][0]
        assert low_said[1:] == high_said[1:]
        for value in (0.0, 1.0):
            changed = [value if index == INDEX[factor] else old for index, old in enumerate(row)]
            assert all(statement.holds(changed) for statement in low_said[1:])


def test_sampled_factors():
    factors = captions.sample_factors(4000, torch.Generator().manual_seed(1))
    assert factors.shape == (4000, len(renderer.FACTORS)) and 0 <= factors.min() and factors.max() <= 1
    free = factors[:, INDEX["shirt_hue"]]
    assert abs(free.mean() - 0.5) < 0.02
    drawn = {name: sum(captions.Statement(ranges, (), {}, 1).holds(row) for row in factors.tolist()) / 4000
             for name, (ranges, _) in EMOTIONS.items()}
    assert min(drawn.values()) > 0.25 / 7 * 0.8


def test_compact_tokens_are_clip_s(portraits):
    vocabulary, rng = train_clip.vocabulary_of_captions(), random.Random(0)
    sentences = [captions.caption(row, rng) for row in portraits[:500]] + CORPUS
    compact = vocabulary.encode(sentences)
    tokens = torch.tensor(vocabulary.ids)[compact]
    expected = clip.tokenize(sentences)[:, :tokens.shape[1]]
    assert torch.equal(tokens, expected)
    assert tokens.shape[1] <= train_clip.TRAINING_CONTEXT
    assert torch.equal(compact.argmax(dim=-1), expected.argmax(dim=-1))


def test_released_weights_encode_as_the_trained_ones(tmp_path):
    vocabulary = train_clip.vocabulary_of_captions()
    torch.manual_seed(0)
    learner = train_clip.Learner(len(vocabulary.ids)).eval()
    save_tensors(learner.released(vocabulary), tmp_path / "clip.pt")
    encoder = train_clip.load_clip(tmp_path / "clip.pt")
    with torch.no_grad():
        expected = learner.clip.encode_text(vocabulary.encode(CORPUS))
        images = renderer.render(torch.rand(4, len(INDEX)), 64)
        expected_images = learner.clip.encode_image(images)
    for ours, theirs in ((encoder.encode_text(CORPUS), expected), (encoder.encode_images(images), expected_images)):
        assert torch.cosine_similarity(ours, theirs).min() > 0.995  # in half precision, and untrained


def test_a_caption_matches_what_it_is_true_of():
    factors = torch.tensor([[0.1], [0.9], [0.4]])
    low, high = torch.tensor([[0.0], [0.65], [float("nan")]]), torch.tensor([[0.35], [1.0], [float("nan")]])
    fit = train_clip.matches(factors, low, high)
    expected = torch.tensor([[1, 0, float("nan")], [0, 1, 0], [1, 1, 1]])
    torch.testing.assert_close(fit, expected, equal_nan=True)


def test_released_features_are_equally_long_and_point_the_same_way():
    vocabulary = train_clip.vocabulary_of_captions()
    torch.manual_seed(0)
    learner = train_clip.Learner(len(vocabulary.ids)).eval()
    images = renderer.render(torch.rand(8, len(INDEX)))
    with torch.no_grad():
        before = learner.clip.encode_image(images)
        learner.match_norms(images, vocabulary.encode(CORPUS))
        after = learner.clip.encode_image(images)
        text = learner.clip.encode_text(vocabulary.encode(CORPUS))
    assert torch.cosine_similarity(before, after).min() > 0.9999
    assert 0.7 < after.norm(dim=1).mean() / text.norm(dim=1).mean() < 1.4
