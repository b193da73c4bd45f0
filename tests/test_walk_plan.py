"""What a walk is asked for, and what its user is told before it begins."""

from types import SimpleNamespace

import pytest

from lib.latent_space import ScaledZSpace, ZSpace
from lib.paths.choice import chosen_paths
from lib.walking import remarks
from models.errors import UserError

LABELS = [("a smiling person.", "a sad person."), "direction 1"]


def test_a_path_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UserError, match=r"'glasses'; there are 0 a smiling person\., 1 direction 1$"):
        chosen_paths("smiling,glasses", LABELS)


@pytest.mark.parametrize("scales_z", [False, True])
def test_another_truncation_is_told_where_images_depend_on_it(scales_z, monkeypatch):
    monkeypatch.setattr(remarks, "truncation_of", lambda pool: 1.0)
    generator = SimpleNamespace(z_dim=4)
    space = ScaledZSpace(generator, 0.5) if scales_z else ZSpace(generator, 0.5)
    experiment = SimpleNamespace(settings=SimpleNamespace(truncation=0.5, jung_radius=None), space=space)
    plan = SimpleNamespace(experiment=experiment, pool="pool", settings=SimpleNamespace(w_space=False))
    told = list(remarks.doubts(plan))
    assert [line.partition(",")[0] for line in told] == ["the pool was made with truncation 1"] * (not scales_z)
