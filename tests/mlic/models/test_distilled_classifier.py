"""Students and their teachers. B images, C classes, P classes of a teacher."""

import copy
import math

import pytest
import torch
from mmengine.config import ConfigDict
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from mlic.engine.hooks.teachers_hook import open_teachers
from mlic.models.backbones.stored_features import StoredFeatures
from mlic.models.distilled_classifier import DistilledClassifier, Teacher, distance
from mlic.models.training_parts import for_prediction
from projects.mcar.mcar_classifier import MCARClassifier
from tests.tiny_runs import TO_UNIT, every_model, write_teacher

DIGITS = [f'digit {number}' for number in range(10)]
EVEN, ODD = DIGITS[::2], DIGITS[:0:-2]  # the second in another order


def student(teachers, name='baseline', **settings):
    torch.manual_seed(1)
    model = dict(copy.deepcopy(every_model(10)[name]), data_preprocessor=TO_UNIT)
    model.update(type='DistilledClassifier', distillation=dict(teachers=teachers, **settings))
    return MODELS.build(model)


def batch(seed=2):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 3, 32, 32, generator=generator)
    target = (torch.rand(3, 10, generator=generator) < 0.4).float()
    return images, [DataSample().set_gt_score(row) for row in target]


def distance_by_loops(student, teacher, kind, temperature):
    total = 0
    for s, t in zip(student.tolist(), teacher.tolist()):
        if kind == 'mse':
            total += sum((a - b) ** 2 for a, b in zip(s, t))
            continue
        p, q = ([math.exp(x / temperature) for x in row] for row in (t, s))
        p, q = ([x / sum(row) for x in row] for row in (p, q))
        total += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q))
    return total


@pytest.mark.parametrize('kind,temperature', [('mse', 4.0), ('kl', 4.0), ('kl', 1.5)])
def test_a_distance_equals_loops(kind, temperature):
    torch.manual_seed(0)
    pair = torch.randn(2, 4, 5).double()
    found = distance(*pair, kind, temperature)
    assert found.item() == pytest.approx(distance_by_loops(*pair, kind, temperature), rel=1e-9)
    assert distance(pair[0], pair[0], kind, temperature).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('kind', ['mse', 'kl'])
@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
def test_losses_are_those_of_the_head_and_of_each_teacher_on_its_classes(tmp_path, kind, alpha):
    teachers = [
        dict(write_teacher(tmp_path / 'even', 'baseline', EVEN, 1), ensemble='parts'),
        dict(write_teacher(tmp_path / 'odd', 'ml-decoder', ODD, 2), ensemble='parts'),
        dict(write_teacher(tmp_path / 'all', 'csra', DIGITS, 3), ensemble='whole'),
    ]
    model = student(teachers, kind=kind, alpha=alpha)
    lines = open_teachers(model, DIGITS)
    assert [line.rsplit(', ', 1)[1] for line in lines] == ['5 classes', '5 classes', '10 classes']
    images, samples = batch()
    model.eval()
    losses = model.loss(images, samples)
    own = model.head.loss(model.extract_feat(images), samples)
    assert set(losses) == {'loss_cls', 'loss_distillation'}
    assert_close(losses['loss_cls'], own['loss'] * (1 - alpha))
    total = 0
    with torch.no_grad():
        for teacher, names in zip(model.teachers, (EVEN, ODD, DIGITS)):
            numbers = [DIGITS.index(name) for name in names]
            logits = teacher.model(images)
            total += distance_by_loops(model(images)[:, numbers], logits, kind, 4.0)
    assert losses['loss_distillation'].item() == pytest.approx(alpha * total / 2 / 3, rel=1e-4)


@pytest.mark.parametrize('name', every_model(10))
def test_every_method_teaches_and_learns(tmp_path, name):
    """But that a method with a classifier of its own learns in a class that extends both."""
    teacher = write_teacher(tmp_path / 'teacher', name, DIGITS)
    images, samples = batch()
    images = torch.nn.functional.interpolate(images, scale_factor=2)
    model = student([teacher], 'baseline')
    open_teachers(model, DIGITS)
    assert model.loss(images, samples)['loss_distillation'] > 0
    if name in ('mcar', 'mulcon'):  # mulcon's contrast needs two views
        return
    model = student([write_teacher(tmp_path / 'other', 'baseline', DIGITS)], name).train()
    open_teachers(model, DIGITS)
    losses = model.loss(images, samples)
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is None for t in model.teachers for p in t.model.parameters())


def test_a_classifier_of_a_method_learns_in_a_class_that_extends_both(tmp_path):
    class Student(DistilledClassifier, MCARClassifier):
        pass

    settings = {k: v for k, v in every_model(10)['mcar'].items() if k != 'type'}
    settings.update(data_preprocessor=TO_UNIT)
    teacher = write_teacher(tmp_path / 'teacher', 'baseline', DIGITS)
    model = Student(**copy.deepcopy(settings), distillation=dict(teachers=[teacher]))
    open_teachers(model, DIGITS)
    assert {'loss_global', 'loss_local', 'loss_distillation'} == set(model.loss(*batch()))


def test_teachers_are_no_part_of_the_model(tmp_path):
    teacher = write_teacher(tmp_path / 'teacher', 'sadcl', DIGITS)
    model, plain = student([teacher]), MODELS.build(every_model(10)['baseline'])
    random = torch.get_rng_state()
    open_teachers(model, DIGITS)
    assert torch.equal(torch.get_rng_state(), random)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert len(list(model.parameters())) == len(list(plain.parameters()))
    assert copy.deepcopy(model).teachers[0] is model.teachers[0]  # an average holds no second
    model.train()
    assert not any(module.training for module in model.teachers[0].model.modules())
    config = for_prediction(ConfigDict(every_model(10)['baseline'], type='DistilledClassifier'))
    assert config.distillation is None
    assert MODELS.build(config).loss(*batch()).keys() == {'loss'}


def test_a_teacher_is_not_changed_by_its_students_training(tmp_path):
    model = student([write_teacher(tmp_path / 'teacher', 'baseline', DIGITS)]).train()
    open_teachers(model, DIGITS)
    before = copy.deepcopy(model.teachers[0].model.state_dict())
    model.loss(*batch())['loss_distillation'].backward()
    for name, value in model.teachers[0].model.state_dict().items():
        assert torch.equal(value, before[name])


def test_in_lower_precision_the_distance_is_of_float32(tmp_path):
    model = student([write_teacher(tmp_path / 'teacher', 'baseline', DIGITS)]).eval()
    open_teachers(model, DIGITS)
    expected = model.loss(*batch())['loss_distillation']
    with torch.autocast('cpu', torch.bfloat16):
        found = model.loss(*batch())['loss_distillation']
    assert found.dtype == torch.float32
    assert_close(found, expected, rtol=0.1, atol=0.02)


@pytest.mark.parametrize(
    'settings,message',
    [
        (dict(aplha=0.5), 'distillation: unknown aplha: use teachers, alpha, kind, temperature'),
        (dict(kind='l1'), "distillation.kind must be 'mse' or 'kl', got 'l1'"),
        (dict(alpha=1.5), 'distillation.alpha must lie between 0 and 1, got 1.5'),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        student([dict()], **settings)


def test_what_is_wrong_with_a_teacher_is_said_in_a_line(tmp_path):
    setting = dict(config='sarl_r101_coco448', checkpoint=str(tmp_path / 'none'))
    with pytest.raises(FileNotFoundError, match='no teacher .*none; it is made by tools/train.py'):
        open_teachers(student([setting]), DIGITS)
    with pytest.raises(FileNotFoundError, match='it is made by make it'):
        open_teachers(student([dict(setting, train='make it')]), DIGITS)
    other = write_teacher(tmp_path / 'other', 'baseline', ['digit 0', 'horse'])
    with pytest.raises(ValueError, match="knows 'horse', which the data do not have"):
        open_teachers(student([other]), DIGITS)
    darker = write_teacher(tmp_path / 'darker', 'baseline', DIGITS, mean=[5.0] * 3)
    with pytest.raises(ValueError, match='takes images with another mean than'):
        open_teachers(student([darker]), DIGITS)
    plain = write_teacher(tmp_path / 'plain', 'baseline', DIGITS)
    stored = student([plain])
    stored.backbone = StoredFeatures()
    with pytest.raises(ValueError, match='takes images, and the student stored features'):
        open_teachers(stored, DIGITS)
    with pytest.raises(ValueError, match='names none: a student needs at least one'):
        open_teachers(student([]), DIGITS)
    with pytest.raises(ValueError, match='the teachers are not open: add default_hooks'):
        student([other]).loss(*batch())
    assert open_teachers(MODELS.build(every_model(10)['baseline']), DIGITS) == []


def test_a_teacher_is_a_tuple_of_a_model_and_numbers():
    assert Teacher(nn.Identity(), [0, 2]).ensemble == ''
