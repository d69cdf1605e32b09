"""MultiLabelSoftMarginLoss against torch's function of that name."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mlic.models.losses.soft_margin_loss import MultiLabelSoftMarginLoss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(4, 5, generator=GENERATOR, dtype=torch.float64)
TARGET = torch.rand(4, 5, generator=GENERATOR, dtype=torch.float64)  # soft, too


@pytest.mark.parametrize('mean_over_classes, times', [(True, 3.0), (False, 15.0)])
def test_it_is_torchs_in_every_reduction(mean_over_classes, times):
    loss = MultiLabelSoftMarginLoss(mean_over_classes=mean_over_classes, loss_weight=3.0)
    images = times * F.multilabel_soft_margin_loss(LOGITS, TARGET, reduction='none')  # (B,)
    assert_close(loss(LOGITS, TARGET), images.mean())
    assert_close(loss(LOGITS, TARGET, avg_factor=7), images.sum() / 7)
    assert_close(loss(LOGITS, TARGET, reduction_override='sum'), images.sum())
    assert_close(loss(LOGITS, TARGET, reduction_override='none').sum(dim=1), images)


def test_half_precision_and_targets_of_whole_numbers_are_raised():
    logits, target = LOGITS.bfloat16(), TARGET.round()
    expected = MultiLabelSoftMarginLoss()(logits.float(), target.float())
    assert_close(MultiLabelSoftMarginLoss()(logits, target.int()), expected, rtol=0, atol=0)
