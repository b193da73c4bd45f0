"""The labels of faces that the teachers' and the judge's probes are fitted on."""

import numpy as np
import pytest

from models.load_generator import load_generator
from scripts.faces import labels


def test_codes_and_labels_belong_together():
    z, of = labels.load()
    assert z.dtype == np.float32 and z.shape[1] == load_generator("dcgan_faces64").z_dim
    assert tuple(of) == labels.ATTRIBUTES
    for values in of.values():
        assert values.shape == (len(z),) and set(np.unique(values)) == {-1, 0, 1}


def test_codes_are_distinct_draws_of_normal_noise():
    z, _ = labels.load()
    assert len(np.unique(z, axis=0)) == len(z) >= 640
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02


def test_halves_share_no_code_and_miss_none():
    z, _ = labels.load()
    (teachers, _), (judge, _) = labels.halves()
    together = np.concatenate([teachers, judge])
    assert abs(len(teachers) - len(judge)) <= 1
    assert np.array_equal(np.unique(together, axis=0), np.unique(z, axis=0)) and len(together) == len(z)


def test_halves_keep_each_code_with_its_labels():
    z, of = labels.load()
    for half, other in labels.halves():
        rows = [int(np.flatnonzero((z == code).all(axis=1)).item()) for code in half[:10]]
        for name, values in of.items():
            assert np.array_equal(other[name][:10], values[rows])


@pytest.mark.parametrize("attribute", labels.ATTRIBUTES)
def test_each_half_has_enough_of_both_answers_to_fit_a_probe(attribute):
    for _, of in labels.halves():
        assert (of[attribute] == 1).sum() >= 30 and (of[attribute] == 0).sum() >= 100
