"""Pairs of images and labels, their vectors, and the tool that measures them."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from mlic.apis.label_pairs import LabelPairs, draw_pairs, pair_vectors
from mlic.apis.model_outputs import check_label_embeddings, label_embeddings
from mlic.cli import measure_embeddings
from mlic.cli.measure_embeddings import (
    ABSENT,
    class_values,
    describe,
    draw_sample,
    summarise,
)
from mlic.evaluation.bootstrap import bootstrap_weights
from mlic.evaluation.embedding_measures import MEASURES, class_measures
from mlic.visualization.embedding import choose_points
from tests.helpers import call_tool, run_tool
from tests.tiny_runs import every_model, sarl_model, write_run

TOOL = 'tools/analysis_tools/measure_embeddings.py'
PREPROCESSOR = dict(type='MultiLabelDataPreprocessor', num_classes=10, to_onehot=True)


class Listed:
    """Labels alone."""

    def __init__(self, *infos):
        self.get_data_info = infos.__getitem__


def test_absent_pairs_are_as_many_of_each_class_and_of_images_known_to_lack_it():
    infos = [dict(gt_label=[0]) for _ in range(5)] + [dict(gt_label=[1]) for _ in range(6)]
    infos[5]['gt_label_difficult'] = [0]
    infos[6]['gt_label_unknown'] = [0]
    present, absent = draw_pairs(Listed(*infos), range(1, 11), 100)
    assert list(zip(*present)) == [(i, int(i > 4)) for i in range(1, 11)]
    assert absent.label.tolist() == [0] * 4 + [1] * 4  # four images have class 0, six class 1
    assert absent.image[:4].tolist() == [7, 8, 9, 10] and absent.image[4:].tolist() == [1, 2, 3, 4]
    fewer, again = (draw_pairs(Listed(*infos), range(11), 6, seed=3) for _ in range(2))
    assert_array_equal(np.array(again), np.array(fewer))
    assert np.bincount(fewer[0].label).tolist() == np.bincount(fewer[1].label).tolist() == [3, 3]


@pytest.mark.parametrize('indices', [[], [0, 1]])
def test_images_without_a_label_have_no_pairs(indices):
    with pytest.raises(ValueError, match=f'none of the {len(indices)} images has a label'):
        draw_pairs(Listed(dict(gt_label=[]), dict(gt_label=[])), indices, 100)


@pytest.fixture(scope='module')
def digits():
    init_default_scope('mmpretrain')
    pipeline = [dict(type='PackInputs')]
    return DATASETS.build(dict(type='DigitScenes', split='test', num_images=12, pipeline=pipeline))


def build(**head):
    torch.manual_seed(0)
    return MODELS.build(dict(sarl_model(10, **head), data_preprocessor=PREPROCESSOR)).eval()


@torch.no_grad()
def test_vectors_of_pairs_are_those_of_their_images_one_by_one(digits):
    model = build(proj_channels=8, bank_slots=2)
    pairs = LabelPairs(np.array([7, 2, 7, 11]), np.array([3, 0, 9, 3]))
    got = pair_vectors(model, digits, pairs, batch_size=2)
    for row, (image, label) in enumerate(zip(*pairs)):
        data = model.data_preprocessor(default_collate([digits[int(image)]]), False)
        feats = model.backbone(data['inputs'])
        embed = model.neck(feats)[-1][0, label]
        expected = dict(pooled=feats[-1].mean(dim=(2, 3))[0], embedding=embed)
        expected['projected'] = model.head.projector(embed)
        assert list(got) == list(expected)
        for name, vector in expected.items():
            assert_allclose(got[name][row], vector, rtol=1e-3, atol=1e-4, err_msg=name)
    assert list(pair_vectors(build(), digits, pairs)) == ['pooled', 'embedding']


@torch.no_grad()
@pytest.mark.parametrize('in_channels', [8, (8, 8)])
def test_pooled_features_of_tokens_are_means_over_the_cells(digits, in_channels):
    """They were means over the channels, one for each token and that of the class."""
    arch = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8)
    backbone = dict(type='VisionTransformer', arch=arch, img_size=128, patch_size=32)
    config = sarl_model(10)
    config['backbone'] = dict(backbone, out_type='raw', out_indices=(0, 1))
    config['neck']['in_channels'] = in_channels
    model = MODELS.build(dict(config, data_preprocessor=PREPROCESSOR))
    model.eval()
    got = pair_vectors(model, digits, LabelPairs(np.array([7, 2]), np.array([3, 0])))['pooled']
    for row, image in enumerate((7, 2)):
        data = model.data_preprocessor(default_collate([digits[image]]), False)
        tokens = model.backbone(data['inputs'])[-1]
        assert tokens.shape == (1, 1 + 16, 8)
        assert_allclose(got[row], tokens[0, 1:].mean(0), rtol=1e-3, atol=1e-5)
    pairs, class_maps = LabelPairs(np.array([7]), np.array([3])), nn.Module()  # no in_channels
    class_maps.forward = lambda feats: (feats[-1][:, :10],)
    model.neck = class_maps
    got = pair_vectors(model, digits, pairs)['pooled'][0]
    data = model.data_preprocessor(default_collate([digits[7]]), False)
    assert_allclose(got, model.backbone(data['inputs'])[-1][0].mean(0), rtol=1e-3, atol=1e-5)


def test_measured_pairs_are_those_of_the_map(digits):
    model = build()
    embeds, images, labels = label_embeddings(model, digits, [0, 3, 5, 11])
    present, _ = draw_pairs(digits, [0, 3, 5, 11], 6, seed=1)
    kept = choose_points(labels.numpy(), 6, 1)
    assert_array_equal(present, [images[kept], labels[kept]])
    assert_allclose(pair_vectors(model, digits, present)['embedding'], embeds[kept], atol=1e-5)


WITH_EMBEDDINGS = {'sadcl', 'mulcon', 'add-gcn', 'salgl', 'ssgrl', 'r101tf'}


@pytest.mark.parametrize('name', every_model(10))
def test_label_embeddings_are_what_a_neck_gives_with_maps_or_without(digits, name):
    """MulCon and R101TF have no attention maps, and were said to have no embeddings."""
    model = MODELS.build(dict(every_model(10)[name], data_preprocessor=PREPROCESSOR)).eval()
    if name not in WITH_EMBEDDINGS:
        with pytest.raises(
            ValueError, match='^the model has no label embeddings, .*(no neck|, 64)'
        ):
            check_label_embeddings(model, digits)
        return
    check_label_embeddings(model, digits)
    pairs = LabelPairs(np.array([7, 2]), np.array([3, 0]))
    assert pair_vectors(model, digits, pairs)['embedding'].shape == (2, 16)
    model.head.num_classes = 9  # as tokens of an image, of which there is another number
    with pytest.raises(ValueError, match=r'gives \(1, 10, 16\)$'):
        check_label_embeddings(model, digits)


@pytest.mark.parametrize('name', ['mulcon', 'r101tf'])
def test_tools_take_embeddings_without_maps(tmp_path, capsys, name):
    run = write_run(tmp_path, every_model(10)[name]), tmp_path / 'best_mAP.pth'
    few = [f'{split}_dataloader.dataset.num_images=40' for split in ('train', 'test')]
    few += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    run_tool(TOOL, *run, '--out', tmp_path / 'e.json', '--cfg-options', few[1])
    found = json.loads((tmp_path / 'e.json').read_text())['rows']
    assert {row['vectors'] for row in found} >= {'pooled', 'embedding'}
    out = tmp_path / 'prototypes.npy'
    options = '--threshold', 0, '--out', out, '--cfg-options', *few
    run_tool('tools/compute_prototypes.py', *run, *options)
    assert np.load(out).shape == (10, 16)


def test_tool_measures_and_compares(tmp_path, capsys):
    for name, head in (('first', dict(proj_channels=8, bank_slots=2)), ('second', {})):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name, sarl_model(10, **head))
    first, second = ([tmp_path / n / 'config.py', tmp_path / n] for n in ('first', 'second'))
    options = ['--num', 30, '--resamples', 20, '--out', tmp_path / 'a' / 'measures.json']
    runs = [*first, first[1], '--against', *second, second[1], '--against', *first, first[1]]
    run_tool(TOOL, *runs, '--names', 'one', 'two', 'same', *options)
    content = json.loads((tmp_path / 'a' / 'measures.json').read_text())
    assert content['images'] == 30
    rows = {(row['vectors'], row['measure']): row['configs'] for row in content['rows']}
    assert len(rows) == 7 + 7 + 6 + 7
    table = capsys.readouterr().out
    for (vectors, measure), (one, two, same) in rows.items():
        assert one['seeds'] == [pytest.approx(one['value'])] * 2
        assert one['interval'][0] <= one['value'] <= one['interval'][1]
        assert [same['difference'], *same['difference_interval']] == [0, 0, 0]
        assert (two is None) == (vectors == 'projected')
        cell = two and two['difference']
        cell = f'| {cell:+.3f} (' if two else '| – | – |'
        assert f'| {vectors} | {measure} | {one["value"]:.3f} (' in table and cell in table
        if two:
            assert two['difference'] == pytest.approx(one['value'] - two['value'])
            low, high = two['difference_interval']
            assert low <= two['difference'] <= high
        if vectors in content['classes'][0]:
            of_classes = content['classes'][0][vectors][measure]
            assert one['value'] == pytest.approx(np.mean(list(of_classes.values())), abs=1e-4)


def test_tool_names_what_is_left_out(tmp_path, capsys):
    config = write_run(tmp_path, sarl_model(10))
    run_tool(TOOL, config, tmp_path, '--num', 4, '--resamples', 2, '--out', tmp_path / 'a.json')
    lines = capsys.readouterr().out.splitlines()
    with_one, without = (next(x for x in lines if f'with {y}:' in x) for y in ('one pair', 'none'))
    left_out = {name for line in (with_one, without) for name in line.split(': ')[1].split(', ')}
    kept = json.loads((tmp_path / 'a.json').read_text())['classes'][0]['embedding']['intra']
    assert len(kept) + len(left_out) == 10 and not left_out & set(kept)


class Relabelled:
    """Images of a data set, of which each has all labels but some."""

    def __init__(self, dataset, absent):
        self.images, self.absent = dataset, absent

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]

    def get_data_info(self, index):
        return dict(gt_label=[label for label in range(10) if label not in self.absent[index]])


@pytest.mark.parametrize('number', [0, 1, 2], ids=['all', 'but-one', 'but-two'])
def test_what_no_class_has_a_value_of_is_null(digits, number):
    """Labels that are absent from one image have no other one to be compared with."""
    absent = [[c for c in range(10) if (i - c) % 12 < number] for i in range(12)]
    dataset = Relabelled(digits, absent)
    args = Namespace(num=12, max_pairs=500, seed=0, resamples=30, neighbours=5)
    run = Namespace(classes=list('abcdefghij'), model=build())
    sample = draw_sample(run, dataset, args)
    measured = [[measure_embeddings.measure(run, dataset, sample, args)]]
    rows = summarise(measured)
    json.dumps([rows, class_values(measured, sample)], allow_nan=False)
    cells = {row['measure']: row['configs'][0] for row in rows if row['vectors'] == ABSENT}
    lacking = {'intra', 'ratio', 'silhouette', 'k-NN', 'retrieval mAP'}
    assert list(cells) == (list(MEASURES)[:6] if number else [])
    assert {name for name, cell in cells.items() if cell is None} == (
        lacking if number == 1 else set()
    )
    assert (f'| {ABSENT} | intra | – |' in describe(rows, ['one'])) == (number == 1)
    assert all(row['configs'][0] for row in rows if row['vectors'] != ABSENT)


def noisy_measures(rng, num_resamples):
    """Of two models on one drawn test set, whose vectors are their class's, image's and noise."""
    images, labels = np.nonzero(rng.random((80, 8)) < 0.3)
    means = np.random.default_rng(0).standard_normal((8, 16))[labels]
    shared = 0.8 * rng.standard_normal((80, 16))[images] + means
    weights = bootstrap_weights(80, num_resamples, int(rng.integers(2**31)))
    weights = np.concatenate([np.ones((80, 1), dtype=int), weights], axis=1)[images]
    draws = (shared + size * rng.standard_normal(shared.shape) for size in (0.8, 0.6))
    return [[dict(drawn=class_measures(one, images, labels, weights))] for one in draws]


@pytest.mark.slow
def test_intervals_hold_what_they_say():
    """95 in 100 intervals hold the mean of all test sets; the k-NN's may be too wide."""
    rng = np.random.default_rng(1)
    truth, held = {}, {}
    for _ in range(300):
        for row in summarise(noisy_measures(rng, 1)):
            second = row['configs'][1]
            for start, key in (('', 'value'), ('d', 'difference')):
                truth.setdefault(start + row['measure'], []).append(second[key])
    for _ in range(100):
        for row in summarise(noisy_measures(rng, 150)):
            for start, key in (('', 'interval'), ('d', 'difference_interval')):
                name, (low, high) = start + row['measure'], row['configs'][1][key]
                held.setdefault(name, []).append(low <= np.mean(truth[name]) <= high)
    shares = {name: np.mean(values) for name, values in held.items()}
    assert len(shares) == 12 and min(shares.values()) >= 0.88, shares
    assert np.mean(list(shares.values())) < 0.985, shares


@pytest.mark.parametrize(
    'options, message',
    [
        (['--against', 'C', 'W', 'W'], 'as many checkpoints as the first config, 1, got 2'),
        (['--against', 'C'], 'as many checkpoints as the first config, 1, got 0'),
        (['--names', 'a', 'b'], 'needs 1, one for each config, got 2'),
        (['--num', '1'], 'two pairs or more'),
        (['--against', 'OTHER', 'W', '--num', '4'], 'other test images or classes'),
    ],
)
def test_tool_refuses_in_one_line(tmp_path, capsys, options, message):
    config = write_run(tmp_path, sarl_model(10))
    text = config.read_text() + 'test_dataloader = dict(dataset=dict(num_images=400))\n'
    (tmp_path / 'other.py').write_text(text)
    places = dict(C=config, W=tmp_path, OTHER=tmp_path / 'other.py')
    arguments = [str(places.get(option, option)) for option in options]
    end = call_tool(TOOL, config, tmp_path, *arguments, '--out', tmp_path / 'a.json')
    assert message in (capsys.readouterr().err if end == 2 else end)
    assert not (tmp_path / 'a.json').exists()
