"""A second stage that is no method's own."""

from pathlib import Path

import torch
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from mlic.engine.hooks.stage_restart_hook import StageRestartHook
from tests.tiny_runs import tiny_config


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
