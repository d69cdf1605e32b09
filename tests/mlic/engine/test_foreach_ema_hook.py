"""The average of the weights: the same as mmengine's, of checkpoints of either hook."""

import pytest
import torch
from mmengine.hooks import EMAHook
from torch.testing import assert_close

from tests.tiny_runs import final_checkpoint, make_runner, train, two_stage_config

BATCHES = [0.1] * 12  # six iterations


def averages(tmp_path, kind, optimizer=None, hook=None, prepare=None, **changes):
    """The averaged model and the model's weights after a run of toys."""
    runner, weights = make_runner(
        tmp_path,
        BATCHES,
        optim_wrapper=dict(optimizer=optimizer or dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='FiniteLossHook'), dict(type=kind, momentum=0.3, **(hook or {}))],
        **changes,
    )
    if prepare:
        prepare(runner.model)
    runner.train()
    (ema,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    return ema.ema_model, weights.seen[-1]


@pytest.mark.parametrize(
    'hook',
    [{}, dict(begin_iter=3), dict(interval=2), dict(update_buffers=True), dict(gamma=50)],
    ids=['plain', 'begin', 'interval', 'buffers', 'another kind'],
)
@pytest.mark.parametrize('optimizer', [None, dict(type='AdamW', lr=0.1, fused=True)])
def test_the_average_is_mmengines(tmp_path, hook, optimizer):
    if 'gamma' in hook:
        hook = dict(hook, ema_type='ExpMomentumEMA')
    ours, weights = averages(tmp_path / 'ours', 'ForeachEMAHook', optimizer, hook)
    theirs, expected = averages(tmp_path / 'theirs', 'EMAHook', optimizer, hook)
    assert_close(weights, expected, rtol=0, atol=0)
    # rounding: the device's step has no lerp
    assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-6, atol=1e-7)
    assert not torch.equal(ours.module.linear.weight, weights['linear.weight'])


def test_frozen_weights_and_buffers_are_the_models(tmp_path):
    def freeze(model):
        model.linear.bias.requires_grad_(False)

    average, weights = averages(tmp_path, 'ForeachEMAHook', prepare=freeze)
    for name in ('linear.bias', 'norm.running_mean', 'memory_bank'):
        assert torch.equal(average.module.state_dict()[name], weights[name]), name


@pytest.mark.parametrize('first, second', [('EMAHook', 'ForeachEMAHook')] * 1
                         + [('ForeachEMAHook', 'EMAHook')])  # fmt: skip
def test_checkpoints_of_one_hook_are_resumed_with_the_other(tmp_path, first, second):
    def run(name, kind, epochs, **changes):
        cfg = two_stage_config(tmp_path / name)
        (ema,) = [hook for hook in cfg.custom_hooks if 'EMA' in hook.type]
        ema.type = kind
        cfg.merge_from_dict(changes)
        train(cfg)
        return final_checkpoint(tmp_path / name)

    straight = run('straight', second, 4)
    begun = run('begun', first, 4)
    for part in ('state_dict', 'ema_state_dict'):
        for name in straight[part].keys() & begun[part].keys():
            assert_close(begun[part][name], straight[part][name], rtol=1e-5, atol=1e-6)
