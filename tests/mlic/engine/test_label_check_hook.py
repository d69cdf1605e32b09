"""Labels other than 0 and 1 end a run with the image's name, before the model has seen them."""

import copy
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample

from mlic.engine.hooks.label_check_hook import LabelCheckHook, check_labels
from tests.helpers import ROOT, run_process
from tests.tiny_runs import tiny_config

NAMES = ('beach', 'boat', 'person')
STAGES = ('train', 'val', 'test')


def check(samples, stage='train', classes=NAMES, key='data_samples'):
    loader = SimpleNamespace(dataset=SimpleNamespace(CLASSES=classes))
    runner = SimpleNamespace(**{f'{name}_dataloader': loader for name in STAGES})
    batch = {'inputs': torch.zeros(len(samples), 3, 2, 2), key: samples}
    getattr(LabelCheckHook(), f'before_{stage}_iter')(runner, 0, batch)


def scored(score, path='photos/3.jpg'):
    return DataSample(metainfo=dict(img_path=path)).set_gt_score(torch.as_tensor(score))


def labelled(label, path='photos/3.jpg'):
    return DataSample(metainfo=dict(img_path=path)).set_gt_label(torch.tensor(label).long())


def test_the_classes_are_not_copied_for_each_batch(monkeypatch):
    loader = SimpleNamespace(dataset=BaseDataset('', dict(classes=NAMES), lazy_init=True))
    good, bad = (dict(data_samples=[labelled([label])]) for label in (2, 3))
    copied = []
    monkeypatch.setattr(copy, 'deepcopy', copied.append)
    check_labels(good, loader)
    with pytest.raises(ValueError, match='label 3 is not an index of the 3 classes'):
        check_labels(bad, loader)
    assert not copied


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1.0, 0.5, 2.0, 1.0000001])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_a_score_other_than_0_and_1_is_named_with_image_and_class(value, stage, dtype):
    good = scored([0.0, 1.0, 0.0], 'photos/1.jpg')
    bad = scored(torch.tensor([0.0, value, 1.0], dtype=dtype))
    with pytest.raises(ValueError) as error:
        check([good, bad, good], stage)
    number = torch.tensor(value, dtype=dtype).item()
    assert str(error.value) == (
        f"photos/3.jpg: the label of 'boat' is {number}, and must be 0 or 1"
    )


@pytest.mark.parametrize(
    ('label', 'message'),
    [
        ([3], 'label 3 is not an index of the 3 classes, which are 0 to 2'),
        ([0, -1], 'label -1 is not an index of the 3 classes, which are 0 to 2'),
        ([1, 0, 1], "the label 'boat' is given twice"),
    ],
)
def test_indices_must_be_different_ones_of_the_classes(label, message):
    with pytest.raises(ValueError) as error:
        check([labelled([0, 2]), labelled(label)])
    assert str(error.value) == f'photos/3.jpg: {message}'


def test_another_number_of_labels_than_classes_is_named():
    with pytest.raises(ValueError, match='^photos/3.jpg: 2 labels for 3 classes$'):
        check([scored([0.0, 1.0, 0.0], '1.jpg'), scored([0.0, 1.0])])
    with pytest.raises(ValueError, match='^photos/3.jpg: 4 labels for 3 classes$'):
        check([scored([0.0, 1.0, 0.0, 1.0])])


@pytest.mark.parametrize(
    ('unknown', 'message'),
    [
        ([3], 'gt_label_unknown: label 3 is not an index of the 3 classes, which are 0 to 2'),
        ([-1], 'gt_label_unknown: label -1 is not an index of the 3 classes, which are 0 to 2'),
        ([1, 1], "gt_label_unknown: the label 'boat' is given twice"),
        ([1, 2], "the label 'person' is given and unknown at once"),
    ],
)
def test_unknown_labels_must_be_other_classes(unknown, message):
    sample = labelled([0, 2])
    sample.set_metainfo(dict(gt_label_unknown=unknown))
    with pytest.raises(ValueError) as error:
        check([labelled([0, 2]), sample])
    assert str(error.value) == f'photos/3.jpg: {message}'


@pytest.mark.parametrize('sample', [labelled([0, 2]), labelled([]), scored([1.0, 0.0, 1.0])])
def test_unknown_labels_of_other_classes_pass(sample):
    for unknown in ([], [1]):
        sample.set_metainfo(dict(gt_label_unknown=unknown))
        check([sample])


@pytest.mark.parametrize(
    'samples',
    [
        [scored([0.0, 1.0, 0.0]), scored([1, 1, 1]), scored([False, False, True])],
        [scored(torch.tensor([1, 0, 1])), scored(torch.tensor([0, 0, 0]))],
        [scored(torch.tensor([True, False, True]))],
        [labelled([]), labelled([2, 0, 1])],
        [scored([0.0, 1.0, 0.0]).set_gt_label([1])],
        [DataSample()],
        [],
        [object()],
    ],
    ids=['floats', 'integers', 'bool', 'indices', 'both', 'none', 'empty', 'other objects'],
)
def test_right_labels_and_none_pass(samples):
    for stage in STAGES:
        check(samples, stage)
    check(samples, key='something_else')


def test_without_names_of_classes_what_is_wrong_anyway_is_found():
    check([labelled([70, 3])], classes=None)
    check([scored([0.0, 1.0])], classes=None)
    with pytest.raises(ValueError, match='label -1 is not an index'):
        check([labelled([-1, 3])], classes=None)
    with pytest.raises(ValueError, match='the label class 3 is given twice'):
        check([labelled([3, 3])], classes=None)
    with pytest.raises(ValueError, match=r'the label of class 1 is 0\.5'):
        check([scored([0.0, 0.5])], classes=None)


def test_a_batch_of_another_form_is_not_looked_at():
    loader = SimpleNamespace(dataset=SimpleNamespace(CLASSES=NAMES))
    runner = SimpleNamespace(train_dataloader=loader)
    for batch in (None, [torch.zeros(1)], (torch.zeros(1), torch.ones(1))):
        LabelCheckHook().before_train_iter(runner, 0, batch)


@DATASETS.register_module()
class WrongDigits(BaseDataset):
    """Digit scenes, of which one has a label that ``wrong`` names."""

    METAINFO = dict(classes=NAMES)

    def __init__(self, wrong=None, **kwargs):
        self.wrong = wrong
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self):
        scores = [[1.0, 0.0, 0.0]] * 8
        if self.wrong is not None:
            scores[5] = [0.0, self.wrong, 0.0]
        return [
            dict(img_path=f'photos/{i}.jpg', gt_score=score, img=torch.zeros(32, 32, 3).numpy())
            for i, score in enumerate(scores)
        ]


@pytest.mark.parametrize('wrong', [float('nan'), -1.0, 0.5, 2.0])
def test_a_run_stops_at_the_image_before_a_step_is_taken_with_it(tmp_path, wrong):
    changes = {f'model.{part}.num_classes': 3 for part in ('neck', 'head')}
    cfg = tiny_config(tmp_path, begin=2, **changes)
    cfg.data_preprocessor.num_classes = 3
    cfg.train_dataloader.update(
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    pipeline = [dict(type='PackInputs')]
    cfg.train_dataloader.dataset = dict(type='WrongDigits', wrong=wrong, pipeline=pipeline)
    cfg.custom_hooks.pop(1)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.pop('save_best')
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=r"^photos/5\.jpg: the label of 'boat' is "):
        runner.train()
    assert runner.iter == 2


@pytest.mark.slow
def test_a_list_with_an_index_that_is_no_class_ends_train_in_one_line(tmp_path):
    cfg = tiny_config(tmp_path, work_dir='run')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.metainfo = dict(classes=list('abcdefghi'))
    for part in ('neck', 'head'):
        cfg.model[part].num_classes = 9
    cfg.data_preprocessor.num_classes = 9
    cfg.dump(str(tmp_path / 'tiny.py'))
    done = run_process(sys.executable, ROOT / 'tools/train.py', 'tiny.py', cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith('error: digit_scenes/train_')
    assert last.endswith('label 9 is not an index of the 9 classes, which are 0 to 8')
