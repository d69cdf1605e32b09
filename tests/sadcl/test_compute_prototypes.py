"""Prototypes in files: SADCLHead reads them, tools/compute_prototypes.py makes them.

Shapes: C classes, D embed dims.
"""

import logging

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS
from torch.testing import assert_close

from mlic.engine.runner.class_means import build_prototype_loader
from projects.sadcl.models import sadcl_head
from tests.helpers import run_tool
from tests.tiny_runs import tiny_config

TOOL = 'tools/compute_prototypes.py'
PROTOTYPES = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)


# --- reading -----------------------------------------------------------------------------------


@pytest.fixture
def warnings(monkeypatch):
    """Collects the head's lines in the log."""
    lines = []

    def collect(message, logger=None, level=logging.INFO):
        assert level == logging.WARNING
        lines.append(message)

    monkeypatch.setattr(sadcl_head, 'print_log', collect)
    return lines


def make_head(path):
    head = dict(type='SADCLHead', num_classes=5, in_channels=8, proj_channels=6, bank_slots=2)
    return MODELS.build(dict(head, prototypes=str(path)))


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
@pytest.mark.parametrize('shape', [(5, 8), (1, 5, 8)], ids=str)
def test_prototypes_of_a_file(tmp_path, warnings, dtype, shape):
    saved = PROTOTYPES.reshape(shape).astype(dtype)
    np.save(tmp_path / 'prototypes.npy', saved)
    head = make_head(tmp_path / 'prototypes.npy')
    expected = torch.tensor(saved.reshape(5, 8)).float()
    assert head.prototypes.dtype == torch.float32
    assert_close(head.prototypes.detach(), expected, rtol=0, atol=0)
    assert_close(head.memory_bank, expected.expand(2, 5, 8), rtol=0, atol=0)
    assert warnings == []


def test_zero_rows_are_reported_by_index_where_no_names_are_known(tmp_path, warnings):
    zero = PROTOTYPES.copy()
    zero[[1, 4]] = 0
    np.save(tmp_path / 'zero.npy', zero)
    assert_close(make_head(tmp_path / 'zero.npy').prototypes.detach(), torch.tensor(zero))
    (line,) = warnings
    assert 'zero.npy' in line and '2 of 5 classes' in line and line.endswith('indices: 1, 4')


@pytest.mark.parametrize('shape', [(8, 5), (5, 9), (4, 8), (2, 5, 8), (40,), (1, 1, 5, 8)], ids=str)
def test_wrong_shape_names_both_and_the_file(tmp_path, shape):
    np.save(tmp_path / 'wrong.npy', np.ones(shape, np.float32))
    with pytest.raises(ValueError, match=r'wrong\.npy must hold.*\(5, 8\), got') as error:
        make_head(tmp_path / 'wrong.npy')
    assert str(error.value).endswith(str(shape))


def test_other_numbers_pickled_objects_and_other_files_are_refused(tmp_path):
    np.save(tmp_path / 'integers.npy', np.ones((5, 8), np.int64))
    np.savez(tmp_path / 'archive.npz', PROTOTYPES)
    np.save(tmp_path / 'infinite.npy', np.where(PROTOTYPES > 0, np.nan, PROTOTYPES))
    np.save(tmp_path / 'pickled.npy', np.array([dict(a=1)], dtype=object), allow_pickle=True)
    (tmp_path / 'text.npy').write_text('0.5 0.25')
    (tmp_path / 'empty.npy').touch()
    np.savez(tmp_path / 'zip.npz', PROTOTYPES)
    (tmp_path / 'zip.npz').rename(tmp_path / 'zip.npy')
    messages = {
        'integers.npy': 'must hold one array of floats.*int64',
        'archive.npz': 'not a .npy file of plain values',
        'infinite.npy': 'holds values that are not finite',
        **{
            f'{name}.npy': 'not a .npy file of plain values'
            for name in ('pickled', 'text', 'empty', 'zip')
        },
    }
    for name, message in messages.items():
        with pytest.raises(ValueError, match=f'{name}:? {message}'):
            make_head(tmp_path / name)
    with pytest.raises(FileNotFoundError, match='absent.npy'):
        make_head(tmp_path / 'absent.npy')


# --- making ------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    """A tiny config, whose training pipeline destroys the image, and a model in a file."""
    cfg = tiny_config(tmp_path)
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='RandomErasing', erase_prob=1.0, min_area_ratio=0.9, max_area_ratio=0.95),
        dict(type='PackInputs'),
    ]
    cfg.model.head.prototypes = str(tmp_path / 'made.npy')  # not there yet
    cfg.dump(str(tmp_path / 'tiny.py'))
    torch.manual_seed(0)
    model_cfg = {**cfg.model, 'head': {**cfg.model.head, 'prototypes': None}}
    model = MODELS.build({**model_cfg, 'data_preprocessor': cfg.data_preprocessor}).eval()
    torch.nn.init.normal_(model.head.fc.weight, std=1.0)  # scores on both sides of thresholds
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    return cfg, model


def plain_prototypes(cfg, model, threshold, normalise_by):
    """Image by image, class by class."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': pipeline})
    sums = torch.zeros(model.head.fc.weight.shape, dtype=torch.float64)
    divisors = [0] * len(sums)
    for item in dataset:
        inputs = model.data_preprocessor(dict(inputs=[item['inputs']]), False)['inputs']
        with torch.no_grad():
            feats = model.extract_feat(inputs)
            (scores,) = model.head(feats).sigmoid()
        for label in item['data_samples'].gt_label.tolist():
            selected = scores[label] > threshold
            if selected:
                sums[label] += feats[-1][0, label].double()
            divisors[label] += int(selected or normalise_by == 'positives')
    return torch.stack([row / max(divisor, 1) for row, divisor in zip(sums, divisors)])


@pytest.mark.parametrize('normalise_by', ['positives', 'selected'])
def test_file_equals_loops(trained, tmp_path, capsys, normalise_by):
    cfg, model = trained
    out = tmp_path / 'made.npy'
    run_tool(
        TOOL,
        *(tmp_path / 'tiny.py', tmp_path / 'model.pth', '--out', out),
        *('--threshold', 0.5, '--normalise-by', normalise_by),
    )
    made = np.load(out, allow_pickle=False)
    assert made.dtype == np.float32
    expected = plain_prototypes(cfg, model, 0.5, normalise_by)
    assert_close(torch.tensor(made).double(), expected, rtol=1e-4, atol=1e-5)

    output = capsys.readouterr().out
    assert '16 training images' in output
    zero = (expected == 0).all(dim=1)
    assert 0 < zero.sum() < len(zero)
    names = DATASETS.build(cfg.train_dataloader.dataset).metainfo['classes']
    named = ', '.join(name for name, is_zero in zip(names, zero) if is_zero)
    assert f'{zero.sum()} of 10 classes have no image above the threshold' in output
    assert f'a prototype of zero: {named}\n' in output
    assert_close(MODELS.build(cfg.model).head.prototypes.detach(), torch.tensor(made))


def test_published_threshold_is_the_default(trained, tmp_path):
    out = tmp_path / 'new' / 'made.npy'
    run_tool(TOOL, tmp_path / 'tiny.py', tmp_path / 'model.pth', '--out', out)
    expected = plain_prototypes(*trained, 0.85, 'positives')
    assert_close(torch.tensor(np.load(out)).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'arguments', [('--out', 'made.txt'), ('--out', 'made.npy', '--threshold', '1.5'), ()], ids=str
)
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        run_tool(TOOL, 'sadcl_efficientnet-lite0_digits128', 'model.pth', *arguments)
    assert 'error: ' in capsys.readouterr().err


def test_wrapped_training_set_is_an_error(tmp_path):
    cfg = tiny_config(tmp_path)
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = Config(dict(type='RepeatDataset', times=2, dataset=dataset))
    with pytest.raises(ValueError, match='RepeatDataset has none: use a dataset without a wrapper'):
        build_prototype_loader(cfg)


def test_a_lowered_precision_changes_prototypes_little(trained, tmp_path, capsys):
    cfg, model = trained
    out = tmp_path / 'made.npy'
    arguments = (tmp_path / 'tiny.py', tmp_path / 'model.pth', '--out', out, '--threshold', 0)
    run_tool(TOOL, *arguments, '--cfg-options', 'eval_precision=bfloat16')
    assert 'training images, in bfloat16\n' in capsys.readouterr().out
    made = torch.tensor(np.load(out, allow_pickle=False)).double()
    expected = plain_prototypes(cfg, model, 0, 'positives')
    assert not torch.equal(made, expected)
    assert_close(made, expected, rtol=0, atol=0.02 * expected.abs().max().item())
