"""TDRG against loops and recordings. B images, C classes, K channels, D embed dims, N cells."""

import pytest
import torch
from torch.testing import assert_close

from projects.tdrg.published_weights import NAMES, TDRG
from projects.tdrg.tdrg_head import TDRGHead
from tests.peer_recordings import PeerRecording

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64


def recorded_head(attend='batch'):
    """The head of the recording with its weights, in float64, and the recording."""
    recording = PeerRecording('tdrg')
    weights = TDRG.convert(recording.weights())
    weights = {name.removeprefix('head.'): value for name, value in weights.items()}
    head = TDRGHead(
        recording['target'].shape[1],
        (recording['feature3'].shape[1], recording['feature4'].shape[1]),
        embed_dims=len(weights['guidance.weight']),
        graph_dims=len(weights['transform.weight']),
        num_layers=sum(name.endswith('attn_norm.weight') for name in weights),
        num_heads=4,
        feedforward_channels=len(weights['encoder.0.ffn.0.weight']),
        attend=attend,
    ).double()
    head.load_state_dict(weights)
    return head, recording


def released(entries, recording):
    """By the names, and in the shapes, of the released code."""
    names = {name: NAMES.theirs(f'head.{name}') for name in entries}
    return {
        theirs: entries[name].reshape(recording[f'sd.{theirs}'].shape)
        for name, theirs in names.items()
        if not name.endswith('num_batches_tracked')
    }


def features(recording, dtype=torch.float64):
    return tuple(recording[f'feature{stage}'].to(dtype) for stage in (3, 4))


LOSSES = dict(loss_cls='score', loss_trans='out_trans', loss_gcn='out_gcn', loss_sac='out_sac')


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_scores_and_losses_are_those_of_the_released_code(mode):
    for dtype, suffix in ((torch.float64, '.f64'), (torch.float32, '.f32')):
        head, recording = recorded_head()
        head.to(dtype).train(mode == 'train')
        feats = features(recording, dtype)
        scores = head.scores(feats)
        for name, value in scores.items():
            recording.check(value, f'{mode}.out_{name}{suffix}')
        recording.check(head(feats), f'{mode}.score{suffix}')


def test_gradients_and_statistics_are_those_of_the_released_code():
    head, recording = recorded_head()
    feats = tuple(feat.requires_grad_() for feat in features(recording))
    losses = head.loss(feats, recording.samples())
    sum(losses.values()).backward()
    gradients = released({name: p.grad for name, p in head.named_parameters()}, recording)
    gradients.update({f'in.feature{stage}': feat.grad for stage, feat in zip((3, 4), feats)})
    recording.check_gradients(gradients)
    for name, buffer in released(dict(head.named_buffers()), recording).items():
        recording.check(buffer, f'after.{name}')
