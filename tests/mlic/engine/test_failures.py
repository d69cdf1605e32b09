"""What goes wrong in a run: full disks, kills, losses that are not finite, data that vanish."""

import errno
import itertools
import math
import os
import shutil
import signal
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import MessageHub
from PIL import Image
from torch._subclasses import FakeTensorMode

from mlic.engine.checkpoints.reading import CheckpointError, read_checkpoint
from mlic.engine.checkpoints.search import find_checkpoint, find_resumable
from mlic.engine.hooks import atomic_checkpoint_hook as atomic_checkpoint
from mlic.engine.hooks.finite_loss_hook import NonFiniteLossError
from mlic.files import FileWriteError, atomic_write
from tests.tiny_runs import Toys, make_runner, toy_loader

NAN, INF = math.nan, math.inf


def assert_same(state, other):
    for name in state:
        torch.testing.assert_close(state[name], other[name], rtol=0, atol=0, msg=name)


def call(runner, point, function):
    """Have a hook call ``function(runner)`` at a point of the run."""
    methods = {point: lambda hook, runner: function(runner)}
    runner.register_hook(type('Caller', (Hook,), methods)())


# ---------------------------------------------------------------- loss and gradient


@pytest.mark.parametrize(
    'value, reason', [*((x, 'loss nan') for x in (NAN, INF, -INF)), (1.0, 'of a finite loss')]
)
@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'AutocastOptimWrapper'])
def test_what_is_not_finite_leaves_weights_statistics_and_bank_alone(
    tmp_path, value, reason, wrapper
):
    changes = dict(
        optim_wrapper=dict(type=wrapper, optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        model=dict(type='ToyModel', grows=reason == 'of a finite loss'),
    )
    runner, weights = make_runner(tmp_path, [0.0, 0.0, 1.0, value, 0.0, 0.0], **changes)
    runner.train()
    start, good, skipped, end = weights.seen
    assert not torch.equal(start['linear.weight'], good['linear.weight'])
    assert_same(skipped, good)
    assert not torch.equal(end['linear.weight'], good['linear.weight'])
    assert not torch.equal(end['memory_bank'], good['memory_bank'])
    assert all(tensor.isfinite().all() for tensor in end.values())
    assert runner.message_hub.get_info('skipped_iterations') == 1
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert 'Iteration 2 is skipped, 1 in a row, 1 in all' in log
    assert f'{reason}, images image_2.jpg, image_3.jpg' in log


def here(tensor):
    """A copy on the CPU: optimizers keep their step there, or where the weights are."""
    return tensor.to('cpu', copy=True)


class States(Hook):
    """The averages and the optimizer's state after each iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        (ema,) = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        seen = {f'average.{name}': here(v) for name, v in ema.module.state_dict().items()}
        for index, state in runner.optim_wrapper.optimizer.state_dict()['state'].items():
            seen |= {f'optimizer.{index}.{key}': here(value) for key, value in state.items()}
        self.seen.append(seen)


FUSED = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01, fused=True))


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
@pytest.mark.parametrize('interval', [1, 3])
@pytest.mark.parametrize(
    'value, reason', [*((x, 'loss nan') for x in (NAN, INF, -INF)), (1.0, 'of a finite loss')]
)
def test_the_device_takes_back_what_is_not_finite(tmp_path, value, reason, interval, device):
    if device == 'cuda' and not torch.cuda.is_available():
        pytest.skip('needs CUDA')
    grows = reason == 'of a finite loss'
    runs = {}
    for name, wrapper in dict(fused=FUSED, asking=None).items():
        wrapper = wrapper or dict(FUSED, optimizer=dict(type='AdamW', lr=0.01))
        runner, weights = make_runner(
            tmp_path / name,
            [0.0, 0.0, 1.0, value, 0.0, 0.0],
            optim_wrapper=wrapper,
            model=dict(type='ToyModel', grows=grows),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=interval)),
            custom_hooks=[
                dict(type='FiniteLossHook', max_in_a_row=2),
                dict(type='ForeachEMAHook', momentum=0.3),
            ],
        )
        states = States()
        runner.register_hook(states)
        runner.train()
        runs[name] = runner, weights.seen, states.seen
    (runner, seen, states), (_, expected, expected_states) = runs['fused'], runs['asking']
    assert seen[0]['linear.weight'].device.type == device
    assert_same(seen[2], seen[1])  # weights, statistics and bank
    assert_same(states[0], states[1])  # average and optimizer's state, as far as it was there
    assert not torch.equal(seen[3]['linear.weight'], seen[2]['linear.weight'])
    for ours, theirs in zip([*seen, *states], [*expected, *expected_states]):
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name], msg=name)
    assert runner.message_hub.get_info('skipped_iterations') == 1
    log = next(Path(runner.work_dir).glob('*/*.log')).read_text()
    assert 'Iteration 2 is skipped, 1 in a row, 1 in all' in log
    assert f'{reason}, images image_2.jpg, image_3.jpg' in log
    assert not hasattr(runner.optim_wrapper.optimizer, 'found_inf')
    assert vars(runner.optim_wrapper).keys().isdisjoint(('update_params', 'step'))


@pytest.mark.parametrize('fused', [None, True])
@pytest.mark.parametrize(
    'clip', [dict(type='value', clip_value=1.0), dict(type='norm', max_norm=1.0)]
)
def test_a_gradient_is_looked_at_before_it_is_clipped(tmp_path, clip, fused):
    optimizer = dict(type='AdamW', lr=0.01, fused=fused)
    runner, weights = make_runner(
        tmp_path,
        [0.0, 0.0, 1.0, 1.0, 0.0, 0.0],  # an infinite gradient in the second iteration
        model=dict(type='ToyModel', grows=True),
        optim_wrapper=dict(optimizer=optimizer, clip_grad=clip),
    )
    runner.train()
    assert runner.message_hub.get_info('skipped_iterations') == 1
    assert_same(weights.seen[2], weights.seen[1])
    assert not torch.equal(weights.seen[3]['linear.weight'], weights.seen[2]['linear.weight'])


def test_momentum_begins_after_a_first_iteration_that_is_not_finite(tmp_path):
    ends = []
    for fused in (None, True):
        optimizer = dict(type='SGD', lr=0.1, momentum=0.9, fused=fused)
        extra = [NAN, NAN, 0.1, 0.2, 0.3, 0.4]
        folder = tmp_path / str(fused)
        runner, weights = make_runner(folder, extra, optim_wrapper=dict(optimizer=optimizer))
        runner.train()
        ends.append(weights.seen[-1])
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize('interval, stops_after', [(1, 6), (4, 8)])
def test_the_device_is_asked_in_time_to_end_the_run(tmp_path, interval, stops_after):
    extra = [0.0] * 8 + [NAN] * 8
    logger = dict(type='LoggerHook', interval=interval)
    runner, weights = make_runner(
        tmp_path, extra, optim_wrapper=FUSED, default_hooks=dict(logger=logger)
    )
    with pytest.raises(NonFiniteLossError, match=r'2 iterations.*iteration 6; .*image_11\.jpg'):
        runner.train()
    assert runner.iter + 1 == stops_after
    assert all(tensor.isfinite().all() for tensor in weights.seen[-1].values())


def test_a_loss_scaler_and_the_flag_of_the_loss_both_hold_the_step(tmp_path):
    extra = [0.0, 0.0, 1.0, NAN, 0.0, 0.0]
    optim_wrapper = dict(FUSED, type='ScaledOptimWrapper')
    runner, weights = make_runner(tmp_path, extra, optim_wrapper=optim_wrapper)
    runner.train()
    start, good, skipped, end = weights.seen
    assert_same(skipped, good)
    assert not torch.equal(end['linear.weight'], good['linear.weight'])
    assert runner.message_hub.get_info('skipped_iterations') == 1


def test_losses_and_norms_reach_the_message_hub_once_and_in_order(tmp_path):
    histories = []
    for name, kind in dict(a='RuntimeInfoHook', b='DeferredInfoHook').items():
        hooks = dict(runtime_info=dict(type=kind), logger=dict(type='LoggerHook', interval=2))
        clipped = dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=0.1))
        changes = dict(default_hooks=hooks, optim_wrapper=clipped)
        runner, _ = make_runner(tmp_path / name, [0.1] * 10, 2, **changes)
        runner.train()
        scalars = runner.message_hub.log_scalars
        keys = 'train/lr', 'train/loss', 'train/grad_norm'
        histories.append({key: scalars[key].data[0].tolist() for key in keys})
        assert runner.optim_wrapper.clip_func is torch.nn.utils.clip_grad_norm_
    assert histories[0] == histories[1] and len(set(histories[0]['train/grad_norm'])) == 10


@pytest.mark.parametrize('optimizer', [dict(type='SGD', lr=0.1), FUSED['optimizer']])
def test_a_training_goes_on_after_an_interruption_in_the_same_process(tmp_path, optimizer):
    """With Ctrl-C in a notebook, no hook hears of the end."""

    class Interrupted(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 2 and self not in seen:
                seen.append(self)
                raise KeyboardInterrupt

    seen, clipped = [], dict(optimizer=optimizer, clip_grad=dict(max_norm=0.1))
    hooks = dict(runtime_info=dict(type='DeferredInfoHook'), logger=dict(type='LoggerHook'))
    changes = dict(optim_wrapper=clipped, default_hooks=hooks)
    runner, _ = make_runner(tmp_path, [0.1] * 10, 2, **changes)
    runner.register_hook(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    runner.train()
    assert runner.epoch == 2
    assert runner.optim_wrapper.clip_func is torch.nn.utils.clip_grad_norm_
    assert not {'update_params', 'step'} & vars(runner.optim_wrapper).keys()
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks


def test_a_run_without_faults_is_the_run_without_the_hook(tmp_path):
    _, guarded = runs = make_runner(tmp_path / 'a', extra=[0.1] * 8, epochs=2)
    runs[0].train()
    runner, free = make_runner(tmp_path / 'b', extra=[0.1] * 8, epochs=2, custom_hooks=[])
    runner.train()
    assert len(guarded.seen) == len(free.seen) == 9
    for ours, theirs in zip(guarded.seen, free.seen):
        assert_same(ours, theirs)
    (hook,) = [hook for hook in runs[0].hooks if type(hook).__name__ == 'FiniteLossHook']
    assert hook.gathered == [] and 'update_params' not in vars(runs[0].optim_wrapper)


@pytest.mark.parametrize('bad', [0, 1, 2, 3])
def test_accumulation_drops_what_its_group_had_gathered(tmp_path, bad):
    extra = [0.1] * 12  # six batches, in two groups of three
    extra[2 * bad] = NAN
    runner, weights = make_runner(tmp_path, extra, accumulative_counts=3)
    steps = []

    class CountSteps(Hook):
        priority = 'VERY_LOW'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            before, now = weights.seen[-1], runner.model.state_dict()
            steps.append(not torch.equal(before['linear.weight'], now['linear.weight']))

    runner.register_hook(CountSteps())
    runner.train()
    # a step belongs to the third and the sixth batch, wherever the bad one is, unless it is it
    assert steps == [False, False, bad != 2, False, False, True]
    assert runner.optim_wrapper.inner_count == 6
    assert all(tensor.isfinite().all() for tensor in weights.seen[-1].values())


def test_too_many_in_a_row_end_the_run_with_images_and_checkpoint(tmp_path):
    extra = [0.0] * 4 + [NAN] * 2 + [0.0] * 2 + [NAN] * 4
    runner, weights = make_runner(tmp_path, extra, epochs=2)
    with pytest.raises(NonFiniteLossError) as stop:
        runner.train()
    message = str(stop.value)
    assert '\n' not in message
    assert '2 iterations in a row' in message and 'iteration 6' in message
    assert 'image_10.jpg, image_11.jpg' in message and 'Last checkpoint: none yet' in message
    # the one before, among good ones, did not count
    assert runner.message_hub.get_info('skipped_iterations') == 3
    assert all(tensor.isfinite().all() for tensor in weights.seen[-1].values())


def test_the_last_checkpoint_is_named_when_training_stops(tmp_path):
    runner, _ = make_runner(tmp_path, extra=[0.0] * 4, epochs=3)

    def spoil(runner):
        runner.train_dataloader.dataset.extra = [NAN] * 4

    call(runner, 'after_train_epoch', spoil)
    with pytest.raises(NonFiniteLossError, match=r'Last checkpoint: .*epoch_1\.pth\.'):
        runner.train()
    saved = read_checkpoint(Path(runner.work_dir) / 'epoch_1.pth')
    assert all(tensor.isfinite().all() for tensor in saved['state_dict'].values())


def test_bad_gradients_count_in_a_row_with_accumulation_too(tmp_path):
    model = dict(type='ToyModel', grows=True)
    runner, _ = make_runner(tmp_path, extra=[1.0] * 16, accumulative_counts=2, model=model)
    with pytest.raises(NonFiniteLossError, match='2 iterations in a row.*iteration 4;'):
        runner.train()


def test_gradients_that_no_loss_scale_mends_end_the_run(tmp_path):
    runner, _ = make_runner(tmp_path, extra=[0.0] * 60)
    scales = itertools.count(-8)

    class Scaler:
        def get_scale(self):
            return 2.0 ** -next(scales)

    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper.loss_scaler = Scaler()
    with pytest.raises(NonFiniteLossError, match=r'the loss scale fell to 3\.05.*e-05') as stop:
        runner.train()
    # 2^8 at the first iteration, 2^-15 at the 24th
    assert 'iteration 24;' in str(stop.value) and 'image_46.jpg' in str(stop.value)


def test_only_files_of_the_runs_own_folder_are_removed(tmp_path):
    paths = [tmp_path / name / 'epoch_1.pth' for name in ('a', 'b')]
    backend = atomic_checkpoint._PatientBackend(tmp_path / 'b')
    for path in paths:
        path.parent.mkdir()
        path.touch()
        backend.remove(str(path))
    backend.remove_waiting(keep=set())
    assert [path.exists() for path in paths] == [True, False]


def test_several_optimizers_are_refused(tmp_path):
    runner, _ = make_runner(tmp_path)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'FiniteLossHook')
    runner.optim_wrapper = dict()
    with pytest.raises(ValueError, match='one OptimWrapper, got dict'):
        hook.before_train(runner)


# ---------------------------------------------------------------- writing


def test_what_a_killed_process_left_of_a_file_tells_its_kind(tmp_path):
    with atomic_write(tmp_path / f'best_{"name" * 20}_epoch_5.pth'):
        (left,) = tmp_path.glob('*.pth*.partial')  # which the next run takes away
    assert not left.exists()


def test_of_two_that_write_one_file_at_once_each_writes_all_of_it(tmp_path):
    path = tmp_path / ('日' * 85)  # as long as a name may be
    with atomic_write(path) as first:
        first.write(b'first')
        with atomic_write(path) as second:
            second.write(b'longer than the first')
        assert path.read_bytes() == b'longer than the first'
    assert path.read_bytes() == b'first' and list(tmp_path.iterdir()) == [path]


def test_weights_of_a_gpu_are_saved_as_the_cpus(tmp_path):
    hook = atomic_checkpoint.AtomicCheckpointHook()
    with FakeTensorMode():
        checkpoint = {
            key: OrderedDict(weight=torch.empty(2, device='cuda'), steps=torch.tensor(3))
            for key in ('state_dict', 'ema_state_dict')
        }
        hook.before_save_checkpoint(None, checkpoint)
    tensors = [value for weights in checkpoint.values() for value in weights.values()]
    assert [tensor.device.type for tensor in tensors] == ['cpu'] * 4


def test_a_full_disk_is_named_and_the_previous_checkpoint_is_whole(tmp_path, monkeypatch):
    runner, weights = make_runner(tmp_path, epochs=3)

    def put(self, obj, filepath):
        with atomic_write(filepath) as file:
            file.write(obj[: len(obj) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_disk(runner):
        if runner.epoch == 1:
            monkeypatch.setattr(atomic_checkpoint.AtomicBackend, 'put', put)

    call(runner, 'before_train_epoch', fill_disk)
    with pytest.raises(FileWriteError, match=r'epoch_2\.pth was not written \(No space'):
        runner.train()
    work_dir = Path(runner.work_dir)
    assert [file.name for file in work_dir.glob('*.pth*')] == ['epoch_1.pth']
    assert find_resumable(work_dir) == str(work_dir / 'epoch_1.pth')
    assert_same(read_checkpoint(work_dir / 'epoch_1.pth')['state_dict'], weights.seen[2])


def test_a_really_full_disk(tmp_path):
    """The kernel's own refusal: a limit on the size of files, which fails in mid-write."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with atomic_write(tmp_path / 'file') as file:
            file.write(b'before')
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        refusal = pytest.raises(FileWriteError, match='file was not written .*is kept')
        with refusal, atomic_write(tmp_path / 'file') as file:
            file.write(bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / 'file').read_bytes() == b'before' and len(os.listdir(tmp_path)) == 1


SAVES = ['in_the_write', 'before_the_rename', 'before_the_pointer', 'before_the_removal']


def die_at(place, monkeypatch):
    """SIGKILL at a place in the saving of a checkpoint."""

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    replace = os.replace

    def replace_or_die(source, target):
        is_pointer = str(target).endswith('last_checkpoint')
        if is_pointer == (place == 'before_the_pointer'):
            die()
        replace(source, target)

    def write_half(self, obj, filepath):
        with atomic_write(filepath) as file:
            file.write(obj[: len(obj) // 2])
            file.flush()
            die()

    if place == 'in_the_write':
        monkeypatch.setattr(atomic_checkpoint.AtomicBackend, 'put', write_half)
    elif place == 'before_the_removal':
        monkeypatch.setattr(atomic_checkpoint._PatientBackend, 'remove_waiting', die)
    else:
        monkeypatch.setattr(os, 'replace', replace_or_die)


@pytest.mark.filterwarnings('ignore:.*multi-threaded, use of fork')
@pytest.mark.parametrize('place', SAVES)
def test_kill_while_saving_leaves_a_checkpoint_that_resume_finds(tmp_path, monkeypatch, place):
    work_dir = tmp_path / 'work'
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            runner, _ = make_runner(tmp_path, epochs=4)

            def kill(runner):
                if runner.epoch == 2:
                    die_at(place, monkeypatch)

            call(runner, 'before_train_epoch', kill)
            runner.train()
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    epoch = 2 if place in ('in_the_write', 'before_the_rename') else 3
    found = find_resumable(work_dir)
    assert found == str(work_dir / f'epoch_{epoch}.pth')
    runner, _ = make_runner(tmp_path, epochs=4, load_from=found, resume=True)
    runner.train()
    assert runner.epoch == 4
    assert [file.name for file in work_dir.glob('*.pth*')] == ['epoch_4.pth']
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'epoch_4.pth')


def test_the_order_of_saving(tmp_path, monkeypatch):
    checkpoint = dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=1, save_best='mAP')
    runner, _ = make_runner(
        tmp_path,
        epochs=3,
        default_hooks=dict(checkpoint=checkpoint),
        val_dataloader=toy_loader([0.0, 0.0]),
        val_cfg=dict(),
        val_evaluator=dict(type='ToyMetric', scores=[10.0, 20.0, 15.0]),
    )
    events = []
    replace, unlink = os.replace, Path.unlink
    monkeypatch.setattr(
        os, 'replace', lambda a, b: (events.append(f'+{Path(b).name}'), replace(a, b))
    )
    monkeypatch.setattr(
        Path, 'unlink', lambda p, **kw: (events.append(f'-{p.name}'), unlink(p, **kw))
    )
    runner.train()
    one, two, three = ([f'+epoch_{n}.pth', '+last_checkpoint'] for n in (1, 2, 3))
    assert events == [
        '+last_launch',
        *one,
        '+best_mAP_epoch_1.pth',
        *one,
        *two,
        '-epoch_1.pth',
        '+best_mAP_epoch_2.pth',
        *two,
        '-best_mAP_epoch_1.pth',
        *three,
        '-epoch_2.pth',
    ]
    names = {file.name for file in Path(runner.work_dir).glob('*.pth')}
    assert names == {'epoch_3.pth', 'best_mAP_epoch_2.pth'}
    assert find_checkpoint(runner.work_dir).path.endswith('best_mAP_epoch_2.pth')


# ---------------------------------------------------------------- finding


def save(path, iterations, launches=None):
    """A checkpoint that a run can resume from; without launches as mmengine's own hook writes."""
    hub = dict(runtime_info=dict(launches=launches) if launches else {})
    meta = dict(iter=iterations)
    torch.save(dict(meta=meta, state_dict={}, message_hub=hub, optimizer={}), path)
    return str(path)


@pytest.mark.parametrize('fault', ['missing', 'cut', 'empty_pointer', 'no_pointer', 'no_optimizer'])
def test_resume_falls_back_to_the_newest_readable_checkpoint(tmp_path, fault):
    save(tmp_path / 'epoch_1.pth', 10)
    good = save(tmp_path / 'epoch_2.pth', 20)
    os.utime(tmp_path / 'epoch_2.pth', (1, 1))  # copied: its time says nothing
    last = tmp_path / 'epoch_3.pth'
    save(last, 30)
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text(str(last))
    torch.save(dict(state_dict={}, meta=dict(iter=40)), tmp_path / 'best_mAP_epoch_4.pth')
    (tmp_path / 'epoch_5.pth.partial').write_bytes(b'half')
    if fault == 'missing':
        last.unlink()
    elif fault == 'cut':
        last.write_bytes(last.read_bytes()[:300])
    elif fault == 'no_optimizer':
        torch.save(dict(state_dict={}, meta={}, message_hub={}), last)
    else:
        good = str(last)
        pointer.write_text('') if fault == 'empty_pointer' else pointer.unlink()
    lines = []
    assert find_resumable(tmp_path, lines.append) == good
    (line,) = lines
    assert good in line and '\n' not in line
    assert str(pointer if 'pointer' in fault else last) in line


def test_resume_takes_what_the_pointer_names_without_a_word(tmp_path):
    save(tmp_path / 'epoch_2.pth', 20)
    (tmp_path / 'last_checkpoint').write_text(save(tmp_path / 'epoch_1.pth', 10))
    lines = []
    assert find_resumable(tmp_path, lines.append) == str(tmp_path / 'epoch_1.pth')
    assert lines == []


def test_the_newest_of_the_run_counts_and_the_pointer_is_a_hint(tmp_path):
    pointed = save(tmp_path / 'epoch_1.pth', 10, [5.0])
    (tmp_path / 'last_checkpoint').write_text(pointed)
    newest = save(tmp_path / 'epoch_2.pth', 20, [5.0])
    lines = []
    assert find_resumable(tmp_path, lines.append) == newest
    (line,) = lines
    assert pointed in line and newest in line
    # killed again, before the pointer was moved
    newest = save(tmp_path / 'epoch_3.pth', 30, [5.0, 6.0])
    assert find_resumable(tmp_path, lines.append) == newest


def test_what_an_older_run_left_in_the_directory_is_not_resumed(tmp_path):
    for epoch in (1, 2, 3):
        save(tmp_path / f'epoch_{epoch}.pth', 10 * epoch, [5.0])
    newer = save(tmp_path / 'epoch_1.pth', 10, [9.0])
    (tmp_path / 'last_checkpoint').write_text(newer)
    assert find_resumable(tmp_path) == newer
    (tmp_path / 'last_checkpoint').unlink()
    assert find_resumable(tmp_path, lambda line: None) == newer


def test_what_a_run_left_before_it_was_set_back_is_not_resumed(tmp_path):
    """``--resume epoch_1.pth`` while epochs 2 and 3 lie there, killed after its epoch 2."""
    for epoch in (1, 2, 3):
        save(tmp_path / f'epoch_{epoch}.pth', 10 * epoch, [5.0])
    again = save(tmp_path / 'epoch_2.pth', 20, [5.0, 7.0])
    for pointer in (again, str(tmp_path / 'epoch_1.pth')):
        (tmp_path / 'last_checkpoint').write_text(pointer)
        assert find_resumable(tmp_path, lambda line: None) == again


def test_a_run_records_its_launches_whatever_the_clock_says(tmp_path, monkeypatch):
    def end_of(folder):
        content = read_checkpoint((folder / 'last_checkpoint').read_text())
        return [tuple(one) for one in content['message_hub']['runtime_info']['launches']]

    runner, _ = make_runner(tmp_path)
    runner.train()
    work_dir = Path(runner.work_dir)
    (first,) = end_of(work_dir)
    monkeypatch.setattr(atomic_checkpoint.time, 'time', lambda: 100.0)  # set back
    resumed = dict(load_from=find_resumable(work_dir), resume=True)
    runner, _ = make_runner(tmp_path, epochs=2, **resumed)
    runner.train()
    assert end_of(work_dir) == [first, (first[0] + 1, 2)]
    monkeypatch.undo()
    # a new run in the same directory: from its first checkpoint on, it is the one
    runner, _ = make_runner(tmp_path)
    pointers = []
    call(
        runner,
        'before_train_epoch',
        lambda runner: pointers.extend(work_dir.glob('last_checkpoint')),
    )
    call(runner, 'after_train', lambda runner: pointers.extend(work_dir.glob('last_checkpoint')))
    runner.train()
    assert pointers == [work_dir / 'last_checkpoint']
    assert find_resumable(work_dir) == str(work_dir / 'epoch_1.pth')
    assert len(end_of(work_dir)) == 1 and (work_dir / 'epoch_2.pth').is_file()


@pytest.mark.parametrize(
    'content',
    [b'x' * 5000, b'a\0b', b'one\ntwo', b'\xff\xfe', b'..', b'/', b'/dev/zero', 'folder'],
    ids=str,
)
def test_a_pointer_that_names_nothing_is_no_obstacle(tmp_path, content):
    good = save(tmp_path / 'epoch_1.pth', 10)
    pointer = tmp_path / 'last_checkpoint'
    pointer.mkdir() if content == 'folder' else pointer.write_bytes(content)
    lines = []
    assert find_resumable(tmp_path, lines.append) == good
    (line,) = lines
    assert good in line and line.isprintable()
    (tmp_path / 'epoch_1.pth').unlink()
    with pytest.raises(CheckpointError, match='nothing to resume from'):
        find_resumable(tmp_path)


def test_a_work_directory_may_be_moved(tmp_path):
    old = tmp_path / 'old'
    old.mkdir()
    (old / 'last_checkpoint').write_text(save(old / 'epoch_1.pth', 10))
    shutil.copytree(old, tmp_path / 'new')
    assert find_resumable(tmp_path / 'new') == str(tmp_path / 'new' / 'epoch_1.pth')


def test_nothing_to_resume_from(tmp_path):
    assert find_resumable(tmp_path) is None
    assert find_resumable(tmp_path / 'absent') is None
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    with pytest.raises(CheckpointError, match='epoch_1.pth is missing. Without --resume'):
        find_resumable(tmp_path)
    with pytest.raises(CheckpointError, match='nothing to resume from'):
        find_checkpoint(str(tmp_path))


# ---------------------------------------------------------------- data


def test_data_that_vanish_in_mid_run_are_named_and_the_checkpoint_is_whole(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(4):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f'{index}.png')

    class Files(Toys):
        def __getitem__(self, index):
            Image.open(folder / f'{index}.png').load()
            return super().__getitem__(index)

    loader = dict(toy_loader([]), dataset=Files([0.0] * 4))
    runner, _ = make_runner(tmp_path, epochs=3, train_dataloader=loader)
    call(runner, 'after_train_epoch', lambda runner: shutil.rmtree(folder))
    with pytest.raises(FileNotFoundError, match='images/0.png'):
        runner.train()
    assert find_resumable(runner.work_dir).endswith('epoch_1.pth')
    hub = MessageHub.get_instance(runner.experiment_name)
    assert hub.get_info('last_ckpt').endswith('epoch_1.pth')
