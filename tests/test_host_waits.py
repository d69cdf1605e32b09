"""How often the host waits for the device in a training step, and what it launches there."""

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, OPTIM_WRAPPERS
from mmpretrain.structures import DataSample

import projects.sadcl  # noqa: F401, whose model is trained
from mlic.engine.optimizers.autocast_optim_wrapper import AutocastOptimWrapper
from tests.helpers import ROOT
from tests.step_counter import StepCounter
from tests.tiny_runs import RUN_NUMBER

BATCH, WARM_UP, COUNTED = 2, 2, 4
# as many layers as ever, and few channels
NARROW = {
    'model.backbone.base_channels': 8,
    'model.backbone.stem_channels': 8,
    'model.neck.in_channels': 256,
    'model.neck.embed_dims': 64,
    'model.neck.feedforward_channels': 64,
    'model.head.in_channels': 64,
}


@OPTIM_WRAPPERS.register_module()
class ScaledOptimWrapper(AutocastOptimWrapper):
    """What AmpOptimWrapper does with CUDA, on the CPU: autocast and a loss scaler."""

    def __init__(self, dtype=None, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler, self._scale_update_param = torch.amp.GradScaler('cpu'), None

    backward, step = AmpOptimWrapper.backward, AmpOptimWrapper.step


@DATASETS.register_module()
class NoiseImages(torch.utils.data.Dataset):
    """Noise of 64 x 64 pixels, with three labels each."""

    CLASSES = tuple(map(str, range(80)))
    metainfo = dict(classes=CLASSES)

    def __len__(self):
        return BATCH * (WARM_UP + COUNTED)

    def __getitem__(self, index):
        labels = [index, (7 * index + 1) % 80, (3 * index + 2) % 80]
        sample = DataSample(metainfo=dict(img_path=f'{index}.jpg')).set_gt_label(labels)
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


def counted_step(tmp_path, config, **changes):
    """The counter of some iterations of a config's model and hooks."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs' / config)
    cfg.merge_from_dict({**NARROW, **changes})
    cfg.model.backbone.pop('init_cfg', None)
    cfg.train_dataloader = dict(
        batch_size=BATCH,
        dataset=dict(type='NoiseImages'),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    for name in ('val_dataloader', 'val_evaluator', 'val_cfg', 'second_stage'):
        cfg.pop(name, None)
    for name in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg.pop(name, None)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if 'EMA' in hook.type]
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
    cfg.param_scheduler = []
    cfg.optim_wrapper.type = 'ScaledOptimWrapper'
    cfg.optim_wrapper.optimizer.fused = True
    cfg.default_hooks.checkpoint = dict(type='AtomicCheckpointHook', interval=-1, save_last=False)
    cfg.pop('auto_scale_lr', None)
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = f'waits_{next(RUN_NUMBER)}'
    runner = Runner.from_cfg(cfg)
    count = Count()
    runner.register_hook(count)
    runner.register_hook(Stop(count))
    runner.train()
    return count.counter


def test_print(tmp_path):
    counter = counted_step(tmp_path, 'sadcl/sadcl_r101_coco448.py')
    print({k: v / COUNTED for k, v in counter.waits.most_common()})
    print(sum(counter.waits.values()) / COUNTED, sum(counter.launches.values()) / COUNTED)
    print({k: v / COUNTED for k, v in counter.launches.most_common(40)})
