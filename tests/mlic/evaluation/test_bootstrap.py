"""The bootstrap over images, against images that are repeated.

N images, C classes, R resamples.
"""

from time import perf_counter

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mlic.evaluation.bootstrap import (
    bootstrap_weights,
    mean_ap,
    means_by_class,
    paired_interval,
    weighted_ap,
)
from mlic.evaluation.embedding_measures import ap_of_query
from tests.helpers import memory_below


def random_scores(num_images=40, num_classes=6, seed=0):
    """Scores with many ties, classes from rare to common, one without positives."""
    rng = np.random.default_rng(seed)
    pred = rng.integers(0, 12, (num_images, num_classes)).astype(np.float32) / 12
    target = rng.random((num_images, num_classes)) < np.linspace(0, 0.6, num_classes)
    target[0, 1] = True
    return pred, target


@pytest.mark.parametrize('with_ignore', [False, True])
def test_map_of_weights_equals_map_of_repeated_images(with_ignore):
    pred, target = random_scores()
    ignore = None
    if with_ignore:
        ignore = (np.random.default_rng(1).random(target.shape) < 0.2) & ~target
    weights = bootstrap_weights(len(pred), 150, seed=3)
    assert weights.shape == (40, 150) and (weights.sum(axis=0) == 40).all()
    expected = []
    for r in range(150):
        drawn = np.repeat(np.arange(len(pred)), weights[:, r])
        aps = []
        for c in range(pred.shape[1]):
            rows = drawn if ignore is None else drawn[~ignore[drawn, c]]
            if target[rows, c].any():
                aps.append(average_precision_score(target[rows, c], pred[rows, c]))
        expected.append(np.mean(aps))
    # float64 sums of some ten terms
    np.testing.assert_allclose(mean_ap(pred, target, weights, ignore), expected, rtol=1e-12)


def test_ap_of_unit_weights_is_scikit_learns_and_of_no_positive_is_missing():
    pred, target = random_scores()
    weights = np.ones((len(pred), 1), dtype=np.int32)
    for c in np.flatnonzero(target.any(axis=0)):
        expected = average_precision_score(target[:, c], pred[:, c])
        np.testing.assert_allclose(weighted_ap(pred[:, c], target[:, c], weights), expected)
    assert np.isnan(weighted_ap(pred[:, 0], target[:, 0], weights)).all()
    weights[target[:, 1]] = 0
    assert np.isnan(weighted_ap(pred[:, 1], target[:, 1], weights)).all()


def test_paired_interval_is_that_of_the_mean_difference_over_seeds():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 1000))
    same = [noise[0], noise[1]]
    assert paired_interval(same, same) == (0.0, 0.0)
    # what both have in common cancels, whatever its size
    low, high = paired_interval([n * 100 + 1 for n in noise], [n * 100 for n in noise])
    np.testing.assert_allclose([low, high], 1.0, rtol=1e-9)
    differences = rng.normal(size=(2, 1000))
    interval = paired_interval(list(noise + differences), list(noise))
    np.testing.assert_allclose(interval, np.quantile(differences.mean(axis=0), [0.025, 0.975]))


def test_without_any_positive_there_is_no_map():
    pred, _ = random_scores()
    values = mean_ap(pred, np.zeros(pred.shape, bool), bootstrap_weights(len(pred), 5, seed=0))
    assert values.shape == (5,) and np.isnan(values).all()


def test_resamples_without_a_positive_are_left_out_of_an_interval(recwarn):
    pred, target = random_scores()
    target[:, 1:] = False
    target[:, 0] = np.arange(len(target)) == 3
    weights = bootstrap_weights(len(target), 50)
    values = mean_ap(pred, target, weights)
    drawn = weights[3] > 0
    assert 0 < drawn.sum() < 50 and np.array_equal(np.isfinite(values), drawn)
    expected = paired_interval([values[drawn]], [np.zeros(drawn.sum())])
    assert paired_interval([values], [np.zeros(50)]) == expected
    assert not recwarn.list


def test_bootstrap_is_faster_than_resampling():
    """A ratio within one process, so that a busy machine does not matter."""
    pred, target = random_scores(400, 30)
    weights = bootstrap_weights(len(pred), 200)
    started = perf_counter()
    mean_ap(pred, target, weights)
    vectorised = perf_counter() - started
    started = perf_counter()
    for r in range(4):
        drawn = np.repeat(np.arange(len(pred)), weights[:, r])
        for c in range(1, 30):
            average_precision_score(target[drawn, c], pred[drawn, c])
    naive = (perf_counter() - started) * 200 / 4
    assert vectorised < naive / 5  # measured: more than 20 times faster


def test_sums_are_kept_of_positives_alone():
    rng = np.random.default_rng(0)
    scores, positive = rng.random(4000), np.arange(4000) % 100 == 0
    weights = bootstrap_weights(4000, 100)
    # sums of all images would be twice as much as the sorted weights
    with memory_below(1.5 * weights.nbytes):
        weighted_ap(scores, positive, weights)


def test_means_by_class_weigh_each_pair_as_often_as_its_image_is_drawn():
    values, labels = np.array([0.0, 1.0, 0.5, 1.0]), np.array([2, 2, 5, 2])
    np.testing.assert_allclose(means_by_class(values, labels), [2 / 3, 0.5])
    weights = np.array([[1, 0], [2, 0], [0, 3], [1, 0]])
    expected = [[3 / 4, np.nan], [np.nan, 0.5]]
    np.testing.assert_allclose(means_by_class(values, labels, weights), expected)


def test_means_by_class_leave_out_what_is_nan_and_weigh_each_resample():
    rng = np.random.default_rng(0)
    values, labels = rng.random((30, 4)).astype(np.float32), rng.integers(3, 6, 30)
    values[rng.random(values.shape) < 0.2] = np.nan
    weights = rng.integers(0, 3, values.shape).astype(np.float32)
    weights[labels == 4, 1] = 0
    found = means_by_class(values, labels, weights)
    for row, label in zip(found, (3, 4, 5)):
        for r, mean in enumerate(row):
            chosen = (labels == label) & ~np.isnan(values[:, r])
            drawn = np.repeat(values[chosen, r].astype(np.float64), weights[chosen, r].astype(int))
            np.testing.assert_allclose(mean, drawn.mean() if len(drawn) else np.nan, rtol=1e-12)
    assert np.isnan(found[1, 1])


def test_both_average_precisions_are_the_same():
    """One is fast for few positives among all images, the other for many queries."""
    pred, target = random_scores()
    weights = bootstrap_weights(len(pred), 20)
    for c in range(pred.shape[1]):
        distance = -pred[:, c].astype(np.float64)
        distance[:5] = np.inf  # no candidates
        expected = weighted_ap(pred[5:, c], target[5:, c], weights[5:])
        found = ap_of_query(distance, target[:, c], weights.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
