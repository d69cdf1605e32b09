"""How often the host waits for the device in a training step, and what it launches there."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample

import projects.sadcl  # noqa: F401, whose model is trained
from tests.helpers import ROOT
from tests.step_counter import StepCounter
from tests.tiny_runs import RUN_NUMBER

BATCH, WARM_UP, COUNTED = 2, 2, 4
# as many layers as ever, and few channels
SADCL = {
    'model.neck.in_channels': 256,
    'model.neck.embed_dims': 64,
    'model.neck.feedforward_channels': 64,
    'model.head.in_channels': 64,
}
MULCON = {'model.neck.in_channels': 256}
CSRA = {'model.head.in_channels': 256}
C_TRAN = {'model.head.in_channels': 256}
CLIPPED = {**CSRA, 'optim_wrapper.clip_grad': dict(max_norm=1.0)}


@DATASETS.register_module()
class NoiseImages(torch.utils.data.Dataset):
    """Noise of 64 x 64 pixels, with three labels each, and some that nobody looked at."""

    CLASSES = tuple(map(str, range(80)))
    metainfo = dict(classes=CLASSES)

    def __init__(self, unknown=()):
        self.unknown = list(unknown)

    def __len__(self):
        return BATCH * (WARM_UP + COUNTED)

    def __getitem__(self, index):
        labels = [index, (7 * index + 1) % 80, (3 * index + 2) % 80]
        meta = dict(img_path=f'{index}.jpg', gt_label_unknown=self.unknown)
        sample = DataSample(metainfo=meta).set_gt_label(labels)
        image = torch.full((3, 64, 64), 20 * index, dtype=torch.uint8)
        return dict(inputs=image, data_samples=sample)


class Count(Hook):
    """Counts the iterations after the warm-up, logging included."""

    priority = 'HIGHEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == WARM_UP:
            self.counter = StepCounter(runner.model)
            for state in runner.optim_wrapper.optimizer.state.values():
                for tensor in state.values():
                    self.counter.mark(tensor)
            self.counter.__enter__()


class Stop(Hook):
    """Ends the counting before the epoch's last hooks do."""

    priority = 'HIGHEST'

    def __init__(self, count):
        self.count = count

    def after_train_epoch(self, runner):
        self.count.counter.__exit__(None, None, None)


def counted_step(tmp_path, config, unknown=(), **changes):
    """The counter of some iterations of a config's model and hooks."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs' / config)
    cfg.merge_from_dict({'model.backbone.base_channels': 8, 'model.backbone.stem_channels': 8})
    cfg.merge_from_dict(changes)
    cfg.model.backbone.pop('init_cfg', None)
    cfg.train_dataloader = dict(
        batch_size=BATCH,
        dataset=dict(type='NoiseImages', unknown=unknown),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    for split in ('val', 'test'):
        for name in ('dataloader', 'evaluator', 'cfg'):
            cfg.pop(f'{split}_{name}', None)
    for name in ('second_stage', 'auto_scale_lr'):
        cfg.pop(name, None)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if 'EMA' in hook.type]
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
    cfg.param_scheduler = []
    cfg.optim_wrapper.type = 'ScaledOptimWrapper'
    kind = cfg.optim_wrapper.optimizer.type
    kind = 'AdamW' if kind == 'SGD' else kind  # fused SGD still waits
    cfg.optim_wrapper.optimizer = dict(type=kind, lr=1e-4, fused=True)
    cfg.default_hooks.checkpoint = dict(type='AtomicCheckpointHook', interval=-1, save_last=False)
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = f'waits_{next(RUN_NUMBER)}'
    runner = Runner.from_cfg(cfg)
    count = Count()
    runner.register_hook(count)
    runner.register_hook(Stop(count))
    runner.train()
    return count.counter


# Of the waits, each of the three comes once a line of the log, here once in four iterations.
@pytest.mark.slow
@pytest.mark.parametrize(
    'config, changes, launches, unknown',
    [
        ('sadcl/sadcl_r101_coco448.py', SADCL, 1600, []),  # 1,570 counted; 2,561 before
        ('sadcl/sadcl_r101_coco448.py', SADCL, 1600, [60, 61, 62, 79]),
        ('mulcon/mulcon_r101_coco448_stage1.py', MULCON, 1300, []),
        ('csra/csra_r101_coco448.py', CSRA, 1300, []),
        ('csra/csra_r101_coco448.py', CSRA, 1300, [60, 61, 62, 79]),
        ('csra/csra_r101_coco448.py', CLIPPED, 1300, []),  # as configs/foundation clips
        ('c_tran/c-tran_r101_coco576.py', C_TRAN, 1550, []),  # 1,493 counted; labels are drawn
        ('c_tran/c-tran_r101_coco576.py', C_TRAN, 1550, [60, 61, 62, 79]),
    ],
)
def test_a_step_waits_and_launches_no_more_than_it_did(
    tmp_path, config, changes, launches, unknown
):
    counter = counted_step(tmp_path, config, unknown, **changes)
    assert counter.waits.total() / COUNTED <= 3 / COUNTED, counter.waits
    assert counter.launches.total() / COUNTED <= launches, counter.launches.most_common(20)


def test_the_counter_sees_what_waits():
    layer = torch.nn.Linear(2, 2)
    counter, host = StepCounter(layer), torch.rand(3, 2)
    with counter:
        assert (host > 0.5).nonzero().tolist() is not None  # the host's own matter
        assert not counter.waits and not counter.launches
        out = layer(host.to('cpu', non_blocking=True))
        assert not counter.waits and counter.launches.total() == 2
        for ask in (
            lambda: host.to('cpu'),
            lambda: out.sum().item(),
            lambda: bool(out.isnan().any()),
            lambda: (out > 0).nonzero(),
            lambda: out[out > 0],
            lambda: out.detach().tolist(),
            lambda: out.detach().cpu(),
            lambda: torch.equal(out, out),
        ):
            before = counter.waits.total()
            ask()
            assert counter.waits.total() == before + 1, counter.waits
        before = counter.launches.total()
        out.sum().backward()
        assert counter.launches.total() >= before + 2
