"""The seam for pictures of attention. B images, C classes."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mlic.models.attention_maps import attention_maps, check_attentive


class Doubling(nn.Module):
    def forward(self, feats):
        return tuple(2 * feat for feat in feats)


class Attentive(Doubling):
    def attention_maps(self, feats):
        return feats[-1] + 1


class Model(nn.Module):
    def __init__(self, neck, head):
        super().__init__()
        self.neck, self.head = neck, head


FEATS = (torch.zeros(1), torch.arange(24.0).view(2, 3, 2, 2))


@pytest.mark.parametrize(
    ('neck', 'head', 'factor'),
    [(Attentive(), nn.Identity(), 1), (Doubling(), Attentive(), 2), (None, Attentive(), 1)],
)
def test_maps_are_of_the_part_that_has_them_and_of_what_it_takes(neck, head, factor):
    assert_close(attention_maps(Model(neck, head), FEATS), factor * FEATS[-1] + 1)


def test_of_two_parts_with_maps_it_is_the_neck():
    assert_close(attention_maps(Model(Attentive(), Attentive()), FEATS), FEATS[-1] + 1)


@pytest.mark.parametrize(
    ('model', 'names'),
    [
        (Model(Doubling(), nn.Identity()), 'Doubling and Identity'),
        (Model(None, nn.Identity()), 'no neck and Identity'),
        (nn.Linear(1, 1), 'no neck and no head'),
    ],
)
def test_a_model_without_maps_is_refused_in_one_line(model, names):
    with pytest.raises(ValueError, match=f'^no attention to show: the model has {names}, without'):
        check_attentive(model)
