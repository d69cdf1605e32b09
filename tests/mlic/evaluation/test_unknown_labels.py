"""Labels that nobody looked at: in no number of any tool, in no file a difference."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score

import tests.reference_metrics as reference
from mlic.cli.publish_model import measured
from mlic.comparison.runs import Run
from mlic.comparison.tables import summarise, write_tables
from mlic.comparison.tuning import _score
from mlic.evaluation.bootstrap import bootstrap_weights, mean_ap
from mlic.evaluation.matrices import Block, apply_difficult_rule
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.predictions import read_predictions, save_predictions
from mlic.evaluation.protocols import PROTOCOLS
from mlic.evaluation.summary import evaluate_block
from mlic.evaluation.thresholds import best_threshold, fit_thresholds
from mlic.visualization.cooccurrence import conditional_shares
from mlic.visualization.curves import pr_curve
from mlic.visualization.report import prediction_data, select_mistakes, threshold_counts
from tests.helpers import ROOT, run_tool

TOOLS = ROOT / 'tools/analysis_tools'
RULES = ('ignore', 'negative', 'positive')
NAMES = ['ant', 'bee', 'cat', 'dog', 'elk', 'fox', 'gnu', 'hen']
POSITIVE_ONLY, NEGATIVE_ONLY, NOTHING, ALL_KNOWN = 4, 5, 6, 7  # classes, by what is known of them


def make_block(seed=0, images=50):
    """A block with tied scores, difficult entries, and classes of which little is known."""
    rng = np.random.default_rng(seed)
    target = rng.random((images, len(NAMES))) < np.linspace(0.5, 0.2, len(NAMES))
    pred = np.round(rng.random(target.shape) * 0.7 + 0.3 * target, 2)
    unknown = rng.random(target.shape) < 0.4
    unknown[:, POSITIVE_ONLY] = ~target[:, POSITIVE_ONLY]
    unknown[:, NEGATIVE_ONLY] = target[:, NEGATIVE_ONLY]
    unknown[:, NOTHING], unknown[:, ALL_KNOWN] = True, False
    difficult = (rng.random(target.shape) < 0.1) & ~target & ~unknown
    difficult[:, POSITIVE_ONLY] = False
    return Block(pred, target & ~unknown, difficult, unknown)


def scrambled(block, seed=1):
    """The same, with other scores and any truth where it is unknown, as one may write it."""
    rng = np.random.default_rng(seed)
    pred = np.where(block.unknown, rng.random(block.pred.shape), block.pred)
    target = np.where(block.unknown, rng.integers(-1, 3, pred.shape), block.target)
    return block._replace(pred=pred, target=target)


def as_lists(block, rule):
    """Scores, and labels as lists, None where they do not count."""
    target, ignore = apply_difficult_rule(block, rule)
    labels = np.where(ignore, None, target.astype(int)).tolist()
    return block.pred.tolist(), labels


def data_samples(block, hot):
    """What a model gives, the truth as ``gt_score`` or as indices."""
    for pred, target, *marks in zip(*block):
        sample = dict(pred_score=torch.from_numpy(pred))
        if hot:
            sample['gt_score'] = torch.from_numpy(target.astype(np.float32))
        else:
            sample['gt_label'] = torch.from_numpy(np.flatnonzero(target == 1))
        for key, mark in zip(('difficult', 'unknown'), marks):
            if mark.any():  # absent and empty mean the same
                sample[f'gt_label_{key}'] = np.flatnonzero(mark).tolist()
        yield sample


def write(path, block, **changes):
    """A prediction file as another program may write it."""
    arrays = dict(zip(('pred', 'target', 'ignore', 'unknown'), block), classes=np.array(NAMES))
    np.savez(path, **{**arrays, **changes})
    return path


def read_rows(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


# ---- the metric --------------------------------------------------------------------------------


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('seed', [0, 1])
def test_every_protocol_equals_loops_over_known_entries(seed, rule):
    block = make_block(seed)
    report = evaluate_block(block, NAMES, list(PROTOCOLS.values()), difficult=rule)
    for protocol, metrics in zip(PROTOCOLS, report.metrics):
        expected = reference.protocol_metrics(protocol, *as_lists(block, rule))
        assert_allclose([metrics[key] for key in expected], list(expected.values()), rtol=1e-10)
        assert list(metrics) == list(expected)


@pytest.mark.parametrize('hot', [True, False])
@pytest.mark.parametrize('rule', RULES)
def test_the_metric_takes_unknown_labels_from_the_samples(rule, hot, tmp_path):
    block = make_block()
    expected = evaluate_block(block, NAMES, list(PROTOCOLS.values()), difficult=rule).keyed()
    for given in (block, scrambled(block)):
        metric = MLICMetric(list(PROTOCOLS), difficult=rule, out_file=str(tmp_path / 'p.npz'))
        samples = list(data_samples(given, hot))
        for start in range(0, len(samples), 7):
            metric.process(None, samples[start : start + 7])
        result = metric.evaluate(len(samples))
        assert result == {f'multi-label/{key}': value for key, value in expected.items()}
        saved, _ = read_predictions(tmp_path / 'p.npz')
        for one, other in zip(saved[1:], block[1:]):
            assert_array_equal(one, other)


def test_an_unknown_label_is_never_difficult_nor_true():
    sample = dict(pred_score=torch.tensor([0.9, 0.8, 0.1]), gt_label=torch.tensor([0, 1]))
    sample |= dict(gt_label_difficult=[1, 2], gt_label_unknown=[1])
    metric = MLICMetric()
    metric.process(None, [sample])
    _, target, difficult, unknown = metric.results[0]
    assert target.tolist() == [[True, False, False]]
    assert (difficult.tolist(), unknown.tolist()) == (
        [[False, False, True]],
        [[False, True, False]],
    )


@pytest.mark.parametrize('rule', RULES)
def test_unknown_entries_are_left_out_as_difficult_ones_can_be(rule):
    block = make_block()
    merged = block._replace(difficult=block.difficult | block.unknown, unknown=None)
    protocols = list(PROTOCOLS.values())
    as_difficult = evaluate_block(merged, NAMES, protocols, difficult='ignore').keyed()
    as_unknown = evaluate_block(
        block._replace(difficult=None, unknown=merged.difficult), NAMES, protocols, difficult=rule
    ).keyed()
    assert as_unknown == as_difficult


def test_a_class_without_known_negatives_or_positives_is_named_and_has_no_ap():
    block = make_block()._replace(difficult=None)
    report = evaluate_block(block, NAMES, list(PROTOCOLS.values()))
    assert (report.empty, report.one_sided) == (['fox', 'gnu'], ['elk', 'gnu'])
    header, _, *rows = report.table().split('\n')
    known = 1 - block.unknown.mean(axis=0)
    assert header == (
        '50 images, 8 classes, 2 without positives (fox, gnu), 2 without known negatives (elk, gnu)'
        f', {100 * known.mean():.1f} % of the labels known (least: gnu 0.0 %); in percent'
    )
    # fox has known negatives only: 0 where the protocol says so of a class without positives
    over = [row.split()[4] for row in rows if 'top 3' not in row]
    assert over == ['5', '5', '6', '6']
    for protocol, values in zip(PROTOCOLS, report.per_class):
        for key in ('ap', 'precision', 'recall', 'f1'):
            assert np.isnan(values[key][[POSITIVE_ONLY, NOTHING]]).all(), (protocol, key)
        assert np.isnan(values['ap'][NEGATIVE_ONLY]) == (protocol in ('sadcl', 'standard'))
        assert_array_equal(values['support'], block.target.sum(axis=0))


def test_the_table_of_classes_says_the_share_of_known_labels(tmp_path):
    block = make_block()
    protocols = [PROTOCOLS['standard'], PROTOCOLS['asl']]
    evaluate_block(block, NAMES, protocols).write_per_class(tmp_path / 'a.csv')
    rows = read_rows(tmp_path / 'a.csv')
    known = 100 - 100 * block.unknown.mean(axis=0)
    assert [float(row['known']) for row in rows] == pytest.approx([*known, *known])
    assert [row['support'] for row in rows[:8]] == block.target.sum(axis=0).astype(str).tolist()
    assert [row['AP'] == '' for row in rows[:8]] == [False] * 4 + [True] * 3 + [False]
    some = [NAMES[ALL_KNOWN]]  # of which all is known: nothing is said
    for classes, given in ((some, block), (None, block._replace(unknown=None))):
        report = evaluate_block(given, NAMES, protocols, classes=classes)
        report.write_per_class(tmp_path / 'b.csv')
        assert 'known' not in read_rows(tmp_path / 'b.csv')[0] and 'known' not in report.table()


def test_a_metric_of_positives_alone_is_an_error():
    target = np.eye(3, dtype=bool)
    block = Block(np.full((3, 3), 0.5), target, None, ~target)
    message = '^no class has both a positive and a known negative among 3 images x 3'
    for protocol in PROTOCOLS.values():
        with pytest.raises(ValueError, match=message):
            evaluate_block(block, list('abc'), [protocol])
    # b has negatives, and no positive
    some = block._replace(target=target & [1, 0, 1] > 0, unknown=~target & [1, 0, 1] > 0)
    with pytest.raises(ValueError, match=message):
        evaluate_block(some, list('abc'), [PROTOCOLS['standard']])
    nothing = block._replace(target=np.zeros_like(target), unknown=np.ones_like(target))
    for protocol in PROTOCOLS.values():
        with pytest.raises(ValueError, match='^no positive label among 3 images x 3'):
            evaluate_block(nothing, list('abc'), [protocol])


# ---- every number of every tool ----------------------------------------------------------------


# whoever reads predictions shows here that unknown entries change none of its numbers
def by_eval_metric(path, out):
    options = ('--protocols', 'all', '--per-class', out / 'a.csv', '--out', out / 'a.json')
    run_tool(TOOLS / 'eval_metric.py', path, *options)
    return (out / 'a.csv').read_text(), (out / 'a.json').read_text()


def by_fit_thresholds(path, out):
    run_tool(TOOLS / 'fit_thresholds.py', path, '--out', out / 'a.json')
    record = json.loads((out / 'a.json').read_text())
    return {key: value for key, value in record.items() if key != 'fitted_on'}


def by_report(path, out):
    block, names = read_predictions(path)
    target, ignore = apply_difficult_rule(block, 'ignore')
    chosen = select_mistakes(block.pred, target, ignore, 20)
    return prediction_data(block.pred, target, ignore, names), chosen


def by_plot(path, out):
    tables = []
    other = out.parent / 'other.npz'
    for command, *files in (
        *(('pr', path), ('cooccurrence', path)),
        *(('compare', path, other), ('compare', other, path)),
    ):
        run_tool(TOOLS / 'plot.py', command, *files, '--out', out / f'{command}.svg')
        tables.append((out / f'{command}.csv').read_text())
    return tables


def by_model_card(path, out):
    report = measured(path, NAMES)
    return report.keyed(), report.table()


def by_tables(path, out):
    runs = [make_run(out.parent, 'first', out.parent / 'other.npz'), make_run(out, 'own', path)]
    summaries, names = summarise(runs, list(PROTOCOLS), num_resamples=50)
    write_tables(summaries, names, out)
    return (out / 'table.csv').read_text(), (out / 'results.json').read_text()


def by_tuning(path, out):
    return _score(make_run(out, 'run', path))


READERS = {
    'mlic/cli/eval_metric.py': by_eval_metric,
    'mlic/cli/fit_thresholds.py': by_fit_thresholds,
    'mlic/cli/plot.py': by_plot,
    'mlic/cli/publish_model.py': by_model_card,
    'mlic/cli/report.py': by_report,
    'mlic/comparison/tables.py': by_tables,
    'mlic/comparison/tuning.py': by_tuning,
}


def make_run(folder, name, predictions):
    """A run that is done, with these predictions."""
    run = Run(name, 0, '', folder / name, 'last')
    run.folder.mkdir(exist_ok=True)
    run.predictions.write_bytes(Path(predictions).read_bytes())
    run.record.write_text('{"train_seconds": 1.0, "commit": "a"}')
    return run


def test_all_readers_of_predictions_are_shown_here():
    sources = [*ROOT.glob('mlic/**/*.py'), *ROOT.glob('projects/**/*.py')]
    found = {
        path.relative_to(ROOT).as_posix()
        for path in sources
        if 'read_predictions(' in path.read_text(encoding='utf-8')
    }
    assert found == {'mlic/evaluation/predictions.py', *READERS}


@pytest.mark.parametrize('reader', READERS)
def test_no_number_depends_on_what_is_under_unknown_entries(reader, tmp_path, monkeypatch):
    monkeypatch.setattr('mlic.cli.plot.write_picture', lambda path, figure: None)  # for speed
    block = make_block()
    rng = np.random.default_rng(5)
    write(tmp_path / 'other.npz', block._replace(pred=rng.random(block.pred.shape)))
    results = []
    for number, given in enumerate((block, scrambled(block))):
        out = tmp_path / f'out{number}'
        out.mkdir()
        results.append(READERS[reader](write(out / 'p.npz', given), out))
    assert results[0] == results[1]
    known = block._replace(unknown=np.zeros_like(block.unknown))  # which do matter if they count
    (tmp_path / 'all').mkdir()
    write(tmp_path / 'other.npz', known._replace(pred=rng.random(block.pred.shape)))
    assert READERS[reader](write(tmp_path / 'all/p.npz', known), tmp_path / 'all') != results[0]


# ---- prediction files --------------------------------------------------------------------------


def test_unknown_entries_are_saved_and_read(tmp_path):
    block = make_block()
    save_predictions(str(tmp_path / 'p.npz'), block, NAMES)
    result, names = read_predictions(tmp_path / 'p.npz')
    assert names == NAMES
    for one, other in zip(result, block):
        assert_array_equal(one, other)


def test_a_file_without_unknown_entries_is_the_one_of_before(tmp_path):
    for unknown in (None, np.zeros((50, 8), bool)):
        save_predictions(str(tmp_path / 'p.npz'), make_block()._replace(unknown=unknown), NAMES)
        with np.load(tmp_path / 'p.npz') as saved:
            assert set(saved) == {'pred', 'target', 'ignore', 'classes'}
        assert read_predictions(tmp_path / 'p.npz')[0].unknown is None


def test_unknown_goes_before_difficult_and_truth_in_a_file(tmp_path):
    block = make_block()
    everywhere = np.ones_like(block.unknown)
    path = write(tmp_path / 'p.npz', block, ignore=everywhere, target=-1 * everywhere)
    result, _ = read_predictions(path)
    assert not result.target.any() and not (result.difficult & result.unknown).any()
    assert_array_equal(result.unknown, block.unknown)


@pytest.mark.parametrize(
    'unknown, message',
    [
        (np.zeros((50, 8), np.int64), 'unknown must hold booleans, not int64'),
        (np.zeros((8, 50), bool), r'pred is \(50, 8\), unknown is \(8, 50\)'),
    ],
)
def test_what_is_wrong_with_unknown_in_a_file_is_named(unknown, message, tmp_path):
    with pytest.raises(ValueError, match=f'p.npz: {message}'):
        read_predictions(write(tmp_path / 'p.npz', make_block(), unknown=unknown))


# ---- thresholds, curves, shares, the bootstrap -------------------------------------------------


@pytest.mark.parametrize('smoothing', [0.0, 2.0])
def test_thresholds_are_fitted_to_known_entries(smoothing, capsys, tmp_path):
    pred, target, _, unknown = block = make_block()
    thresholds, overall = fit_thresholds(pred, target, unknown, smoothing=smoothing)
    assert overall == best_threshold(pred[~unknown], target[~unknown], False)
    for c in range(len(NAMES)):
        rows = ~unknown[:, c]
        if c in (POSITIVE_ONLY, NEGATIVE_ONLY, NOTHING):
            assert thresholds[c] == overall
            continue
        own, n = best_threshold(pred[rows, c], target[rows, c], False), target[:, c].sum()
        assert_allclose(thresholds[c], (n * own + smoothing * overall) / (n + smoothing))
    out = tmp_path / 't.json'
    run_tool(TOOLS / 'fit_thresholds.py', write(tmp_path / 'p.npz', block), '--out', out)
    record = json.loads(out.read_text())
    assert record['classes_without_positives'] == ['fox', 'gnu']
    assert record['classes_without_known_negatives'] == ['elk', 'gnu']
    assert '2 without known negatives (elk, gnu): these take the global' in capsys.readouterr().out


def test_counts_curves_and_mistakes_are_those_of_known_entries():
    pred, target, _, unknown = make_block()
    decisions, hits = threshold_counts(pred, target, unknown)
    data = prediction_data(pred, target, unknown, NAMES)
    for c in range(len(NAMES)):
        rows = ~unknown[:, c]
        called = pred[rows, c] >= 0.5
        assert decisions[c, 50] == called.sum() and hits[c, 50] == (called & target[rows, c]).sum()
        curve = pr_curve('a', pred[:, c], target[:, c], unknown[:, c])
        if c in (POSITIVE_ONLY, NEGATIVE_ONLY, NOTHING):
            assert curve is None and data['ap'][c] is None and data['curves'][c] is None
        else:
            ap = average_precision_score(target[rows, c], pred[rows, c])
            assert_allclose((curve.ap, data['ap'][c] / 100), ap, atol=1e-5)
    micro = average_precision_score(target[~unknown], pred[~unknown])
    assert_allclose(pr_curve('all', pred, target, unknown).ap, micro)
    mistakes, missed = select_mistakes(pred, target, unknown, 100)
    assert mistakes and missed
    assert not any(unknown[entry] for entry in mistakes + missed)


def test_shares_of_images_are_of_those_that_are_known():
    rng = np.random.default_rng(2)
    present, unknown = rng.random((60, 5)) < 0.4, rng.random((60, 5)) < 0.3
    unknown[:, 4] = present[:, 1]  # of the images with class 1 nobody knows class 4
    shares = conditional_shares(present, unknown)
    for i in range(5):
        for j in range(5):
            rows = [r for r in range(60) if present[r, i] and not unknown[r, [i, j]].any()]
            expected = np.mean(present[rows, j]) if rows else np.nan
            assert_allclose(shares[i, j], expected)
    assert np.isnan(shares[1, 4])


def test_map_of_a_resample_is_that_of_its_known_images():
    block = make_block(images=12)._replace(difficult=None)  # so few that classes lose negatives
    pred, target, _, unknown = block
    weights = bootstrap_weights(12, 200)
    values = mean_ap(pred, target, weights, unknown) * 100
    for column, value in zip(weights.T, values):
        drawn = np.repeat(np.arange(12), column)
        sample = Block(pred[drawn], target[drawn], None, unknown[drawn])
        (metrics,) = evaluate_block(sample, NAMES, [PROTOCOLS['standard']]).metrics
        assert_allclose(value, metrics['mAP'], rtol=1e-10)


def test_runs_with_other_unknown_labels_are_not_compared(tmp_path):
    block = make_block()
    other = block.unknown.copy()
    other[np.flatnonzero(~block.target[:, 0])[0], 0] ^= True
    paths = [
        write(tmp_path / f'{n}.npz', block, unknown=u) for n, u in enumerate((block.unknown, other))
    ]
    runs = [make_run(tmp_path, f'run{n}', path) for n, path in enumerate(paths)]
    with pytest.raises(ValueError, match='has other test images, labels or classes than'):
        summarise(runs, num_resamples=2)
    with pytest.raises(SystemExit, match='have different images or labels, or a different order'):
        run_tool(TOOLS / 'plot.py', 'compare', *paths, '--out', tmp_path / 'a.png')
