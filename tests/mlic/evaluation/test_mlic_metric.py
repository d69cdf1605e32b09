"""MLICMetric against loops, scikit-learn, mmpretrain and the recorded values of SADCL's code."""

import csv
import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as torch_dist
from mmengine.evaluator import Evaluator
from mmpretrain.evaluation import (
    AveragePrecision,
    MultiLabelMetric,
    VOCAveragePrecision,
    VOCMultiLabelMetric,
)
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score, precision_recall_fscore_support
from torch.testing import assert_close

from mlic.evaluation import matrices, mlic_metric
from mlic.evaluation.matrices import Block, class_indices
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.predictions import read_predictions
from mlic.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    average_precision,
    get_protocols,
    topk_mask,
)
from mlic.evaluation.summary import evaluate_block
from tests import reference_metrics as reference
from tests.helpers import memory_below, recorded, run_ranks

FIXTURE_THRESHOLDS = ('0', '0.3', '0.5', '0.8', '0.999')
FIXTURE_CASES = (
    'random',
    'ties',
    'one_image',
    'class_without_positive',
    'class_all_positive',
    'int_scores',
)
NAMES = ('ant', 'dog', 'bee', 'owl', 'fox', 'hen', 'cat')
SIX = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')


def make_case(kind, seed=0, dtype=np.float64):
    """(N, C) scores and labels; every kind has at least one positive."""
    rng = np.random.default_rng(seed)
    shape = dict(one_image=(1, 6), one_class=(30, 1)).get(kind, (40, 7))
    target = (rng.random(shape) < 0.3).astype(np.int64)
    target[0, 0] = 1
    pred = (rng.random(shape) * 0.6 + 0.4 * target * rng.random(shape)).astype(dtype)
    if kind == 'class_without_positive':
        target[:, [2, 5]] = 0
    elif kind == 'all_positive':
        target[:] = 1
    elif kind == 'ties':
        pred = (np.round(pred * 8) / 8).astype(dtype)
    elif kind == 'integer':
        pred = np.round(pred * 4).astype(np.int64) - 1
    elif kind == 'nothing_predicted':
        pred *= 0.4
    return pred, target


KINDS = (
    'normal',
    'one_image',
    'one_class',
    'class_without_positive',
    'all_positive',
    'ties',
    'integer',
    'nothing_predicted',
)


def as_lists(pred, target, ignore=None):
    """Scores and labels for the loops, None for an ignored label."""
    labels = target.tolist()
    if ignore is not None:
        labels = [
            [None if hidden else label for label, hidden in zip(row, hidden_row)]
            for row, hidden_row in zip(labels, ignore)
        ]
    return pred.tolist(), labels


def data_samples(pred, target, difficult=None, unknown=None, **meta):
    """The dicts that the Evaluator hands to a metric; both marks are (N, C) bool."""
    samples = []
    for row, (scores, labels) in enumerate(zip(pred, target)):
        sample = DataSample().set_pred_score(torch.as_tensor(scores))
        sample.set_gt_score(torch.as_tensor(labels)).set_metainfo(meta)
        for key, mark in (('difficult', difficult), ('unknown', unknown)):
            if mark is not None:
                indices = np.flatnonzero(mark[row]).tolist()
                sample.set_metainfo({f'gt_label_{key}': indices})
        samples.append(sample.to_dict())
    return samples


def stream(metric, pred, target, batch_size=16):
    """Process batches, the last one smaller, and evaluate."""
    for start in range(0, len(pred), batch_size):
        batch = slice(start, start + batch_size)
        metric.process(None, data_samples(pred[batch], target[batch]))
    return metric.evaluate(len(pred))


def prefixed(metrics):
    return {f'multi-label/{key}': value for key, value in metrics.items()}


@pytest.fixture
def log(monkeypatch):
    """Collects the lines that the metric logs."""
    lines = []
    for module in (mlic_metric, matrices):
        monkeypatch.setattr(module, 'print_log', lambda text, *_: lines.append(text))
    return lines


# ---- against the loops -------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('protocol', list(PROTOCOLS))
def test_equals_loops(protocol, kind, seed, dtype):
    pred, target = make_case(kind, seed, dtype)
    expected = reference.protocol_metrics(protocol, *as_lists(pred, target))
    result = MLICMetric.calculate(pred, target, protocol)
    assert list(result) == list(expected)
    assert_close(result, expected, rtol=1e-10, atol=1e-10)
    assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize('kind', ['normal', 'ties', 'class_without_positive'])
@pytest.mark.parametrize('protocol', list(PROTOCOLS))
def test_ignored_entries_are_as_deleted(protocol, kind):
    pred, target = make_case(kind, seed=3)
    ignore = np.random.default_rng(4).random(pred.shape) < 0.3
    ignore[0, 0] = False
    expected = reference.protocol_metrics(protocol, *as_lists(pred, target, ignore))
    for hidden in (0, 1, -1):  # whatever the label of an ignored entry says
        labels = np.where(ignore, hidden, target)
        result = MLICMetric.calculate(pred, labels, protocol, ignore=ignore)
        assert_close(result, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('protocol', list(PROTOCOLS))
def test_threshold_of_each_class_equals_loops(protocol, dtype):
    pred, target = make_case('ties', seed=2, dtype=dtype)  # scores that equal thresholds, too
    levels = [0.125, 0.25, 0.5, 0.5, 0.75, 0.3, 2.0]
    expected = reference.protocol_metrics(protocol, *as_lists(pred, target), threshold=levels)
    result = MLICMetric.calculate(pred, target, protocol, threshold=np.array(levels))
    assert_close(result, expected, rtol=1e-10, atol=1e-10)
    chosen = [6, 0, 2]
    levels = dict(threshold=np.array(levels)[chosen])
    expected = MLICMetric.calculate(pred[:, chosen], target[:, chosen], protocol, **levels)
    result = MLICMetric.calculate(pred, target, protocol, **levels, classes=chosen)
    assert_close(result, expected, rtol=0, atol=0)


@pytest.mark.parametrize('seed', range(20))
def test_no_metric_is_nan_whatever_is_missing(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 6, 2)
    pred, target = rng.integers(0, 3, shape) / 2, rng.random(shape) < 0.2
    ignore = rng.random(shape) < 0.3
    ignore[:, 0], target[0, 0] = False, True
    for protocol in PROTOCOLS:
        values = MLICMetric.calculate(pred, target, protocol, ignore=ignore).values()
        assert all(0 <= value <= 100 + 1e-9 for value in values)


@pytest.mark.parametrize('k', [1, 2, 5, 20])
def test_topk_sizes(k):
    pred, target = make_case('ties', seed=1)
    expected = reference.protocol_metrics('mmpretrain', *as_lists(pred, target), k=k)
    assert_close(MLICMetric.calculate(pred, target, 'mmpretrain', topk=k), expected)


def test_topk_ties_take_the_lowest_class():
    pred = np.array([[0.5, 0.9, 0.5, 0.5], [0.2, 0.2, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4]])
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]
    assert_close(topk_mask(pred, 2), np.array(expected, dtype=bool))


def test_topk_counts_no_ignored_entry_even_at_minus_infinity():
    pred = np.array([[0.9, -np.inf, 0.1, -np.inf]])
    ignore = np.array([[True, True, False, False]])
    for k in (2, 3):
        assert_close(topk_mask(pred, k, ignore), ~ignore)


def test_topk_over_several_row_blocks(monkeypatch):
    pred, _ = make_case('ties')
    whole = topk_mask(pred, 3)
    monkeypatch.setattr('mlic.evaluation.protocols.ROWS_AT_ONCE', 7)
    assert_close(topk_mask(pred, 3), whole)


# ---- average precision -------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['normal', 'one_class', 'all_positive', 'ties', 'integer'])
@pytest.mark.parametrize('seed', [0, 1])
def test_plain_ap_equals_scikit_learn(kind, seed):
    pred, target = make_case(kind, seed)
    result = MLICMetric.calculate_per_class(pred, target, 'standard')['ap']
    for c in range(pred.shape[1]):
        assert_close(result[c] / 100, average_precision_score(target[:, c], pred[:, c]))


@pytest.mark.parametrize('seed', range(6))
def test_interpolated_ap_is_the_lowest_over_tie_orders(seed):
    rng = np.random.default_rng(seed)
    pred, target = rng.integers(0, 3, (6, 1)), rng.integers(0, 2, (6, 1))
    target[seed] = 1
    areas = []
    for order in itertools.permutations(range(6)):
        ranked = sorted(order, key=lambda i: -pred[i, 0])  # stable: keeps the order of ties
        areas.append(reference.ap_voc([int(target[i, 0]) for i in ranked]))
    result = MLICMetric.calculate_per_class(pred, target, 'sadcl')['ap']
    assert_close(float(result[0]), min(areas))


# ---- against other codes -----------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['normal', 'one_class', 'class_without_positive'])
def test_mmpretrain_protocol_equals_mmpretrain(kind):
    pred, target = map(torch.from_numpy, make_case(kind))
    expected = dict(mAP=AveragePrecision.calculate(pred, target).item())
    for suffix, rule in (('', dict(thr=0.5)), ('_top3', dict(topk=min(3, pred.shape[1])))):
        for average, names in (('macro', ('CP', 'CR', 'CF1')), ('micro', ('OP', 'OR', 'OF1'))):
            values = MultiLabelMetric.calculate(pred, target, average=average, **rule)
            expected.update({n + suffix: v.item() for n, v in zip(names, values)})
    result = MLICMetric.calculate(pred, target, 'mmpretrain')
    assert_close(result, expected, rtol=1e-5, atol=1e-5)  # theirs is float32


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('protocol', ['sadcl', 'asl'])
def test_means_equal_scikit_learn(protocol, kind):
    pred, target = make_case(kind)
    decision = pred > PROTOCOLS[protocol].threshold
    if target.shape[1] == 1:  # scikit-learn takes one column for two exclusive classes
        decision, target, pred = (np.hstack([m, m]) for m in (decision, target, pred))
    result = MLICMetric.calculate(pred, target, protocol)
    for average, names in (('macro', ('CP', 'CR', 'CF1')), ('micro', ('OP', 'OR', 'OF1'))):
        values = precision_recall_fscore_support(target, decision, average=average, zero_division=0)
        expected = {name: 100 * float(value) for name, value in zip(names, values)}
        assert_close({name: result[name] for name in names}, expected)


@pytest.mark.parametrize(
    ('difficult', 'as_positive'), [('ignore', None), ('negative', False), ('positive', True)]
)
def test_difficult_labels_as_in_mmpretrain(difficult, as_positive):
    pred, target = make_case('normal', dtype=np.float32)
    listed = np.random.default_rng(3).random(pred.shape) < 0.2
    metrics = [
        MLICMetric('mmpretrain', difficult=difficult, topk=None),
        VOCAveragePrecision(difficult_as_positive=as_positive),
        VOCMultiLabelMetric(thr=0.5, difficult_as_positive=as_positive),
    ]
    for row in range(len(pred)):
        sample = DataSample().set_pred_score(pred[row]).set_gt_label(np.flatnonzero(target[row]))
        sample.set_metainfo(dict(gt_label_difficult=np.flatnonzero(listed[row]).tolist()))
        for metric in metrics:
            metric.process(None, [sample.to_dict()])
    ours, theirs_ap, theirs = (metric.evaluate(len(pred)) for metric in metrics)
    assert_close(ours['multi-label/mAP'], theirs_ap['multi-label/mAP'], rtol=1e-5, atol=0)
    for name, key in (('CP', 'precision'), ('CR', 'recall'), ('CF1', 'f1-score')):
        value = theirs[f'multi-label/{key}']
        assert_close(ours[f'multi-label/{name}'], value, rtol=1e-5, atol=0)


@pytest.mark.parametrize('case', FIXTURE_CASES)
def test_sadcl_ap_equals_published_code(case):
    data = recorded('metrics.npz')
    pred, target = data[f'{case}.scores'], data[f'{case}.labels']
    result = MLICMetric.calculate_per_class(pred, target, 'sadcl')['ap']
    if f'{case}.aps_perm_max' in data:  # tied scores: the published value is arbitrary
        lowest = [
            reference.ap_interpolated(pred[:, c].tolist(), target[:, c].tolist())
            for c in range(pred.shape[1])
        ]
        assert_close(result, np.array(lowest))
        assert (result <= data[f'{case}.aps_perm_max'] + 1e-9).all()
        assert (result <= data[f'{case}.aps_perm_min'] + 1e-9).all()
        return
    assert_close(result, data[f'{case}.aps'], rtol=1e-6, atol=0, equal_nan=True)
    mean = MLICMetric.calculate(pred, target, 'sadcl')['mAP']
    assert_close(mean, float(np.nanmean(data[f'{case}.aps'])), rtol=1e-6, atol=0)


@pytest.mark.parametrize('threshold', FIXTURE_THRESHOLDS)
@pytest.mark.parametrize('case', FIXTURE_CASES)
def test_sadcl_means_equal_published_code(case, threshold):
    data = recorded('metrics.npz')
    pred, target = data[f'{case}.scores'], data[f'{case}.labels']
    result = MLICMetric.calculate(pred, target, 'sadcl', threshold=float(threshold))
    fields = dict(overall='')
    ranked = np.sort(pred, axis=1)[:, ::-1]
    if pred.shape[1] <= 3 or (ranked[:, 2] > ranked[:, 3]).all():  # no tie for the third place
        fields['top3'] = '_top3'
    assert 'top3' in fields or case == 'ties'
    for field, suffix in fields.items():
        expected = np.nan_to_num(data[f'{case}.{field}_{threshold}'])  # NaN: no decision
        values = np.array([result[name + suffix] for name in SIX])
        assert_close(values, expected, rtol=1e-6, atol=0)


# ---- properties --------------------------------------------------------------------------------


@pytest.mark.parametrize('protocol', list(PROTOCOLS))
@pytest.mark.parametrize(
    ('kind', 'axis'),
    [(kind, 0) for kind in ('normal', 'ties', 'integer', 'class_without_positive')]
    + [('class_without_positive', 1)],
)
def test_order_of_images_and_classes_changes_nothing(protocol, kind, axis):
    case = make_case(kind)
    order = np.random.default_rng(5).permutation(case[0].shape[axis])
    result = MLICMetric.calculate(*(matrix.take(order, axis) for matrix in case), protocol)
    assert_close(result, MLICMetric.calculate(*case, protocol), rtol=1e-12, atol=0)


@pytest.mark.parametrize('protocol', list(PROTOCOLS))
def test_classes_are_evaluated_as_the_label_set(protocol):
    pred, target = make_case('normal')
    result = MLICMetric.calculate(pred, target, protocol, classes=[5, 0, 3, 2])
    expected = MLICMetric.calculate(pred[:, [5, 0, 3, 2]], target[:, [5, 0, 3, 2]], protocol)
    assert_close(result, expected, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_any_dtype(dtype):
    pred, target = make_case('normal')
    pred = torch.from_numpy(pred).to(dtype).requires_grad_()
    result = MLICMetric.calculate(pred, torch.from_numpy(target).bool())
    exact = pred.detach().double().numpy()
    assert_close(result, MLICMetric.calculate(exact, target.astype(np.float32)))


def test_threshold_is_compared_in_the_precision_of_the_scores():
    pred, target = np.array([[0.8, 0.9]], dtype=np.float32), np.array([[1, 1]])
    assert MLICMetric.calculate_per_class(pred, target, 'asl')['predicted'].tolist() == [0, 1]
    result = MLICMetric.calculate_per_class(pred, target, 'standard', threshold=0.8)
    assert result['predicted'].tolist() == [1, 1]


def test_strictness_at_the_threshold():
    pred, target = np.full((1, 2), 0.5), np.ones((1, 2), dtype=int)
    calculate = MLICMetric.calculate
    called = {name: calculate(pred, target, name, threshold=0.5)['OR'] for name in PROTOCOLS}
    assert called == dict(sadcl=0.0, standard=100.0, asl=0.0, mmpretrain=100.0)


@pytest.mark.parametrize('topk', [None, 3])
@pytest.mark.parametrize('protocol', ['sadcl', 'standard', 'mmpretrain'])
def test_per_class_averages_to_the_means(protocol, topk):
    pred, target = make_case('class_without_positive')
    per_class = MLICMetric.calculate_per_class(pred, target, protocol, topk=topk)
    means = MLICMetric.calculate(pred, target, protocol)
    suffix = '' if topk is None else '_top3'
    assert_close(float(np.nanmean(per_class['ap'])), means['mAP'])
    assert_close(float(np.nanmean(per_class['precision'])), means[f'CP{suffix}'])
    assert_close(float(np.nanmean(per_class['recall'])), means[f'CR{suffix}'])
    assert per_class['support'].tolist() == target.sum(axis=0).tolist()


def test_class_without_positives_by_protocol():
    pred, target = make_case('class_without_positive')
    left_out = {}
    for name in PROTOCOLS:
        per_class = MLICMetric.calculate_per_class(pred, target, name)
        left_out[name] = [
            np.flatnonzero(np.isnan(per_class[k])).tolist() for k in ('ap', 'precision')
        ]
    assert left_out == dict(
        sadcl=[[2, 5], []], standard=[[2, 5], [2, 5]], asl=[[], []], mmpretrain=[[], []]
    )


def test_no_positive_at_all():
    pred, target = np.full((4, 3), 0.7), np.zeros((4, 3))
    for protocol in ('sadcl', 'standard'):
        with pytest.raises(ValueError, match='no positive label among 4 images x 3 classes'):
            MLICMetric.calculate(pred, target, protocol)
        with pytest.raises(ValueError, match='no positive label'):  # where another has 0
            evaluate_block(Block(pred, target > 0), list('abc'), ['asl', protocol])
    for protocol in ('asl', 'mmpretrain'):
        assert set(MLICMetric.calculate(pred, target, protocol).values()) == {0.0}


# ---- checks at the door ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(target=np.zeros((4, 2))), r'pred is \(4, 3\), target is \(4, 2\)'),
        (dict(ignore=np.zeros((3, 3))), r'pred is \(4, 3\), ignore is \(3, 3\)'),
        (dict(target=np.full((4, 3), 2)), '12 of 12 labels are neither 0 nor 1, such as 2'),
        (
            dict(target=np.full((4, 3), np.nan)),
            '12 of 12 labels are neither 0 nor 1, such as nan .absent is 0;',
        ),
        (dict(pred=np.array([[1, 0, np.nan]] * 4)), '4 of 12 .* image 0 .*class 2'),
        (dict(pred=np.array([[0, -np.inf, 1]] * 4)), '4 of 12 scores .* class 1'),
        (dict(pred=np.array([[0, 1, np.inf]] * 4), classes=[0, 2]), '4 of 8 scores .* class 2'),
        (dict(pred=np.zeros((0, 3)), target=np.zeros((0, 3))), r'at least 1, got \(0, 3\)'),
        (dict(pred=np.zeros(3), target=np.zeros(3)), r'at least 1, got \(3,\)'),
        (dict(protocol='coco'), "unknown protocol 'coco'; known: sadcl, standard, asl, mmpretrain"),
        (dict(classes=[0, 3]), r'classes \[0, 3\] are not all within 0\.\.2'),
        (dict(classes=[-1]), r'classes \[-1\] are not all within 0\.\.2'),
        (dict(classes=[1, 1]), r'different indices, got \[1, 1\]'),
        (dict(classes=[]), r'different indices, got \[\]'),
        (dict(classes=2), 'different indices, got 2'),
        (dict(classes=[0.5]), r'different indices, got \[0.5\]'),
        (dict(classes=['cat']), r"\['cat'\] are not among the 3 of the dataset"),
        (dict(threshold=np.nan), 'threshold must be one finite number or 3, got nan'),
        (dict(threshold=[0.5, 0.5]), r'one finite number or 3, got \[0.5, 0.5\]'),
        (dict(threshold=np.full((4, 1), 0.5)), 'one finite number or 3, got array'),
        (dict(topk=0), 'topk must be a whole number of at least 1, got 0'),
        (dict(topk=3.5), 'topk must be a whole number of at least 1, got 3.5'),
        (dict(topk=True), 'topk must be a whole number of at least 1, got True'),
    ],
)
def test_bad_input(change, message):
    arguments = dict(pred=np.full((4, 3), 0.5), target=np.eye(4, 3))
    arguments.update(change)
    with pytest.raises(ValueError, match=message):
        MLICMetric.calculate(**arguments)


def test_per_class_topk_needs_a_rule():
    with pytest.raises(ValueError, match="'asl' has no top-k rule, got topk=3"):
        MLICMetric.calculate_per_class(*make_case('normal'), 'asl', topk=3)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(protocols='coco'), 'known: sadcl'),
        (dict(protocols=()), 'one or more different names'),
        (dict(protocols=('asl', 'asl')), 'one or more different names'),
        (dict(protocols=('asl', Protocol('asl'))), 'one or more different names'),
        (dict(difficult='keep'), "not 'keep'"),
        (dict(out_file='scores.pkl'), 'must end with .npz, got scores.pkl'),
        (dict(per_class_file='classes.xls'), 'must end with .csv, got classes.xls'),
        (dict(threshold=float('nan')), 'a finite number or a file, got nan'),
        (dict(threshold=True), 'a finite number or a file, got True'),
        (dict(threshold=[0.5]), r'a finite number or a file, got \[0.5\]'),
        (dict(threshold='thresholds.txt'), 'a .json or a .csv file, got thresholds.txt'),
        (dict(topk=0), 'at least 1, got 0'),
        (dict(topk=3.5), 'a whole number of at least 1, got 3.5'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLICMetric(**arguments)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(difficult='ignored'), "difficult is 'ignore', .* not 'ignored'"),
        (dict(names=['ant', 'dog']), r'2 names of classes for scores \(40, 7\)'),
        (dict(classes=[7]), r'classes \[7\] are not all within 0\.\.6'),
        (dict(protocols=[]), 'one or more different names'),
        (dict(protocols='coco'), "unknown protocol 'coco'"),
    ],
)
def test_a_block_is_evaluated_with_good_arguments_only(change, message):
    pred, target = make_case('normal')
    arguments = dict(names=NAMES, protocols='standard')
    with pytest.raises(ValueError, match=message):
        evaluate_block(Block(pred, target == 1), **{**arguments, **change})


@pytest.mark.parametrize('wrong', [dict(ap='voc'), dict(topk_rule='onyl')])
def test_rules_of_a_protocol_that_there_are_not(wrong):
    ((key, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{key} is one of .*, not '{value}'"):
        Protocol('own', **wrong)


def test_a_protocol_of_ones_own():
    pred, target = make_case('normal')
    own = Protocol('own', threshold=0.3, mean_f1=False)
    expected = MLICMetric.calculate(pred, target, own)
    assert expected['CF1'] != MLICMetric.calculate(pred, target)['CF1']
    assert_close(stream(MLICMetric(own), pred, target), prefixed(expected))
    both = stream(MLICMetric(['standard', own]), pred, target)
    assert both['multi-label/own/CF1'] == expected['CF1']
    report = evaluate_block(Block(pred, target == 1), NAMES, own)
    assert_close(report.keyed(), expected)
    per_class = MLICMetric.calculate_per_class(pred, target, own)
    assert_close(per_class['f1'], report.per_class[0]['f1'])


# ---- streaming ---------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['normal', 'ties', 'one_image', 'class_without_positive'])
@pytest.mark.parametrize('protocol', list(PROTOCOLS))
def test_streaming_equals_calculate(protocol, kind):
    pred, target = make_case(kind, dtype=np.float32)
    metric = METRICS.build(dict(type='MLICMetric', protocols=protocol))
    expected = MLICMetric.calculate(pred, target, protocol)
    for _ in range(2):  # nothing stays from the first evaluation
        result = stream(metric, pred, target)
        assert_close(result, prefixed(expected), rtol=0, atol=0)
        assert metric.results == []


def test_several_protocols_and_prefix():
    pred, target = make_case('normal')
    metric = MLICMetric(protocols=['asl', 'standard', 'sadcl'], threshold=0.6, topk=2, prefix='val')
    expected = {}
    for name, key in (('asl', ''), ('standard', 'standard/'), ('sadcl', 'sadcl/')):
        values = MLICMetric.calculate(pred, target, name, threshold=0.6, topk=2)
        expected.update({f'val/{key}{k}': v for k, v in values.items()})
    assert_close(stream(metric, pred, target), expected, rtol=0, atol=0)


def test_one_array_per_batch_and_padding_cut():
    pred, target = make_case('normal')
    metric = MLICMetric()
    metric.process(None, data_samples(pred, target))
    metric.process(None, data_samples(pred[:3], target[:3]))  # a sampler's padding
    assert [len(block.pred) for block in metric.results] == [40, 3]
    result = metric.evaluate(40)
    assert_close(result['multi-label/mAP'], MLICMetric.calculate(pred, target)['mAP'])


def test_evaluator_with_label_indices_and_half_precision():
    pred, target = make_case('normal')
    pred = torch.from_numpy(pred).bfloat16()
    samples = [
        DataSample().set_pred_score(scores).set_gt_label(np.flatnonzero(labels))
        for scores, labels in zip(pred, target)
    ]
    evaluator = Evaluator(MLICMetric())
    evaluator.dataset_meta = dict(classes=tuple('abcdefg'))
    evaluator.process(samples)
    result = evaluator.evaluate(len(samples))
    assert_close(result['multi-label/CF1'], MLICMetric.calculate(pred, target)['CF1'])


@pytest.mark.parametrize('difficult', ['ignore', 'negative', 'positive'])
def test_difficult_labels(difficult):
    pred, target = make_case('normal')
    listed = np.random.default_rng(7).random(pred.shape) < 0.2
    metric = MLICMetric(difficult=difficult)
    metric.process(None, data_samples(pred, target, listed))
    only_difficult = listed & (target == 0)  # positive wins where both are listed
    assert (listed & (target == 1)).any()
    if difficult == 'ignore':
        expected = MLICMetric.calculate(pred, target, ignore=only_difficult)
    else:
        labels = np.where(only_difficult & (difficult == 'positive'), 1, target)
        expected = MLICMetric.calculate(pred, labels)
    result = metric.evaluate(len(pred))
    assert_close(result, prefixed(expected), rtol=0, atol=0)


@pytest.mark.parametrize('form', ['indices', 'names', 'path'])
def test_classes_by_index_name_and_file(form, tmp_path):
    pred, target = make_case('normal')
    path = tmp_path / 'unseen.txt'
    path.write_text('cat\ndog\n\nowl\n')
    classes = dict(indices=[6, 1, 3], names=['cat', 'dog', 'owl'], path=str(path))[form]
    metric = MLICMetric(classes=classes)
    metric.dataset_meta = dict(classes=NAMES)
    expected = MLICMetric.calculate(pred, target, classes=[6, 1, 3])
    result = stream(metric, pred, target)
    assert_close(result, prefixed(expected), rtol=0, atol=0)


def test_wrong_number_of_class_names():
    metric = MLICMetric()
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    with pytest.raises(ValueError, match='dataset_meta has 2 classes, the scores 7'):
        stream(metric, *make_case('normal'))


def test_scores_that_are_not_finite_name_image_and_class():
    pred, target = make_case('normal')
    pred[[20, 31], [3, 5]] = np.nan, np.inf
    metric = MLICMetric()
    metric.dataset_meta = dict(classes=NAMES)
    metric.process(None, data_samples(pred[:16], target[:16]))
    message = r"class 'owl' is nan for image number 20 .*\(2 of 24 images of its batch"
    with pytest.raises(ValueError, match=message):
        metric.process(None, data_samples(pred[16:], target[16:]))
    with pytest.raises(ValueError, match=r"class 'hen' is inf for image voc/7\.jpg \(1 of 1 "):
        metric.process(None, data_samples(pred[[31]], target[[31]], img_path='voc/7.jpg'))


def test_bad_samples():
    pred, target = make_case('normal')
    metric = MLICMetric()
    with pytest.raises(ValueError, match='of 280 labels are neither 0 nor 1, such as 2'):
        metric.process(None, data_samples(pred, target * 2))
    with pytest.raises(ValueError, match=r'pred_score is \(40, 7\), the labels are \(40, 6\)'):
        metric.process(None, [dict(pred_score=p, gt_score=t[:6]) for p, t in zip(pred, target)])
    with pytest.raises(ValueError, match=r'labels \[3, 7\] are not all within 0\.\.6'):
        metric.process(None, [dict(pred_score=pred[0], gt_label=torch.tensor([3, 7]))])
    with pytest.raises(KeyError, match='gt_label'):
        metric.process(None, [dict(pred_score=pred[0])])


def test_evaluate_without_images_warns_and_raises(log):
    with pytest.raises(ValueError, match='no image was evaluated'):
        MLICMetric().evaluate(5)
    assert log == ['MLICMetric.evaluate before any batch']


def test_table_in_the_log(log):
    pred, target = make_case('class_without_positive')
    metric = MLICMetric(protocols=('sadcl', 'asl'))
    metric.dataset_meta = dict(classes=NAMES)
    result = stream(metric, pred, target)
    (table,) = log
    header, *rows = table.split('\n')
    assert header == '40 images, 7 classes, 2 without positives (bee, hen); in percent'
    cells = [row.split() for row in rows]
    keys = ['CP', 'CR', 'CF1', 'OP', 'OR', 'OF1']

    def values(form, keys=('mAP', *keys)):
        return [f'{result["multi-label/" + form.format(key)]:.2f}' for key in keys]

    mean, *means = values('{}')
    assert cells[0] == ['mAP', 'mAP', 'over', *keys]
    assert cells[1] == ['sadcl,', '>', '0.5', mean, '5', *means]
    assert cells[2] == ['sadcl,', '>', '0.5,', 'top', '3', *values('{}_top3', keys)]
    mean, *means = values('asl/{}')
    assert cells[3:] == [['asl,', '>', '0.8', mean, '7', *means]]  # which has no top-k rule
    assert len({len(row) for row in rows}) == 1


def test_calculate_names_the_classes_left_out(log):
    pred, target = make_case('class_without_positive')
    MLICMetric.calculate(pred, target, 'standard', classes=[0, 5, 1])
    MLICMetric.calculate(pred, target, 'asl')
    assert log == ['left out of mAP: 1 without positives (5)']
    target[:, 5] = 1
    MLICMetric.calculate(pred, target, 'asl', ignore=np.eye(*target.shape)[:, ::-1] > 0)
    assert log[1:] == ['left out of mAP: 1 without known negatives (5)']


def test_fewer_images_than_the_dataset_warns(log):
    metric = MLICMetric()
    metric.process(None, data_samples(*make_case('normal')))
    metric.evaluate(50)
    assert log[0] == '40 of 50 images evaluated'


def test_out_file(tmp_path):
    pred, target = make_case('normal', dtype=np.float32)
    path = tmp_path / 'new' / 'scores.npz'
    metric = MLICMetric(out_file=str(path), classes=[1, 2])
    metric.dataset_meta = dict(classes=NAMES)
    stream(metric, pred, target)
    with np.load(path, allow_pickle=False) as saved:
        assert sorted(saved.files) == ['classes', 'ignore', 'pred', 'target']
        assert_close(saved['pred'], pred, rtol=0, atol=0)
        assert_close(saved['target'], target.astype(np.uint8))
        assert_close(saved['ignore'], np.zeros_like(target, dtype=bool))
        assert saved['classes'].tolist() == list(NAMES)


@pytest.mark.parametrize('difficult', ['ignore', 'negative', 'positive'])
def test_saved_predictions_are_enough_for_every_difficult_rule(difficult, tmp_path):
    pred, target = make_case('normal')
    listed = np.random.default_rng(7).random(pred.shape) < 0.2
    saver = MLICMetric(difficult=difficult, out_file=str(tmp_path / 'scores.npz'))
    for rule in ('ignore', 'negative', 'positive'):
        metric = MLICMetric(difficult=rule, protocols=list(PROTOCOLS))
        for one in (metric, saver):
            one.process(None, data_samples(pred, target, listed))
        saver.evaluate(len(pred))
        block, names = read_predictions(saver.out_file)
        report = evaluate_block(block, names, metric.protocols, difficult=rule)
        expected = prefixed(report.keyed())
        assert_close(metric.evaluate(len(pred)), expected, rtol=0, atol=0)


def test_out_file_is_written_even_without_positives(tmp_path):
    path = tmp_path / 'scores.npz'
    with pytest.raises(ValueError, match='no positive label'):
        stream(MLICMetric(out_file=str(path)), np.full((4, 3), 0.5), np.zeros((4, 3)))
    with np.load(path, allow_pickle=False) as saved:
        assert saved['classes'].tolist() == ['0', '1', '2']


def test_per_class_file(tmp_path):
    pred, target = make_case('class_without_positive')
    path = tmp_path / 'new' / 'classes.csv'
    names = ('ant', 'dog', 'bee', 'owl', 'fox, red', 'hen', 'cat')
    chosen = [6, 2, 4]
    metric = MLICMetric(['standard', 'asl'], classes=chosen, per_class_file=str(path))
    metric.dataset_meta = dict(classes=names)
    stream(metric, pred, target)
    with path.open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['protocol'] for row in rows] == ['standard'] * 3 + ['asl'] * 3
    assert [row['class'] for row in rows[:3]] == ['cat', 'bee', 'fox, red']
    for protocol, part in (('standard', rows[:3]), ('asl', rows[3:])):
        values = MLICMetric.calculate_per_class(pred, target, protocol, classes=chosen)
        for column, key in (('AP', 'ap'), ('precision', 'precision'), ('recall', 'recall')):
            expected = ['' if np.isnan(v) else f'{v:.4f}' for v in values[key]]
            assert [row[column] for row in part] == expected
        assert [int(row['support']) for row in part] == values['support'].tolist()
        assert [int(row['predicted']) for row in part] == values['predicted'].tolist()
    assert rows[1]['AP'] == rows[1]['F1'] == '' and rows[4]['AP'] == '0.0000'
    assert [rows[0]['threshold'], rows[3]['threshold']] == ['0.5', '0.8']


@pytest.mark.parametrize('form', ['json', 'csv'])
def test_threshold_file(form, tmp_path):
    pred, target = make_case('normal', dtype=np.float32)
    values = dict(zip(NAMES, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)))
    path = tmp_path / f'thresholds.{form}'
    if form == 'json':
        path.write_text(json.dumps(dict(reversed(values.items()))))
    else:
        path.write_text('class,threshold\n' + ''.join(f'{k},{v}\n' for k, v in values.items()))
    for classes in (None, [3, 0]):
        metric = MLICMetric(threshold=str(path), classes=classes)
        metric.dataset_meta = dict(classes=NAMES)
        levels = np.array(list(values.values()))[slice(None) if classes is None else classes]
        expected = MLICMetric.calculate(pred, target, threshold=levels, classes=classes)
        result = stream(metric, pred, target)
        assert_close(result, prefixed(expected), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('classes', r"\['unicorn'\] are not among the 3 of the dataset"),
        ('indices', r'classes \[0, 3\] are not all within 0\.\.2'),
        ('threshold', 'no threshold for 2 classes: dog, owl; and 1 unknown class: unicorn'),
    ],
)
def test_other_classes_fail_before_the_first_batch(argument, message, tmp_path):
    path = tmp_path / 'thresholds.json'
    path.write_text('{"cat": 0.5, "unicorn": 0.5}')
    given = dict(
        classes=dict(classes=['cat', 'unicorn']),
        indices=dict(classes=[0, 3]),
        threshold=dict(threshold=str(path)),
    )
    metric = MLICMetric(**given[argument])
    with pytest.raises(ValueError, match=message):
        metric.dataset_meta = dict(classes=('cat', 'dog', 'owl'))


def test_a_class_is_not_chosen_by_a_name_that_two_have():
    names = ['cat', 'dog', 'cat', 'owl']
    assert class_indices(['owl', 'dog'], names) == [3, 1]
    with pytest.raises(ValueError, match="several of the 4 classes are called 'cat'"):
        class_indices(['owl', 'cat'], names)
    with pytest.raises(ValueError, match='not among the 4') as refusal:
        class_indices(['x' * 10_000] * 10_000, names)
    assert len(str(refusal.value)) < 5000


# ---- cost --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ('shape', 'seconds_ap', 'seconds_all'), [((40504, 80), 0.4, 2.5), ((83898, 81), 1.0, 2.5)]
)
def test_cost_at_the_size_of_coco_and_nus_wide(shape, seconds_ap, seconds_all):
    rng = np.random.default_rng(0)
    pred, target = rng.random(shape, dtype=np.float32), rng.random(shape) < 0.036
    block, names = Block(pred, target, None), [str(c) for c in range(shape[1])]
    protocols = get_protocols(list(PROTOCOLS))
    # time of this process's core, which other programs on the machine do not change much
    start = time.process_time()
    average_precision(pred, target)
    assert time.process_time() - start < seconds_ap
    start = time.process_time()
    evaluate_block(block, names, protocols)
    assert time.process_time() - start < seconds_all
    with memory_below(3 * pred.nbytes):
        evaluate_block(block, names, protocols)


# ---- several processes -------------------------------------------------------------------------

DIST_SIZE = 7
DIST_SHARDS = dict(  # image indices of rank 0 and rank 1
    padded=([0, 2, 4, 6], [1, 3, 5, 0]),
    not_padded=([0, 2, 4, 6], [1, 3, 5]),
    uneven=([0, 1, 2, 3, 4, 5], [6]),
    one_rank_idle=([0, 1, 2, 3, 4, 5, 6], []),
)


def _dist_case():
    pred, target = make_case('normal', seed=8)
    difficult = np.eye(7, dtype=bool) & (np.arange(7) % 2 == 1)  # one of every other image
    unknown = np.zeros_like(difficult)
    unknown[6, 2:4] = True  # of one rank's last image
    return pred[:DIST_SIZE], target[:DIST_SIZE], difficult, unknown


def _dist_worker(rank, folder):
    """Evaluate each sharding on both ranks and write what this rank got."""
    torch_dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2
    )
    pred, target, *marks = _dist_case()
    outcomes = {}
    for name, shards in DIST_SHARDS.items():
        for exchange in ('group', 'files'):
            metric = MLICMetric(
                out_file=f'{folder}/{name}_{exchange}.npz',
                per_class_file=f'{folder}/of_rank{rank}/{name}_{exchange}.csv',
                collect_dir=f'{folder}/collect' if exchange == 'files' else None,
            )
            for index in shards[rank]:
                rows = (matrix[[index]] for matrix in (pred, target, *marks))
                metric.process(None, data_samples(*rows))
            outcomes[f'{name}_{exchange}'] = metric.evaluate(DIST_SIZE)
    metric = MLICMetric()
    metric.process(None, data_samples(pred[:2], np.zeros_like(target[:2])))
    try:
        metric.evaluate(4)
    except ValueError as error:
        outcomes['error'] = str(error)
    Path(folder, f'rank{rank}.json').write_text(json.dumps(outcomes))
    torch_dist.destroy_process_group()


@pytest.mark.dist
def test_two_processes_equal_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_ranks(2, _dist_worker, tmp_path)
    pred, target, difficult, unknown = _dist_case()
    difficult &= (target == 0) & ~unknown
    expected = prefixed(MLICMetric.calculate(pred, target, ignore=difficult | unknown))
    for rank in range(2):
        outcomes = json.loads((tmp_path / f'rank{rank}.json').read_text())
        assert 'no positive label among 4 images' in outcomes.pop('error')
        assert len(outcomes) == 2 * len(DIST_SHARDS)
        for result in outcomes.values():
            assert_close(result, expected)
    for exchange in ('group', 'files'):
        for name in ('padded', 'not_padded'):  # the sampler's sharding: dataset order is restored
            with np.load(tmp_path / f'{name}_{exchange}.npz', allow_pickle=False) as saved:
                assert_close(saved['pred'], pred, rtol=0, atol=0)
                assert_close(saved['ignore'], difficult)
                assert_close(saved['unknown'], unknown)
    assert len(list((tmp_path / 'of_rank0').iterdir())) == 2 * len(DIST_SHARDS)
    assert not (tmp_path / 'of_rank1').exists()  # the main process alone writes
    assert not (tmp_path / '.dist_test').exists()  # what mmengine's own collection leaves behind


@pytest.mark.parametrize('topk', [None, 1, 3])
@pytest.mark.parametrize('protocols', ['standard', list(PROTOCOLS)])
def test_the_names_of_the_metrics_are_known_before_any_image(protocols, topk):
    metric = MLICMetric(protocols, topk=topk, prefix='mine', threshold=0.3)
    metric.dataset_meta = dict(classes=NAMES)
    scores = np.random.default_rng(0).random((9, len(NAMES)))
    samples = [dict(pred_score=row, gt_score=row > 0.4) for row in scores]
    names = metric.metric_names()
    metric.process(None, samples)
    assert list(metric.evaluate(len(samples))) == names


def test_what_every_metric_of_mmengine_takes_is_taken():
    options = dict(collect_device='cpu', prefix='own', collect_dir=None)
    metric = METRICS.build(dict(type='MLICMetric', **options))
    metric.process(None, [dict(pred_score=torch.eye(2)[0], gt_score=torch.eye(2)[0])] * 2)
    assert metric.evaluate(2)['own/mAP'] == 100.0
