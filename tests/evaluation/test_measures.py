"""Each measure on numbers whose answer is known."""

import json

import numpy as np
import pytest

from lib.evaluation import measures

RADII = np.array([0.0, 1.0, 2.0, 3.0])
ALIKE = np.full((1, 2), 0.5)  # weights of two codes without resamples


def moved(*codes):
    """A path (B, 4, J) from each code's movements at the end, which grow linearly with the radius."""
    return np.array(codes)[:, None, :] * (RADII / RADII[-1])[:, None]


def figures(path, own=0, sign=1, weights=ALIKE):
    found = measures.path_figures(path, RADII, own, sign, weights)
    return {name: values[0] for name, values in found.items()}


def test_differences_are_from_end_to_end_at_each_radius():
    numbers = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 5.0], [8.0, 0.0], [16.0, -1.0]])  # T = 5, J = 2
    assert measures.differences(numbers).tolist() == [[0, 0], [6, 0], [15, -1]]


def test_own_effect_right_way_and_strongest():
    path = moved([0.9, 0.2, 0.0], [-0.1, 0.2, 0.0])
    found = figures(path)
    assert found["own_effect"] == pytest.approx(0.4)
    assert found["right_way"] == 0.5
    assert found["strongest"] == 1
    assert figures(path, sign=-1)["own_effect"] == pytest.approx(-0.4)
    assert figures(path, sign=-1)["strongest"] == 0
    assert figures(path, own=1)["own_effect"] == pytest.approx(0.2)
    assert figures(path, own=1)["strongest"] == 0


def test_leak_and_stray_are_taken_at_reach():
    # Own: 0.75 at the end, so 0.5 at radius 2, where the others are at two thirds of their ends.
    found = figures(moved([0.75, 0.3, -0.15], [0.75, -0.3, -0.3]))
    assert found["reach"] == pytest.approx(2) and found["reached"] == 1
    assert found["leak"] == pytest.approx((0.1 + 0.2) / 2 / 0.5)  # number 1 cancels between the codes
    assert found["stray"] == pytest.approx((0.2 + 0.1 + 0.2 + 0.2) / 4 / 0.5)


def test_where_reach_is_missed_the_end_is_taken():
    found = figures(moved([0.4, 0.1], [0.4, 0.3]))
    assert found["reach"] == 3 and found["reached"] == 0
    assert found["leak"] == pytest.approx(0.2 / 0.4) and found["stray"] == pytest.approx(0.2 / 0.4)


def test_a_path_that_goes_the_wrong_way_has_no_finite_leak():
    found = figures(moved([-0.8, 0.1], [-0.8, 0.1]))
    assert found["leak"] == found["stray"] == np.inf
    assert found["right_way"] == found["reached"] == 0


def test_a_single_number_has_neither_leak_nor_stray():
    found = figures(moved([0.9], [0.9]))
    assert found["leak"] == found["stray"] == 0 and found["strongest"] == 1


def test_the_smallest_crossing_counts_on_a_curve_that_comes_back():
    curves = np.array([[0, 0.75, 0.25, 0.75], [0, 0.5, 1.0, 1.0], [0, 0.1, 0.2, 0.3]])
    radius, reached = measures.crossing(curves, RADII)
    assert radius.tolist() == pytest.approx([2 / 3, 1, 3])
    assert reached.tolist() == [True, True, False]


def test_curves_are_linear_between_unequal_radii():
    radii = np.array([0.0, 1.0, 4.0])
    curves = np.array([[[0.0], [2.0], [5.0]]] * 4)
    assert measures.at_radius(curves, radii, np.array([0.0, 0.5, 2.0, 4.0]))[:, 0].tolist() == [0, 1, 3, 5]


def test_the_number_that_moves_most_is_found_with_its_sign():
    assert measures.most_moved(moved([0.1, -0.9, 1.0], [0.2, -0.9, -1.0])) == (1, -1)


def test_weights_are_equal_first_and_resamples_then():
    weights = measures.resamples(5, count=200)
    assert weights.shape == (201, 5) and (weights[0] == 0.2).all()
    assert weights.sum(axis=1) == pytest.approx(np.ones(201))
    assert np.allclose(weights * 5, np.rint(weights * 5))
    assert (weights == measures.resamples(5, count=200)).all()
    assert (weights != measures.resamples(5, count=200, seed=1)).any()


def test_an_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    weights = measures.resamples(40, count=400)
    covered = 0
    for _ in range(300):
        figure, low, high = measures.interval(weights @ rng.normal(2.0, 1.0, size=40))
        assert low < figure < high
        covered += low <= 2.0 <= high
    assert 0.9 < covered / 300 < 0.98


def test_intervals_of_infinite_and_undefined_values():
    assert measures.interval(np.array([1.0, 1.0, np.inf])) == (1, 1, np.inf)
    assert measures.interval(np.array([2.0, np.nan, 3.0])) == (2, 3, 3)
    figure, low, high = measures.interval(np.array([1.0, np.nan]))
    assert figure == 1 and np.isnan(low) and np.isnan(high)


def test_resampled_figures_are_those_of_the_resampled_codes():
    rng = np.random.default_rng(0)
    path = moved(*rng.normal([0.9, 0.1, 0.0], 0.2, size=(6, 3)))
    weights = measures.resamples(6, count=20)
    found = measures.path_figures(path, RADII, 0, 1, weights)
    for row, shares in enumerate(weights):
        drawn = path[np.repeat(np.arange(6), np.rint(shares * 6).astype(int))]
        alone = measures.path_figures(drawn, RADII, 0, 1, np.full((1, 6), 1 / 6))
        for name in found:
            assert found[name][row] == pytest.approx(alone[name][0])


def test_spearman_follows_ranks_and_shares_those_of_equals():
    numbers = np.array([[1, 10, 100, 1000], [4, 3, 2, 1], [5, 5, 5, 5], [1, 2, 2, 3]])
    expected = [1, -1, 0, 4.5 / np.sqrt(4.5 * 5)]  # ranks 0, 1.5, 1.5, 3
    assert measures.spearman(numbers).tolist() == pytest.approx(expected)


def test_bend_of_a_line_a_corner_a_loop_and_a_point():
    paths = np.array([[[0, 0], [1, 0], [3, 0]], [[0, 0], [3, 0], [3, 4]], [[0, 0], [1, 1], [0, 0]], [[2, 2]] * 3])
    assert measures.bend(paths).tolist() == pytest.approx([1, 5 / 7, 0, 1])


def test_corr_conforms_to_the_published_ranking(data):
    with np.load(data / "warpedganspace" / "ranking.npz") as expected:
        walks = expected["attribute_walks"].transpose(0, 2, 3, 1)
        steps = walks.shape[2]
        positions = np.repeat(np.arange(steps)[:, None], walks.shape[3], axis=1)
        identity = expected["attribute_names"].tolist().index("identity")
        positions[:, identity] = abs(positions[:, identity] - steps // 2)
        table = measures.corr(measures.covariation(walks, expected["attribute_ranges"], positions))
        np.testing.assert_allclose(table, expected["corr"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(measures.corr_l1(table), expected["corr_l1"], rtol=0, atol=1e-12)
        assert (np.argsort(-table, axis=0).T == expected["ranking_corr"]).all()


def test_corr_of_a_linear_rise_is_its_own_deviation():
    walks = np.linspace(0.25, 0.75, 5)[None, None, :, None]  # mapped from [0, 1] to [-0.5, 0.5]
    found = measures.covariation(walks, [(0, 1)])
    assert found.item() == pytest.approx(np.linspace(-0.5, 0.5, 5).std(ddof=1))
    both = np.concatenate([found, -found])
    assert measures.corr(both).item() == pytest.approx(0)
    assert measures.corr_l1(np.array([[0.1, 0.3], [0, 0]])).tolist() == [pytest.approx([0.25, 0.75]), [0, 0]]


def draw(rng, *shape, mean=0.0):
    return rng.normal(mean, 1.0, size=(*shape, 6)) * np.arange(1, 7) + 3


def test_kid_is_zero_on_average_for_one_distribution_and_grows_with_the_distance():
    rng = np.random.default_rng(0)
    same, near, far = (np.mean([measures.kid(draw(rng, 20, 2, mean=mean), draw(rng, 200), np.full((1, 20), 0.05))
                                for _ in range(40)]) for mean in (0.0, 0.5, 1.0))
    assert abs(same) < 0.03
    assert 0.3 < near < far / 2


def test_kid_is_the_unbiased_estimate_over_frames_of_different_codes():
    rng = np.random.default_rng(1)
    frames, samples = draw(rng, 3, 2), draw(rng, 13)
    used = samples[:12]  # two blocks of as many as there are frames

    def kernel(x, y):
        x, y = ((z - used.mean(axis=0)) / np.sqrt(used.var(axis=0).mean()) for z in (x, y))
        return (x @ y / 6 + 1) ** 3

    among = np.mean([kernel(frames[a, i], frames[b, j])
                     for a in range(3) for b in range(3) if a != b for i in range(2) for j in range(2)])
    blocks = np.mean([kernel(used[6 * n + i], used[6 * n + j])
                      for n in range(2) for i in range(6) for j in range(6) if i != j])
    across = np.mean([kernel(x, y) for x in frames.reshape(6, 6) for y in used])
    assert measures.kid(frames, samples, np.full((1, 3), 1 / 3))[0] == pytest.approx(among + blocks - 2 * across)


def test_kid_in_a_resample_does_not_compare_a_code_with_itself():
    rng = np.random.default_rng(2)
    frames, samples = draw(rng, 3, 2), draw(rng, 60)
    found = measures.kid(frames, samples, np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert np.isnan(found[1])
    # Drawing both codes twice is as if there were these two alone (the blocks of samples are alike: all of them).
    once = measures.kid(frames[:2], samples[:4], np.array([[0.5, 0.5]]))
    twice = measures.kid(frames[[0, 0, 1]], samples[:4], np.array([[0.5, 0.0, 0.5]]))
    assert twice == pytest.approx(once)


def test_kid_does_not_depend_on_the_unit_of_the_features():
    rng = np.random.default_rng(4)
    frames, samples = draw(rng, 4, 2), draw(rng, 40)
    weights = np.full((1, 4), 0.25)
    expected = measures.kid(frames, samples, weights)
    assert measures.kid(7 * frames + 2, 7 * samples + 2, weights) == pytest.approx(expected)


def test_figures_are_numbers_that_json_takes():
    weights = measures.resamples(2, count=10)
    found = measures.path_figures(moved([0.9, 0.1], [0.8, 0.1]), RADII, 0, 1, weights)
    json.dumps({name: measures.interval(values) for name, values in found.items()}, allow_nan=False)
