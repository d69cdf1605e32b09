"""Checkpoints of the published code: names, completeness, and the converter's files.

Shapes: C classes, D embed dims, F feed-forward channels, P projection dims, S slots of the bank.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from mlic.datasets.coco import COCO_CATEGORIES
from projects.sadcl.published_weights import (
    check_complete,
    convert_state_dict,
    revert_state_dict,
)
from tests.helpers import ROOT, recorded, run_tool
from tests.tiny_runs import tiny_config


def make_published(backbone=None, channels=None, sadcl=True, seed=0, **sizes):
    """A random checkpoint under the published names, written here from their description."""
    c, d, f, p, s = {**dict(c=10, d=16, f=12, p=8, s=4), **sizes}.values()
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator) / math.sqrt(shape[-1])

    attention = {
        'in_proj_weight': draw(3 * d, d),
        'in_proj_bias': draw(3 * d),
        'out_proj.weight': draw(d, d),
        'out_proj.bias': draw(d),
    }
    weights = {'backbone.1.pe': torch.zeros(1, d, 2, 2)}
    weights.update({f'backbone.0.body.{k}': v for k, v in (backbone or {}).items()})
    if channels is not None and channels != d:
        weights.update({'input_proj.weight': draw(d, channels, 1, 1), 'input_proj.bias': draw(d)})
    layers = [('encoder.layers.0', 'self_attn', ('norm1', 'norm2'))]
    layers += [(f'decoder.layers.{i}', 'multihead_attn', ('norm2', 'norm3')) for i in range(2)]
    affine = {'transformer.decoder.norm': (d,)}
    for layer, name, norms in layers:
        layer = f'transformer.{layer}'
        weights.update({f'{layer}.{name}.{k}': v + draw(*v.shape) for k, v in attention.items()})
        affine |= {f'{layer}.linear1': (f, d), f'{layer}.linear2': (d, f)}
        affine |= {f'{layer}.{norm}': (d,) for norm in norms}
    if sadcl:
        affine |= {'proj_head.layers.0': (d, d), 'proj_head.layers.1': (p, d)}
    for name, shape in affine.items():
        weights.update({f'{name}.weight': draw(*shape), f'{name}.bias': draw(shape[0])})
    weights.update({'query_embed.weight': draw(c, d), 'fc.W': draw(1, c, d), 'fc.b': draw(1, c)})
    if sadcl:
        weights.update({'prototype': draw(1, c, d), 'memorybank': draw(s, c, d)})
    return weights


def make_resnet(depth, seed=0):
    """torchvision's ResNet with random batch norms, and its entries as published."""
    torch.manual_seed(seed)
    network = getattr(torchvision.models, f'resnet{depth}')().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.5, 1.0)
            for value in (module.bias.data, module.running_mean):
                value.normal_(std=0.1)
    published = {
        name: value
        for name, value in network.state_dict().items()
        if not name.startswith('fc.') and not name.endswith('num_batches_tracked')
    }
    return network, published


def assert_same(actual, expected):
    """The same names, and the same tensors bit for bit."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def without_positions(weights):
    return {name: value for name, value in weights.items() if not name.endswith('.pe')}


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('published', 'ours'),
    [
        ('backbone.0.body.conv1.weight', 'backbone.conv1.weight'),
        ('backbone.0.body.layer3.22.bn2.running_var', 'backbone.layer3.22.bn2.running_var'),
        ('backbone.0.body.layer4.0.downsample.1.bias', 'backbone.layer4.0.downsample.1.bias'),
        ('input_proj.weight', 'neck.input_proj.weight'),
        (
            'transformer.encoder.layers.0.self_attn.out_proj.bias',
            'neck.encoder.0.attn.out_proj.bias',
        ),
        ('transformer.encoder.layers.0.norm1.weight', 'neck.encoder.0.attn_norm.weight'),
        ('transformer.encoder.layers.0.norm2.weight', 'neck.encoder.0.ffn_norm.weight'),
        (
            'transformer.decoder.layers.1.multihead_attn.in_proj_weight',
            'neck.decoder.1.attn.in_proj_weight',
        ),
        ('transformer.decoder.layers.1.norm2.weight', 'neck.decoder.1.attn_norm.weight'),
        ('transformer.decoder.layers.1.norm3.weight', 'neck.decoder.1.ffn_norm.weight'),
        ('transformer.decoder.layers.0.linear1.weight', 'neck.decoder.0.ffn.0.weight'),
        ('transformer.decoder.layers.0.linear2.bias', 'neck.decoder.0.ffn.3.bias'),
        ('transformer.decoder.norm.weight', 'neck.decoder_norm.weight'),
        ('query_embed.weight', 'neck.query_embed.weight'),
        ('proj_head.layers.0.weight', 'head.projector.0.weight'),
        ('proj_head.layers.1.bias', 'head.projector.2.bias'),
        ('memorybank', 'head.memory_bank'),
    ],
)
def test_names_in_both_directions(published, ours):
    value = torch.randn(3, 2)
    assert_same(convert_state_dict({published: value}), {ours: value})
    assert_same(convert_state_dict({f'module.{published}': value}), {ours: value})
    assert_same(revert_state_dict({ours: value}), {published: value})


@pytest.mark.parametrize(
    ('published', 'ours', 'shape'),
    [
        ('fc.W', 'head.fc.weight', (1, 5, 4)),
        ('fc.b', 'head.fc.bias', (1, 5)),
        ('prototype', 'head.prototypes', (1, 5, 4)),
    ],
)
def test_leading_dimension_of_one_comes_and_goes(published, ours, shape):
    value = torch.randn(shape)
    assert_same(convert_state_dict({published: value}), {ours: value[0]})
    assert_same(revert_state_dict({ours: value[0]}), {published: value})
    with pytest.raises(ValueError, match=rf'{published} must be \(1, C.*got \(5,'):
        convert_state_dict({published: value[0]})


def test_positions_and_batch_counters_are_dropped():
    assert convert_state_dict({'module.backbone.1.pe': torch.zeros(1, 4, 2, 2)}) == {}
    assert revert_state_dict({'backbone.bn1.num_batches_tracked': torch.tensor(3)}) == {}
    assert convert_state_dict({}) == {}


def test_backbone_without_body():
    value = torch.randn(2)
    name = 'layer1.0.bn1.weight'
    assert_same(convert_state_dict({f'backbone.0.{name}': value}), {f'backbone.{name}': value})
    with pytest.raises(ValueError, match='same entry'):
        convert_state_dict({f'backbone.0.{name}': value, f'backbone.0.body.{name}': value})


@pytest.mark.parametrize(
    'name',
    [
        'backbone.0.conv.weight',
        'backbone.0.body.fc.weight',
        'backbone.0.body.layer5.0.conv1.weight',
        'transformer.decoder.layers.0.self_attn.in_proj_weight',
        'transformer.decoder.layers.0.norm1.weight',
        'transformer.encoder.norm.weight',
        'fc.weight',
        'neck.query_embed.weight',
    ],
)
def test_unknown_keys_are_named(name):
    with pytest.raises(ValueError, match=f'1 unknown key: {name}'):
        convert_state_dict({name: torch.zeros(2), 'query_embed.weight': torch.zeros(2, 2)})


def test_the_other_transformer_is_refused():
    with pytest.raises(ValueError, match='"newattention" variant .* is not supported'):
        convert_state_dict(
            {'transformer.encoder.layers.0.sa_qcontent_proj.weight': torch.zeros(2, 2)}
        )


@pytest.mark.parametrize('sadcl', [True, False])
def test_convert_and_revert_give_the_same_tensors(sadcl):
    _, backbone = make_resnet(18)
    weights = make_published(backbone, channels=512, sadcl=sadcl)
    converted = convert_state_dict(weights)
    assert {name.split('.')[0] for name in converted} == {'backbone', 'neck', 'head'}
    assert_same(revert_state_dict(converted), without_positions(weights))


def test_recorded_names_are_known():
    data = recorded('extras.npz')
    for name in [*data['backbone.trainable'], *data['backbone.frozen']]:
        value = torch.zeros(1)
        ours = name.replace('body.', 'backbone.', 1)
        assert_same(convert_state_dict({f'backbone.0.{name}': value}), {ours: value})


def test_recorded_names_of_the_other_transformer_are_refused():
    data = recorded('train_step_new.npz')
    names = [name[3:] for name in data if name.startswith('sd.transformer.')]
    with pytest.raises(ValueError, match='newattention'):
        convert_state_dict({name: torch.zeros(1) for name in names})


# --- the model of the config ------------------------------------------------------------------


def test_resnet101_of_the_config_is_torchvisions():
    network, backbone = make_resnet(101)
    weights = make_published(backbone, channels=2048, c=80)
    converted = convert_state_dict(weights)
    description = check_complete(converted, published=True)
    assert 'ResNet-101, 1 encoder and 2 decoder layers, width 16, 80 classes' in description

    cfg = Config.fromfile(ROOT / 'configs' / 'sadcl' / 'sadcl_r101_coco448.py')
    cfg.model.backbone.pop('init_cfg')
    cfg.model.neck.update(embed_dims=16, feedforward_channels=12)
    cfg.model.head.update(in_channels=16, proj_channels=8, bank_slots=4)
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(converted)  # strict: nothing missing, nothing left over
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = torch.nn.Sequential(*list(network.children())[:-2])(images)
        (actual,) = model.extract_feat(images, stage='backbone')
    assert_close(actual, expected)


# --- completeness ------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def complete():
    """A complete published checkpoint with ResNet-18."""
    return make_published(make_resnet(18)[1], channels=512)


def without(weights, *prefixes):
    kept = {name: value for name, value in weights.items() if not name.startswith(prefixes)}
    assert len(kept) < len(weights)
    return kept


def complete_without(weights, *prefixes):
    return convert_state_dict(without(weights, *prefixes))


def test_complete_checkpoints_pass(complete):
    assert '10 classes, contrastive part with a memory bank of 4 slots' in check_complete(
        convert_state_dict(complete)
    )
    query2label = complete_without(complete, 'proj_head.', 'prototype', 'memorybank')
    assert 'no contrastive part' in check_complete(query2label)
    no_encoder = complete_without(complete, 'transformer.encoder.')
    assert '0 encoder and 2 decoder layers' in check_complete(no_encoder)


@pytest.mark.parametrize(
    'name',
    [
        'backbone.0.body.layer4.1.bn2.running_mean',
        'input_proj.bias',
        'transformer.encoder.layers.0.norm1.bias',
        'transformer.decoder.layers.0.multihead_attn.in_proj_bias',
        'query_embed.weight',
        'fc.b',
        'proj_head.layers.0.bias',
        'prototype',
        'memorybank',
    ],
)
def test_missing_keys_are_listed(complete, name):
    with pytest.raises(ValueError, match=f'missing: {name}$'):
        check_complete(complete_without(complete, name), published=True)


def test_no_backbone_is_not_complete(complete):
    with pytest.raises(ValueError, match='missing: backbone.0.body.conv1.weight, '):
        check_complete(complete_without(complete, 'backbone.0.'), published=True)


@pytest.mark.parametrize(
    ('name', 'published', 'message'),
    [
        ('backbone.layer4.2.conv3.weight', True, 'unknown: backbone.0.body.layer4.2.conv3.weight'),
        ('head.fc.bias', False, r'head.fc.bias \(9,\) instead of \(10,\)'),
    ],
)
def test_keys_without_a_place_and_shapes_that_do_not_fit_are_listed(
    complete, name, published, message
):
    with pytest.raises(ValueError, match=message):
        check_complete({**convert_state_dict(complete), name: torch.zeros(9)}, published)


# --- the command -------------------------------------------------------------------------------

TOOL = 'tools/model_converters/published_to_mm.py'


def build_model(**head):
    """The model of ``complete``, with other weights."""
    neck = dict(type='SARLNeck', in_channels=512, num_classes=10, embed_dims=16, num_heads=2)
    neck.update(feedforward_channels=12)
    head.update(type='SADCLHead', num_classes=10, in_channels=16, proj_channels=8, bank_slots=4)
    backbone = dict(type='ResNet', depth=18)
    return MODELS.build(dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head))


def test_file_there_and_back(complete, tmp_path, capsys):
    average = {name: value + 1 for name, value in complete.items()}
    source = dict(
        epoch=3,
        arch='Q2L-R101-448',
        state_dict={f'module.{name}': value for name, value in complete.items()},
        state_dict_ema=average,
        optimizer=dict(state={}, param_groups=[dict(lr=1e-4, betas=(0.9, 0.999))]),
    )
    torch.save(source, tmp_path / 'published.pth.tar')
    for options, expected in (((), complete), (('--ema',), average)):
        run_tool(TOOL, tmp_path / 'published.pth.tar', tmp_path / 'ours.pth', *options)
        assert 'ResNet-18' in capsys.readouterr().out
        model = build_model()
        load_checkpoint(model, str(tmp_path / 'ours.pth'), strict=True)
        assert torch.equal(model.head.prototypes, expected['prototype'][0])
        run_tool(TOOL, tmp_path / 'ours.pth', tmp_path / 'back.pth.tar', '--reverse')
        back = torch.load(tmp_path / 'back.pth.tar', weights_only=True)
        assert_same(back['state_dict'], without_positions(expected))


def test_bare_state_dict_of_query2label(complete, tmp_path):
    weights = without(complete, 'proj_head.', 'prototype', 'memorybank')
    torch.save(weights, tmp_path / 'q2l.pth.tar')
    run_tool(TOOL, tmp_path / 'q2l.pth.tar', tmp_path / 'new' / 'ours.pth')
    model = build_model(loss_sscl=None, loss_pscl=None)
    content = load_checkpoint(model, str(tmp_path / 'new' / 'ours.pth'), strict=True)
    assert torch.equal(model.head.fc.bias, weights['fc.b'][0])
    assert content['meta']['converted_from'] == 'q2l.pth.tar'


def test_a_converted_file_names_its_classes_when_asked(tmp_path):
    weights = make_published(make_resnet(18)[1], channels=512, c=80)
    torch.save(weights, tmp_path / 'coco.pth.tar')
    command = (TOOL, tmp_path / 'coco.pth.tar', tmp_path / 'ours.pth')
    run_tool(*command, '--classes', 'COCOMultiLabel')
    content = torch.load(tmp_path / 'ours.pth', weights_only=True)
    assert content['meta']['dataset_meta']['classes'] == list(COCO_CATEGORIES)
    for name, message in (
        ('VOCMultiLabel', 'has 20 classes, and the checkpoint 80'),
        ('COCO', 'no data set of that name has names of classes'),
    ):
        with pytest.raises(SystemExit, match=f'^error: --classes {name}:? {message}$'):
            run_tool(*command, '--classes', name)


def test_other_objects_are_refused_in_one_line(complete, tmp_path, monkeypatch):
    content = dict(state_dict=complete, args=argparse.Namespace(lr=1))
    torch.save(content, tmp_path / 'published.pth.tar')
    with pytest.raises(SystemExit) as stop:
        run_tool(TOOL, tmp_path / 'published.pth.tar', tmp_path / 'ours.pth')
    message = str(stop.value)
    assert message.startswith('error: ') and '\n' not in message
    assert 'argparse.Namespace' in message and 'If you trust the file' in message
    assert not (tmp_path / 'ours.pth').exists()
    # what the message says to set, works
    monkeypatch.setenv('SADCL_TRUST_CHECKPOINTS', '1')
    run_tool(TOOL, tmp_path / 'published.pth.tar', tmp_path / 'ours.pth')


def test_a_numpy_scalar_next_to_the_weights_is_plain_data(complete, tmp_path):
    content = dict(state_dict=complete, best_mAP=np.float64(85.6))
    torch.save(content, tmp_path / 'published.pth.tar')
    run_tool(TOOL, tmp_path / 'published.pth.tar', tmp_path / 'ours.pth')
    assert (tmp_path / 'ours.pth').is_file()


@pytest.mark.parametrize(
    ('content', 'options', 'message'),
    [
        (
            dict(state_dict={'fc.W': 'x', 3: torch.ones(1)}),
            (),
            'more than tensors by name: fc.W, 3',
        ),
        (b'no checkpoint', (), 'not a checkpoint that torch can read'),
        (b'', (), 'not a checkpoint that torch can read'),
        ([1], (), 'must hold a dict, got list'),
        (dict(epoch=1), (), "no 'state_dict' or 'model' in it, but epoch"),
        (dict(state_dict={}), ('--ema',), "no 'state_dict_ema' in it, but state_dict"),
        (dict(state_dict={'fc.w': torch.zeros(1)}), (), '1 unknown key: fc.w'),
        (dict(state_dict={'fc.b': torch.zeros(1, 80)}), (), 'missing: backbone.0.body.conv1'),
    ],
    ids=[
        'no_tensors',
        'text',
        'empty',
        'list',
        'no_weights',
        'no_average',
        'unknown_key',
        'one_key',
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, content, options, message):
    source = tmp_path / 'published.pth.tar'
    source.write_bytes(content) if isinstance(content, bytes) else torch.save(content, source)
    with pytest.raises(SystemExit, match='error: .*' + message) as stop:
        run_tool(TOOL, source, tmp_path / 'ours.pth', *options)
    assert '\n' not in str(stop.value)
    with pytest.raises(SystemExit, match='error: '):
        run_tool(TOOL, tmp_path / 'absent.pth.tar', tmp_path / 'ours.pth')


def test_converted_checkpoint_through_tools_test_and_load_from(complete, tmp_path):
    """The scores that tools/test.py saves are those of torchvision's backbone and the neck and
    head by hand; a Runner starts training from the file, and its checkpoint goes back.
    """
    torch.save(complete, tmp_path / 'published.pth.tar')
    run_tool(TOOL, tmp_path / 'published.pth.tar', tmp_path / 'ours.pth')
    model = build_model()
    cfg = tiny_config(tmp_path, begin=1, epochs=1)
    cfg.model.backbone = dict(type='ResNet', depth=18, norm_eval=True)
    cfg.model.neck.update(in_channels=512, num_heads=2, feedforward_channels=12)
    cfg.model.head.update(bank_slots=4)
    cfg.train_dataloader.batch_size = 4
    cfg.train_dataloader.dataset.num_images = 4
    cfg.dump(str(tmp_path / 'tiny.py'))
    run_tool(
        'tools/test.py',
        *(tmp_path / 'tiny.py', tmp_path / 'ours.pth', '--work-dir', tmp_path / 'test'),
        *('--out', tmp_path / 'predictions.npz'),
    )
    saved = np.load(tmp_path / 'predictions.npz', allow_pickle=False)

    network, _ = make_resnet(18)
    parts = complete_without(complete, 'backbone.0.')
    assert not model.load_state_dict(parts, strict=False).unexpected_keys
    loader = Runner.build_dataloader(cfg.test_dataloader)
    preprocessor = MODELS.build({**cfg.data_preprocessor, 'type': 'ClsDataPreprocessor'})
    scores = []
    with torch.no_grad():
        for batch in loader:
            images = preprocessor(batch, False)['inputs']
            features = torch.nn.Sequential(*list(network.children())[:-2])(images)
            scores.append(model.eval().head(model.neck((features,))).sigmoid())
    assert_close(torch.tensor(saved['pred']).float(), torch.cat(scores), rtol=1e-4, atol=1e-5)

    cfg.load_from = str(tmp_path / 'ours.pth')
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.pop('save_best')
    Runner.from_cfg(cfg).train()
    run_tool(TOOL, Path(cfg.work_dir) / 'epoch_1.pth', tmp_path / 'back.pth.tar', '--reverse')
    back = torch.load(tmp_path / 'back.pth.tar', weights_only=True)['state_dict']
    assert back.keys() == without_positions(complete).keys()
