"""Maps of models that have no attention. B images, C classes, K channels, h x w cells."""

import pytest
import torch
from mmpretrain.models import CSRAClsHead, GlobalAveragePooling, MultiLabelLinearClsHead
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from mlic.models.class_maps import class_maps, own_kind
from projects.sadcl.models.sadcl_head import SADCLHead
from projects.sadcl.models.sarl_neck import SARLNeck

C, K = 5, 8
LABELS = torch.tensor([3, 0])


class Model(nn.Module):
    def __init__(self, neck, head):
        super().__init__()
        self.neck, self.head = neck, head
        torch.manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter)
        self.eval()

    def cells(self, feats, kind):
        return class_maps(self, feats, DataSample(), LABELS, kind)


@pytest.fixture
def feats():
    return (torch.randn(1, K, 3, 4, generator=torch.Generator().manual_seed(1)),)


def linear():
    return Model(GlobalAveragePooling(), MultiLabelLinearClsHead(C, K))


def sarl():
    neck = SARLNeck(K, C, embed_dims=8, feedforward_channels=8)
    return Model(neck, SADCLHead(num_classes=C, in_channels=8, loss_sscl=None, loss_pscl=None))


def test_cam_of_a_linear_classifier_is_each_cells_logit_without_the_bias(feats):
    model = linear()
    found = model.cells(feats, 'cam')
    for row, label in zip(found, LABELS):
        for i in range(3):
            for j in range(4):
                assert_close(row[i, j], model.head.fc.weight[label] @ feats[0][0, :, i, j])
    scores = model.head(model.neck(feats))[0, LABELS]
    assert_close(found.mean(dim=(1, 2)) + model.head.fc.bias[LABELS], scores)


@pytest.mark.parametrize('num_heads', [1, 2])
def test_cam_of_csra_is_what_its_logits_are_made_of(feats, num_heads):
    model = Model(None, CSRAClsHead(C, K, num_heads, 0.2, loss=dict(type='CrossEntropyLoss')))
    maps = [
        nn.functional.conv2d(feats[0], part.head.weight / part.head.weight.norm(dim=1)[:, None])
        for part in model.head.csra_heads
    ]  # (1, C, h, w)
    assert_close(model.cells(feats, 'cam'), sum(maps)[0, LABELS])
    if num_heads == 1:
        cells = model.cells(feats, 'cam').flatten(1)
        expected = cells.mean(1) + 0.2 * (cells * cells.softmax(1)).sum(1)
        assert_close(model.head(feats)[0, LABELS], expected)


def test_grad_cam_of_a_pooled_linear_classifier_is_its_cam_above_zero(feats):
    model = linear()
    expected = model.cells(feats, 'cam').relu() / 12  # the gradient of a mean over 3 x 4 cells
    assert_close(model.cells(feats, 'grad-cam'), expected)


def test_grad_cam_weighs_channels_by_the_mean_gradient_of_its_class_alone(feats):
    model = sarl()
    with torch.no_grad():
        found = model.cells(feats, 'grad-cam')
    for row, label in zip(found, LABELS):
        last = feats[0].clone().requires_grad_()
        model.head(model.neck((last,)))[0, label].backward()
        weights = last.grad.mean(dim=(2, 3))[0]
        assert_close(row, torch.einsum('k,khw->hw', weights, feats[0][0]).relu())
    assert all(parameter.grad is not None for parameter in model.neck.parameters())


def test_grad_cam_of_a_neck_that_views_images_and_channels_together(feats):
    class Views(nn.Module):
        def forward(self, feats):
            cells = feats[-1].view(-1, 12)
            return (cells.mean(1).view(-1, K),)

    model = Model(Views(), MultiLabelLinearClsHead(C, K))
    pooled = Model(GlobalAveragePooling(), model.head)
    assert_close(model.cells(feats, 'grad-cam'), pooled.cells(feats, 'grad-cam'))


def test_attention_is_the_models_own(feats):
    model = sarl()
    assert_close(model.cells(feats, 'attention'), model.neck.attention_maps(feats)[0, LABELS])


def test_a_model_is_asked_for_attention_first_then_for_its_cam():
    assert own_kind(sarl()) == 'attention'
    assert own_kind(linear()) == 'cam'
    csra = CSRAClsHead(C, K, 1, 0.2, loss=dict(type='CrossEntropyLoss'))
    for neck, head in (  # whose cells have no such logit
        (nn.Flatten(), nn.Linear(3, C)),
        (nn.Flatten(), MultiLabelLinearClsHead(C, K)),
        (None, MultiLabelLinearClsHead(C, K)),
        (GlobalAveragePooling(), csra),
    ):
        assert own_kind(Model(neck, head)) == 'grad-cam'


@pytest.mark.parametrize(
    'kind, message',
    [('cam', '^no cam of SARLNeck and SADCLHead: '), ('grad-cam', '^grad-cam takes')],
)
def test_a_model_without_such_a_map_is_refused_in_one_line(kind, message):
    tokens = (torch.zeros(1, 12, K),)
    with pytest.raises(ValueError, match=message):
        sarl().cells(tokens, kind)
