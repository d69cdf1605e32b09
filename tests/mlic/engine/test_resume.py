"""A run that is stopped and resumed ends bit for bit where the uninterrupted one ends."""

import copy
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, METRICS, TRANSFORMS
from torch.utils.data import DataLoader

from mlic.engine.config.device import adapt_to_device
from mlic.engine.hooks.mid_epoch_resume_hook import SkippingSampler, _keep_fused, _lay_out_states
from mlic.engine.hooks.seed_hook import OF_ITERATION, SeededFetch, SeedHook, seed_generators
from mlic.engine.runner.class_means import training_means
from tests.helpers import run_ranks
from tests.tiny_runs import (
    BATCH,
    EPOCHS,
    LENGTH,
    RUN_NUMBER,
    Stop,
    StopBefore,
    assert_same_end,
    make_runner,
    two_stage_config,
)


def train(cfg, resume=False, hooks=(), draws=0):
    """A run of a process whose generators stand anywhere."""
    cfg = copy.deepcopy(cfg)
    cfg.resume = resume
    cfg.experiment_name = f'resume_{next(RUN_NUMBER)}'
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    if resume:
        torch.rand(7 + draws)
    try:
        runner.train()
    finally:
        for loader in (runner.train_dataloader, runner.val_dataloader):
            if getattr(loader, '_iterator', None) is not None:
                loader._iterator._shutdown_workers()  # persistent ones outlive the exception
    return runner


def train_with_stops(cfg, stops):
    """Stop and resume at each of ``stops``, then run to the end."""
    for number, stop in enumerate(stops):
        with pytest.raises(Stop):
            train(cfg, resume=number > 0, hooks=[StopBefore(**stop)], draws=number)
    return train(cfg, resume=True, draws=len(stops))


def final_checkpoint(work_dir, name=f'epoch_{EPOCHS}.pth'):
    return torch.load(Path(work_dir) / name, map_location='cpu', weights_only=False)


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    """The end of the uninterrupted run; every test's run must end there."""
    work_dir = tmp_path_factory.mktemp('straight')
    train(two_stage_config(work_dir))
    return final_checkpoint(work_dir)


# ---------------------------------------------------------------- the whole run


def test_the_run_under_test_uses_everything_that_draws(straight):
    bank = straight['state_dict']['head.memory_bank']
    prototypes = bank[-1]  # a slot that no batch reaches
    assert not torch.equal(bank[0], prototypes)
    weights, averages = straight['ema_state_dict'], straight['state_dict']
    assert not torch.equal(weights['module.head.fc.weight'], averages['head.fc.weight'])
    assert any('running_mean' in name for name in averages)


@pytest.mark.parametrize(
    'workers, persistent, stops',
    [
        (0, False, [dict(iteration=LENGTH + 2), dict(validation=3), dict(validation=EPOCHS)]),
        pytest.param(2, False, [dict(iteration=2 * LENGTH)], marks=pytest.mark.slow),
        pytest.param(1, True, [dict(validation=2)], marks=pytest.mark.slow),
    ],
    ids=['0', '2', '1-persistent'],
)
def test_resume_from_epoch_ends_is_exact(tmp_path, straight, workers, persistent, stops):
    train_with_stops(two_stage_config(tmp_path, workers, persistent), stops)
    assert_same_end(final_checkpoint(tmp_path), straight)


@pytest.mark.slow
def test_resume_with_unknown_labels_is_exact(tmp_path, straight):
    ends = []
    for name, stops in (('straight', ()), ('resumed', [dict(iteration=LENGTH + 2)])):
        cfg = two_stage_config(tmp_path / name)
        hidden = dict(type='HideLabels', of='DigitScenes', share=0.5)
        cfg.train_dataloader.dataset.update(hidden)
        train_with_stops(cfg, stops) if stops else train(cfg)
        ends.append(final_checkpoint(tmp_path / name))
    assert_same_end(*reversed(ends))
    weight = 'head.fc.weight'
    assert not torch.equal(ends[0]['state_dict'][weight], straight['state_dict'][weight])


def test_resume_within_an_epoch_is_exact(tmp_path, straight):
    interval = 3  # of 5 iterations an epoch; 12 lies in the first epoch of the second stage
    cfg = two_stage_config(tmp_path, workers=2, persistent=True)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=interval, max_keep_ckpts=-1)
    seen = []

    class Seen(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.epoch, runner.iter, batch_idx))

    for number, stop in enumerate((4, 7, 13)):
        with pytest.raises(Stop):
            hooks = [Seen(), StopBefore(iteration=stop)]
            train(cfg, resume=number > 0, hooks=hooks, draws=number)
    cfg.train_dataloader.persistent_workers = False  # nor does it depend on that
    train(cfg, resume=True, hooks=[Seen()])
    last = final_checkpoint(tmp_path, f'iter_{EPOCHS * LENGTH}.pth')
    if last['meta']['epoch'] == EPOCHS - 1:  # the best score did not save it again
        last['meta']['epoch'] = EPOCHS
        infos, expected = (end['message_hub']['runtime_info'] for end in (last, straight))
        infos.update({name: expected[name] for name in ('stage_stop', 'last_validation')})
    assert_same_end(last, straight)
    resumed_at = [now for now, before in zip(seen[1:], seen) if now[1] <= before[1]]
    assert resumed_at == [(0, 3, 3), (1, 6, 1), (2, 12, 2)]
    assert all(batch == iteration - epoch * LENGTH for epoch, iteration, batch in seen)
    assert [iteration for _, iteration, _ in seen[-3:]] == [17, 18, 19]


def test_the_seed_of_a_run_without_one_is_resumed(tmp_path):
    cfg = two_stage_config(tmp_path)
    cfg.randomness = dict(seed=None)
    indices = []

    class Indices(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            indices.append([sample.img_path for sample in data_batch['data_samples']])

    with pytest.raises(Stop):
        train(cfg, hooks=[Indices(), StopBefore(iteration=LENGTH)])
    second_epoch = indices[LENGTH:]
    indices.clear()
    with pytest.raises(Stop):
        train(cfg, resume=True, hooks=[Indices(), StopBefore(iteration=LENGTH)])
    assert indices == second_epoch


@METRICS.register_module()
class MetricByEpoch(BaseMetric):
    """Says what it is told to say of each epoch."""

    default_prefix = 'multi-label'

    def __init__(self, values):
        super().__init__()
        self.values = values

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        epoch = MessageHub.get_current_instance().get_info('last_validation')
        return dict(mAP=self.values[epoch - 1])


def test_states_of_the_optimizer_take_the_layout_of_the_weights():
    """A checkpoint of another ``channels_last``, or of a CPU: fused steps go by the memory."""
    torch.manual_seed(0)
    model, images = torch.nn.Conv2d(3, 4, 3), torch.randn(2, 3, 5, 5)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()

    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    step(model, optimizer)
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    resumed = torch.optim.AdamW(other.parameters(), lr=0.1, fused=True)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    resumed.param_groups[0]['fused'] = True
    _lay_out_states(SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=resumed)))
    for parameter, state in resumed.state.items():
        assert state['exp_avg'].stride() == state['exp_avg_sq'].stride() == parameter.stride()
    step(model, optimizer)
    step(other, resumed)
    torch.testing.assert_close(other.weight, model.weight)


@pytest.mark.parametrize('fused', [None, True])
def test_how_adamw_is_computed_is_not_the_checkpoints_matter(fused):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], fused=fused)
    runner = SimpleNamespace(optim_wrapper=SimpleNamespace(optimizer=optimizer))
    checkpoint = dict(optimizer=dict(param_groups=[dict(lr=1.0, fused=not fused or None)]))
    _keep_fused(runner, checkpoint)
    assert checkpoint['optimizer']['param_groups'] == [dict(lr=1.0, fused=fused)]
    # in a test the wrapper is not built
    _keep_fused(SimpleNamespace(optim_wrapper=dict()), checkpoint)
    assert checkpoint['optimizer']['param_groups'] == [dict(lr=1.0, fused=fused)]


@pytest.mark.slow
def test_early_stopping_goes_on_counting(tmp_path):
    def config(name):
        # three epochs without a better one end the stage after its fourth of five
        values = [30.0, 20.0, 21.0, 22.0, 0.0, 10.0, 5.0]
        cfg = two_stage_config(
            tmp_path / name, val_evaluator=dict(_delete_=True, type='MetricByEpoch', values=values)
        )
        cfg.param_scheduler[0].end = 5
        cfg.param_scheduler[1].update(begin=5, end=7)
        cfg.custom_hooks[1].begin = 6
        cfg.custom_hooks[2].update(next_stage=6, patience=3)
        cfg.train_cfg.max_epochs = 7
        return cfg

    train(config('straight'))
    train_with_stops(config('stopped'), [dict(validation=3)])
    ends = [final_checkpoint(tmp_path / name, 'epoch_7.pth') for name in ('stopped', 'straight')]
    assert_same_end(*ends)
    assert ends[1]['message_hub']['runtime_info']['stage_stop']['wait_count'] == 0
    text = ''.join(log.read_text() for log in (tmp_path / 'stopped').glob('*/*.log'))
    assert 'ends the first stage after epoch 4: continuing with epoch 6' in text


# ---------------------------------------------------------------- images


@TRANSFORMS.register_module()
class Draw(BaseTransform):
    """A draw of each generator instead of an image."""

    def transform(self, results):
        draws = [random.random(), np.random.rand(), torch.rand(()).item()]
        return torch.tensor([results['sample_idx'], *draws], dtype=torch.float64)


DRAWS = dict(type='DigitScenes', num_images=6, image_size=32, pipeline=[dict(type='Draw')])


def fetch_epochs(workers=0, context=None, dataset=None, shuffle_seed=0):
    """What each image draws in two epochs: {index: (epochs, draws)}."""
    dataset = dataset or DATASETS.build(DRAWS)
    fetch = dataset.__getitems__ = SeededFetch(dataset, seed=5)
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=DefaultSampler(dataset, seed=shuffle_seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=context,
    )
    epochs = []
    for epoch in (0, 1):
        fetch.epoch.fill_(epoch)
        loader.sampler.set_epoch(epoch)
        rows = torch.cat(list(loader))
        epochs.append(rows[rows[:, 0].argsort(stable=True), 1:])
    return torch.stack(epochs)


def test_augmentation_differs_from_epoch_to_epoch_and_image_to_image():
    draws = fetch_epochs()  # (epochs, images, generators)
    assert draws.shape == (2, 6, 3)
    assert len(draws.unique()) == draws.numel()


@pytest.mark.parametrize(
    'workers, context', [(1, 'fork'), (2, 'fork'), pytest.param(1, 'spawn', marks=pytest.mark.slow)]
)
def test_augmentation_does_not_depend_on_workers_or_order(workers, context):
    expected = fetch_epochs()
    assert torch.equal(fetch_epochs(workers, context, shuffle_seed=1), expected)


def test_wrapped_data_sets_draw_for_every_place():
    for dataset in (RepeatDataset(DRAWS, times=2), ConcatDataset([DRAWS, DRAWS])):
        draws = fetch_epochs(dataset=dataset)
        assert len(draws.unique()) == draws.numel()


def test_fetching_leaves_the_process_generators_alone():
    fetch, draws = SeededFetch(DATASETS.build(DRAWS), seed=0), []
    for between in (lambda: None, lambda: fetch([0, 1])):
        seed_generators(1)
        between()
        draws.append([random.random(), np.random.rand(), *torch.rand(3).tolist()])
    assert draws[0] == draws[1]


@pytest.mark.parametrize('device, seeded', [('cpu', 0), ('cuda', 1), ('mps', 2)])
def test_an_iteration_seeds_what_it_runs_on_and_asks_no_other_device(
    tmp_path, monkeypatch, device, seeded
):
    runner, _ = make_runner(tmp_path)
    weight = SimpleNamespace(device=torch.device(device))
    monkeypatch.setattr(runner.model, 'parameters', lambda: iter([weight]))
    hook, asked = SeedHook(), []
    hook.before_train(runner)
    seed_generators(0, OF_ITERATION, 0, 0)
    expected, seed = torch.rand(3), torch.initial_seed()
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', asked.append)
    monkeypatch.setattr(torch.xpu, 'manual_seed_all', asked.append)
    hook.before_train_iter(runner, 0)
    assert torch.equal(torch.rand(3), expected)
    assert asked == [seed] * seeded


# ---------------------------------------------------------------- positions


def test_skipped_batches_leave_the_rest_of_the_epoch():
    whole = DefaultSampler(range(20), seed=4)
    rest = SkippingSampler(whole, 6)
    rest.set_epoch(3)
    assert whole.epoch == 3
    assert list(rest) == list(whole)[6:]
    assert len(rest) == 20
    assert list(SkippingSampler(whole, 20)) == []


@pytest.fixture(scope='module')
def one_epoch(tmp_path_factory):
    """Checkpoints after iterations 3 and 5 of a run."""
    work_dir = tmp_path_factory.mktemp('one_epoch')
    cfg = two_stage_config(work_dir)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3, max_keep_ckpts=-1)
    with pytest.raises(Stop):
        train(cfg, hooks=[StopBefore(iteration=4)])
    cfg.default_hooks.checkpoint.update(by_epoch=True, interval=1)
    with pytest.raises(Stop):
        train(cfg, hooks=[StopBefore(iteration=LENGTH)])
    return work_dir


def test_schedules_move_to_epochs_of_another_length(tmp_path, one_epoch):
    cfg = two_stage_config(tmp_path, **{'train_dataloader.batch_size': BATCH // 2})
    cfg.load_from = str(one_epoch / 'epoch_1.pth')
    seen = []

    class Seen(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.epoch, runner.iter, batch_idx, runner.optim_wrapper.get_lr()))

    with pytest.raises(Stop):
        train(cfg, resume=True, hooks=[Seen(), StopBefore(iteration=4 * LENGTH + 1)])
    assert seen[0][:3] == (1, 2 * LENGTH, 0)
    # the first cycle ends where the second stage begins
    assert seen[2 * LENGTH - 1][3]['lr'][0] == pytest.approx(2e-9)
    assert seen[2 * LENGTH][:3] == (2, 4 * LENGTH, 0)
    assert seen[2 * LENGTH][3]['lr'][0] == pytest.approx(2e-5)


def test_a_position_within_an_epoch_of_another_length_is_refused(tmp_path, one_epoch):
    cfg = two_stage_config(tmp_path, **{'train_dataloader.batch_size': BATCH // 2})
    cfg.load_from = str(one_epoch / 'iter_3.pth')
    with pytest.raises(ValueError, match='epochs of 5 iterations, and this run has 10'):
        train(cfg, resume=True)


def test_checkpoints_between_two_steps_of_the_optimizer_are_announced(tmp_path):
    cfg = two_stage_config(tmp_path, **{'optim_wrapper.accumulative_counts': 2})
    with pytest.raises(Stop):
        train(cfg, hooks=[StopBefore(iteration=0)])
    (log,) = tmp_path.glob('*/*.log')
    assert 'written every 5 iterations, and the optimizer steps every 2' in log.read_text()


# ---------------------------------------------------------------- ranks


class BankSpy(Hook):
    """Keep the memory bank that the first epoch starts from."""

    priority = 'HIGHEST'

    def before_train_epoch(self, runner):
        head = runner.model.head
        self.bank, self.prototypes = head.memory_bank.clone(), head.prototypes.detach().clone()


@pytest.mark.parametrize('form', ['older', 'named'])
@pytest.mark.parametrize('rows', [BATCH, BATCH + 1])
def test_the_bank_of_two_processes_on_one(tmp_path, one_epoch, rows, form):
    checkpoint = torch.load(one_epoch / 'epoch_1.pth', weights_only=False)
    shape = checkpoint['state_dict']['head.memory_bank'].shape
    of_all = torch.randn(BATCH, *shape[1:])
    bank = dict(memory_bank=of_all) if form == 'older' else dict(rows={'head.memory_bank': of_all})
    shared = dict(world_size=2, batch_size=BATCH // 2, buffers={})
    checkpoint['rank_buffers'] = {**shared, **bank}
    torch.save(checkpoint, tmp_path / 'two.pth')
    cfg = two_stage_config(tmp_path / 'one', **{'train_dataloader.batch_size': rows})
    cfg.train_dataloader.dataset.num_images = rows * LENGTH
    cfg.load_from = str(tmp_path / 'two.pth')
    spy = BankSpy()
    with pytest.raises(Stop):
        train(cfg, resume=True, hooks=[spy, StopBefore(iteration=LENGTH)])
    (log,) = (tmp_path / 'one').glob('*/*.log')
    starts_again = 'starts from the prototypes again' in log.read_text()
    assert starts_again == (rows != BATCH)
    if starts_again:
        assert torch.equal(spy.bank, spy.prototypes.expand_as(spy.bank))
    else:
        assert torch.equal(spy.bank[:BATCH], of_all)


def run_on_two(rank, work_dir):
    """Two processes: a straight run, one with two stops, and one process's bank among them."""
    for name, stops in dict(straight=None, stopped=(7, 3 * LENGTH + 1)).items():
        cfg = two_stage_config(Path(work_dir) / name, **{'train_dataloader.batch_size': BATCH // 2})
        cfg.custom_hooks[0].statistics = True
        cfg.val_evaluator.out_file = str(Path(work_dir) / f'{name}.npz')
        cfg.launcher = 'pytorch'
        adapt_to_device(cfg)
        if stops is None:
            runner = train(cfg)
            model = runner.model.module
            means = training_means(runner, model, 'Means')
            torch.save((model.state_dict(), means), Path(work_dir) / f'rank_{rank}.pth')
        else:
            train_with_stops(cfg, [dict(iteration=stop) for stop in stops])


def run_on_three(rank, work_dir):
    """Three processes: two epochs, and the same with a stop in the second."""
    for name, stops in dict(straight=[], stopped=[LENGTH + 2]).items():
        cfg = two_stage_config(Path(work_dir) / name, **{'train_dataloader.batch_size': 2})
        cfg.train_dataloader.dataset.num_images = 3 * 2 * LENGTH
        cfg.launcher = 'pytorch'
        adapt_to_device(cfg)
        for number, stop in enumerate([*stops, 2 * LENGTH]):
            with pytest.raises(Stop):
                train(cfg, resume=number > 0, hooks=[StopBefore(iteration=stop)], draws=number)


@pytest.mark.dist
def test_resume_on_three_processes_is_exact_though_sums_depend_on_their_order(tmp_path):
    run_ranks(3, run_on_three, tmp_path)
    stopped, straight = (
        final_checkpoint(tmp_path / name, 'epoch_2.pth') for name in ('stopped', 'straight')
    )
    assert_same_end(stopped, straight)


@pytest.fixture(scope='module')
def on_two(tmp_path_factory):
    """The folder of what two processes leave."""
    folder = tmp_path_factory.mktemp('on_two')
    run_ranks(2, run_on_two, folder)
    return folder


@pytest.mark.dist
def test_resume_on_two_processes_is_exact(on_two):
    stopped, straight = (final_checkpoint(on_two / name) for name in ('stopped', 'straight'))
    assert_same_end(stopped, straight)
    banks = straight['rank_buffers']['rows']['head.memory_bank']  # rank 0's rows are even
    assert len(banks) == BATCH
    assert torch.equal(banks[::2], straight['state_dict']['head.memory_bank'][: BATCH // 2])
    assert not torch.equal(banks[::2], banks[1::2])
    # batch norm's statistics differ between processes, and each continues with its own
    names = [x for x in straight['rank_buffers']['buffers'] if x.endswith('running_mean')]
    assert names and {x.startswith('average of ') for x in names} == {True, False}


@pytest.mark.dist
def test_all_processes_validate_and_take_class_means_with_what_is_saved(on_two, tmp_path):
    (own, means), (others, _) = (torch.load(on_two / f'rank_{rank}.pth') for rank in range(2))
    checkpoint = final_checkpoint(on_two / 'straight')
    statistics = checkpoint['rank_buffers']['buffers']
    name = next(name for name in statistics if name in own and name.endswith('running_mean'))
    assert not torch.equal(own[name], others[name])  # they have got back their own
    assert torch.equal(torch.stack([own[name], others[name]]), statistics[name])
    cfg = two_stage_config(tmp_path / 'alone')
    cfg.load_from = str(on_two / 'straight' / f'epoch_{EPOCHS}.pth')
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_evaluator.out_file = str(tmp_path / 'alone.npz')
    runner = Runner.from_cfg(cfg)
    runner.test()
    files = tmp_path / 'alone.npz', on_two / 'straight.npz'
    alone, of_ranks = (np.load(file)['pred'] for file in files)
    np.testing.assert_allclose(of_ranks, alone, rtol=1e-5)
    runner.model.load_state_dict(own)
    torch.testing.assert_close(training_means(runner, runner.model, 'Means'), means)
