"""Runs of seconds: SADCL on digit scenes, the same in two stages, and a linear model."""

import copy
import itertools
import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import METRICS, MODELS, OPTIM_WRAPPERS
from mmpretrain.structures import DataSample
from torch import nn

import tests.methods  # noqa: F401, whose models are trained
from mlic.engine.optimizers.autocast_optim_wrapper import AutocastOptimWrapper
from tests.helpers import ROOT

# runs of the same second would share a name, and with it mmengine's message hub
RUN_NUMBER = itertools.count()
DIGITS = ROOT / 'configs' / 'sadcl' / 'sadcl_efficientnet-lite0_digits128.py'
TWO_STAGES = ROOT / 'configs' / 'sadcl' / 'sadcl_efficientnet-lite0_digits128_two-stage.py'
IMAGES, BATCH = 16, 8  # two iterations an epoch
EPOCHS, LENGTH = 4, 5  # iterations an epoch; the contrastive stage is epochs 3 and 4

# what makes the demo's config tiny
TINY = {
    'model.backbone.pretrained': False,
    'model.backbone.out_stage': 3,
    'model.neck.in_channels': 40,
    'model.neck.embed_dims': 16,
    'model.neck.feedforward_channels': 16,
    'model.head.in_channels': 16,
    'model.head.proj_channels': 8,
    'model.head.bank_slots': BATCH,
    'train_dataloader.dataset.num_images': IMAGES,
    'train_dataloader.batch_size': BATCH,
    'val_dataloader.dataset.num_images': 12,
    'test_dataloader.dataset.num_images': 12,
    'default_hooks.logger.interval': 1,
    **{
        f'{split}_dataloader.{key}': value
        for split in ('train', 'val', 'test')
        for key, value in dict(num_workers=0, persistent_workers=False).items()
    },
}
RESNET = dict(type='ResNet', depth=18, stem_channels=8, base_channels=8)
BACKBONE = dict(RESNET, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
TDRG = dict(in_channels=(8, 16), embed_dims=8, graph_dims=8, num_layers=1, feedforward_channels=8)
AUGMENTATION = [
    dict(type='RandomResizedCrop', scale=32),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4),
    dict(type='PackInputs'),
]


def sarl_model(num_classes, **head):
    """A ResNet-18 of 64 channels with SARL's neck, untrained; ``head`` is more of the head's."""
    head = head or dict(loss_sscl=None, loss_pscl=None)
    neck = dict(type='SARLNeck', in_channels=64, embed_dims=16, feedforward_channels=16)
    return dict(
        type='ImageClassifier',
        backbone=RESNET,
        neck=dict(neck, num_classes=num_classes),
        head=dict(type='SADCLHead', in_channels=16, num_classes=num_classes, **head),
    )


def plain_model(num_classes):
    """The same backbone with a linear head on its mean."""
    head = dict(type='MultiLabelLinearClsHead', in_channels=64, num_classes=num_classes)
    return dict(sarl_model(1), neck=dict(type='GlobalAveragePooling'), head=head)


def every_model(num_classes):
    """A tiny model of each head of the house, by name."""
    size = dict(in_channels=64, num_classes=num_classes)
    small = dict(in_channels=16, num_classes=num_classes)
    csra = dict(type='CSRAClsHead', num_heads=1, lam=0.5, **size)
    mulcon = dict(type='MulConHead', proj_channels=8, num_views=2, **small)
    plain = plain_model(num_classes)
    ssgrl = dict(type='SSGRLNeck', embed_dims=16, node_channels=12, hidden_channels=8)
    ssgrl.update(vectors=dict(dims=4), classes_at_once=3, **size)
    embeds = dict(type='LabelEmbedHead', **small)
    salgl = dict(type='SALGLNeck', embed_dims=16, node_channels=12, hidden_channels=8, num_heads=2)
    salgl.update(feedforward_channels=8, vectors=dict(dims=4), graph=dict(num_scenes=3), **size)
    return {
        'sadcl': sarl_model(num_classes),
        'mulcon': dict(plain, neck=dict(type='MulConNeck', embed_dims=16, **size), head=mulcon),
        'image-contrast': dict(plain, head=dict(type='ImageContrastHead', proj_channels=8, **size)),
        'ml-decoder': dict(
            plain, neck=None, head=dict(type='MLDecoderHead', embed_dims=16, **size)
        ),
        'c-tran': dict(
            plain, neck=None, head=dict(type='CTranHead', embed_dims=16, num_layers=2, **size)
        ),
        'ccd': dict(plain, neck=None, head=dict(type='CCDHead', **size)),
        'csra': dict(plain, neck=None, head=csra),
        'ml-gcn': dict(
            plain,
            neck=None,
            head=dict(type='MLGCNHead', hidden_channels=8, vectors=dict(dims=4), **size),
        ),
        'add-gcn': dict(
            plain,
            neck=dict(type='ADDGCNNeck', embed_dims=16, **size),
            head=dict(type='ADDGCNHead', **small),
        ),
        'tdrg': dict(
            plain,
            backbone=dict(BACKBONE, out_indices=(0, 1)),
            neck=None,
            head=dict(type='TDRGHead', num_classes=num_classes, **TDRG),
        ),
        'salgl': dict(plain, type='NeckLossClassifier', neck=salgl, head=embeds),
        'ssgrl': dict(plain, neck=ssgrl, head=embeds),
        'mcar': dict(plain, type='MCARClassifier', neck=None, head=dict(type='MCARHead', **size)),
        'r101tf': dict(
            plain,
            neck=dict(
                type='R101TFNeck',
                embed_dims=16,
                num_layers=1,
                feedforward_channels=16,
                vectors=dict(dims=4),
                **size,
            ),
            head=dict(type='R101TFHead', **small),
        ),
        'dsdl': dict(
            plain,
            neck=None,
            head=dict(
                type='DSDLHead',
                hidden_channels=8,
                dictionary_weight=0.1,
                vectors=dict(dims=4),
                **size,
            ),
        ),
        'cpcl': dict(
            plain,
            neck=None,
            head=dict(
                type='CPCLHead',
                hidden_channels=8,
                embed_dims=6,
                vectors=dict(dims=4),
                **size,
            ),
        ),
        'baseline': plain,
    }


# of digit scenes, too: images between 0 and 1
TO_UNIT = dict(type='MultiLabelDataPreprocessor', num_classes=10, mean=[0.0] * 3, std=[255.0] * 3)


def write_teacher(folder, name, classes, seed=0, **preprocessor):
    """A config and a checkpoint of a tiny model of some classes, for a student of TO_UNIT."""
    folder.mkdir()
    torch.manual_seed(seed)
    model = copy.deepcopy(every_model(10)[name])
    prepare = {**TO_UNIT, **preprocessor}
    (folder / 'config.py').write_text(f'model = {model!r}\ndata_preprocessor = {prepare!r}\n')
    weights = MODELS.build(every_model(len(classes))[name]).state_dict()
    content = dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=list(classes))))
    torch.save(content, folder / 'best_mAP.pth')
    return dict(config=str(folder / 'config.py'), checkpoint=str(folder))


def write_run(folder, model, bases=('datasets/digits128', 'default_runtime'), **settings):
    """config.py, and best_mAP.pth of a model of random weights; returns the config's path."""
    bases = [str(ROOT / 'configs/_base_' / f'{base}.py') for base in bases]
    settings = dict(_base_=bases, model=model, **settings)
    text = ''.join(f'{name} = {value!r}\n' for name, value in settings.items())
    (folder / 'config.py').write_text(text)
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(model).state_dict()), folder / 'best_mAP.pth')
    return folder / 'config.py'


def tiny_config(tmp_path, begin=2, epochs=2, **changes):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(DIGITS)
    cfg.merge_from_dict({**TINY, **changes})
    cfg.custom_hooks[1].update(begin=begin, threshold=0.0)
    cfg.param_scheduler[0].end = epochs
    cfg.train_cfg.update(max_epochs=epochs, val_interval=1)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 9
    cfg.work_dir = str(tmp_path / 'work')
    cfg.launcher = 'none'
    cfg.experiment_name = f'tiny_{next(RUN_NUMBER)}'
    return cfg


def logged_losses(work_dir):
    """(epoch, loss_sscl, loss_pscl) of every iteration in the log."""
    (scalars,) = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))[-1:]
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    return [(x['epoch'], x['loss_sscl'], x['loss_pscl']) for x in lines if 'loss_sscl' in x]


def two_stage_config(work_dir, workers=0, persistent=False, **changes):
    """Two stages on digit scenes of 32 px: augmentation, dropout, bfloat16, EMA, validation."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(TWO_STAGES)
    cfg.model.backbone = copy.deepcopy(BACKBONE)
    cfg.merge_from_dict(
        {
            'model.neck': dict(in_channels=16, embed_dims=16, feedforward_channels=16, dropout=0.2),
            'model.head': dict(in_channels=16, proj_channels=8, bank_slots=12, bank_threshold=0.1),
            'default_hooks.logger.interval': 1,
            'randomness': dict(seed=3, deterministic=True),
            'env_cfg.cudnn_benchmark': False,
            'optim_wrapper.type': 'AutocastOptimWrapper',
        }
    )
    for split, number in dict(train=LENGTH * BATCH, val=16, test=16).items():
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = BATCH
        loader.dataset.update(num_images=number, image_size=32)
        loader.update(num_workers=workers, persistent_workers=persistent)
    cfg.train_dataloader.dataset.pipeline = copy.deepcopy(AUGMENTATION)
    half = EPOCHS // 2
    cfg.param_scheduler[0].end = half
    cfg.param_scheduler[1].update(begin=half, end=EPOCHS)
    cfg.custom_hooks[1].update(begin=half + 1, threshold=0.0)
    cfg.custom_hooks.append(dict(type='StageEarlyStoppingHook', next_stage=half + 1, patience=9))
    cfg.train_cfg.max_epochs = EPOCHS
    cfg.work_dir = str(work_dir)
    cfg.launcher = 'none'
    cfg.merge_from_dict(changes)
    cfg.experiment_name = f'resume_{next(RUN_NUMBER)}'
    return cfg


def assert_same(actual, expected, where):
    """Equal to the last bit, through every dict and list."""
    assert type(actual) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(actual, expected), where
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(actual[key], value, f'{where}.{key}')
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(actual[index], value, f'{where}.{index}')
    else:
        assert actual == expected, where


def assert_same_end(actual, expected):
    """Weights, EMA, optimizer, schedules, every rank's buffers, and what stops a stage."""
    parts = 'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'rank_buffers'
    for part in parts:
        assert_same(actual[part], expected[part], part)
    for info in ('stage_stop', 'best_score', 'last_validation'):
        assert_same(*(c['message_hub']['runtime_info'].get(info) for c in (actual, expected)), info)
    for key in ('epoch', 'iter'):
        assert actual['meta'][key] == expected['meta'][key]


@MODELS.register_module()
class ToyModel(BaseModel):
    """A linear model with batch norm and a bank; an image's second value is added to the loss."""

    def __init__(self, grows=False):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.linear = nn.Linear(2, 1)
        self.root = nn.Parameter(torch.zeros(1)) if grows else None
        self.register_buffer('memory_bank', torch.zeros(2))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        inputs = torch.stack(inputs)
        outputs = self.linear(self.norm(inputs))
        if mode != 'loss':
            return [DataSample() for _ in inputs]
        with torch.no_grad():
            self.memory_bank.copy_(inputs.mean(0))
        loss = (outputs**2).mean() + inputs[:, 1].mean()
        if self.root is not None and inputs[0, 1] > 0:
            loss = loss + self.root.sqrt().sum()  # finite forward, infinite backward
        return dict(loss_toy=loss)


@OPTIM_WRAPPERS.register_module()
class ScaledOptimWrapper(AutocastOptimWrapper):
    """What AmpOptimWrapper does with CUDA, on the CPU: autocast and a loss scaler."""

    def __init__(self, dtype=None, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler, self._scale_update_param = torch.amp.GradScaler('cpu'), None

    backward, step = AmpOptimWrapper.backward, AmpOptimWrapper.step


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Scores as they are told."""

    def __init__(self, scores, prefix=None):
        super().__init__(prefix=prefix)
        self.scores = iter(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(mAP=next(self.scores))


class Stop(Exception):
    """Ends a run where a signal would."""


class StopBefore(Hook):
    """Stop a run before an iteration, or in the validation after an epoch."""

    priority = 'HIGHEST'

    def __init__(self, iteration=None, validation=None):
        self.iteration = iteration
        self.validation = validation

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise Stop

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == self.validation:
            raise Stop


class Toys(torch.utils.data.Dataset):
    """Image i is (i, extra[i]); ``data_samples`` has its path."""

    metainfo = dict(classes=('a', 'b'))

    def __init__(self, extra):
        self.extra = extra

    def __len__(self):
        return len(self.extra)

    def __getitem__(self, index):
        sample = DataSample(metainfo=dict(img_path=f'image_{index}.jpg'))
        values = torch.tensor([float(index), self.extra[index]])
        return dict(inputs=values, data_samples=sample)


class Weights(Hook):
    """The parameters and buffers after each iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = []

    def before_train(self, runner):
        self.after_train_iter(runner, -1)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append({k: v.clone() for k, v in runner.model.state_dict().items()})


def toy_loader(extra, batch_size=2, **settings):
    """The config of a loader of toys, without shuffling."""
    return dict(
        batch_size=batch_size,
        dataset=Toys(list(extra)),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        **settings,
    )


def make_runner(
    tmp_path, extra=(0.0,) * 4, epochs=1, accumulative_counts=1, max_in_a_row=2, **changes
):
    """A run of toys: two images a batch, no shuffling."""
    settings = dict(
        model=dict(type='ToyModel'),
        work_dir=str(tmp_path / 'work'),
        train_dataloader=toy_loader(extra),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
            accumulative_counts=accumulative_counts,
        ),
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=1)
        ),
        custom_hooks=[dict(type='FiniteLossHook', max_in_a_row=max_in_a_row)],
        default_scope='mmpretrain',
        experiment_name=f'toy_{next(RUN_NUMBER)}',
        randomness=dict(seed=0),
    )
    runner = Runner(**{**settings, **changes})
    weights = Weights()
    runner.register_hook(weights)
    return runner, weights
