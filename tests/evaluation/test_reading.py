"""What is read of images and codes, what follows from it, and what is read again."""

import numpy as np
import pytest
import torch
from colours import ColourJudge, along, cosine, pooled, seen

from lib.evaluation import measures, samples
from lib.evaluation.evaluation import Subject
from lib.evaluation.reading import bar
from lib.evaluation.scale import Scale
from lib.evaluation.walks import ends_at, paths_from
from lib.files import save_tensors
from lib.latent_space import latent_space
from lib.paths.lines import Lines
from lib.pools import codes_of_z
from models.errors import UserError

AT_REACH = 4 * (1 + 3 * 2)  # images of 4 codes: the start and two ends of 3 paths


def test_what_is_read_is_what_the_judge_sees_of_the_walked_codes(subject, evaluate):
    readings, _, _ = evaluate()
    traced, numbers = along(subject, ColourJudge())
    assert readings.radii.tolist() == [0, 4, 8]
    np.testing.assert_allclose(readings.along["numbers"], numbers[:, :, [0, 2, 4, 6, 8]], atol=1e-4)
    np.testing.assert_allclose(readings.along["bend"], 1, atol=1e-4)  # lines
    with torch.no_grad():
        images = seen(subject.space, traced[1, 2])
    likeness = cosine(pooled(images[4:5]).expand(9, -1), pooled(images)).numpy()
    np.testing.assert_allclose(readings.along["identity"][1, 2], likeness[[0, 2, 4, 6, 8]], atol=1e-4)


def test_what_is_read_at_reach_is_of_the_codes_there(subject, evaluate):
    readings, _, _ = evaluate()
    traced, _ = along(subject, ColourJudge())
    for k, aim in enumerate(readings.aims):
        offset = (traced[3, k, 8] - traced[3, k, 4]) * aim.radius / 8  # a line, 8 long on either side
        codes = traced[3, k, 4] + torch.stack([-offset, torch.zeros_like(offset), offset])
        with torch.no_grad():
            images = seen(subject.space, codes)
        np.testing.assert_allclose(readings.at_reach["numbers"][3, k], ColourJudge()(images)[[0, 2]], atol=1e-4)
        np.testing.assert_allclose(readings.at_reach["features"][3, k], pooled(images)[[0, 2]], atol=1e-4)
        likeness = cosine(pooled(images[1:2]).expand(2, -1), pooled(images)[[0, 2]]).mean()
        assert readings.at_reach["identity"][3, k] == pytest.approx(likeness.item(), abs=1e-4)


def test_figures_are_those_of_the_measures(subject, evaluate):
    _, summary, _ = evaluate()
    _, numbers = along(subject, ColourJudge())
    low, high = np.quantile(readings_of_all(subject), [0.05, 0.95], axis=0)
    scaled = numbers[..., :3] / (high - low)
    moved = measures.differences(scaled)
    entry = summary["paths"][0]
    assert entry["own"] == "red" and entry["sign"] == 1 and entry["own_chosen_by"] == "judge"
    assert entry["figures"]["own_effect"]["value"] == pytest.approx(moved[:, 0, -1, 0].mean(), rel=1e-3)
    assert entry["figures"]["right_way"]["value"] == (moved[:, 0, -1, 0] > 0).mean()
    assert entry["moved_at_end"]["blue"] == pytest.approx(moved[:, 0, -1, 2].mean(), rel=1e-3)
    assert summary["paths"][1]["sign"] == -1
    assert summary["paths"][1]["figures"]["own_effect"]["value"] == pytest.approx(-moved[:, 1, -1, 1].mean(), rel=1e-3)
    most = np.abs(moved[:, 2, -1].mean(axis=0)).argmax()
    assert summary["paths"][2]["own"] == ["red", "green", "blue"][most]
    assert summary["paths"][2]["own_chosen_by"] == "most moved"
    values = [entry["figures"]["own_effect"]["value"] for entry in summary["paths"]]
    assert summary["mean"]["own_effect"]["value"] == pytest.approx(np.mean(values))
    assert summary["counts"]["goes_right_way"] == sum(value > 0 for value in values)


def readings_of_all(subject):
    """The judge's colours of the generator's untruncated samples, (N, 3)."""
    z = torch.randn(40, 32, generator=torch.Generator().manual_seed(samples.SEED))
    with torch.no_grad():
        return ColourJudge()(seen(latent_space(subject.space.generator), z))[:, :3].numpy()


def test_reach_is_read_where_the_own_effect_is_half_a_range(evaluate):
    readings, summary, _ = evaluate()
    reached = [k for k, entry in enumerate(summary["paths"]) if entry["reached"]]
    assert reached
    for k in reached:
        aim = readings.aims[k]
        low, high = readings.scale(readings.at_reach["numbers"])[:, k, :, aim.own].T
        assert aim.sign * (high - low).mean() == pytest.approx(0.5, abs=0.02)
        assert summary["paths"][k]["figures"]["reach"]["value"] == pytest.approx(aim.radius, abs=0.1)
        assert abs(summary["paths"][k]["moved_at_reach"][summary["paths"][k]["own"]]) == pytest.approx(0.5, abs=1e-6)


def test_a_number_that_never_varies_is_left_out_and_that_is_said(evaluate):
    _, summary, _ = evaluate(ColourJudge([(3, 1), None, None]))
    assert summary["left_out"] == ["flat"] and list(summary["numbers"]) == ["red", "green", "blue"]
    assert summary["paths"][0]["own_chosen_by"] == "most moved"
    assert "Path 0 should change flat" in summary["notes"][0]


def test_the_user_names_a_paths_own_number(evaluate):
    _, summary, _ = evaluate(own={0: (2, -1), 2: (0, 1)})
    chosen = [(entry["own"], entry["sign"], entry["own_chosen_by"]) for entry in summary["paths"]]
    assert chosen == [("blue", -1, "user"), ("green", -1, "judge"), ("red", 1, "user")]


def test_lpips_is_the_distance_from_the_start(subject, evaluate):
    readings, summary, _ = evaluate(perceptual=lambda images, others: (images - others).abs().mean(dim=(1, 2, 3)))
    start, paths = paths_from(subject.walk, subject.space, subject.paths, subject.sources[0])
    reach = np.array([aim.radius for aim in readings.aims])
    with torch.no_grad():
        ends = seen(subject.space, ends_at(paths, subject.walk.radii, reach)[1])
        expected = (ends - seen(subject.space, start)).abs().mean().item()
    assert readings.at_reach["lpips"][0, 1] == pytest.approx(expected, rel=1e-3)
    assert summary["figures"]["lpips"]["name"] == "LPIPS"


def test_corr_is_of_numbers_clipped_to_their_range(evaluate):
    readings, summary, _ = evaluate()
    assert summary["corr_numbers"] == ["red", "green", "blue", "likeness"]
    numbers = readings.along["numbers"][:, 2, :, 1].astype(float)
    low, high = summary["ranges"]["green"]
    mapped = np.clip(2 * (numbers - low) / (high - low) - 1, -1, 1)
    by_code = [np.cov(row, np.arange(5))[0, 1] / np.arange(5).std(ddof=1) for row in mapped]
    assert summary["corr"][2][1] == pytest.approx(abs(np.mean(by_code)), rel=1e-6)
    likeness = readings.along["identity"][:, 2].astype(float)
    mapped = np.clip(2 * likeness - 1, -1, 1)
    away = np.array([2, 1, 0, 1, 2])
    by_code = [np.cov(row, away)[0, 1] / away.std(ddof=1) for row in mapped]
    assert summary["corr"][2][3] == pytest.approx(abs(np.mean(by_code)), rel=1e-6)
    assert sum(summary["corr_l1"][2]) == pytest.approx(1)


def test_a_scaled_judge_keeps_its_units_and_needs_no_other_samples(evaluate, images_made, tmp_path):
    judge = ColourJudge()
    judge.scaled = True
    readings, _, _ = evaluate(judge)
    assert (readings.scale.high - readings.scale.low == 1).all()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert (images_made() - 40 - 4 * (1 + 3 * 4)) % AT_REACH == 0


def test_ranges_are_from_5_to_95_percent_and_names_are_distinct():
    judge = ColourJudge()
    judge.names = ["red", "red", "blue", "flat"]
    rising = np.linspace(0, 1, 101)
    numbers = np.stack([rising, 20 * rising - 10, rising + 5, np.full(101, 3.0)], axis=1)
    scale = Scale.of_samples(judge, numbers)
    np.testing.assert_allclose(scale.low, [0.05, -9, 5.05])
    np.testing.assert_allclose(scale.high, [0.95, 9, 5.95])
    assert scale.names == ["red", "red (2)", "blue"] and scale.left_out == ["flat"]
    assert scale.index(2) == 2 and scale.index(3) is None
    np.testing.assert_allclose(scale(np.array([[0.9, 9.0, 4.5, 1.0]])), [[1, 0.5, 5]])
    with pytest.raises(UserError, match="none of the judge's numbers varies"):
        Scale.of_samples(judge, np.ones((10, 4)))


def test_nothing_is_read_twice(subject, evaluate, images_made):
    first = evaluate()
    at_reach = images_made() - 2 * 40 - 4 * 13
    assert at_reach > 0 and at_reach % AT_REACH == 0
    assert evaluate()[1] == first[1] and images_made() == 0
    evaluate(own={0: (2, 1)})
    assert images_made() % AT_REACH == 0
    changed = Subject(**{**vars(subject), "origin": {"gan_sha256": "gan", "weights": "other"}})
    assert evaluate(of=changed)[1] == first[1]
    assert images_made() == 4 * 13 + at_reach  # the generator's samples are the same


@pytest.mark.parametrize("damage", [
    {"numbers": np.zeros((39, 3))}, {"numbers": np.zeros(40)}, {"numbers": np.zeros((40, 3), int)},
    {"numbers": np.array(["a"] * 40)}, {"features": np.zeros((7, 2))},
])  # fmt: skip
def test_damaged_samples_in_the_cache_are_read_again(damage, evaluate, tmp_path):
    first = evaluate()
    for file in (tmp_path / "cache").iterdir():
        whole = samples.load_arrays(file)
        samples.save_arrays(file, whole | damage)
    assert evaluate()[1] == first[1]
    for file in (tmp_path / "cache").iterdir():
        assert samples.load_arrays(file)["numbers"].shape == (40, 4)


def test_more_codes_are_read_besides_those_that_were(subject, evaluate, images_made):
    fewer = Subject(**{**vars(subject), "sources": subject.sources[:3]})
    evaluate(of=fewer)
    images_made()
    found = evaluate()
    assert images_made() % AT_REACH == 13
    assert found[1]["codes"] == 4


def test_an_evaluation_that_was_stopped_goes_on_and_ends_with_the_same(evaluate, images_made, monkeypatch):
    expected, made = evaluate(ColourJudge())[1], images_made()

    class Stopping(ColourJudge):
        fingerprint = "stopping"
        calls = 0

        def __call__(self, images):
            Stopping.calls += 1
            if Stopping.calls == 7:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        evaluate(Stopping())
    assert 0 < images_made() < made
    found = evaluate(Stopping())[1]
    assert 0 < images_made() < made
    assert found | {"judge": None} == expected | {"judge": None}


class NaNSpace:
    """A W space whose images have a NaN after the first few."""

    def __init__(self, space, after):
        self.space, self.left = space, after

    def __getattr__(self, name):
        return getattr(self.space, name)

    def synthesise(self, codes):
        images = self.space.synthesise(codes)
        self.left -= len(codes)
        if self.left < 0:
            images[-1, 0, 0, 0] = float("nan")
        return images


def test_images_that_are_not_finite_are_told_by_their_code(subject, evaluate):
    broken = Subject(**{**vars(subject), "space": NaNSpace(subject.space, 40 + 13)})
    with pytest.raises(UserError, match="on the paths from code code_1 the generator's images are not finite"):
        evaluate(of=broken)


def test_a_judge_that_reads_nan_is_told(evaluate):
    class Broken(ColourJudge):
        def __call__(self, images):
            return super().__call__(images) * float("nan")

    with pytest.raises(UserError, match="the judge reads numbers that are not finite"):
        evaluate(Broken())


@pytest.mark.parametrize("network, name, truncation", [
    ("stylegan2", "Z", 0.7), ("stylegan2", "W+", 1.0), ("stylegan2", "S", 0.7), ("pggan", "Z", 1.0),
    ("biggan", "Z", 0.5)])  # fmt: skip
def test_any_space_of_any_generator_is_read(network, name, truncation, subject, evaluate, tmp_path, request):
    space = latent_space(request.getfixturevalue(f"tiny_{network}"), name, truncation=truncation)
    z = torch.randn(2, space.generator.z_dim, generator=torch.Generator().manual_seed(2))
    for i, code in enumerate(z.split(1)):
        save_tensors(codes_of_z(space, code)["latent_code_z.pt"], tmp_path / name / f"code_{i}" / "latent_code_z.pt")
    lines = Lines.random(3, space.dim, torch.Generator().manual_seed(0))
    sources = sorted((tmp_path / name).iterdir())
    readings, summary, _ = evaluate(ColourJudge([None] * 3),
                                    of=Subject(**{**vars(subject), "space": space, "paths": lines, "sources": sources}))
    with torch.no_grad():
        numbers = ColourJudge()(seen(space, space.codes_of(z))).numpy()
    np.testing.assert_allclose(readings.along["numbers"][:, 2, 2], numbers, atol=1e-4)
    assert summary["codes"] == 2 and summary["left_out"] == ["flat"]


def test_each_bar_says_what_its_images_are_for(evaluate, monkeypatch):
    said = []
    monkeypatch.setattr("lib.evaluation.samples.bar", lambda what, total: said.append(what) or bar(what, 0))
    evaluate()
    assert said == ["samples that frames are compared with", "samples that give the numbers' ranges"]


def test_one_code_is_refused(subject):
    with pytest.raises(UserError, match="one code"):
        Subject(**{**vars(subject), "sources": subject.sources[:1]})
