"""The judges of portraits, and how judges are found and chosen."""

import subprocess
import sys

import pytest
import torch

from lib.dipoles import load_corpus
from lib.judges import JUDGE_OF, default_judge, load_judge
from lib.judges.portrait_factors import FACTORS, POLES, own_factor
from models.errors import UserError
from models.registry import GENERATORS
from scripts.portraits.renderer import render


@pytest.fixture(scope="module")
def portraits():
    return load_judge("portraits")


@pytest.fixture(scope="module")
def renders():
    """8 portraits, and their factors (8, 25)."""
    factors = torch.rand(8, len(FACTORS), generator=torch.Generator().manual_seed(5))
    return render(factors, 64), factors


def test_factors_of_renders_are_read_in_their_own_range(portraits, renders):
    images, factors = renders
    numbers = portraits(images)
    assert portraits.names == list(FACTORS) and len(portraits.units) == len(FACTORS) and portraits.scaled
    assert numbers.shape == factors.shape and numbers.dtype == torch.float32 and not numbers.requires_grad
    assert (numbers - factors).abs().mean() < 0.1
    extreme = portraits(torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(1)).clamp(-1, 1))
    assert extreme.min() == 0 and extreme.max() <= 1  # noise is no portrait: the network leaves the range


def test_features_are_what_the_factors_are_read_from(portraits, renders):
    images, _ = renders
    features = portraits.features(images)
    assert features.shape == (8, 256) and not features.requires_grad
    read = portraits.scorer.head[2](features) + 0.5
    torch.testing.assert_close(read.clamp(0, 1), portraits(images))


def test_identity_is_how_little_the_factors_differ(portraits, renders):
    images, _ = renders
    embed, compare = portraits.identity.embed, portraits.identity.compare
    found = embed(images)
    assert torch.equal(compare(found, found), torch.full((8,), portraits.identity.same))
    expected = (portraits(images) - portraits(images.flip(0))).abs().mean(dim=1)
    torch.testing.assert_close(compare(found, embed(images.flip(0))), expected)


def test_poles_of_the_attributes_are_the_judge_s_own_numbers(portraits):
    own = portraits.own(load_corpus("attributes"))
    assert [(FACTORS[index], sign) for index, sign in own] == list(POLES)


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ("a sad face.", "a smiling face.", ("smile", -1)),
        ("a photo of a person not smiling.", "a photo of a smiling person.", ("smile", -1)),
        ("A photo of a Smiling person", "a photo of a person.", ("smile", +1)),
        ("a person with a happy face.", "a person with a neutral face.", ("smile", +1)),
        ("a bearded man with glasses", "a bearded man without glasses", ("glasses", +1)),
        ("a man with black hair", "a man with blonde hair", ("hair_color", -1)),
        ("a person with a fearful face.", "a person with a sad face.", None),  # fear is several factors
        ("a man with a beard crying.", "an angry shaved man.", None),  # beard and tears
        ("a woman with beard", "a shaved man", None),
        ("a photo of a car.", "a photo of a dog.", None),
        ("a smiling person", "a smiling face", None),
    ],
)
def test_a_dipole_s_own_factor_is_the_one_that_it_contrasts(first, second, expected):
    assert own_factor(first, second) == expected


def test_labels_without_sentences_have_no_own_number(portraits):
    assert portraits.own(["direction 7", ("a sad face", "a smiling face")]) == [None, (FACTORS.index("smile"), -1)]


def test_fingerprint_is_the_weights(portraits):
    assert portraits.fingerprint == load_judge("portraits").fingerprint
    assert len(portraits.fingerprint) > 64


def test_images_of_another_size_are_refused(portraits):
    with pytest.raises(UserError, match="64 px, and these have 128 x 96"):
        portraits(torch.zeros(1, 3, 128, 96))


@pytest.mark.parametrize("name, named", [("portrait", "portraits, clip, onnx"), ("", "clip"), ("portraits:x", "'x'")])
def test_unknown_judges_are_refused_with_those_that_exist(name, named):
    with pytest.raises(UserError, match=named) as caught:
        load_judge(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("judge, gan, own", [("faces64", "stylegan2_portraits64", "portraits"),
                                             ("faces64:woman", "biggan_portraits64", "portraits"),
                                             ("portraits", "dcgan_faces64", "faces64")])  # fmt: skip
def test_the_judge_of_other_embedded_generators_is_refused(judge, gan, own):
    with pytest.raises(UserError, match=f"does not read the images of {gan}: its own judge is {own}$"):
        load_judge(judge, gan=gan)


def test_a_generator_of_one_s_own_may_have_any_judge():
    assert load_judge("portraits", gan="mine.pth").names


def test_a_generator_s_judge_is_its_own_or_a_clip_that_did_not_train_the_paths():
    assert set(JUDGE_OF) <= set(GENERATORS)
    assert default_judge("stylegan2_portraits64", "clip_portraits64") == "portraits"
    assert default_judge("stylegan2_ffhq1024", "ViT-B/32") == "clip:ViT-B/16"
    assert default_judge("stylegan2_ffhq1024", "ViT-B/16") == "clip:ViT-B/32"


def test_registry_and_words_import_no_torch():
    code = "import sys, lib.judges, lib.judges.portrait_factors; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
