"""The average of the weights: the same as mmengine's, of checkpoints of either hook."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from torch.testing import assert_close

from mlic.engine import TrainingRunner
from mlic.engine.hooks.foreach_ema_hook import ForeachEMAHook
from projects.sadcl.models.sadcl_head import SADCLHead
from tests.tiny_runs import make_runner, tiny_config, toy_loader

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
        hook = dict(hook, ema_type='MomentumAnnealingEMA')
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


@pytest.mark.parametrize(
    'first, second', [('EMAHook', 'ForeachEMAHook'), ('ForeachEMAHook', 'EMAHook')]
)
def test_checkpoints_of_one_hook_are_resumed_with_the_other(tmp_path, first, second):
    straight, expected = averages(tmp_path / 'straight', second, epochs=2)
    averages(tmp_path / 'begun', first, epochs=1)
    start = str(tmp_path / 'begun' / 'work' / 'epoch_1.pth')
    resumed, weights = averages(tmp_path / 'begun', second, epochs=2, load_from=start, resume=True)
    assert_close(weights, expected, rtol=0, atol=0)
    assert resumed.steps == straight.steps == 12
    assert_close(resumed.state_dict(), straight.state_dict(), rtol=1e-6, atol=1e-7)


def test_a_test_after_the_training_measures_the_average(tmp_path):
    runner = TrainingRunner.from_cfg(tiny_config(tmp_path))
    runner.train()
    measured = runner.test()
    cfg = tiny_config(tmp_path, load_from=str(tmp_path / 'work' / 'epoch_2.pth'))
    assert measured == TrainingRunner.from_cfg(cfg).test()


@torch.no_grad()
def test_a_test_measures_the_weights_that_the_model_has_got_after_the_training(tmp_path):
    runner, _ = make_runner(tmp_path, BATCHES, custom_hooks=[dict(type='ForeachEMAHook')])
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    with torch.enable_grad():
        runner.train()
    hook.before_run(runner)
    assert hook.ema_model.steps == 6
    runner.model.load_state_dict({k: v * 0 for k, v in runner.model.state_dict().items()})
    hook.before_run(runner)
    assert not any(mean.any() for mean in hook.ema_model.module.parameters())


def test_a_test_before_the_training_leaves_the_horizon_as_it_is(tmp_path):
    cfg = tiny_config(tmp_path)
    cfg.custom_hooks[0] = dict(type='ForeachEMAHook', horizon=1.0)
    runner = TrainingRunner.from_cfg(cfg)
    (hook,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    runner.test()
    runner.train()
    assert hook.ema_model.momentum == 0.25  # of four iterations


@pytest.mark.parametrize(
    'horizon, iterations, momentum',
    [
        # the recorded runs of six, four and two epochs of Corel5k
        *((0.1, 840, 0.012), (0.1, 560, 0.018), (0.1, 280, 0.036)),
        (0.05, 8 * 62, 0.04),  # both stages of digit scenes
        *((0.1, 12, 0.5), (0.1, 0, 0.5)),
    ],
)
def test_a_horizon_is_one_over_its_share_of_the_iterations(horizon, iterations, momentum):
    hook, model = ForeachEMAHook(horizon=horizon), torch.nn.Linear(2, 2)
    runner = SimpleNamespace(max_iters=iterations, model=model, hooks=[hook], optim_wrapper=None)
    hook.before_run(runner)
    assert hook.ema_model.momentum == momentum


@pytest.mark.parametrize(
    'settings', [dict(horizon=0), dict(horizon=1.5), dict(horizon=0.1, momentum=0.1)], ids=str
)
def test_a_horizon_that_says_nothing_or_another_thing_is_refused(settings):
    with pytest.raises(ValueError, match=f'horizon.*{settings["horizon"]}'):
        ForeachEMAHook(**settings)


class Averages(Hook):
    """The average that the published code has: of all floating-point entries, after a step."""

    def __init__(self, momentum, keys):
        self.momentum, self.keys, self.expected = momentum, keys, None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        values = {key: value.clone() for key, value in runner.model.state_dict().items()}
        if self.expected is None:
            self.expected = values  # mmengine's and ours: what the first step leaves
        for key in self.keys:
            self.expected[key] += self.momentum * (values[key] - self.expected[key])


@pytest.mark.parametrize('optimizer', [dict(type='SGD', lr=0.1), dict(type='AdamW', fused=True)])
def test_running_statistics_are_averaged_where_that_is_asked_for(tmp_path, optimizer):
    keys = ['norm.weight', 'norm.running_mean', 'norm.running_var', 'linear.weight']
    hook = dict(type='ForeachEMAHook', momentum=0.3, statistics=True)
    runner, weights = make_runner(
        tmp_path,
        BATCHES,
        epochs=2,
        optim_wrapper=dict(optimizer=optimizer),
        custom_hooks=[dict(type='FiniteLossHook'), hook],
    )
    runner.register_hook(loop := Averages(0.3, keys))
    runner.train()
    (ema,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    found = ema.ema_model.module.state_dict()
    for key in keys:
        assert_close(found[key], loop.expected[key], rtol=1e-6, atol=1e-7)
        assert not torch.equal(found[key], weights.seen[-1][key]), key
    assert torch.equal(found['memory_bank'], weights.seen[-1]['memory_bank'])
    saved = torch.load(tmp_path / 'work' / 'epoch_2.pth', weights_only=False)[
        'state_dict'
    ]  # what is deployed
    assert_close(saved['norm.running_mean'], found['norm.running_mean'], rtol=0, atol=0)


def test_statistics_go_with_the_plain_average_alone(tmp_path):
    hook = dict(statistics=True, ema_type='MomentumAnnealingEMA', gamma=50)
    with pytest.raises(ValueError, match='statistics=True.* update_buffers=True'):
        averages(tmp_path, 'ForeachEMAHook', hook=hook)


def test_the_average_of_accumulated_batches_is_that_of_the_whole_ones(tmp_path):
    def train(name, size, counts):
        model, count = dict(type='ToyModel'), 24
        data = toy_loader([0.0] * count, batch_size=size)
        wrapper = dict(accumulative_counts=counts, optimizer=dict(type='SGD', lr=0.01))
        hook = dict(type='ForeachEMAHook', horizon=0.5)
        runner, _ = make_runner(
            tmp_path / name,
            model=model,
            train_dataloader=data,
            optim_wrapper=wrapper,
            custom_hooks=[hook],
        )
        for module in runner.model.modules():
            module.train = lambda mode=True: None  # batches of two sizes have other statistics
        runner.model.norm.training = False
        runner.train()
        (ema,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        return ema.ema_model

    whole, parts = train('whole', 6, 1), train('parts', 2, 3)
    assert whole.momentum == parts.momentum == 0.5 and whole.steps == parts.steps == 4
    assert_close(parts.module.linear.weight, whole.module.linear.weight, rtol=1e-6, atol=1e-7)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        settings = dict(num_classes=3, in_channels=4, proj_channels=2, bank_slots=2)
        self.head = SADCLHead(**settings)
        self.head.memory_bank.normal_()


def test_a_memory_bank_is_saved_once_and_loaded_from_older_checkpoints_too():
    hook, model = ForeachEMAHook(), Model()
    hook.before_run(SimpleNamespace(model=model, hooks=[]))
    assert hook.ema_model.module.head.memory_bank is model.head.memory_bank
    checkpoint = dict(state_dict=model.state_dict())
    older = dict(state_dict=model.state_dict())
    hook.before_save_checkpoint(None, checkpoint)
    EMAHook.before_save_checkpoint(hook, None, older)
    name = 'module.head.memory_bank'
    assert name not in checkpoint['ema_state_dict'] and name in older['ema_state_dict']
    for saved in (checkpoint, older):
        other = ForeachEMAHook(strict_load=True)
        other.before_run(SimpleNamespace(model=Model(), hooks=[]))
        other.after_load_checkpoint(None, saved)
        assert_close(other.ema_model.module.state_dict(), model.state_dict(), rtol=0, atol=0)
