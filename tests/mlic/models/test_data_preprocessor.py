"""What goes to the device: as mmpretrain's preprocessor makes it, and known to the host."""

import copy

import numpy as np
import pytest
import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from mlic.models.data_preprocessor import MultiLabelDataPreprocessor
from mlic.models.targets import fill_unknown, host_copy, is_present, positive_pairs, target_of

SETTINGS = dict(mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True, num_classes=4)
LABELS = [[0, 2], [], [3]]
SCORES = [[0.2, 1.0, 0.5, 0.0], [0.0] * 4, [0.6, 0.4, 0.0, 1.0]]
CASES = {
    'labels': dict(to_onehot=True),
    'labels, not multi-hot': dict(),
    'scores': dict(to_onehot=True),
    'Mixup': dict(batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8)])),
    'CutMix': dict(batch_augments=dict(augments=[dict(type='CutMix', alpha=1.0)])),
    'nothing': dict(to_onehot=True),
}


def make_data(case, is_list):
    """Images and data samples of three, new ones each time."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    samples = [DataSample() for _ in range(3)]
    for index, sample in enumerate(samples):
        if case == 'scores':
            sample.set_gt_score(SCORES[index])
        elif case != 'nothing':
            sample.set_gt_label(torch.tensor(LABELS[index], dtype=torch.long))
    return dict(inputs=list(images) if is_list else images, data_samples=samples)


def test_images_of_four_channels_have_four_means():
    preprocessor = MultiLabelDataPreprocessor(mean=[1, 2, 3, 4], std=[1] * 4, to_rgb=False)
    images = torch.ones(2, 4, 8, 8, dtype=torch.uint8)
    prepared = preprocessor(dict(inputs=images))['inputs']
    assert_close(prepared[0, :, 0, 0], torch.tensor([0.0, -1, -2, -3]))


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('is_list', [True, False])
@pytest.mark.parametrize('case', CASES)
def test_batches_are_those_of_mmpretrain(case, is_list, training):
    outputs = []
    for kind in (ClsDataPreprocessor, MultiLabelDataPreprocessor):
        preprocess = kind(**SETTINGS, **copy.deepcopy(CASES[case]))
        data = make_data(case, is_list)
        torch.manual_seed(1)
        np.random.seed(1)
        outputs.append(preprocess(data, training))
    expected, found = outputs
    assert_close(found['inputs'], expected['inputs'], rtol=0, atol=0)
    for ours, theirs in zip(found['data_samples'], expected['data_samples']):
        assert set(ours.keys()) == set(theirs.keys())
        assert ours.metainfo == theirs.metainfo
        for key in set(theirs.keys()):
            assert_close(ours.get(key), theirs.get(key), rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('case', ['labels', 'scores', 'Mixup'])
def test_the_host_knows_the_target_that_a_head_stacks(case, dtype):
    preprocess = MultiLabelDataPreprocessor(**SETTINGS, **copy.deepcopy(CASES[case]))
    samples = preprocess(make_data(case, False), True)['data_samples']
    target = target_of(samples, 4, dtype, torch.device('cpu'))
    assert host_copy(target) is not target
    assert_close(host_copy(target), target, rtol=0, atol=0)
    image, label = is_present(target).nonzero(as_tuple=True)
    assert all(torch.equal(a, b) for a, b in zip(positive_pairs(target), (image, label)))


def test_a_score_that_somebody_sets_later_is_not_the_hosts():
    preprocess = MultiLabelDataPreprocessor(**SETTINGS, to_onehot=True)
    samples = preprocess(make_data('labels', False), True)['data_samples']
    samples[1].set_gt_score(torch.ones(4))
    target = target_of(samples, 4, torch.float32, torch.device('cpu'))
    assert host_copy(target) is target
    assert positive_pairs(target)[0].tolist() == [0, 0, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ('dtype', 'value', 'expected'),
    [
        (torch.int64, 0, torch.int64),
        (torch.int64, torch.nan, torch.float32),
        (torch.float64, 0, torch.float64),
        (torch.float64, torch.nan, torch.float64),
    ],
)
def test_a_target_with_a_value_at_its_unknown_entries_is_a_copy(dtype, value, expected):
    target, samples = torch.ones(2, 3, dtype=dtype), [DataSample(), DataSample()]
    assert fill_unknown(target, samples, value) is target
    samples[1].set_metainfo(dict(gt_label_unknown=[0, 2]))
    filled = fill_unknown(target, samples, value)
    wanted = torch.tensor([[1, 1, 1], [value, 1, value]], dtype=expected)
    assert_close(filled, wanted, rtol=0, atol=0, equal_nan=True)
    assert (target == 1).all()
