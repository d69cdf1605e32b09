"""Checkpoints of released code, whichever system's. C classes, E width of a vector."""

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from torch.testing import assert_close

import projects.sadcl.published_weights  # noqa: F401
from mlic.datasets.coco import COCO_CATEGORIES
from mlic.engine.checkpoints.published import convert_published
from mlic.engine.checkpoints.renaming import NameTable
from mlic.models.layers.label_graph import normalised
from projects.cpcl.published_weights import CPCL
from projects.ml_gcn.published_weights import ML_GCN
from tests.helpers import call_tool, run_tool
from tests.peer_recordings import sequential_resnet

TOOL = 'tools/model_converters/published_to_mm.py'
CPCL_NAMES = [
    'semantic_special.feature_trans.weight',
    'semantic_special.semantic_trans.weight',
    *(f'semantic_special.joint_trans.{part}' for part in ('weight', 'bias')),
    *(f'{n}coupling_network.fc.{part}' for n in ('de', '') for part in ('weight', 'bias')),
]
WIDTHS = dict(vectors=3, hidden=4)


@pytest.fixture(scope='module')
def released():
    """A checkpoint of ML-GCN over COCO's classes in alphabetical order."""
    weights, network = sequential_resnet()
    weights['gc1.weight'] = torch.randn(WIDTHS['vectors'], WIDTHS['hidden'])
    weights['gc2.weight'] = torch.randn(WIDTHS['hidden'], 512)
    weights['A'] = torch.rand(80, 80).fill_diagonal_(1)
    return {f'module.{name}': value for name, value in weights.items()}, network


@pytest.fixture(scope='module')
def glove(tmp_path_factory):
    """Vectors of the words in COCO's names."""
    path = tmp_path_factory.mktemp('glove') / 'glove.txt'
    words = sorted({word for name in COCO_CATEGORIES for word in name.split()})
    rows = np.random.default_rng(0).normal(size=(len(words), WIDTHS['vectors']))
    lines = [' '.join([word, *map(str, row)]) for word, row in zip(words, rows)]
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_classes_in_alphabetical_order_come_in_the_data_sets(released, glove, tmp_path, capsys):
    weights, network = released
    torch.save(dict(state_dict=weights), tmp_path / 'coco.pth.tar')
    options = ('--classes', 'COCOMultiLabel', '--vectors', glove)
    run_tool(TOOL, tmp_path / 'coco.pth.tar', tmp_path / 'ours.pth', *options)
    assert 'ours.pth: ML-GCN, 80 classes' in capsys.readouterr().out
    head = dict(type='MLGCNHead', num_classes=80, in_channels=512, hidden_channels=4)
    head.update(vectors=dict(dims=3, file='in the checkpoint'))
    backbone = dict(type='ResNet', depth=18)
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))
    content = load_checkpoint(model, str(tmp_path / 'ours.pth'), strict=True)
    assert content['meta']['dataset_meta']['classes'] == list(COCO_CATEGORIES)
    assert_close(model.backbone.state_dict(), network.state_dict())
    # the scores are those of the released formula, with the classes put in order
    names = sorted(COCO_CATEGORIES)
    table = dict(line.split(' ', 1) for line in glove.read_text().splitlines())
    numbers = {word: np.array(row.split(), dtype=float) for word, row in table.items()}
    vectors = np.stack([np.mean([numbers[w] for w in name.split()], axis=0) for name in names])
    graph = normalised(weights['module.A'])
    hidden = graph @ torch.from_numpy(vectors).float() @ weights['module.gc1.weight']
    hidden = torch.nn.functional.leaky_relu(hidden, 0.2)
    feature_map = torch.randn(2, 512, 2, 2)
    scores = feature_map.amax((2, 3)) @ (graph @ hidden @ weights['module.gc2.weight']).T
    expected = dict(zip(names, scores.T))
    found = dict(zip(COCO_CATEGORIES, model.head((feature_map,)).T))
    for name in names:
        assert_close(found[name], expected[name], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ('removed', 'added', 'options', 'message'),
    [
        ((), (), (), 'has no word vectors: give --vectors FILE and --classes'),
        (('A',), (), (), 'not a complete ML-GCN checkpoint; missing: A$'),
        (('features.0.weight',), (), 'vectors', 'missing: features.0.weight$'),
        (
            (),
            ('gc3.weight',),
            (),
            r'of ML-GCN \(of \d+ systems the nearest\): 1 unknown key: gc3',
        ),
    ],
)
def test_what_is_missing_or_unknown_is_said(
    released, glove, tmp_path, removed, added, options, message
):
    weights = {name.removeprefix('module.'): value for name, value in released[0].items()}
    weights = {name: value for name, value in weights.items() if name not in removed}
    weights.update({name: torch.zeros(1) for name in added})
    torch.save(weights, tmp_path / 'a.pth')
    if options:
        options = ('--classes', 'COCOMultiLabel', '--vectors', glove)
    with pytest.raises(SystemExit, match=message):
        run_tool(TOOL, tmp_path / 'a.pth', tmp_path / 'b.pth', *options)


def test_the_keys_say_whose_checkpoint_it_is(released):
    assert convert_published(released[0])[0] is ML_GCN
    weights = {name.removeprefix('module.'): value for name, value in released[0].items()}
    others = [name for name in CPCL_NAMES if name not in weights]
    weights.update({name: torch.zeros(1) for name in others})
    assert convert_published(weights)[0] is CPCL  # which knows all of ML-GCN's, too
    query2label = {'fc.b': torch.zeros(1, 80)}
    assert convert_published(query2label)[0].name == 'SADCL or Query2Label'


def test_two_keys_for_one_entry_are_named():
    table = NameTable([('fc.a', 'head.fc'), ('fc.b', 'head.fc')])
    with pytest.raises(ValueError, match='keys that stand for the same entry: fc.a, fc.b$'):
        table.rename(dict.fromkeys(['fc.a', 'fc.b'], torch.zeros(1)))


@pytest.mark.parametrize('name', ['A', 'gc1.weight', 'features.0.weight'])
@pytest.mark.parametrize('dims', [0, 1])
def test_weights_of_other_dimensions_are_one_line(released, glove, tmp_path, name, dims):
    weights, _ = released
    one = torch.ones((2,) * dims)
    torch.save(dict(state_dict={**weights, f'module.{name}': one}), tmp_path / 'odd.pth')
    options = ('--classes', 'COCOMultiLabel', '--vectors', glove)
    ended = call_tool(TOOL, tmp_path / 'odd.pth', tmp_path / 'ours.pth', *options)
    assert ended.startswith('error: ') and 'ML-GCN' in ended and '\n' not in ended
    assert not (tmp_path / 'ours.pth').exists()


def test_weights_are_not_called_of_other_sizes_where_memory_ran_out(released, monkeypatch):
    weights = ML_GCN.convert(released[0])

    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(torch.nn.Conv2d, '__init__', fail)
    with pytest.raises(RuntimeError, match='^DefaultCPUAllocator'):
        ML_GCN.check(weights)
