"""The CLIP of the photographic faces: its captions, the numbers that teach it, and what is released."""

import random

import numpy as np
import pytest
import torch

from lib.dipoles import encode_dipoles, load_corpus
from models.clip_encoder import clip, load_clip
from models.face_networks import MARGIN, load_network
from models.load_generator import load_generator
from scripts.faces import captions, score, teachers, train_clip
from scripts.faces.captions import ATTRIBUTES, INDEX, NAMES
from scripts.faces.labels import halves
from scripts.faces.measure_clip import ATTRIBUTES as ATTRIBUTES_OF_CORPUS
from scripts.small_clip import Vocabulary

CORPUS = [pole for poles in load_corpus("faces") for pole in poles]


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(captions.all_words())


def test_captions_state_what_is_clear_and_nothing_else():
    rng, lengths = random.Random(0), set()
    for _ in range(500):
        sides = {name: rng.choice((1, -1)) for name in NAMES if rng.random() < 0.5}
        text, stated = captions.describe(sides, rng)
        assert stated.items() <= sides.items()
        lengths.add(len(stated))
        for name, side in stated.items():
            forms = ATTRIBUTES[name][0 if side > 0 else 1]
            assert any(form.replace("*", "").strip() in text for form in forms)
    assert lengths == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("name", NAMES)
def test_contrasts_differ_in_the_words_for_one_attribute(name):
    rng = random.Random(0)
    for _ in range(50):
        positive, negative = captions.contrast(name, rng)
        assert any(form.replace("*", "").strip() in positive for form in ATTRIBUTES[name][0])
        assert any(form.replace("*", "").strip() in negative for form in ATTRIBUTES[name][1])
        assert positive.endswith(".") == negative.endswith(".")


def test_tokens_are_clip_s(vocabulary):
    rng = random.Random(0)
    sides = dict.fromkeys(NAMES, 1)
    sentences = [captions.describe(sides, rng)[0] for _ in range(300)] + CORPUS
    compact = vocabulary.encode(sentences)
    tokens = torch.tensor(vocabulary.ids)[compact]
    assert torch.equal(tokens, clip.tokenize(sentences)[:, : tokens.shape[1]])
    assert tokens.shape[1] <= train_clip.TRAINING_CONTEXT


def test_a_caption_matches_what_it_is_true_of():
    stated = torch.tensor([[1, 0], [0, -1], [0, 0]], dtype=torch.int8)
    sides = torch.tensor([[1, 1], [-1, -1], [0, 0]], dtype=torch.int8)
    doubt = float("nan")
    expected = torch.tensor([[1, 0, doubt], [0, 1, doubt], [1, 1, 1]])
    torch.testing.assert_close(train_clip.matches(stated, sides), expected, equal_nan=True)


def test_left_and_right_change_places_in_the_mirror():
    numbers = np.ones((1, len(NAMES)), np.float32)
    mirrored = teachers.mirrored(numbers)[0]
    assert {name for name in NAMES if mirrored[INDEX[name]] < 0} == {"right", "light_right"}


def test_lighting_reads_face_and_background():
    images = np.zeros((3, 3, 64, 64), np.uint8)
    mask = np.zeros((3, 64, 64), np.uint8)
    mask[:, 16:60, 16:48] = 255
    images[0, :, 16:60, 16:48] = 200  # a bright face
    images[1, 2, :, :16] = 200  # a background with blue
    images[2, :, 16:60, 32:48] = 200  # light from the right
    found = teachers.lighting(images, mask)
    assert found["light"].argmax() == 0 and found["blue_background"].argmax() == 1
    assert found["light_right"].argmax() == 2 and abs(found["light_right"][0]) < 1e-3


def test_sides_are_clear_where_numbers_are_large():
    numbers = np.tile(teachers.gaussian(np.arange(1000))[:, None], len(NAMES))
    sides = teachers.sides(numbers)
    for name, column in INDEX.items():
        positive, negative = teachers.SHARES.get(name, teachers.USUAL_SHARES)
        assert abs((sides[:, column] == 1).mean() - positive) < 0.01
        assert abs((sides[:, column] == -1).mean() - negative) < 0.01


def made_up_data(count=40):
    random_ = np.random.default_rng(0)
    numbers = random_.standard_normal((count, len(NAMES))).astype(np.float32)
    images = random_.integers(0, 255, (count, 3, 64, 64), dtype=np.uint8)
    return train_clip.Data(images, numbers, random_.standard_normal((2, count, 5)).astype(np.float32))


def test_batches_depend_on_seed_and_iteration_alone(vocabulary):
    data = made_up_data()
    first, again, next_one = (train_clip.draw_batch(data, vocabulary, 8, 3, i) for i in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["images"], next_one["images"])
    assert len(first["tokens"]) == 8 + 2 * len(NAMES)


def test_mirror_images_come_with_mirrored_numbers():
    data = made_up_data(40)
    data.images[..., :32] = 255
    data.images[..., 32:] = 0
    generator = torch.Generator().manual_seed(0)
    plain, mirrored = (data.seen(torch.arange(4) + start, generator).mean(dim=(0, 1, 2)) for start in (0, 40))
    assert plain[:28].min() > 0 > plain[36:].max() and mirrored[:28].max() < 0 < mirrored[36:].min()
    right = INDEX["right"]
    torch.testing.assert_close(data.numbers[:40, right], -data.numbers[40:, right])


def test_an_interrupted_training_equals_an_uninterrupted_one(vocabulary, tmp_path, monkeypatch):
    monkeypatch.setattr(train_clip, "VISION_WIDTH", 8)
    data = made_up_data()

    def trained(name, *stops):
        for iterations in stops:
            learner = train_clip.train(data, vocabulary, tmp_path / name, 8, 1e-3, 4, 0, stop=iterations)
        return learner.state_dict()

    whole, resumed = trained("whole", 4), trained("resumed", 2, 4)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.fixture(scope="module")
def encoder():
    return load_clip("clip_faces64")


def test_the_embedded_clip_knows_the_words_of_its_corpus(encoder):
    assert encoder.unknown_words(CORPUS) == []
    assert encoder.unknown_words(["a photo of a zebra with glasses."]) == ["zebra"]


def test_dipoles_of_the_corpus_are_nearly_orthogonal(encoder):
    poles = torch.nn.functional.normalize(encode_dipoles(load_corpus("faces"), encoder), dim=-1)
    targets = torch.nn.functional.normalize(poles[:, 0] - poles[:, 1], dim=-1)
    assert (targets @ targets.T - torch.eye(len(targets))).abs().max() < 0.1


@torch.no_grad()
def test_the_embedded_clip_sees_what_hands_labelled(encoder):
    """Of the half that taught it nothing: the probability that a positive one is nearer to the pole than a negative."""
    z, labels = halves()[1]
    images = load_generator("dcgan_faces64")(torch.from_numpy(z))
    seen = torch.nn.functional.normalize(encoder.encode_images(images), dim=-1)
    poles = torch.nn.functional.normalize(encode_dipoles(load_corpus("faces"), encoder), dim=-1)
    scores = (seen @ (poles[:, 0] - poles[:, 1]).T).numpy()
    for name, label in (("glasses", "glasses"), ("hat", "hat"), ("beard", "facial_hair"), ("long_hair", "long_hair")):
        sure = labels[label] >= 0
        area = teachers.area_under_curve(scores[sure, ATTRIBUTES_OF_CORPUS.index(name)], labels[label][sure])
        assert area > 0.9


@torch.no_grad()
def test_teachers_see_what_the_judge_s_networks_are_given():
    """Enlarging and resizing in one step comes close to doing both, and mirror images mirror the face."""
    generator, z = load_generator("dcgan_faces64"), score.codes(0, 100)[:2]
    plain, mirrored = (score.look_at(generator, z, flip)["mesh"].reshape(2, 468, 3) for flip in (False, True))
    expected = load_network("facemesh")(generator(z), ["mesh"], MARGIN)["mesh"].reshape(2, 468, 3)
    assert np.abs(plain - expected).max() < 0.5  # of 192 pixels
    nose = 1
    assert np.abs(192 - plain[:, nose, 0] - mirrored[:, nose, 0]).max() < 4
