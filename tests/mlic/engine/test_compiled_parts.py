"""torch.compile of backbone and neck: one graph each, whatever comes."""

import copy
import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.testing import assert_close

import projects.c_tran
import projects.sadcl  # noqa: F401
from mlic.engine.checkpoints.search import find_resumable
from mlic.engine.runner import compiled_parts
from mlic.engine.runner.compiled_parts import compile_parts
from mlic.engine.runner.tool_runners import ConsoleRunner
from tests.tiny_runs import (
    BACKBONE,
    EPOCHS,
    LENGTH,
    Stop,
    StopBefore,
    assert_same_end,
    sarl_model,
    two_stage_config,
)

CLASSES = 5


class Counter:
    """A backend of torch.compile that counts its graphs and runs them as they are."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def make_model(dropout=0.0):
    torch.manual_seed(0)
    cfg = sarl_model(CLASSES, proj_channels=8, bank_slots=8)
    cfg['backbone'] = BACKBONE
    cfg['neck'].update(in_channels=16, dropout=dropout)
    cfg['data_preprocessor'] = dict(
        type='MultiLabelDataPreprocessor', num_classes=CLASSES, to_onehot=True, mean=[9], std=[9]
    )
    return MODELS.build(cfg).train()


def batch(images, labels):
    inputs = torch.randn(images, 3, 64, 64, generator=torch.Generator().manual_seed(images))
    samples = [DataSample().set_gt_label(list(range(labels))) for _ in range(images)]
    return dict(inputs=inputs, data_samples=samples)


def losses(model, images, labels, mixed=True):
    data = model.data_preprocessor(batch(images, labels), True)
    with torch.autocast('cpu', torch.bfloat16, enabled=mixed):
        return model(**data, mode='loss')


def test_no_batch_makes_a_second_graph():
    model, backend = make_model(), Counter()
    compile_parts(model, ['backbone', 'neck'], backend=backend, fullgraph=True)
    for images, labels in ((4, 1), (4, 3), (3, 2), (4, 0)):  # one is the last of an epoch
        sum(losses(model, images, labels).values()).backward()
        model.eval()
        with torch.no_grad():
            model(batch(images, labels)['inputs'], mode='tensor')
        model.train()
    assert backend.graphs == 2


def test_compiled_parts_give_the_same_losses_and_gradients():
    plain, compiled, backend = make_model(), make_model(), Counter()
    compile_parts(compiled, ['backbone', 'neck'], backend=backend)
    for images in (4, 3):
        ours, theirs = (losses(model, images, 2) for model in (compiled, plain))
        assert_close(ours, theirs, rtol=0, atol=0)
        for values in (ours, theirs):
            sum(values.values()).backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters()):
        assert_close(ours.grad, theirs.grad, rtol=0, atol=0)
    assert backend.graphs == 2


def test_a_copy_and_a_state_dict_know_nothing_of_it():
    model, backend = make_model(), Counter()
    names = list(model.state_dict())
    compile_parts(model, ['backbone', 'neck'], backend=backend)
    assert list(model.state_dict()) == names
    losses(copy.deepcopy(model), 4, 1)
    assert backend.graphs == 0
    losses(model, 4, 1)
    assert backend.graphs == 2


def test_a_part_that_is_given_none_is_compiled():
    """C-Tran's head, where no label is given."""
    head = dict(type='CTranHead', in_channels=16, num_classes=3, known_labels=None)
    backbone = dict(type='StoredFeatures')
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head)).train()
    feats, samples = torch.rand(2, 16, 3, 3), [DataSample().set_gt_label([1])] * 2
    for layer in model.head.layers:
        layer.eval()  # no dropout
    expected, backend = model.loss(feats, samples), Counter()
    compile_parts(model, ['head'], backend=backend)
    assert_close(model.loss(feats, samples), expected)
    assert backend.graphs > 0 and model.head._compiled_call_impl.is_called


def test_the_config_names_the_parts(monkeypatch):
    given = []
    monkeypatch.setattr(compiled_parts.torch, 'compile', lambda run, **_: given.append(run) or run)
    runner = ConsoleRunner.__new__(ConsoleRunner)
    runner.logger, runner._distributed = logging.getLogger('test'), False
    for cfg in ({}, dict(compiled_parts=['neck'])):
        runner.cfg = Config(cfg)
        runner.wrap_model(None, make_model())
        assert len(given) == len(cfg)
    with pytest.raises(ValueError, match="names 'nek', and ImageClassifier has no such part"):
        compile_parts(make_model(), ['nek'])


def test_cuda_graphs_and_accumulation_are_refused_together():
    runner = ConsoleRunner.__new__(ConsoleRunner)
    runner.cfg = Config(
        dict(
            compiled_parts=['neck'],
            compile_options=dict(mode='reduce-overhead'),
            optim_wrapper=dict(accumulative_counts=2),
        )
    )
    with pytest.raises(ValueError, match='reduce-overhead .*accumulative_counts=2 .*one of them'):
        runner.wrap_model(None, make_model())


@pytest.mark.parametrize('recomputed', ['neck', 'neck.layers', ['backbone.layers', 'neck']])
def test_what_is_compiled_is_not_recomputed(recomputed, monkeypatch):
    """Of one part the compilation was dropped, and within a compiled part nothing recomputed."""
    monkeypatch.setattr(Runner, 'train', lambda self: 'trained')
    runner = ConsoleRunner.__new__(ConsoleRunner)
    runner.cfg = Config(dict(compiled_parts=['neck'], activation_checkpointing=recomputed))
    message = "names 'neck', and activation_checkpointing 'neck.*: only one"
    with pytest.raises(ValueError, match=message):
        runner.train()
    runner.cfg.compiled_parts = ['head', 'nec']
    assert runner.train() == 'trained'


@pytest.mark.slow
def test_a_compiled_step_is_the_other_up_to_rounding():
    plain, compiled = make_model(), make_model()
    compile_parts(compiled, ['backbone', 'neck'])
    ours, theirs = (losses(model, 4, 2, mixed=False) for model in (compiled, plain))
    assert_close(ours, theirs, rtol=1e-4, atol=1e-5)  # float32 sums in another order
    for values in (ours, theirs):
        sum(values.values()).backward()
    for ours, theirs in zip(compiled.parameters(), plain.parameters()):
        assert (ours.grad - theirs.grad).norm() <= 1e-3 * theirs.grad.norm() + 1e-6


STOP_AT = 3 * LENGTH + 2  # an iteration within the second stage


def run(folder, stop=False):
    """Two stages on digits, compiled and deterministic; the last checkpoint."""
    cfg = two_stage_config(folder)
    cfg.compiled_parts = ['backbone', 'neck']
    if not stop and (found := find_resumable(folder)):
        cfg.load_from, cfg.resume = found, True
    runner = ConsoleRunner.from_cfg(cfg)
    if stop:
        runner.register_hook(StopBefore(STOP_AT))
    try:
        runner.train()
    finally:
        runner.visualizer.close()
    return torch.load(folder / f'epoch_{EPOCHS}.pth', 'cpu', weights_only=False)


@pytest.mark.slow
def test_a_compiled_run_that_is_stopped_and_resumed_ends_as_the_other(tmp_path):
    straight = run(tmp_path / 'straight')
    with pytest.raises(Stop):
        run(tmp_path / 'stopped', stop=True)
    assert_same_end(run(tmp_path / 'stopped'), straight)
