"""Prediction files, thresholds and the tools that use them."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from mlic.cli import test as test_tool
from mlic.evaluation import predictions
from mlic.evaluation.matrices import Block
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.predictions import file_digest, read_predictions, save_predictions
from mlic.evaluation.protocols import PROTOCOLS
from mlic.evaluation.thresholds import best_threshold, fit_thresholds, read_thresholds
from mlic.files import write_json
from mlic.visualization.curves import at_threshold, pr_curve
from mlic.visualization.report import threshold_counts
from tests import reference_metrics as reference
from tests.helpers import call_tool, memory_below
from tests.tiny_runs import tiny_config

NAMES = [f'word {c}' for c in range(8)]
EVAL, FIT = (f'tools/analysis_tools/{name}.py' for name in ('eval_metric', 'fit_thresholds'))


def read_rows(path):
    """The rows of a CSV file."""
    with path.open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def make_block(seed=0, images=60, difficult=False):
    """Scores of which some are tied, eight classes from frequent to absent."""
    rng = np.random.default_rng(seed)
    target = rng.random((images, 8)) < np.geomspace(0.5, 0.02, 8)
    target[:, 7], target[0, 0] = False, True
    pred = np.round(rng.random(target.shape) * 0.7 + 0.3 * target, 2).astype(np.float32)
    hard = (rng.random(target.shape) < 0.1) & ~target
    return Block(pred, target, hard if difficult else None)


@pytest.fixture
def saved(tmp_path):
    """Two prediction files, of validation and of test images."""
    paths = tmp_path / 'val.npz', tmp_path / 'test.npz'
    for seed, path in enumerate(paths):
        save_predictions(str(path), make_block(seed, 60 + seed, difficult=True), NAMES)
    return paths


# ---- prediction files --------------------------------------------------------------------------


@pytest.mark.parametrize('difficult', [False, True])
def test_what_is_saved_is_read(difficult, tmp_path):
    block = make_block(difficult=difficult)
    save_predictions(str(tmp_path / 'p.npz'), block, NAMES)
    result, names = read_predictions(tmp_path / 'p.npz')
    assert names == NAMES
    assert_close(result.pred, block.pred, rtol=0, atol=0)
    assert_close(result.target, block.target)
    assert (result.difficult is None) == (not difficult)
    if difficult:
        assert_close(result.difficult, block.difficult)


def test_scores_and_truth_are_enough(tmp_path):
    block = make_block()
    np.savez(tmp_path / 'p.npz', pred=block.pred.astype(np.float16), target=block.target * 1.0)
    result, names = read_predictions(tmp_path / 'p.npz')
    assert names == list('01234567') and result.difficult is None
    assert_close(result.target, block.target)


@pytest.mark.parametrize('dtype', ['uint8', 'int64', 'float16', '>f4', '>f8'])
def test_scores_of_any_type_are_compared_as_the_metric_does(dtype, tmp_path):
    block = make_block()
    pred = (block.pred.round() if 'int' in dtype else block.pred).astype(dtype)
    np.savez(tmp_path / 'p.npz', pred=pred, target=block.target)
    scores, target = read_predictions(tmp_path / 'p.npz')[0][:2]
    assert scores.dtype in (np.float32, np.float64)
    decisions, hits = threshold_counts(scores, target)
    curve = pr_curve('first', scores[:, 0], target[:, 0])
    for k in range(101):
        expected = MLICMetric.calculate_per_class(pred, target, threshold=k / 100)
        assert_close(decisions[:, k], expected['predicted'])
        assert_close(hits[:, k], expected['true_positives'])
        dot = at_threshold(curve, k / 100)
        if decisions[0, k] == 0:
            assert dot is None
        else:
            right = hits[0, k] / np.array([target[:, 0].sum(), decisions[0, k]])
            assert dot == pytest.approx(tuple(right))


def test_target_may_be_anything_where_ignored(tmp_path):
    block = make_block(difficult=True)
    target = np.where(block.difficult, -1, block.target)
    np.savez(tmp_path / 'p.npz', pred=block.pred, target=target, ignore=block.difficult)
    assert_close(read_predictions(tmp_path / 'p.npz')[0].target, block.target)


def arrays(**changes):
    good = dict(
        pred=np.full((3, 2), 0.5),
        target=np.eye(3, 2),
        ignore=np.zeros((3, 2), bool),
        classes=['a', 'b'],
    )
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(pred=None), "has no array 'pred'"),
        (dict(target=None), "has no array 'target'"),
        (dict(pred=np.full((3, 2), 'x')), 'pred must hold numbers, not <U1'),
        (dict(pred=np.zeros((3, 2), complex)), 'pred must hold numbers, not complex128'),
        (dict(pred=np.zeros(6), target=np.zeros(6), ignore=None), r'pred must be .* got \(6,\)'),
        (dict(pred=np.zeros((0, 2))), r'pred is \(0, 2\), target is \(3, 2\)'),
        (dict(target=np.eye(2)), r'pred is \(3, 2\), target is \(2, 2\)'),
        (dict(target=np.full((3, 2), 2)), '6 of 6 labels are neither 0 nor 1, such as 2'),
        (
            dict(target=np.full((3, 2), np.nan)),
            '6 of 6 labels are neither 0 nor 1, such as nan .absent is 0;',
        ),
        (dict(ignore=np.zeros((3, 2))), 'ignore must hold booleans, not float64'),
        (dict(ignore=np.zeros((3, 1), bool)), r'ignore is \(3, 1\)'),
        (dict(classes=['a']), r'classes must hold 2 names, got <U1 of shape \(1,\)'),
        (dict(classes=[1, 2]), 'classes must hold 2 names, got int64'),
        (dict(classes=['a', 'a']), "classes has the name 'a' more than once"),
        (dict(pred=np.array([[0, 1], [0, np.nan], [1, 1]])), '1 of 6 .* image 1 .*class b'),
        (dict(pred=np.array([[0, 1], [0, 1], [-np.inf, 1]])), '1 of 6 .* image 2 .*class a'),
        (dict(pred=np.array([[None] * 2] * 3)), r'pred\.npy holds Python objects'),
        (dict(classes=np.array(['a', 'b'], object)), r'classes\.npy holds .* dtype=str'),
        (dict(target=np.array([[-1, 1]] * 3)), 'neither 0 nor 1, such as -1 .absent is 0;'),
    ],
)
def test_what_is_wrong_in_a_prediction_file_is_named(changes, message, tmp_path):
    np.savez(tmp_path / 'p.npz', **arrays(**changes))
    with pytest.raises(ValueError, match=rf'p\.npz: .*{message}'):
        read_predictions(tmp_path / 'p.npz')


@pytest.mark.parametrize('kind', ['logits', 'percent', 'one too high'])
def test_scores_that_are_no_probabilities_are_refused_with_their_range(kind, saved, tmp_path):
    block = make_block()
    pred = dict(logits=4 * block.pred - 2, percent=100 * block.pred)
    pred = pred.get(kind, np.where(block.pred == block.pred.max(), np.float32(1.001), block.pred))
    low, high = pred.min(), pred.max()
    np.savez(tmp_path / 'p.npz', pred=pred, target=block.target, classes=np.array(NAMES))
    with pytest.raises(ValueError) as refusal:
        read_predictions(tmp_path / 'p.npz')
    assert f'pred must hold scores from 0 to 1, got {low:g} to {high:g}' in str(refusal.value)
    out = ['--out', tmp_path / 't.json']
    for command in (
        [EVAL, tmp_path / 'p.npz'],
        [FIT, tmp_path / 'p.npz', *out],
        [FIT, saved[0], '--eval', tmp_path / 'p.npz', *out],
        ['tools/analysis_tools/plot.py', 'pr', tmp_path / 'p.npz', '--out', tmp_path / 'a.png'],
    ):
        assert call_tool(*command) == f'error: {refusal.value}'
    assert not out[1].exists()
    # the bounds themselves are scores
    block.pred[0], block.pred[1] = 0, 1
    save_predictions(str(tmp_path / 'p.npz'), block, NAMES)
    assert call_tool(EVAL, tmp_path / 'p.npz') is None
    assert 'between 0 and 1, got 50' in call_tool(EVAL, tmp_path / 'p.npz', '--threshold', 50)


# ---- thresholds --------------------------------------------------------------------------------


@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('seed', range(8))
def test_best_threshold_has_the_best_f1(seed, dtype, strict):
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 6, 20).astype(dtype) / 7, rng.random(20) < 0.4
    positive[seed] = True
    threshold = best_threshold(scores, positive, strict)
    called = scores > dtype(threshold) if strict else scores >= dtype(threshold)
    f1 = 2 * (called & positive).sum() / (called.sum() + positive.sum())
    expected = reference.best_f1(scores.tolist(), positive.tolist(), strict)
    assert_close(float(f1), float(expected), rtol=1e-12, atol=0)


def test_threshold_lies_midway_between_the_scores_it_separates():
    scores, positive = np.array([0.1, 0.3, 0.5, 0.9, 0.9]), np.array([0, 0, 1, 1, 1], bool)
    for strict in (False, True):
        assert_close(best_threshold(scores, positive, strict), 0.4)
    # of equal F1 the highest: 2/3 for the first alone and for all
    scores, positive = np.array([0.2, 0.4, 0.6, 0.8]), np.array([1, 0, 0, 1], bool)
    assert_close(best_threshold(scores, positive, False), 0.7)
    # all are called present: the lowest score itself, or the number below it
    assert best_threshold(scores, np.ones(4, bool), False) == 0.2
    assert best_threshold(scores, np.ones(4, bool), True) == np.nextafter(0.2, 0)


@pytest.mark.parametrize('strict', [False, True])
def test_threshold_between_neighbouring_floats_still_separates_them(strict):
    low = np.float32(0.7)
    scores = np.array([low, np.nextafter(low, np.float32(1))])
    for positive in ([False, True], [True, True]):
        threshold = np.float32(best_threshold(scores, np.array(positive), strict))
        called = scores > threshold if strict else scores >= threshold
        assert called.tolist() == positive


@pytest.mark.parametrize('strict', [False, True])
def test_threshold_of_positives_that_are_never_called_present_lies_below_the_highest(strict):
    scores, positive = np.array([0.0, 0.0, 0.4, 0.8]), np.array([1, 0, 0, 0], bool)
    # score > t never calls 0 present: every F1 is 0
    assert_close(best_threshold(scores, positive, strict), 0.6 if strict else 0.0)


def test_fitting_takes_no_more_memory_than_a_copy_of_the_scores_and_a_little():
    rng = np.random.default_rng(0)
    pred, target = rng.random((400, 500), dtype=np.float32), rng.random((400, 500)) < 0.01
    for ignore, copies in ((None, 1.6), ((rng.random(target.shape) < 0.1) & ~target, 2.6)):
        with memory_below(copies * pred.nbytes):
            fit_thresholds(pred, target, ignore)


@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('smoothing', [0.0, 1.0, 7.5])
def test_thresholds_are_drawn_to_the_global_one_by_the_number_of_positives(smoothing, strict):
    pred, target, ignore, _ = make_block(difficult=True)
    result, overall = fit_thresholds(pred, target, ignore, strict, smoothing)
    kept = ~ignore
    assert_close(overall, best_threshold(pred[kept], target[kept], strict))
    for c in range(7):
        own = best_threshold(pred[kept[:, c], c], target[kept[:, c], c], strict)
        n = int(target[:, c].sum())
        assert_close(float(result[c]), (n * own + smoothing * overall) / (n + smoothing))
    assert result[7] == overall  # no positives


def test_thresholds_without_smoothing_maximise_the_mean_of_class_f1():
    pred, target, *_ = make_block()
    best = [
        100 * reference.best_f1(pred[:, c].tolist(), target[:, c].tolist(), True) for c in range(7)
    ]
    thresholds, _ = fit_thresholds(pred, target, strict=True, smoothing=0)
    result = MLICMetric.calculate(pred, target, 'sadcl', thresholds, classes=None)
    assert_close(result['CF1'], float(sum(best) / 8))


KINDS_OF_SCORES = dict(
    hundredths=lambda rng, shape: rng.random(shape).round(2),
    thirds=lambda rng, shape: rng.integers(0, 4, shape) / 3,
    neighbours=lambda rng, shape: 0.7 + rng.integers(0, 3, shape) * 2.0**-24,
    ends=lambda rng, shape: rng.choice([0, 1e-45, 0.1, 1 - 2.0**-24, 1], shape),
)


@pytest.mark.parametrize('protocol', ['standard', 'sadcl'])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('kind', KINDS_OF_SCORES)
def test_a_file_of_thresholds_without_smoothing_has_the_best_f1(kind, dtype, protocol, tmp_path):
    rng, protocol, names = np.random.default_rng(0), PROTOCOLS[protocol], [*map(str, range(100))]
    for images in (1, 2, 4, 11):
        pred = KINDS_OF_SCORES[kind](rng, (images, 100)).astype(dtype)
        target = rng.random(pred.shape) < rng.choice([0.2, 0.6, 1], 100)
        fitted, overall = fit_thresholds(pred, target, strict=protocol.strict, smoothing=0)
        assert np.all((fitted >= 0) & (fitted <= 1)) and 0 <= overall <= 1
        write_json(tmp_path / 't.json', dict(zip(names, fitted.tolist())))
        called = protocol.decide(pred, read_thresholds(tmp_path / 't.json').of_classes(names))
        for c in np.flatnonzero(target.any(axis=0)):
            f1 = 2 * (called & target)[:, c].sum() / (called[:, c].sum() + target[:, c].sum())
            best = reference.best_f1(pred[:, c].tolist(), target[:, c].tolist(), protocol.strict)
            assert f1 == float(best)


@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('smoothing', [0, 1e-300, 0.1, 1, 3, 1e9, 1e17, 1e300])
def test_a_threshold_lies_between_its_own_and_the_global_one(smoothing, strict):
    rng = np.random.default_rng(0)
    for _ in range(100):
        pred, target = rng.random((6, 3)).round(1), rng.random((6, 3)) < 0.7
        target[0] = True
        own, _ = fit_thresholds(pred, target, strict=strict, smoothing=0)
        fitted, overall = fit_thresholds(pred, target, strict=strict, smoothing=smoothing)
        assert np.all(fitted >= np.minimum(own, overall))
        assert np.all(fitted <= np.maximum(own, overall))


@pytest.mark.parametrize('protocol', ['standard', 'sadcl'])
@pytest.mark.parametrize('kind', KINDS_OF_SCORES)
def test_a_threshold_of_a_precision_finds_the_most_that_have_it(kind, protocol):
    rng, protocol = np.random.default_rng(0), PROTOCOLS[protocol]
    pred = KINDS_OF_SCORES[kind](rng, (20, 200)).astype(np.float32)
    target, wanted = rng.random(pred.shape) < 0.3 + 0.4 * (pred > 0.5), 0.75
    fitted, _ = fit_thresholds(pred, target, strict=protocol.strict, precision=wanted)
    called = protocol.decide(pred, fitted)
    for c in range(200):
        options = [called[:, c]] + [protocol.decide(pred[:, c], cut) for cut in [0, *pred[:, c]]]
        hits, found = np.array([((x & target[:, c]).sum(), x.sum()) for x in options]).T
        best = max(hits[hits >= wanted * found], default=0)
        assert hits[0] == best and hits[0] >= wanted * found[0] or fitted[c] == 1 and best == 0


def test_a_threshold_of_a_precision_is_written_and_a_class_without_one_named(saved, capsys):
    val, test = saved
    out = val.with_name('t.json')
    call_tool(FIT, val, '--out', out, '--eval', test, '--precision', 0.9, '--protocol', 'sadcl')
    block, _ = read_predictions(val)
    fitted, _ = fit_thresholds(*block[:3], True, precision=0.9)
    assert_close(read_thresholds(out).of_classes(NAMES), fitted)
    assert fitted[6] == 1 > fitted[7]  # word 7 has no positives
    said = capsys.readouterr().out.splitlines()
    assert 'never so precise, threshold 1: word 6' in said
    assert '    CP      CR      OP      OR' in said


@pytest.mark.parametrize('precision', [0, 1.1, -1, float('nan')])
def test_a_precision_must_be_a_share(precision):
    with pytest.raises(ValueError, match='precision must be above 0 and at most 1'):
        fit_thresholds(*make_block()[:2], precision=precision)


def test_a_score_of_0_is_never_called_present_by_more_than():
    """No threshold from 0 to 1 does so, even where it were best."""
    for scores, expected in (([0.0, 0.2, 0.5], 0.1), ([0.0, 0.0], 0.0)):
        pred = np.array(scores, np.float32)[:, None]
        fitted, overall = fit_thresholds(pred, np.ones_like(pred, bool), strict=True)
        assert_close([float(fitted[0]), overall], [expected] * 2)


@pytest.mark.parametrize('smoothing', [-1.0, float('nan'), float('inf')])
def test_smoothing_must_be_a_number_of_at_least_0(smoothing):
    with pytest.raises(ValueError, match='smoothing must be a finite number of at least 0'):
        fit_thresholds(*make_block()[:2], smoothing=smoothing)


@pytest.mark.parametrize(
    ('form', 'message'),
    [
        (lambda pred, target: (pred, np.where(target, 1, -1)), 'labels are neither 0 nor 1'),
        (lambda pred, target: (pred, np.where(target, 1, np.nan)), 'labels are neither 0 nor 1'),
        (lambda pred, target: (pred * np.nan, target), 'scores are NaN or infinite'),
        (lambda pred, target: (pred, target[1:]), r'pred is \(\d+, \d+\), target is'),
    ],
)
def test_what_has_no_metrics_has_no_thresholds(form, message):
    with pytest.raises(ValueError, match=message):
        fit_thresholds(*form(*make_block()[:2]))


def test_thresholds_are_fitted_on_tensors_and_on_an_ignore_of_numbers():
    pred, target, *_ = make_block()
    ignore = np.zeros_like(target)
    ignore[::3] = True
    expected, overall = fit_thresholds(pred, target & ~ignore, ignore)
    for make in (torch.from_numpy, np.asarray):
        found = fit_thresholds(make(pred), make(target.astype(int)), make(ignore.astype(int)))
        assert_close(found[0], expected, rtol=0, atol=0)
        assert found[1] == overall


def test_nothing_can_be_fitted_without_a_positive():
    with pytest.raises(ValueError, match='no positive label among 3 images'):
        fit_thresholds(np.full((3, 2), 0.5), np.zeros((3, 2), bool))


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('t.json', '{"a": 0.5, "a": 0.6}', "'a' occurs twice in one object"),
        ('t.json', '{"a": "high"}', "the threshold of 'a' must be a finite number, got 'high'"),
        ('t.json', '{"a": true}', "the threshold of 'a' must be a finite number, got True"),
        ('t.json', '{"a": NaN}', "the threshold of 'a' must be a finite number, got nan"),
        ('t.json', '{"a": {}}', "the threshold of 'a' must be a finite number"),
        ('t.json', '{"a": 30}', "the threshold of 'a' must be from 0 to 1, got 30"),
        ('t.json', '{"thresholds": {"a": -1e-45}}', "'a' must be from 0 to 1, got -1e-45"),
        ('t.json', '[0.5]', 'must hold an object {class name: threshold}'),
        ('t.json', '{"a": 0.5', 'Expecting'),
        ('t.json', '{}', 'no thresholds in it'),
        ('t.csv', 'a,0.5\n', "the first line must be the header 'class,threshold'"),
        ('t.csv', '', "the first line must be the header 'class,threshold'"),
        ('t.csv', 'class,threshold\n', 'no thresholds in it'),
        ('t.csv', 'class,threshold\na,0.5\na,0.6\n', "class 'a' occurs twice"),
        ('t.csv', 'class,threshold\na\n', "a row must be class,threshold, got ['a']"),
        ('t.csv', 'class,threshold\na,\n', "the threshold of 'a' must be a finite number, got ''"),
        ('t.csv', 'class,threshold\na,30\n', "'a' must be from 0 to 1, got '30'"),
        ('t.txt', 'a 0.5', 'threshold must be a number, a .json or a .csv file'),
    ],
)
def test_what_is_wrong_in_a_threshold_file_is_named(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError) as error:
        read_thresholds(tmp_path / name)
    assert message in str(error.value) and name in str(error.value)


def test_threshold_file_with_bom_crlf_and_quotes(tmp_path):
    path = tmp_path / 't.csv'
    path.write_bytes('\ufeffclass,threshold\r\n"fox, red",0.25\r\n\r\ncafé,1e-3'.encode())
    assert read_thresholds(path).values == {'fox, red': 0.25, 'café': 0.001}


# ---- the tools ---------------------------------------------------------------------------------


def test_the_size_of_predictions_is_known_before_they_are_decompressed(tmp_path, monkeypatch):
    path = tmp_path / 'p.npz'
    zeros = np.zeros((1000, 1000), np.float32)
    np.savez_compressed(path, pred=zeros, target=zeros.astype(np.uint8))
    assert path.stat().st_size < zeros.nbytes / 100
    assert read_predictions(path)[0].pred.shape == (1000, 1000)
    monkeypatch.setattr(predictions, 'SMALL', 1000)
    with pytest.raises(ValueError, match=r'p\.npz: .* its arrays would have 5000256 bytes'):
        read_predictions(path)


def test_eval_predictions_prints_and_writes_what_the_metric_does(saved, tmp_path, capsys):
    out, table = tmp_path / 'new' / 'metrics.json', tmp_path / 'new' / 'classes.csv'
    options = ['--protocols', 'all', '--out', out, '--per-class', table]
    assert call_tool(EVAL, saved[0], *options) is None
    block, _ = read_predictions(saved[0])
    expected = {}
    for name in PROTOCOLS:
        values = MLICMetric.calculate(block.pred, block.target, name, ignore=block.difficult)
        prefix = 'multi-label/' if name == 'sadcl' else f'multi-label/{name}/'
        expected.update({prefix + key: value for key, value in values.items()})
    assert_close(json.loads(out.read_text()), expected, rtol=1e-12, atol=0)
    printed = capsys.readouterr().out.splitlines()
    hard = f'{block.difficult.sum()} difficult labels ignored'
    assert printed[0] == f'60 images, 8 classes, 1 without positives (word 7), {hard}; in percent'
    rules = [line.split()[0] for line in printed[2:-2] if 'top 3' not in line]
    assert rules == [f'{name},' for name in PROTOCOLS]
    assert printed[2].split()[3] == f'{expected["multi-label/mAP"]:.2f}'
    assert printed[-2:] == [f'of each class: {table}', f'metrics: {out}']
    assert [row['class'] for row in read_rows(table)] == NAMES * 4


@pytest.mark.parametrize(
    'difficult,said',
    [('ignore', 'ignored'), ('negative', 'taken as absent'), ('positive', 'taken as present')],
)
def test_eval_predictions_options(difficult, said, saved, tmp_path, capsys):
    (tmp_path / 'some.txt').write_text('word 3\nword 0\nword 1\nword 2\n')
    out = tmp_path / 'metrics.json'
    options = ['--threshold', 0.6, '--topk', 2, '--classes', tmp_path / 'some.txt', '--out', out]
    assert call_tool(EVAL, saved[0], *options, '--difficult', difficult) is None
    block, _ = read_predictions(saved[0])
    number = block.difficult[:, :4].sum()
    assert f', {number} difficult labels {said}; in percent' in capsys.readouterr().out
    target = block.target | (block.difficult & (difficult == 'positive'))
    ignore = block.difficult if difficult == 'ignore' else None
    expected = MLICMetric.calculate(
        block.pred, target, threshold=0.6, topk=2, classes=[3, 0, 1, 2], ignore=ignore
    )
    result = json.loads(out.read_text())
    assert_close(result, {f'multi-label/{k}': v for k, v in expected.items()}, rtol=1e-12, atol=0)


def test_thresholds_say_of_which_augmentation_they_are(saved, tmp_path):
    block, names = read_predictions(saved[0])
    save_predictions(tmp_path / 'tta.npz', block, names, 'flip scales=64,96')
    assert call_tool(FIT, tmp_path / 'tta.npz', '--out', tmp_path / 't.json') is None
    fitted = read_thresholds(tmp_path / 't.json')
    assert fitted.fitted_on['tta'] == 'flip scales=64,96'
    assert str(fitted).endswith(
        'tta.npz (60 images), with test-time augmentation flip scales=64,96'
    )


def test_fitted_thresholds_are_recorded_and_used(saved, tmp_path, capsys):
    out, metrics = tmp_path / 'new' / 'thresholds.json', tmp_path / 'metrics.json'
    assert call_tool(FIT, saved[0], '--out', out, '--eval', saved[1], '--protocol', 'sadcl') is None
    printed = capsys.readouterr().out
    block, _ = read_predictions(saved[0])
    levels, overall = fit_thresholds(*block[:3], strict=True)
    record = json.loads(out.read_text())
    assert record['fitted_on'] == dict(
        file=str(saved[0]), sha256=file_digest(saved[0]), images=60, classes=8, difficult='ignore'
    )
    assert record['decision'] == 'score > threshold' and record['protocol'] == 'sadcl'
    assert record['classes_without_positives'] == ['word 7']
    assert record['global_threshold'] == record['thresholds']['word 7'] == overall
    assert record['thresholds'] == dict(zip(NAMES, levels.tolist()))

    rows = []
    for path, part in ((saved[0], 'fitting part'), (saved[1], str(saved[1]))):
        block, _ = read_predictions(path)
        for threshold, when in ((None, 'before: > 0.5'), (levels, 'after')):
            values = MLICMetric.calculate(
                block.pred, block.target, 'sadcl', threshold, ignore=block.difficult
            )
            rows.append(f'{values["CF1"]:6.2f}  {values["OF1"]:6.2f}  {part}, {when}')
    rows[1] += ' (optimistic: measured where it was fitted)'
    assert printed.splitlines()[-5:-1] == rows
    assert printed.splitlines()[0].endswith(' (word 7): these take the global threshold')

    for path, optimistic in zip(saved, (True, False)):
        call_tool(EVAL, path, '--protocols', 'sadcl', '--threshold', out, '--out', metrics)
        assert ('fitted on this very file' in capsys.readouterr().out) == optimistic
    assert json.loads(metrics.read_text())['multi-label/CF1'] == pytest.approx(values['CF1'])


def test_thresholds_are_not_measured_where_they_were_fitted(saved, tmp_path):
    copy = tmp_path / 'copy.npz'
    with np.load(saved[0]) as content:
        np.savez_compressed(copy, **content)
    out = tmp_path / 'thresholds.json'
    for path in (saved[0], copy):
        message = call_tool(FIT, saved[0], '--out', out, '--eval', path)
        assert 'holds the predictions that the thresholds are fitted on' in message
    assert not out.exists()


def test_tools_end_with_one_line(saved, tmp_path):
    (tmp_path / 'other.json').write_text('{"word 0": 0.5, "unicorn": 0.5}')
    block = make_block(3)
    save_predictions(str(tmp_path / 'other.npz'), block, NAMES[::-1])
    out = ['--out', tmp_path / 'o.json']
    for tool, arguments, message in (
        (EVAL, [tmp_path / 'no.npz'], 'no.npz does not exist'),
        (EVAL, [tmp_path / 'other.json'], 'other.json: is not an .npz file'),
        (EVAL, [saved[0], '--protocols', 'coco'], 'known: sadcl, standard, asl, mmpretrain'),
        (EVAL, [saved[0], '--protocols', 'asl', 'asl'], 'one or more different names'),
        (EVAL, [saved[0], '--threshold', 'nan'], 'must be a finite number or a file'),
        (EVAL, [saved[0], '--threshold', tmp_path / 'other.json'], 'unknown class: unicorn'),
        (EVAL, [saved[0], '--classes', tmp_path / 'other.json'], 'are not among the 8'),
        (FIT, [saved[0], *out, '--eval', tmp_path / 'other.npz'], 'the same order'),
        (FIT, [tmp_path, *out], 'not a regular file'),
    ):
        error = call_tool(tool, *arguments)
        assert error.startswith('error: ') and message in error and '\n' not in error


# ---- tools/test.py -----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Config file, checkpoint and class names of an untrained model."""
    folder = tmp_path_factory.mktemp('tiny')
    cfg = tiny_config(folder)
    cfg.dump(str(folder / 'tiny.py'))
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    (folder / 'run').mkdir()
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'run' / 'best_x.pth')
    return folder / 'tiny.py', folder / 'run' / 'best_x.pth'


def test_each_metric_is_printed_once(tiny, tmp_path, capfd):
    config, checkpoint = tiny
    out = tmp_path / 'metrics.json'
    arguments = [config, checkpoint, '--out', out, '--work-dir', tmp_path / 'work']
    # the terminal's handler keeps the stream that it was made with: a logger of its own
    name = ['--cfg-options', 'experiment_name=printed_once']
    assert call_tool('tools/test.py', *arguments, *name) is None
    printed = ''.join(capfd.readouterr())
    for key in ('mAP', 'CF1', 'OF1'):
        value = f'{json.loads(out.read_text())[f"multi-label/{key}"]:.2f}'
        assert len(re.findall(rf'\b{key}\b(?! over)', printed)) == 1, printed
        assert value in printed
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert 'multi-label/mAP: ' in log.read_text()  # which has everything


def test_per_class_csv_lies_beside_the_checkpoint(tiny, tmp_path, capsys):
    config, checkpoint = tiny
    out = tmp_path / 'p.npz'
    arguments = [config, checkpoint.parent, '--work-dir', tmp_path / 'work']
    assert call_tool('tools/test.py', *arguments) is None
    table = checkpoint.parent / 'best_x_per_class.csv'
    assert f'\nof each class: {table}\n' in capsys.readouterr().out
    # another split's does not replace the test set's, nor what lies next to the file of --out
    whole = table.read_text()
    for split in ('train', 'val'):
        assert call_tool('tools/test.py', *arguments, '--split', split) is None
        other = checkpoint.parent / f'best_x_{split}_per_class.csv'
        assert f'\nof each class: {other}\n' in capsys.readouterr().out
        assert table.read_text() == whole != other.read_text()
    saved, table = table.read_text(), tmp_path / 'p_per_class.csv'
    assert call_tool('tools/test.py', *arguments, '--out', out, '--split', 'val') is None
    assert (checkpoint.parent / 'best_x_per_class.csv').read_text() == saved != table.read_text()
    assert f'\nof each class: {table}\n' in capsys.readouterr().out
    block, names = read_predictions(out)
    rows = read_rows(table)
    assert [row['class'] for row in rows] == names
    assert [int(row['support']) for row in rows] == block.target.sum(axis=0).tolist()

    thresholds = tmp_path / 'thresholds.json'
    thresholds.write_text(json.dumps({name: 0.01 * c for c, name in enumerate(names)}))
    assert call_tool('tools/test.py', *arguments, '--threshold', thresholds) is None
    rows = read_rows(checkpoint.parent / 'best_x_per_class.csv')
    assert [float(row['threshold']) for row in rows] == [0.01 * c for c in range(10)]
    thresholds.write_text('{"zero": 0.5}')
    error = call_tool('tools/test.py', *arguments, '--threshold', thresholds)
    assert error.startswith('error: ') and 'no threshold for 9 classes: one, two' in error


def test_the_split_is_that_of_the_config(tiny, tmp_path):
    config, checkpoint = tiny
    arguments = [checkpoint, '--work-dir', tmp_path / 'work', '--out', tmp_path / 'p.npz']
    sizes = {}
    for split in ('train', 'val', 'test'):
        assert call_tool('tools/test.py', config, *arguments, '--split', split) is None
        sizes[split] = len(read_predictions(tmp_path / 'p.npz')[0].target)
    cfg = Config.fromfile(config)
    expected = {split: cfg[f'{split}_dataloader'].dataset.num_images for split in sizes}
    assert sizes == expected and len(set(sizes.values())) > 1
    del cfg.val_dataloader.dataset.pipeline
    with pytest.raises(SystemExit, match='--split val: DigitScenes has no pipeline to replace'):
        test_tool.use_split(cfg, 'val')
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.dump(str(tmp_path / 'no_val.py'))
    error = call_tool('tools/test.py', tmp_path / 'no_val.py', *arguments, '--split', 'val')
    assert error == 'error: --split val: the config has no val_dataloader'


@pytest.mark.parametrize('names, part', [(['x'], 'labels'), (None, 'neck')])
def test_a_checkpoint_of_another_model_or_other_labels_is_refused(
    names, part, tiny, tmp_path, capsys
):
    """mmengine loads what fits, and a mAP of partly random weights came out."""
    config, checkpoint = tiny
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    weights = {name: value for name, value in weights.items() if not name.startswith(part)}
    content = dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=names)))
    torch.save(content, tmp_path / 'other.pth')
    arguments = [config, tmp_path / 'other.pth', '--work-dir', tmp_path / 'work']
    error = call_tool('tools/test.py', *arguments)
    message = 'has 1 class, the data have 10' if names else 'lacks weights of the config: neck.'
    assert error.startswith('error: ') and message in error and '\n' not in error
    assert 'mAP' not in capsys.readouterr().out


def test_per_class_csv_goes_to_the_work_dir_if_the_folder_cannot_be_written(monkeypatch, tmp_path):
    path = test_tool.per_class_path('https://host/net.pth', str(tmp_path / 'work'))
    assert path == tmp_path / 'work' / 'net_per_class.csv'
    checkpoint = str(tmp_path / 'best.pth')
    assert test_tool.per_class_path(checkpoint, 'work') == tmp_path / 'best_per_class.csv'
    augmented = test_tool.per_class_path(checkpoint, 'work', '_tta_val')
    assert augmented == tmp_path / 'best_tta_val_per_class.csv'
    # patched, because a superuser may write anywhere
    monkeypatch.setattr(test_tool.os, 'access', lambda path, mode: False)
    assert test_tool.per_class_path(checkpoint, 'work') == Path('work/best_per_class.csv')


@pytest.mark.parametrize('threshold', ['nan', '30', 'missing.json', 'thresholds.txt'])
def test_bad_threshold_fails_before_the_model_is_built(threshold, tiny, tmp_path):
    config, checkpoint = tiny
    arguments = [config, checkpoint, '--work-dir', tmp_path / 'work', '--dry-run']
    assert threshold in call_tool('tools/test.py', *arguments, '--threshold', threshold)
    assert not (tmp_path / 'work').exists()


def test_metrics_are_not_written_over_the_thresholds(tiny, tmp_path):
    path = tmp_path / 't.json'
    write_json(path, dict(a=0.5))
    text = path.read_text()
    message = call_tool('tools/test.py', *tiny, '--threshold', path, '--out', path)
    assert message.startswith(f'error: {path} ') and path.read_text() == text
