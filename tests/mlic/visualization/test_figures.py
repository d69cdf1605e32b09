"""Figures: the numbers behind them against loops, the pictures for few and many classes."""

import csv
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.metrics import average_precision_score

from mlic.cli import plot
from mlic.cli.plot import read_log, write_table
from mlic.comparison import tables
from mlic.comparison.tables import Summary
from mlic.datasets.coco import read_superclasses
from mlic.evaluation.matrices import Block
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.predictions import save_predictions
from mlic.evaluation.protocols import PROTOCOLS
from mlic.visualization.comparison import choose_bars, draw_comparison
from mlic.visualization.cooccurrence import (
    conditional_shares,
    cooccurrence_order,
    draw_cooccurrence,
)
from mlic.visualization.curves import MAX_CURVES, at_threshold, draw_pr_curves, pr_curve, thin
from mlic.visualization.embedding import (
    MAX_GROUPS,
    OTHER,
    choose_points,
    draw_embeddings,
    frequent_groups,
    project_to_map,
)
from mlic.visualization.fonts import readable
from mlic.visualization.gains import Gain, draw_gains
from mlic.visualization.page import (
    BETTER_COLOUR,
    BLANK_COLOUR,
    COLOURS,
    OTHER_COLOUR,
    WORSE_COLOUR,
    fit_text,
    new_page,
    one_line,
    picture_of,
    text_width,
)
from mlic.visualization.prototypes import cosine_matrix, draw_prototypes
from mlic.visualization.sweep import Result, draw_sweep, split_name
from mlic.visualization.training import arrange_log, draw_training
from tests.helpers import ROOT, memory_below, run_tool
from tests.tiny_runs import sarl_model, write_run

TOOLS = ROOT / 'tools' / 'analysis_tools'


def random_predictions(num_images, num_classes, seed=0, decimals=2):
    """Scores with ties, labels of which every class has one, and nothing ignored."""
    rng = np.random.default_rng(seed)
    target = rng.random((num_images, num_classes)) < 0.15
    target[np.arange(num_classes) % num_images, np.arange(num_classes)] = True
    pred = np.clip(0.4 * target + 0.6 * rng.random(target.shape), 0, 1).round(decimals)
    return pred.astype(np.float32), target


def names_of(number):
    return [f'class {c}' for c in range(number)]


def no_overlap(boxes):
    return not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def oklab(colour):
    """Ottosson's perceptual space of a colour, https://bottosson.github.io/posts/oklab."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    axes = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(axes) @ np.cbrt(np.array(cones) @ linear)


def test_no_two_colours_of_classes_look_alike():
    """Nor does one look like the other classes' grey, the micro average's black, or the paper."""
    colours = [*COLOURS, OTHER_COLOUR, 'black', 'white']
    distances = [np.linalg.norm(oklab(a) - oklab(b)) for a, b in itertools.combinations(colours, 2)]
    assert len(COLOURS) == 16 and min(distances) > 0.12  # a just noticeable one is 0.02


@pytest.mark.parametrize('scale', ['viridis', 'RdBu_r', 'PuOr_r'])
def test_a_cell_without_a_value_looks_like_none_with_one(scale):
    values = [oklab(colour) for colour in colormaps[scale](np.linspace(0, 1, 256))[:, :3]]
    assert min(np.linalg.norm(oklab(BLANK_COLOUR) - value) for value in values) > 0.04


@pytest.mark.parametrize('name', ['كلب', 'שלום עולם'])
def test_what_follows_a_name_that_is_written_from_the_right_stays_behind_it(name):
    shown = fit_text(name, 9, ' (32)')
    assert shown == f'\u200e{name}\u200e (32)' and fit_text(name, 9) == name
    assert fit_text('cat', 9, ' (32)') == 'cat (32)'

    def columns(text):
        figure = new_page(3, 1)
        figure.text(0.1, 0.5, text)
        return (np.asarray(picture_of(figure).convert('L')) < 255).any(axis=0)

    alone, whole = columns(name), columns(shown)
    ends = int(alone.nonzero()[0].max()) - 2
    assert_array_equal(alone[:ends], whole[:ends])


@pytest.mark.parametrize(
    'name, shown',
    [
        ('traffic\nlight', 'traffic light'),
        ('\ttraffic \r\n light\x1f', 'traffic light'),
        ('traf\x00fic\x07 \x1b light\x7f', 'traffic light'),
        ('\u202etraffic\u202c \u2067light\u2069', 'traffic light'),
        ('na\u0308ive \u200d', 'na\u0308ive \u200d'),
    ],
)
def test_a_name_is_one_line_without_characters_that_move_what_follows(name, shown, recwarn):
    assert one_line(name) == fit_text(name, 9) == shown
    assert fit_text(name, 9, ' 0.64') == f'{shown} 0.64'
    pred, target = random_predictions(20, 2)
    names = [name, 'cat']
    share = conditional_shares(target)
    assert_array_equal(
        picture_of(draw_cooccurrence(share, share, names, [0, 1])),
        picture_of(draw_cooccurrence(share, share, [shown, 'cat'], [0, 1])),
    )
    assert not [str(one.message) for one in recwarn if 'Glyph' in str(one.message)]


def legend_names(figure):
    """What the legend shows."""
    texts = figure.axes[0].get_legend().get_texts()
    return [text.get_text().strip('\u200e').replace(r'\$', '$') for text in texts]


def test_a_legend_has_every_name_whatever_it_starts_with():
    names = ['_background_', 'cat', '_', '$x^2$', '', 'a $ sign']
    pred, target = random_predictions(20, 6)
    curves = [pr_curve(name, pred[:, c], target[:, c]) for c, name in enumerate(names)]
    lines = legend_names(draw_pr_curves(curves))
    assert [line.split('  AP')[0] for line in lines] == names
    labels, blank = np.repeat(np.arange(6), 3), np.full((6, 2), np.nan)
    points = np.random.default_rng(0).normal(size=(18, 2))
    assert legend_names(draw_embeddings(points, labels, blank, names, names)) == sorted(names)
    results = [Result(name, [1.0]) for name in names]
    found = legend_names(draw_sweep([*results, Result('_at1', [1.0]), Result('$at2', [1.0])], 'at'))
    assert found == [*names, '_at', '$at']
    panels = {'images': [Gain(name, 1.0, [0.5], (-1, 1), 50.0) for name in names]}
    assert legend_names(draw_gains(panels)) == names
    figure = draw_pr_curves(curves)
    figure.canvas.draw()  # nothing is set as mathematics, and the mark takes no room
    boxes = [text.get_window_extent() for text in figure.axes[0].get_legend().get_texts()]
    assert boxes[0].width == pytest.approx(100 * text_width(lines[0]), abs=2)
    assert boxes[3].width == pytest.approx(100 * text_width(lines[3]), abs=2)


# ---------------------------------------------------------------- precision and recall


@pytest.mark.parametrize('seed', range(4))
def test_curve_equals_a_loop_over_thresholds(seed):
    pred, target = random_predictions(40, 1, seed, decimals=1)
    scores, positive = pred[:, 0], target[:, 0]
    curve = pr_curve('a', scores, positive)
    assert (curve.recall[0], curve.precision[0], curve.threshold[0]) == (0, 1, np.inf)
    expected = sorted(set(scores.tolist()), reverse=True)
    assert curve.threshold[1:].tolist() == expected
    for k, threshold in enumerate(expected, 1):
        called = [p for s, p in zip(scores, positive) if s >= threshold]
        assert curve.precision[k] == pytest.approx(sum(called) / len(called))
        assert curve.recall[k] == pytest.approx(sum(called) / positive.sum())
    assert curve.ap == pytest.approx(average_precision_score(positive, scores))
    assert curve.support == positive.sum()


def test_dot_of_a_curve_is_what_the_metric_says():
    pred, target = random_predictions(60, 3)
    for threshold in (0.0, 0.25, 0.5, 0.51, 0.9):
        per_class = MLICMetric.calculate_per_class(pred, target, threshold=threshold)
        for c in range(3):
            dot = at_threshold(pr_curve('a', pred[:, c], target[:, c]), threshold)
            if per_class['predicted'][c] == 0:
                assert dot is None
            else:
                expected = per_class['recall'][c], per_class['precision'][c]
                assert_allclose(np.multiply(dot, 100), expected)


def test_dots_and_lines_of_equal_f1_are_drawn_where_they_belong():
    pred, target = random_predictions(60, 3)
    curves = [pr_curve(f'class {c}', pred[:, c], target[:, c]) for c in range(3)]
    for threshold, own in ((0.5, [0.5] * 3), ([0.3, None, 2.0], [0.3])):  # nothing scores 2
        axes = draw_pr_curves(curves, threshold).axes[0]
        dots = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == 'o']
        assert_allclose(dots, [at_threshold(*pair) for pair in zip(curves, own)])
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 200]
    equal_f1 = [
        2 * recall * precision / (recall + precision)
        for recall, precision in map(np.transpose, lines)
    ]
    assert_allclose(equal_f1, np.repeat([[0.2], [0.4], [0.6], [0.8]], 200, axis=1))
    named = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert named == pytest.approx(
        {f'F1 {f1[-1]:g}': line[-1, 1] for f1, line in zip(equal_f1, lines)}
    )


def test_thinned_curve_is_part_of_the_curve_and_keeps_its_vertical_lines():
    pred, target = random_predictions(500, 1)
    curve = pr_curve('a', pred[:, 0], target[:, 0])
    thinned = thin(curve, 10)
    assert len(set(thinned.recall.tolist())) == 10 and len(thinned.recall) <= 20
    assert thinned.recall[0] == 0 and thinned.recall[-1] == 1
    assert thinned.precision[-1] == curve.precision[-1]
    points = set(zip(curve.recall, curve.precision, curve.threshold))
    assert set(zip(thinned.recall, thinned.precision, thinned.threshold)) <= points


@pytest.mark.parametrize('decimals', [1, 3])
@pytest.mark.parametrize('share', [0, 0.3])
def test_curve_of_the_ends_of_vertical_lines_is_thinned_to_the_same_one(decimals, share):
    pred, target = random_predictions(80, 5, decimals=decimals)
    ignore = (np.random.default_rng(1).random(target.shape) < share) & ~target
    whole = pr_curve('all', pred, target, ignore)
    thresholds = [0.0, 0.25, 0.5, 0.51, 0.9, 1.5]
    for curve in (pr_curve('all', pred, target, ignore, at) for at in ((), thresholds)):
        assert len(curve.recall) <= 2 * target.sum() + 2 + len(thresholds)
        assert curve.ap == pytest.approx(whole.ap, rel=1e-12) and curve.support == whole.support
        for points in (2, 7, 60, 1000):
            for found, expected in zip(thin(curve, points)[1:4], thin(whole, points)[1:4]):
                assert_array_equal(found, expected)
    for threshold in thresholds:
        assert at_threshold(curve, threshold) == at_threshold(whole, threshold)


def test_curve_of_all_entries_takes_little_more_than_a_copy_of_the_scores():
    rng = np.random.default_rng(0)
    scores, positive = rng.random((400, 500), dtype=np.float32), rng.random((400, 500)) < 0.01
    pr_curve('all', scores[:9], positive[:9], thresholds=())
    with memory_below(1.8 * scores.nbytes):
        pr_curve('all', scores, positive, thresholds=[0.5])


@pytest.mark.parametrize('odd', [np.nan, np.inf, -np.inf])
def test_no_curve_of_scores_that_are_not_finite(odd):
    with pytest.raises(ValueError, match='a: scores must be finite'):
        pr_curve('a', np.array([0.2, odd, 0.4]), np.array([True, False, False]))


def test_no_curve_without_positives():
    assert pr_curve('a', np.ones(3), np.zeros(3, dtype=bool)) is None


@pytest.mark.parametrize('number', [1, 5, MAX_CURVES + 1])
def test_drawn_curves_differ_and_the_legend_is_inside_the_page(number):
    pred, target = random_predictions(50, number)
    names = ['micro average', *(f'${c}$ a long name of a class{c}' for c in range(number))]
    curves = [pr_curve(names[c], pred[:, c], target[:, c]) for c in range(number)]
    figure = draw_pr_curves(curves)
    axes = figure.axes[0]
    lines = axes.get_legend().get_lines()
    styles = {(line.get_color(), line.get_linestyle(), str(line._dash_pattern)) for line in lines}
    assert len(lines) == len(styles) == number
    assert len({line.get_color() for line in lines}) == number
    figure.canvas.draw()
    box = axes.get_legend().get_window_extent()
    assert box.y0 >= 0
    assert box.x1 == pytest.approx(figure.bbox.x1 - 15, abs=2)  # no blank margin next to it
    assert axes.get_window_extent().width == pytest.approx(520, abs=1)
    with pytest.raises(ValueError, match=f'got {MAX_CURVES + 2}'):
        draw_pr_curves([curves[0]] * (MAX_CURVES + 2))


# ---------------------------------------------------------------- two runs


def test_bars_are_sorted_and_the_middle_is_left_out():
    difference = np.array([1.0, np.nan, -3, 5, 0, 2])
    order, shown = choose_bars(difference)
    assert order.tolist() == shown.tolist() == [3, 5, 0, 4, 2]
    order, shown = choose_bars(difference, max_bars=2)
    assert order.tolist() == [3, 5, 0, 4, 2] and shown.tolist() == [3, 2]


@pytest.mark.parametrize('number', [1, 5, 41, 260])
def test_comparison_names_its_bars(number):
    rng = np.random.default_rng(0)
    first, second = 100 * rng.random((2, number))
    figure = draw_comparison(first, second, np.arange(number), names_of(number), ('a', 'b'))
    axes = figure.axes[0]
    _, shown = choose_bars(second - first)
    assert [t.get_text() for t in axes.get_yticklabels()] == [f'class {c} ({c})' for c in shown]
    assert_allclose([bar.get_width() for bar in axes.patches], (second - first)[shown])
    assert len(figure.axes) == (2 if number > 40 else 1)
    figure.canvas.draw()
    assert no_overlap([tick.get_window_extent() for tick in axes.get_yticklabels()])
    boxes = [part.get_window_extent() for part in (*axes.texts, *axes.patches)]
    assert no_overlap(boxes)


@pytest.mark.parametrize('number', [2, 50])
def test_what_stands_above_short_names_is_on_the_page(number):
    first, second = np.full(number, 40.0), np.arange(number, dtype=float)
    figure = draw_comparison(first, second, np.ones(number, int), ['a'] * number)
    figure.canvas.draw()
    box = figure.axes[0].texts[0].get_window_extent()
    assert figure.axes[0].texts[0].get_text() == 'class (positives)' and box.x0 >= 0
    assert all(axes.get_tightbbox().x0 >= 0 for axes in figure.axes)


@pytest.mark.parametrize('number', [5, 60])
def test_comparison_says_who_is_compared_and_what_is_left_out(number):
    first, second = np.full(number, 40.0), np.full(number, 40.0)
    second[0], second[1:3] = 50, 30
    runs = 'a_run_with_a_long_name_' * 9, '日本' * 90
    figure = draw_comparison(first, second, np.arange(number), names_of(number), runs)
    figure.canvas.draw()
    lines = [text.get_text() for text in figure.texts]
    other = readable('日本')  # by the fonts of this machine
    assert lines[0].startswith('mAP 40.0  a_run') and lines[1].startswith(
        f'mAP 39.8  {other}' * (number > 5)
    )
    assert lines[2:] == ['1 class better  ', '2 worse']
    assert [text.get_color() for text in figure.texts[2:]] == [BETTER_COLOUR, WORSE_COLOUR]
    boxes = [text.get_window_extent() for text in figure.texts]
    assert no_overlap(boxes) and max(box.x1 for box in boxes) <= figure.bbox.x1
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert ('20 classes between' in texts) == (number == 60)


def test_comparisons_of_several_runs_have_one_order_of_classes(monkeypatch, tmp_path):
    first = Summary('a', [0], {}, np.array([50.0, 50, np.nan, 50]), 1, [], [9, 9, 0, 9])
    others = [
        replace(first, name='b', against='a', class_ap=np.array([55.0, 40, np.nan, 50])),
        replace(first, name='c', against='a', class_ap=np.array([50.0, 52, np.nan, 70])),
    ]
    figures = []
    monkeypatch.setattr(
        tables, 'picture_of', lambda figure: figures.append(figure) or picture_of(figure)
    )
    tables.draw_class_differences([first, *others], names_of(4), tmp_path / 'all.png')
    rows = [[t.get_text() for t in figure.axes[0].get_yticklabels()] for figure in figures]
    assert rows == [['class 3 (9)', 'class 0 (9)', 'class 1 (9)']] * 2  # by the mean gain
    assert [bar.get_width() for bar in figures[0].axes[0].patches] == [0, 5, -10]
    figures.clear()
    tables.draw_class_differences([first, others[0]], names_of(4), tmp_path / 'one.png')
    assert [bar.get_width() for bar in figures[0].axes[0].patches] == [5, 0, -10]


def test_comparison_refuses_other_sizes():
    with pytest.raises(ValueError, match='got 2, 2, 2 and 3'):
        draw_comparison(np.ones(2), np.ones(2), np.ones(2), names_of(3))
    nothing = np.full(2, np.nan)
    with pytest.raises(ValueError, match='no class has positives'):
        draw_comparison(nothing, nothing, np.zeros(2), names_of(2))


# ---------------------------------------------------------------- labels together


def test_shares_equal_a_loop():
    present = np.random.default_rng(1).random((30, 5)) < 0.3
    present[:, 4] = False
    shares = conditional_shares(present)
    for i, j in itertools.product(range(5), range(5)):
        images = [row for row in present.tolist() if row[i]]
        if images:
            assert shares[i, j] == pytest.approx(sum(row[j] for row in images) / len(images))
        else:
            assert np.isnan(shares[i, j])


def test_order_takes_the_most_frequent_classes():
    target = np.zeros((20, 6), dtype=bool)
    for c in range(6):
        target[: 3 * c, c] = True
    assert sorted(cooccurrence_order(target, 3)) == [3, 4, 5]
    assert sorted(cooccurrence_order(target, 9)) == list(range(6))


@pytest.mark.parametrize('number', [2, 5, 260])
def test_cooccurrence_has_three_panels_with_names_that_do_not_touch(number):
    pred, target = random_predictions(60, number)
    order = cooccurrence_order(target, number)
    truth, predicted = conditional_shares(target), conditional_shares(pred >= 0.5)
    figure = draw_cooccurrence(truth, predicted, names_of(number), order)
    panels = [axes for axes in figure.axes if axes.images and axes.get_title()]
    titles = ['labels', 'predictions', 'predictions − labels']
    assert [axes.get_title() for axes in panels] == titles
    drawn = panels[2].images[0].get_array()
    expected = (predicted - truth)[np.ix_(order, order)]
    off = ~np.eye(number, dtype=bool) & ~np.isnan(expected)
    assert_allclose(np.asarray(drawn)[off], expected[off])
    limit = max(0.05, np.abs(expected[off]).max())
    scales = [
        axes.images[0].get_clim() for axes in panels
    ]  # shares have one, the difference its own
    assert_allclose(scales, [(0, 1), (0, 1), (-limit, limit)])
    figure.canvas.draw()
    assert no_overlap([tick.get_window_extent() for tick in panels[0].get_yticklabels()])


def test_only_classes_that_are_drawn_are_counted(tmp_path, monkeypatch):
    pred, target = random_predictions(60, 40)
    unknown = (np.random.default_rng(1).random(target.shape) < 0.2) & ~target
    save_predictions(tmp_path / 'p.npz', Block(pred, target, None, unknown), names_of(40))
    thresholds = np.linspace(0.2, 0.6, 40)
    (tmp_path / 't.json').write_text(json.dumps(dict(zip(names_of(40), thresholds.tolist()))))
    counted = []

    def spy(present, ignore):
        counted.append(present.shape)
        return conditional_shares(present, ignore)

    monkeypatch.setattr(plot, 'conditional_shares', spy)
    options = ['--threshold', tmp_path / 't.json', '--max-classes', 6, '--out', tmp_path / 'c.png']
    plot.main(['cooccurrence', *map(str, [tmp_path / 'p.npz', *options])])
    assert counted == [(60, 6)] * 2
    # what is drawn is as if all had been counted
    decision = pred >= thresholds.astype(np.float32)
    truth, predicted = (conditional_shares(present, unknown) for present in (target, decision))
    with (tmp_path / 'c.csv').open() as file:
        _, *rows = csv.reader(file)
    drawn = cooccurrence_order(target, 6)
    pairs = {(f'class {i}', f'class {j}') for i, j in itertools.permutations(drawn, 2)}
    assert len(rows) == 30 and {(row[0], row[1]) for row in rows} == pairs
    for first, second, *values in rows:
        place = int(first.split()[1]), int(second.split()[1])
        assert values[:2] == [f'{shares[place]:.6g}' for shares in (truth, predicted)]


@pytest.mark.parametrize(
    ('target', 'what'), [(np.ones((3, 1)), 'one class'), (np.zeros((3, 4)), 'no image has a label')]
)
def test_labels_that_cannot_come_together_are_not_drawn(target, what):
    shares = conditional_shares(target > 0)
    number = len(shares)
    with pytest.raises(ValueError, match=f'{what}.*nothing comes together'):
        draw_cooccurrence(shares, np.ones_like(shares), names_of(number), range(number))


@pytest.mark.parametrize('has_empty', [False, True])
def test_grey_cells_are_explained(has_empty):
    target = np.eye(4, dtype=bool)[np.arange(8) % 4]
    target[:, 3] &= not has_empty
    shares = conditional_shares(target)
    figure = draw_cooccurrence(shares, shares, names_of(4), range(4))
    caption = figure.texts[0].get_text()
    assert caption.endswith('; grey: a class with itself' + ', or no image to count' * has_empty)

    vectors = torch.eye(4)
    vectors[3] *= not has_empty
    figure = draw_prototypes(cosine_matrix(vectors), names_of(4))
    assert figure.axes[0].get_xlabel() == 'grey: zero, no cosine' * has_empty
    figure = draw_prototypes(cosine_matrix(vectors.repeat(20, 1)), names_of(80))
    expected = 'one class in 2 is named' + '; grey: zero, no cosine' * has_empty
    assert figure.axes[0].get_xlabel() == expected


# ---------------------------------------------------------------- a training


def write_log(folder, first_epoch=1, last_epoch=4, switch=3, per_epoch=70, loss='loss_sscl'):
    """A log with two rows an epoch, at the iterations 25 and 50 of it, and a validation each."""
    file = folder / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    lines = []
    for epoch in range(first_epoch, last_epoch + 1):
        for place in (25, 50):
            contrastive = 2.0 if epoch >= switch else 0.0
            row = {'lr': 0.1 / epoch, 'loss': 3.0, 'loss_cls': 1.0 / epoch, loss: contrastive}
            lines.append(dict(row, epoch=epoch, iter=(epoch - 1) * per_epoch + place, step=1))
        lines.append({'multi-label/mAP': 10.0 * epoch, 'time': 1.0, 'step': epoch})
    file.write_text('\n'.join(map(json.dumps, lines)) + '\n')
    return file


@pytest.mark.parametrize('loss', ['loss_sscl', 'loss_of_a_user'])
def test_log_is_placed_by_epochs_and_the_switch_is_found(tmp_path, loss):
    log = read_log(write_log(tmp_path, loss=loss))
    assert log.unit == 'epoch'
    assert_allclose([row['x'] for row in log.train[:3]], [25 / 70, 50 / 70, 1 + 25 / 70])
    assert [row['x'] for row in log.val] == [1, 2, 3, 4]
    assert log.switch == 2


def test_an_unfinished_epoch_is_as_long_as_the_others():
    rows = [dict(epoch=e, iter=(e - 1) * 70 + i, loss=1.0) for e, i in ((1, 25), (1, 50), (2, 25))]
    assert_allclose([row['x'] for row in arrange_log(rows, []).train], [25 / 70, 50 / 70, 95 / 70])


@pytest.mark.parametrize(('last', 'scale'), [(0.4, 'log'), (0.6, 'linear'), (0.0, 'linear')])
def test_losses_far_apart_are_on_a_logarithmic_axis(last, scale):
    rows = [dict(iter=i, loss=loss, lr=0.1) for i, loss in enumerate([10.0, 2.0, last], 1)]
    axes = draw_training(arrange_log(rows, [])).axes[0]
    assert axes.get_yscale() == scale
    assert axes.get_xlim() == (0, pytest.approx(3.03))


def test_resumed_run_replaces_what_came_after_its_start(tmp_path):
    write_log(tmp_path / '20250101_000000', last_epoch=3)
    write_log(tmp_path / '20250102_000000', first_epoch=3, last_epoch=4, switch=9)
    log = read_log(tmp_path)
    assert [row['iter'] for row in log.train] == [e * 70 + i for e in range(4) for i in (25, 50)]
    assert [row['step'] for row in log.val] == [1, 2, 3, 4]
    assert log.switch is None  # the resumed run has no contrastive losses


def test_a_new_run_in_the_folder_of_another_has_none_of_its_validations(tmp_path):
    write_log(tmp_path / '20250101_000000', last_epoch=4)
    file = write_log(tmp_path / '20250102_000000', last_epoch=1)
    lines = file.read_text().splitlines()
    file.write_text('\n'.join(lines[:-1]))  # not validated yet
    log = read_log(tmp_path)
    assert [row['iter'] for row in log.train] == [25, 50] and log.val == []
    # a run without epochs is validated at iterations: the earlier validation stays
    for day, iterations in (('20250101', (10, 20)), ('20250102', (15,))):
        rows = [dict(loss=1.0, iter=i, step=i) for i in iterations]
        rows += [{'multi-label/mAP': 50.0, 'step': i} for i in (12, 20) if day == '20250101']
        path = tmp_path / f'{day}_000000' / 'vis_data' / 'scalars.json'
        path.write_text('\n'.join(map(json.dumps, rows)))
    log = read_log(tmp_path)
    assert [row['iter'] for row in log.train] == [10, 15]
    assert [row['step'] for row in log.val] == [12]


def test_a_table_keeps_the_name_of_a_class_that_reads_as_a_number(tmp_path):
    write_table(tmp_path / 'table.csv', ('class', 'AP'), [('nan', 3), ('cat', np.nan)])
    assert (tmp_path / 'table.csv').read_text() == 'class,AP\nnan,3\ncat,\n'


def test_log_without_epochs_counts_iterations(tmp_path):
    file = tmp_path / 'scalars.json'
    rows = [dict(lr=0.1, loss=1.0, iter=i, step=i) for i in (10, 20)]
    rows.append({'multi-label/mAP': 50.0, 'step': 20})
    file.write_text('\n'.join(map(json.dumps, rows)))
    log = read_log(file)
    assert log.unit == 'iteration' and [row['x'] for row in log.train] == [10, 20]
    titles = ['losses', 'validation: multi-label, in percent', 'learning rate']
    assert [axes.get_title(loc='left') for axes in draw_training(log).axes] == titles


@pytest.mark.parametrize(
    'iterations, validated, unit, expected',
    [
        ([10], [], 'iteration', [10]),
        ([46], [], 'iteration', [46]),  # of a run that was resumed
        ([10, 20], [], 'iteration', [10, 20]),
        ([10, 20], [1], 'epoch', [0.5, 1]),  # a validation has a place in epochs alone
        ([20, 46], [], 'epoch', [20 / 26, 46 / 26]),
        ([46, 72], [2], 'epoch', [46 / 26, 72 / 26]),
    ],
)
def test_rows_of_one_epoch_do_not_say_how_long_it_is(iterations, validated, unit, expected):
    """The last row of the first epoch of 26 iterations was drawn at its end."""
    train = [dict(iter=i, epoch=(i - 1) // 26 + 1, loss=1.0) for i in iterations]
    log = arrange_log(train, [{'multi-label/mAP': 1.0, 'step': step} for step in validated])
    assert log.unit == unit and [row['x'] for row in log.val] == validated
    assert_allclose([row['x'] for row in log.train], expected)


def test_a_loss_that_begins_within_the_only_epoch_is_marked_in_iterations():
    train = [dict(iter=i, epoch=1, loss=1.0, loss_sscl=float(i > 20)) for i in (10, 20, 30)]
    assert arrange_log(train, []).switch == 20


def test_drawn_training_marks_the_stage_and_leaves_out_losses_that_are_off(tmp_path):
    figure = draw_training(read_log(write_log(tmp_path)))
    losses, validation, rate = figure.axes
    lines = {line.get_label(): line.get_xdata() for line in losses.get_lines()}
    assert len(lines['loss_cls']) == 8 and len(lines['loss_sscl']) == 4
    assert [text.get_text().strip() for text in losses.texts] == ['stage 2']
    assert validation.get_lines()[0].get_ydata().tolist() == [10, 20, 30, 40]
    assert rate.get_xlabel() == 'epoch'


def test_a_value_that_a_hook_has_called_part_is_in_the_table_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = dict(loss=1.0, part='left', iter=1)
    (tmp_path / 'scalars.json').write_text(json.dumps(row) + '\n')
    run_tool(TOOLS / 'plot.py', 'training', 'scalars.json')
    assert (tmp_path / 'training.csv').read_text().splitlines()[:2] == [
        'part,loss,part,iter,x',
        'train,1,left,1,1',
    ]


def test_the_unfinished_last_line_of_a_killed_run_is_left_out_and_named(tmp_path, capsys):
    file = write_log(tmp_path)
    whole = file.read_text()
    expected = read_log(file)
    file.write_text(whole + '{"lr": 0.1, "lo')
    assert read_log(file) == expected
    assert 'scalars.json, line 13 is left out: a run that was killed' in capsys.readouterr().out
    file.write_text(whole.replace('\n', '', 1))  # two rows in one line, in the middle
    with pytest.raises(ValueError, match='scalars.json, line 1: not JSON'):
        read_log(file)


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"iter": 1, "lo', r'line 1: not JSON \('),
        ('', 'no training iteration'),
        ('3', 'line 1: not a JSON object'),
        ('[' * 100_000, 'line 1: JSON that is nested too deep'),
        ('{"iter": 1, "loss": 1, "epoch": 0}', 'epochs and iterations do not fit together'),
    ],
)
def test_damaged_log_is_named(tmp_path, text, message):
    file = tmp_path / 'scalars.json'
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_log(file)
    with pytest.raises(FileNotFoundError, match='not a work directory'):
        read_log(tmp_path)


def test_the_base_rate_is_drawn_and_the_backbone_s_beside_it():
    def curves(**rates):
        log = arrange_log([dict(loss=1.0, iter=1, **rates), dict(loss=1.0, iter=2, **rates)], [])
        lines = draw_training(log).axes[-1].get_lines()
        return {line.get_label(): line.get_ydata().tolist() for line in lines}

    assert curves(lr=0.1) == {'all parameters': [0.1, 0.1]}
    both = {'base rate': [0.1, 0.1], 'backbone’s rate': [0.02, 0.02]}
    assert curves(lr=0.02, base_lr=0.1) == both
    assert curves(lr=0.1, base_lr=0.1) == {'base rate': [0.1, 0.1]}


@pytest.mark.parametrize('scores, best', [([10, 30, 20], 2), ([30, 30, 10], 1), ([5], 1)])
def test_the_best_validation_is_ringed_and_named(scores, best):
    train = [dict(loss=1.0, epoch=e, iter=10 * e) for e in range(1, len(scores) + 1)]
    keys = 'multi-label/mAP', 'multi-label/CF1'
    val = [{keys[0]: score, keys[1]: 100 - score, 'step': k} for k, score in enumerate(scores, 1)]
    axes = draw_training(arrange_log(train, val)).axes[1]
    ring = axes.get_lines()[-1]
    assert (ring.get_xdata(), ring.get_ydata()) == ([best], [max(scores)])
    assert ring.get_markerfacecolor() == 'none'  # the curve's own dot stays in sight
    assert not ring.get_clip_on()  # nor is the ring cut at the last epoch
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ['mAP', 'CF1', f'best mAP: {max(scores):.1f}, epoch {best}']


@pytest.mark.parametrize('number', [2, 16, 19])
def test_every_loss_is_drawn_or_counted_and_legends_stay_beside_their_panels(number):
    names = [f'loss_{"long_" * (c % 9)}{c}' for c in range(number)]
    train = [dict(dict.fromkeys(names, 1.0 + e), loss=9.0, iter=e, lr=0.1) for e in (1, 2)]
    val = [{'multi-label/mAP': 50.0, 'step': 40_000}]
    figure = draw_training(arrange_log(train, val))
    losses = figure.axes[0]
    assert losses.get_title('left') == ('losses, 16 of 19' if number == 19 else 'losses')
    colours = {line.get_color() for line in losses.get_lines()}
    assert len(colours) == len(losses.get_lines()) == min(number, 16)
    figure.canvas.draw()
    boxes = [axes.get_legend().get_window_extent() for axes in figure.axes]
    assert no_overlap(boxes) and min(box.y0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= figure.bbox.x1


# ---------------------------------------------------------------- a map of embeddings


def test_points_are_drawn_evenly_and_rare_classes_keep_theirs():
    labels = np.repeat([0, 1, 2], [100, 20, 3])
    kept = choose_points(labels, 43)
    assert np.bincount(labels[kept]).tolist() == [20, 20, 3]
    assert_array_equal(kept, np.unique(kept))
    assert_array_equal(choose_points(labels, 500), np.arange(123))


def test_groups_are_the_frequent_classes():
    labels = np.array([2, 2, 2, 0, 0, 1])
    assert frequent_groups(labels, ['a', 'b', 'c', 'd'], 2) == ['a', OTHER, 'c', OTHER]


def test_superclasses_come_from_the_annotation_file(tmp_path):
    file = tmp_path / 'instances.json'
    categories = [dict(id=7, name='cat', supercategory='animal')]
    file.write_text(json.dumps(dict(categories=categories)))
    assert read_superclasses(file, ['cat']) == ['animal']
    with pytest.raises(ValueError, match="no category 'dog'"):
        read_superclasses(file, ['cat', 'dog'])
    file.write_text('[]')
    with pytest.raises(ValueError, match='no categories'):
        read_superclasses(file, ['cat'])


def test_map_keeps_groups_apart_whatever_their_length():
    """Three directions with noise: the nearest neighbour on the map has the same one."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    embeds = 5 * np.eye(3, 8)[labels] + 0.3 * rng.standard_normal((60, 8))
    embeds *= rng.uniform(0.1, 10, (60, 1))
    places = project_to_map(embeds)
    distance = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(60)
    assert_array_equal(labels[distance.argmin(axis=1)], labels)
    assert_array_equal(project_to_map(embeds), places)  # the seed
    with pytest.raises(ValueError, match='at least 4'):
        project_to_map(embeds[:3])


def test_missing_umap_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'umap', None)
    with pytest.raises(ValueError, match=r'\[umap\]'):
        project_to_map(np.eye(5), 'umap')


@pytest.mark.parametrize('number', [2, 16, 260])
def test_map_names_classes_without_overlap(number):
    rng = np.random.default_rng(0)
    labels = rng.integers(number, size=400)
    prototypes = rng.standard_normal((number, 2))
    prototypes[0] = np.nan
    groups = frequent_groups(labels, names_of(number))
    points = rng.standard_normal((400, 2))
    figure = draw_embeddings(points, labels, prototypes, names_of(number), groups)
    axes = figure.axes[0]
    figure.canvas.draw()
    places = dict(zip(names_of(number), prototypes))
    places['class 0'] = np.median(points[labels == 0], axis=0)  # it has no star
    for text in axes.texts:
        assert_allclose(text.xy, places[text.get_text()])
    right = axes.get_legend().get_window_extent().x1
    assert right == pytest.approx(figure.bbox.x1 - 15, abs=2)  # no blank margin next to it
    assert axes.get_window_extent().width == pytest.approx(800, abs=1)
    assert no_overlap([text.get_window_extent() for text in axes.texts])
    assert len(axes.texts) == 2 if number == 2 else len(axes.texts) >= 5
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(legend) == min(number, 12) + (number > 12) + 1 and legend[-1] == 'prototype'


def test_each_group_of_a_map_has_a_colour_of_its_own():
    names = names_of(16)
    labels, blank = np.arange(16), np.full((16, 2), np.nan)
    axes = draw_embeddings(np.eye(16, 2), labels, blank, names, names).axes[0]
    dots = [drawn for drawn in axes.collections if drawn.get_sizes() == 16]
    colours = [tuple(drawn.get_facecolor()[0]) for drawn in dots]
    assert len(set(colours)) == len(colours) == 16


def test_names_on_a_map_cover_no_star_and_those_without_room_are_counted():
    names = [
        'cat',
        'a name so long that it would reach over half of the map ' * 3,
        'dog',
        *'bcdefghijklm',
    ]
    stars = np.array([[0, 0], [0.3, 0.05], [0.6, 0.1], *[[5, 5]] * 12], dtype=float)
    points, labels = np.concatenate([stars, [[-9, -9]]]), np.array([*range(15), 0])
    axes = draw_embeddings(points, labels, stars, names, names, title='a map').axes[0]
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    shown = [text.get_text() for text in axes.texts]
    assert {'cat', 'dog'} <= set(shown) and any('…' in name for name in shown)
    assert no_overlap(boxes)
    for x, y in axes.transData.transform(stars):
        assert not any(box.x0 < x < box.x1 and box.y0 < y < box.y1 for box in boxes)
    left_out = 15 - len(shown)
    assert axes.get_title() == f'a map; without room for a name: {left_out} of 15 classes'
    assert left_out > 0


def test_more_groups_than_styles_are_refused():
    number = MAX_GROUPS + 1
    labels, blank = np.arange(number), np.full((number, 2), np.nan)
    with pytest.raises(ValueError, match=f'got {number}'):
        draw_embeddings(np.zeros((number, 2)), labels, blank, names_of(number), names_of(number))


# ---------------------------------------------------------------- the tools


@pytest.fixture
def predictions(tmp_path):
    """Two prediction files of the same images, with an ignored entry."""
    for seed, name in enumerate(('first', 'second')):
        pred, target = random_predictions(40, 7)
        pred = np.clip(pred + 0.2 * np.random.default_rng(seed).random(pred.shape), 0, 1)
        ignore = np.zeros_like(target)
        ignore[1, 0] = not target[1, 0]
        arrays = dict(pred=pred, target=target.astype(np.uint8), ignore=ignore)
        np.savez(tmp_path / f'{name}.npz', **arrays, classes=np.array(names_of(7)))
    return tmp_path


def read_table(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_tool_draws_curves(predictions, capsys):
    out = predictions / 'new' / 'pr.svg'
    arguments = ('pr', predictions / 'first.npz', '--classes', 'class 3', 'class 0')
    run_tool(TOOLS / 'plot.py', *arguments, '--out', out)
    assert capsys.readouterr().out.splitlines()[-1] == f'picture: {out}'
    assert '<svg' in out.read_text()
    names = [row['curve'] for row in read_table(out.with_suffix('.csv'))]
    assert list(dict.fromkeys(names)) == ['micro average', 'class 3', 'class 0']


def test_tool_compares_two_runs(predictions, capsys):
    out = predictions / 'compare.png'
    files = predictions / 'first.npz', predictions / 'second.npz'
    with mock.patch.object(plot, 'draw_comparison', wraps=draw_comparison) as drawn:
        run_tool(TOOLS / 'plot.py', 'compare', *files, '--out', out)
    table = read_table(out.with_suffix('.csv'))
    for row in table:
        c = int(row['class'].split()[1])
        for file in files:
            saved = np.load(file)
            keep = ~saved['ignore'][:, c]
            ap = average_precision_score(saved['target'][keep, c], saved['pred'][keep, c])
            assert float(row[f'AP of {file.stem}']) == pytest.approx(100 * ap, rel=1e-5)
            shown = drawn.call_args.args[files.index(file)][c]
            assert shown == pytest.approx(100 * ap)
    differences = [float(row['difference']) for row in table]
    assert differences == sorted(differences, reverse=True)
    assert 'mAP: first ' in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.format == 'PNG'


def test_runs_of_different_classes_are_compared_in_those_of_both(predictions, capsys):
    first, second, out = (predictions / x for x in ('first.npz', 'second.npz', 'compare.png'))
    run_tool(TOOLS / 'plot.py', 'compare', first, second, '--out', out)
    expected = {row['class']: row for row in read_table(out.with_suffix('.csv'))}
    columns = [5, 1, 2, 0, 3, 4]  # in another order, and without the last
    saved = dict(np.load(second))
    kept = {name: saved[name][..., columns] for name in ('pred', 'target', 'ignore', 'classes')}
    np.savez(second, **dict(saved, **kept))
    capsys.readouterr()
    run_tool(TOOLS / 'plot.py', 'compare', first, second, '--out', out)
    rows = {row['class']: row for row in read_table(out.with_suffix('.csv'))}
    assert rows == {name: row for name, row in expected.items() if name != 'class 6'}
    assert capsys.readouterr().out.startswith('6 classes of both; left out: class 6\n')
    saved = dict(np.load(first))
    np.savez(first, **dict(saved, ignore=np.indices(saved['pred'].shape)[1] == 6))
    np.savez(second, **{name: x for name, x in np.load(second).items() if name != 'ignore'})
    run_tool(TOOLS / 'plot.py', 'compare', first, second, '--out', out)  # unknown in the last alone


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_compared_runs_have_the_mean_that_eval_metric_prints(predictions, capsys, protocol):
    """Where a class without a positive counts as 0, it did in the second run alone."""
    file, out = predictions / 'first.npz', predictions / 'same.png'
    saved = dict(np.load(file))
    saved['target'][:, 4:6] = 0
    np.savez(file, **saved)
    run_tool(TOOLS / 'plot.py', 'compare', file, file, '--protocol', protocol, '--out', out)
    line = capsys.readouterr().out.splitlines()[0]
    mean = MLICMetric.calculate(saved['pred'], saved['target'], protocol, ignore=saved['ignore'])
    mean = f'first {mean["mAP"]:.1f}'
    assert line == f'mAP: {mean} → {mean};  0 classes better, 0 worse ({protocol})'
    rows = read_table(out.with_suffix('.csv'))
    cells = {(row['positives'] == '0', row['difference']) for row in rows}
    assert cells == {(False, '0'), (True, '0' if PROTOCOLS[protocol].empty_ap_is_zero else '')}


@pytest.mark.parametrize(
    'folders, expected',
    [
        (('one', 'two'), ['one/test', 'two/test']),
        (('one/run', 'two/run'), ['one/run/test', 'two/run/test']),
        (('.', 'two'), [None, 'two/test']),
    ],
)
def test_tool_tells_files_of_one_name_apart(predictions, monkeypatch, capsys, folders, expected):
    monkeypatch.chdir(predictions)
    for folder, name in zip(folders, ('first', 'second')):
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(f'{name}.npz').rename(Path(folder) / 'test.npz')
    first, second = (Path(folder) / 'test.npz' for folder in folders)
    run_tool(TOOLS / 'plot.py', 'compare', first, second, '--out', 'compare.png')
    expected[0] = expected[0] or f'{predictions.name}/test'
    line = capsys.readouterr().out.splitlines()[0]
    assert all(f'{run} ' in line for run in expected)
    assert list(read_table(Path('compare.csv'))[0])[2:4] == [f'AP of {run}' for run in expected]


def test_tool_draws_cooccurrence_and_training(predictions):
    out = predictions / 'pairs.png'
    run_tool(TOOLS / 'plot.py', 'cooccurrence', predictions / 'first.npz', '--out', out)
    differences = [float(row['difference']) for row in read_table(out.with_suffix('.csv'))]
    assert out.exists() and len(differences) == 7 * 6
    assert differences == sorted(differences, reverse=True)
    write_log(predictions / 'run' / '20250101_000000')
    out = predictions / 'training.pdf'
    run_tool(TOOLS / 'plot.py', 'training', predictions / 'run', '--out', out)
    assert out.exists()
    assert [row['part'] for row in read_table(out.with_suffix('.csv'))].count('val') == 4


@pytest.mark.parametrize('command', ['pr', 'cooccurrence'])
def test_tool_draws_whole_numbers_as_the_scores_that_they_are(predictions, command):
    saved = dict(np.load(predictions / 'first.npz'))
    tables = []
    for dtype in ('float64', 'uint8'):
        path = predictions / f'{dtype}.npz'
        np.savez(path, **dict(saved, pred=saved['pred'].round().astype(dtype)))
        run_tool(TOOLS / 'plot.py', command, path, '--out', path.with_suffix('.png'))
        tables.append(read_table(path.with_suffix('.csv')))
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['pr', 'first.npz', '--classes', 'cat'], r"classes \['cat'\] are not among"),
        (['pr', 'less.npz', '--classes', 'class 0'], "'class 0' has no positives in less.npz: no"),
        (['pr', 'bare.npz'], 'bare.npz has no positive label: no curves'),
        (['compare', 'first.npz', 'other.npz'], 'have different images'),
        (['compare', 'first.npz', 'renamed.npz'], 'have different images or labels'),
        (['compare', 'first.npz', 'others.npz'], 'have no class in common'),
        (['training', '.'], 'no .*scalars.json'),
        (['pr', 'none.npz'], 'none.npz'),
    ],
)
def test_tool_ends_with_one_line(predictions, monkeypatch, arguments, message):
    monkeypatch.chdir(predictions)
    saved = dict(np.load('first.npz'))
    np.savez('other.npz', **dict(saved, target=saved['target'][::-1], ignore=saved['ignore'][::-1]))
    np.savez('renamed.npz', **dict(saved, classes=saved['classes'][::-1]))
    np.savez('others.npz', **dict(saved, classes=[f'other {c}' for c in range(7)]))
    for name, kept in (('less', np.arange(7) > 0), ('bare', np.zeros(7))):
        np.savez(f'{name}.npz', **dict(saved, target=(saved['target'] * kept).astype(np.uint8)))
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        run_tool(TOOLS / 'plot.py', *arguments)


@pytest.mark.parametrize('projected', [False, True])
def test_tool_maps_embeddings(tmp_path, projected):
    config = write_run(tmp_path, sarl_model(10, proj_channels=8, bank_slots=2))
    checkpoint = torch.load(tmp_path / 'best_mAP.pth')
    checkpoint['state_dict']['head.prototypes'][3] = 0
    torch.save(checkpoint, tmp_path / 'best_mAP.pth')
    out = tmp_path / 'map.png'
    options = ['--num', 6, '--out', out, *['--projected'] * projected]
    run_tool(TOOLS / 'plot_embeddings.py', config, tmp_path, *options)
    saved = np.load(out.with_suffix('.npz'))
    assert saved['points'].shape == (len(saved['label']), 2)
    assert set(saved['image'].tolist()) == {0, 100, 200, 299, 399, 499}
    assert np.isnan(saved['prototypes']).all(axis=1).nonzero()[0].tolist() == [3]
    assert out.exists()


def test_more_prototypes_than_labels_on_a_map_do_not_cover_it(tmp_path):
    """Of 9,605 classes there is a star for each, and 3000 dots below them."""
    config = write_run(tmp_path, sarl_model(10, proj_channels=8, bank_slots=2))
    out = tmp_path / 'map.png'
    options = ['--num', 6, '--max-points', 5, '--out', out]
    run_tool(TOOLS / 'plot_embeddings.py', config, tmp_path, *options)
    saved = np.load(out.with_suffix('.npz'))
    stars = np.isfinite(saved['prototypes']).all(axis=1).nonzero()[0]
    assert len(saved['label']) == 5 and set(stars) == set(saved['label'])


def test_map_of_coco_is_coloured_by_superclasses(tmp_path):
    (tmp_path / 'images').mkdir()
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (32, 32)).save(tmp_path / 'images' / name)
    kinds = [('person', 'person'), ('dog', 'animal'), ('zebra', 'animal')]
    content = dict(
        images=[dict(id=i, file_name=f'{"ab"[i]}.png', height=32, width=32) for i in (0, 1)],
        categories=[dict(id=i, name=n, supercategory=s) for i, (n, s) in enumerate(kinds, 1)],
        annotations=[
            dict(id=i, image_id=i % 2, category_id=1 + i % 3, iscrowd=0) for i in range(5)
        ],
    )
    (tmp_path / 'instances.json').write_text(json.dumps(content))
    model = sarl_model(3, proj_channels=8, bank_slots=2)
    model['data_preprocessor'] = dict(num_classes=3, to_onehot=True)
    dataset = dict(
        type='COCOMultiLabel',
        data_root=str(tmp_path),
        ann_file='instances.json',
        data_prefix=dict(img_path='images'),
        metainfo=dict(classes=[name for name, _ in kinds]),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    loader = dict(dataset=dataset)
    config = write_run(tmp_path, model, ['default_runtime'], test_dataloader=loader)
    out = tmp_path / 'map.png'
    run_tool(TOOLS / 'plot_embeddings.py', config, tmp_path, '--out', out)
    saved = np.load(out.with_suffix('.npz'))
    assert saved['groups'].tolist() == [superclass for _, superclass in kinds]
    assert len(saved['label']) == 5 and saved['label'].max() == 2


# ---------------------------------------------------------------- a number in configs' names


@pytest.mark.parametrize(
    'name, word, expected',
    [
        ('a_hidden10', 'hidden', ('a_hidden', 10.0)),
        ('a_hidden-b_hidden60-c', 'hidden', ('a_hidden-b_hidden-c', 60.0)),
        ('a_lr0.25.late', 'lr', ('a_lr.late', 0.25)),
        ('a+12', '+', ('a+', 12.0)),
        ('hidden', 'hidden', None),
        ('a_10hidden', 'hidden', None),
    ],
)
def test_the_number_after_a_word_is_taken_out_of_a_name(name, word, expected):
    assert split_name(name, word) == expected


def swept():
    return [
        Result('m_x', [50.0, 52.0]),
        Result('m_x_hidden60', [40.0, 44.0], -9.0, (-12.0, -7.0)),
        Result('m_x_hidden60-late', [30.0, 31.0], -20.5, (-21.0, -20.0)),
        Result('m_x_hidden10', [49.0, 50.0], -1.5, (-2.0, 0.5)),
    ]


def test_a_sweep_has_a_line_for_each_name_without_its_number():
    axes = draw_sweep(swept(), 'hidden').axes[0]
    lines = {line.get_label(): line for line in axes.lines if line.get_label()[0] != '_'}
    assert list(lines) == ['m_x', 'hidden', 'hidden-late']
    assert lines['m_x'].get_ydata() == [51, 51]
    assert_array_equal(lines['hidden'].get_ydata(), [49.5, 42.0])  # by number
    assert_array_equal(lines['hidden-late'].get_ydata(), [30.5])
    assert axes.get_xticks().tolist() == [10, 60]
    assert_allclose(lines['hidden'].get_xdata(), [10, 60], atol=1)
    shown = [line.get_ydata().tolist() for line in axes.lines if line.get_label()[0] == '_']
    assert shown == [[49.0, 50.0], [40.0, 44.0], [30.0, 31.0]]  # each seed


@pytest.mark.parametrize(
    'word, names, expected',
    [
        ('hid', ['sarl_hid10', 'sarl_hid30', 'sarl_hid10_prior'], ['hid', 'hid_prior']),
        ('hid_', ['sarl_hid_10', 'sarl_hid_10_prior'], ['hid_', 'hid__prior']),
        ('hid', ['sarl_hid10_a', 'sarl_hid10_b'], ['a', 'b']),
        ('hid', ['hid10', 'hid10_a'], ['hid', 'hid_a']),
        ('hid', ['sarl_hid10'], ['sarl_hid']),
    ],
)
def test_a_name_that_begins_the_others_keeps_its_last_part(word, names, expected):
    assert legend_names(draw_sweep([Result(name, [1.0]) for name in names], word)) == expected


def test_bars_of_a_sweep_are_the_interval_of_the_difference_around_the_mean():
    axes = draw_sweep(swept(), 'hidden').axes[0]
    bars = [bar.get_segments()[0][:, 1].tolist() for bar in axes.collections]
    assert bars == [[49.0, 51.5], [39.0, 44.0 - 0.0], [30.0, 31.0]]


def test_a_sweep_over_a_number_that_no_name_has_is_refused():
    with pytest.raises(ValueError, match="no config has 'share' and a number in its name: m_x"):
        draw_sweep(swept(), 'share')


def test_lines_of_a_sweep_differ_and_its_marks_are_explained():
    results = [Result(f'm{c}_at{number}', [float(c)]) for c in range(16) for number in (1, 2)]
    across = [Result(f'other{c}', [20.0 + c]) for c in range(5)]
    axes = draw_sweep(results + across, 'at').axes[0]
    named = [line for line in axes.lines if line.get_label()[0] != '_']
    assert len({line.get_color() for line in named[5:]}) == 16
    assert len({(str(line._dash_pattern), line.get_linewidth()) for line in named[:5]}) == 5
    assert axes.get_xlabel() == 'at'  # one seed is under its mean
    assert (
        draw_sweep(swept(), 'hidden')
        .axes[0]
        .get_xlabel()
        .endswith('small dots: seeds; bars: 95 % interval of the gain on the first config')
    )
    with pytest.raises(ValueError, match='at most 16 lines can be told apart, got 17'):
        draw_sweep([*results, Result('m16_at1', [1.0])], 'at')


def test_many_configs_and_long_names_of_a_sweep_stay_on_its_page():
    results = [
        Result(f'{"long_" * 30}{row}_at{number}', [float(row + number)])
        for row in range(9)
        for number in (1, 2)
    ]
    figure = draw_sweep(results, 'at')
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    legend = figure.axes[0].get_legend().get_window_extent(renderer)
    assert legend.x1 <= figure.bbox.x1 and legend.y0 >= figure.bbox.y0


def gained():
    return {
        'images': [
            Gain('m_a', 0.05, [1.0, 3.0], (0.5, 3.5), 30.0),
            Gain('m_b', 0.05, [-1.0], (-2.0, 1.0), 30.0),
            Gain('m_a', 1.0, [0.0, 1.0], (-0.5, 1.5), 60.0),
        ],
        'batch': [Gain('m_b', 16.0, [0.5], (0.0, 1.0), 58.0)],
    }


def test_gains_have_a_panel_for_each_thing_and_a_line_for_each_config():
    images, batch = draw_gains(gained()).axes
    lines = {line.get_label(): line for line in images.lines if line.get_label()[0] != '_'}
    assert list(lines) == ['a', 'b']
    assert_array_equal(lines['a'].get_ydata(), [2.0, 0.5])
    assert_array_equal(lines['b'].get_ydata(), [-1.0])
    assert_allclose(lines['a'].get_xdata(), [0, 1], atol=0.2)  # equal distances
    assert lines['a'].get_color() != lines['b'].get_color()
    assert [text.get_text() for text in images.get_xticklabels()] == ['0.05\n30.0', '1\n60.0']
    assert [axes.get_xlabel().split('\n')[0] for axes in (images, batch)] == ['images', 'batch']
    bars = [bar.get_segments()[0][:, 1].tolist() for bar in images.collections]
    assert bars == [[0.5, 3.5], [-0.5, 1.5], [-2.0, 1.0]]
    (bar,) = batch.collections
    assert bar.get_color().tolist() == images.collections[2].get_color().tolist()
    assert images.get_ylim() == batch.get_ylim()


def test_the_interval_of_every_panel_is_in_sight_and_one_config_is_named_above():
    panels = {
        word: [Gain('m_a', 1.0, [end / 2], (-end, end), 50.0)]
        for word, end in (('images', 1.0), ('batch', 7.0))
    }
    figure = draw_gains(panels)
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low < -7 and high > 7 and axes.get_legend() is None
    assert figure.axes[0].get_title(loc='left') == 'm_a'
    assert figure.axes[0].get_ylabel() == 'gain of mAP in points'


def test_the_name_of_a_shipped_config_fits_above_a_single_panel():
    names = [path.stem for path in (ROOT / 'configs').glob('*/*corel5k160*.py')]
    longest = max(names, key=len)
    figure = draw_gains({'images': [Gain(longest, 1.0, [0.5], (-1, 1), 50.0)]})
    title = figure.axes[0].get_title(loc='left')
    assert title == longest


def test_many_gains_stay_on_their_page_and_apart():
    panels = {f'{"long " * 20}{i}': gained()['images'] for i in range(4)}
    figure = draw_gains(panels)
    figure.axes[0].set_title('', loc='left')  # it may stand above them all
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    boxes[-1] = figure.axes[-1].get_window_extent(renderer)
    assert no_overlap(boxes)
    legend = figure.axes[-1].get_legend().get_window_extent(renderer)
    assert legend.x1 <= figure.bbox.x1 and min(box.y0 for box in boxes) >= figure.bbox.y0
    assert min(box.x0 for box in boxes) >= 0


def test_nothing_to_compare_is_said():
    with pytest.raises(ValueError, match='no two runs to compare over images'):
        draw_gains({'images': []})
