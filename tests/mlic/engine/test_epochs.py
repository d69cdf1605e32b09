"""--epochs: all that counts in epochs changes along."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import PARAM_SCHEDULERS

from mlic.datasets.own_data.config import config_text
from mlic.datasets.own_data.splits import Image
from mlic.engine.runner.epochs import set_epochs
from mlic.engine.runner.settings import schedules_of
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
        cls = PARAM_SCHEDULERS.get(schedule.pop('type'))
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
            if hook.type == 'ForeachEMAHook':
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
    for hooks in (cfg.custom_hooks, written.custom_hooks):
        hooks[0].momentum = pytest.approx(hooks[0].momentum)
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
