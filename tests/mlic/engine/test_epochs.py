"""--epochs: all that counts in epochs changes along."""

import copy
import json
import math
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import PARAM_SCHEDULERS
from torch.utils.data import DataLoader

from mlic.datasets.own_data.config import config_text
from mlic.datasets.own_data.splits import Image
from mlic.engine.config.sections import schedules_of
from mlic.engine.hooks.missed_validation_hook import MissedValidationHook
from mlic.engine.mmengine_internals import validation_interval
from mlic.engine.runner.epochs import of_two_iterations, set_epochs
from tests.helpers import ROOT, call_tool
from tests.tiny_runs import LENGTH, logged_losses, two_stage_config

LEAVES = sorted(path for path in ROOT.glob('configs/*/*.py') if path.parent.name != '_base_')
TWO_STAGES = 'configs/sadcl/sadcl_r101_coco448.py'


def stage_starts(cfg):
    """The first epochs of stages, by who holds them; those of a run that has one are left out."""
    starts = {}
    for hook in cfg.custom_hooks:
        for recipe in (hook, *hook.get('schedule', ())):
            for key in ('begin', 'next_stage', 'action_epoch'):
                if recipe.get(key, 1) > 1:
                    starts[hook.type, key] = recipe[key]
    return starts


def rates(cfg, epoch_length):
    """The learning rate of each iteration."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    schedules = []
    for schedule in copy.deepcopy(schedules_of(cfg)):
        schedule = dict(of_two_iterations(schedule, epoch_length))
        cls = PARAM_SCHEDULERS.get(schedule.pop('type'))
        length = 1 if schedule.get('by_epoch', True) else epoch_length
        schedule.setdefault('end', cfg.train_cfg.max_epochs * length)  # as the runner does
        if schedule.pop('convert_to_iter_based', False):
            schedules.append(
                cls.build_iter_from_epoch(optimizer, **schedule, epoch_length=epoch_length)
            )
        else:
            schedules.append(cls(optimizer, **schedule))
    seen = []
    for iteration in range(1, cfg.train_cfg.max_epochs * epoch_length + 1):
        seen.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for schedule in schedules:
            if not schedule.by_epoch or iteration % epoch_length == 0:
                schedule.step()
    return torch.tensor(seen)


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_every_config_takes_another_number_of_epochs(path):
    before = Config.fromfile(path)
    old = before.train_cfg.max_epochs
    starts = stage_starts(before)
    num_stages = 1 + len(set(starts.values()))
    for epochs in {1, 2, 3, old, 2 * old}:
        cfg = Config.fromfile(path)
        if epochs < num_stages:
            with pytest.raises(ValueError, match=f'--epochs {epochs}: .* give at least 2'):
                set_epochs(cfg, epochs)
            continue
        set_epochs(cfg, epochs)
        assert (cfg.to_dict() == before.to_dict()) == (epochs == old)
        assert cfg.train_cfg.max_epochs == epochs
        assert 1 <= cfg.train_cfg.val_interval <= epochs
        moved = stage_starts(cfg)
        assert moved.keys() == starts.keys()
        # what began together does so now, and every stage has an epoch
        pairs = {(starts[key], moved[key]) for key in starts}
        assert len(pairs) == len({new for _, new in pairs}) == num_stages - 1
        borders = {0: 0, old: epochs, **{start - 1: new - 1 for start, new in pairs}}
        assert sorted(borders.values()) == [borders[key] for key in sorted(borders)]
        assert all(0 <= new <= epochs for new in borders.values())
        for schedule, was in zip(schedules_of(cfg), schedules_of(before)):
            for key in {'begin', 'end'} & was.keys():
                assert schedule[key] == borders.get(was[key], schedule[key])
        for hook, was in zip(cfg.custom_hooks, before.custom_hooks):
            if hook.type == 'ForeachEMAHook' and 'horizon' in was:
                assert hook == was  # a share of the run
            elif hook.type == 'ForeachEMAHook':
                assert hook.momentum == pytest.approx(min(was.momentum * old / epochs, 0.5))
        if epochs <= 3:  # each phase has an iteration
            assert rates(cfg, 40).isfinite().all()


@pytest.mark.parametrize(
    'name, epochs',
    [
        (TWO_STAGES, 2),
        (TWO_STAGES, 40),
        ('configs/mulcon/mulcon_r101_coco448_stage1.py', 1),
        ('configs/mulcon/mulcon_r101_coco448_stage1.py', 5),
        ('configs/sadcl/sarl_efficientnet-lite0_corel5k160.py', 2),
        ('configs/sadcl/sadcl_efficientnet-lite0_digits128_two-stage.py', 4),
    ],
)
def test_the_learning_rate_takes_the_same_course(name, epochs):
    cfg = Config.fromfile(ROOT / name)
    length, old = 4, cfg.train_cfg.max_epochs
    expected = rates(cfg, length)
    set_epochs(cfg, epochs)
    torch.testing.assert_close(rates(cfg, length * old // epochs), expected)


def run_of(epochs, *schedules, **hook):
    return Config(
        dict(
            train_cfg=dict(max_epochs=epochs, val_interval=1),
            param_scheduler=list(schedules),
            custom_hooks=[hook] if hook else [],
        )
    )


def stage_rates(cfg, stage, epoch_length):
    """The learning rate of each iteration of a stage of two."""
    (border,) = {start - 1 for start in stage_starts(cfg).values()}
    return rates(cfg, epoch_length).tensor_split([border * epoch_length])[stage]


@pytest.mark.parametrize('epochs', [2, 3, 4, 6, 10, 20, 43, 172])
@pytest.mark.parametrize('stage', [0, 1])
@pytest.mark.parametrize('name', ['ccd_r101_coco448', 'ccd_efficientnet-lite0_corel5k160'])
def test_each_stage_takes_the_course_that_it_had(name, stage, epochs):
    before, cfg = (Config.fromfile(ROOT / 'configs' / 'ccd' / f'{name}.py') for _ in range(2))
    set_epochs(cfg, epochs)
    if name == 'ccd_r101_coco448':
        assert cfg.param_scheduler[0].end == stage_starts(cfg)['ContextMemoryHook', 'begin'] - 1
    # lengths of an epoch with which the stage has the same iterations
    old, new = (len(stage_rates(some, stage, 1)) for some in (before, cfg))
    common = math.gcd(old, new)
    actual = stage_rates(cfg, stage, old // common)
    torch.testing.assert_close(actual, stage_rates(before, stage, new // common))


# over 24 epochs or iterations
STEPS = dict(
    several=dict(type='MultiStepLR', milestones=[8, 12, 20]),
    regular=dict(type='StepLR', step_size=4),
    each=dict(type='ExponentialLR', gamma=0.9),
)
COURSES = dict(
    cosine=dict(type='CosineAnnealingLR', T_max=24, eta_min=0.01),
    part_of_a_cosine=dict(type='CosineAnnealingLR', T_max=30, end=20),
    back_and_forth=dict(type='CosineAnnealingLR', T_max=8, eta_min=0.01),
    restarts=dict(
        type='CosineRestartLR', periods=[4, 8, 12], restart_weights=[1, 0.5, 0.2], eta_min=0.01
    ),
    part_of_restarts=dict(
        type='CosineRestartLR', periods=[8, 32], restart_weights=[1, 0.5], eta_min=0, end=20
    ),
    later=dict(
        type='CosineRestartLR', periods=[12, 8], restart_weights=[1, 1], eta_min=0.01, begin=4
    ),
)


@pytest.mark.parametrize('schedule', [*STEPS.values(), *COURSES.values()], ids=[*STEPS, *COURSES])
def test_a_schedule_in_iterations_takes_its_course_in_fewer(schedule):
    cfg = run_of(8, dict(schedule, by_epoch=False))
    end = schedule.get('end', 24)  # after which the last rate stays
    expected = rates(cfg, 3)[:end:2]
    assert len(expected.unique()) > 3
    set_epochs(cfg, 4)
    torch.testing.assert_close(rates(cfg, 3)[: len(expected)], expected)


@pytest.mark.parametrize('epochs', [6, 12, 48])
@pytest.mark.parametrize('schedule', COURSES.values(), ids=COURSES)
def test_a_course_in_epochs_has_the_rates_of_the_same_part_of_the_run(schedule, epochs):
    cfg = run_of(24, schedule)
    expected = rates(cfg, 2 * epochs)[:: 2 * epochs][: schedule.get('end')]  # one of each epoch
    set_epochs(cfg, epochs)
    torch.testing.assert_close(rates(cfg, 48)[:: 2 * epochs][: len(expected)], expected)


@pytest.mark.parametrize('epochs', [6, 12, 48])
@pytest.mark.parametrize('schedule', STEPS.values(), ids=STEPS)
def test_steps_in_epochs_have_the_rates_of_the_same_part_of_the_run(schedule, epochs):
    cfg = run_of(24, schedule)
    expected = rates(cfg, 2 * epochs)
    set_epochs(cfg, epochs)
    # a rate that falls in each epoch does so in fewer
    every = max(48, 2 * epochs) if schedule is STEPS['each'] else 1
    torch.testing.assert_close(rates(cfg, 48)[::every], expected[::every])


@pytest.mark.parametrize('epochs', [3, 4, 7, 11, 29])
def test_each_of_several_periods_falls_and_the_last_ends_with_the_run(epochs):
    cfg = run_of(
        30,
        dict(type='CosineRestartLR', periods=[10] * 3, restart_weights=[1] * 3, eta_min=0),
    )
    set_epochs(cfg, epochs)
    assert sum(cfg.param_scheduler[0].periods) == epochs
    for period in rates(cfg, 40).split([40 * length for length in cfg.param_scheduler[0].periods]):
        assert period[0] == 1 and (period.diff() < 0).all() and period[-1] < 0.01


def test_more_periods_than_epochs_are_refused():
    cfg = run_of(
        30,
        dict(type='CosineRestartLR', periods=[10] * 3, restart_weights=[1] * 3, eta_min=0),
    )
    with pytest.raises(ValueError, match='--epochs 2: CosineRestartLR has 3 periods .* into 2$'):
        set_epochs(cfg, 2)


@pytest.mark.parametrize('by_epoch', [False, True])
def test_a_ramp_over_a_run_of_one_epoch_gets_to_its_end(by_epoch):
    cfg = run_of(20, dict(type='LinearLR', start_factor=0.1, end=20, by_epoch=by_epoch))
    set_epochs(cfg, 1)
    assert rates(cfg, 10)[-1] == pytest.approx(1)


@pytest.mark.parametrize('epochs', [1, 2, 3])
@pytest.mark.parametrize('length', [3, 5, 10])
@pytest.mark.parametrize('name', ['csra/csra_r101_coco448', 'foundation/linear_convnext-b_coco512'])
def test_a_warm_up_gets_to_its_end_in_a_run_of_a_few_iterations(name, length, epochs):
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    set_epochs(cfg, epochs)
    assert rates(cfg, length).max() > 0.5


@pytest.mark.parametrize('is_list', [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_run_gets_through_a_warm_up_of_one_iteration(tmp_path, is_list):
    cfg = two_stage_config(tmp_path / 'run')
    cfg.pop('experiment_name')
    ramp = dict(type='LinearLR', start_factor=0.1, convert_to_iter_based=True, end=1 / LENGTH)
    cfg.param_scheduler = [ramp] if is_list else ramp
    cfg.dump(str(tmp_path / 'config.py'))
    assert call_tool('tools/train.py', tmp_path / 'config.py') is None
    (log,) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    lr = cfg.optim_wrapper.optimizer.lr
    seen = [line['lr'] for line in logged if 'loss' in line]
    assert seen[0] == pytest.approx(0.1 * lr) and seen[-1] == pytest.approx(lr)


def test_averages_begin_with_the_same_part_of_the_run():
    cfg = run_of(10, type='EMAHook', momentum=0.001, begin_iter=500)
    set_epochs(cfg, 5)
    assert cfg.custom_hooks == [dict(type='EMAHook', momentum=0.002, begin_iter=250)]


@pytest.mark.parametrize('begin, moved', [(3, 1), (31, 4), (60, 6)])
def test_averages_begin_in_the_epoch_that_a_stage_would_begin_with(begin, moved):
    cfg = run_of(60, type='EMAHook', begin_epoch=begin)
    set_epochs(cfg, 6)
    assert cfg.custom_hooks[0].begin_epoch == moved


@pytest.mark.parametrize(
    'epochs, interval, begin, changes', [(12, 2, 4, [(11, 1)]), (120, 10, 40, [(101, 5)])]
)
def test_validation_comes_as_often_and_from_the_same_part_of_the_run(
    epochs, interval, begin, changes
):
    before = dict(val_interval=10, val_begin=20, dynamic_intervals=[(51, 5)])
    cfg = Config(dict(train_cfg=dict(max_epochs=60, **before)))
    set_epochs(cfg, epochs)
    after = dict(val_interval=interval, val_begin=begin, dynamic_intervals=changes)
    assert cfg.train_cfg == dict(max_epochs=epochs, **after)


def test_a_schedule_beyond_the_run_keeps_what_the_last_stage_has_of_it():
    schedule = dict(type='CosineAnnealingLR', begin=6, end=36, convert_to_iter_based=True)
    cfg = run_of(26, schedule, type='StageEarlyStoppingHook', next_stage=7)
    expected = stage_rates(cfg, 1, 3)
    set_epochs(cfg, 2)
    torch.testing.assert_close(stage_rates(cfg, 1, 60), expected)


def test_the_beginning_of_a_cycle_of_mmengine_takes_whole_epochs_of_it():
    schedule = dict(type='OneCycleLR', eta_max=1, total_steps=80, convert_to_iter_based=True)
    cfg = run_of(6, schedule)
    set_epochs(cfg, 1)
    assert cfg.param_scheduler[0].total_steps == 14  # 80 / 6, rounded up
    before = rates(run_of(14, dict(schedule, total_steps=14)), 10)
    torch.testing.assert_close(rates(cfg, 10), before[:10])


@pytest.mark.parametrize('epochs', [1, 8])
def test_a_stage_that_the_run_does_not_reach_takes_no_epochs(epochs):
    cfg = run_of(4, type='StageEarlyStoppingHook', next_stage=5)
    set_epochs(cfg, epochs)
    assert cfg.custom_hooks[0].next_stage == epochs + 1


def test_steps_by_epoch_stay_whole_and_phases_within_an_epoch_count_in_iterations():
    cfg = Config(
        dict(
            train_cfg=dict(max_epochs=30, val_interval=30),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, end=3),
                dict(type='StepLR', step_size=10),
                dict(type='MultiStepLR', milestones=[2, 20]),
                dict(type='LinearLR', start_factor=0.1, end=300, by_epoch=False),
            ],
        )
    )
    set_epochs(cfg, 5)
    warm_up, steps, milestones, iterations = cfg.param_scheduler
    assert warm_up == dict(type='LinearLR', start_factor=0.1, end=0.5, convert_to_iter_based=True)
    assert steps.step_size == 2 and 'convert_to_iter_based' not in steps
    assert milestones.milestones == [1, 3]
    assert iterations.end == 50
    # only at the end, as before
    assert cfg.train_cfg == dict(max_epochs=5, val_interval=5)


@pytest.mark.parametrize(
    'dynamic, expected',
    [(None, {2, 4, 5}), ([(4, 3)], {2, 3, 5}), ([(9, 1)], {2, 4, 5})],  # the last of a longer run
)
def test_the_last_epoch_is_validated_whatever_the_interval(dynamic, expected):
    """mmengine's loop does so by itself from 0.10.4 on."""
    settings = dict(max_epochs=5, val_interval=2, dynamic_intervals=dynamic)
    loop = EpochBasedTrainLoop(Mock(), DataLoader([0]), **settings)
    MissedValidationHook().before_train(SimpleNamespace(train_loop=loop, epoch=0, message_hub=None))
    validated = set()
    for loop._epoch in range(1, 6):
        if loop.epoch % validation_interval(loop) == 0:
            validated.add(loop.epoch)
    assert validated == expected


def test_a_config_that_counts_in_iterations_is_refused():
    with pytest.raises(ValueError, match='no train_cfg.max_epochs'):
        set_epochs(Config(dict(train_cfg=dict(by_epoch=False, max_iters=9))), 2)


def own_config(folder, epochs):
    """The config of own images, as from_csv writes it."""
    splits = {
        'train': [Image(f'{i}.jpg', {'a'}, '', None) for i in range(40)],
        'val': [],
        'test': [],
    }
    path = folder / f'own{epochs}.py'
    path.write_text(
        config_text(
            path, folder, folder, {**splits, 'val': splits['train']}, ['a', 'b'], epochs, 'from_csv'
        )
    )
    return Config.fromfile(path)


@pytest.mark.parametrize('epochs', [2, 3, 6, 24])
def test_a_config_of_own_images_becomes_what_from_csv_writes(tmp_path, epochs):
    cfg, written = own_config(tmp_path, 12), own_config(tmp_path, epochs)
    set_epochs(cfg, epochs)
    cfg.epochs = epochs  # which only the file reads
    assert cfg.to_dict() == written.to_dict()
    with pytest.raises(ValueError, match='2 stages'):
        set_epochs(own_config(tmp_path, 12), 1)


def test_train_py_tries_both_stages_in_two_epochs(tmp_path):
    cfg = two_stage_config(tmp_path / 'run')
    cfg.pop('experiment_name')
    cfg.dump(str(tmp_path / 'config.py'))
    assert call_tool('tools/train.py', tmp_path / 'config.py', '--epochs', 2) is None
    losses = logged_losses(tmp_path / 'run')
    assert [epoch for epoch, *_ in losses] == [1] * LENGTH + [2] * LENGTH
    assert all((sscl > 0) == (epoch == 2) for epoch, sscl, _ in losses)
    # the run that was tried is resumed as it was started
    assert call_tool('tools/train.py', tmp_path / 'config.py', '--epochs', 2, '--resume') is None
    for other in ([], ['--epochs', 3]):
        error = call_tool('tools/train.py', tmp_path / 'config.py', *other, '--resume')
        assert 'cannot be resumed with this config' in error
    assert 'give at least 2' in call_tool('tools/train.py', tmp_path / 'config.py', '--epochs', 1)
    assert call_tool('tools/train.py', tmp_path / 'config.py', '--epochs', 0) == 2
    assert Path(tmp_path / 'run' / 'epoch_2.pth').is_file()
