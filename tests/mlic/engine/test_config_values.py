"""Values of another kind in a config are refused, and entries that fail are named."""

import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS, LOOPS, MODEL_WRAPPERS, MODELS, TRANSFORMS
from torch import nn

from mlic.engine.config.values import arguments_of, check_values
from mlic.engine.runner.errors import one_line_errors
from mlic.registries import set_scope


@HOOKS.register_module()
class EveryOtherHook(CheckpointHook):
    """Which takes what its base does not, without an ``__init__`` of its own."""


RIGHT = dict(
    model=dict(
        type='ImageClassifier',
        init_cfg=[dict(type='Constant')],  # annotated as a dict
        backbone=dict(type='VisionTransformer', img_size=224, out_type='featmap', with_cls_token=1),
        neck=[dict(type='GlobalAveragePooling')],
        head=dict(type='MultiLabelLinearClsHead', num_classes=2, in_channels=3, thr=None),
    ),
    train_dataloader=dict(batch_size=2, sampler=None, dataset=dict(type='CIFAR10', pipeline=())),
    optim_wrapper=dict(
        type='AmpOptimWrapper',
        loss_scale=512.0,  # annotated as text
        optimizer=dict(type='AdamW', lr=1, betas=[0.9, 0.99], foreach=None),
        clip_grad=dict(max_norm=1),
    ),
    param_scheduler=dict(type='LinearLR', end=0.5, convert_to_iter_based=True),
    default_hooks=dict(timer=None, checkpoint=dict(type='CheckpointHook', save_best=['a', 'b'])),
    custom_hooks=[dict(type='EveryOtherHook', interval='auto')],
    train_pipeline=[dict(type='Resize', scale='of no use')],
    val_cfg=dict(),
    resume='auto',
    log_level=20,
    randomness=dict(seed=None),
)
WRONG = {
    'optim_wrapper.optimizer.lr': ('1e-4x', 'AdamW takes a number'),
    'optim_wrapper.optimizer.betas': ([0.9, '0.99'], 'AdamW takes a number'),
    'optim_wrapper.optimizer': ('AdamW', 'AmpOptimWrapper takes a dict'),
    'model.backbone': ('ResNet', 'ImageClassifier takes a dict'),
    'model.head': (3, 'ImageClassifier takes a dict'),
    'model.head.thr': ('0.5', 'MultiLabelLinearClsHead takes a number'),
    'train_dataloader.num_workers': ('2', 'DataLoader takes a number'),
    'train_dataloader.sampler': ('DefaultSampler', 'DataLoader takes a dict'),
    'param_scheduler.by_epoch': ('False', 'LinearLR takes True or False'),
    'default_hooks.checkpoint': ('CheckpointHook', 'a run takes a dict'),
    'env_cfg.mp_cfg.opencv_num_threads': ('0', 'set_multi_processing takes a number'),
    'train_cfg': (4, 'a run takes a dict'),
    'train_dataloader': ((), 'a run takes a dict'),
    'val_evaluator': ('MLICMetric', 'a run takes a dict or a list'),
    'train_cfg.val_interval': (0, 'a run needs a number of at least 1'),
    'optim_wrapper.accumulative_counts': (None, 'a run needs a number of at least 1'),
    'randomness.seed': (-1, 'a run needs a number of at least 0'),
    'log_level': ('info', "'DEBUG', 'INFO', 'WARNING' or 'ERROR' is needed"),
}


def with_entry(place, value):
    cfg = Config(RIGHT)
    cfg.merge_from_dict({place: value})
    set_scope(cfg)
    return cfg


def test_what_is_taken_passes_though_an_annotation_says_otherwise():
    check_values(with_entry('work_dir', 'a'))


@pytest.mark.parametrize('place', WRONG)
def test_a_value_of_another_kind_is_refused_with_its_place(place):
    value, taken = WRONG[place]
    inside = '.1' if isinstance(value, list) else ''
    shown = repr(value[1] if inside else value)
    with pytest.raises(ValueError) as error:
        check_values(with_entry(place, value))
    assert str(error.value) == f'{place}{inside}={shown}: {taken} there'


@MODELS.register_module()
class OddlyAnnotated(nn.Module):
    """Of a stranger, whose annotations are wrong, and no types."""

    def __init__(self, size: int, more: (int, str) = None, others: [int] = (), rate=0.1):
        super().__init__()
        self.size = size / 2


@LOOPS.register_module()
class OwnLoop(EpochBasedTrainLoop):
    """For which 0 means never."""


def test_loops_of_others_have_numbers_of_their_own():
    check_values(with_entry('train_cfg', dict(type='OwnLoop', max_epochs=1, val_interval=0)))


def test_the_interval_of_no_validation_is_not_read():
    cfg = with_entry('train_cfg', dict(max_epochs=1, val_interval=0))
    cfg.val_cfg = None
    check_values(cfg)


def test_a_list_of_log_levels_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"log_level=\['INFO'\]: .* is needed there"):
        check_values(with_entry('log_level', ['INFO']))


def test_arguments_whose_annotations_name_what_is_not_installed_are_known():
    assert 'inputs_to_half' in arguments_of(MODEL_WRAPPERS.get('MMDeepSpeedEngineWrapper'))


def test_an_epoch_of_a_switch_as_text_is_refused():
    """It is equal to no epoch: the second stage would never begin."""
    switch = dict(type='SwitchRecipeHook', schedule=[dict(action_epoch='2')])
    with pytest.raises(ValueError, match="action_epoch='2': SwitchRecipeHook takes a number there"):
        check_values(with_entry('custom_hooks', [switch]))
    for schedule in (None, 'x', 3, ['x'], dict(action_epoch='2')):  # which the hook itself refuses
        check_values(with_entry('custom_hooks', [dict(type='SwitchRecipeHook', schedule=schedule)]))


def test_annotations_of_others_are_not_read():
    entry = dict(_delete_=True, type='OddlyAnnotated', size='base', more='x', others='y')
    check_values(with_entry('model', entry))


def ended(build, entry, place='model.backbone'):
    """What a tool says whose config has an entry that it builds, or uses."""
    cfg = with_entry(place, entry)
    with pytest.raises(SystemExit) as end, one_line_errors():
        build(cfg)
    return end.value.code


def test_an_entry_that_a_library_cannot_build_is_named():
    def build(cfg):
        MODELS.build(cfg.model.backbone)

    depth = dict(_delete_=True, type='ResNet', depth=[18])
    assert ended(build, depth) == (
        "error: model.backbone={'depth': [18], 'type': 'ResNet'} cannot be built: TypeError: "
        "unhashable type: 'list'"
    )
    size = dict(_delete_=True, type='TinyViT', arch='5m', img_size=128)
    assert ended(build, size).startswith(
        'error: model.backbone.img_size=128: TinyViT takes a list there (TypeError: '
    )
    assert ended(build, dict(_delete_=True, depth=18)) == (
        "error: model.backbone={'depth': 18} has no type"
    )
    assert ended(build, dict(_delete_=True, type='ResNet', depth=7)) == (
        "error: invalid depth 7 for resnet (in model.backbone={'depth': 7, 'type': 'ResNet'})"
    )
    assert ended(build, dict(_delete_=True, type='RandomFlip')) == (
        "error: 'RandomFlip' is registered as transform, and not as model"
    )
    assert ended(build, dict(_delete_=True, type='mmdet.ResNet', depth=18)) == (
        "error: what is written before 'ResNet' has no model: leave it out, or import it"
    )


def test_of_two_entries_that_begin_alike_the_one_that_fails_is_named():
    def build(cfg):
        HOOKS.build(cfg.default_hooks.chekpoint)

    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1), chekpoint=dict(interval=1))
    assert ended(build, hooks, 'default_hooks') == (
        "error: default_hooks.chekpoint={'interval': 1} has no type"
    )


def test_a_none_that_another_part_stumbles_over_is_named():
    scope = dict(__name__='mmengine.hooks.other_hook')
    exec('def use(cfg):\n    cfg.default_hooks.checkpoint.interval < 1', scope)
    entry = dict(type='CheckpointHook', interval=None)
    said = ended(scope['use'], entry, 'default_hooks.checkpoint')
    assert said.startswith(
        'error: default_hooks.checkpoint.interval=None: CheckpointHook takes a number there (TypeE'
    )


def test_an_entry_that_fails_on_the_first_image_is_named():
    def use(cfg):
        TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[0])({})

    pipeline = [dict(type='RandomFlip', prob=1.0)]
    assert ended(use, pipeline, 'train_dataloader.dataset.pipeline') == (
        "error: train_dataloader.dataset.pipeline.0 (RandomFlip): KeyError: 'img'"
    )


def test_an_image_that_fails_in_training_blames_no_entry():
    scope = dict(__name__='mmengine.runner.loops')
    exec('def run_epoch(load):\n    load({})', scope)
    cfg = with_entry('train_dataloader.dataset.pipeline', [dict(type='RandomFlip', prob=1.0)])
    load = TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[0])
    with pytest.raises(KeyError, match='img'), one_line_errors():
        scope['run_epoch'](load)


def test_an_own_class_keeps_the_traceback_of_its_mistake():
    cfg = with_entry('model', dict(_delete_=True, type='OddlyAnnotated', size='base'))
    with pytest.raises(TypeError, match='unsupported operand'), one_line_errors():
        MODELS.build(cfg.model)


@pytest.fixture(params=['own_method', 'projects.own_method'])
def own_head(request):
    """A user's class that takes what its annotation does not say, and may have a mistake."""
    text = (
        'from torch import nn\n'
        'class StrangersHead(nn.Module):\n'
        '    def __init__(self, size: float, mistake=None):\n'
        '        super().__init__()\n'
        '        self.size = float(size)\n'
        '        mistake = [0][mistake or 0] or self.sise\n'
    )
    names = dict(__name__=request.param)
    exec(text, names)
    yield MODELS.register_module()(names['StrangersHead'])
    MODELS.module_dict.pop('StrangersHead')


def test_a_users_class_in_projects_is_nobody_elses(own_head):
    """``projects`` has our methods, and is where the guide has users put their own."""
    check_values(with_entry('model', dict(_delete_=True, type='StrangersHead', size='2')))
    for mistake, kind in ((1, IndexError), (0, AttributeError)):  # an index, a name
        cfg = with_entry(
            'model', dict(_delete_=True, type='StrangersHead', size=2, mistake=mistake)
        )
        with pytest.raises(kind), one_line_errors():
            MODELS.build(cfg.model)


def test_the_methods_that_come_along_are_ours():
    import projects.sadcl  # noqa: F401

    entry = dict(_delete_=True, type='SADCLHead', num_classes=2, in_channels='3')
    with pytest.raises(ValueError, match="in_channels='3': SADCLHead takes a number there"):
        check_values(with_entry('model', entry))


def test_images_that_differ_in_size_are_told_without_a_traceback():
    def join(cfg):
        default_collate([torch.zeros(3, 4, size) for size in (4, 5)])

    said = ended(join, {})
    assert said.startswith('error: the images of a batch differ in size, or the pipeline does not ')
    assert said.endswith('got [3, 4, 4] at entry 0 and [3, 4, 5] at entry 1')


def test_an_entry_of_a_hook_that_fails_is_named():
    def average(cfg):
        hooks = [HOOKS.build(cfg.custom_hooks[0])]
        Runner.call_hook(SimpleNamespace(_hooks=hooks, model=nn.Linear(1, 1)), 'before_run')

    said = ended(average, [dict(type='EMAHook', momentum='0.1')], 'custom_hooks')
    assert said.startswith(
        "error: {'momentum': '0.1', 'type': 'ExponentialMovingAverage'} cannot be built: TypeError"
    )


@pytest.mark.parametrize(
    'code, message',
    [
        ('torch.empty(2**55)', r"{'type': 'ExponentialMovingAverage'} cannot be built: .*memory"),
        ('raise torch.OutOfMemoryError("CUDA out of memory")', r'not enough memory \(CUDA out of'),
    ],
)
def test_what_asks_for_too_much_memory_is_named_and_a_full_gpu_is_said(code, message):
    library = dict(__name__='library', torch=torch)
    exec(f'def copy(model, memo):\n    {code}', library)
    model = type('Large', (nn.Linear,), dict(__deepcopy__=library['copy']))(1, 1)

    def average(cfg):
        MODELS.build(cfg.custom_hooks[0], default_args=dict(model=model))

    said = ended(average, [dict(type='ExponentialMovingAverage')], 'custom_hooks')
    assert re.match(f'error: .*{message}', said), said
