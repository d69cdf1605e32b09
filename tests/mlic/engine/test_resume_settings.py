"""A resumed run obeys its config, or says what it would not obey."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.config.device import adapt_to_device
from mlic.engine.runner.settings import changed_settings
from mlic.literals import parse_literals
from tests.helpers import ROOT, call_tool
from tests.tiny_runs import two_stage_config

LEAVES = sorted(path for path in ROOT.glob('configs/*/*.py') if path.parent.name != '_base_')
FLAGSHIP = ROOT / 'configs/sadcl/sadcl_r101_coco448.py'


def names_of(stored, now, processes=(1, 1)):
    return [name for name, *_ in changed_settings(stored, now, processes)]


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_a_config_is_what_its_checkpoint_holds_of_it(path):
    cfg = Config.fromfile(path)
    saved = copy.deepcopy(cfg)
    saved.launcher = 'none'
    adapt_to_device(saved, log=lambda line: None)
    assert changed_settings(parse_literals(saved.pretty_text), cfg, (1, 1)) == []


@pytest.mark.parametrize(
    'options',
    [
        {'train_cfg.max_epochs': 200},
        {'param_scheduler.1.end': 200},
        {'param_scheduler.0.pct_start': 0.5},
        {'optim_wrapper.optimizer.lr': 1e-5},
        {'optim_wrapper.optimizer.betas': (0.9, 0.999)},
        {'optim_wrapper.optimizer.type': 'SGD'},
        {'optim_wrapper.paramwise_cfg': dict(norm_decay_mult=0.0)},
        {'optim_wrapper.accumulative_counts': 2},
        {'optim_wrapper.clip_grad': dict(max_norm=1.0)},
        {'model.head.loss_cls.gamma_neg': 2.0},
        {'model.neck.dropout': 0.3},
        {'data_preprocessor.num_classes': 81},
        {'train_dataloader.batch_size': 4},
        {'train_dataloader.sampler.shuffle': False},
        {'train_dataloader.drop_last': False},
        {'train_dataloader.dataset.type': 'VOC2012'},
        {'train_dataloader.dataset.pipeline.1.scale': 333},
        {'randomness.seed': 7},
        {'auto_scale_lr.enable': True},
        {'custom_hooks.0.momentum': 0.1},
        {'custom_hooks.1.begin': 5},
        {'custom_hooks.2.next_stage': 5},
        {'custom_hooks.3.schedule.0.action_epoch': 5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_training_would_ignore_or_half_obey_is_named(options):
    stored, now = Config.fromfile(FLAGSHIP), Config.fromfile(FLAGSHIP)
    now.merge_from_dict(options)
    for before, after in ((stored, now), (now, stored)):
        ((name, old, new),) = changed_settings(before, after, (1, 1))
        assert old != new
        (key,) = options
        if key.startswith('custom_hooks'):
            _, number, argument = key.split('.', 2)
            key = f'{stored.custom_hooks[int(number)].type}.{argument}'
        assert key in (name, f'{name}.enable')


@pytest.mark.parametrize(
    'options',
    [
        {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False},
        {'train_dataloader.dataset.data_root': '/elsewhere'},
        {'default_hooks.logger.interval': 1, 'default_hooks.checkpoint.interval': 3},
        {'default_hooks.visualization.enable': True, 'log_level': 'DEBUG'},
        {'train_cfg.val_interval': 2, 'val_dataloader.batch_size': 1, 'val_evaluator': None},
        {'work_dir': 'another', 'load_from': 'x.pth', 'resume': True},
        {'env_cfg.cudnn_benchmark': False, 'randomness.deterministic': True},
        {'visualizer.vis_backends': [], 'test_dataloader.num_workers': 0},
        {'optim_wrapper.type': 'OptimWrapper', 'optim_wrapper.optimizer.fused': True},
        {'model.backbone.init_cfg': None},
        {'eval_precision': 'bfloat16'},
        {'custom_hooks.2.patience': 20, 'custom_hooks.0.priority': 'NORMAL'},
        {'auto_scale_lr.base_batch_size': 7},
        {'epochs': 3, 'stage1_pipeline': []},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_is_obeyed_or_changes_no_result_is_free(options):
    stored, now = Config.fromfile(FLAGSHIP), Config.fromfile(FLAGSHIP)
    now.merge_from_dict(options)
    assert names_of(stored, now) == names_of(now, stored) == []


def test_a_hook_that_trains_is_missed_and_one_that_looks_on_is_not():
    stored, now = Config.fromfile(FLAGSHIP), Config.fromfile(FLAGSHIP)
    now.custom_hooks = [hook for hook in now.custom_hooks if hook.type != 'ForeachEMAHook']
    now.custom_hooks.append(dict(type='ProfilerHook'))
    assert changed_settings(stored, now, (1, 1)) == [
        ('ForeachEMAHook', dict(type='ForeachEMAHook', momentum=2e-4), None)
    ]


def test_another_number_of_processes_may_keep_the_images_of_a_step():
    stored, now = Config.fromfile(FLAGSHIP), Config.fromfile(FLAGSHIP)
    assert names_of(stored, now, (8, 2)) == []
    now.train_dataloader.batch_size = 16
    assert names_of(stored, now, (8, 4)) == []
    now.optim_wrapper.accumulative_counts = 2
    assert names_of(stored, now, (8, 2)) == []
    both = ['train_dataloader.batch_size', 'optim_wrapper.accumulative_counts']
    for processes in ((8, 4), (None, 2), (8, 8)):
        assert sorted(names_of(stored, now, processes)) == sorted(both)


@pytest.mark.parametrize(
    'schedules, is_free',
    [
        ([], True),
        (dict(type='MultiStepLR', milestones=[2]), True),
        ([dict(type='LinearLR', end=2), dict(type='StepLR', step_size=5)], True),
        ([dict(type='CosineAnnealingLR', T_max=2, end=2), dict(type='ExponentialLR')], True),
        ([dict(type='LinearLR', end=5)], False),
        ([dict(type='LinearLR', end=100, by_epoch=False)], False),
        ([dict(type='CosineAnnealingLR', T_max=5)], False),
        ([dict(type='GroupOneCycleLR', pct_start=0.2)], False),
    ],
)
def test_more_epochs_are_free_where_no_schedule_ends_with_them(schedules, is_free):
    stored, now = (
        dict(param_scheduler=schedules, train_cfg=dict(max_epochs=epochs)) for epochs in (5, 8)
    )
    for pair in ((stored, now), (now, stored)):
        assert names_of(*pair) == ([] if is_free else ['train_cfg.max_epochs'])


@pytest.mark.parametrize('place', ['custom_hooks', 'default_hooks'])
@pytest.mark.parametrize(
    'average, is_free',
    [
        (dict(type='ForeachEMAHook', horizon=0.1), False),
        (dict(type='ForeachEMAHook', horizon=None, momentum=2e-4), True),
        (dict(type='EMAHook', momentum=2e-4), True),
    ],
)
def test_more_epochs_are_not_free_where_an_average_is_over_a_share_of_them(place, average, is_free):
    hooks = [average] if place == 'custom_hooks' else dict(ema=average)
    schedule = dict(type='MultiStepLR', milestones=[2])
    stored, now = (
        {'param_scheduler': schedule, 'train_cfg': dict(max_epochs=epochs), place: hooks}
        for epochs in (4, 40)
    )
    for pair in ((stored, now), (now, stored)):
        assert names_of(*pair) == ([] if is_free else ['train_cfg.max_epochs'])


# ---------------------------------------------------------------- tools/train.py


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """The config of a run that is done, with a checkpoint of every third iteration."""
    tmp_path = tmp_path_factory.mktemp('finished')
    cfg = two_stage_config(tmp_path / 'run')
    cfg.pop('experiment_name')
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3, max_keep_ckpts=-1)
    path = tmp_path / 'config.py'
    cfg.dump(str(path))
    assert call_tool('tools/train.py', path) is None
    return path


def test_train_py_refuses_to_resume_with_other_settings(finished, capsys):
    run = finished.parent / 'run'
    before = sorted(run.iterdir())
    capsys.readouterr()
    options = ['train_cfg.max_epochs=8', 'optim_wrapper.optimizer.lr=1e-5']
    mid_epoch = run / 'iter_12.pth'
    for resume in (['--resume'], ['--resume', str(mid_epoch)]):
        for dry_run in ([], ['--dry-run']):
            error = call_tool(
                'tools/train.py', finished, *resume, *dry_run, '--cfg-options', *options
            )
            assert error.startswith('error: ') and '\n' not in error
            assert '2 of its settings' in error
            assert f'load_from={resume[1] if resume[1:] else run / "iter_20.pth"}' in error
            # the copy with the old settings, which resumes
            assert f'tools/train.py {run / "config.py"} --work-dir {run} --resume' in error
            assert capsys.readouterr().out.splitlines()[-2:] == [
                'optim_wrapper.optimizer.lr: 0.0005 in the checkpoint, 1e-05 in the config',
                'train_cfg.max_epochs: 4 in the checkpoint, 8 in the config',
            ]
    assert sorted(run.iterdir()) == before
    assert call_tool('tools/train.py', run / 'config.py', '--work-dir', run, '--resume') is None
    config_says_so = ['resume=True', 'train_cfg.max_epochs=8']
    assert '1 of its settings' in call_tool(
        'tools/train.py', finished, '--cfg-options', *config_says_so
    )


def test_train_py_refuses_to_resume_with_other_classes(finished, capsys):
    run = finished.parent / 'run'
    names = list(read_checkpoint(run / 'iter_20.pth')['meta']['dataset_meta']['classes'])
    capsys.readouterr()
    for classes, message in (
        (names[::-1], f'another order than the data: number 0 is {names[0]!r}'),
        (
            [*names[:-1], 'new'],
            f"number {len(names) - 1} is {names[-1]!r} in the checkpoint and 'new'",
        ),
    ):
        other = finished.with_name('other.py')
        cfg = Config.fromfile(finished)
        cfg.train_dataloader.dataset.metainfo = dict(classes=classes)
        cfg.dump(str(other))
        error = call_tool('tools/train.py', other, '--resume')
        assert error.startswith('error: ') and 'load_from=' in error
        assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    'text',
    [
        None,
        'model = open("executed", "w")',
        'custom_hooks = [dict(type="imported_by_a_name.Hook")]',
        'custom_hooks = 3',
        'train_cfg = [1]',
    ],
)
def test_a_stored_config_is_compared_and_never_run(finished, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'imported_by_a_name.py').write_text('open("executed", "w")\nHook = dict')
    content = dict(read_checkpoint(finished.parent / 'run' / 'iter_20.pth'))
    content['meta'] = {**content['meta'], 'cfg': text}
    torch.save(content, 'other.pth')
    call_tool('tools/train.py', finished, '--resume', 'other.pth', '--dry-run')
    out = capsys.readouterr().out
    assert 'settings are not compared' in out or 'in the checkpoint, ' in out
    assert not Path('executed').exists()
