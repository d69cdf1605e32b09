"""Label embeddings as a map in two dimensions: do the images of a class lie together?

Shapes in this module: K label embeddings, C classes, D embed dims, G groups of classes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

SHAPES = ('o', '^')
MAX_GROUPS = len(page.COLOURS)
OTHER = 'other classes'
STAR = 9  # pixels, of a star
# of a name next to its place: points to the right and up, and which of its sides is there
SIDES = (
    (6, 3, 'left', 'bottom'), (6, -3, 'left', 'top'), (-6, 3, 'right', 'bottom'),
    (-6, -3, 'right', 'top'), (0, 7, 'center', 'bottom'), (0, -7, 'center', 'top'),
)  # fmt: skip
SIDE, MARGIN, LEGEND, TITLE = 8.0, 0.15, 2.4, 0.4  # inches
NAME_SIZE, NAME_WIDTH = 8, 1.6  # points; inches at the size of other text


def frequent_groups(labels: np.ndarray, class_names: Sequence[str], number: int = 12) -> list[str]:
    """A group for each class: itself if it is one of the most frequent, else 'other classes'."""
    counts = np.bincount(labels, minlength=len(class_names))
    frequent = set(np.argsort(-counts, kind='stable')[:number].tolist())
    return [name if c in frequent else OTHER for c, name in enumerate(class_names)]


def choose_points(labels: np.ndarray, max_points: int, seed: int = 0) -> np.ndarray:
    """Sorted indices of at most this many points, drawn at random but evenly over the classes.

    A class with few points keeps all of them.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.zeros(len(labels), dtype=np.int64)  # how many points its class has before it
    for label in np.unique(labels):
        own = order[labels[order] == label]
        turn[own] = np.arange(len(own))
    return np.sort(order[np.argsort(turn[order], kind='stable')][:max_points])


def project_to_map(
    embeds: np.ndarray, method: str = 'tsne', perplexity: float = 30.0, seed: int = 0
) -> np.ndarray:
    """Places on a map, by the cosine distances of the embeddings.

    Args:
        embeds (np.ndarray): (K, D), K at least 4.
        method (str): 'tsne' (scikit-learn's), or 'umap', which needs the extra umap.
            Defaults to 'tsne'.
        perplexity (float): Of t-SNE, and UMAP's number of neighbours; a third of K at most.
            Defaults to 30.
        seed (int): Defaults to 0.

    Returns:
        np.ndarray: (K, 2).

    Raises:
        ValueError: If there are too few embeddings, or UMAP is not installed.
    """
    if len(embeds) < 4:
        raise ValueError(f'a map needs at least 4 embeddings, got {len(embeds)}')
    norms = np.linalg.norm(embeds, axis=1, keepdims=True)
    unit = embeds / np.where(norms > 0, norms, 1)
    perplexity = min(perplexity, (len(embeds) - 1) / 3)
    if method == 'umap':
        try:
            from umap import UMAP
        except ImportError as error:
            raise ValueError("UMAP is not installed: pip install -e '.[umap]'") from error
        neighbours = max(2, round(perplexity))
        return UMAP(n_neighbors=neighbours, metric='cosine', random_state=seed).fit_transform(unit)
    from sklearn.manifold import TSNE

    # of unit vectors the Euclidean distance orders as the cosine's does
    return TSNE(perplexity=perplexity, init='pca', random_state=seed).fit_transform(unit)


def draw_embeddings(
    points: np.ndarray,
    labels: np.ndarray,
    prototypes: np.ndarray,
    class_names: Sequence[str],
    groups: Sequence[str],
    *,
    title: str = 'label embeddings',
) -> 'Figure':
    """Draw the map: dots are true labels of images, stars are the prototypes of classes.

    A class is named next to its star (the median of its dots where there is none), the frequent
    ones first, on that side of it where the name covers no star and no other name. The title says
    how many have no such side.

    Args:
        points (np.ndarray): (K, 2).
        labels (np.ndarray): (K,) classes.
        prototypes (np.ndarray): (C, 2), NaN for a class without one.
        class_names (Sequence[str]): C names.
        groups (Sequence[str]): C names of groups; each of at most 16 has a colour of its own, and
            'other classes' are grey.
        title (str): Defaults to 'label embeddings'.

    Returns:
        Figure: As wide as its legend needs, about 1070 px at most at 100 dpi.

    Raises:
        ValueError: If there are more groups than can be told apart.
    """
    group_of = np.asarray(groups, dtype=object)
    present, counts = np.unique(group_of[labels], return_counts=True)
    kinds = [kind for kind in present[np.argsort(-counts, kind='stable')] if kind != OTHER]
    if len(kinds) > MAX_GROUPS:
        raise ValueError(f'at most {MAX_GROUPS} groups can be told apart, got {len(kinds)}')
    width, height = SIDE + LEGEND + 2 * MARGIN, SIDE + MARGIN + TITLE
    figure = page.new_page(width, height)
    axes = page.add_axes(figure, MARGIN, MARGIN, SIDE, SIDE)
    for number, kind in enumerate([*kinds, OTHER] if OTHER in present else kinds):
        is_other = kind == OTHER
        colour = page.OTHER_COLOUR if is_other else page.COLOURS[number]
        shape = SHAPES[0 if is_other else number // page.HALF]
        label = page.legend_label(kind, LEGEND - 0.6)
        style = dict(color=colour, marker=shape, linewidths=0, zorder=1 if is_other else 2)
        axes.scatter(*points[group_of[labels] == kind].T, s=16, alpha=0.75, label=label, **style)
        star = dict(s=40 if is_other else 100, edgecolors='black', linewidths=0.7, marker='*')
        stars = prototypes[group_of == kind]
        axes.scatter(*stars.T, color=colour, zorder=3 if is_other else 4, **star)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    axes.spines[:].set_color('#d1d9e0')
    if np.isfinite(prototypes).any():
        star = dict(s=90, color='white', marker='*', edgecolors='black', linewidths=0.7)
        axes.scatter([], [], label='prototype', **star)
    axes.legend(**page.LEGEND, bbox_to_anchor=(1.01, 1), fontsize=page.FONT_SIZE, markerscale=1.4)
    page.trim_right(figure, axes)
    named, counts = np.unique(labels, return_counts=True)
    named = named[np.argsort(-counts, kind='stable')].tolist()
    centres = [np.median(points[labels == c], axis=0) for c in named]
    stars = prototypes[named]
    places = np.where(np.isfinite(stars).all(axis=1, keepdims=True), stars, centres)
    left_out = _write_names(axes, [class_names[c] for c in named], places, stars)
    if left_out:
        title += f'; without room for a name: {left_out} of {len(named)} classes'
    axes.set_title(title, **page.TEXT)
    return figure


def _write_names(axes: 'Axes', names: Sequence[str], places: np.ndarray, stars: np.ndarray) -> int:
    """Write each name next to its place (2,), as far as there is room; how many are left out."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.2, foreground='white')]
    style = dict(fontsize=NAME_SIZE, color='black', zorder=5, parse_math=False, path_effects=halo)
    inside = axes.get_window_extent()
    taken = [_box(star) for star in axes.transData.transform(stars[np.isfinite(stars).all(1)])]
    left_out = 0
    for name, place in zip(names, places):
        name = page.fit_text(name, NAME_WIDTH)
        for x, y, side, edge in SIDES:
            align = dict(ha=side, va=edge, textcoords='offset points')
            text = axes.annotate(name, place, (x, y), **align, **style)
            box = text.get_window_extent()
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1
            fits = fits and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
        else:
            left_out += 1
    return left_out


def _box(star: np.ndarray) -> 'Bbox':
    """What a star at a pixel (2,) covers."""
    from matplotlib.transforms import Bbox

    return Bbox([star - STAR / 2, star + STAR / 2])
