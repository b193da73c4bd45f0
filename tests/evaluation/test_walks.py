"""The codes that are evaluated: those that a walk left, or walked now."""

import numpy as np
import pytest
import torch
from colours import ColourJudge, along

from lib.evaluation.evaluation import Subject
from lib.evaluation.walks import Walk, ends_at, find_walk, paths_from
from lib.files import save_tensors, write_json
from lib.paths.lines import Lines
from lib.paths.tracing import trace
from lib.settings import WalkSettings
from models.errors import UserError


def test_codes_of_a_walk_that_is_there_are_taken(subject, evaluate):
    elsewhere = Lines.random(3, 32, torch.Generator().manual_seed(9))
    for source in subject.sources:
        start, _ = paths_from(subject.walk, subject.space, subject.paths, source)
        codes = trace(subject.space, elsewhere, start, 4, 2.0)[0]
        save_tensors(codes, subject.walk.directory / source.name / "paths_latent_codes.pt")
        write_json(subject.walk.settings.to_json(), subject.walk.directory / source.name / "settings.json")
    readings, _, _ = evaluate()
    other = Subject(**{**vars(subject), "paths": elsewhere})
    np.testing.assert_allclose(readings.along["numbers"], along(other, ColourJudge())[1][:, :, ::2], atol=1e-4)


@pytest.mark.parametrize("change, message", [("shape", "has shape"), ("start", "does not begin at the code")])
def test_a_walk_of_something_else_is_refused(change, message, subject):
    source = subject.sources[0]
    codes = torch.zeros(2 if change == "shape" else 3, 9, 10, 32)
    save_tensors(codes, subject.walk.directory / source.name / "paths_latent_codes.pt")
    write_json(subject.walk.settings.to_json(), subject.walk.directory / source.name / "settings.json")
    with pytest.raises(UserError, match=message):
        paths_from(subject.walk, subject.space, subject.paths, source)


def test_the_walk_that_is_there_is_found_by_what_is_asked(subject, tmp_path):
    results = tmp_path / "walks"
    assert find_walk(results, eps=None).settings == WalkSettings()
    assert find_walk(results, eps=0.1, shift_steps=15).directory == results / "30_0.1_3.0"
    for settings in (WalkSettings(shift_steps=6, eps=0.5, shift_leap=2), WalkSettings(shift_steps=8, eps=0.5)):
        write_json(settings.to_json(), results / settings.name / "a_code" / "settings.json")
    found = find_walk(results, shift_steps=6)
    assert found.directory == results / "12_0.5_6.0" and found.radii.tolist() == [0, 1, 2, 3]
    some = WalkSettings(shift_steps=6, eps=0.5, shift_leap=2, paths=[1])
    assert find_walk(results, shift_steps=6, eps=0.5, shift_leap=2, paths=[1]).directory == results / some.name
    write_json(some.to_json(), results / some.name / "a_code" / "settings.json")
    assert find_walk(results, paths=[1]).settings == some and find_walk(results, shift_steps=6) == found
    with pytest.raises(UserError, match=r"several walks: say which one \(--shift-steps=6 --eps=0.5, --shift-steps=8"):
        find_walk(results, eps=0.5)
    with pytest.raises(UserError, match="1 image in either direction"):
        find_walk(results, shift_steps=1)


def test_steps_that_are_read_are_evenly_spaced_and_end_with_the_last():
    walk = Walk(None, WalkSettings(shift_steps=100, shift_leap=4, eps=0.15))
    assert walk.steps_read(5).tolist() == [0, 5, 10, 15, 20, 25]
    assert walk.steps_read(100).tolist() == list(range(26))


def test_ends_at_reach_lie_between_the_codes():
    paths = torch.tensor([[[-4.0], [-1.0], [0.0], [2.0], [6.0]]]).repeat(3, 1, 1)  # of unequal steps
    found = ends_at(paths, np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.0, 1.25]))
    assert found[..., 0].tolist() == [[-0.5, 1.0], [-1.0, 2.0], [-1.75, 3.0]]
