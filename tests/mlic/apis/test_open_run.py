"""Opening a run: one check of weights and of classes in their order, at every door."""

import argparse
import json
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain import FeatureExtractor, ImageClassificationInferencer
from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.registry import MODELS
from torch import nn
from torch.testing import assert_close

from mlic.apis.inferencer import MultiLabelInferencer
from mlic.apis.open_run import data_classes, open_run
from mlic.cli.publish_model import publish
from mlic.datasets import LoadImageStrict
from mlic.engine.checkpoints.matching import CheckpointError
from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.config.device import CHANNELS_LAST
from mlic.evaluation.predictions import read_predictions
from mlic.models.training_parts import TrainingParts
from tests.helpers import call_tool
from tests.photo_run import CLASSES


@pytest.fixture(scope='module')
def run(run):
    """A tiny run, and a config whose data have its classes from the last to the first."""
    content = json.loads((run / 'data.json').read_text())
    content['metainfo']['classes'].reverse()
    for item in content['data_list']:
        item['gt_label'] = [4 - label for label in item['gt_label']]
    (run / 'reversed.json').write_text(json.dumps(content))
    (run / 'reversed.py').write_text(
        "_base_ = 'config.py'\n"
        f'data = dict(dataset=dict(ann_file={str(run / "reversed.json")!r}))\n'
        'train_dataloader = val_dataloader = test_dataloader = data\n'
    )
    return run


# the arguments of each tool, C the config and W the work directory
DOORS = {
    'test': 'tools/test.py C W --work-dir OUT',
    'infer': 'tools/infer.py PHOTOS --checkpoint W --config C --out OUT',
    'compute_prototypes': 'tools/compute_prototypes.py C W --out OUT.npy',
    'resume': 'tools/train.py C --work-dir W --resume',
    'report': 'tools/analysis_tools/report.py C W --out OUT.html',
    'show_attention': 'tools/analysis_tools/show_attention.py C W --out OUT.png',
    'localize': 'tools/analysis_tools/localize.py C W --masks PHOTOS --out OUT.json',
    'plot_embeddings': 'tools/analysis_tools/plot_embeddings.py C W --out OUT.png',
    'measure_embeddings': 'tools/analysis_tools/measure_embeddings.py C W --out OUT.json',
    'export': 'tools/deploy/export.py C W --out OUT.pt2 --format torch-export',
    'verify': 'tools/deploy/verify.py C W OUT.pt2',
    'publish': 'tools/publish_model.py W OUT --config C',
}


@pytest.mark.parametrize('door', DOORS)
def test_reversed_classes_are_refused_in_one_line(run, tmp_path, door, capsys):
    places = dict(C=run / 'reversed.py', W=run / 'work_dirs/run', PHOTOS=run / 'photos')
    tool, *arguments = DOORS[door].replace('OUT', str(tmp_path / 'out')).split()
    message = call_tool(tool, *(places.get(name, name) for name in arguments))
    assert message.startswith('error: ') and '\n' not in message
    # a resumed run's settings that differ have a line each, before the last one
    lines = capsys.readouterr().out if door == 'resume' else message
    assert "in another order than the data: number 0 is 'cat' in the checkpoint" in lines
    assert 'work_dirs/run' in message
    assert not list(tmp_path.glob('out.*'))


def make_runner(run, tmp_path, config, **settings):
    """mmengine's own Runner, as mmpretrain's train.py and test.py start it."""
    cfg = Config.fromfile(run / config)
    cfg.work_dir, cfg.experiment_name = str(tmp_path), f'open_{tmp_path.name}'
    cfg.update(settings)
    return Runner.from_cfg(cfg)


def test_reversed_classes_are_refused_by_the_hooks_alone(run, tmp_path):
    checkpoint = str(run / 'work_dirs/run/epoch_1.pth')
    for start, settings in (('train', dict(resume=True)), ('test', {})):
        runner = make_runner(run, tmp_path, 'reversed.py', load_from=checkpoint, **settings)
        with pytest.raises(CheckpointError, match='epoch_1.pth has the classes in another order'):
            getattr(runner, start)()


@pytest.mark.parametrize('config', ['config.py', 'reversed.py'])
def test_load_from_says_what_it_does_with_other_classes(run, tmp_path, config):
    checkpoint = str(run / 'work_dirs/run/epoch_1.pth')
    runner = make_runner(run, tmp_path, config, load_from=checkpoint)
    runner.train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    says_so = '5 classes taken over by name, 0 new, 0 left out' in log
    assert says_so == (config == 'reversed.py')
    assert (tmp_path / 'epoch_1.pth').is_file()


@pytest.mark.parametrize('last', [True, False])
def test_the_channels_are_last_on_a_cpu_where_that_is_faster(run, monkeypatch, last):
    cfg = Config.fromfile(run / 'config.py')
    monkeypatch.setitem(CHANNELS_LAST, 'cpu', (cfg.model.backbone.type,) * last)
    model = open_run(run / 'work_dirs/run', device='cpu').model
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    (*_, weight) = [w for w in (layer.weight for layer in layers) if min(w.shape) > 1]
    assert weight.is_contiguous(memory_format=torch.channels_last) is last


def test_what_is_no_path_is_refused_with_its_type(run):
    with pytest.raises(TypeError, match='^expected str, bytes or os.PathLike object, not Linear$'):
        open_run(nn.Linear(1, 1))
    with pytest.raises(TypeError, match='^expected str, bytes or os.PathLike object, not dict$'):
        open_run(run / 'work_dirs/run', {})


def test_a_work_directory_opens_with_its_config_or_with_a_file(run):
    work_dir = run / 'work_dirs/run'
    stored, given = open_run(work_dir), open_run(work_dir, run / 'config.py')
    best = next(work_dir.glob('best_*.pth'))
    for opened in (stored, given):
        assert opened.checkpoint.path == str(best) and opened.checkpoint.epoch == 1
        assert opened.classes == CLASSES and not opened.model.training
        assert opened.meta['dataset_meta']['classes'] == CLASSES
        assert opened.model.head.projector is None
    options = {'model.head.topk': 2}
    whole = open_run(work_dir, run / 'config.py', cfg_options=options, training_parts=True)
    assert whole.model.head.topk == 2
    weights = read_checkpoint(best)['state_dict']
    torch.testing.assert_close(dict(whole.model.state_dict()), dict(weights), rtol=0, atol=0)


CONSTANT = "[dict(type='Constant', layer=['Conv2d', 'BatchNorm2d'], val=0.25)]"


@pytest.mark.parametrize('start', [CONSTANT, 'None', ''], ids=['pretrained', 'random', 'no images'])
def test_a_checkpoint_of_stored_features_gets_the_pretrained_backbone(run, tmp_path, start, capsys):
    content = read_checkpoint(next((run / 'work_dirs/run').glob('best_*.pth')))
    weights = {k: v for k, v in content['state_dict'].items() if not k.startswith('backbone.')}
    content['meta']['cfg'] = "model = dict(backbone=dict(type='StoredFeatures'))"
    torch.save(dict(state_dict=weights, meta=content['meta']), tmp_path / 'best_mAP.pth')
    config = tmp_path / 'images.py'
    backbone = f'init_cfg={start}' if start else "type='StoredFeatures', _delete_=True"
    model = f'model = dict(backbone=dict({backbone}))'
    config.write_text(f'_base_ = {str(run / "config.py")!r}\n{model}\n')
    if start == 'None':  # nobody knows with which backbone it was trained
        with pytest.raises(CheckpointError, match=r'lacks weights of the config: backbone\.'):
            open_run(tmp_path / 'best_mAP.pth', config)
        return
    MMLogger.get_instance('of this test')
    opened = open_run(tmp_path / 'best_mAP.pth', config).model.state_dict()
    lines = ''.join(capsys.readouterr()).splitlines()
    assert len(lines) == bool(start)  # not one for each weight
    assert not start or (opened['backbone.conv1.weight'] == 0.25).all()
    assert all(
        torch.equal(opened[name], value) for name, value in weights.items() if name in opened
    )
    if start != CONSTANT:
        return
    # testing opens it by another way, and gives the scores of the two together
    whole = weights | {k: v for k, v in opened.items() if k.startswith('backbone.')}
    torch.save(dict(state_dict=whole, meta=content['meta']), tmp_path / 'whole.pth')
    scores = []
    for name in ('best_mAP', 'whole'):
        outputs = '--work-dir', tmp_path / 'test', '--out', tmp_path / f'{name}.npz'
        assert call_tool('tools/test.py', config, tmp_path / f'{name}.pth', *outputs) is None
        scores.append(read_predictions(tmp_path / f'{name}.npz')[0].pred)
    assert np.array_equal(*scores)


def test_a_checkpoint_that_lost_its_backbone_is_refused(run, tmp_path):
    content = read_checkpoint(next((run / 'work_dirs/run').glob('best_*.pth')))
    for name in [name for name in content['state_dict'] if name.startswith('backbone.')]:
        del content['state_dict'][name]
    content['meta']['cfg'] += "\nnote = 'StoredFeatures'\n"  # its backbone is another one
    torch.save(dict(state_dict=content['state_dict'], meta=content['meta']), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'lacks weights of the config: backbone\.'):
        open_run(tmp_path / 'a.pth', run / 'config.py')


@pytest.mark.parametrize(
    'dataset, expected',
    [
        (dict(type='DigitScenes', split='test', num_images=2), 'zero'),
        (dict(type='COCOMultiLabel', ann_file='absent.json', class_order='alphabetical'), 'airpl'),
        (dict(type='VG500', ann_file='absent.txt'), 'class_000'),
        (dict(type='MultiLabelDataset', ann_file='absent.json'), None),
        (dict(type='MultiLabelDataset', ann_file='absent.json', classes=['b', 'a']), 'b'),
    ],
    ids=str,
)
def test_classes_of_data_that_are_not_there(dataset, expected):
    init_default_scope('mmpretrain')
    for wrapped in (dataset, dict(type='RepeatDataset', times=2, dataset=dataset)):
        names = data_classes(Config(dict(dataset=wrapped)).dataset)
        assert names is None if expected is None else names[0].startswith(expected)


# ---------------------------------------------------------------- a head of one's own


@MODELS.register_module()
class OwnHead(TrainingParts, MultiLabelLinearClsHead):
    """A part for training alone, which it names."""

    training_only = ('teacher',)
    off_in_prediction = ('loss_teacher',)

    def __init__(self, loss_teacher=None, **kwargs):
        super().__init__(**kwargs)
        self.teacher = loss_teacher and nn.Linear(2, 2)


OWN_MODEL = dict(
    type='ImageClassifier',
    backbone=dict(type='LeNet5'),
    head=dict(type='OwnHead', num_classes=3, in_channels=4),
)


def published_names(tmp_path, model, **settings):
    """The names of the weights in the published checkpoint of a model."""
    init_default_scope('mmpretrain')
    cfg = Config(dict(model=model, **settings))
    weights = MODELS.build(model).state_dict()
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=list('abc')))
    torch.save(dict(meta=meta, state_dict=weights), tmp_path / 'trained.pth')
    args = dict(source=tmp_path / 'trained.pth', target=tmp_path, config=None, stage='best')
    options = dict(allow_import=['tests'], threshold=None, pred=None, format='pth')
    published = publish(argparse.Namespace(**args, **options))
    return weights.keys(), read_checkpoint(published)['state_dict'].keys()


def test_a_head_of_ones_own_is_published_without_what_only_training_needs(tmp_path):
    head = dict(OWN_MODEL['head'], loss_teacher=dict(weight=1.0))
    trained, published = published_names(tmp_path, dict(OWN_MODEL, head=head))
    assert trained - published == {'head.teacher.weight', 'head.teacher.bias'}


def test_a_scope_that_a_checkpoint_names_is_not_imported(tmp_path):
    with pytest.raises(ValueError, match="trained.pth has default_scope='antigravity'"):
        published_names(tmp_path, OWN_MODEL, default_scope='antigravity')
    assert 'antigravity' not in sys.modules


def test_mulcon_is_published_without_its_projector(tmp_path):
    import projects.mulcon  # noqa: F401

    neck = dict(type='MulConNeck', in_channels=4, num_classes=3, embed_dims=8)
    head = dict(type='MulConHead', num_classes=3, in_channels=8, denominator_size=9)
    head['loss_con'] = dict(type='SSCLLoss', anchors='all')
    trained, published = published_names(tmp_path, dict(OWN_MODEL, neck=neck, head=head))
    unpublished = {name.rpartition('.')[0] for name in trained - published}
    assert unpublished == {'head.projector.0', 'head.projector.2'}
    assert {'head.fc.weight', 'head.fc.bias'} <= published


def test_a_given_config_stays_as_it_is(run):
    given = Config.fromfile(run / 'config.py')
    given.test_dataloader.dataset.pipeline[0]['type'] = LoadImageStrict
    opened = open_run(run / 'work_dirs/run', given)
    assert given.test_dataloader.dataset.pipeline[0]['type'] is LoadImageStrict
    assert opened.config.test_dataloader.dataset.pipeline[0]['type'] == 'LoadImageStrict'


@pytest.mark.parametrize('config', ['config.py', None])
def test_the_inferencers_of_mmpretrain_take_the_model_of_a_run(run, checkpoint, photos, config):
    model = open_run(checkpoint, config and run / config, device='cpu').model
    (found,) = ImageClassificationInferencer(model)(photos[0])
    (best,) = MultiLabelInferencer(checkpoint, device='cpu')(photos[0], topk=1).labels
    assert found['pred_class'] == best[0]
    assert found['pred_score'] == pytest.approx(best[1], abs=1e-6)  # it is rounded
    ((embeds,),) = FeatureExtractor(model)(photos[0])
    scores = model.head((embeds[None],))[0].sigmoid()
    assert_close(scores.detach(), torch.from_numpy(found['pred_scores']))
