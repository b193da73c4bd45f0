"""The judge of the embedded photographic faces: what it reads, what it leaves out, and what it is told of paths."""

import numpy as np
import pytest
import torch

from lib.dipoles import load_corpus
from lib.judges import default_judge, faces64, load_judge
from lib.judges.faces64 import Faces64Judge, geometry, load_probes, measures_of_smile, patches
from lib.latent_space import latent_space
from lib.walking.sampling import drawn
from models.errors import UserError
from models.face_networks import EMOTIONS
from models.load_generator import load_generator
from scripts.faces.labels import halves

NINE = ["smile", "mouth open", "glasses", "hat", "beard", "long hair", "light", "blue background", "turned right"]


@pytest.fixture(scope="module")
def judge():
    return load_judge("faces64:woman")


@pytest.fixture(scope="module")
def generator():
    return load_generator("dcgan_faces64")


@pytest.fixture(scope="module")
def images(generator):
    """8 faces (8, 3, 64, 64) in [-1, 1]."""
    z = torch.randn(8, 100, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return generator(z).clamp(-1, 1)


@pytest.fixture(scope="module")
def numbers(judge, images):
    return dict(zip(judge.names, judge(images).T))


def test_it_is_the_judge_of_the_photographic_faces():
    assert default_judge("dcgan_faces64", "clip_faces64") == "faces64"


def test_it_reads_nine_numbers_and_woman_only_if_asked(judge):
    assert load_judge("faces64").names == NINE
    assert judge.names == [*NINE, "woman"] and len(judge.units) == 10
    assert judge.fingerprint != load_judge("faces64").fingerprint
    with pytest.raises(UserError, match="faces64:woman"):
        load_judge("faces64:man")


def test_numbers_are_finite_and_of_each_image_alone(judge, images, numbers):
    found = judge(images[2:5])
    assert found.shape == (3, 10) and found.dtype == torch.float32 and not found.requires_grad
    together = torch.stack([numbers[name] for name in judge.names], dim=1)
    torch.testing.assert_close(found, together[2:5], rtol=1e-3, atol=1e-3)


def test_a_mirror_turns_the_head_but_neither_smiles_nor_lights(judge, images, numbers):
    mirrored = dict(zip(judge.names, judge(images.flip(-1)).T))
    spread = {name: values.std() for name, values in numbers.items()}
    for name in ("smile", "mouth open", "light", "blue background"):
        assert (mirrored[name] - numbers[name]).abs().mean() < 0.6 * spread[name], name
    assert (mirrored["turned right"] + numbers["turned right"]).abs().mean() < 0.6 * spread["turned right"]
    assert (mirrored["turned right"] - numbers["turned right"]).abs().mean() > spread["turned right"]


def test_brightness_is_read_as_light(judge, images, numbers):
    darker = dict(zip(judge.names, judge((images + 1) * 0.7 - 1).T))
    assert (darker["light"] < numbers["light"]).all()
    torch.testing.assert_close(darker["light"], 0.7 * numbers["light"], rtol=0.05, atol=0.01)


def test_light_is_of_the_middle_and_blue_of_the_upper_corners():
    pixels = np.zeros((3, 3, 100, 100), np.float32)
    pixels[0, :, 36:72, 33:67] = 1
    pixels[1, 2, :25, :14] = 1
    pixels[2, 0, :25] = 1
    grey, blue = patches(pixels)
    np.testing.assert_allclose(grey, [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(blue, [0, 0.5, -0.5], atol=1e-6)


def test_geometry_of_landmarks_is_that_of_the_points():
    points = np.zeros((1, 68, 2), np.float32)
    points[0, 36], points[0, 45] = (0.3, 0.4), (0.7, 0.4)
    points[0, 0], points[0, 16], points[0, 30] = (0.2, 0.5), (0.8, 0.5), (0.65, 0.5)
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        points[0, upper], points[0, lower] = (0.5, 0.7), (0.5, 0.8)
    np.testing.assert_allclose(geometry(points.reshape(1, -1)), [[0.25], [0.25]], rtol=1e-5)


def test_a_smile_is_wide_its_corners_are_high_and_it_looks_happy():
    points = np.zeros((2, 468, 3), np.float32)
    points[:, 33], points[:, 263] = (0, 0, 0), (10, 0, 0)
    points[:, 13], points[:, 14] = (5, 20, 0), (5, 22, 0)
    points[:, 61], points[:, 291] = (3, 21, 0), (7, 21, 0)
    points[1, 61], points[1, 291] = (1, 19, 0), (9, 19, 0)
    emotions = np.full((2, 7), 0.1, np.float32)
    emotions[1, EMOTIONS.index("happy")] = 0.9
    plain, smiling = measures_of_smile(points, emotions)
    np.testing.assert_allclose(smiling[:2] - plain[:2], [0.4, 0.2], rtol=1e-5)
    assert smiling[2] > plain[2]


@pytest.mark.parametrize("name, label", [("glasses", "glasses"), ("hat", "hat"), ("beard", "facial_hair"),
                                         ("long hair", "long_hair")])
def test_a_probe_tells_faces_apart_that_it_was_not_fitted_to(judge, generator, name, label):
    (z, labels), _ = halves()
    chosen = np.concatenate([np.flatnonzero(labels[label] == side)[:10] for side in (1, 0)])
    with torch.no_grad():
        found = judge(generator(torch.from_numpy(z[chosen])).clamp(-1, 1))[:, judge.names.index(name)]
    assert (found[:10, None] > found[None, 10:]).float().mean() > 0.75
    assert (found[:10] > 0).float().mean() > 0.5 > (found[10:] > 0).float().mean()


def test_dipoles_of_the_corpus_have_their_own_numbers(judge):
    own = judge.own(load_corpus("faces"))
    assert [(judge.names[index], sign) for index, sign in own] == [(name, +1) for name in judge.names]
    assert load_judge("faces64").own(load_corpus("faces"))[-1] is None


def test_other_sentences_are_understood_or_left_alone(judge):
    labels = [("a serious face.", "a smiling face."), ("a man with a beard", "a clean shaven man"), "direction 3",
              ("a photo of a dog.", "a photo of a car.")]  # fmt: skip
    assert judge.own(labels) == [(NINE.index("smile"), -1), (NINE.index("beard"), +1), None, None]


def test_identity_is_one_for_the_same_image_and_less_for_another(judge, images):
    embedded = judge.identity.embed(images)
    assert embedded.shape == (8, 1024)
    torch.testing.assert_close(judge.identity.compare(embedded, embedded), torch.ones(8))
    assert (judge.identity.compare(embedded, embedded.roll(1, 0)) < 0.9).all()


def test_a_batch_that_is_asked_for_again_is_read_once(images, monkeypatch):
    judge = Faces64Judge(woman=True)
    asked, run = [], judge.networks["faceres"].run
    monkeypatch.setattr(judge.networks["faceres"], "run", lambda *given: asked.append(1) or run(*given))
    judge(images)
    judge.features(images)
    assert len(asked) == 1
    judge.identity.embed(images.clone())
    assert len(asked) == 2


def test_it_accepts_faces_and_nothing_else(judge, images):
    assert judge.accepts(images).float().mean() > 0.7
    noise = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert not judge.accepts(torch.cat([noise, torch.zeros(1, 3, 64, 64)])).any()


def test_pools_can_leave_out_what_the_judge_does_not_accept(generator):
    space = latent_space(generator, "Z", None, 1)

    class OnlyBright:
        def accepts(self, images):
            return images.mean(dim=(1, 2, 3)) > -0.3

    codes = drawn(space, 6, 0, OnlyBright())
    stored = torch.cat([code["latent_code_z.pt"] for code in codes])
    with torch.no_grad():
        assert len(stored) == 6 and OnlyBright().accepts(generator(stored).clamp(-1, 1)).all()
    of_the_seed = [code["latent_code_z.pt"] for code in drawn(space, 6, 0)]
    assert any(torch.equal(stored[:1], z) for z in of_the_seed)


def test_a_judge_that_cannot_tell_or_accepts_nothing_is_told(generator):
    space = latent_space(generator, "Z", None, 1)

    class Never:
        answer = None

        def accepts(self, images):
            return self.answer

    with pytest.raises(UserError, match="cannot tell"):
        drawn(space, 2, 0, Never())
    Never.answer = torch.zeros(2, dtype=torch.bool)
    with pytest.raises(UserError, match="accepts only 0 of 40 images"):
        drawn(space, 2, 0, Never())


def test_missing_probes_are_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"probes\.pt is missing"):
        load_probes(tmp_path / "probes.pt")


def test_without_onnxruntime_the_package_is_named(monkeypatch):
    monkeypatch.setattr("models.face_networks.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="need onnxruntime"):
        load_judge("faces64")


def test_the_probes_are_those_that_the_judge_asks_for():
    probes = load_probes()
    assert set(probes) == {"smile", *faces64.PROBED} and probes["smile"].shape == (2, 3)
