"""A tiny training on photographs of five classes, with all that predicting needs."""

import json

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

import projects.sadcl  # noqa: F401, whose model is trained
from tests.helpers import ROOT

CLASSES = ['cat', 'dog', 'red fox', 'straße', 'tree']
NUM_IMAGES, SIZE = 6, 32

CONFIG = """
_base_ = {base!r}
pipeline = [dict(type='LoadImageStrict'), dict(type='Resize', scale=(32, 32)),
            dict(type='PackInputs')]
data = dict(type='MultiLabelDataset', ann_file={ann_file!r}, pipeline=pipeline)
test_dataloader = dict(
    batch_size=4, num_workers=0, dataset=data, persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate'))
val_dataloader = train_dataloader = test_dataloader
test_evaluator = val_evaluator = dict(type='MLICMetric')
data_preprocessor = dict(num_classes=5, mean=[120.0, 110.0, 100.0], std=[60.0, 55.0, 50.0],
                         to_rgb=True, to_onehot=True)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, num_stages=2,
                  strides=(1, 2), dilations=(1, 1), out_indices=(1,)),
    neck=dict(type='SARLNeck', in_channels=16, num_classes=5, embed_dims=16, num_decoder_layers=1,
              feedforward_channels=16),
    head=dict(type='SADCLHead', num_classes=5, in_channels=16, proj_channels=8, bank_slots=4))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=1e-4))
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=9)
val_cfg = test_cfg = dict()
custom_hooks = [dict(type='EMAHook', momentum=0.5)]
"""


def write_images(folder):
    """Images of different sizes, and the list of their labels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    entries = []
    for index in range(NUM_IMAGES):
        coarse = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        path = folder / f'photo {index}.png'
        Image.fromarray(coarse).resize((40 + 9 * index, 70 - 5 * index)).save(path)
        entries.append(dict(img_path=str(path), gt_label=[index % 5, (index + 1) % 5]))
    return dict(metainfo=dict(classes=CLASSES), data_list=entries)


def make_config(folder):
    """A folder with photos/ and config.py; returns the config, whose work_dirs/run is there."""
    data = write_images(folder / 'photos')
    (folder / 'data.json').write_text(json.dumps(data))
    base = str(ROOT / 'configs/_base_/default_runtime.py')
    text = CONFIG.format(base=base, ann_file=str(folder / 'data.json'))
    (folder / 'config.py').write_text(text)
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(folder / 'config.py')
    cfg.work_dir = str(folder / 'work_dirs/run')
    cfg.experiment_name = f'tiny_{folder.parent.name}-{folder.name}'
    return cfg


def make_run(folder):
    """The same folder after a real, tiny training."""
    Runner.from_cfg(make_config(folder)).train()
    return folder
