"""The check of classes before training: numbers that differ, classes without a prototype."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.runner import TestLoop
from mmpretrain.models import ImageClassifier
from torch import nn

from mlic.engine.checkpoints.matching import CheckpointError
from mlic.engine.hooks.class_count_check_hook import ClassCountCheckHook
from projects.sadcl.models.sadcl_head import SADCLHead

NAMES = ('beach', 'boat', 'person')


def make_model(num_classes=3, head=None):
    """A classifier of a backbone that was trained on other classes, a preprocessor and a head."""
    model = ImageClassifier(
        backbone=dict(type='LeNet5'), data_preprocessor=dict(num_classes=num_classes)
    )
    model.backbone.num_classes = 1000
    model.head = head or SADCLHead(num_classes=num_classes, in_channels=4, proj_channels=2)
    return model


def make_runner(model, dataset):
    loader = SimpleNamespace(dataset=dataset)
    logger = logging.getLogger('class_check')
    return SimpleNamespace(
        model=model,
        train_dataloader=loader,
        val_loop=None,
        test_dataloader=loader,
        logger=logger,
        cfg={},
    )


def data(classes=NAMES):
    return SimpleNamespace(CLASSES=classes)


@pytest.mark.parametrize(
    'dataset',
    [
        data(),
        SimpleNamespace(dataset=data()),
        SimpleNamespace(datasets=[data(), data()]),
        BaseDataset(metainfo=dict(classes=NAMES), lazy_init=True),
        SimpleNamespace(),
    ],
    ids=['plain', 'repeated', 'concatenated', 'of mmengine', 'without names'],
)
def test_equal_numbers_pass_and_the_backbone_is_not_asked(dataset):
    runner = make_runner(make_model(), dataset)
    ClassCountCheckHook().before_train(runner)
    ClassCountCheckHook().before_test(runner)


def test_a_model_that_was_built_without_a_config_is_tested_with_its_checkpoint():
    """mmengine's Runner takes a module, too; its config is empty then."""
    model, loop = make_model(), TestLoop.__new__(TestLoop)
    runner = make_runner(model, data())
    loop.dataloader = runner.test_dataloader
    vars(runner).update(_train_loop=None, _val_loop=None, _test_loop=loop)
    vars(runner).update(_resume=False, _load_from='run.pth')
    weights = dict(model.state_dict())
    of_features = dict(cfg="model = dict(backbone=dict(type='StoredFeatures'))")
    for meta in ({}, of_features):
        ClassCountCheckHook().after_load_checkpoint(runner, dict(state_dict=weights, meta=meta))
    part = {name: value for name, value in weights.items() if not name.startswith('backbone.')}
    with pytest.raises(CheckpointError, match='run.pth lacks weights of the config: backbone'):
        content = dict(state_dict=part, meta=of_features)
        ClassCountCheckHook().after_load_checkpoint(runner, content)


def test_other_numbers_are_named_with_their_modules():
    runner = make_runner(make_model(num_classes=80), SimpleNamespace(dataset=data()))
    with pytest.raises(ValueError, match='SimpleNamespace has 3 classes') as error:
        ClassCountCheckHook().before_train(runner)
    message = str(error.value)
    assert 'data_preprocessor (ClsDataPreprocessor) num_classes=80' in message
    assert 'head (SADCLHead) num_classes=80' in message
    assert 'backbone' not in message


@pytest.mark.parametrize(
    'classes, message',
    [
        (NAMES[::-1], "classes in another order than the training data: number 0 is 'person' in"),
        (('beach', 'bird', 'person'), "other classes than the training data: number 1 is 'bird'"),
        (NAMES[:2], "2 classes, the training data have 3; only in the training data: 'person'"),
        (NAMES, None),
        (None, None),
    ],
)
def test_a_validation_of_other_classes_is_refused(classes, message):
    runner = make_runner(make_model(), data())
    loader = SimpleNamespace(dataset=SimpleNamespace(dataset=data(classes)))
    runner.val_loop = SimpleNamespace(dataloader=loader)
    if message is None:
        ClassCountCheckHook().before_train(runner)
        return
    with pytest.raises(ValueError, match=f'^the validation data have .*{message}'):
        ClassCountCheckHook().before_train(runner)


def test_data_sets_that_are_put_together_must_number_their_classes_alike():
    mixed = SimpleNamespace(datasets=[data(), SimpleNamespace(dataset=data(NAMES[::-1]))])
    message = 'the classes in another order than the first of the data sets in SimpleNamespace'
    for check in (ClassCountCheckHook().before_train, ClassCountCheckHook().before_test):
        with pytest.raises(ValueError, match=f'^a SimpleNamespace has {message}'):
            check(make_runner(make_model(), mixed))


def test_two_classes_of_one_name_are_refused():
    runner = make_runner(make_model(), data(('beach', 'boat', 'boat')))
    with pytest.raises(ValueError, match='two classes of one name: boat'):
        ClassCountCheckHook().before_train(runner)


@pytest.mark.parametrize('mixes', [False, True])
def test_scores_that_depend_on_the_batch_are_said_before_training_and_testing(mixes, caplog):
    model = make_model()
    model.head.mixes_images = mixes
    runner = make_runner(model, data())
    for method in ('before_train', 'before_test'):
        caplog.clear()
        getattr(ClassCountCheckHook(), method)(runner)
        line = 'head (SADCLHead): the scores of an image depend on the other images of its batch'
        assert caplog.messages.count(line) == mixes


def test_classes_without_a_prototype_are_named(caplog):
    model = make_model()
    model.head.set_prototypes(torch.tensor([[1.0] * 4, [0.0] * 4, [0.0] * 4]))
    with caplog.at_level(logging.WARNING, 'class_check'):
        ClassCountCheckHook().before_train(make_runner(model, data()))
    (record,) = caplog.records
    assert '2 of 3 classes' in record.message and record.message.endswith(': boat, person')


@pytest.mark.parametrize(
    'head, classes, expected',
    [
        (None, NAMES, []),
        (nn.Identity(), NAMES, []),
        (None, None, ['SimpleNamespace names no classes (metainfo)']),
    ],
    ids=['prototypes', 'no head of ours', 'no names'],
)
def test_only_data_without_class_names_are_said(head, classes, expected, caplog):
    with caplog.at_level(logging.WARNING, 'class_check'):
        ClassCountCheckHook().before_train(make_runner(make_model(head=head), data(classes)))
    assert caplog.messages == expected
