"""A training with LoRA from its start to an exported model: weights, resume, and equal scores."""

import re

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from mlic.apis.export import ScoreModel
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.apis.open_run import build_model, open_run
from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.runner.tool_runners import TrainingRunner
from mlic.literals import parse_literals
from tests.helpers import call_tool
from tests.photo_run import SIZE, make_config
from tests.tiny_backbones import SMALL, WIDTH
from tests.tiny_runs import assert_same_end


def lora_config(folder, epochs=2):
    """Photographs under a tiny ViT with LoRA, whose weights are in a file, and a linear head."""
    cfg = make_config(folder)
    vit = dict(type='VisionTransformer', out_type='featmap', **SMALL['VisionTransformer'])
    vit.update(img_size=SIZE, layer_cfgs=dict(drop_path_rate=0.0))
    lora = dict(type='LazyLoRAModel', module=vit, targets=['qkv', 'proj'], rank=2, alpha=4)
    torch.manual_seed(5)
    weights = MODELS.build(vit).state_dict()
    torch.save({f'backbone.{k}': v for k, v in weights.items()}, folder / 'vit.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(folder / 'vit.pth'), prefix='backbone')
    cfg.model.backbone = ConfigDict(lora, module=dict(vit, init_cfg=init_cfg))
    cfg.model.neck = ConfigDict(type='GlobalAveragePooling')
    cfg.model.head = ConfigDict(type='MultiLabelLinearClsHead', num_classes=5, in_channels=WIDTH)
    cfg.optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.05, weight_decay=0.1))
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.5, end=epochs)]
    cfg.train_cfg.max_epochs = epochs
    cfg.default_hooks.checkpoint.max_keep_ckpts = 9
    cfg.default_hooks.checkpoint.pop('save_best')
    cfg.activation_checkpointing = ['backbone.module.layers']
    return cfg


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The folder after two epochs, with its config as a file."""
    folder = tmp_path_factory.mktemp('lora') / 'run'
    cfg = lora_config(folder)
    runner = TrainingRunner.from_cfg(cfg)
    runner.train()
    assert all(layer._compiled_call_impl for layer in runner.model.backbone.module.layers)
    cfg.dump(folder / 'lora.py')
    return folder


@pytest.fixture
def nobody_has_the_weights(run):
    """Those that the training began with."""
    (run / 'vit.pth').rename(run / 'elsewhere.pth')
    yield
    (run / 'elsewhere.pth').rename(run / 'vit.pth')


@pytest.fixture(scope='module')
def checkpoint(run):
    return run / 'work_dirs/run/epoch_2.pth'


@pytest.fixture(scope='module')
def batch():
    return torch.randint(0, 256, (3, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def unmerged_scores(run, checkpoint, batch):
    """Scores of the network as it was trained."""
    cfg = Config.fromfile(run / 'lora.py')
    model = build_model(cfg).eval()
    model.load_state_dict(read_checkpoint(checkpoint)['state_dict'])
    assert len(model.backbone.adapters()) == 4
    with torch.no_grad():
        return ScoreModel(model)(batch.byte())


def test_training_changes_the_updates_and_the_head_alone(run, checkpoint):
    content = read_checkpoint(checkpoint)
    first = read_checkpoint(run / 'work_dirs/run/epoch_1.pth')
    torch.manual_seed(5)
    vit = dict(Config.fromfile(run / 'lora.py').model.backbone.module, init_cfg=None)
    given = MODELS.build(vit).state_dict()
    for part in ('state_dict', 'ema_state_dict'):
        changed = set()
        for name, value in content[part].items():
            if name == 'steps':
                continue
            name = name.removeprefix('module.')
            inner = name.removeprefix('backbone.module.').replace('.original_layer', '')
            if name.startswith('backbone.') and '.lora_' not in name:
                assert_close(value, given[inner], rtol=0, atol=0)
            elif not torch.equal(value, first['state_dict'].get(name, value)):
                changed.add(name)
        assert len([name for name in changed if '.lora_' in name]) == 8
        assert {name for name in changed if '.lora_' not in name} == {
            'head.fc.weight',
            'head.fc.bias',
        }


@pytest.mark.slow
def test_a_resumed_run_ends_as_an_uninterrupted_one(run, checkpoint, tmp_path):
    cfg = Config.fromfile(run / 'lora.py')
    cfg.work_dir, cfg.experiment_name = str(tmp_path), 'resumed_lora'
    cfg.load_from, cfg.resume = str(run / 'work_dirs/run/epoch_1.pth'), True
    TrainingRunner.from_cfg(cfg).train()
    assert_same_end(read_checkpoint(tmp_path / 'epoch_2.pth'), read_checkpoint(checkpoint))


@pytest.mark.usefixtures('nobody_has_the_weights')
def test_an_opened_run_is_merged_and_has_the_same_scores(checkpoint, batch, unmerged_scores):
    for config in (None, checkpoint.parents[2] / 'lora.py'):
        opened = open_run(checkpoint, config)
        assert type(opened.model.backbone).__name__ == opened.config.model.backbone.type
        assert opened.config.model.backbone.type == 'VisionTransformer'
        with torch.no_grad():
            scores = ScoreModel(opened.model)(batch.byte())
        assert_close(scores, unmerged_scores, rtol=0, atol=1e-5)
    assert (unmerged_scores.amax(0) - unmerged_scores.amin(0)).max() > 1e-3


@pytest.mark.usefixtures('nobody_has_the_weights')
def test_infer_and_a_published_file_predict_without_other_files(run, checkpoint, tmp_path, capsys):
    photos = run / 'photos'
    table = tmp_path / 'scores.csv'
    assert call_tool('tools/infer.py', photos, '--checkpoint', checkpoint, '--out', table) is None
    assert call_tool('tools/publish_model.py', checkpoint, tmp_path / 'published') is None
    (published,) = (tmp_path / 'published').glob('*.pth')
    content = read_checkpoint(published)
    assert not [name for name in content['state_dict'] if 'lora' in name or 'original' in name]
    kinds = [
        parse_literals(content['meta'][key])['model']['backbone']['type']
        for key in ('cfg', 'training_cfg')
    ]
    assert kinds == ['VisionTransformer', 'LazyLoRAModel']
    ours, theirs = (MultiLabelInferencer(file)(str(photos)) for file in (published, checkpoint))
    for one, other in zip(ours, theirs):
        assert one == other


@pytest.mark.slow
def test_onnx_is_merged_and_has_the_same_scores(run, checkpoint, batch, unmerged_scores, tmp_path):
    onnx = pytest.importorskip('onnx', reason="needs pip install -e '.[deploy]'")
    onnxruntime = pytest.importorskip('onnxruntime', reason="needs pip install -e '.[deploy]'")
    file = tmp_path / 'model.onnx'
    assert call_tool('tools/deploy/export.py', run / 'lora.py', checkpoint, '--out', file) is None
    names = [each.name for each in onnx.load(file).graph.initializer]
    assert names and not [name for name in names if re.search('lora|original', name)]
    session = onnxruntime.InferenceSession(str(file))
    (found,) = session.run(['scores'], {'images': batch.byte().numpy()})
    assert_close(torch.from_numpy(found), unmerged_scores, rtol=0, atol=1e-4)
