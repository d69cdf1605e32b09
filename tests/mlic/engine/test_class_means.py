"""The mean embedding of each class, next to a loop over images."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from mlic.engine.runner.class_means import class_means
from mlic.models.heads.label_embed_head import LabelEmbedHead


class TinyClassifier(nn.Module):
    """Embeddings are the inputs themselves."""

    def __init__(self, num_classes, embed_dims):
        super().__init__()
        self.head = LabelEmbedHead(num_classes, embed_dims)
        torch.nn.init.normal_(self.head.fc.weight)

    def data_preprocessor(self, batch, training):
        assert not training
        return batch

    def extract_feat(self, inputs):
        return (inputs,)


def make_batches(seed, num_batches, num_classes, embed_dims):
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for index in range(num_batches):
        size = 4 - (index == num_batches - 1)  # the last batch is smaller
        inputs = torch.randn(size, num_classes, embed_dims, generator=generator)
        target = (torch.rand(size, num_classes, generator=generator) < 0.5).float()
        target[:, 0] = 0  # a class nobody has
        samples = [DataSample().set_gt_score(row) for row in target]
        batches.append(dict(inputs=inputs, data_samples=samples))
    return batches


@pytest.mark.parametrize('threshold', [0.0, 0.5, 0.85])
def test_class_means_equal_a_loop_over_images(threshold):
    model = TinyClassifier(5, 6)
    batches = make_batches(0, 3, 5, 6)
    model.train()
    sums, counts, confident = class_means(model, batches, threshold)
    assert model.training  # left as it was
    expected, number, passed = torch.zeros(5, 6), [0] * 5, [0] * 5
    for batch in batches:
        scores = model.head((batch['inputs'],)).sigmoid()
        for image, sample in enumerate(batch['data_samples']):
            for c in range(5):
                if sample.gt_score[c] == 1:
                    number[c] += 1
                    if scores[image, c] > threshold:
                        passed[c] += 1
                        expected[c] += batch['inputs'][image, c]
    torch.testing.assert_close(sums, expected)
    assert counts.tolist() == number
    assert confident.tolist() == passed
    assert passed[0] == 0 and sums[0].abs().sum() == 0


def test_class_means_take_a_soft_label_for_what_the_losses_take_it():
    score = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    batch = dict(inputs=torch.ones(1, 5, 6), data_samples=[DataSample().set_gt_score(score)])
    sums, counts, _ = class_means(TinyClassifier(5, 6), [batch], None)
    assert counts.tolist() == [0, 0, 1, 1, 1]
    torch.testing.assert_close(sums, counts[:, None].expand(5, 6))
