"""From command to number: train, stage switch, resume, test, infer; on one and two processes."""

import copy
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.registry import METRICS

from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.runner.class_means import class_means
from tests.helpers import ROOT, run_command, run_tool
from tests.tiny_runs import BATCH, DIGITS, ToyMetric, logged_losses, tiny_config

TEST = (sys.executable, ROOT / 'tools/test.py', 'tiny.py', 'run', '--work-dir', 'run/test', '--out')
REPEATED = dict(
    _delete_=True, type='RepeatDataset', times=1, dataset=dict(type='DigitScenes', num_images=8)
)


@METRICS.register_module()
class ScriptedMetric(ToyMetric):
    """Says what it is told to say, one value an evaluation."""

    default_prefix = 'multi-label'


def before_each_epoch(runner, look):
    """Let ``look(runner)`` be called after all hooks have prepared an epoch."""
    hook = Hook()
    hook.priority, hook.before_train_epoch = 'LOWEST', look
    runner.register_hook(hook)


@pytest.mark.slow
def test_make_demo_ends_with_picture_table_and_what_to_type_next_in_40_lines(tmp_path):
    cfg = tiny_config(
        tmp_path, **{'train_dataloader.batch_size': 2, 'default_hooks.logger.interval': 50}
    )
    demo = Config.fromfile(DIGITS)
    cfg.train_dataloader.dataset.num_images = 2 * 62  # as many iterations as the demo has
    cfg.train_cfg, cfg.param_scheduler = demo.train_cfg, demo.param_scheduler
    cfg.custom_hooks[1] = demo.custom_hooks[1]
    cfg.dump(str(tmp_path / 'tiny.py'))
    paths = (
        f'DEMO={tmp_path}/demo',
        f'CONFIG={tmp_path}/tiny.py',
        f'BIN={Path(sys.executable).parent}',
    )
    command = ['make', '--no-print-directory', '-o', '.venv/installed', 'demo', *paths]
    lines = run_command(*command, cwd=ROOT).splitlines()
    assert len(lines) <= 40, '\n'.join(lines)
    end = '\n'.join(lines[-16:])
    parts = f'picture: {tmp_path}/demo/predictions.png', 'standard, >= 0.5 ', 'next, ', 'report.py '
    places = [end.index(part) for part in parts]
    assert places == sorted(places)
    assert (tmp_path / 'demo' / 'predictions.png').is_file()
    typed = lines[-2]
    run_command(*shlex.split(typed), cwd=ROOT)  # what it says to type next works
    assert (tmp_path / 'demo' / 'report.html').is_file()


def test_tools_train_test_and_infer(tmp_path, monkeypatch, capsys):
    cfg = tiny_config(tmp_path)
    cfg.dump(str(tmp_path / 'tiny.py'))
    train = [ROOT / 'tools/train.py', 'tiny.py', '--work-dir', 'run']
    terminal = run_command(sys.executable, *train, cwd=tmp_path)
    assert 'Config, environment and hooks are in' in terminal
    assert not re.findall('backbone|deprecated|UserWarning', terminal)  # a page of them, once
    assert len(terminal.splitlines()) < 60
    found = str(find_checkpoint(tmp_path / 'run')).replace(f'{tmp_path}/', '')
    assert f'checkpoint: {found}' in terminal.splitlines()[-3:]
    command = terminal.splitlines()[-1]
    assert command == f'test it: python {ROOT / "tools/test.py"} tiny.py run'
    monkeypatch.chdir(tmp_path)
    run_tool(*TEST[1:], 'predictions.npz')
    printed = capsys.readouterr().out
    assert re.search(r'^standard, >= 0.5 +\d+\.\d\d +\d+ ', printed, re.MULTILINE)
    saved = np.load(tmp_path / 'predictions.npz', allow_pickle=False)
    assert saved['pred'].shape == saved['target'].shape == (12, 10)
    assert saved['classes'].tolist()[:2] == ['zero', 'one']

    checkpoint = find_checkpoint(tmp_path / 'run').path
    inferencer = ImageClassificationInferencer(cfg, pretrained=checkpoint, device='cpu')
    image = np.zeros((128, 128, 3), np.uint8)
    (sample,) = inferencer(image, return_datasamples=True)
    assert sample.pred_score.shape == (10,)
    expected = torch.where(sample.pred_score >= 0.5)[0]
    torch.testing.assert_close(sample.pred_label, expected)


def test_contrastive_stage_starts_at_its_epoch_and_survives_resume(tmp_path):
    cfg = tiny_config(tmp_path, begin=2, epochs=3)
    runner = Runner.from_cfg(cfg)
    runner.train()
    losses = logged_losses(cfg.work_dir)
    assert [epoch for epoch, *_ in losses] == [1, 1, 2, 2, 3, 3]
    assert all(sscl == pscl == 0 for epoch, sscl, pscl in losses if epoch == 1)
    assert all(sscl > 0 and pscl > 0 for epoch, sscl, pscl in losses if epoch > 1)

    # Resumed from the first checkpoint after the switch: same losses on, same prototypes and bank
    resumed_cfg = tiny_config(tmp_path / 'resumed', begin=2, epochs=3)
    resumed_cfg.resume = True
    resumed_cfg.load_from = str(Path(cfg.work_dir) / 'epoch_2.pth')
    resumed = Runner.from_cfg(resumed_cfg)
    saved = torch.load(resumed_cfg.load_from, weights_only=False)
    raw = {name[7:]: value for name, value in saved['ema_state_dict'].items() if '.' in name}
    seen = {}

    def look(runner):
        head = runner.model.head
        seen.update(
            on=head.contrastive,
            epoch=runner.epoch,
            prototypes=head.prototypes.detach().clone(),
            bank=head.memory_bank.clone(),
        )

    before_each_epoch(resumed, look)
    resumed.train()
    assert seen['on'] and seen['epoch'] == 2
    torch.testing.assert_close(seen['prototypes'], raw['head.prototypes'], rtol=0, atol=0)
    bank = saved['state_dict']['head.memory_bank']
    torch.testing.assert_close(seen['bank'], bank, rtol=0, atol=0)
    assert all(sscl > 0 for _, sscl, _ in logged_losses(resumed_cfg.work_dir))


def test_prototypes_are_those_of_the_averaged_weights_under_the_test_pipeline(tmp_path):
    cfg = tiny_config(tmp_path, begin=2, epochs=2)
    # a training pipeline that destroys the image: prototypes must not see it
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='RandomErasing', erase_prob=1.0, min_area_ratio=0.9, max_area_ratio=0.95),
        dict(type='PackInputs'),
    ]
    runner = Runner.from_cfg(cfg)
    seen = {}
    (hook,) = [hook for hook in runner.hooks if type(hook).__name__ == 'PrototypeHook']
    start = hook.before_train_epoch

    def spy(runner):
        ema = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model')).ema_model
        average = {name: value.clone() for name, value in ema.module.state_dict().items()}
        start(runner)
        if runner.epoch + 1 == 2:
            head = runner.model.head
            seen.update(
                average=average,
                prototypes=head.prototypes.detach().clone(),
                bank=head.memory_bank.clone(),
                state=len(runner.optim_wrapper.optimizer.state),
                ema=ema.module.head.prototypes.detach().clone(),
                steps=int(ema.steps),
            )

    hook.before_train_epoch = spy
    runner.train()

    model = runner.model
    model.load_state_dict(seen['average'])
    train = cfg.train_dataloader.dataset
    loader = Runner.build_dataloader(
        dict(
            batch_size=5,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset={**train, 'pipeline': cfg.test_dataloader.dataset.pipeline},
        )
    )
    sums, counts, _ = class_means(model, loader, threshold=0.0)
    expected = sums / counts.clamp(min=1)[:, None]
    torch.testing.assert_close(seen['prototypes'], expected)
    torch.testing.assert_close(seen['bank'], seen['prototypes'].expand_as(seen['bank']))
    assert torch.equal(seen['ema'], seen['prototypes'])
    assert seen['state'] == 0 and seen['steps'] == 1


@pytest.mark.slow
def test_second_stage_alone_starts_from_loaded_weights(tmp_path):
    first = tiny_config(tmp_path, begin=2, epochs=2)
    Runner.from_cfg(first).train()
    cfg = tiny_config(tmp_path, begin=1, epochs=1)
    cfg.work_dir = str(tmp_path / 'second')
    cfg.load_from = str(Path(first.work_dir) / 'epoch_1.pth')
    Runner.from_cfg(cfg).train()
    assert all(sscl > 0 and pscl > 0 for _, sscl, pscl in logged_losses(cfg.work_dir))


AVERAGE, STAGE = dict(type='ForeachEMAHook', horizon=0.1), dict(type='PrototypeHook')


@pytest.mark.parametrize(
    'changes, error, message',
    [
        ({'model.head.bank_slots': 4}, ValueError, 'batch_size is 8 and the memory bank has 4'),
        ({'data_preprocessor.to_onehot': False}, ValueError, 'to_onehot=True'),
        ({'train_dataloader.dataset': REPEATED}, ValueError, 'without a wrapper'),
        (
            {'model.neck.num_classes': 20, 'model.head.num_classes': 20},
            ValueError,
            r'DigitScenes has 10 classes.*num_classes=20',
        ),
        (
            {'model.head.loss_sscl': None, 'model.head.loss_pscl': None},
            ValueError,
            '^PrototypeHook needs .*remove the hook',
        ),
        (dict(begin=5), ValueError, 'begin=5.*2 epochs'),  # it never starts
        (
            {'custom_hooks': [AVERAGE, STAGE, dict(type='EarlyStoppingHook', monitor='mAP')]},
            ValueError,
            r"^EarlyStoppingHook would .*'StageEarlyStoppingHook', next_stage=2\) instead",
        ),
        (dict(begin=1), RuntimeError, 'add --cfg-options load_from'),  # untrained weights
        (dict(begin=1, resume=True), RuntimeError, 'none are given'),  # there is no checkpoint
    ],
)
def test_what_cannot_work_fails_before_the_first_epoch(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        Runner.from_cfg(tiny_config(tmp_path, **changes)).train()


def test_second_stage_starts_from_the_best_of_the_first(tmp_path):
    cfg = tiny_config(tmp_path, begin=3, epochs=3)
    cfg.custom_hooks[1].start_from = 'best'
    cfg.val_evaluator = dict(type='ScriptedMetric', scores=[50.0, 40.0, 60.0])  # epoch 1 is best
    runner = Runner.from_cfg(cfg)
    seen = []
    before_each_epoch(runner, lambda runner: seen.append(copy.deepcopy(runner.model.state_dict())))
    runner.train()
    best = torch.load(Path(cfg.work_dir) / 'epoch_1.pth', weights_only=False)['state_dict']
    same = [name for name in best if name.startswith(('backbone.', 'neck.', 'head.fc.'))]
    for name in same:
        torch.testing.assert_close(seen[2][name], best[name], rtol=0, atol=0, msg=name)


def test_the_stage_starts_from_prototypes_of_a_file(tmp_path):
    given = np.random.default_rng(0).normal(size=(10, 16)).astype(np.float32)
    np.save(tmp_path / 'given.npy', given)
    changes = {'model.head.prototypes': str(tmp_path / 'given.npy')}
    # the first stage's weight decay would halve them, were they not read anew
    changes |= {'optim_wrapper.optimizer.lr': 0.1, 'optim_wrapper.optimizer.weight_decay': 5.0}
    runner = Runner.from_cfg(tiny_config(tmp_path, **changes))
    heads = []
    before_each_epoch(runner, lambda runner: heads.append(copy.deepcopy(runner.model.head)))
    runner.train()
    assert [head.contrastive for head in heads] == [False, True]
    torch.testing.assert_close(heads[1].prototypes.data, torch.from_numpy(given), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_on_the_cpu_train_and_test(tmp_path):
    cfg = tiny_config(tmp_path)
    cfg.optim_wrapper.type = 'AmpOptimWrapper'  # falls back to bfloat16 with a notice
    cfg.dump(str(tmp_path / 'tiny.py'))
    output = run_command(
        ROOT / 'tools/dist_train.sh', 'tiny.py', 2, '--work-dir', 'run', cwd=tmp_path
    )
    assert output.count('2 processes on the CPU with gloo') == 1
    assert output.count('falls back to bfloat16') == 1
    losses = logged_losses(tmp_path / 'run')
    assert [epoch for epoch, *_ in losses] == [1, 2]  # 16 images / (2 x 8)
    assert losses[1][1] > 0 and losses[1][2] > 0
    on_two = (ROOT / 'tools/dist_test.sh', 'tiny.py', 'run', 2)
    run_command(*on_two, '--work-dir', 'run/test', '--out', 'two.json', cwd=tmp_path)
    run_command(*TEST, 'one.json', cwd=tmp_path)
    one, two = (json.loads((tmp_path / f'{name}.json').read_text()) for name in ('one', 'two'))
    assert one.keys() == two.keys()
    for key, value in one.items():
        if key.startswith('multi-label/'):
            assert two[key] == pytest.approx(value, abs=1e-4), key


@pytest.mark.slow
@pytest.mark.dist
def test_split_training_has_the_losses_of_one_process(tmp_path):
    losses = {}
    for world in (1, 2):
        # dropout masks are a process's own
        split = {'model.neck.dropout': 0.0, 'train_dataloader.batch_size': BATCH // world}
        cfg = tiny_config(tmp_path, epochs=3, **split, **{'model.head.bank_threshold': 0.1})
        cfg.dump(str(tmp_path / f'{world}.py'))
        train = [ROOT / 'tools/dist_train.sh', f'{world}.py', world]
        if world == 1:
            train = [sys.executable, ROOT / 'tools/train.py', '1.py']
        run_command(*train, '--work-dir', f'run{world}', cwd=tmp_path)
        losses[world] = logged_losses(tmp_path / f'run{world}')
    assert [epoch for epoch, *_ in losses[1]] == [1, 1, 2, 2, 3, 3] and losses[1][-1][1] > 0
    # float32 through some steps of AdamW, which enlarges rounding; test_gather is exact
    torch.testing.assert_close(
        torch.tensor(losses[2]), torch.tensor(losses[1]), rtol=1e-5, atol=1e-7
    )


@pytest.mark.slow
@pytest.mark.dist
def test_eight_processes_on_two_cores_train_and_stop_clean(tmp_path):
    changes = {'train_dataloader.batch_size': 1, 'train_dataloader.dataset.num_images': 16}
    cfg = tiny_config(tmp_path, begin=1, epochs=1, **changes)
    del cfg.custom_hooks[1]  # contrastive from the start
    cfg.dump(str(tmp_path / 'eight.py'))
    run_command(ROOT / 'tools/dist_train.sh', 'eight.py', 8, '--work-dir', 'run', cwd=tmp_path)
    assert [epoch for epoch, *_ in logged_losses(tmp_path / 'run')] == [1, 1]


def test_a_rate_that_falls_on_a_plateau_is_not_lowered_for_what_the_first_stage_scored(tmp_path):
    cfg = tiny_config(tmp_path, begin=3, epochs=6)
    plateau = dict(type='ReduceOnPlateauLR', monitor='multi-label/mAP', rule='greater', patience=1)
    cfg.param_scheduler = [dict(plateau, factor=0.5)]
    cfg.val_evaluator = dict(type='ScriptedMetric', scores=[50.0, 49.0, 10.0, 9.0, 8.0, 7.0])
    runner = Runner.from_cfg(cfg)
    rates = []

    class Spy(Hook):
        priority = 'LOWEST'

        def after_val_epoch(self, runner, metrics=None):
            rates.extend(runner.optim_wrapper.get_lr()['lr'][:1])

    runner.register_hook(Spy())
    runner.train()
    lr = cfg.optim_wrapper.optimizer.lr
    assert rates == [lr] * 4 + [lr / 2] * 2  # two epochs without a gain in the second stage


def test_early_stopping_ends_the_stage_and_each_stage_keeps_its_best(tmp_path):
    cfg = tiny_config(tmp_path, begin=4, epochs=6)
    one_cycle = {**cfg.param_scheduler[0]}
    cfg.param_scheduler = [{**one_cycle, 'begin': 0, 'end': 3}, {**one_cycle, 'begin': 3, 'end': 6}]
    cfg.custom_hooks.append(dict(type='StageEarlyStoppingHook', next_stage=4, patience=1))
    # epoch 2 is no better: the stage ends; epoch 4 is worse than both, and the best of its stage
    cfg.val_evaluator = dict(type='ScriptedMetric', scores=[50.0, 40.0, 10.0, 9.0])
    runner = Runner.from_cfg(cfg)
    rates = []

    class Spy(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            group = runner.optim_wrapper.param_groups[0]
            rates.append((runner.epoch + 1, runner.iter, group['lr'], group['betas'][0]))

    runner.register_hook(Spy())
    runner.train()
    assert [epoch for epoch, *_ in rates] == [1, 1, 2, 2, 4, 4, 5, 5]
    assert [iteration for _, iteration, *_ in rates] == [0, 1, 2, 3, 6, 7, 8, 9]
    # both cycles start alike, and continue alike
    np.testing.assert_allclose([r[2:] for r in rates[:4]], [r[2:] for r in rates[4:]])
    best = sorted(path.name for path in Path(cfg.work_dir).glob('best_*.pth'))
    assert best == ['best_multi-label_mAP_epoch_1.pth', 'best_multi-label_mAP_epoch_4.pth']
    found = {stage: find_checkpoint(cfg.work_dir, stage) for stage in ('best', 'last')}
    assert found == dict(
        best=(f'{cfg.work_dir}/{best[0]}', 1, 1, 2, 50.0),
        last=(f'{cfg.work_dir}/{best[1]}', 2, 4, 8, 10.0),
    )
