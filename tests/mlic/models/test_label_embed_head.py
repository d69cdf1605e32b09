"""The head that methods on label embeddings extend."""

import re

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

import projects.cpsd
import projects.mulcon
import projects.sadcl  # noqa: F401
from mlic.models.heads.label_embed_head import LabelEmbedHead
from mlic.models.training_parts import for_prediction, is_training_only, parts_of

TARGET = torch.tensor([[1, 0, 1], [0, 0, 0.0]])


class NormHead(LabelEmbedHead):
    """Adds the mean square of the embeddings."""

    def other_losses(self, label_embeds, cls_score, target):
        assert cls_score.shape == target.shape
        return dict(loss_norm=label_embeds.square().mean())


def test_the_default_loss_is_the_mean_over_images_and_classes():
    head, embeds = LabelEmbedHead(num_classes=3, in_channels=4), torch.randn(2, 3, 4)
    losses = head.loss((embeds,), [DataSample().set_gt_score(row) for row in TARGET])
    expected = nn.functional.binary_cross_entropy_with_logits(head((embeds,)), TARGET)
    assert losses.keys() == {'loss_cls'}
    assert_close(losses['loss_cls'], expected)


@pytest.mark.parametrize('kind', ['LabelEmbedHead', 'SADCLHead', 'MulConHead', 'R101TFHead'])
def test_embeddings_of_another_shape_are_refused(kind):
    head = MODELS.build(dict(type=kind, num_classes=3, in_channels=4))
    message = re.escape(f'{kind}(num_classes=3, in_channels=4) takes label embeddings (B, 3, 4)')
    for shape in ((2, 3, 5), (2, 4, 4), (2, 4)):
        with pytest.raises(ValueError, match=f'{message}, got {re.escape(str(shape))}'):
            head((torch.zeros(shape),))


def test_losses_of_a_subclass_are_added_and_indices_stand_for_a_multi_hot_target():
    head, embeds = NormHead(num_classes=3, in_channels=4), torch.randn(2, 3, 4)
    multi_hot = head.loss((embeds,), [DataSample().set_gt_score(row) for row in TARGET])
    indices = head.loss((embeds,), [DataSample().set_gt_label(i) for i in ([0, 2], [])])
    assert multi_hot == indices
    assert_close(multi_hot['loss_norm'], embeds.square().mean())


def test_losses_that_would_not_be_trained_with_are_refused():
    samples, embeds = [DataSample().set_gt_score(row) for row in TARGET], (torch.zeros(2, 3, 4),)
    head = NormHead(num_classes=3, in_channels=4)
    for returned, said in (
        (None, 'NormHead.other_losses returned a NoneType: it must be a dict'),
        (torch.ones(()), 'returned a Tensor: it must be a dict'),
        (dict(norm=torch.ones((), requires_grad=True)), "returned 'norm'.*name it 'loss_norm'"),
        (dict(loss=torch.ones(())), "returned 'loss', which is the name of another"),
        (dict(loss_cls=torch.ones(())), "returned 'loss_cls', which is the name of another"),
    ):
        head.other_losses = lambda *args, returned=returned: returned
        with pytest.raises((TypeError, ValueError), match=said):
            head.loss(embeds, samples)
    head.other_losses = lambda *args: dict(norm=torch.ones(()))
    assert head.loss(embeds, samples)['norm'] == 1  # a number for the log


def test_a_neck_that_returns_no_tuple_is_named():
    head = LabelEmbedHead(num_classes=3, in_channels=4)
    for returned in (torch.zeros(2, 3, 4), None):
        said = rf'returned a {type(returned).__name__}: let it return \(x,\)'
        with pytest.raises(TypeError, match=said):
            head(returned)


class TwoArguments(nn.Module):
    def forward(self, cls_score, target):
        return nn.functional.binary_cross_entropy_with_logits(cls_score, target)


class Inherited(nn.BCEWithLogitsLoss):
    """Its forward is torch's, of two arguments."""


class Outer:
    class Nested(TwoArguments):
        def forward(self, cls_score, target):
            return super().forward(cls_score, target)


@pytest.mark.parametrize('loss', [TwoArguments, Inherited, Outer.Nested])
@pytest.mark.parametrize('kind', ['LabelEmbedHead', 'MultiLabelLinearClsHead'])
def test_a_loss_of_two_arguments_has_to_take_unknown_labels(kind, loss):
    head = MODELS.build(dict(type=kind, num_classes=3, in_channels=4))
    head.loss_module = loss()
    feats = (torch.zeros(2, 3, 4) if kind == 'LabelEmbedHead' else torch.zeros(2, 4),)
    samples = [DataSample().set_gt_score(row) for row in TARGET]
    with pytest.raises(
        TypeError, match=loss.__name__ + r'\.forward .* avg_factor=None, .*_unknown = T'
    ):
        head.loss(feats, samples)
    head.loss_module.takes_unknown = True
    (loss,) = head.loss(feats, samples).values()
    assert_close(loss, TwoArguments()(head(feats), TARGET))


def test_scores_of_each_cell_are_refused():
    head = MODELS.build(dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=4))
    samples = [DataSample().set_gt_score(row) for row in TARGET]
    with pytest.raises(ValueError, match=r'pooled features, and scores \(2, 5, 3\) instead of'):
        head.loss((torch.zeros(2, 5, 4),), samples)


def test_an_image_without_labels_is_named():
    head = LabelEmbedHead(num_classes=3, in_channels=4)
    samples = [DataSample().set_gt_label([0]), DataSample(metainfo=dict(img_path='b.jpg'))]
    with pytest.raises(ValueError, match=r'^b\.jpg: no labels'):
        head.loss((torch.zeros(2, 3, 4),), samples)


def test_heads_declare_what_only_training_needs():
    parts = dict(SADCLHead={'projector', 'prototypes', 'memory_bank'}, MulConHead={'projector'})
    for kind, names in parts.items():
        cfg = dict(type=kind, num_classes=3, in_channels=4)
        model = nn.ModuleDict(dict(head=MODELS.build(cfg)))
        lean = nn.ModuleDict(dict(head=MODELS.build(for_prediction(cfg))))
        left = model.state_dict().keys() - lean.state_dict().keys()
        assert {name.split('.')[1] for name in left} == names
        assert all(is_training_only(name, model) for name in left)
        assert not any(is_training_only(name, model) for name in lean.state_dict())


def test_hard_negatives_are_off_in_prediction():
    cfg = dict(type='MulConHead', num_classes=3, in_channels=4, denominator_size=200)
    assert MODELS.build(for_prediction(cfg)).projector is None


def test_the_bank_starts_again_from_the_prototypes():
    head = MODELS.build(dict(type='SADCLHead', num_classes=3, in_channels=4, bank_slots=2))
    parts = [module for _, module in parts_of(nn.ModuleDict(dict(head=head)))]
    (part,) = [module for module in parts if module.row_buffers]
    head.memory_bank.zero_()
    assert part.restart_row_buffer(*part.row_buffers) == 'the prototypes'
    assert torch.equal(head.memory_bank, head.prototypes.expand(2, 3, 4))
    assert not head.memory_bank.requires_grad


def test_prototypes_of_zeros_are_named_once_the_losses_are_on():
    head = MODELS.build(dict(type='SADCLHead', num_classes=3, in_channels=4, bank_slots=2))
    assert head.start_warnings(['a', 'b', 'c']) == []
    head.prototypes.data[[0, 2]] = 0
    (line,) = head.start_warnings(['a', 'b', 'c'])
    assert line.startswith('2 of 3 classes') and line.endswith(': a, c')
    assert head.start_warnings(None)[0].endswith(': 0, 2')
    head.contrastive = False
    assert head.start_warnings(['a', 'b', 'c']) == []
