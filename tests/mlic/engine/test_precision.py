"""Evaluation in a chosen precision: what is lowered, what is not, and what the host waits for."""

import copy
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models.heads import MultiLabelClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from mlic.cli.compare_precision import describe_scores
from mlic.cli.test import config_of, parse_args
from mlic.engine.runner import precision as precisions
from mlic.engine.runner.class_means import class_means
from mlic.engine.runner.evaluation_loops import evaluation_loop
from mlic.engine.runner.precision import (
    autocast_to,
    predict_on_host,
    prepare_for,
    usable_precision,
)
from mlic.engine.runner.tool_runners import ConsoleRunner
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.models.heads.label_embed_head import LabelEmbedHead
from tests.helpers import call_tool
from tests.step_counter import StepCounter
from tests.tiny_runs import DIGITS, every_model, sarl_model, tiny_config, write_run

CLASSES, BATCH = 10, 4


HEADS = every_model(CLASSES)


def built(model, **head):
    """A model with random weights and a batch for it."""
    model = copy.deepcopy(model)
    model['head'].update(head)
    preprocessor = dict(type='MultiLabelDataPreprocessor', num_classes=CLASSES, to_onehot=True)
    torch.manual_seed(0)
    model = MODELS.build(dict(model, data_preprocessor=dict(preprocessor, mean=[127], std=[64])))
    model.init_weights()
    images = torch.randint(0, 256, (BATCH, 3, 64, 64), dtype=torch.uint8)
    samples = [DataSample().set_gt_label([i, 5]) for i in range(BATCH)]
    return model.eval(), dict(inputs=images, data_samples=samples)


# ---------------------------------------------------------------- predictions on the host


@pytest.mark.parametrize(
    'name, decision',
    [*((name, dict(thr=0.4)) for name in HEADS), ('baseline', dict(thr=None, topk=3))],
    ids=str,
)
@torch.no_grad()
def test_predictions_on_the_host_are_those_of_the_head(name, decision):
    model, batch = built(HEADS[name], **decision)
    expected = model.test_step(copy.deepcopy(batch))
    predict_on_host(model)
    for sample, other in zip(model.test_step(batch), expected):
        assert_close(sample.pred_score, other.pred_score)  # the same twice but for the last bit
        for field in ('pred_label', 'gt_score', 'gt_label'):
            assert_close(sample.get(field), other.get(field), rtol=0, atol=0)


@pytest.mark.parametrize('name', HEADS)
@torch.no_grad()
def test_evaluation_waits_once_a_batch(name):
    model, batch = built(HEADS[name])
    predict_on_host(model)
    with StepCounter(model) as counter:
        samples = model.val_step(batch)
        torch.stack([sample.gt_score for sample in samples]).numpy()
        torch.stack([sample.pred_score for sample in samples]).numpy()
    assert sum(counter.waits.values()) == 1, counter.waits


@torch.no_grad()
def test_predictions_without_samples_and_without_labels():
    model, batch = built(HEADS['baseline'])
    predict_on_host(model)
    expected = [sample.pred_score for sample in model.test_step(batch)]
    alone = model.test_step(dict(inputs=batch['inputs']))
    unlabelled = model.test_step(dict(batch, data_samples=[DataSample() for _ in range(BATCH)]))
    for samples in (alone, unlabelled):
        assert_close([sample.pred_score for sample in samples], expected)
        assert all('gt_score' not in sample for sample in samples)


def test_a_head_that_predicts_otherwise_keeps_its_way():
    class Head(MultiLabelClsHead):
        def predict(self, feats, data_samples=None):
            return 'its own'

    model = nn.Module()
    model.head = Head()
    predict_on_host(model)
    assert model.head.predict(None) == 'its own'
    predict_on_host(nn.Linear(2, 2))  # no head at all


@pytest.mark.parametrize(
    'name, precision', [*((name, 'bfloat16') for name in HEADS), ('csra', 'float16')]
)
@torch.no_grad()
def test_scores_are_float32_whatever_the_model_computes_in(name, precision):
    model, batch = built(HEADS[name])
    expected = torch.stack([s.pred_score for s in model.test_step(copy.deepcopy(batch))])
    predict_on_host(model)
    seen = set()
    model.backbone.register_forward_hook(lambda *args: seen.add(args[-1][-1].dtype))
    with autocast_to(precision, model):
        samples = model.test_step(batch)
    scores = torch.stack([sample.pred_score for sample in samples])
    assert seen == {getattr(torch, precision)}
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, expected)
    assert_close(scores, expected, rtol=0, atol=0.02)
    # logits of eight bits would come back from the scores
    logits = scores.double().logit()
    rounded = logits.bfloat16().double()
    assert ((logits - rounded).abs() > 1e-5 * logits.abs()).double().mean() > 0.9


@torch.no_grad()
def test_a_head_of_mmpretrain_computes_in_float32():
    model, batch = built(HEADS['baseline'])
    predict_on_host(model)
    feats = []
    model.neck.register_forward_hook(lambda *args: feats.append(args[-1][-1]))
    with autocast_to('bfloat16', model):
        samples = model.test_step(batch)
    logits = F.linear(feats[0].float(), model.head.fc.weight, model.head.fc.bias)
    for sample, row in zip(samples, logits):
        assert_close(sample.pred_score, row.sigmoid(), rtol=0, atol=1e-7)


# ---------------------------------------------------------------- choosing a precision


def test_bfloat16_becomes_float16_where_a_gpu_has_none(monkeypatch):
    lines = []
    monkeypatch.setattr(precisions, 'print_log', lambda line, logger: lines.append(line))
    monkeypatch.setattr(precisions, 'has_bfloat16', lambda: False)
    layer = nn.Linear(2, 2)
    assert usable_precision('bfloat16', layer) == 'bfloat16' and not lines
    monkeypatch.setattr(precisions, 'device_of', lambda model: torch.device('cuda'))
    found = [usable_precision(precision, layer) for precision in precisions.PRECISIONS]
    assert found == ['float32', 'float16', 'float16']
    assert lines == ['This GPU has no bfloat16: predictions in float16.']
    monkeypatch.setattr(precisions, 'has_bfloat16', lambda: True)
    assert usable_precision('bfloat16', layer) == 'bfloat16'


def test_an_unknown_precision_is_refused_by_name(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"\(eval_precision\) is one of float32, .*, got 'fp16'"):
        usable_precision('fp16', nn.Linear(2, 2))
    arguments = [DIGITS, '--work-dir', tmp_path, '--cfg-options', 'eval_precision=fp16']
    end = call_tool('tools/train.py', *arguments)
    assert "is one of float32, bfloat16, float16, got 'fp16'" in str(end) + capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_loop_that_cannot_obey_is_refused():
    cfg = Config(dict(eval_precision='bfloat16'))
    own = dict(type='OwnLoop')
    with pytest.raises(ValueError, match='val_cfg.type OwnLoop does not support eval_precision'):
        evaluation_loop(own, 'val', cfg)
    assert evaluation_loop(own, 'val', Config()) == own
    with pytest.raises(ValueError, match="test_cfg.fp16: write eval_precision = '"):
        evaluation_loop(dict(fp16=True), 'test', cfg)
    for loop in (dict(), dict(type='TestLoop'), dict(fp16=False)):
        expected = dict(type='MultiLabelTestLoop', precision='bfloat16')
        assert evaluation_loop(loop, 'test', cfg) == expected


@pytest.mark.parametrize(
    'precision, device, last',
    [('float32', 'cuda', False), ('bfloat16', 'cuda', True), ('bfloat16', 'cpu', False)],
)
def test_the_channels_are_last_in_a_lowered_precision(monkeypatch, precision, device, last):
    model, _ = built(HEADS['csra'])
    monkeypatch.setattr(precisions, 'device_of', lambda model: torch.device(device))
    weight = prepare_for(precision, model).backbone.layer1[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is last


# ---------------------------------------------------------------- who obeys


def test_validation_and_prototypes_of_a_run_obey_the_config(tmp_path):
    cfg = tiny_config(tmp_path, begin=2, epochs=2, eval_precision='bfloat16')
    cfg.default_hooks.checkpoint.update(interval=-1, save_best=None, save_last=False)
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.image_size = 64
    runner = ConsoleRunner.from_cfg(cfg)
    training, evaluation = [], []

    def note(neck, inputs, output):
        (training if neck.training else evaluation).append(inputs[0][-1].dtype)

    runner.model.neck.register_forward_hook(note)
    runner.train()
    # two validations of a batch, prototypes of two
    assert evaluation == [torch.bfloat16] * 4
    assert training == [torch.float32] * 4


class Rounding(nn.Module):
    """Embeddings from a linear layer, which autocast lowers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 6)
        self.head = LabelEmbedHead(5, 6)

    def data_preprocessor(self, batch, training):
        return batch

    def extract_feat(self, inputs):
        return (self.layer(inputs),)


@torch.no_grad()
def test_class_means_of_a_lowered_model_are_summed_exactly():
    model, generator = Rounding(), torch.Generator().manual_seed(1)
    inputs = torch.randn(200, 5, 6, generator=generator)
    target = torch.rand(200, 5, generator=generator) < 0.5
    samples = [DataSample().set_gt_score(row.float()) for row in target]
    batches = [
        dict(inputs=inputs[i : i + 8], data_samples=samples[i : i + 8]) for i in range(0, 200, 8)
    ]
    sums, counts, confident = class_means(model, batches, 0.5, precision='bfloat16')
    with torch.autocast('cpu', torch.bfloat16):
        embeds = model.layer(inputs)
    assert embeds.dtype == torch.bfloat16
    expected, passed = torch.zeros(5, 6, dtype=torch.float64), torch.zeros(5)
    scores = model.head((embeds.float(),)).sigmoid()
    for i in range(200):
        for c in range(5):
            if target[i, c] and scores[i, c] > 0.5:
                expected[c] += embeds[i, c].double()
                passed[c] += 1
    assert_close(sums, expected.float(), rtol=0, atol=0)
    assert_close(counts, target.sum(0).float())
    assert_close(confident, passed)


# ---------------------------------------------------------------- tools


@pytest.mark.parametrize(
    'options, expected',
    [
        ([], 'float32'),
        (['--precision', 'float16'], 'float16'),
        (['--amp'], 'bfloat16'),
        (['--cfg-options', 'eval_precision=bfloat16'], 'bfloat16'),
        (['--cfg-options', 'eval_precision=bfloat16', '--precision', 'float32'], 'float32'),
    ],
)
def test_the_command_line_of_test_py_comes_before_the_config(tmp_path, options, expected):
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save({}, checkpoint)
    args = parse_args([str(DIGITS), str(checkpoint), *options])
    assert config_of(args).eval_precision == expected


def test_the_tools_agree_on_what_a_precision_changes(tmp_path, capsys):
    config = write_run(
        tmp_path,
        sarl_model(10),
        bases=('datasets/digits128', 'schedules/adamw_one-cycle_5e', 'default_runtime'),
    )
    few = ['test_dataloader.dataset.num_images=12', 'test_dataloader.batch_size=5']
    few += ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
    scores = {}
    for precision, options in dict(float32=[], bfloat16=['--precision', 'bfloat16']).items():
        out = tmp_path / f'{precision}.npz'
        arguments = ['--work-dir', tmp_path / 'work', '--out', out, '--cfg-options', *few, *options]
        assert call_tool('tools/test.py', config, tmp_path / 'best_mAP.pth', *arguments) is None
        assert ('predicted in bfloat16' in capsys.readouterr().out) == bool(options)
        with np.load(out) as file:
            scores[precision] = file['pred']
    change = np.abs(scores['bfloat16'] - scores['float32'])
    assert 0 < change.max() < 0.05

    tool = 'tools/analysis_tools/compare_precision.py'
    arguments = [config, tmp_path / 'best_mAP.pth', '--threshold', '0.5', '--cfg-options', *few]
    assert call_tool(tool, *arguments) is None
    lines = capsys.readouterr().out
    largest = float(re.search(r'largest change of a score: ([\d.]+), from', lines)[1])
    mean = float(re.search(r'mean change of a score: ([\d.]+)', lines)[1])
    assert [largest, mean] == pytest.approx([change.max(), change.mean()], abs=1e-6)
    assert '12 images, 10 classes: float32 and bfloat16' in lines
    with np.load(tmp_path / 'float32.npz') as file:
        target = file['target']
    row = re.search(r'^mAP +([\d.]+) ([+-][\d.]+) +([\d.]+) ([+-][\d.]+)', lines, re.MULTILINE)
    for index, protocol in enumerate(('sadcl', 'standard')):
        old, new = (MLICMetric.calculate(pred, target, protocol)['mAP'] for pred in scores.values())
        assert float(row[2 * index + 1]) == pytest.approx(new, abs=0.006)
        assert float(row[2 * index + 2]) == pytest.approx(new - old, abs=0.0006)
    assert re.search(r'\n +sadcl +standard +asl +mmpretrain\n', lines)
    page = tmp_path / 'report.html'
    options = ['--num', 0, '--out', page, '--cfg-options', *few, 'eval_precision=bfloat16']
    assert call_tool('tools/analysis_tools/report.py', *arguments[:2], *options) is None
    assert 'predicted in bfloat16' in page.read_text(encoding='utf-8')
    same = call_tool(tool, *arguments, '--precision', 'float32')
    assert 'choose another' in str(same) + capsys.readouterr().err


@pytest.mark.parametrize('by_class', [False, True])
def test_changes_equal_a_loop_over_scores(by_class):
    rng = np.random.default_rng(0)
    before = rng.random((7, 3)).astype(np.float32)
    after = np.clip(before + 0.3 * rng.standard_normal((7, 3)), 0, 1).astype(np.float32)
    images, classes = [f'{i}.jpg' for i in range(7)], ['a', 'b', 'c']
    before[0] = 0.7  # the float32, which is less than the double
    threshold = np.array([0.3, 0.5, 0.7]) if by_class else 0.4
    largest, total, flips = (0, None, None), 0.0, dict(go=0, come=0, labels=0)
    for i in range(7):
        for c in range(3):
            change = abs(float(after[i, c]) - float(before[i, c]))
            total += change
            largest = max(largest, (change, i, c))
            limit = np.float32(threshold[c] if by_class else threshold)
            had, has = before[i, c] >= limit, after[i, c] >= limit
            flips['labels'] += had
            flips['go'] += had and not has
            flips['come'] += has and not had
    assert flips['go'] and flips['come']
    text = describe_scores(before, after, threshold, images, classes)
    size, i, c = largest
    assert f'{size:.6f}, from {before[i, c]:.6f} to {after[i, c]:.6f}' in text
    assert f': class {classes[c]} of {images[i]}\n' in text
    assert f'mean change of a score: {total / 21:.6f}\n' in text
    by = "each class's threshold" if by_class else '0.4'
    expected = f'at {by}: {flips["go"]} of {flips["labels"]} disappear, {flips["come"]} appear'
    assert expected in text
