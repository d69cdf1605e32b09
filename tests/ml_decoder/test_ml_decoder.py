"""MLDecoderHead against loops. B images, C classes, G queries, D embed dims, T tokens."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from projects.ml_decoder.ml_decoder_head import MLDecoderHead
from tests import reference

EXACT = dict(rtol=1e-9, atol=1e-9)  # float64, a few layers of values of order 1


def make_head(num_classes=5, **kwargs):
    settings = dict(in_channels=6, embed_dims=8, num_heads=2, feedforward_channels=12)
    return MLDecoderHead(num_classes, **{**settings, **kwargs})


def by_loops(head, feature_map):
    """Logits (B, C) in evaluation mode, class by class."""
    rows = []
    for image in feature_map:
        tokens = torch.stack(
            [image[:, i, j] for i in range(image.shape[1]) for j in range(image.shape[2])]
        )
        tokens = (tokens @ head.input_proj.weight.T + head.input_proj.bias).clamp(min=0)
        embeds = reference.layer_norm(2 * head.query_embed, head.query_norm)
        attended, _ = reference.attention(embeds, tokens, tokens, head.attn)
        embeds = reference.layer_norm(embeds + attended, head.attn_norm)
        embeds = reference.layer_norm(
            embeds + reference.feed_forward(embeds, head.ffn), head.ffn_norm
        )
        group_size = math.ceil(head.num_classes / len(head.query_embed))
        row = []
        for c in range(head.num_classes):
            query, place = divmod(c, group_size)
            row.append((embeds[query] * head.weight[query, :, place]).sum() + head.bias[c])
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize('num_classes,num_queries', [(5, 100), (5, 5), (7, 3), (5, 4), (6, 1)])
def test_head_equals_loops(num_classes, num_queries):
    torch.manual_seed(0)
    head = make_head(num_classes, num_queries=num_queries).double().eval()
    for parameter in head.parameters():  # norms and biases start at 1 and 0, which hides errors
        nn.init.normal_(parameter, std=0.5)
    feature_map = torch.randn(3, 6, 4, 2).double()
    assert head.query_embed.shape == (min(num_queries, num_classes), 8)
    assert_close(head((feature_map,)), by_loops(head, feature_map), **EXACT)


def test_published_size():
    """COCO with ResNet-101: one query a class, 768 wide, one layer."""
    with torch.device('meta'):
        head = MLDecoderHead(80, in_channels=2048)
    width = 768
    expected = 2048 * width + width  # projection of the tokens
    expected += 4 * width * width + 4 * width  # attention
    expected += 2 * width * 2048 + 2048 + width  # feed-forward
    expected += 3 * 2 * width + 80 * width + 80  # norms, one vector and one bias for each class
    assert sum(p.numel() for p in head.parameters()) == expected
    assert head.query_embed.shape == (80, width)


def test_queries_are_saved_and_not_learned():
    head = make_head()
    assert 'query_embed' in head.state_dict()
    assert 'query_embed' not in dict(head.named_parameters())


@pytest.mark.parametrize('num_queries', [40, 20])
def test_class_vectors_start_as_xaviers(num_queries):
    torch.manual_seed(0)
    weight = make_head(40, embed_dims=64, num_queries=num_queries).weight  # (G, D, S)
    fan = (num_queries + 64) * (40 // num_queries)
    assert weight.std().item() == pytest.approx(math.sqrt(2 / fan), rel=0.1)
    assert abs(weight.mean()) < 0.02


def test_prior_and_wrong_arguments():
    assert_close(make_head(prior_prob=0.1).bias.sigmoid(), torch.full((5,), 0.1))
    with pytest.raises(ValueError, match='num_queries'):
        make_head(num_queries=0)


def test_autocast_rounds_no_logits():
    with torch.autocast('cpu', torch.bfloat16):
        logits = make_head()((torch.rand(2, 6, 3, 3),))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
