"""Prediction with some labels known, from Python and by the tools. C classes."""

import csv
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from torch.testing import assert_close

import projects.c_tran  # noqa: F401, whose model is trained
from mlic.apis import known_labels
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.cli import infer
from mlic.cli import test as test_tool
from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.runner.known_share import hidden_labels
from mlic.evaluation.mlic_metric import MLICMetric
from tests.helpers import run_tool
from tests.photo_run import CLASSES, make_config

KNOWN = {'dog': True, 'cat': False}


@pytest.fixture(scope='module')
def c_tran(tmp_path_factory):
    """The folder of a tiny training of C-Tran on photographs, instead of SADCL's."""
    folder = tmp_path_factory.mktemp('c_tran') / 'run'
    cfg = make_config(folder)
    head = dict(type='CTranHead', num_classes=5, in_channels=16, num_layers=2)
    cfg.merge_from_dict(dict(custom_imports=dict(imports=['projects.c_tran'])))
    cfg.model = dict(type='ImageClassifier', backbone=cfg.model.backbone, head=head)
    cfg.custom_hooks = []
    runner = Runner.from_cfg(cfg)
    for name, parameter in runner.model.head.named_parameters():
        if 'state' in name or name == 'fc.weight':  # or what is known would hardly matter
            torch.nn.init.normal_(parameter, std=0.5)
    runner.train()
    cfg.dump(folder / 'config.py')
    return folder


@pytest.fixture(scope='module')
def path(c_tran):
    return find_checkpoint(c_tran / 'work_dirs/run').path


@pytest.fixture(scope='module')
def teller(path):
    return MultiLabelInferencer(path, device='cpu')


@pytest.fixture(scope='module')
def pictures(c_tran):
    return sorted(str(file) for file in (c_tran / 'photos').iterdir())


def scores_by_hand(teller, picture, known):
    """Scores of the head that is told what is known; of a photo that is resized by hand."""
    image = cv2.resize(cv2.imread(picture), (32, 32), interpolation=cv2.INTER_LINEAR)
    inputs = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    given = torch.tensor([[float(known.get(name, 'nan')) for name in CLASSES]])
    with torch.no_grad():
        inputs = teller.model.data_preprocessor(dict(inputs=inputs))['inputs']
        scores = teller.model.head(teller.model.extract_feat(inputs), given).sigmoid()[0]
    return torch.where(given[0].isnan(), scores, given[0])


def test_what_is_known_has_its_score_and_changes_the_others(teller, pictures):
    plain = teller(pictures, return_datasamples=True)
    for known in (KNOWN, {}, {'tree': True}):
        found = teller(pictures, known=known, return_datasamples=True)
        for picture, sample, before in zip(pictures, found, plain):
            assert_close(sample.pred_score, scores_by_hand(teller, picture, known))
            others = [k for k, name in enumerate(CLASSES) if name not in known]
            changed = (sample.pred_score - before.pred_score)[others].abs().max()
            assert changed > 1e-4 if known else changed == 0


def test_a_known_label_is_predicted_and_a_known_absence_is_not(teller, pictures):
    for thr in (0.0001, 1.0):
        names = teller(pictures[0], known=KNOWN, thr=thr).names
        assert names[0] == 'dog' and 'cat' not in names
    assert teller(pictures[0], known=KNOWN).scores['cat'] == 0.0
    assert teller(pictures[0], known=KNOWN, topk=1).labels == (('dog', 1.0),)


def test_each_image_may_have_its_own_whatever_is_beside_it(teller, pictures):
    known = [KNOWN, None, {'tree': True}, {}, {'cat': True}, KNOWN]
    together = teller(pictures, known=known, batch_size=4)
    for picture, one, found in zip(pictures, known, together):
        assert teller(picture, known=one).scores == pytest.approx(found.scores, abs=2e-6)
    streamed = teller(iter(pictures), known=iter(known), batch_size=2, num_workers=1)
    for found, expected in zip(streamed, together):
        assert found.scores == pytest.approx(expected.scores, abs=2e-6)


def test_the_inferencer_remembers_what_holds_for_all_images(path, teller, pictures):
    own = MultiLabelInferencer(path, device='cpu', known=KNOWN)
    assert own(pictures[0]) == teller(pictures[0], known=KNOWN)
    assert own(pictures[0], known={'tree': True}) == teller(pictures[0], known={'tree': True})
    assert own(pictures[0], known={}) == teller(pictures[0])


@pytest.mark.parametrize(
    ('known', 'message'),
    [
        ({'dgo': True}, "'dgo' is not a class of the model, which has 'cat', 'dog'"),
        ({'dog': 'yes'}, "'dog' must be True or False, got 'yes'"),
        ({'dog': None}, "'dog' must be True or False, got None"),
        ([KNOWN], 'known has 1 entries for 6 images'),
        ([KNOWN] * 5 + ['dog'], "a dict for each image, got 'dog'"),
    ],
)
def test_what_cannot_be_known_is_refused_at_once(teller, pictures, known, message):
    for call in (teller, teller.stream):
        with pytest.raises(ValueError, match=message):
            call(pictures, known=known)


@pytest.mark.parametrize(('count', 'message'), [(2, 'more images'), (7, 'more entries than the 6')])
def test_of_an_iterator_too_few_or_too_many_are_refused(teller, pictures, count, message):
    with pytest.raises(ValueError, match=message):
        list(teller(iter(pictures), known=iter([KNOWN] * count)))


class CountedName(str):
    """A name that counts how often one is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        CountedName.compared += 1
        return str.__eq__(self, other)


def test_a_known_class_is_looked_up_and_not_compared_with_all():
    classes, names = ([CountedName(f'class {c}') for c in range(400)] for _ in range(2))
    known = {name: c % 3 == 0 for c, name in enumerate(names)}
    CountedName.compared = 0
    ((_, row),) = known_labels.known_rows([known], ['a.jpg'], classes)
    assert CountedName.compared <= 4 * len(classes)
    assert row.tolist() == [float(c % 3 == 0) for c in range(400)]


def test_what_is_known_of_many_images_is_kept_as_it_was_given(monkeypatch):
    made, make = [], known_labels.known_row
    monkeypatch.setattr(
        known_labels, 'known_row', lambda known, *rest: made.append(known) or make(known, *rest)
    )
    pairs = known_labels.known_rows([KNOWN, {}, KNOWN], 'abc', CLASSES)
    assert made == []
    assert next(pairs)[0] == 'a' and made == [KNOWN]


def test_views_of_an_image_are_told_the_same(path, teller, pictures):
    plain = [scores_by_hand(teller, pictures[2], KNOWN)]
    mirrored = cv2.imread(pictures[2])[:, ::-1]
    sample = teller(mirrored, known=KNOWN, return_datasamples=True)
    expected = (plain[0] + sample.pred_score) / 2
    for tta in ('flip', 'flip scales=32'):
        found = MultiLabelInferencer(path, device='cpu', tta=tta)
        sample = found(pictures[2], known=KNOWN, return_datasamples=True)
        # a pixel is between two others, whichever side it is seen from, but for rounding
        assert_close(sample.pred_score, expected, rtol=0, atol=2e-2)
        assert sample.pred_score[:2].tolist() == [0.0, 1.0]


def test_maps_are_of_what_is_known(teller, pictures):
    plain, told = (
        teller(pictures[0], known=known, attention=True, return_datasamples=True)
        for known in ({}, {'dog': True, 'cat': False, 'tree': True})
    )
    assert plain.attention.shape == told.attention.shape and (told.attention >= 0).all()
    assert (plain.attention - told.attention).abs().max() > 1e-5


def test_a_model_that_cannot_use_them_says_so_in_one_line(inferencer, photos, checkpoint, tmp_path):
    message = 'known: SADCLHead cannot use known labels'
    with pytest.raises(ValueError, match=message):
        inferencer(photos, known=KNOWN)
    with pytest.raises(ValueError, match=message):
        MultiLabelInferencer(checkpoint, device='cpu', known=KNOWN)
    (tmp_path / 'known.csv').write_text('image,dog\na.jpg,1\n')
    options = ['--checkpoint', checkpoint, '--out', tmp_path / 'out']
    options += ['--known', tmp_path / 'known.csv']
    with pytest.raises(SystemExit, match='--known: SADCLHead cannot use known labels'):
        run_tool('tools/infer.py', *photos, *options)
    assert not (tmp_path / 'out').exists()


@pytest.fixture(scope='module')
def inferencer(checkpoint):
    return MultiLabelInferencer(checkpoint, device='cpu')


# ---------------------------------------------------------------- tools/infer.py


def run_infer(c_tran, table, out, *options):
    (c_tran / 'known.csv').write_text(table)
    arguments = ['--checkpoint', c_tran / 'work_dirs/run', '--out', out, '--device', 'cpu']
    infer.main(
        [*map(str, [c_tran / 'photos', *arguments, '--known', c_tran / 'known.csv', *options])]
    )
    with (out / 'scores.csv').open() as file:
        rows = list(csv.DictReader(file))
    return json.loads((out / 'predictions.json').read_text()), rows


def test_the_tool_reads_them_from_a_table(c_tran, teller, pictures, tmp_path, capsys):
    table = 'image,cat,dog,tree\nphoto 0.png,0,1,\nphoto 3.png,,,1\nother.png,1,1,1\n'
    options = '--no-pictures', '--threshold', '0.5'
    found, rows = run_infer(c_tran, table, tmp_path / 'out', *options)
    out = capsys.readouterr().out
    assert 'known labels: 3, of 2 of 6 images' in out
    assert '1 of 3 rows skipped, their image is missing' in out
    known = [{'cat': False, 'dog': True}, {}, {}, {'tree': True}, {}, {}]
    assert [entry.get('known', {}) for entry in found['images']] == known
    assert found['known'] == str(c_tran / 'known.csv')
    for prediction, entry, row in zip(teller(pictures, known=known), found['images'], rows):
        scores = {name: float(row[name]) for name in CLASSES}
        assert scores == pytest.approx(prediction.scores, abs=2e-6)
        assert [label['label'] for label in entry['labels']] == prediction.names
    assert 'dog' in rows[0]['labels'].split('; ') and rows[0]['cat'] == '0.0'


def test_a_table_that_does_not_fit_ends_before_the_first_image(c_tran, tmp_path):
    for table, message in (
        ('image,cat,dgo\nphoto 0.png,0,1\n', "the column 'dgo' is not a class of the model"),
        ('image,labels\nphoto 0.png,dgo\n', "'dgo' is not a class of the model"),
        ('image,cat\nphoto 9.png,1\n', 'none of the 1 images of column'),
        ('image,cat,dog\nphoto 0.png,-1,0\nphoto 1.png,1,0\n', 'are certain'),
    ):
        with pytest.raises(SystemExit, match=message):
            run_infer(c_tran, table, tmp_path / 'out')
        assert not (tmp_path / 'out').exists()


# ---------------------------------------------------------------- tools/test.py


def run_test(c_tran, *options):
    work = ['--work-dir', c_tran / 'test']
    run_tool('tools/test.py', c_tran / 'config.py', c_tran / 'work_dirs/run', *work, *options)


def test_the_other_labels_are_measured_at_each_share(c_tran, pictures, tmp_path, capsys):
    run_test(c_tran, '--known', 0, 20, 40, '--out', tmp_path / 'a.npz')
    out = capsys.readouterr().out
    run_test(c_tran, '--out', tmp_path / 'plain.npz')
    assert [line for line in out.splitlines() if line.startswith('known: ')] == [
        f'known: {share} % of the labels of each image' for share in (0, 20, 40)
    ]
    plain = np.load(tmp_path / 'plain.npz')
    truth = plain['target']
    for share in (0, 20, 40):
        arrays = np.load(tmp_path / f'a_known{share}.npz')
        np.testing.assert_array_equal(arrays['target'] | truth, truth)
        known = np.zeros(truth.shape, bool)
        for row, picture in enumerate(pictures):
            image = cv2.resize(cv2.imread(picture), (32, 32), interpolation=cv2.INTER_LINEAR)
            hidden = hidden_labels(image.transpose(2, 0, 1), 5, share * 5 // 100)
            known[row, [k for k in range(5) if k not in hidden]] = True
        np.testing.assert_array_equal(arrays.get('unknown', np.zeros_like(known)), known)
        value = MLICMetric.calculate(arrays['pred'], truth, ignore=known)['mAP']
        assert f'mAP {value:.1f} (standard) of the other labels, {share} % known' in out
        if share:
            assert np.abs(arrays['pred'] - plain['pred'])[~known].max() > 1e-4
        else:
            np.testing.assert_array_equal(arrays['pred'], plain['pred'])
        assert (tmp_path / f'a_per_class_known{share}.csv').is_file()


def test_the_numbers_of_all_shares_are_in_one_file_and_do_not_depend_on_the_batch(c_tran, tmp_path):
    for size in (4, 1):
        options = ['--cfg-options', f'test_dataloader.batch_size={size}']
        run_test(c_tran, '--known', 20, 40, '--out', tmp_path / f'{size}.json', *options)
    one, four = (json.loads((tmp_path / f'{size}.json').read_text()) for size in (1, 4))
    assert set(four['known']) == {'20', '40'}
    for share, metrics in four['known'].items():
        assert metrics == pytest.approx(one['known'][share], abs=1e-3)
        assert 'multi-label/mAP' in metrics


def test_the_numbers_of_earlier_shares_are_kept_when_a_later_one_fails(tmp_path):
    results = iter([{'multi-label/mAP': 50.0}, {'multi-label/mAP': 60.0}])

    def test():
        for metrics in results:
            return metrics
        raise ValueError('no positive label')

    evaluator = SimpleNamespace(metrics=[])
    runner = SimpleNamespace(test=test, test_loop=SimpleNamespace(evaluator=evaluator))
    args = SimpleNamespace(known=[0, 50, 90], out=tmp_path / 'a.json', tta=None)
    with pytest.raises(ValueError, match='no positive label'):
        test_tool.evaluate(runner, args)
    found = json.loads(args.out.read_text())
    assert found == {'known': {'0': {'multi-label/mAP': 50.0}, '50': {'multi-label/mAP': 60.0}}}


def test_a_share_that_cannot_be_is_refused(c_tran, run, checkpoint, capsys):
    for options, message in (
        (['--known', '100'], 'percentages from 0 to 99, which leave labels to measure, got 100'),
        (['--known', '-1'], 'percentages from 0 to 99'),
        (['--known', '0', '50', '--show-dir', 'a'], 'give --known one share'),
    ):
        with pytest.raises(SystemExit):
            run_test(c_tran, *options)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match='--known 50: SADCLHead cannot use known labels'):
        work = ['--work-dir', run / 'test']
        run_tool('tools/test.py', run / 'config.py', checkpoint, *work, '--known', '50')
