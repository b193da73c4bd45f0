"""A world of a tiny generator with random paths in all of its spaces, and a tiny CLIP."""

from pathlib import Path

import pytest
import torch
from mean_colours import Colours

from lib.exploring.judging import Judging
from lib.exploring.world import World
from lib.latent_space import latent_space
from lib.methods import text_start
from lib.methods.contraclip import ContraCLIPSettings
from lib.paths.lines import Lines
from lib.paths.support_sets import LatentSupportSets
from lib.settings import TrainingSettings
from lib.trained import Trained
from models.files import sha256

TRUNCATION = 0.7
DIPOLES = [("a happy face", "a sad face"), ("an old face", "a young face")]


@pytest.fixture(scope="session")
def settings(data, tiny_clip_file):
    file = data / "stylegan2_tiny.pth"
    return ContraCLIPSettings(gan=str(file), gan_sha256=sha256(file), stylegan_space="W", truncation=TRUNCATION,
                              clip_model=str(tiny_clip_file), walk_length=3.2, corpus="tiny", loss="paired")


def noise(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def experiments(settings, tiny_stylegan2):
    """In W bent paths of sentences; in Z, W+ and S lines with names."""
    spaces = {name: latent_space(tiny_stylegan2, name, None, TRUNCATION) for name in ("W", "Z", "W+", "S")}
    bent = LatentSupportSets.random(2, 4, 32, 6.0, 0.5, noise(0))
    made = [Trained(Path("bent"), tiny_stylegan2, spaces["W"], bent, DIPOLES, settings, None)]
    for seed, name in enumerate(("Z", "W+", "S"), start=1):
        lines = Lines.random(2, spaces[name].dim, noise(seed))
        plain = TrainingSettings(method="sefa", gan=settings.gan, gan_sha256=settings.gan_sha256, stylegan_space=name,
                                 stylegan_layer=spaces[name].layer, truncation=TRUNCATION)
        labels = [f"{name} {k}" for k in range(2)]
        made.append(Trained(Path(name), tiny_stylegan2, spaces[name], lines, labels, plain, None))
    return made


@pytest.fixture(scope="session")
def judging(settings):
    return Judging("colours", Colours(), settings.gan_sha256)


@pytest.fixture
def world(experiments, settings, monkeypatch, tmp_path):
    """Works in a directory of its own; what a new sentence needs is measured on few codes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_start, "FEATURE_CODES", 40)
    monkeypatch.setattr(text_start, "RESPONSE_CODES", 4)
    made = World(experiments[0].generator, settings, experiments)
    yield made
    made.close()


@pytest.fixture
def visitor(world):
    return world.visitor()


@pytest.fixture
def slider_in(world):
    """slider_in("W") -> the first slider of a space."""
    return lambda space: next(slider for slider in world.sliders if slider.space == space)


@pytest.fixture(scope="module")
def shared(experiments, settings, judging, tmp_path_factory):
    """A world with a judge for all tests of a file, whose visitors do not see each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("explorer"))
        patch.setattr(text_start, "FEATURE_CODES", 40)
        patch.setattr(text_start, "RESPONSE_CODES", 4)
        made = World(experiments[0].generator, settings, experiments, judging)
        yield made
        made.close()
