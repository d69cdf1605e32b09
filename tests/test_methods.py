"""What the toolkit promises holds for every method: a new one is entered in ``every_model``."""

import copy
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from mlic.apis.export import ScoreModel
from mlic.cli import export
from mlic.engine.checkpoints.class_transfer import take_over_weights
from mlic.engine.config.device import adapt_to_device
from mlic.engine.runner.buffers import BufferCopies
from mlic.models.layers.scene_graph import SceneGraph
from mlic.models.training_parts import check_exportable, for_prediction, is_training_only
from tests.helpers import ROOT, run_ranks
from tests.tiny_runs import (
    RUN_NUMBER,
    TO_UNIT,
    Stop,
    StopBefore,
    assert_same_end,
    every_model,
    sarl_model,
    write_teacher,
)

NAMES = [f'class {index}' for index in range(10)]
METHODS = every_model(10)
METHODS['mulcon']['head'].update(num_views=1, loss_con=None)  # its contrast needs two views
PREPROCESSOR = dict(
    type='MultiLabelDataPreprocessor', num_classes=10, mean=[0.0] * 3, std=[1.0] * 3
)
LENGTH = 3  # iterations an epoch


class AsOneProcess(Hook):
    """No dropout, and batch norm in evaluation mode: both depend on the number of processes."""

    def before_train(self, runner):
        for module in runner.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, 'dropout', None), float):
                module.dropout = 0.0
            if hasattr(module, 'known_labels'):
                module.known_labels = 0.0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()


def config_of(name, work_dir, batch_size=4, **changes):
    """Two epochs of a method on digit scenes of 32 px, with dropout, EMA and bfloat16."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/digits128.py')
    cfg.merge_from_dict(Config.fromfile(ROOT / 'configs/_base_/default_runtime.py').to_dict())
    cfg.model = copy.deepcopy(METHODS[name])
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
        loader.dataset.update(num_images=4 * LENGTH, image_size=32)
    cfg.optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='AdamW', lr=1e-2))
    cfg.param_scheduler = []
    cfg.custom_hooks = [dict(type='ForeachEMAHook', momentum=0.1)]
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
    cfg.val_cfg, cfg.test_cfg = {}, {}
    cfg.default_hooks.checkpoint.pop('save_best')
    cfg.randomness = dict(seed=3, deterministic=True)
    cfg.env_cfg.cudnn_benchmark = False
    cfg.work_dir = str(work_dir)
    cfg.launcher = 'none'
    cfg.merge_from_dict(changes)
    cfg.experiment_name = f'method_{next(RUN_NUMBER)}'
    return cfg


def train(cfg, hooks=(), draws=0):
    """A run of a process whose generators stand anywhere."""
    runner = Runner.from_cfg(copy.deepcopy(cfg))
    for hook in hooks:
        runner.register_hook(hook)
    torch.rand(7 + draws)
    runner.train()
    return runner


def end_of(work_dir):
    return torch.load(work_dir / 'epoch_2.pth', map_location='cpu', weights_only=False)


@pytest.mark.parametrize('name', sorted({*METHODS} - {'baseline', 'csra', 'image-contrast'}))
def test_a_map_of_other_channels_names_what_takes_it_and_its_key(name):
    model = MODELS.build(METHODS[name]).eval()
    part = 'neck' if model.with_neck else 'head'
    taker = getattr(model, part)
    take = taker.attention_maps if name == 'mcar' else taker  # its regions are maps, too
    owner = f'{type(taker).__name__}(in_channels={taker.in_channels})'
    key = f"set the config's {part}.in_channels to the backbone's channels"
    message = f'{re.escape(owner)} takes a feature map .*{re.escape(key)}'
    with pytest.raises(ValueError, match=message):
        take((torch.rand(1, 7, 4, 4),) * 2)


OF_SEVERAL_MAPS = {'mcar', 'tdrg'}


@pytest.mark.parametrize(
    'name', sorted({*METHODS} - {'baseline', 'csra', 'image-contrast'} - OF_SEVERAL_MAPS)
)
def test_a_map_that_is_in_no_tuple_is_refused_with_what_to_give(name):
    model = MODELS.build(METHODS[name]).eval()
    taker = model.neck if model.with_neck else model.head
    with pytest.raises((TypeError, ValueError), match='tuple of'):
        taker(torch.rand(2, taker.in_channels, 4, 4))


@pytest.mark.slow
@pytest.mark.parametrize('name', METHODS)
def test_a_run_that_is_stopped_and_resumed_ends_where_the_other_does(name, tmp_path):
    fused = {'optim_wrapper.optimizer.fused': True}  # as with CUDA
    train(config_of(name, tmp_path / 'straight', **fused))
    with pytest.raises(Stop):
        train(config_of(name, tmp_path / 'stopped', **fused), hooks=[StopBefore(LENGTH + 1)])
    train(config_of(name, tmp_path / 'stopped', resume=True, **fused), draws=1)
    assert_same_end(end_of(tmp_path / 'stopped'), end_of(tmp_path / 'straight'))


@pytest.mark.parametrize('name', [*METHODS, 'sadcl with contrast'])
def test_an_iteration_can_be_taken_back(name):
    """With a fused optimizer, as on a GPU, that is asked for after each; here, before any, too."""
    torch.manual_seed(0)
    cfg = METHODS.get(name) or sarl_model(10, proj_channels=8, bank_slots=4)
    model = MODELS.build(dict(copy.deepcopy(cfg), data_preprocessor=PREPROCESSOR)).train()
    if name == 'sadcl with contrast':
        model.head.bank_threshold = 0.0
    samples = [DataSample().set_gt_label([i, 5]) for i in range(4)]
    batch = dict(inputs=torch.randn(4, 3, 64, 64), data_samples=samples)
    copies = BufferCopies(model)
    copies.keep()
    copies.take_back(torch.tensor(True))
    for is_bad in (False, True):
        before = {key: buffer.clone() for key, buffer in model.named_buffers()}
        copies.keep()
        model(**model.data_preprocessor(batch, True), mode='loss')
        assert not unchanged(model, before)
        copies.take_back(torch.tensor(is_bad))
        assert unchanged(model, before) == is_bad


CONSTANT = {
    'c-tran': {'head.unknown_state'},
    'ccd': {'head.memory', 'head.second_stage'},
    'cpcl': {'head.graph.matrix'},
    'dsdl': {'head.vectors.vectors'},
    'ml-decoder': {'head.query_embed'},
    'ml-gcn': {'head.graph.matrix'},
    'ssgrl': {'neck.graph.matrix'},
}


@pytest.mark.parametrize('name', METHODS)
def test_only_what_an_iteration_can_change_is_copied(name):
    model = MODELS.build(dict(copy.deepcopy(METHODS[name]), data_preprocessor=PREPROCESSOR))
    before = {key: buffer.clone() for key, buffer in model.train().named_buffers()}
    copies = BufferCopies(model)
    copies.keep()
    copied = {(id(module), key) for places, _ in copies.kept for module, key in places}
    paths = {id(module): path for path, module in model.named_modules()}
    left_out = before.keys() - {f'{paths[number]}.{key}' for number, key in copied}
    normalisation = {'data_preprocessor.mean', 'data_preprocessor.std'}
    assert left_out == normalisation | CONSTANT.get(name, set())
    samples = [DataSample().set_gt_label([i, 5]) for i in range(4)]
    batch = dict(inputs=torch.randn(4, 3, 64, 64), data_samples=samples)
    model(**model.data_preprocessor(batch, True), mode='loss')
    assert all(torch.equal(model.get_buffer(key), before[key]) for key in left_out)


def unchanged(model, before):
    return all(torch.equal(before[key], buffer) for key, buffer in model.named_buffers())


def built(name, seed=0):
    """A method's model in evaluation mode, with weights that make its parts count."""
    torch.manual_seed(seed)
    model = MODELS.build(dict(copy.deepcopy(METHODS[name]), data_preprocessor=PREPROCESSOR))
    for module in model.modules():
        if isinstance(module, SceneGraph):
            module.counts.random_(1, 9)  # as if it had been trained
            module.counts[:, 3] = module.counts[:, :, 3] = 0  # on no image with class 3
    if name == 'ccd':  # in its second stage
        model.head.start_second_stage(torch.randn(10, 64))
    return model.eval()


@pytest.mark.parametrize('name', METHODS)
def test_prediction_needs_nothing_but_the_checkpoint(name):
    """Without the parts that only training needs, and without the training set."""
    model, images = built(name), torch.randn(2, 3, 64, 64)
    parts = {k: v for k, v in model.state_dict().items() if not is_training_only(k, model)}
    config = for_prediction(ConfigDict(copy.deepcopy(METHODS[name])))
    other = MODELS.build(dict(config, data_preprocessor=PREPROCESSOR)).eval()
    other.load_state_dict(parts)
    with torch.no_grad():
        assert torch.equal(model(images), other(images))


@pytest.mark.parametrize('name', METHODS)
def test_scores_of_an_image_do_not_depend_on_its_batch(name):
    model, images = built(name).double(), torch.randn(3, 3, 64, 64).double()
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    assert_close(alone, together, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('name', METHODS)
def test_gradients_reach_all_parameters(name):
    """One that never gets any would stop several processes.

    The softmax over the cells takes out what is the same in all.
    """
    without_effect = ('neck.attention.hidden.bias', 'neck.attention.score.bias')
    model = built(name).train()
    target = (torch.rand(4, 10) < 0.4).float()
    samples = [DataSample().set_gt_score(row) for row in target]
    samples = model.data_preprocessor(
        dict(inputs=[torch.zeros(3, 64, 64)] * 4, data_samples=samples), True
    )['data_samples']
    losses = model.loss(torch.randn(4, 3, 64, 64), samples)
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    without = [key for key, grad in gradients.items() if grad is None or not grad.any()]
    without = {key for key in without if not is_training_only(key, model)}
    assert without <= {*(without_effect if name == 'ssgrl' else ())}


@pytest.mark.parametrize('name', METHODS)
def test_an_exported_model_can_be_trained_on(name):
    """What is formed for good before an export is the copy's."""
    model, other = built(name).eval(), built(name, seed=1).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        scores = ScoreModel(model)
        before = scores(images)
        model.load_state_dict(other.state_dict())
        assert torch.equal(model(images.float()), other(images.float()))
        assert not torch.equal(ScoreModel(model)(images), before)
        assert torch.equal(scores(images), before)


@pytest.mark.slow
@pytest.mark.parametrize('name', METHODS)
def test_an_onnx_file_gives_the_scores_of_the_model(name, tmp_path):
    pytest.importorskip('onnx', reason="needs pip install -e '.[deploy]'")
    runtime = pytest.importorskip('onnxruntime', reason="needs pip install -e '.[deploy]'")
    model, example = built(name), torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    if name == 'mcar':  # which is refused
        with pytest.raises(ValueError, match='not exported'):
            check_exportable(model)
        return
    model = ScoreModel(model).eval()
    shapes = dict(images={0: torch.export.Dim('batch')})
    with torch.no_grad():
        program = torch.export.export(model, (example,), dynamic_shapes=shapes, strict=True)
    export.write_onnx(program, {}, tmp_path / 'model.onnx', None)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    session = runtime.InferenceSession(str(tmp_path / 'model.onnx'))
    for count in (3, 1, 2):
        (found,) = session.run(None, {'images': images[:count].numpy()})
        np.testing.assert_allclose(
            found, model(images[:count]).detach().numpy(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize('name', METHODS)
def test_other_classes_take_over_what_is_theirs(name):
    """Entries of a class follow its name; the rest fits."""
    old, new = built(name), built(name, seed=1)
    stored = dict(
        state_dict=copy.deepcopy(old.state_dict()), meta=dict(dataset_meta=dict(classes=NAMES))
    )
    take_over_weights(stored, new, NAMES[::-1], {}, 'a.pth')
    new.load_state_dict(stored['state_dict'])
    if name in ('mulcon',):  # its classes attend to one another in whatever order
        return
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert_close(new(images), old(images).flip(1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize('name', METHODS)
def test_two_processes_train_what_one_does(name, tmp_path):
    for number in (1, 2):
        run_ranks(number, train_on_ranks, name, tmp_path / str(number), number)
    one, two = (end_of(tmp_path / str(number))['state_dict'] for number in (1, 2))
    assert_close(two, one, rtol=1e-4, atol=1e-5)


def train_on_ranks(rank, name, work_dir, number):
    """The same images an iteration, whatever the number of processes."""
    train_as_one(config_of(name, work_dir, 4 // number))


def train_as_one(cfg):
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-2))
    cfg.launcher = 'pytorch'
    adapt_to_device(cfg)
    train(cfg, hooks=[AsOneProcess()])


# --- a student and its teacher -----------------------------------------------------------------


def student_config(folder, work_dir, **changes):
    """A run of two epochs with a teacher on half of the classes."""
    if not (folder / 'teacher').exists():
        write_teacher(folder / 'teacher', 'sadcl', ['two', 'four', 'six', 'eight', 'zero'])
    path = str(folder / 'teacher')
    cfg = config_of('baseline', work_dir, **changes)
    teacher = dict(config=f'{path}/config.py', checkpoint=path)
    cfg.model.update(type='DistilledClassifier', distillation=dict(teachers=[teacher]))
    cfg.data_preprocessor = copy.deepcopy(TO_UNIT)
    cfg.default_hooks.teachers = dict(type='TeachersHook')
    return cfg


@pytest.mark.slow
def test_a_student_that_is_resumed_opens_its_teachers_again(tmp_path):
    train(student_config(tmp_path, tmp_path / 'straight'))
    with pytest.raises(Stop):
        train(student_config(tmp_path, tmp_path / 'stopped'), hooks=[StopBefore(LENGTH + 1)])
    train(student_config(tmp_path, tmp_path / 'stopped', resume=True), draws=1)
    assert_same_end(end_of(tmp_path / 'stopped'), end_of(tmp_path / 'straight'))


@pytest.mark.dist
def test_two_processes_learn_from_a_teacher_what_one_does(tmp_path):
    student_config(tmp_path, tmp_path)  # writes the teacher
    for number in (1, 2):
        run_ranks(number, train_student_on_ranks, tmp_path, number)
    one, two = (end_of(tmp_path / str(number))['state_dict'] for number in (1, 2))
    assert_close(two, one, rtol=1e-4, atol=1e-5)


def train_student_on_ranks(rank, folder, number):
    train_as_one(student_config(folder, folder / str(number), batch_size=4 // number))
