"""Measures of label embeddings: against loops, scikit-learn, and clusters whose answer is known."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score, silhouette_samples

from mlic.evaluation.embedding_measures import (
    MEASURES,
    class_measures,
    cosine_distances,
    presence_ap,
)

NEIGHBOURS = 3


def random_pairs(seed, num_images=9, num_classes=4):
    """Vectors near their class's, of images with several classes, in no order."""
    rng = np.random.default_rng(seed)
    images, labels = np.nonzero(rng.random((num_images, num_classes)) < 0.6)
    order = rng.permutation(len(labels))
    images, labels = images[order], labels[order]
    embeds = rng.standard_normal((num_classes, 6))[labels] + rng.standard_normal((len(labels), 6))
    return embeds, images, labels


def cosine(a, b):
    return 1 - a @ b / np.sqrt((a @ a) * (b @ b))


def mean_over(values):
    values = [value for value in values if not np.isnan(value)]
    return np.mean(values) if values else np.nan


def loop_measures(embeds, images, labels, weights):
    """Each class's measures where every pair is there as often as its weight, by plain loops."""
    copies = [i for i, weight in enumerate(weights) for _ in range(weight)]
    found = {}
    for c in np.unique(labels):
        values = {name: [] for name in MEASURES if name != 'presence mAP'}
        for i in copies:
            if labels[i] != c:
                continue
            others = [j for j in copies if images[j] != images[i]]
            far = {j: cosine(embeds[i], embeds[j]) for j in others}
            mean = {d: mean_over([far[j] for j in others if labels[j] == d]) for d in set(labels)}
            intra, inter = mean[c], mean_over([far[j] for j in others if labels[j] != c])
            nearest = min([m for d, m in mean.items() if d != c and m == m], default=np.nan)
            near = [labels[j] for j in sorted(set(others), key=far.get)[:NEIGHBOURS]]
            most = [d for d in set(near) if near.count(d) == max(map(near.count, near))]
            hits = [labels[j] == c for j in others]
            values['intra'].append(intra)
            values['inter'].append(inter)
            values['ratio'].append(intra / inter)
            values['silhouette'].append((nearest - intra) / max(nearest, intra))
            values['k-NN'].append((c in most) / len(most) if any(hits) else np.nan)
            ap = average_precision_score(hits, [-far[j] for j in others]) if any(hits) else np.nan
            values['retrieval mAP'].append(ap)
        found[c] = {name: mean_over(value) for name, value in values.items()}
    return found


@pytest.mark.parametrize('seed', range(4))
def test_measures_equal_loops_over_copies(seed):
    embeds, images, labels = random_pairs(seed)
    draws = np.random.default_rng(seed).integers(0, 4, (images.max() + 1, 5))
    draws[:, 0] = 1
    draws[2:, 1], draws[:2, 1] = 0, 1  # most neighbours were not drawn
    weights = draws[images]
    got = class_measures(embeds, images, labels, weights, NEIGHBOURS)
    for r in range(weights.shape[1]):
        loops = loop_measures(embeds, images, labels, weights[:, r])
        for name, values in got.items():
            expected = [loops[c][name] for c in np.unique(labels)]
            assert_allclose(values[:, r], expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize('seed', range(3))
def test_presence_equals_loops_over_copies(seed):
    embeds, images, labels = random_pairs(seed, num_images=12)
    present = np.random.default_rng(seed).random(len(labels)) < 0.5
    present[[np.flatnonzero(labels == c)[0] for c in set(labels)]] = True
    weights = np.random.default_rng(seed).integers(0, 3, (images.max() + 1, 4))[images]
    got = presence_ap(embeds, images, labels, present, weights)
    for c in np.unique(labels):
        centred = embeds - embeds[labels == c].mean(axis=0)
        for r in range(4):
            copies = [i for i in np.flatnonzero(labels == c) for _ in range(weights[i, r])]
            values = []
            for i in copies:
                others = [j for j in copies if images[j] != images[i]]
                if present[i] and any(present[others]):
                    scores = [-cosine(centred[i], centred[j]) for j in others]
                    values.append(average_precision_score(present[others], scores))
            assert_allclose(got[c, r], mean_over(values), rtol=1e-4)


def test_presence_is_blind_to_what_a_class_shares():
    embeds, images, labels = random_pairs(1, num_images=12)
    present, ones = np.arange(len(labels)) % 2 == 0, np.ones((len(labels), 1))
    expected = presence_ap(embeds, images, labels, present, ones)
    shared = 3 * np.random.default_rng(1).standard_normal((4, 6))[labels]
    assert_allclose(
        presence_ap(embeds + shared, images, labels, present, ones), expected, rtol=1e-4
    )
    told = presence_ap(shared + present[:, None], images, labels, present, ones)
    assert_allclose(told, np.ones_like(told))


def test_silhouette_is_scikit_learns_where_an_image_has_one_label():
    embeds, _, labels = random_pairs(0, num_images=30)
    images, ones = np.arange(len(labels)), np.ones((len(labels), 1))
    expected = silhouette_samples(embeds, labels, metric='cosine')
    got = class_measures(embeds, images, labels, ones)['silhouette'][:, 0]
    assert_allclose(got, [expected[labels == c].mean() for c in np.unique(labels)], rtol=1e-4)


def clusters(angle, num_images=6):
    """Two classes in each image: all their vectors equal, and so far from the other class's."""
    labels = np.tile([0, 1], num_images)
    direction = np.array([[1, 0], [np.cos(angle), np.sin(angle)]])
    return direction[labels], np.repeat(np.arange(num_images), 2), labels


@pytest.mark.parametrize('angle', [np.pi / 3, np.pi / 2, np.pi])
def test_clusters_that_are_points(angle):
    embeds, images, labels = clusters(angle)
    got = class_measures(embeds, images, labels, np.ones((12, 1)), NEIGHBOURS)
    expected = dict(intra=0, inter=1 - np.cos(angle), ratio=0, silhouette=1)
    for name, value in {**expected, 'k-NN': 1, 'retrieval mAP': 1}.items():
        assert_allclose(got[name], [[value]] * 2, atol=1e-6, err_msg=name)


def test_vectors_that_all_are_equal_tell_nothing():
    """Whatever the order of the pairs: for each, equally near ones come in an order of its own."""
    _, images, labels = clusters(0, num_images=200)
    order = np.argsort(labels, kind='stable')
    equal, ones = np.ones((400, 3)), np.ones((400, 1))
    got = class_measures(equal, images[order], labels[order], ones, neighbours=1)
    assert_allclose(got['retrieval mAP'], [[0.5]] * 2)
    assert_allclose(got['silhouette'].mean(), np.nan)  # 0 / 0
    assert got['k-NN'].min() > 0.3 and got['k-NN'].max() < 0.7
    share = presence_ap(equal[:10], images[:10], 0 * labels[:10], labels[:10] == 0, ones[:10])
    assert_allclose(share, [[4 / 8]])  # of the other images' 8 pairs


def test_pairs_of_the_same_image_are_never_compared():
    """An image's two labels share a vector that no other image has anything like."""
    labels = np.tile([0, 1], 8)
    images = np.repeat(np.arange(8), 2)
    embeds = np.eye(8)[images]
    got = class_measures(embeds, images, labels, np.ones((16, 1)), NEIGHBOURS)
    assert_allclose(got['intra'], [[1]] * 2)
    assert_allclose(got['inter'], [[1]] * 2)
    assert_allclose(got['silhouette'], [[0]] * 2)


def test_length_of_vectors_and_order_of_pairs_do_not_matter():
    embeds, images, labels = random_pairs(5)
    weights = np.random.default_rng(5).integers(0, 3, (images.max() + 1, 3))[images]
    expected = class_measures(embeds, images, labels, weights, NEIGHBOURS)
    order = np.random.default_rng(6).permutation(len(labels))
    longer = embeds * np.random.default_rng(7).uniform(0.1, 10, (len(labels), 1))
    got = class_measures(longer[order], images[order], labels[order], weights[order], NEIGHBOURS)
    for name in expected:
        assert_allclose(got[name], expected[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_a_class_that_was_not_drawn_has_no_value_and_no_warning():
    embeds, images, labels = clusters(1.0)
    labels[-1] = 2  # a class with one pair
    weights = np.ones((12, 2), dtype=np.int64)
    weights[labels == 1, 1] = 0
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        got = class_measures(embeds, images, labels, weights, NEIGHBOURS)
    for name in ('intra', 'ratio', 'silhouette', 'k-NN', 'retrieval mAP'):
        assert np.isnan(got[name][2]).all(), name
    assert np.isfinite(got['inter'][2]).all()
    assert np.isnan(got['k-NN'][1, 1]) and got['k-NN'][1, 0] == 1


def test_a_zero_vector_is_far_from_all():
    assert cosine_distances(np.array([[0.0, 0], [2, 0], [3, 0]])).tolist() == [
        [1, 1, 1],
        [1, 0, 0],
        [1, 0, 0],
    ]
