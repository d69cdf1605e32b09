"""NeckLossClassifier: a neck's losses besides a head's."""

import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from tests.tiny_runs import plain_model


class Neck(BaseModule):
    """Means of the cells; in training, plus how many labels there are."""

    def __init__(self, loss):
        super().__init__()
        self.name = loss

    def forward(self, feats):
        return (feats[-1].mean((2, 3)),)

    def loss(self, feats, data_samples):
        number = sum(sample.gt_score.sum() for sample in data_samples)
        return (self(feats)[0] + number,), {self.name: number * 1.0}


def model_of(loss):
    torch.manual_seed(0)
    classifier = dict(plain_model(4), type='NeckLossClassifier', neck=nn.Identity())
    model = MODELS.build(classifier)
    model.neck = Neck(loss)
    return model.eval()


def test_losses_are_those_of_the_neck_and_of_the_head_on_what_the_neck_gives_in_training():
    model, images = model_of('loss_labels'), torch.randn(2, 3, 32, 32)
    samples = [DataSample().set_gt_score(torch.tensor(x)) for x in ([1.0, 0, 1, 0], [0.0, 0, 1, 0])]
    losses = model.loss(images, samples)
    assert losses.keys() == {'loss', 'loss_labels'}
    assert losses['loss_labels'] == 3
    (pooled,) = model.extract_feat(images)
    assert_close(losses['loss'], model.head.loss((pooled + 3,), samples)['loss'])
    assert_close(model(images), model.head((pooled,)))


def test_two_losses_of_one_name_are_refused():
    model, sample = model_of('loss'), DataSample().set_gt_score(torch.ones(4))
    with pytest.raises(ValueError, match='loss: a loss of Neck and of MultiLabelLinearClsHead'):
        model.loss(torch.zeros(1, 3, 32, 32), [sample])
