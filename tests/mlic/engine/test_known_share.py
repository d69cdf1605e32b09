"""Evaluation with a share of the labels known. B images, C classes."""

import hashlib
import random

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mlic.engine.runner.known_share import give_share, hidden_labels
from tests.helpers import recorded

NAN = float('nan')


def test_the_labels_of_an_image_are_those_that_the_released_code_draws():
    file = recorded('peers/c_tran.npz')
    image, num_classes = file['testing.image'], file['target'].shape[1]
    keys = [key for key in file if key.startswith('testing.unknown_indices_known')]
    assert len(keys) >= 3
    for key in keys:
        number = int(key.rpartition('known')[2])
        assert sorted(hidden_labels(image, num_classes, number)) == file[key].tolist()


def test_the_seed_is_the_hash_of_the_bytes():
    image = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    expected = random.Random(hashlib.sha1(image.tobytes()).hexdigest()).sample(range(9), 6)
    assert hidden_labels(image, 9, 3) == expected
    # of an array, not of how it lies in memory; and the process's own generator is left alone
    random.seed(5)
    turned = np.asfortranarray(image)
    assert hidden_labels(turned, 9, 3) == expected
    assert random.random() == random.Random(5).random()


def batch_of(images, *options):
    samples = [DataSample(gt_label=torch.tensor([0, 3]), **more) for more in options]
    return dict(inputs=images, data_samples=samples)


def given_in(data):
    return torch.stack([sample.given_score for sample in data['data_samples']])


IMAGES = torch.randint(0, 256, (4, 3, 5, 5), generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize(('percent', 'number'), [(0, 0), (25, 1), (50, 3), (75, 4), (100, 6)])
def test_so_many_true_labels_are_given_and_left_out_of_the_evaluation(percent, number):
    data = batch_of(IMAGES, *[{}] * 4)
    give_share(data, percent, 6)
    truth = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).expand(4, 6)
    given = given_in(data)
    known = ~given.isnan()
    assert known.sum(1).tolist() == [number] * 4
    assert torch.equal(given[known], truth[known])
    left_out = [sample.get('gt_label_unknown') for sample in data['data_samples']]
    assert left_out == [row.nonzero().flatten().tolist() for row in known]


@pytest.mark.parametrize(
    ('percent', 'num_classes', 'number'),
    [(29, 100, 29), (58, 50, 29), (58, 100, 58), (57, 100, 57), (99, 80, 79), (12.5, 8, 1)],
)
def test_a_share_is_rounded_down_only_if_it_is_no_whole_number(percent, num_classes, number):
    data = batch_of(IMAGES, *[{}] * 4)
    give_share(data, percent, num_classes)
    assert (~given_in(data).isnan()).sum(1).tolist() == [number] * 4


def test_the_usual_shares_are_those_of_the_released_code():
    for num_classes in (20, 80, 112, 200, 260, 312, 500):
        for percent in range(0, 100, 5):
            data = batch_of(IMAGES[:1], {})
            give_share(data, percent, num_classes)
            assert (~given_in(data).isnan()).sum() == int(percent * 0.01 * num_classes)


def test_what_is_given_depends_neither_on_the_batch_nor_on_its_order():
    together = batch_of(IMAGES, *[{}] * 4)
    give_share(together, 50, 6)
    assert len({tuple(row.tolist()) for row in given_in(together).isnan()}) > 1
    for order in ([3, 1], [2]):
        other = batch_of([IMAGES[k] for k in order], *[{}] * len(order))
        give_share(other, 50, 6)
        assert torch.equal(given_in(other).isnan(), given_in(together)[order].isnan())


def test_what_nobody_looked_at_is_not_given_and_stays_left_out():
    samples = [dict(metainfo=dict(gt_label_unknown=[1, 2]))] * 4
    data = batch_of(IMAGES, *samples)
    give_share(data, 100, 6)
    for sample in data['data_samples']:
        assert sample.given_score.isnan().tolist() == [False, True, True, False, False, False]
        assert sample.gt_label_unknown == [0, 1, 2, 3, 4, 5]
