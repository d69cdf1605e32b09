"""How well embeddings of (image, class) pairs tell the classes apart.

Shapes in this module: K pairs, M candidates, D embed dims, C classes among the pairs, R resamples.

A pair is compared with pairs of *other* images only. Each measure is a mean over the pairs of a
class. ``weights`` say how often a pair's image was drawn, which counts for the pair and for what
it is compared with; weights of one give the measure itself.
"""

import numpy as np

from .bootstrap import divide, means_by_class

DECIMALS = 6  # of a distance: vectors that are equal are equally far, whatever BLAS rounds
MEASURES = {
    'intra': 'mean cosine distance to the same class',
    'inter': 'mean cosine distance to other classes',
    'ratio': 'intra / inter',
    'silhouette': 'from -1 to 1',
    'k-NN': 'share of pairs whose class has most of the k nearest',
    'retrieval mAP': 'pairs of the class among those of all classes',
    'presence mAP': "images with the class among those without, by this class's embeddings",
}


def cosine_distances(embeds: np.ndarray) -> np.ndarray:
    """1 - cosine of all embeddings (K, D) to one another: (K, K), 1 to a zero vector."""
    norms = np.linalg.norm(embeds, axis=1, keepdims=True)
    unit = embeds / np.where(norms > 0, norms, 1)
    return np.round(1 - unit @ unit.T, DECIMALS)


def class_measures(
    embeds: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    neighbours: int = 5,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """All of ``MEASURES`` but the last, which needs pairs of absent labels.

    Args:
        embeds (np.ndarray): (K, D).
        images (np.ndarray): (K,), whose they are.
        labels (np.ndarray): (K,) classes; an image has a class once.
        weights (np.ndarray): (K, R), not negative; equal for pairs of one image.
        neighbours (int): Of the k-NN. Classes with equally many of them share the vote. Defaults
            to 5.
        seed (int): Of the order in which equally near ones come. Defaults to 0.

    Returns:
        dict[str, np.ndarray]: (C, R) of each, classes in ascending order; NaN where a class has
        no pair with another one to compare with. The silhouette is scikit-learn's, but for pairs
        of the same image, which it would compare.
    """
    weights = weights.astype(np.float32)
    codes = np.unique(labels, return_inverse=True)[1]
    distance = cosine_distances(embeds.astype(np.float32))
    other = images[:, None] != images
    values = _distance_measures(distance, other, codes, weights)
    far = np.where(other, distance, np.inf)
    rng, rows = np.random.default_rng(seed), range(len(codes))
    orders = (np.lexsort((rng.random(len(codes)), row))[: np.isfinite(row).sum()] for row in far)
    drawn = np.minimum(weights, 1)
    votes = [_vote(order, codes, i, drawn, neighbours) for i, order in enumerate(orders)]
    # as of the others that need a pair of the class: none is near if there is none
    values['k-NN'] = np.where(np.isnan(values['intra']), np.nan, votes)
    values['retrieval mAP'] = np.array(
        [ap_of_query(far[i], codes == codes[i], weights) for i in rows]
    )
    return {name: means_by_class(value, codes, weights) for name, value in values.items()}


def presence_ap(
    embeds: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    present: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Average precision of finding a class's other images by one image's embedding of the class.

    Chance is the share of present ones. What the class's embeddings share in all images, as those
    of a learned query do, is no help here: their mean is taken away first.

    Args:
        embeds (np.ndarray): (K, D).
        images (np.ndarray): (K,).
        labels (np.ndarray): (K,), of which each has a present pair.
        present (np.ndarray): (K,) bool, whether the image has the class. These are the queries;
            candidates are all pairs of the class.
        weights (np.ndarray): (K, R) as in :func:`class_measures`.

    Returns:
        np.ndarray: (C, R).
    """
    found = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        vectors = embeds[own].astype(np.float32)
        distance = cosine_distances(vectors - vectors.mean(axis=0))
        distance[images[own][:, None] == images[own]] = np.inf
        queries = np.flatnonzero(present[own])
        weight = weights[own].astype(np.float32)
        values = [ap_of_query(distance[i], present[own], weight) for i in queries]
        codes = np.zeros(len(queries), dtype=np.int64)
        found.append(means_by_class(np.array(values), codes, weight[queries])[0])
    return np.array(found)


def ap_of_query(distance: np.ndarray, relevant: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of one query, where equally near candidates stand above each other.

    Args:
        distance (np.ndarray): (M,), infinite for what is no candidate.
        relevant (np.ndarray): (M,) bool.
        weights (np.ndarray): (M, R).

    Returns:
        np.ndarray: (R,), NaN where nothing relevant has a weight.
    """
    wanted = np.flatnonzero(relevant & np.isfinite(distance))
    above = (distance <= distance[wanted, None]).astype(weights.dtype)  # (P, M)
    own = weights[wanted]
    precision = (above[:, wanted] @ own) / np.maximum(above @ weights, 1)
    return divide((own * precision).sum(axis=0), own.sum(axis=0))


def _distance_measures(
    distance: np.ndarray, other: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """The first four, (K, R) each."""
    intra, rest_total, rest_mass = np.zeros((3, *weights.shape), dtype=np.float32)
    nearest = np.full(weights.shape, np.inf, dtype=np.float32)
    for code in range(codes.max() + 1):
        columns = np.flatnonzero(codes == code)
        mass = other[:, columns].astype(np.float32) @ weights[columns]
        total = (distance * other)[:, columns] @ weights[columns]
        mean, own = divide(total, mass), codes == code
        intra[own] = mean[own]
        nearest[~own] = np.fmin(nearest[~own], mean[~own])
        rest_total[~own] += total[~own]
        rest_mass[~own] += mass[~own]
    inter = divide(rest_total, rest_mass)
    nearest[np.isinf(nearest)] = np.nan
    silhouette = divide(nearest - intra, np.maximum(nearest, intra))
    return dict(intra=intra, inter=inter, ratio=divide(intra, inter), silhouette=silhouette)


def _vote(
    order: np.ndarray, codes: np.ndarray, query: int, weights: np.ndarray, neighbours: int
) -> np.ndarray:
    """Whether the k nearest of a query vote for its class, (R,); its part where several win.

    ``order`` has the candidates, (M,), nearest first. What was drawn twice is one neighbour: two
    votes of one pair would make the interval too wide.
    """
    reach = 4 * neighbours
    while reach < len(order) and weights[order[:reach]].sum(axis=0).min() < neighbours:
        reach *= 2
    near = order[:reach]
    weights = weights[near]
    before = np.cumsum(weights, axis=0) - weights
    votes = np.clip(neighbours - before, 0, weights)  # (M, R)
    classes = np.unique(codes[near])
    counts = (codes[near] == classes[:, None]).astype(np.float32) @ votes
    most = counts.max(axis=0, initial=0)
    wins = (counts == most).sum(axis=0)
    own = counts[classes == codes[query]].sum(axis=0)
    return np.where(most > 0, (own == most) / np.maximum(wins, 1), np.nan)
