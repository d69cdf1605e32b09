"""What a terminal shows of a run, and what its log file has."""

import io
import logging
import sys
import warnings
from contextlib import suppress
from types import SimpleNamespace

import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler import OneCycleLR
from torch import nn

from mlic.engine.hooks.finite_loss_hook import FiniteLossHook
from mlic.engine.runner.console import ConsoleFilter, name_once_if_full
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


def logged(tmp_path, *lines, level=logging.INFO, tables=True):
    """What terminal and file have of some lines."""
    file = tmp_path / 'run.log'
    logger = MMLogger(f'console_{tmp_path}_{lines}', log_file=str(file))
    terminal = logger.handlers[0]
    terminal.stream = io.StringIO()
    terminal.addFilter(ConsoleFilter(terminal, str(file), tables))
    for line in lines:
        logger.log(level, line)
    for handler in logger.handlers:
        handler.flush()
    shown = terminal.stream.getvalue().splitlines()
    return [line.split(' - ')[-1] for line in shown], file.read_text()


TABLE = """40 images, 7 classes, all with positives; in percent
                           mAP  mAP over    CP   CF1
standard, >= 0.5         93.02         7  8.12  9.00
standard, >= 0.5, top 3                   8.00  7.50"""
EVALUATION = (
    'Epoch({}) [2][8/8]    multi-label/mAP: 93.0150  multi-label/CP: 8.1234  multi-label/CF1: '
    '9.0000  multi-label/CP_top3: 8.0000  multi-label/CF1_top3: 7.4951  {}data_time: 0.1  time: 4.1'
)


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


def test_an_evaluation_in_training_is_one_line_of_its_main_metrics(tmp_path):
    line = EVALUATION.format('val', 'own/mAP: 50.0000  ')
    best = 'The best checkpoint with 93.0150 multi-label/mAP at 2 epoch is saved to best_2.pth.'
    shown, file = logged(tmp_path, TABLE, line, best, tables=False)
    assert shown == [
        'Epoch(val) [2][8/8]  mAP: 93.02  CP: 8.12  CF1: 9.00  own/mAP: 50.00',
        'best so far: best_2.pth',
    ]
    assert TABLE in file and line in file and best in file


def test_a_test_shows_its_table_and_only_what_else_was_measured(tmp_path):
    shown, file = logged(tmp_path, TABLE, EVALUATION.format('test', ''))
    assert shown == [TABLE.splitlines()[0], *TABLE.splitlines()[1:]]
    assert 'multi-label/mAP: 93.0150' in file
    # the same name with another value, and another name
    own = 'own/mAP: 50.0000  own/hamming: 9.0000  own/matrix: [1]  '
    shown, _ = logged(tmp_path, TABLE, EVALUATION.format('test', own))
    assert shown[4:] == ['Epoch(test) [2][8/8]  own/mAP: 50.00  own/hamming: 9.00  own/matrix: [1]']
    # without a table of ours
    shown, _ = logged(tmp_path, 'Epoch(test) [8/8]    multi-label/mAP: 93.0150  time: 4.1')
    assert shown == ['Epoch(test) [8/8]  mAP: 93.02']


def test_a_test_with_two_tables_shows_no_number_of_either_again(tmp_path):
    """The first metric's numbers came again, but for those that the second happened to have."""
    second = TABLE.replace('7', '4').replace('93.02', '31.00').replace('9.00', '12.00')
    both = '{}multi-label/mAP: 93.0150  multi-label/CF1: 9.0000  {}/mAP: 31.0000  {}/CF1: 12.0000'
    both = both.format('Epoch(test) [8/8]    ', *['frequent'] * 2)
    shown, file = logged(tmp_path, TABLE, second, both, both)
    tables = [*TABLE.splitlines(), *second.splitlines()]
    # another evaluation has no part in the tables of the one before
    line = 'Epoch(test) [8/8]  mAP: 93.02  CF1: 9.00  frequent/mAP: 31.00  frequent/CF1: 12.00'
    assert shown == [*tables, line] and both in file


def test_the_progress_of_an_evaluation_is_shown_as_it_is(tmp_path):
    lines = ['Epoch(test) [ 50/625]    eta: 0:01:10  time: 0.1207  data_time: 0.0020  memory: 7']
    assert logged(tmp_path, *lines)[0] == lines
    assert logged(tmp_path, 'Saving checkpoint at 3 epochs', 'Load checkpoint from a.pth')[0] == []
    lines = ['Load checkpoint from a.pth']  # of load_from, which nobody else says
    assert logged(tmp_path, *lines, tables=False)[0] == lines


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


def test_a_log_that_takes_no_more_is_named_once(tmp_path, capfd):
    file = tmp_path / 'run.log'
    logger = MMLogger('full', log_file=str(file))
    [handler] = [one for one in logger.handlers if isinstance(one, logging.FileHandler)]
    name_once_if_full(handler)
    logger.info('before')
    handler.stream.close()
    with suppress(OSError), open('/dev/full', 'w') as handler.stream:  # full as it is closed, too
        for number in range(3):
            logger.info(number)
    handler.stream = io.StringIO()
    said = capfd.readouterr().err.strip()
    assert said == f'{file} is not complete ([Errno 28] No space left on device); the run continues'
    assert 'before' in file.read_text()


def test_a_log_that_takes_no_more_ends_nothing_where_stderr_takes_no_more_either(monkeypatch):
    def refuse(*_):
        raise OSError('No space left on device')

    full = SimpleNamespace(write=refuse, flush=refuse)
    handler = logging.StreamHandler(full)
    handler.baseFilename = 'run.log'
    name_once_if_full(handler)
    monkeypatch.setattr(sys, 'stderr', full)
    for number in range(2):
        handler.handle(logging.LogRecord('full', logging.INFO, '', 0, str(number), (), None))
