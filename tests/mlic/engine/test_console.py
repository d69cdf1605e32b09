"""What a terminal shows of a run, and what its log file has."""

import io
import logging
import sys
import warnings

import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler import OneCycleLR
from torch import nn

from mlic.engine.hooks.finite_loss_hook import FiniteLossHook
from mlic.engine.runner.console import ConsoleFilter
from mlic.engine.runner.errors import one_line_errors

BATCH_NORM = 'Distributed training is not used, all SyncBatchNorm (SyncBN) layers in the model will'
LINES = [
    'backbone.conv.weight is skipped since its requires_grad=False',
    'backbone.conv.bias is skipped since its requires_grad=False',
    'paramwise_options -- backbone.fc.weight:lr=0.0001',
    'paramwise_options -- backbone.fc.weight:weight_decay=0.01',
    'paramwise_options -- backbone.fc.weight:lr_mult=0.2',
    'paramwise_options -- backbone.fc.bias:lr=0.0001',
]
SUMMARY = (
    'Parameters with settings of their own (tensors): '
    'backbone frozen (2); backbone lr 0.0001 (2); backbone weight_decay 0.01 (1)'
)


def logged(tmp_path, *lines, level=logging.INFO):
    """What terminal and file have of some lines."""
    file = tmp_path / 'run.log'
    logger = MMLogger(f'console_{tmp_path}_{lines}', log_file=str(file))
    terminal = logger.handlers[0]
    terminal.stream = io.StringIO()
    terminal.addFilter(ConsoleFilter(terminal, str(file)))
    for line in lines:
        logger.log(level, line)
    for handler in logger.handlers:
        handler.flush()
    shown = terminal.stream.getvalue().splitlines()
    return [line.split(' - ')[-1] for line in shown], file.read_text()


def test_lines_about_single_parameters_become_one(tmp_path):
    shown, file = logged(tmp_path, *LINES, 'Checkpoints will be saved', 'Epoch 1')
    assert shown == [SUMMARY, 'Checkpoints will be saved', 'Epoch 1']
    assert all(line in file for line in LINES)
    assert 'Parameters with settings' not in file


def test_the_config_becomes_the_name_of_the_log_file(tmp_path):
    hooks = 'Hooks will be executed in the following order:\nbefore_run'
    shown, file = logged(tmp_path, 'Config:\nmodel = dict()\n', hooks)
    assert shown == [f'Config, environment and hooks are in {tmp_path / "run.log"}']
    assert 'model = dict()' in file and hooks in file


def test_what_concerns_the_user_is_shown(tmp_path):
    lines = [
        'Epoch(train) [1][8/8]  loss: 4.5',
        'mAP 93.0',
        'Prototypes: 3 of 10 classes',
        '50 % off: %s',
    ]
    assert logged(tmp_path, *lines)[0] == lines
    assert logged(tmp_path, BATCH_NORM)[0] == []


def test_guarded_steps_are_counted_steps():
    """mmengine warned at the first iteration of each run that the step had been overridden."""
    layer = nn.Linear(2, 1)
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1))
    schedule = OneCycleLR(wrapper, eta_max=0.1, total_steps=5)
    hook = FiniteLossHook()
    hook._step, hook._runner = wrapper.step, type('Runner', (), dict(optim_wrapper=wrapper))
    wrapper.step = hook._guarded_step
    layer(torch.ones(1, 2)).sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        wrapper.step()
        schedule.step()


def test_a_name_that_the_terminal_cannot_show_ends_no_tool(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', terminal)
    with one_line_errors():
        print('caf\udce9 日本.png')  # noqa: T201
    assert terminal.buffer.getvalue().split() == [rb'caf\udce9', rb'\u65e5\u672c.png']
