"""Training that starts from a checkpoint of other classes: by name, row by row."""

import copy
import itertools
import logging
import random

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from torch import nn
from torch.testing import assert_close

import projects.add_gcn
import projects.ml_decoder
import projects.mulcon  # noqa: F401
from mlic.datasets.coco import COCO_CATEGORIES
from mlic.engine.checkpoints.class_transfer import take_over_weights
from mlic.engine.checkpoints.reading import CheckpointError
from mlic.models.heads.label_embed_head import LabelEmbedHead
from mlic.models.training_parts import class_dims
from tests.helpers import ROOT, run_process
from tests.tiny_runs import tiny_config

WIDTH = 16
SARL = dict(type='SARLNeck', in_channels=WIDTH, embed_dims=WIDTH, feedforward_channels=4)
DECODER = dict(type='MLDecoderHead', embed_dims=16, num_heads=2, feedforward_channels=4)
# (neck, head), and which of their entries have the classes where
PARTS = {
    'sadcl': (
        SARL,
        dict(type='SADCLHead', proj_channels=4, bank_slots=3),
        {
            'neck.query_embed.weight': 0,
            'head.fc.weight': 0,
            'head.fc.bias': 0,
            'head.prototypes': 0,
            'head.memory_bank': 1,
        },
    ),
    'mulcon': (
        dict(type='MulConNeck', in_channels=WIDTH, embed_dims=WIDTH),
        dict(type='MulConHead', proj_channels=4),
        {'neck.query_embed': 0, 'head.fc.weight': 0, 'head.fc.bias': 0},
    ),
    'ml-decoder': (None, DECODER, {f'head.{n}': 0 for n in ('query_embed', 'weight', 'bias')}),
    'add-gcn': (
        dict(type='ADDGCNNeck', in_channels=WIDTH, embed_dims=WIDTH),
        dict(type='ADDGCNHead'),
        {
            'neck.activation.weight': 0,
            'neck.static_graph.weight': 'pairs',
            'neck.dynamic_graph.correlation.weight': 0,
            'neck.dynamic_graph.correlation.bias': 0,
            'head.fc.weight': 0,
            'head.fc.bias': 0,
        },
    ),
    'linear': (
        dict(type='GlobalAveragePooling'),
        dict(type='MultiLabelLinearClsHead'),
        {'head.fc.weight': 0, 'head.fc.bias': 0},
    ),
    'csra': (
        None,
        dict(type='CSRAClsHead', num_heads=2, lam=0.1),
        {f'head.csra_heads.{i}.head.weight': 0 for i in range(2)},
    ),
}
NAMES = [f'class {index}' for index in range(40)]


def build(method, num_classes, seed=0, **head):
    """Neck and head of a method, every entry drawn anew."""
    neck, parts = PARTS[method][0], dict(PARTS[method][1], num_classes=num_classes, **head)
    neck = neck and dict(neck, **({} if method == 'linear' else dict(num_classes=num_classes)))
    model = nn.Module()
    if neck:
        model.neck = MODELS.build(neck)
    model.head = MODELS.build(dict(parts, in_channels=WIDTH))
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        value.copy_(torch.randn(value.shape, generator=generator))
        if name.endswith('running_var'):
            value.abs_()
    return model.eval()


def checkpoint_of(model, classes, average=None):
    """As mmengine saves it: the average as the weights, the others under EMAHook's names."""
    weights = (average or model).state_dict()
    content = dict(state_dict=dict(weights), meta=dict(dataset_meta=dict(classes=tuple(classes))))
    if average is not None:
        others = {f'module.{name}': value for name, value in model.state_dict().items()}
        content['ema_state_dict'] = dict(others, steps=torch.tensor(5))
    return copy.deepcopy(content)


def change(rng, old):
    """A list of classes after some have left, others have come, and all are in another order."""
    kept = rng.sample(old, rng.randint(0, len(old)))
    new = kept + [f'new {index}' for index in range(rng.randint(0, 4) or not kept)]
    rng.shuffle(new)
    return new


@pytest.mark.parametrize('method', PARTS)
@pytest.mark.parametrize('seed', range(6))
def test_rows_are_equal_by_name_and_new_ones_are_the_models_own(method, seed):
    rng = random.Random(seed)
    old = NAMES[: rng.randint(1, 11)]
    new = change(rng, old)
    before, fresh = build(method, len(old), 1), build(method, len(new), 2)
    average = build(method, len(old), 3)
    content = checkpoint_of(before, old, average)
    lines = take_over_weights(content, fresh, new, {}, 'old.pth')
    dims = PARTS[method][2]
    for stored, trained in (
        (content['state_dict'], average),
        ({k.removeprefix('module.'): v for k, v in content['ema_state_dict'].items()}, before),
    ):
        for name, value in trained.state_dict().items():
            if name not in dims:
                assert torch.equal(stored[name], value), name
                continue
            own = fresh.state_dict()[name]
            assert stored[name].shape == own.shape
            if dims[name] == 'pairs':
                for (i, first), (j, second) in itertools.product(enumerate(new), repeat=2):
                    if {first, second} <= set(old):
                        expected = value[old.index(first), old.index(second)]
                    else:
                        expected = own[i, j]
                    assert stored[name][i, j] == expected, (name, first, second)
                continue
            for index, label in enumerate(new):
                where = (value, old.index(label)) if label in old else (own, index)
                row = stored[name].select(dims[name], index)
                assert torch.equal(row, where[0].select(dims[name], where[1])), (name, label)
    assert content['ema_state_dict']['steps'] == 5
    numbers = [len(set(old) & set(new)), len(set(new) - set(old)), len(set(old) - set(new))]
    assert len(lines) == (old != new)
    for line in lines:
        found = [
            int(part.split()[0])
            for part in line.removeprefix('load_from old.pth: ').split(', ')
            if part[0].isdigit()
        ]
        assert found == numbers


@pytest.mark.parametrize('method', ['sadcl', 'ml-decoder', 'linear', 'csra'])
@pytest.mark.parametrize('seed', range(3))
def test_scores_of_kept_classes_are_those_of_the_old_model(method, seed):
    """Of methods in which a class's score does not depend on the other classes."""
    rng = random.Random(seed)
    old, new = NAMES[:6], [*rng.sample(NAMES[:6], 4), 'new 1', 'new 2', 'new 3']
    rng.shuffle(new)
    before, after = build(method, len(old), 1), build(method, len(new), 2)
    content = checkpoint_of(before, old)
    take_over_weights(content, after, new, {}, 'old.pth')
    after.load_state_dict(content['state_dict'])
    scores = [score(model) for model in (before, after)]
    for index, label in enumerate(new):
        if label in old:
            expected = scores[0][:, old.index(label)]
            assert_close(scores[1][:, index], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('method', ['mulcon', 'add-gcn'])
def test_scores_of_reordered_classes_are_reordered_where_classes_see_each_other(method):
    old = NAMES[:5]
    new = [old[index] for index in (3, 0, 4, 1, 2)]
    before, after = build(method, 5, 1), build(method, 5, 2)
    content = checkpoint_of(before, old)
    take_over_weights(content, after, new, {}, 'old.pth')
    after.load_state_dict(content['state_dict'])
    assert_close(score(after), score(before)[:, [3, 0, 4, 1, 2]], rtol=1e-5, atol=1e-5)


def score(model):
    """Logits (2, C) of two feature maps."""
    feats = (torch.randn(2, WIDTH, 3, 3, generator=torch.Generator().manual_seed(9)),)
    with torch.no_grad():
        return model.head(model.neck(feats) if hasattr(model, 'neck') else feats)


# --- ML-Decoder with fewer queries than classes ------------------------------------------------


def grouped(num_classes, seed=0, queries=3):
    return build('ml-decoder', num_classes, seed, num_queries=queries)


def test_classes_that_share_a_query_stay_when_one_is_added_at_the_end():
    before, after = grouped(8, 1), grouped(9, 2)  # groups of three
    content = checkpoint_of(before, NAMES[:8])
    (line,) = take_over_weights(content, after, NAMES[:9], {}, 'old.pth')
    assert line.endswith('8 classes taken over by name, 1 new (class 8), 0 left out')
    after.load_state_dict(content['state_dict'])
    assert_close(score(after)[:, :8], score(before))


def test_a_class_that_moves_to_another_query_starts_fresh_and_is_counted():
    before, after = grouped(6, 1), grouped(6, 2)  # groups of two
    new = [NAMES[index] for index in (1, 0, 2, 4, 3, 5)]
    content = checkpoint_of(before, NAMES[:6])
    (line,) = take_over_weights(content, after, new, {}, 'old.pth')
    assert line.endswith(
        '; head.weight starts fresh for 2 that have moved to another group of classes'
    )
    weights = content['state_dict']
    assert torch.equal(weights['head.query_embed'], before.head.query_embed)
    assert torch.equal(weights['head.bias'], before.head.bias[[1, 0, 2, 4, 3, 5]])
    old, own, found = before.head.weight, after.head.weight, weights['head.weight']
    assert torch.equal(found[0], old[0][:, [1, 0]])  # both have changed places within their group
    assert torch.equal(found[1, :, 0], old[1, :, 0]) and torch.equal(found[2, :, 1], old[2, :, 1])
    assert torch.equal(found[1, :, 1], own[1, :, 1]) and torch.equal(found[2, :, 0], own[2, :, 0])


def test_another_number_of_queries_starts_them_and_their_weights_fresh():
    before, after = grouped(6, 1, queries=6), grouped(8, 2, queries=4)
    content = checkpoint_of(before, NAMES[:6])
    lines = take_over_weights(content, after, NAMES[:8], {}, 'old.pth')
    assert 'head.query_embed (6, 16) for (4, 16)' in lines[1] and 'head.weight' in lines[1]
    assert torch.equal(content['state_dict']['head.weight'], after.head.weight)
    assert torch.equal(content['state_dict']['head.bias'][:6], before.head.bias)


# --- renamed classes ---------------------------------------------------------------------------


def test_renamed_classes_take_over_the_rows_of_their_old_names():
    before, after = build('linear', 3, 1), build('linear', 3, 2)
    content = checkpoint_of(before, ['airplane', 'cat', 'tv'])
    renamed = dict(aeroplane='airplane', tvmonitor='tv')
    (line,) = take_over_weights(
        content, after, ['tvmonitor', 'aeroplane', 'cow'], renamed, 'old.pth'
    )
    assert line == (
        'load_from old.pth: 2 classes taken over by name, 1 new (cow), 1 left out (cat)'
    )
    bias = content['state_dict']['head.fc.bias']
    assert torch.equal(bias[:2], before.head.fc.bias[[2, 0]])
    assert bias[2] == after.head.fc.bias[2]


def test_two_classes_may_start_from_the_same_one():
    before, after = build('linear', 1, 1), build('linear', 2, 2)
    content = checkpoint_of(before, ['bicycle'])
    take_over_weights(content, after, ['bicycle', 'e-bike'], {'e-bike': 'bicycle'}, 'old.pth')
    assert torch.equal(content['state_dict']['head.fc.bias'], before.head.fc.bias[[0, 0]])


@pytest.mark.parametrize(
    ('renamed', 'message'),
    [
        (
            dict(areoplane='cat'),
            "'areoplane', which is not a class of the data; similar: aeroplane",
        ),
        (
            dict(aeroplane='airplan'),
            "'airplan', which is not a class of old.pth; similar: airplane",
        ),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_similar_ones(renamed, message):
    model = build('linear', 2)
    content = checkpoint_of(model, ['airplane', 'cat'])
    with pytest.raises(CheckpointError, match=message):
        take_over_weights(content, model, ['aeroplane', 'cat'], renamed, 'old.pth')


def test_names_for_a_checkpoint_without_any_are_refused():
    model = build('linear', 2)
    with pytest.raises(CheckpointError, match="names 'cat', and old.pth names none"):
        content = dict(state_dict=model.state_dict())
        take_over_weights(content, model, ['kitten', 'dog'], dict(kitten='cat'), 'old.pth')


def test_voc_takes_the_published_rows_of_coco():
    """The official code picks them by number."""
    rows = (4, 1, 14, 8, 39, 5, 2, 15, 56, 19, 60, 16, 17, 3, 0, 58, 18, 57, 6, 62)
    cfg = Config.fromfile(ROOT / 'configs/sadcl/sadcl_r101_voc448_from-coco.py')
    from mlic.datasets import VOCMultiLabel

    classes = VOCMultiLabel.METAINFO['classes']
    before, after = build('sadcl', 80, 1), build('sadcl', 20, 2)
    content = checkpoint_of(before, COCO_CATEGORIES)
    (line,) = take_over_weights(content, after, classes, cfg.load_from_classes, 'coco.pth')
    assert '20 classes taken over by name, 0 new, 60 left out' in line
    for name in ('neck.query_embed.weight', 'head.fc.weight', 'head.fc.bias', 'head.prototypes'):
        assert torch.equal(content['state_dict'][name], before.state_dict()[name][list(rows)])


# --- what a module says, and what is found out -------------------------------------------------


class Undeclared(MultiLabelClsHead):
    """A head of somebody's own, with a loss alone."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def dims_of(head, num_classes=5):
    model = nn.Module()
    model.head = head
    return class_dims(model, num_classes)


def test_layers_with_as_many_outputs_as_classes_are_found_in_heads_of_others():
    head = Undeclared(hidden=nn.Linear(7, 3), fc=nn.Linear(3, 5), heads=nn.Conv2d(7, 5, 1))
    expected = {f'head.{n}': (0,) for n in ('fc.weight', 'fc.bias', 'heads.weight', 'heads.bias')}
    assert dims_of(head) == expected
    assert dims_of(Undeclared(fc=nn.Linear(5, 5))) == {'head.fc.weight': (0,), 'head.fc.bias': (0,)}


@pytest.mark.parametrize(
    'parts',
    [
        dict(hidden=nn.Linear(7, 5), fc=nn.Linear(5, 5)),  # which one permutes?
        dict(fc=nn.Linear(7, 5), centres=nn.Parameter(torch.zeros(5, 7))),
        dict(fc=nn.Linear(7, 5), queries=nn.Embedding(5, 7)),
        dict(hidden=nn.Linear(7, 5), norm=nn.LayerNorm(5)),
    ],
    ids=['two layers', 'parameter', 'embedding', 'norm'],
)
def test_what_may_belong_to_classes_is_refused_until_its_module_says_so(parts):
    with pytest.raises(ValueError, match=r'head \(Undeclared\) does not say whether .* by_class'):
        dims_of(Undeclared(**parts))


def test_a_head_of_the_toolkit_with_parameters_of_its_own_must_declare_them():
    class Centred(LabelEmbedHead):
        def __init__(self):
            super().__init__(num_classes=5, in_channels=4)
            self.centres = nn.Parameter(torch.zeros(5, 4))

    with pytest.raises(ValueError, match='whether centres has a part'):
        dims_of(Centred())
    Centred.by_class = dict(centres=(0,))
    scores = {'head.fc.weight': (0,), 'head.fc.bias': (0,)}
    assert dims_of(Centred()) == {'head.centres': (0,), **scores}
    Centred.by_class = dict(centres=())
    assert dims_of(Centred()) == scores


@pytest.mark.parametrize('method', sorted(PARTS.keys() - {'csra'}))
def test_a_width_that_equals_the_number_of_classes_is_not_taken_for_classes(method):
    model = build(method, WIDTH)
    expected = {name: (dim,) for name, dim in PARTS[method][2].items() if dim != 'pairs'}
    assert class_dims(model, WIDTH) == expected


def test_backbones_and_preprocessors_are_not_asked():
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Linear(4, 5))
    model.backbone.num_classes = 5
    model.data_preprocessor = nn.BatchNorm1d(5)
    model.data_preprocessor.num_classes = 5
    assert class_dims(model, 5) == {}


# --- without names, and other shapes -----------------------------------------------------------


def test_without_names_what_has_another_shape_starts_fresh_with_one_line():
    before, after = build('sadcl', 6, 1), build('sadcl', 4, 2)
    content = dict(state_dict=before.state_dict())
    (line,) = take_over_weights(content, after, NAMES[:4], {}, 'old.pth')
    assert line.startswith(
        'load_from old.pth: weights of another shape start fresh: neck.query_embed.weight (6, 16) '
        'for (4, 16), '
    )
    assert line.endswith('(5 in all)')
    after.load_state_dict(content['state_dict'])


def test_the_same_classes_are_loaded_as_they_are_without_a_line():
    before, after = build('sadcl', 6, 1), build('sadcl', 6, 2)
    content = checkpoint_of(before, NAMES[:6])
    assert take_over_weights(content, after, NAMES[:6], {}, 'old.pth') == []
    assert all(
        torch.equal(value, before.state_dict()[name])
        for name, value in content['state_dict'].items()
    )


def test_a_bank_for_another_batch_starts_fresh_and_the_rest_is_taken_over():
    before, after = build('sadcl', 3, 1, bank_slots=2), build('sadcl', 4, 2)
    content = checkpoint_of(before, NAMES[:3])
    lines = take_over_weights(content, after, NAMES[:4], {}, 'old.pth')
    assert lines[1].endswith('start fresh: head.memory_bank (2, 3, 16) for (3, 4, 16)')
    assert torch.equal(content['state_dict']['head.memory_bank'], after.head.memory_bank)
    assert torch.equal(content['state_dict']['head.prototypes'][:3], before.head.prototypes)


def test_names_of_ddp_and_a_bare_state_dict_are_understood():
    before, after = build('linear', 2, 1), build('linear', 2, 2)
    content = {f'module.{name}': value for name, value in before.state_dict().items()}
    assert take_over_weights(content, after, NAMES[:2], {}, 'old.pth') == []
    after.load_state_dict(content['state_dict'])
    assert torch.equal(after.head.fc.bias, before.head.fc.bias)


def test_a_model_of_which_nothing_is_known_is_loaded_by_position_with_a_line():
    model = nn.Module()
    model.head = nn.Linear(3, 2)
    content = checkpoint_of(model, ['cat', 'dog'])
    (line,) = take_over_weights(content, model, ['dog', 'cat'], {}, 'old.pth')
    assert 'classes in another order' in line and line.endswith('taken by position')


# --- runs --------------------------------------------------------------------------------------

DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


class Start(Hook):
    """The weights that training starts with, and their average."""

    priority = 'LOWEST'

    def before_train(self, runner):
        self.weights = copy.deepcopy(runner.model.state_dict())
        (ema,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        self.average = copy.deepcopy(ema.ema_model.module.state_dict())
        raise KeyboardInterrupt


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint of a tiny SADCL on digits, with averaged weights, and its content."""
    cfg = tiny_config(tmp_path_factory.mktemp('trained'), begin=1, epochs=1)
    cfg.custom_hooks.pop(1)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.pop('save_best')
    Runner.from_cfg(cfg).train()
    path = f'{cfg.work_dir}/epoch_1.pth'
    content = torch.load(path, weights_only=False)
    assert 'ema_state_dict' in content
    return path, content


def started(tmp_path, path, classes, num_classes=None, **changes):
    """The start of a run on other classes from a checkpoint."""
    number = num_classes or len(classes)
    changes.update({f'model.{part}.num_classes': number for part in ('neck', 'head')})
    changes.update({'data_preprocessor.num_classes': number, 'load_from': str(path)})
    cfg = tiny_config(tmp_path, begin=1, epochs=1, **changes)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=list(classes))
    runner, start = Runner.from_cfg(cfg), Start()
    runner.register_hook(start)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    return start, runner


def log_of(runner):
    (file,) = [
        handler.baseFilename
        for handler in runner.logger.handlers
        if isinstance(handler, logging.FileHandler)
    ]
    with open(file) as log:
        return log.read()


def test_a_run_starts_with_weights_and_average_by_name(tmp_path, trained):
    path, content = trained
    classes = ('nine', 'new', *DIGITS[:8], 'more')
    start, runner = started(tmp_path, path, classes)
    assert (
        'WARNING - load_from ' + str(path) + ': 9 classes taken over by name, 2 new (new, more), '
        '1 left out (eight)'
    ) in log_of(runner)
    # EMAHook starts training from the averaged weights
    old = content['state_dict']
    for name in ('neck.query_embed.weight', 'head.fc.weight', 'head.fc.bias', 'head.prototypes'):
        for index, label in enumerate(classes):
            if label in DIGITS:
                row = old[name][DIGITS.index(label)]
                assert torch.equal(start.weights[name][index], row), (name, label)
                assert torch.equal(start.average[name][index], row), (name, label)
        assert torch.equal(start.weights[name][1], start.average[name][1])
    bank = start.weights['head.memory_bank']
    assert torch.equal(bank[:, 0], old['head.memory_bank'][:, 9])
    assert all(
        torch.equal(value, old[name])
        for name, value in start.weights.items()
        if name.startswith('backbone.')
    )


def test_the_same_number_in_another_order_is_taken_by_name(tmp_path, trained):
    path, content = trained
    start, runner = started(tmp_path, path, DIGITS[::-1])
    assert '10 classes taken over by name, 0 new, 0 left out' in log_of(runner)
    bias = content['state_dict']['head.fc.bias']
    assert torch.equal(start.weights['head.fc.bias'], bias.flip(0))


def test_a_checkpoint_without_names_and_of_another_size_starts_a_run_with_ema(tmp_path, trained):
    _, content = trained
    path = tmp_path / 'nameless.pth'
    torch.save({key: content[key] for key in ('state_dict', 'ema_state_dict')}, path)
    start, runner = started(tmp_path, path, (*DIGITS, 'more'))
    assert log_of(runner).count('weights of another shape start fresh') == 1
    name = 'neck.encoder.0.ffn.0.weight'
    assert torch.equal(start.weights[name], content['state_dict'][name])


def test_classes_that_the_model_does_not_have_are_an_error_of_numbers(tmp_path, trained):
    with pytest.raises(ValueError, match='DigitScenes has 11 classes and the model has others'):
        started(tmp_path, trained[0], (*DIGITS, 'more'), num_classes=10)


def test_names_without_a_checkpoint_are_refused(tmp_path):
    cfg = tiny_config(tmp_path, load_from_classes=dict(zero='null'))
    with pytest.raises(ValueError, match='add --cfg-options load_from=CHECKPOINT'):
        Runner.from_cfg(cfg).train()


SCRIPT = """
import sys
import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from mlic.engine import adapt_to_device, one_line_errors
import projects.sadcl

class Start(Hook):
    priority = 'LOWEST'

    def before_train(self, runner):
        (ema,) = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        for model in (runner.model.module, ema.ema_model.module):
            for name, value in model.state_dict().items():
                copies = dist.all_gather(value)
                assert torch.equal(*copies), name
        if dist.is_main_process():
            weights = dict(state_dict=runner.model.module.state_dict())
            torch.save(weights, runner.work_dir + '/start.pth')

with one_line_errors():
    cfg = Config.fromfile(sys.argv[1])
    cfg.launcher = 'pytorch'
    adapt_to_device(cfg)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Start())
    runner.train()
"""


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_start_from_the_same_weights_by_name(tmp_path, trained):
    path, content = trained
    classes = ['new', *DIGITS[::-1]]
    changes = {f'model.{part}.num_classes': 11 for part in ('neck', 'head')}
    changes.update({'data_preprocessor.num_classes': 11, 'load_from': path})
    cfg = tiny_config(tmp_path, begin=1, epochs=1, **changes)
    cfg.custom_hooks.pop(1)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.pop('save_best')
    cfg.train_dataloader.dataset.metainfo = dict(classes=classes)
    cfg.dump(str(tmp_path / 'tiny.py'))
    (tmp_path / 'run.py').write_text(SCRIPT)
    tool = ROOT / 'tools' / 'torchrun.sh'
    done = run_process(tool, '2', 'run.py', 'tiny.py', cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout + done.stderr
    assert text.count('10 classes taken over by name, 1 new (new), 0 left out') == 1
    start = torch.load(tmp_path / 'work' / 'start.pth', weights_only=True)['state_dict']
    bias = content['state_dict']['head.fc.bias']
    assert torch.equal(start['head.fc.bias'][1:], bias.flip(0))
