"""Schedule, CPU mixed precision, prototype stage and the tools' start-up checks."""

import logging
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import ParamSchedulerHook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmpretrain.registry import PARAM_SCHEDULERS
from mmpretrain.structures import DataSample
from torch import nn

from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.hooks.stage_early_stopping_hook import StageEarlyStoppingHook
from mlic.engine.mmengine_internals import move_to_epoch
from mlic.engine.optimizers.autocast_optim_wrapper import AutocastOptimWrapper
from mlic.engine.runner.class_means import class_means
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.device import adapt_to_device
from mlic.engine.schedulers.group_one_cycle_lr import GroupOneCycleLR
from mlic.models.heads.label_embed_head import LabelEmbedHead
from projects.sadcl.engine.prototype_hook import PrototypeHook
from tests.helpers import ROOT, recorded, run_command

# ---------------------------------------------------------------- one cycle


def make_adamw(*rates):
    groups = [{'params': [nn.Parameter(torch.zeros(1))], 'lr': rate} for rate in rates]
    return torch.optim.AdamW(groups, betas=(0.95, 0.999))


def run_schedule(optimizer, scheduler, steps):
    """Learning rates and beta1 of every group before each step."""
    history = []
    for _ in range(steps):
        history.append([(group['lr'], group['betas'][0]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return np.array(history)  # (steps, groups, 2)


@pytest.mark.parametrize('pct_start', [0.2, 0.3])
@pytest.mark.parametrize('steps', [10, 57])
def test_one_cycle_equals_torch_for_every_group(steps, pct_start):
    ours, theirs = make_adamw(1e-3, 2e-4), make_adamw(1e-3, 2e-4)
    scheduler = GroupOneCycleLR(ours, pct_start=pct_start, total_steps=steps, by_epoch=False)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        theirs, max_lr=[1e-3, 2e-4], total_steps=steps, pct_start=pct_start
    )
    # torch counts its steps from the first of the cycle, and so does mmengine
    expected = run_schedule(theirs, reference, steps)
    np.testing.assert_allclose(run_schedule(ours, scheduler, steps), expected, rtol=1e-12)


@pytest.mark.parametrize(
    'make', [torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adam], ids=lambda make: make.__name__
)
def test_one_cycle_moves_the_momentum_of_each_optimizer_as_torch_does(make):
    settings = []
    for schedule in (
        lambda optimizer: GroupOneCycleLR(optimizer, total_steps=10, by_epoch=False),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=10),
    ):
        optimizer = make([nn.Parameter(torch.zeros(1))], lr=1e-3)
        scheduler = schedule(optimizer)
        for _ in range(10):
            group = optimizer.param_groups[0]
            momentum = group['betas'][0] if 'betas' in group else group['momentum']
            settings.append((group['lr'], momentum))
            optimizer.step()
            scheduler.step()
    np.testing.assert_allclose(settings[:10], settings[10:], rtol=1e-12)


def test_one_cycle_says_what_to_do_for_an_optimizer_without_momentum():
    optimizer = OptimWrapper(torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=1e-3))
    with pytest.raises(ValueError, match='Adagrad has neither: set betas=None in param_scheduler'):
        GroupOneCycleLR(optimizer, total_steps=10)
    schedule = GroupOneCycleLR(optimizer, total_steps=10, betas=None)
    assert schedule.get_last_value() == pytest.approx([1e-3 / 25])


def test_one_cycle_of_a_rise_of_one_step_does_not_divide_by_zero():
    optimizer = make_adamw(1e-3)
    scheduler = GroupOneCycleLR(optimizer, pct_start=0.2, total_steps=5, by_epoch=False)
    rates = run_schedule(optimizer, scheduler, 5)[:, 0, 0]
    # no warm-up here: a half cosine leads from the peak to almost nothing
    assert rates[0] == pytest.approx(1e-3 / 25)
    descent = 1e-3 * (1 + np.cos(np.pi * np.arange(1, 5) / 4)) / 2
    np.testing.assert_allclose(rates[1:], descent, atol=1e-3 / 25e4)


def test_one_cycle_equals_the_published_run():
    data = recorded('extras.npz')
    steps = int(data['onecycle.total_steps'])
    optimizer = make_adamw(5e-5)
    scheduler = GroupOneCycleLR(optimizer, pct_start=0.2, total_steps=steps, by_epoch=False)
    history = run_schedule(optimizer, scheduler, steps)[data['onecycle.step'], 0]
    np.testing.assert_allclose(history[:, 0], data['onecycle.lr'], rtol=1e-9)
    np.testing.assert_allclose(history[:, 1], data['onecycle.beta1'], rtol=1e-12)


def test_second_cycle_has_the_peaks_of_the_first():
    optimizer = make_adamw(1e-3, 2e-4)
    kwargs = dict(pct_start=0.2, by_epoch=False)
    first = GroupOneCycleLR(optimizer, begin=0, end=20, **kwargs)
    second = GroupOneCycleLR(optimizer, begin=20, end=40, **kwargs)
    both = SimpleNamespace(step=lambda: (first.step(), second.step()))
    rates = run_schedule(optimizer, both, 40)[..., 0]
    np.testing.assert_allclose(rates[:20], rates[20:], rtol=1e-12)
    np.testing.assert_allclose(np.max(rates, axis=0), [1e-3, 2e-4])


def test_one_cycle_leaves_betas_alone_if_told_to():
    optimizer = make_adamw(1e-3)
    scheduler = GroupOneCycleLR(optimizer, total_steps=10, by_epoch=False, betas=None)
    assert set(run_schedule(optimizer, scheduler, 10)[:, 0, 1]) == {0.95}


def test_one_cycle_state_loads_without_running_code(tmp_path):
    optimizer = make_adamw(1e-3)
    scheduler = GroupOneCycleLR(optimizer, total_steps=10, by_epoch=False)
    run_schedule(optimizer, scheduler, 4)
    torch.save(scheduler.state_dict(), tmp_path / 'state.pth')
    state = torch.load(tmp_path / 'state.pth', weights_only=True)
    resumed = GroupOneCycleLR(make_adamw(1e-3), total_steps=10, by_epoch=False)
    resumed.load_state_dict(state)
    assert resumed.last_step == scheduler.last_step == 4
    resumed.step()
    scheduler.step()
    assert resumed.get_last_value() == scheduler.get_last_value()


def test_three_phases_are_refused():
    with pytest.raises(ValueError, match='three_phase'):
        GroupOneCycleLR(make_adamw(1e-3), total_steps=10, three_phase=True)


# ---------------------------------------------------------------- early stopping of a stage


def stoppable_runner(epochs_done):
    """As much of a Runner as StageEarlyStoppingHook reads after a validation."""
    return SimpleNamespace(
        epoch=epochs_done,
        max_epochs=10,
        train_loop=SimpleNamespace(stop_training=False),
        message_hub=MessageHub.get_instance('stoppable'),
        logger=logging.getLogger('stoppable'),
    )


@pytest.mark.parametrize(
    'epoch, skips, ends',
    [(3, True, False), (4, False, False), (5, False, True)],
    ids=['within-first', 'end-of-first', 'second'],
)
def test_early_stopping_never_leaves_out_the_second_stage(epoch, skips, ends):
    hook = StageEarlyStoppingHook(next_stage=5, patience=1)
    runner = stoppable_runner(epoch)
    hook.after_val_epoch(runner, {'multi-label/mAP': 50.0})
    hook.after_val_epoch(runner, {'multi-label/mAP': 50.0})
    assert hook.skip_to_next_stage == skips
    assert runner.train_loop.stop_training == ends


def test_early_stopping_ends_a_run_that_has_no_second_stage():
    hook, runner = StageEarlyStoppingHook(next_stage=11, patience=1), stoppable_runner(3)
    for score in (50.0, 50.0):
        hook.after_val_epoch(runner, {'multi-label/mAP': score})
    assert runner.train_loop.stop_training and not hook.skip_to_next_stage


def test_any_gain_is_an_improvement_and_an_equal_score_is_none():
    hook, runner = StageEarlyStoppingHook(next_stage=1, patience=3), stoppable_runner(3)
    for score in (80.0, 80.001, 80.002, 80.003, 80.003, 80.003):
        hook.after_val_epoch(runner, {'multi-label/mAP': score})
        assert not runner.train_loop.stop_training
    hook.after_val_epoch(runner, {'multi-label/mAP': 80.003})
    assert runner.train_loop.stop_training


@pytest.mark.parametrize('seed', range(20))
def test_early_stopping_ends_a_run_after_the_epoch_of_the_published_code(seed):
    scores = np.random.default_rng(seed).normal(size=400).round(1)  # with ties
    expected = next(epoch for epoch in range(400) if epoch - scores[: epoch + 1].argmax() > 8)
    hook, runner = StageEarlyStoppingHook(next_stage=1), stoppable_runner(1)
    for epoch in range(expected + 1):
        assert not runner.train_loop.stop_training
        hook.after_val_epoch(runner, {'multi-label/mAP': float(scores[epoch])})
    assert runner.train_loop.stop_training


def test_early_stopping_takes_up_its_count():
    hook = StageEarlyStoppingHook(next_stage=1, patience=3)
    runner = stoppable_runner(3)
    for score in (50.0, 40.0, 41.0):
        hook.after_val_epoch(runner, {'multi-label/mAP': score})
    # resumed, and a new run of the same process
    for runner.iter, expected in ((30, (2, 50.0)), (0, (0, -np.inf))):
        hook = StageEarlyStoppingHook(next_stage=1, patience=3)
        hook.before_train(runner)
        assert (hook.wait_count, hook.best_score) == expected


LENGTH, EPOCHS = 4, 10  # iterations of an epoch
SCHEDULES = dict(
    one_cycle=[dict(type='GroupOneCycleLR', end=LENGTH * EPOCHS, by_epoch=False)],
    cosine=[dict(type='CosineAnnealingLR', T_max=EPOCHS)],
    several_steps=[dict(type='MultiStepLR', milestones=[3, 5, 7])],
    linear=[dict(type='LinearLR', end=LENGTH * EPOCHS, by_epoch=False)],
    one_for_each_stage=[
        dict(type='GroupOneCycleLR', begin=0, end=5 * LENGTH, by_epoch=False),
        dict(type='GroupOneCycleLR', begin=5 * LENGTH, end=EPOCHS * LENGTH, by_epoch=False),
    ],
    # both multiply the rate, so that it depends on their order
    epochs_and_iterations=[
        dict(type='CosineAnnealingLR', T_max=EPOCHS, eta_min=0.2),
        dict(type='ExponentialLR', gamma=0.98, by_epoch=False),
    ],
    plateau=[dict(type='ReduceOnPlateauLR', monitor='mAP')],
    none=None,
)


def scheduled_runner(schedules):
    """A Runner with what the schedules' hook and the move to an epoch read."""
    optimizer = make_adamw(1.0, 0.1)
    return SimpleNamespace(
        optimizer=optimizer,
        param_schedulers=schedules
        and [PARAM_SCHEDULERS.build(dict(item, optimizer=optimizer)) for item in schedules],
        train_loop=SimpleNamespace(_iter=0, _epoch=0, dataloader=range(LENGTH), max_iters=0),
        optim_wrapper=SimpleNamespace(initialize_count_status=lambda *args: None),
        model=None,
    )


def train_epochs(runner, number):
    """Rates and beta1 of the groups in each iteration of so many epochs."""
    loop, hook, history = runner.train_loop, ParamSchedulerHook(), []
    for _ in range(number):
        for _ in loop.dataloader:
            history.append([(x['lr'], x['betas'][0]) for x in runner.optimizer.param_groups])
            runner.optimizer.step()
            hook.after_train_iter(runner, 0)
            loop._iter += 1
        hook.after_train_epoch(runner)
        loop._epoch += 1
    return history


@pytest.mark.parametrize('name', SCHEDULES)
@pytest.mark.parametrize('epoch, target', [(1, 5), (2, 7), (4, 5), (3, 3)])
def test_a_move_to_an_epoch_gives_the_rates_of_a_run_that_left_out_none(name, epoch, target):
    whole, moved = (scheduled_runner(SCHEDULES[name]) for _ in range(2))
    expected = train_epochs(whole, EPOCHS)[target * LENGTH :]
    train_epochs(moved, epoch)
    move_to_epoch(moved, target)
    assert (moved.train_loop._epoch, moved.train_loop._iter) == (target, target * LENGTH)
    np.testing.assert_array_equal(train_epochs(moved, EPOCHS - target), expected)


# ---------------------------------------------------------------- CPU mixed precision


def test_autocast_wrapper_computes_in_bfloat16_and_keeps_float32_weights():
    layer = nn.Linear(4, 2)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(layer.parameters(), lr=0.1))
    before = layer.weight.detach().clone()
    with wrapper.optim_context(layer):
        output = layer(torch.randn(3, 4))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().pow(2).sum())
    assert layer.weight.dtype == torch.float32
    assert not torch.equal(layer.weight, before)
    assert isinstance(wrapper, OptimWrapper)


# ---------------------------------------------------------------- prototypes


class TinyClassifier(nn.Module):
    """Embeddings are the inputs themselves."""

    def __init__(self, num_classes, embed_dims):
        super().__init__()
        self.head = LabelEmbedHead(num_classes, embed_dims)
        torch.nn.init.normal_(self.head.fc.weight)

    def data_preprocessor(self, batch, training):
        assert not training
        return batch

    def extract_feat(self, inputs):
        return (inputs,)


def make_batches(seed, num_batches, num_classes, embed_dims):
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for index in range(num_batches):
        size = 4 - (index == num_batches - 1)  # the last batch is smaller
        inputs = torch.randn(size, num_classes, embed_dims, generator=generator)
        target = (torch.rand(size, num_classes, generator=generator) < 0.5).float()
        target[:, 0] = 0  # a class nobody has
        samples = [DataSample().set_gt_score(row) for row in target]
        batches.append(dict(inputs=inputs, data_samples=samples))
    return batches


@pytest.mark.parametrize('threshold', [0.0, 0.5, 0.85])
def test_class_means_equal_a_loop_over_images(threshold):
    model = TinyClassifier(5, 6)
    batches = make_batches(0, 3, 5, 6)
    model.train()
    sums, counts, confident = class_means(model, batches, threshold)
    assert model.training  # left as it was
    expected, number, passed = torch.zeros(5, 6), [0] * 5, [0] * 5
    for batch in batches:
        scores = model.head((batch['inputs'],)).sigmoid()
        for image, sample in enumerate(batch['data_samples']):
            for c in range(5):
                if sample.gt_score[c] == 1:
                    number[c] += 1
                    if scores[image, c] > threshold:
                        passed[c] += 1
                        expected[c] += batch['inputs'][image, c]
    torch.testing.assert_close(sums, expected)
    assert counts.tolist() == number
    assert confident.tolist() == passed
    assert passed[0] == 0 and sums[0].abs().sum() == 0


def test_class_means_take_a_soft_label_for_what_the_losses_take_it():
    score = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    batch = dict(inputs=torch.ones(1, 5, 6), data_samples=[DataSample().set_gt_score(score)])
    sums, counts, _ = class_means(TinyClassifier(5, 6), [batch], None)
    assert counts.tolist() == [0, 0, 1, 1, 1]
    torch.testing.assert_close(sums, counts[:, None].expand(5, 6))


def test_begin_counts_from_one():
    with pytest.raises(ValueError, match='counts epochs from 1, got 0'):
        PrototypeHook(begin=0)


# ---------------------------------------------------------------- start-up


def gpu_config(**changes):
    return Config(
        dict(
            launcher='none',
            optim_wrapper=dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'),
            env_cfg=dict(dist_cfg=dict(backend='nccl')),
            **changes,
        )
    )


def test_mixed_precision_falls_back_to_the_cpu_with_one_notice(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg, lines = gpu_config(), []
    adapt_to_device(cfg, lines.append)
    assert cfg.optim_wrapper == dict(type='AutocastOptimWrapper')
    assert len(lines) == 1 and 'bfloat16' in lines[0]


def test_loaders_without_workers_keep_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    loaders = {
        f'{split}_dataloader': dict(num_workers=workers, persistent_workers=True)
        for split, workers in dict(train=0, val=2).items()
    }
    cfg = gpu_config(**loaders)
    adapt_to_device(cfg)
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.val_dataloader.persistent_workers is True


@pytest.mark.parametrize('has_cuda', [True, False])
@pytest.mark.parametrize('setting', [{}, dict(pin_memory=True), dict(pin_memory=False)])
def test_memory_is_pinned_for_a_gpu_only(monkeypatch, has_cuda, setting):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_cuda)
    cfg = gpu_config(train_dataloader=dict(num_workers=2, **setting))
    adapt_to_device(cfg, lambda line: None)
    pins = cfg.train_dataloader.get('pin_memory', False)
    assert pins is (has_cuda and setting != dict(pin_memory=False))


@pytest.mark.parametrize('has_cuda', [True, False])
@pytest.mark.parametrize(
    'backbone, on_gpu, on_cpu',
    [
        ('ResNet', True, True),
        ('EfficientNetLite', False, True),
        ('TResNet', False, False),
        ('SwinTransformer', False, False),
    ],
)
def test_channels_come_last_where_that_is_faster(monkeypatch, has_cuda, backbone, on_gpu, on_cpu):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_cuda)
    cfg = gpu_config(model=dict(backbone=dict(type=backbone)))
    adapt_to_device(cfg, lambda line: None)
    expected = on_gpu if has_cuda else on_cpu
    assert cfg.channels_last is expected
    cfg.channels_last = not expected
    adapt_to_device(cfg, lambda line: None)
    assert cfg.channels_last is not expected


@pytest.mark.parametrize('deterministic', [True, False])
def test_cublas_is_told_of_deterministic_runs(monkeypatch, deterministic):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    adapt_to_device(gpu_config(randomness=dict(seed=0, deterministic=deterministic)))
    assert os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None) == (':4096:8' if deterministic else None)


def test_config_is_left_alone_where_there_is_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = gpu_config(channels_last=False)
    before = cfg.to_dict()
    adapt_to_device(cfg, pytest.fail)
    assert cfg.to_dict() == before


@pytest.mark.parametrize('has_bfloat16', [True, False])
@pytest.mark.parametrize('optimizer', ['Adam', 'AdamW'])
def test_adam_is_fused_and_bfloat16_used_where_the_gpu_has_it(monkeypatch, optimizer, has_bfloat16):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    capability = (8, 0) if has_bfloat16 else (7, 5)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    cfg, lines = gpu_config(), []
    cfg.optim_wrapper.update(dtype='bfloat16', optimizer=dict(type=optimizer, lr=1.0))
    adapt_to_device(cfg, lines.append)
    assert cfg.optim_wrapper.optimizer == dict(type=optimizer, lr=1.0, fused=True)
    assert cfg.optim_wrapper.dtype == ('bfloat16' if has_bfloat16 else 'float16')
    assert len(lines) == int(not has_bfloat16)
    cfg.optim_wrapper.optimizer = other = dict(type=optimizer, lr=1.0, foreach=True)
    adapt_to_device(cfg, lines.append)  # torch takes one of them
    assert cfg.optim_wrapper.optimizer == other


@pytest.mark.parametrize('epoch, iteration', [(1, 10), (2, 9), (2, 11), (3, 15)])
def test_the_stage_starts_at_the_first_iteration_of_its_own_epoch_only(epoch, iteration):
    # (1, 10): a run resumed at the end of epoch 2, of which nothing is left
    runner = SimpleNamespace(epoch=epoch, iter=iteration, train_dataloader=range(5))
    PrototypeHook(begin=3).before_train_epoch(runner)  # nothing else of the runner is touched
    runner.epoch, runner.iter = 2, 10
    with pytest.raises(AttributeError, match='model'):
        PrototypeHook(begin=3).before_train_epoch(runner)


def train_config(dataset):
    return Config(dict(train_dataloader=dict(dataset=dataset)))


def test_missing_data_is_one_line_with_path_and_document(tmp_path):
    dataset = dict(data_root=str(tmp_path / 'coco'), ann_file='instances_train2014.json')
    with pytest.raises(SystemExit) as stop:
        check_data(train_config(dataset), ('train', 'val'))
    message = str(stop.value)
    assert str(tmp_path / 'coco') in message
    assert 'docs/datasets.md' in message and message.startswith('train data')
    assert '\n' not in message and 'where the command runs' not in message


def test_a_missing_relative_path_is_said_to_start_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        check_data(train_config(dict(ann_file='data/pets/train.json')), ('train',))
    start = f'data/pets/train.json does not exist in {tmp_path}, where the command runs. '
    assert start in str(stop.value)


def test_data_that_is_there_passes(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'train.json').write_text('{}')
    dataset = dict(data_root=str(tmp_path), ann_file='train.json', data_prefix='images')
    check_data(train_config(dataset), ('train',))
    dataset['data_prefix'] = dict(img_path='pictures')
    with pytest.raises(SystemExit, match='pictures'):
        check_data(train_config(dataset), ('train',))


def test_checkpoint_of_a_work_directory_is_the_best_then_the_latest(tmp_path):
    with pytest.raises(FileNotFoundError, match='no best'):
        find_checkpoint(str(tmp_path))
    resumable = dict.fromkeys(('meta', 'state_dict', 'message_hub', 'optimizer'), {})
    torch.save(resumable, tmp_path / 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    assert find_checkpoint(tmp_path).path == str(tmp_path / 'epoch_2.pth')
    best = tmp_path / 'best_multi-label_mAP_epoch_1.pth'
    torch.save(dict(state_dict={}), best)
    assert find_checkpoint(tmp_path).path == str(best)
    assert find_checkpoint(best).path == str(best)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        find_checkpoint(str(tmp_path / 'nothing.pth'))


@pytest.mark.parametrize('tool', ['train.py', pytest.param('test.py', marks=pytest.mark.slow)])
def test_tools_start_from_any_directory_without_pythonpath(tool, tmp_path, monkeypatch):
    monkeypatch.delenv('PYTHONPATH', raising=False)
    printed = run_command(sys.executable, ROOT / 'tools' / tool, '--help', cwd=tmp_path)
    assert '--cfg-options' in printed
