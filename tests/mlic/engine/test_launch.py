"""Start-up: what does not fit together is said before the first iteration; ranks end together."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch
from mmengine import dist
from mmengine.config import Config
from torch.utils.data import BatchSampler

from mlic.engine.config.device import adapt_to_device
from mlic.engine.config.launch_checks import (
    LaunchError,
    check_launch,
    check_order,
    scale_for_accumulation,
)
from mlic.engine.runner.errors import one_line_errors
from mlic.models.training_parts import TrainingParts
from tests.helpers import ROOT, call_tool, run_process
from tests.tiny_runs import TINY, Toys, make_runner, toy_loader

TORCHRUN = ROOT / 'tools' / 'torchrun.sh'

# a run of six iterations an epoch on several ranks, of which one may fail in its third
SCRIPT = """
import atexit, os, signal, sys, time
from pathlib import Path
import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.hooks import Hook
from mlic.engine import adapt_to_device, one_line_errors
from tests.tiny_runs import make_runner

kind, folder = sys.argv[1], Path(sys.argv[2])

class Fault(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != 2 or runner.rank != 1:
            return
        print(f'fault at {time.time()}', flush=True)
        if kind == 'raise':
            raise KeyError('the reason of the first')
        if kind == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == 'hang':
            time.sleep(1000)
        if kind in ('nan', 'nan_fused'):
            data_batch['inputs'][0].fill_(float('nan'))

with one_line_errors():
    # of whoever waits for a rank, which may be late on a busy machine from its start on
    timeout = 20 if kind == 'hang' else 120
    cfg = Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg=dict(timeout=timeout))))
    adapt_to_device(cfg)
    world_size = dist.get_world_size()
    changes = {}
    if kind == 'nan_fused':
        optimizer = dict(type='AdamW', lr=0.01, fused=True)
        changes = dict(optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer))
    runner, weights = make_runner(
        folder, extra=[0.1] * 12 * world_size, launcher='pytorch',
        accumulative_counts=2 if kind == 'nan' else 1, cfg=cfg, **changes,
    )
    runner.register_hook(Fault())
    runner.train()
    for name, value in runner.model.module.named_parameters():
        copies = dist.all_gather(value.data)
        assert all(torch.equal(copy, copies[0]) for copy in copies), name
        assert value.isfinite().all()
    if dist.is_main_process():
        print(f'{world_size} ranks agree', weights.seen[-1]['module.linear.weight'].tolist())
    atexit.register(print, 'an exit handler ran')
atexit.register(print, 'the interpreter is being torn down')
"""


def start(tmp_path, kind, processes, **environment):
    """Processes of the script under tools/torchrun.sh."""
    (tmp_path / 'run.py').write_text(SCRIPT)
    return launch(tmp_path, processes, kind, tmp_path, **environment)


def launch(tmp_path, processes, *arguments, **environment):
    """Processes of ``run.py`` in a folder under tools/torchrun.sh."""
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': str(ROOT),
        'VIRTUAL_ENV': str(Path(sys.executable).parent.parent),
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        **environment,
    }
    return subprocess.Popen(
        [*map(str, (TORCHRUN, processes, tmp_path / 'run.py', *arguments))],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=240)
    return output


def run_on_two_nodes(tmp_path, kind, first_port):
    """Exit statuses and outputs of two nodes of one process each, both on this machine."""
    nodes = []
    for rank in ('0', '1'):
        (tmp_path / rank).mkdir()
        settings = dict(NNODES='2', NODE_RANK=rank, MASTER_ADDR='127.0.0.1')
        settings['PORT'] = str(first_port + os.getpid() % 1000)
        nodes.append(start(tmp_path / rank, kind, 1, **settings))
    outputs = [finish(node) for node in nodes]
    return [node.returncode for node in nodes], outputs


# ---------------------------------------------------------------- several ranks


@pytest.mark.dist
@pytest.mark.parametrize(
    'kind, processes, reason',
    [
        ('raise', 2, 'the reason of the first'),
        pytest.param('kill', 3, '(SIGKILL), as Linux does', marks=pytest.mark.slow),
        pytest.param('hang', 3, 'Timed out', marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_fails_ends_the_others_within_a_minute(tmp_path, kind, processes, reason):
    process = start(tmp_path, kind, processes)
    output = finish(process)
    ended = time.time()
    assert process.returncode != 0
    failed = float(re.search(r'fault at ([\d.]+)', output)[1])
    assert ended - failed < 60
    assert reason in output
    root_cause = output.split('Root Cause')[-1]
    if kind != 'hang':  # a rank that hangs says nothing: those that waited for it do
        assert reason in root_cause and re.search(r'rank +: 1 ', root_cause)


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells a process')
def test_ranks_end_when_their_launcher_is_killed(tmp_path):
    """The system without memory does that; the work directory would stay locked."""
    tool = 'import time\ndef main(argv):\n    print("ready", flush=True)\n    time.sleep(60)\n'
    (tmp_path / 'sleeper.py').write_text(tool)
    (tmp_path / 'run.py').write_text('from mlic_command import run\nrun("sleeper")\n')
    process = launch(tmp_path, 1)
    assert 'ready\n' in iter(process.stdout.readline, '')
    process.kill()
    killed = time.time()
    process.stdout.read()  # to the end: the rank holds the other end of the pipe, too
    process.wait()
    assert time.time() - killed < 20


@pytest.mark.dist
@pytest.mark.parametrize('kind', [pytest.param('nan', marks=pytest.mark.slow), 'nan_fused'])
def test_a_loss_that_is_not_finite_on_one_rank_is_skipped_on_all(tmp_path, kind):
    """Where they meet at a port of one's own choice, and leave no temporary folder behind."""
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = str(server.getsockname()[1])
    process = start(tmp_path, kind, 2, PORT=port, TMPDIR=str(temporary))
    output = finish(process)
    assert process.returncode == 0, output[-3000:]
    assert '2 ranks agree' in output
    assert not list(temporary.iterdir())
    # gloo's threads could abort a process whose interpreter is torn down under them
    assert output.count('an exit handler ran') == 2 and 'torn down' not in output
    (line,) = [line for line in output.splitlines() if 'is skipped' in line]
    # 24 images are dealt out in turn: the third batch of rank 1 has images 9 and 11
    assert 'Iteration 3 is skipped' in line
    assert 'rank 1: loss nan, images image_9.jpg, image_11.jpg' in line and 'rank 0' not in line


@pytest.mark.dist
@pytest.mark.slow
def test_two_nodes_train_what_one_node_trains(tmp_path):
    (tmp_path / 'one').mkdir()
    one = finish(start(tmp_path / 'one', 'none', 2))
    statuses, outputs = run_on_two_nodes(tmp_path, 'none', 29500)
    assert statuses == [0, 0], outputs[0][-2000:] + outputs[1][-2000:]
    (expected,) = re.findall('2 ranks agree.*', one)
    assert re.findall('2 ranks agree.*', outputs[0]) == [expected]
    assert 'ranks agree' not in outputs[1]


@pytest.mark.dist
@pytest.mark.slow
def test_a_killed_node_ends_the_other_within_a_minute(tmp_path):
    statuses, outputs = run_on_two_nodes(tmp_path, 'kill', 28500)
    ended = time.time()
    assert 0 not in statuses
    assert ended - float(re.search(r'fault at ([\d.]+)', outputs[1])[1]) < 60
    assert 'SIGKILL' in outputs[1]


def test_several_nodes_need_an_address(tmp_path):
    process = start(tmp_path, 'none', 1, NNODES='2')
    assert 'MASTER_ADDR: the address of node 0' in finish(process)
    assert process.returncode != 0


# ---------------------------------------------------------------- slurm


def run_slurm(tmp_path, *arguments, **environment):
    """tools/slurm_train.sh with a srun that writes its command line, and a Python that agrees."""
    (tmp_path / 'srun').write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / 'python').write_text('#!/bin/sh\necho checked "$@"\n')
    for name in ('srun', 'python'):
        (tmp_path / name).chmod(0o755)
    return subprocess.run(
        [str(ROOT / 'tools' / 'slurm_train.sh'), *arguments, 'config.py', '--work-dir', 'a b'],
        cwd=tmp_path,
        env={
            **os.environ,
            'VIRTUAL_ENV': str(tmp_path),
            'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}',
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_slurm_gets_the_command_line(tmp_path):
    settings = dict(GPUS='16', GPUS_PER_NODE='8', CPUS_PER_TASK='4', SRUN_ARGS='--quiet --mem 9G')
    result = run_slurm(tmp_path, 'gpu', 'my job', **settings)
    assert result.returncode == 0, result.stderr
    checked, *words = result.stdout.splitlines()
    tools = ROOT / 'tools'
    assert (
        checked == f'checked {tools}/train.py config.py --work-dir a b --launcher slurm --dry-run'
    )
    assert words == [
        *('--partition', 'gpu', '--job-name', 'my job', '--gres', 'gpu:8', '--ntasks', '16'),
        *('--ntasks-per-node', '8', '--cpus-per-task', '4', '--kill-on-bad-exit=1'),
        *('--quiet', '--mem', '9G', f'{tools}/python.sh', '-u', f'{tools}/train.py'),
        *('config.py', '--work-dir', 'a b', '--launcher', 'slurm'),
    ]


def test_slurm_with_less_than_a_node_or_parts_of_nodes(tmp_path):
    words = run_slurm(tmp_path, 'gpu', 'job', GPUS='2').stdout.splitlines()
    assert words[words.index('--gres') + 1] == 'gpu:2'
    assert words[words.index('--ntasks-per-node') + 1] == '2'
    result = run_slurm(tmp_path, 'gpu', 'job', GPUS='12')
    assert result.returncode == 1 and 'GPUS=12 is no multiple of GPUS_PER_NODE=8' in result.stderr


@pytest.mark.parametrize('option', ['--dry-run', '--help'])
@pytest.mark.parametrize(
    'script, arguments',
    [
        ('dist_train', ['config.py', '2']),
        ('dist_test', ['config.py', 'x.pth', '2']),
        ('slurm_train', ['p', 'job', 'config.py']),
    ],
)
def test_what_only_checks_or_explains_starts_no_processes(tmp_path, script, arguments, option):
    (tmp_path / 'python').write_text('#!/bin/sh\necho called "$@"\n')
    (tmp_path / 'python').chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    settings = dict(cwd=tmp_path, PATH=path, VIRTUAL_ENV=str(tmp_path))
    tool = ROOT / 'tools' / f'{script}.sh'
    result = run_process(tool, *arguments, '--work-dir', 'x', option, **settings)
    assert result.returncode == 0, result.stderr
    (line,) = result.stdout.splitlines()
    assert line.startswith('called ') and option in line.split()


@pytest.mark.parametrize('tool, given', [('train', []), ('test', ['x.pth'])])
def test_torchrun_without_a_launcher_is_refused(monkeypatch, empty_folder, tool, given):
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    monkeypatch.setenv('WORLD_SIZE', '2')
    error = call_tool(f'tools/{tool}.py', DIGITS, *given)
    assert error.endswith(
        'torchrun started 2 processes, and each would do all of the work: add --launcher pytorch'
    )
    monkeypatch.setenv('WORLD_SIZE', '1')
    error = call_tool(f'tools/{tool}.py', DIGITS, *given, '--cfg-options', 'model.no.such=1')
    assert error and 'torchrun' not in error


@pytest.mark.parametrize(
    'script, arguments, variables, said',
    [
        (
            'dist_train',
            ['config.py', '--work-dir', 'x'],
            {},
            "NGPUS is a whole number from 1, got '--",
        ),
        ('dist_train', ['config.py', '0'], {}, "NGPUS is a whole number from 1, got '0'"),
        (
            'dist_train',
            ['config.py', '2'],
            dict(NNODES='x'),
            'NNODES is a whole number from 1, got',
        ),
        (
            'dist_test',
            ['config.py', 'x.pth', '2.5'],
            {},
            "NGPUS is a whole number from 1, got '2.5'",
        ),
        (
            'torchrun',
            ['2', 'script.py'],
            dict(NNODES='2', NODE_RANK='2', MASTER_ADDR='localhost'),
            "NODE_RANK is a whole number from 0 to 1, got '2'",
        ),
        (
            'torchrun',
            ['2', 'script.py'],
            dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='localhost', PORT='99999'),
            "PORT is a whole number from 1 to 65535, got '99999'",
        ),
        (
            'torchrun',
            ['2', 'script.py'],
            dict(PORT='abc'),
            "PORT is a whole number from 1 to 65535, got 'abc'",
        ),
        (
            'slurm_train',
            ['p', 'job', 'config.py'],
            dict(GPUS='all'),
            'GPUS is a whole number from 1',
        ),
    ],
)
def test_a_number_of_processes_that_is_none_is_one_line(
    tmp_path, script, arguments, variables, said
):
    tool = ROOT / 'tools' / f'{script}.sh'
    result = run_process(tool, *arguments, cwd=tmp_path, **variables)
    assert result.returncode == 2 and not result.stdout
    assert result.stderr.startswith(f'error: {said}') and result.stderr.count('\n') == 1


def test_a_port_in_use_is_one_line_at_once(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = str(server.getsockname()[1])
        result = run_process(TORCHRUN, 2, 'script.py', cwd=tmp_path, PORT=port)
    assert result.returncode == 1
    assert re.fullmatch(
        f'error: PORT {port} cannot be used .*in use.*: use another\n', result.stderr
    )


@pytest.mark.dist
@pytest.mark.slow
def test_processes_meet_at_any_port_for_0(tmp_path):
    process = start(tmp_path, 'none', 2, PORT='0')
    output = finish(process)
    assert process.returncode == 0 and '2 ranks agree' in output


def test_slurm_without_cuda_is_an_error():
    if torch.cuda.is_available():
        pytest.skip('this machine has CUDA')
    cfg = Config(dict(launcher='slurm', env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    with pytest.raises(SystemExit, match='slurm needs CUDA'):
        adapt_to_device(cfg)


# ---------------------------------------------------------------- checks before the first iteration


def loader(images, drop_last=False):
    return toy_loader([0.0] * images, batch_size=4, drop_last=drop_last)


def test_a_loader_without_batches_is_an_error(tmp_path):
    runner, _ = make_runner(tmp_path, train_dataloader=loader(3, drop_last=True))
    with pytest.raises(LaunchError, match='0 batches: 3 images on 1 .*batch_size=4'):
        check_launch(runner)
    runner, _ = make_runner(tmp_path, train_dataloader=loader(3))
    check_launch(runner)


@pytest.mark.parametrize('first', ['EMAHook', 'ForeachEMAHook'])
def test_a_second_average_is_refused(tmp_path, first):
    hooks = [dict(type=kind, momentum=0.1) for kind in (first, 'EMAHook')]
    runner, _ = make_runner(tmp_path, custom_hooks=hooks)
    with pytest.raises(LaunchError, match=f'have {first} and EMAHook, .*: leave one of them'):
        check_launch(runner)


def test_processes_that_would_start_from_different_checkpoints_are_refused(tmp_path, monkeypatch):
    runner, _ = make_runner(tmp_path, train_dataloader=loader(8))
    monkeypatch.setattr(dist, 'all_gather_object', lambda own: [own, (True, 'epoch_3.pth')])
    with pytest.raises(LaunchError, match=r"checkpoints, .*, \(True, 'epoch_3.pth'\)\]: the work"):
        check_launch(runner)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_more_processes_than_images_is_an_error(tmp_path, split):
    images = dict(dict(train=8, val=8), **{split: 2})
    validation = dict(val_cfg=dict(), val_evaluator=dict(type='ToyMetric', scores=[]))
    loaders = {f'{name}_dataloader': loader(number) for name, number in images.items()}
    runner, _ = make_runner(tmp_path, **loaders, **validation)
    check_launch(runner)
    runner._world_size = 3
    with pytest.raises(LaunchError, match=f'{split}_dataloader has 2 images for 3 processes'):
        check_launch(runner)


@pytest.mark.parametrize(
    'images, drop_last, round_up, even',
    [
        (23, False, False, False),  # 11 and 12 images
        (23, True, False, False),  # 2 and 3 batches of 4
        (21, True, False, True),  # 2 each
        (24, False, False, True),
        (23, False, True, True),
    ],
)
def test_processes_whose_batches_would_differ_are_refused(
    tmp_path, images, drop_last, round_up, even
):
    settings = loader(images, drop_last=drop_last)
    settings['sampler']['round_up'] = round_up
    runner, _ = make_runner(tmp_path, train_dataloader=settings)
    check_launch(runner)
    runner._world_size = 2
    if even:
        check_launch(runner)
        return
    message = f'round_up=False leaves {images} images on 2 processes uneven, 11 or 12 each'
    with pytest.raises(LaunchError, match=message):
        check_launch(runner)


@pytest.mark.parametrize(
    'rank, drawn, in_turn',
    [
        (1, [1, 4, 0], True),  # of seven images, with two that make the shares even
        (1, [1, 4], True),  # without
        (1, [3, 4, 5], False),  # a third of them
        (1, [4, 1, 0], False),  # shuffled
        (0, [0, 3, 6], True),
    ],
)
def test_results_of_several_processes_are_joined_in_the_order_of_the_images(
    monkeypatch, rank, drawn, in_turn
):
    shares = torch.utils.data.DataLoader(Toys([0.0] * 7), batch_size=2, sampler=drawn)
    check_order('val', shares)  # one process may take them in any order
    monkeypatch.setattr(dist, 'get_dist_info', lambda: (rank, 3))
    if in_turn:
        check_order('val', shares)
        monkeypatch.setattr(dist, 'all_gather_object', lambda own: [own, False])
    with pytest.raises(LaunchError, match=r'val_dataloader.sampler \(list\).* 3 processes in turn'):
        check_order('val', shares)


class Pair(TrainingParts, torch.nn.Module):
    """A part that compares two images."""

    least_images = 2


@pytest.mark.parametrize(
    'images, batch_size, drop_last, smallest',
    [(9, 4, False, 1), (5, 1, True, 1), (9, 4, True, None), (10, 4, False, None)],
)
def test_a_batch_that_is_too_small_for_a_part_of_the_model_is_an_error(
    tmp_path, images, batch_size, drop_last, smallest
):
    settings = dict(loader(images, drop_last=drop_last), batch_size=batch_size)
    runner, _ = make_runner(tmp_path, train_dataloader=settings)
    check_launch(runner)
    runner.model.pair = Pair()
    if smallest is None:
        check_launch(runner)
        return
    message = rf'pair \(Pair\) needs 2 images in a batch, .* one of {smallest}: .*drop_last=True'
    with pytest.raises(LaunchError, match=message):
        check_launch(runner)


def accumulating(counts, **scaling):
    """A config with gradient accumulation and a learning rate for a batch size."""
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=counts)
    return Config(dict(optim_wrapper=optim_wrapper, auto_scale_lr=scaling))


@pytest.mark.parametrize(
    'base, accumulated, world_size, warns',
    [(4, 1, 1, False), (16, 2, 2, False), (16, 1, 2, True), (4, 2, 1, True)],
)
def test_another_batch_than_the_rate_was_made_for_is_a_warning(
    tmp_path, base, accumulated, world_size, warns
):
    cfg = accumulating(accumulated, base_batch_size=base)
    runner, _ = make_runner(tmp_path, train_dataloader=loader(8), cfg=cfg, **cfg)
    runner._world_size = world_size
    check_launch(runner)
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    images = world_size * 4 * accumulated
    processes = {1: '1 process', 2: '2 processes'}[world_size]
    line = f'{processes} x batch 4 x accumulation {accumulated} = {images} images'
    assert (line in log) == warns
    assert (f'was made for {base}' in log) == warns


class OwnBatches(list):
    """A batch sampler that does not say how large its batches are."""

    def __init__(self, sampler, batch_size):
        super().__init__([[0, 1, 2], [3]])


@pytest.mark.parametrize(
    'sampler, said', [(dict(type=BatchSampler, drop_last=False), 4), (dict(type=OwnBatches), None)]
)
def test_batches_of_a_sampler_are_compared_with_the_rates_if_their_size_is_known(
    tmp_path, sampler, said
):
    cfg = accumulating(1, base_batch_size=16)
    settings = dict(loader(8), batch_sampler=sampler)
    runner, _ = make_runner(tmp_path, train_dataloader=settings, cfg=cfg, **cfg)
    check_launch(runner)
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert ('learning rate was made for 16' in log) == (f'x batch {said} x' in log) == bool(said)


def test_the_scaled_rate_counts_accumulated_batches(tmp_path):
    cfg = accumulating(2, enable=True, base_batch_size=64)
    scale_for_accumulation(cfg)
    runner, _ = make_runner(tmp_path, train_dataloader=loader(8), **cfg)
    runner.train()
    (group,) = runner.optim_wrapper.optimizer.param_groups
    assert group['lr'] == pytest.approx(0.1 * (4 * 2) / 64)


# ---------------------------------------------------------------- errors of the tools


def test_messages_for_people_end_a_tool_with_one_line(monkeypatch):
    with pytest.raises(SystemExit, match='^error: two lines$'), one_line_errors():
        raise LaunchError('two\n lines')
    monkeypatch.setenv('WORLD_SIZE', '4')
    monkeypatch.setenv('RANK', '3')
    with pytest.raises(SystemExit, match=r'^error \(rank 3\): .*nothing.jpg'), one_line_errors():
        Path('nothing.jpg').read_bytes()
    with pytest.raises(SystemExit, match='made for 0'), one_line_errors():
        raise SystemExit('made for 0')


def test_a_long_message_ends_a_tool_at_once_without_its_middle():
    """It is looked through once, not once from each of its letters, which takes minutes."""
    text = 'x' * 200_000
    shown = f'{text[:2000]} … {text[:2000]}'
    with pytest.raises(SystemExit, match=f'^error: {shown}$'), one_line_errors():
        raise LaunchError(text)


@pytest.mark.parametrize('error', [SystemExit, LaunchError, RuntimeError])
def test_torchrun_is_told_of_each_error_and_refusal(monkeypatch, tmp_path, error):
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))
    with pytest.raises(SystemExit), one_line_errors(), one_line_errors():
        raise error('no such checkpoint')
    told = json.loads((tmp_path / 'error.json').read_text())['message']['message']
    assert told == f'{error.__name__}: no such checkpoint'
    (tmp_path / 'error.json').unlink()
    with pytest.raises(SystemExit), one_line_errors():
        sys.exit(2)  # argparse has said why
    assert not (tmp_path / 'error.json').exists()


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        1 / 0  # noqa: B018
    with pytest.raises(ValueError, match='Expecting'), one_line_errors():
        json.loads('{')  # of a library


class Unreadable(Toys):
    """Its images are not there."""

    def __getitem__(self, index):
        return Path(f'image_{index}.jpg').read_bytes()


def test_an_error_of_a_worker_is_one_line():
    workers = torch.utils.data.DataLoader(Unreadable([0.0]), num_workers=1)
    with pytest.raises(SystemExit) as stop, one_line_errors():
        next(iter(workers))
    assert str(stop.value) == "error: [Errno 2] No such file or directory: 'image_0.jpg'"


@pytest.mark.parametrize('timeout', [None, 7])
def test_a_rank_does_not_wait_for_ever(monkeypatch, timeout):
    started = {}
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('torch.distributed.is_initialized', lambda: False)
    monkeypatch.setattr(
        'torch.distributed.init_process_group',
        lambda backend, timeout: started.update(backend=backend, timeout=timeout),
    )
    dist_cfg = dict(backend='nccl', **({} if timeout is None else dict(timeout=timeout)))
    cfg = Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg=dist_cfg)))
    adapt_to_device(cfg, log=lambda line: None)
    assert started['backend'] == 'gloo'
    assert started['timeout'].total_seconds() == (timeout or 600)


def test_batch_norm_over_gpus_is_left_out_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('torch.distributed.is_initialized', lambda: True)
    cfg = Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg={}), sync_bn='torch'))
    lines = []
    adapt_to_device(cfg, log=lines.append)
    assert 'sync_bn' not in cfg
    assert lines == ['No CUDA: batch norm sees the images of its process alone, without sync_bn.']
    adapt_to_device(cfg, log=pytest.fail)


@pytest.mark.parametrize(
    'error, message',
    [
        (URLError('Name or service not known'), 'error: a file could not be downloaded: Name or'),
        (HTTPError('https://h/n.pth', 404, 'Not Found', {}, None), 'error: https://h/n.pth could'),
        (FileNotFoundError(2, 'No such file', 'configs/no.py'), 'error: configs/no.py does not ex'),
        (PermissionError(13, 'Permission denied', 'x'), "error: [Errno 13] Permission denied: 'x'"),
        (OSError(28, 'Full'), 'error: Full: a file could not be written. Free some, also for te'),
        (OSError(27, 'File too large'), 'error: File too large: a file could not be written. Free'),
    ],
)
def test_files_that_are_not_reached_are_told_with_what_to_do(error, message):
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert str(ended.value).startswith(message)
    assert ('get it elsewhere and give its path' in str(ended.value)) == isinstance(error, URLError)


@pytest.mark.parametrize(
    'text, message',
    [
        (
            "model = dict(neck=dict(type='SARLNek'))",
            "'SARLNek' is not a registered model; similar names: ",
        ),
        ('model = dict(', 'leaf.py, line 2: '),
        (
            "custom_imports = dict(imports=['projects.no'])",
            'projects.no cannot be imported: set PYTHON',
        ),
        (
            'custom_imports = dict(imports=["no_such"])',
            "No module named 'no_such': is it installed, or its folder in PYTHONPATH?",
        ),
    ],
)
def test_typical_mistakes_in_a_config_end_in_one_line(empty_folder, text, message):
    """A type that nobody has registered, a bracket, and a package that is not on the path."""
    base = ROOT / 'configs/sadcl/sadcl_efficientnet-lite0_digits128.py'
    Path('leaf.py').write_text(f'_base_ = {str(base)!r}\n{text}\n')
    error = call_tool('tools/train.py', 'leaf.py')
    assert error.startswith('error: ') and message in error and '\n' not in error


DIGITS = 'sadcl_efficientnet-lite0_digits128'


@pytest.mark.parametrize(
    'key, said',
    [
        ('model.head.topkk', "SADCLHead takes no 'topkk'; similar: topk"),
        ('model.backbone.archh', "EfficientNetLite takes no 'archh'; similar: arch"),
        ('train_dataloader.batchsize', "DataLoader takes no 'batchsize'"),
        ('val_evaluator.topkk', "MLICMetric takes no 'topkk'"),
        ('custom_hooks.0.momntum', "takes no 'momntum'"),
    ],
)
def test_a_key_that_nothing_takes_is_one_line(empty_folder, key, said):
    options = [f'{name}={value}' for name, value in TINY.items()]
    error = call_tool('tools/train.py', DIGITS, '--cfg-options', *options, f'{key}=3')
    assert error.startswith('error: ') and said in error and len(error.splitlines()) == 1
    assert '_delete_=True' in error


def test_what_another_type_inherits_is_one_line_that_names_the_remedy(tmp_path):
    text = f"""_base_ = '{ROOT}/configs/sadcl/sadcl_r101_coco448.py'
model = dict(backbone=dict(type='SwinTransformer', arch='tiny', init_cfg=None))
"""
    (tmp_path / 'swin.py').write_text(text)
    error = call_tool('tools/benchmark/models.py', tmp_path / 'swin.py')
    assert "SwinTransformer takes no 'depth'" in error and '_delete_=True' in error
