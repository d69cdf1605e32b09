"""A second stage that is no method's own."""

from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as torch_dist
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS, MODELS
from torch.testing import assert_close

from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.config.device import adapt_to_device
from mlic.engine.hooks.foreach_ema_hook import ForeachEMAHook
from mlic.engine.hooks.stage_restart_hook import StageRestartHook
from mlic.models import LabelEmbedHead
from tests.helpers import run_ranks
from tests.tiny_runs import make_runner, tiny_config


@HOOKS.register_module()
class ZeroBiasHook(StageRestartHook):
    """Sets the scores' bias to 0."""

    def start_stage(self, runner, model):
        assert runner.optim_wrapper.optimizer.state  # of the stage before
        torch.nn.init.zeros_(model.head.fc.bias)
        return 'The biases are zero'


def test_a_stage_starts_once_at_its_epoch_and_each_checkpoint_says_its_stage(tmp_path):
    cfg = tiny_config(tmp_path, epochs=3)
    cfg.model.head.update(loss_sscl=None, loss_pscl=None)
    cfg.custom_hooks[1] = dict(type='ZeroBiasHook', begin=2)
    cfg.optim_wrapper.optimizer.lr = 0.0  # nothing else changes the bias
    runner = Runner.from_cfg(cfg)
    runner.train()
    saved = [
        torch.load(Path(cfg.work_dir) / f'epoch_{epoch}.pth', weights_only=False)
        for epoch in (1, 2, 3)
    ]
    hubs = [checkpoint['message_hub']['runtime_info'] for checkpoint in saved]
    assert [hub.get('stage') for hub in hubs] == [None, 2, 2]
    for key in ('state_dict', 'ema_state_dict'):
        assert saved[0]['state_dict']['head.fc.bias'].any()
        name = 'head.fc.bias' if key == 'state_dict' else 'module.head.fc.bias'
        assert not any(checkpoint[key][name].any() for checkpoint in saved[1:])
    steps = [next(iter(c['optimizer']['state'].values()))['step'].item() for c in saved]
    assert steps == [2, 2, 4]  # two iterations an epoch, counted anew
    log = next(Path(cfg.work_dir).glob('*/*.log')).read_text()
    assert log.count('The biases are zero, optimizer state, EMA and best score start anew.') == 1
    assert len(list(Path(cfg.work_dir).glob('best_*.pth'))) == 2


@HOOKS.register_module()
class SwitchingStage(StageRestartHook):
    """Another loss and a frozen layer, as one would write it."""

    def start_stage(self, runner, model):
        model.head.warm_up = False
        model.head.fc.bias.requires_grad_(False)
        return 'Switched'


@MODELS.register_module()
class WarmUpHead(LabelEmbedHead):
    """Has a loss of its own until the stage."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.warm_up = True

    def other_losses(self, label_embeds, cls_score, target):
        name = 'loss_warm_up' if self.warm_up else 'loss_main'
        return {name: label_embeds.square().mean()}


def test_what_a_stage_switches_and_freezes_stays_when_it_is_resumed(tmp_path):
    def run(folder, **changes):
        cfg = tiny_config(folder, epochs=3, **changes)
        sizes = dict(num_classes=10, in_channels=cfg.model.head.in_channels)
        cfg.model.head = dict(type='WarmUpHead', **sizes)
        cfg.custom_hooks[1] = dict(type='SwitchingStage', begin=2)
        cfg.randomness = dict(seed=3, deterministic=True)
        runner = Runner.from_cfg(cfg)
        runner.train()
        losses = {key for key in runner.message_hub.log_scalars if 'loss' in key}
        checkpoint = Path(cfg.work_dir) / 'epoch_3.pth'
        return losses, torch.load(checkpoint, weights_only=False)['state_dict']

    losses, weights = run(tmp_path)
    changes = dict(resume=True, load_from=str(tmp_path / 'work' / 'epoch_2.pth'))
    resumed_losses, resumed = run(tmp_path / 'resumed', **changes)
    assert losses == resumed_losses == {'train/loss', 'train/loss_cls', 'train/loss_main'}
    assert_close(resumed, weights, rtol=0, atol=0)
    log = next((tmp_path / 'resumed').glob('work/*/*.log')).read_text()
    assert 'just skip resuming this key' not in log


@HOOKS.register_module()
class ThawingStage(StageRestartHook):
    """Trains what was frozen."""

    def start_stage(self, runner, model):
        model.head.fc.requires_grad_(True)
        return 'Thawed'


@MODELS.register_module()
class FrozenHead(LabelEmbedHead):
    """Trains nothing of its own until the stage."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.fc.requires_grad_(False)


def refuse_on_ranks(rank, folder, head, hook, message):
    cfg = tiny_config(folder)
    sizes = dict(num_classes=10, in_channels=cfg.model.head.in_channels)
    cfg.model.head = dict(type=head, **sizes)
    cfg.custom_hooks[1] = dict(type=hook, begin=2)
    cfg.launcher = 'pytorch'
    adapt_to_device(cfg)
    with pytest.raises(RuntimeError, match=message):
        Runner.from_cfg(cfg).train()


@pytest.mark.dist
@pytest.mark.parametrize(
    ('head', 'hook', 'message'),
    [
        ('FrozenHead', 'ThawingStage', 'lets head.fc.weight, … be trained.* each would train its'),
        ('WarmUpHead', 'SwitchingStage', 'freezes head.fc.bias.* set find_unused_parameters=True'),
    ],
)
def test_processes_do_not_part_when_a_stage_freezes_or_thaws(tmp_path, head, hook, message):
    run_ranks(2, refuse_on_ranks, tmp_path, head, hook, message)


class Mode(str, Enum):
    """What a checkpoint cannot hold without this code."""

    LATE = 'late'


@HOOKS.register_module()
class NewPartStage(StageRestartHook):
    """Sets what is no plain value, and puts a module into the model."""

    def start_stage(self, runner, model):
        model.head.mode = Mode.LATE
        model.head.scale = np.float64(0.5)
        model.head.dropout = torch.nn.Dropout(0.1)
        return 'Put in'


def test_a_checkpoint_is_read_whatever_a_stage_sets_and_a_new_module_is_missed(tmp_path):
    def run(folder, **changes):
        cfg = tiny_config(folder, epochs=3, **changes)
        cfg.model.head.update(loss_sscl=None, loss_pscl=None)
        cfg.custom_hooks[1] = dict(type='NewPartStage', begin=2)
        Runner.from_cfg(cfg).train()

    run(tmp_path)
    path = tmp_path / 'work' / 'epoch_2.pth'
    switches = read_checkpoint(path)['message_hub']['runtime_info']['stage_switches']
    assert switches['head.scale'] == 0.5 and 'head.mode' not in switches
    message = 'NewPartStage.start_stage puts a Dropout at head.dropout of the model'
    assert message in next(tmp_path.glob('work/*/*.log')).read_text()
    with pytest.raises(RuntimeError, match=f'^{message}'):
        run(tmp_path / 'resumed', resume=True, load_from=str(path))


@HOOKS.register_module()
class AskedStage(StageRestartHook):
    """Keeps what the stage starts with."""

    def start_stage(self, runner, model):
        (ema,) = [hook for hook in runner.hooks if isinstance(hook, ForeachEMAHook)]
        self.pairs = [
            tuple(value.clone() for value in pair) for pair in ema.averaged_statistics().values()
        ]
        self.pairs += zip(ema.ema_model.module.parameters(), model.parameters())
        return 'Asked'


@pytest.mark.parametrize('start_from', ['ema', 'last'])
def test_a_stage_starts_from_averaged_weights_with_their_averaged_statistics(tmp_path, start_from):
    stage = dict(type='AskedStage', begin=2, start_from=start_from)
    average = dict(type='ForeachEMAHook', momentum=0.3, statistics=True)
    runner, _ = make_runner(tmp_path, [0.1] * 12, epochs=2, custom_hooks=[average, stage])
    runner.train()
    (asked,) = [hook for hook in runner.hooks if isinstance(hook, AskedStage)]
    assert len(asked.pairs) == 2 + 4
    equal = [torch.equal(*pair) for pair in asked.pairs[:2]]  # mean and variance
    assert equal == [start_from == 'ema'] * 2


def test_a_stage_of_several_processes_has_its_own_loss(tmp_path):
    recipe = dict(action_epoch=2, loss=dict(type='StopGradAsymmetricLoss', gamma_neg=3.0))
    hook = HOOKS.build(dict(type='SwitchRecipeHook', schedule=[recipe]))
    torch_dist.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        model = MMDistributedDataParallel(MODELS.build(tiny_config(tmp_path).model))
        runner = SimpleNamespace(model=model, epoch=1, logger=MMLogger.get_current_instance())
        hook.before_train_epoch(runner)
    finally:
        torch_dist.destroy_process_group()
    assert model.module.head.loss_module.gamma_neg == 3.0
