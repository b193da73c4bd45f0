"""CLIP as a judge: its numbers, the sentences it is asked, and whose paths it may judge."""

import dataclasses
import shutil

import pytest
import torch

from lib.dipoles import load_corpus
from lib.files import read_json
from lib.judges import load_judge
from lib.judges.sentences import CELEBA_FILE, are_same
from models.clip_encoder import load_clip
from models.errors import UserError
from models.registry import CLIP_FILES

DIPOLES = [("a photo of a happy face.", "a photo of a sad face."), ("a cat", "a photo of a dog")]


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def judge(tiny_clip_file):
    return load_judge(f"clip:{tiny_clip_file}", labels=DIPOLES)


def test_number_is_how_much_nearer_the_first_sentence_is(judge, tiny_clip_file, images):
    encoder = load_clip(tiny_clip_file)
    expected = []
    for poles in DIPOLES:
        text = encoder.encode_text(list(poles))
        near, far = (torch.cosine_similarity(encoder.encode_images(images), pole[None]) for pole in text)
        expected.append(near - far)
    found = judge(images)
    torch.testing.assert_close(found, torch.stack(expected, dim=1), atol=1e-6, rtol=0)
    assert found.dtype == torch.float32 and not found.requires_grad and not judge.scaled and judge.note == ""
    assert len(judge.units) == len(judge.names) == 2


def test_names_are_short(judge):
    assert judge.names == ["sad face → happy face", "photo of a dog → cat"]
    attributes = load_judge(f"clip:{CLIP_FILES['clip_portraits64']}", labels=load_corpus("attributes")).names
    assert attributes[0] == "male → female" and len(set(attributes)) == 9


def test_features_are_the_images_cosines(judge, images):
    features = judge.features(images)
    assert features.shape == (3, 32) and not features.requires_grad
    encoded = judge.encoder.encode_images(images)
    torch.testing.assert_close((features @ features.T)[0] / 32, torch.cosine_similarity(encoded[:1], encoded))


def test_own_number_is_the_dipole_s(judge):
    labels = [DIPOLES[1], DIPOLES[0][::-1], ("a cat", "a mouse"), "direction 3"]
    assert judge.own(labels) == [(1, 1), (0, -1), None, None]


def test_portraits_clip_reads_the_portraits_poles():
    """It tells smiling renders from sad ones."""
    from lib.judges.portrait_factors import INDEX
    from scripts.portraits.renderer import render

    factors = torch.rand(20, 25, generator=torch.Generator().manual_seed(3))
    factors[:, INDEX["smile"]] = torch.tensor([0.05, 0.95]).repeat(10)
    smiling = load_judge("clip:clip_portraits64", sentences="attributes")(render(factors, 64))[:, 2].view(10, 2)
    assert smiling[:, 1].min() > smiling[:, 0].max()


def test_sentences_come_from_a_corpus_a_file_or_celeba(tiny_clip_file, tmp_path, images):
    (tmp_path / "own.txt").write_text("a hat | no hat\na hat | no hat\na car | a dog\n")
    own = load_judge(f"clip:{tiny_clip_file}", labels=DIPOLES, sentences=str(tmp_path / "own.txt"))
    assert own.names == ["no hat → a hat", "dog → car"] and own(images).shape == (3, 2)
    corpus = load_judge(f"clip:{tiny_clip_file}", labels=DIPOLES, sentences="expressions3")
    assert corpus(images).shape == (3, 3) and corpus.own(DIPOLES) == [None, None]
    celeba = load_judge(f"clip:{tiny_clip_file}", labels=DIPOLES, sentences="celeba")
    assert celeba(images).shape == (3, 40) and celeba.names[31] == "Smiling"


def test_celeba_s_attributes_are_40_dipoles_of_different_sentences():
    attributes = read_json(CELEBA_FILE)
    assert len(attributes) == 40 and list(attributes) == sorted(attributes)
    for name, (first, second) in attributes.items():
        assert first != second and first.endswith(".") and second.endswith("."), name
    assert len({tuple(poles) for poles in attributes.values()}) == 40


def test_fingerprint_is_of_weights_and_sentences(judge, tiny_clip_file, tmp_path):
    copy = shutil.copy(tiny_clip_file, tmp_path / "copy.pt")
    assert load_judge(f"clip:{copy}", labels=DIPOLES).fingerprint == judge.fingerprint
    assert load_judge(f"clip:{copy}", labels=DIPOLES[:1]).fingerprint != judge.fingerprint
    other = load_judge(f"clip:{copy}", labels=DIPOLES)
    other.encoder.interface = dataclasses.replace(other.encoder.interface, tokenize=lambda sentence: [])
    assert other.fingerprint == judge.fingerprint  # the same in every process, wherever its functions lie
    state = torch.load(tiny_clip_file, weights_only=True)
    state["visual.proj"] += 1
    torch.save(state, copy)
    assert load_judge(f"clip:{copy}", labels=DIPOLES).fingerprint != judge.fingerprint


@pytest.mark.parametrize(
    "name, other, same",
    [
        ("ViT-B/32", "ViT-B/32", True), ("ViT-B/32", "ViT-B/16", False),
        ("ViT-B/32", "open_clip:ViT-B-32/openai", True),
        ("open_clip:ViT-L-14-336-quickgelu/openai", "ViT-L/14@336px", True), ("RN50", "open_clip:RN50/openai", True),
        ("ViT-B/32", "open_clip:ViT-B-32/laion2b_s34b_b79k", False), ("RN50x4", "RN50", False),
        ("open_clip:ViT-B-16/openai", "open_clip:ViT-B-16/laion2b", False),
        ("clip_portraits64", str(CLIP_FILES["clip_portraits64"]), True), ("clip_portraits64", "ViT-B/32", False),
        ("gone/clip.pt", "gone/clip.pt", True), ("gone/clip.pt", "other/clip.pt", False),
    ],
)  # fmt: skip
def test_clips_are_told_apart(name, other, same):
    assert are_same(name, other) is same and are_same(other, name) is same


def test_clip_that_trained_the_paths_is_refused_unless_it_is_asked_for(tiny_clip_file, tmp_path):
    copy = shutil.copy(tiny_clip_file, tmp_path / "copy.pt")
    with pytest.raises(UserError, match="--same-clip") as caught:
        load_judge(f"clip:{copy}", labels=DIPOLES, trained_clip=str(tiny_clip_file))
    assert "\n" not in str(caught.value) and "copy.pt" in str(caught.value)
    marked = load_judge(f"clip:{copy}", labels=DIPOLES, trained_clip=str(tiny_clip_file), same_clip=True)
    assert "trained these paths" in marked.note
    assert load_judge(f"clip:{copy}", labels=DIPOLES, trained_clip="ViT-B/32", same_clip=True).note == ""


@pytest.mark.parametrize(
    "name, request_, named",
    [
        ("clip:", {}, "needs the name of a CLIP"), ("clip", {}, "needs the name of a CLIP"),
        ("clip:ViT-B/33", {}, "'ViT-B/33'"),
        ("clip:clip_portraits64", {"labels": ["direction 1"]}, "have no sentences"),
        ("clip:clip_portraits64", {"labels": ()}, "have no sentences"),
        ("clip:clip_portraits64", {"sentences": "no-such-corpus"}, "'no-such-corpus'"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused(name, request_, named):
    with pytest.raises(UserError, match=named) as caught:
        load_judge(name, **({"labels": DIPOLES} | request_))
    assert "\n" not in str(caught.value)
