"""Exported and published models: the same scores without what only training needs."""

import contextlib
import copy
import csv
import hashlib
import io
import json
import math
import os
import pickle
import re
import resource
import runpy
import shlex
import shutil
import subprocess
import sys
import zipfile
from argparse import Namespace
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from PIL import Image

from mlic.apis.export import ScoreModel, describe_input, input_size
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.apis.model_card import model_card
from mlic.apis.open_run import open_run
from mlic.cli import export, publish_model
from mlic.cli.verify_export import check_metadata, open_model, read_images
from mlic.engine.checkpoints.reading import TRUST, read_checkpoint
from mlic.engine.checkpoints.safetensors_file import to_safetensors
from mlic.evaluation.matrices import Block
from mlic.evaluation.predictions import save_predictions
from mlic.evaluation.protocols import PROTOCOLS
from mlic.evaluation.summary import evaluate_block
from mlic.image_reader import ImageReadError, read_image
from mlic.literals import parse_literals
from tests.helpers import ROOT, Recorder, call_tool, code_of
from tests.photo_run import CLASSES, SIZE

onnx = pytest.importorskip('onnx', reason="needs pip install -e '.[deploy]'")
onnxruntime = pytest.importorskip('onnxruntime', reason="needs pip install -e '.[deploy]'")

DEMO = ROOT / 'mlic/demo/onnx_predict.py'
TRAINING_ONLY = ('projector', 'prototypes', 'memory_bank')


@pytest.fixture(scope='module')
def model(run, checkpoint):
    return open_run(checkpoint, run / 'config.py').model


@pytest.fixture(scope='module')
def batch(model):
    """What the test pipeline makes of three images (3, 3, H, W), uint8, BGR."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, SIZE, SIZE), generator=generator).byte()


@pytest.fixture(scope='module')
def documented(run):
    """The folder of the run, after each command of docs/deploy.md."""
    with pytest.MonkeyPatch.context() as patch:
        run_document('deploy.md', run, patch)
    return run


@pytest.fixture(scope='module')
def exported(documented):
    return documented / 'model.onnx'


@pytest.fixture(scope='module')
def published(documented):
    (path,) = (documented / 'published').glob('*.pth')
    return path


def scores_of(model, batch):
    with torch.no_grad():
        samples = model.test_step(dict(inputs=batch))
    return torch.stack([sample.pred_score for sample in samples])


# ---------------------------------------------------------------- export


@pytest.mark.parametrize(
    'preprocessor',
    [{}, dict(to_rgb=False), dict(mean=None, std=None), dict(pad_size_divisor=24, pad_value=3)],
    ids=['plain', 'bgr', 'not-normalised', 'padded'],
)
def test_score_model_takes_rgb_and_gives_the_scores_of_the_model(
    run, checkpoint, batch, preprocessor
):
    cfg = Config.fromfile(run / 'config.py')
    cfg.data_preprocessor.update(preprocessor)
    model = open_run(checkpoint, cfg).model
    with torch.no_grad():
        found = ScoreModel(model).eval()(batch.flip(1))
    torch.testing.assert_close(found, scores_of(model, batch))


@pytest.mark.parametrize('drop_path_rate', [0.0, 0.2])
def test_a_vit_of_mmpretrain_is_exported_as_its_config_says(drop_path_rate):
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16)
    vit = dict(type='VisionTransformer', arch=arch, img_size=32, out_type='featmap')
    model = ImageClassifier(
        backbone=dict(vit, drop_path_rate=drop_path_rate),  # layers with numbers of numpy's
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=16),
        data_preprocessor=dict(mean=[127] * 3, std=[128] * 3),
    ).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    scores = ScoreModel(model).eval()
    program = export.program_of(scores, (32, 32))
    torch.testing.assert_close(program.module()(images), scores(images))


class Branches(torch.nn.Module):
    def forward(self, images):
        return images if images.sum() > 0 else images + 1


def test_a_model_that_torch_cannot_follow_is_one_line_with_the_place():
    place = f'{__file__}, line {Branches.forward.__code__.co_firstlineno + 1}'
    with pytest.raises(
        ValueError, match=r'^torch.export cannot follow the model: \S[^\n]*$'
    ) as end:
        export.program_of(Branches(), (32, 32))
    assert str(end.value).endswith(place)


def test_a_model_that_torch_cannot_translate_is_one_line(tmp_path, monkeypatch):
    """torch 2.6 cannot translate batch norm."""

    def translate(*args, **kwargs):
        try:
            raise RuntimeError('Error when translating node %batch_norm\nthe whole graph')
        except RuntimeError as error:
            raise RuntimeError('Failed to convert\nNext steps') from error

    monkeypatch.setattr(torch.onnx, 'export', translate)
    program = mock.Mock(state_dict={})
    with pytest.raises(
        ValueError, match=r'^torch \S+ cannot translate .*: Error when .* %batch_norm$'
    ):
        export.write_onnx(program, {}, tmp_path / 'm.onnx', None)
    assert not any(tmp_path.iterdir())


def test_onnx_agrees_for_any_batch_and_takes_uint8_only(exported, model, batch):
    session = onnxruntime.InferenceSession(str(exported))
    (given,) = session.get_inputs()
    assert given.name == 'images' and given.type == 'tensor(uint8)'
    assert isinstance(given.shape[0], str) and given.shape[1:] == [3, SIZE, SIZE]
    for size in (1, 2, 3):
        rgb = batch[:size].flip(1).numpy()
        found = torch.from_numpy(session.run(['scores'], {'images': rgb})[0])
        # other kernels: float32 sums in another order
        expected = scores_of(model, batch[:size])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        session.run(['scores'], {'images': rgb.astype(np.float32) / 255})


def test_onnx_file_holds_what_prediction_needs_and_no_more(exported, model, checkpoint):
    content = onnx.load(exported)
    names = [weight.name for weight in content.graph.initializer]
    assert any('fc' in name for name in names)
    assert not any(part in name for name in names for part in TRAINING_ONLY)
    needed = sum(value.numel() * 4 for value in model.state_dict().values())
    slack = 150_000  # bytes of graph and names
    assert exported.stat().st_size < needed + slack
    assert str(ROOT).encode() not in exported.read_bytes()  # no paths of this machine
    metadata = {entry.key: json.loads(entry.value) for entry in content.metadata_props}
    assert metadata['classes'] == CLASSES
    assert metadata['preprocessing'] == dict(
        layout='NCHW',
        dtype='uint8',
        channels='RGB',
        size=[SIZE, SIZE],
        reduce_to=None,
        resize='bilinear',
        transforms=[dict(type='Resize', scale=[SIZE, SIZE])],
        mean=[120.0, 110.0, 100.0],
        std=[60.0, 55.0, 50.0],
    )


class Quotient(torch.nn.Module):
    """Scores of three classes, by a constant that a translation could take for nothing."""

    def __init__(self):
        super().__init__()
        self.register_buffer('counts', torch.tensor([0.0, 1.0, 2.0]))

    def forward(self, images):
        means = images.float().mean((1, 2, 3))[:, None] / 255
        return (self.counts / (self.counts + 1e-8) * means).sigmoid()


@pytest.mark.parametrize('change', [0.11, math.nan])
def test_a_file_that_gives_other_scores_is_not_written(tmp_path, monkeypatch, change):
    program = export.program_of(Quotient(), (4, 4))

    class Changed:
        def run(self, names, inputs):
            scores = program.module()(torch.from_numpy(inputs['images'])).numpy()
            scores[1, 2] += change
            return [scores]

    monkeypatch.setattr(export, 'open_session', lambda path: Changed())
    with pytest.raises(ValueError, match=r'difference (0\.11|nan)\): --format torch-export'):
        export.write_onnx(program, {}, tmp_path / 'model.onnx', None)
    assert list(tmp_path.iterdir()) == []


def test_a_constant_that_the_translation_drops_is_found(tmp_path):
    program = export.program_of(Quotient(), (4, 4))
    try:
        export.write_onnx(program, {}, tmp_path / 'model.onnx', None)
    except ValueError as error:
        assert 'nan' in str(error)
    else:  # a later onnxscript keeps it
        session = onnxruntime.InferenceSession(str(tmp_path / 'model.onnx'))
        images = torch.full((3, 3, 4, 4), 51, dtype=torch.uint8)
        [scores] = session.run(['scores'], {'images': images.numpy()})
        np.testing.assert_allclose(scores, program.module()(images), atol=1e-6)


@pytest.fixture(scope='module')
def large(run, checkpoint, tmp_path_factory):
    """A file of another size, 48 x 36, whose weights are taken for too many for one file."""
    out = tmp_path_factory.mktemp('large') / 'new' / 'large.onnx'
    options = ['--out', out, '--size', 48, 36]
    with mock.patch.object(export, 'LARGEST_FILE', 1000):
        assert call_tool('tools/deploy/export.py', run / 'config.py', checkpoint, *options) is None
    return out


def test_weights_of_a_large_model_are_next_to_it(large, model):
    assert sorted(os.listdir(large.parent)) == ['large.onnx', 'large.onnx.data']
    session = onnxruntime.InferenceSession(str(large))
    batch = torch.randint(0, 256, (3, 3, 48, 36), dtype=torch.uint8)
    found = torch.from_numpy(session.run(['scores'], {'images': batch.flip(1).numpy()})[0])
    torch.testing.assert_close(found, scores_of(model, batch), rtol=0, atol=1e-5)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no device that is full')
def test_a_program_that_fills_the_disk_is_one_line(run, tmp_path):
    """torch's own writer aborted the process."""
    (tmp_path / 'full.pt2').symlink_to('/dev/full')
    out = ['--out', tmp_path / 'full.pt2', '--format', 'torch-export']
    refusal = call_tool('tools/deploy/export.py', run / 'config.py', run / 'work_dirs/run', *out)
    assert refusal.startswith('error: ') and 'No space left' in refusal and 'full.pt2' in refusal


def test_torch_export_agrees(documented, model, batch, capsys, monkeypatch):
    path = documented / 'model.pt2'
    extra = dict(classes='', preprocessing='')
    program = torch.export.load(path, extra_files=extra)
    assert json.loads(extra['classes']) == CLASSES
    for size in (1, 3):
        found = program.module()(batch[:size].flip(1))
        torch.testing.assert_close(found, scores_of(model, batch[:size]), rtol=0, atol=1e-5)
    verify = [documented / 'config.py', documented / 'work_dirs/run', path, '--num', 2]
    refusal = call_tool('tools/deploy/verify.py', *verify)
    assert refusal.startswith(f'error: {path} is a program') and f'{TRUST}=1' in refusal
    monkeypatch.setenv(TRUST, '1')
    assert call_tool('tools/deploy/verify.py', *verify) is None
    assert 'torch.export' in capsys.readouterr().out


def repack(source, target, endings, change):
    """A copy of a zip archive, in which the content of the member with such an end is changed."""
    changed = 0
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w') as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(endings):
                content, changed = change(content), changed + 1
            new.writestr(name, content)
    assert changed == 1


@pytest.mark.parametrize('member', ['pickle', 'expression'])
def test_code_in_an_exported_program_is_not_executed(tmp_path, monkeypatch, member):
    monkeypatch.delenv(TRUST, raising=False)
    dynamic = dict(x={0: torch.export.Dim('batch')})
    program = torch.export.export(Double(), (torch.ones(2, 3),), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / 'good.pt2')
    trace, evil = tmp_path / 'executed', tmp_path / 'evil.pt2'

    def as_pickle(content):
        buffer = io.BytesIO()
        torch.save(Recorder(trace), buffer)
        return buffer.getvalue()

    def as_expression(content):
        code = f'__import__("os").mkdir({str(trace)!r})'
        text, number = re.subn(rb'"expr_str":\s*"[^"]*"', b'"expr_str": "@"', content)
        assert number
        return text.replace(b'"@"', json.dumps(code).encode())

    if member == 'pickle':
        names = 'sample_inputs/model.pt', 'serialized_example_inputs.pt'  # now, in torch 2.7
        repack(tmp_path / 'good.pt2', evil, names, as_pickle)
    else:
        names = 'models/model.json', 'serialized_exported_program.json'
        repack(tmp_path / 'good.pt2', evil, names, as_expression)
    with pytest.raises(ValueError, match=f'evil.pt2 is a program.*{TRUST}=1'):
        open_model(evil)
    assert not trace.exists()
    with contextlib.suppress(Exception):  # what the refusal is for
        torch.export.load(evil)
    assert trace.exists()


def test_a_part_of_an_exported_program_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(TRUST, '1')
    torch.export.save(torch.export.export(Double(), (torch.ones(2, 3),)), tmp_path / 'good.pt2')
    content = (tmp_path / 'good.pt2').read_bytes()
    (tmp_path / 'part.pt2').write_bytes(content[:-20])
    with zipfile.ZipFile(tmp_path / 'other.pt2', 'w') as archive:
        archive.writestr('a', b'')
    for name in ('part', 'other'):
        with pytest.raises(ValueError, match=f'{name}.pt2 cannot be opened by torch: [^\n]+$'):
            open_model(tmp_path / f'{name}.pt2')


class Double(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def test_half_the_bytes_give_nearly_the_same_scores_in_float32(
    run, documented, model, batch, capsys
):
    out = documented / 'half.onnx'
    kinds = {weight.data_type for weight in onnx.load(out).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds and onnx.TensorProto.FLOAT not in kinds
    (found,) = onnxruntime.InferenceSession(str(out)).run(None, {'images': batch.flip(1).numpy()})
    assert found.dtype == np.float32
    assert (found.astype(np.float16) != found).any()  # the sigmoid is not in float16
    # eleven bits of each layer's activations
    torch.testing.assert_close(torch.from_numpy(found), scores_of(model, batch), rtol=0, atol=0.01)
    common = [run / 'config.py', run / 'work_dirs/run']
    verify = ['tools/deploy/verify.py', *common, out, '--num', 1, '--tolerance', 1e-6]
    assert call_tool(*verify) == f'error: scores of {out} differ by more than 1e-06'
    pt2 = ['--out', run / 'a.pt2', '--format', 'torch-export', '--half']
    capsys.readouterr()
    assert call_tool('tools/deploy/export.py', *common, *pt2) == 2
    assert '--half is for --format onnx' in capsys.readouterr().err


@pytest.mark.parametrize('opset, can_be_written', [(17, False), (23, True)])
def test_a_file_has_the_operator_set_that_was_asked_for_or_is_not_written(
    run, checkpoint, tmp_path, opset, can_be_written
):
    out = tmp_path / 'model.onnx'
    out.write_text('earlier')
    arguments = [run / 'config.py', checkpoint, '--out', out, '--opset', opset]
    status = call_tool('tools/deploy/export.py', *arguments)
    if can_be_written:
        assert status is None
        assert [(x.domain, x.version) for x in onnx.load(out).opset_import] == [('', opset)]
    else:
        assert status.startswith(f'error: opset {opset} cannot be written for this model (')
        assert out.read_text() == 'earlier'
    assert os.listdir(tmp_path) == ['model.onnx']


# ---------------------------------------------------------------- predicting with the file


def test_an_exported_file_predicts_as_the_checkpoint_does(
    run, photos, exported, checkpoint, capsys
):
    def results(weights):
        arguments = [*photos, '--checkpoint', weights, '--out', run / 'by', '--topk', 2]
        assert call_tool('tools/infer.py', *arguments) is None
        record = json.loads((run / 'by/predictions.json').read_text())
        with (run / 'by/scores.csv').open(encoding='utf-8') as file:
            return record, list(csv.reader(file))

    (record, rows), (_, expected_rows) = results(exported), results(checkpoint)
    assert record['checkpoint'] == str(exported) and record['precision'] == 'float32'
    assert record['classes'] == CLASSES and not record['failed']
    for row, other in zip(rows, expected_rows, strict=True):
        assert row[:2] == other[:2]
        if row is not rows[0]:
            np.testing.assert_allclose(np.float64(row[2:]), np.float64(other[2:]), atol=1e-5)
    inferencer, reference = MultiLabelInferencer(exported), MultiLabelInferencer(checkpoint)
    pixels = cv2.imread(photos[0])
    for thr in (0.3, 0.5):
        assert inferencer(pixels, thr=thr).names == reference(pixels, thr=thr).names
    outcome = dict(inferencer.stream([*photos[:1], 'missing.jpg'], attention=True))
    assert 'no attention to show' in str(outcome[photos[0]])
    assert 'image not found' in str(outcome['missing.jpg'])


def with_metadata(exported, path, **entries):
    """A copy of an exported file whose metadata are others."""
    model = onnx.load(exported)
    kept = {entry.key: entry.value for entry in model.metadata_props} | entries
    onnx.helper.set_model_props(model, {key: value for key, value in kept.items() if value})
    onnx.save(model, path)
    return path


def recipe(exported, **changes):
    (entry,) = (e for e in onnx.load(exported).metadata_props if e.key == 'preprocessing')
    return dict(preprocessing=json.dumps(json.loads(entry.value) | changes))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda file: dict(classes=''), 'its classes must be a list of names'),
        (lambda file: dict(classes='["a", 2]'), 'its classes must be a list of names'),
        (lambda file: dict(classes='["a"'), 'the classes in .*bad.onnx: not JSON'),
        (lambda file: dict(preprocessing=''), 'has no size of images: None'),
        (lambda file: recipe(file, resize=None), 'more than one plain resize: predict with the'),
        (
            lambda file: dict(thresholds='{"thresholds": {"cat": 0.2}}'),
            'has no threshold for 4 classes',
        ),
    ],
)
def test_a_file_with_other_metadata_is_refused_in_one_line(exported, tmp_path, change, message):
    bad = with_metadata(exported, tmp_path / 'bad.onnx', **change(exported))
    with pytest.raises(ValueError, match='^[^\n]*bad.onnx[^\n]*$') as refusal:
        MultiLabelInferencer(bad)
    assert re.search(message, str(refusal.value)), refusal.value


def test_images_that_are_not_resized_have_the_size_of_the_file(exported, photos, tmp_path):
    changes = recipe(exported, resize=None, transforms=[])
    as_they_are = MultiLabelInferencer(with_metadata(exported, tmp_path / 'own.onnx', **changes))
    resized = MultiLabelInferencer(exported)
    pixels = cv2.resize(cv2.imread(photos[0]), (SIZE, SIZE))
    fits, small = (str(tmp_path / name) for name in ('fits.png', 'small.png'))
    cv2.imwrite(fits, pixels)
    cv2.imwrite(small, pixels[:-1])
    (_, right), (_, wrong) = as_they_are.stream([fits, small])
    assert right.scores == resized(fits).scores
    assert f'this model takes images of {SIZE} x {SIZE} pixels' in str(wrong)


def test_a_file_whose_recipe_says_so_decodes_large_jpegs_reduced(exported, tmp_path):
    recipe_with = recipe(exported, reduce_to=SIZE)
    reduced = MultiLabelInferencer(with_metadata(exported, tmp_path / 'own.onnx', **recipe_with))
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'large.jpg'), pixels)
    path, whole = str(tmp_path / 'large.jpg'), MultiLabelInferencer(exported)
    assert reduced(path).scores == whole(read_image(path, reduce_to=SIZE)).scores
    assert reduced(path).scores != whole(path).scores


def test_an_exported_file_takes_no_option_that_it_could_not_obey(exported, photos, tmp_path):
    for options in (dict(config='config.py'), dict(device='cuda'), dict(precision='bfloat16')):
        with pytest.raises(
            ValueError, match='has its own config, precision and size, and computes on'
        ):
            MultiLabelInferencer(exported, **options)
    with pytest.raises(FileNotFoundError):
        MultiLabelInferencer(tmp_path / 'missing.onnx')
    os.mkfifo(tmp_path / 'pipe.onnx')  # opening it would wait for ever
    with pytest.raises(ValueError, match='pipe.onnx: not a regular file'):
        MultiLabelInferencer(tmp_path / 'pipe.onnx')
    fewer = with_metadata(exported, tmp_path / 'fewer.onnx', classes=json.dumps(CLASSES[:4]))
    ((_, outcome),) = MultiLabelInferencer(fewer).stream(photos[:1])
    assert '(1, 5) scores of 4 classes' in str(outcome)


@pytest.mark.parametrize('copied', [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_an_inferencer_of_an_exported_file_can_be_copied(
    copied, exported, photos, tmp_path, monkeypatch
):
    shutil.copy(exported, tmp_path / 'model.onnx')
    monkeypatch.chdir(tmp_path)
    inferencer = MultiLabelInferencer('model.onnx')
    monkeypatch.chdir('/')  # as a process that starts elsewhere
    again = copied(inferencer)
    assert again(photos) == inferencer(photos)
    reordered = json.dumps(CLASSES[::-1])
    with_metadata(exported, tmp_path / 'model.onnx', classes=reordered)
    with pytest.raises(ValueError, match='was replaced by another model: open it again$'):
        copied(inferencer)


def test_a_size_that_depends_on_the_image_must_be_given(run):
    cfg = Config.fromfile(run / 'config.py')
    assert input_size(cfg) == (SIZE, SIZE)
    resize = cfg.test_dataloader.dataset.pipeline[1]
    resize.keep_ratio = True
    with pytest.raises(ValueError, match='give --size HEIGHT WIDTH'):
        input_size(cfg)
    assert describe_input(cfg, (32, 20))['resize'] is None
    for change in (dict(interpolation='bicubic'), dict(backend='pillow')):
        resize.update(keep_ratio=False, **change)
        assert describe_input(cfg, (32, 32))['resize'] is None


@pytest.mark.parametrize(
    'options, is_read_alike',
    [
        ({}, True),
        (dict(color_type='color', imdecode_backend='cv2', backend_args=None), True),
        (dict(color_type='color_ignore_orientation'), False),
        (dict(imdecode_backend='pillow'), False),
        (dict(to_float32=True, backend_args=dict(key='secret')), False),
    ],
)
def test_a_loader_that_reads_other_pixels_is_in_the_recipe(run, options, is_read_alike):
    cfg = Config.fromfile(run / 'config.py')
    pipeline = cfg.test_dataloader.dataset.pipeline
    plain = describe_input(cfg, (SIZE, SIZE))
    pipeline[0] = dict(type='LoadImageFromFile', **options)
    found = describe_input(cfg, (SIZE, SIZE))
    if is_read_alike:
        assert found == plain
    else:
        options.pop('backend_args', None)
        loader = dict(type='LoadImageFromFile', **options)
        assert found == dict(plain, resize=None, transforms=[loader, *plain['transforms']])
    del pipeline[1]  # images of their own size are no exception
    assert (describe_input(cfg, (SIZE, SIZE))['transforms'] == []) == is_read_alike


def test_large_jpegs_are_decoded_with_enough_pixels_for_a_given_size(run, checkpoint, tmp_path):
    """The recipe kept the pixels for the pipeline's size, which were enlarged."""
    cfg = Config.fromfile(run / 'config.py')
    loader, resize = cfg.test_dataloader.dataset.pipeline[:2]
    assert describe_input(cfg, (128, 96))['reduce_to'] is None
    loader.reduce_to = 2 * SIZE
    sizes = {(SIZE, SIZE): 64, (16, 16): 64, (128, 96): 256, (32, 48): 96}
    assert {size: describe_input(cfg, size)['reduce_to'] for size in sizes} == sizes
    inferencer = MultiLabelInferencer(checkpoint, cfg, 'cpu')
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'large.jpg'), pixels)
    (image,) = read_images(Namespace(images=str(tmp_path), num=1), inferencer, (128, 96))
    whole = cv2.resize(read_image(tmp_path / 'large.jpg'), (96, 128))
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), whole)
    resize.update(scale=(48, SIZE))  # width, height
    assert describe_input(cfg, (SIZE, 48))['reduce_to'] == 64
    resize.keep_ratio = True  # 300 x 500 become 29 x 48, 700 x 400 48 x 27
    assert describe_input(cfg, (54, 54))['reduce_to'] == 128


def test_verify_passes_on_the_same_and_fails_on_other_weights(run, exported, checkpoint, capsys):
    def verify(weights, *arguments, config='config.py'):
        common = [run / config, weights, exported, '--num', 3, *arguments]
        return call_tool('tools/deploy/verify.py', *common)

    assert verify(checkpoint) is None
    *lines, last = capsys.readouterr().out.strip().splitlines()
    assert last == f'{exported}: same scores'
    line = r'batch \d: 3 images, largest difference \d\.\de[+-]\d\d; PyTorch [\d.]+ ms, onnx'
    assert all(re.match(line, text) for text in lines[-2:]), lines
    assert verify(checkpoint, '--images', run / 'photos') is None
    content = torch.load(checkpoint, weights_only=False)
    content['state_dict']['head.fc.bias'] += 0.01
    torch.save(content, run / 'other.pth')
    assert 'differ by more than 0.0001' in verify(run / 'other.pth')
    content['meta']['dataset_meta']['classes'] = CLASSES[::-1]
    torch.save(content, run / 'other.pth')
    dataset = f'dict(dataset=dict(metainfo=dict(classes={CLASSES[::-1]})))'
    (run / 'other.py').write_text(f"_base_ = 'config.py'\ntest_dataloader = {dataset}\n")
    message = verify(run / 'other.pth', config='other.py')
    assert 'the classes in the file differ' in message


@pytest.mark.parametrize(
    'operator, attributes, message',
    [
        ('Transpose', {}, r'bad.onnx gives float32 of shape \(5, 1\) for scores'),
        ('Squeeze', {}, r'bad.onnx gives float32 of shape \(5,\) for scores'),
        ('Split', dict(num_outputs=9), 'bad.onnx fails in onnxruntime: .*Split'),
    ],
)
def test_verify_says_in_one_line_what_a_file_gives_instead_of_scores(
    run, exported, checkpoint, tmp_path, operator, attributes, message
):
    content = onnx.load(exported)
    (last,) = (node for node in content.graph.node if 'scores' in node.output)
    last.output[0] = 'inner'
    outputs = ['scores', *(f'other{i}' for i in range(attributes.get('num_outputs', 1) - 1))]
    node = onnx.helper.make_node(operator, ['inner'], outputs, **attributes)
    content.graph.node.append(node)
    content.graph.output[0].type.tensor_type.ClearField('shape')
    onnx.save(content, tmp_path / 'bad.onnx')
    verify = [run / 'config.py', checkpoint, tmp_path / 'bad.onnx', '--num', 3]
    found = call_tool('tools/deploy/verify.py', *verify)
    assert re.search(f'^error: [^\n]*{message}[^\n]*$', found), found


def test_a_given_size_is_exported_and_verified(run, checkpoint, large):
    images = ['--num', 3, '--images', run / 'photos']
    assert (
        call_tool('tools/deploy/verify.py', run / 'config.py', checkpoint, large, *images) is None
    )
    (given,) = onnxruntime.InferenceSession(str(large)).get_inputs()
    assert given.shape[2:] == [48, 36]


@pytest.mark.slow
def test_a_size_is_given_where_the_images_have_several(run, checkpoint, tmp_path):
    resize = "dict(type='Resize', scale=(40, 32), keep_ratio=True)"
    pipeline = f"[dict(type='LoadImageStrict'), {resize}, dict(type='PackInputs')]"
    config, out = tmp_path / 'sized.py', tmp_path / 'sized.onnx'
    dataset = f'dict(dataset=dict(pipeline={pipeline}))'
    config.write_text(f'_base_ = {str(run / "config.py")!r}\ntest_dataloader = {dataset}\n')
    options = ['--out', out, '--size', 48, 36]
    assert call_tool('tools/deploy/export.py', config, checkpoint, *options) is None
    images = ['--num', 3, '--images', run / 'photos']
    assert call_tool('tools/deploy/verify.py', config, checkpoint, out, *images) is None
    (given,) = onnxruntime.InferenceSession(str(out)).get_inputs()
    assert given.shape[2:] == [48, 36]


@pytest.mark.parametrize('size', ['"x"', '[0, 4]', '[4]', '[true, 4]', '{}', '[4.0, 4]'])
def test_a_file_without_a_size_of_images_is_not_verified(size):
    metadata = dict(classes='[]', preprocessing=f'{{"size": {size}}}')
    with pytest.raises(ValueError, match='no size of images'):
        check_metadata(metadata, None, None)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--out', 'model.pt2'], '--format onnx writes a .onnx file'),
        (['--out', 'model.onnx', '--size', '0', '3'], 'argument --size: must be at least 1, got 0'),
    ],
)
def test_export_refuses_options_that_do_not_fit(run, arguments, message, capsys):
    common = [run / 'config.py', run / 'work_dirs/run', *arguments]
    assert call_tool('tools/deploy/export.py', *common) == 2
    assert message in capsys.readouterr().err


# ---------------------------------------------------------------- the example without torch


def test_example_predicts_without_torch(run, photos, exported, checkpoint, tmp_path):
    code = (
        'import runpy, sys; sys.argv = sys.argv[1:]; '
        "runpy.run_path(sys.argv[0], run_name='__main__'); "
        "assert not {'torch', 'mmcv', 'mmengine', 'mlic', 'projects'} & set(sys.modules)"
    )
    command = [sys.executable, '-c', code, str(DEMO), str(exported), *photos, '--threshold', '0.0']
    home = dict(os.environ, HOME=str(tmp_path))
    home.pop('ORT_DISABLE_TELEMETRY')  # mlic has set it here, the tool sets it itself
    options = dict(capture_output=True, text=True, cwd=run, env=home, timeout=120)
    result = subprocess.run(command, **options)
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.iterdir())  # where onnxruntime keeps what it reports to its makers
    lines = result.stdout.strip().splitlines()
    for line, photo, result in zip(lines, photos, MultiLabelInferencer(checkpoint)(photos)):
        found = dict(re.findall(r'([^\W\d][\w ]*) (\d\.\d\d)', line[len(photo) + 2 :]))
        for name, score in result.scores.items():
            assert float(found[name]) == pytest.approx(score, abs=0.005 + 1e-5)  # two digits


@pytest.mark.parametrize('size', [(50, 70), (300, 40), (20, 24), (32, 32)])
def test_example_resizes_as_opencv(size, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / 'a.png')
    found = runpy.run_path(str(DEMO))['read'](tmp_path / 'a.png', (32, 32), 'bilinear')
    expected = cv2.resize(image, (32, 32)).transpose(2, 0, 1)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_example_refuses_a_size_that_it_cannot_make(tmp_path):
    Image.new('RGB', (50, 40)).save(tmp_path / 'a.png')
    read = runpy.run_path(str(DEMO))['read']
    assert read(tmp_path / 'a.png', (40, 50), None).shape == (3, 40, 50)
    with pytest.raises(ValueError, match=f'^{tmp_path}/a.png: this model takes images of 32 x 40'):
        read(tmp_path / 'a.png', (40, 32), None)


def test_example_refuses_a_model_whose_preprocessing_it_has_not(exported, tmp_path):
    Image.new('RGB', (SIZE, SIZE)).save(tmp_path / 'fits.png')  # the size says nothing
    cropped = recipe(exported, resize=None, transforms=[dict(type='CenterCrop', crop_size=SIZE)])
    model = with_metadata(exported, tmp_path / 'crop.onnx', **cropped)
    done = example(model, tmp_path / 'fits.png')
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == (
        f'error: {model}: its images need more than one plain resize: predict with the checkpoint\n'
    )


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda file: dict(preprocessing=''), 'is no model of export.py'),
        (lambda file: recipe(file, size=[SIZE, 8]), 'png: .*bad.onnx fails .*dimensions'),
    ],
)
def test_example_refuses_what_is_no_exported_model_in_one_line(
    exported, photos, tmp_path, change, message
):
    bad = with_metadata(exported, tmp_path / 'bad.onnx', **change(exported))
    assert re.search(f'^error: [^\n]*{message}[^\n]*$', call_tool(DEMO, bad, photos[0]))


def test_example_predicts_the_images_that_it_can_read_and_names_the_others(
    exported, photos, tmp_path, monkeypatch
):
    (tmp_path / 'text.jpg').write_text('no image')
    monkeypatch.setenv('PYTHONIOENCODING', 'ascii')  # of the classes, 'straße' is none
    done = example(exported, 'missing.jpg', photos[0], tmp_path / 'text.jpg', photos[1], '--thr=0')
    assert done.returncode == 1
    assert [line.split(': ')[0] for line in done.stdout.splitlines()] == photos[:2]
    assert done.stdout.count('stra\\xdfe 0.') == 2
    missing, text = done.stderr.splitlines()
    assert missing == 'error: missing.jpg: image not found'
    assert text.startswith(f'error: {tmp_path}/text.jpg: ')


# ---------------------------------------------------------------- publish


def test_published_file_holds_averaged_weights_and_names_its_hash(run, published, checkpoint):
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert published.stem == f'tiny_{run.parent.name}-run-{digest[:8]}'
    content = read_checkpoint(published)  # nothing but tensors and plain values
    assert set(content) == {'meta', 'state_dict'}
    before = read_checkpoint(checkpoint)
    assert 'message_hub' in before
    raw = before['ema_state_dict']  # mmengine saves the averages as state_dict and swaps these
    changed = 0
    for name, value in content['state_dict'].items():
        assert not any(part in name for part in TRAINING_ONLY)
        torch.testing.assert_close(value, before['state_dict'][name], rtol=0, atol=0)
        changed += not torch.equal(value, raw['module.' + name])
    assert changed > 10
    assert content['meta']['dataset_meta']['classes'] == CLASSES
    for text in (content['meta']['cfg'], content['meta']['training_cfg']):
        assert 'work_dirs/run' not in text
    assert 'SSCLLoss' not in content['meta']['cfg']
    assert published.stat().st_size < Path(checkpoint).stat().st_size / 2


@pytest.mark.parametrize(
    'settings, start',
    [
        ({}, ''),
        (dict(load_from='/home/me/first.pth'), 'first.pth'),
        (dict(load_from='epoch_1.pth', resume=True), ''),
    ],
)
def test_the_card_says_what_trains_the_model_again(
    run, settings, start, tmp_path, checkpoint, monkeypatch
):
    cfg = Config.fromfile(run / 'config.py')
    cfg.update(settings)
    cfg.dump(str(tmp_path / 'own.py'))
    args = publish_model.parse_args(
        [str(checkpoint), str(tmp_path), '--config', str(tmp_path / 'own.py')]
    )
    published = publish_model.publish(args)
    card = (tmp_path / 'README.md').read_text()
    assert ('\nrepeat the training,' in card) == (not start)
    assert ('train.py training.py\n' in card) == (not start)
    if start:
        assert f'| start | {start} |' in card
        assert f'training.py --cfg-options load_from={start}' in card
    again = tmp_path / 'training.py'
    again.write_text(read_checkpoint(published)['meta']['training_cfg'])
    monkeypatch.chdir(run)
    assert call_tool('tools/train.py', again, '--dry-run', '--work-dir', tmp_path / 'again') is None


def test_absolute_paths_are_not_published():
    data = dict(ann_file='data/pets/test.json', data_prefix='/home/me/photos')
    cfg = Config(dict(work_dir='/home/me/run', test_dataloader=dict(dataset=data), scale=(2, 3)))
    kept = publish_model.without_private(cfg)
    assert '/home' not in kept.pretty_text
    assert kept.test_dataloader.dataset == dict(data, data_prefix='photos')
    assert kept.scale == (2, 3)
    assert cfg.work_dir == '/home/me/run'  # the original is as it was


def test_published_file_gives_the_same_scores_everywhere(
    run, photos, published, checkpoint, capsys
):
    def inferred(path):
        inferencer = MultiLabelInferencer(path, device='cpu')
        samples = inferencer(photos, batch_size=4, return_datasamples=True)
        return torch.stack([sample.pred_score for sample in samples])

    expected = inferred(checkpoint)
    torch.testing.assert_close(inferred(published), expected, rtol=0, atol=0)
    # the original config works too: it has parts that stay as they are drawn
    for config, clean in ((published.with_suffix('.py'), True), (run / 'config.py', False)):
        arguments = [config, published, '--out', run / 'p.npz', '--work-dir', run / 'test']
        if clean:  # of an absolute path it has the last part
            data = f'test_dataloader.dataset.ann_file={run / "data.json"}'
            arguments += ['--cfg-options', data]
        capsys.readouterr()
        assert call_tool('tools/test.py', *arguments) is None
        pred = torch.from_numpy(np.load(run / 'p.npz')['pred'])
        # the inferencer folds BatchNorm, which rounds float32 otherwise
        torch.testing.assert_close(pred, expected, rtol=0, atol=1e-6)
        output = capsys.readouterr()
        assert ('missing keys' not in output.out + output.err) == clean


def test_publishing_is_reproducible_and_overwrites_nothing(run, published, tmp_path):
    arguments = [run / 'work_dirs/run', tmp_path]
    assert call_tool('tools/publish_model.py', *arguments) is None
    (again,) = tmp_path.glob('*.pth')
    assert again.name == published.name
    assert 'SADCLHead' in again.with_suffix('.py').read_text()
    written = {again, again.with_suffix('.py'), tmp_path / 'README.md'}
    for kept in written:
        for path in written:
            path.unlink(missing_ok=True)
        kept.write_text('kept')
        message = call_tool('tools/publish_model.py', *arguments)
        assert f'{kept} exists: it is not overwritten' in message
        assert os.listdir(tmp_path) == [kept.name] and kept.read_text() == 'kept'


def test_publishing_that_found_no_place_leaves_nothing_in_the_way_of_the_next(run, tmp_path):
    """The card and the config were written before the weights found none."""
    arguments = [run / 'work_dirs/run', tmp_path]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores the signal
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
        message = call_tool('tools/publish_model.py', *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert '.pth was not written (File too large)' in message
    assert os.listdir(tmp_path) == []
    assert call_tool('tools/publish_model.py', *arguments) is None


def test_a_safetensors_file_is_taken_like_the_pth_file(run, with_thresholds, tmp_path):
    pytest.importorskip('safetensors', reason="needs pip install -e '.[deploy]'")
    names = set()
    for folder in (tmp_path / 'a', tmp_path / 'b'):
        arguments = [run / 'given', folder, '--format', 'safetensors']
        assert call_tool('tools/publish_model.py', *arguments) is None
        names |= {path.name for path in folder.glob('*.safetensors')}
    (name,) = names  # the same bytes each time
    found, expected = (read_checkpoint(path) for path in (folder / name, with_thresholds))
    assert found['state_dict'].keys() == expected['state_dict'].keys()
    for key, value in expected['state_dict'].items():
        torch.testing.assert_close(found['state_dict'][key], value, rtol=0, atol=0)
    assert found['meta'] == json.loads(json.dumps(expected['meta']))
    opened = open_run(folder)  # the only checkpoint in it
    assert opened.checkpoint.path == str(folder / name)
    assert opened.thresholds.values == expected['meta']['thresholds']['thresholds']
    assert call_tool('tools/publish_model.py', folder, tmp_path / 'back') is None
    (back,) = (tmp_path / 'back').glob('*.pth')
    assert read_checkpoint(back)['meta'] == found['meta']


@pytest.mark.parametrize('file_format', ['pth', 'safetensors'])
def test_a_class_whose_name_is_not_utf8_is_published(checkpoint, file_format, tmp_path):
    if file_format == 'safetensors':
        pytest.importorskip('safetensors', reason="needs pip install -e '.[deploy]'")
    content = read_checkpoint(checkpoint)
    names = ['caf\udce9', *content['meta']['dataset_meta']['classes'][1:]]
    content['meta']['dataset_meta']['classes'] = names
    torch.save(content, tmp_path / 'own.pth')
    arguments = [tmp_path / 'own.pth', tmp_path / 'out', '--format', file_format]
    assert call_tool('tools/publish_model.py', *arguments) is None
    assert open_run(tmp_path / 'out').classes == names
    assert '| caf\\udce9 |' in (tmp_path / 'out/README.md').read_text()


def test_safetensors_hold_what_comes_back_and_need_their_package(monkeypatch, tmp_path):
    pytest.importorskip('safetensors', reason="needs pip install -e '.[deploy]'")
    tied = torch.arange(3.0)
    content = to_safetensors(dict(a=tied, b=tied[1:]), {})
    (tmp_path / 'x.safetensors').write_bytes(content)
    found = read_checkpoint(tmp_path / 'x.safetensors')
    assert found['state_dict']['b'].tolist() == [1, 2] and found['meta'] == {}
    for meta in ({'a': {1: 'one'}}, {'a': np.zeros(2)}):
        with pytest.raises(ValueError, match='plain values only: [^\n]*$'):
            to_safetensors({}, meta)
    with pytest.raises(ValueError, match='http://a/x.safetensors: download it'):
        open_run('http://a/x.safetensors')
    monkeypatch.setattr('mlic.packages._is_importable', lambda module: False)
    for use in (lambda: to_safetensors({}, {}), lambda: open_run(tmp_path / 'x.safetensors')):
        with pytest.raises(ImportError, match="safetensors file needs the extra 'deploy'"):
            use()


# ---------------------------------------------------------------- the model card


def parts_of(card):
    """Front matter and text of a model card."""
    _, front, text = card.split('---\n', 2)
    return yaml.safe_load(front), text


def test_the_card_of_a_published_file_says_what_is_known_and_no_more(run, published, capsys):
    front, text = parts_of((published.parent / 'README.md').read_text())
    assert front['library_name'] == 'mlic' and front['pipeline_tag'] == 'image-classification'
    assert 'metrics' not in front and 'model-index' not in front
    assert 'Not measured for this card.' in text
    for row in (
        'parts | ResNet → SARLNeck → SADCLHead',
        'input | RGB, 32 x 32 pixels',
        '3 | straße',
    ):
        assert f'| {row} |' in text
    for row in (
        'data | MultiLabelDataset, ann_file data.json',
        'epochs | 1',
        'precision | float32',
    ):
        assert f'| {row} |' in text
    assert 'start' not in text and str(run) not in text
    # the command in it writes the config of the training
    ((words, _),) = [
        (shlex.split(code.replace('\\\n', '')), None)
        for code in re.findall('```bash\n(python -c.*?)```', text, re.S)
    ]
    code = words[2].replace(published.name, str(published))
    exec(code, {})
    training = parse_literals(capsys.readouterr().out)
    assert training['train_cfg']['max_epochs'] == 1 and 'SADCLHead' in str(training)


def test_the_card_has_the_metrics_of_predictions_under_each_protocol(
    run, with_thresholds, tmp_path
):
    rng = np.random.default_rng(0)
    block = Block(rng.random((9, 5)), rng.integers(0, 2, (9, 5)).astype(bool), None, None)
    save_predictions(tmp_path / 'p.npz', block, CLASSES)
    arguments = [run / 'given', tmp_path / 'new', '--pred', tmp_path / 'p.npz']
    assert call_tool('tools/publish_model.py', *arguments) is None
    front, text = parts_of((tmp_path / 'new/README.md').read_text())
    report = evaluate_block(block, CLASSES, [PROTOCOLS['standard']])
    (result,) = front['model-index'][0]['results']
    found = {metric['type']: metric['value'] for metric in result['metrics']}
    assert found == {key: round(report.metrics[0][key], 2) for key in ('mAP', 'CF1', 'OF1')}
    assert front['metrics'] == list(found)
    assert all(name in text for name in PROTOCOLS) and f'{found["mAP"]:.2f}' in text
    assert '| 4 | tree | 0.001 |' in text and 'fitted on val.npz (17 images)' in text
    assert 'augmentation' not in text and result['dataset']['name'] == 'p.npz, 9 images'
    save_predictions(tmp_path / 'p.npz', block, CLASSES, 'flip')
    arguments[1] = tmp_path / 'augmented'
    assert call_tool('tools/publish_model.py', *arguments) is None
    front, text = parts_of((tmp_path / 'augmented/README.md').read_text())
    (result,) = front['model-index'][0]['results']
    assert 'Of the predictions in p.npz, with test-time augmentation (flip):' in text
    assert result['dataset']['name'] == 'p.npz, 9 images, test-time augmentation flip'
    save_predictions(tmp_path / 'p.npz', block, CLASSES[::-1])
    arguments[1] = tmp_path / 'other'
    message = call_tool('tools/publish_model.py', *arguments)
    assert 'p.npz: its classes are not those of the checkpoint' in message
    assert not (tmp_path / 'other').exists()


def test_names_in_a_card_stay_in_their_cells(run, checkpoint):
    names = ['a|b', 'c\nd', '---', '# e', '`f', '<script>', r'a\|b', '[a](b)', '*a*', '~a~', '$a$']
    names += ['_a_', 'two_words', 'R&D', '&lt;']
    opened = open_run(checkpoint)._replace(classes=names)
    front, text = parts_of(model_card('a: b\n---', 'x.pth', opened, opened.config, None, ''))
    cells = [r'a\|b', 'c d', '---', '# e', r'\`f', r'\<script>', r'a\\\|b', r'\[a\](b)', r'\*a\*']
    cells += [r'\~a\~', r'\$a\$', r'\_a\_', 'two_words', 'R&D', r'\&lt;']
    rows = [f'| {number} | {cell} | 0.5 |' for number, cell in enumerate(cells)]
    assert '\n'.join(rows) in text and '# a: b ---\n' in text
    assert front['library_name'] == 'mlic'


@pytest.mark.parametrize(
    'backbone, start',
    [
        (dict(type='EfficientNetLite'), 'the pretrained weights of EfficientNetLite (lite0)'),
        (
            dict(type='LazyTIMMBackbone', model_name='vit_s.dino'),
            'the pretrained weights of LazyTIMMBackbone (vit_s.dino)',
        ),
        (dict(type='EfficientNetLite', pretrained=False), None),
        (dict(type='TIMMBackbone', model_name='vit_s'), None),  # mmpretrain's, which fetches none
    ],
)
def test_the_card_names_weights_that_a_backbone_fetches_itself(run, checkpoint, backbone, start):
    opened = open_run(checkpoint)
    trained = Config(dict(model=dict(type='ImageClassifier', backbone=backbone)))
    _, text = parts_of(model_card('a', 'a.pth', opened, trained, None, ''))
    assert re.findall(r'\| start \| (.*) \|', text) == [start] * bool(start)


# ---------------------------------------------------------------- thresholds


@pytest.fixture(scope='module')
def fitted(run, checkpoint):
    """A file as of fit_thresholds.py, by which the first photo has other labels than by 0.5."""
    values = dict.fromkeys(CLASSES, 0.999) | {'tree': 0.001}
    fitted_on = dict(file='/home/me/val.npz', sha256='0' * 64, images=17, classes=5)
    path = run / 'fitted.json'
    path.write_text(json.dumps(dict(fitted_on=fitted_on, decision='>=', thresholds=values)))
    return path


@pytest.fixture(scope='module')
def with_thresholds(run, fitted):
    """A checkpoint that was published with thresholds."""
    arguments = [run / 'work_dirs/run', run / 'given', '--threshold', fitted]
    assert call_tool('tools/publish_model.py', *arguments) is None
    (path,) = (run / 'given').glob('*.pth')
    return path


def test_thresholds_are_published_without_folders_and_published_again(
    run, with_thresholds, fitted, tmp_path, capsys
):
    stored = read_checkpoint(with_thresholds)['meta']['thresholds']
    written = json.loads(fitted.read_text())
    assert stored['thresholds'] == written['thresholds']
    assert stored['fitted_on'] == dict(written['fitted_on'], file='val.npz')
    assert call_tool('tools/publish_model.py', run / 'given', tmp_path) is None
    (again,) = tmp_path.glob('*.pth')
    assert read_checkpoint(again)['meta']['thresholds'] == stored
    assert 'thresholds' not in read_checkpoint(run / 'work_dirs/run/epoch_1.pth')['meta']


def test_stored_thresholds_decide_unless_told_otherwise(run, photos, with_thresholds, capsys):
    said = f"thresholds: each class's own in {with_thresholds}, fitted on val.npz (17 images)"

    def infer(*options):
        capsys.readouterr()
        common = ['--checkpoint', with_thresholds, '--out', run / 'by', '--no-pictures']
        arguments = [photos[0], *common, '--workers', 0, *options]
        assert call_tool('tools/infer.py', *arguments) is None
        record = json.loads((run / 'by/predictions.json').read_text())
        labels = [label['label'] for label in record['images'][0]['labels']]
        return record, labels, said in capsys.readouterr().out

    record, labels, is_said = infer()
    assert labels == ['tree'] and is_said
    assert record['thresholds'] == dict.fromkeys(CLASSES, 0.999) | {'tree': 0.001}
    assert record['decision'].startswith("score >= each class's own in ")
    inferencer = MultiLabelInferencer(with_thresholds, device='cpu')
    assert inferencer(photos[0]).names == ['tree']
    for options in (dict(thr=0.2), dict(topk=2)):
        words = ['--threshold', 0.2] if 'thr' in options else ['--topk', 2]
        record, labels, is_said = infer(*words)
        assert labels == inferencer(photos[0], **options).names != ['tree']
        assert not is_said and 'thresholds' not in record


def test_report_and_attention_start_at_the_stored_thresholds(
    run, with_thresholds, tmp_path, capsys
):
    page = tmp_path / 'report.html'
    report = [run / 'config.py', with_thresholds, '--out', page, '--num', 1]
    assert call_tool('tools/analysis_tools/report.py', *report) is None
    assert "thresholds: each class's own in" in capsys.readouterr().out
    text = page.read_text(encoding='utf-8')
    assert '"start":[0.999,0.999,0.999,0.999,0.001]' in text
    assert f'the sliders start at the thresholds of {with_thresholds.name}' in text
    looks = [run / 'config.py', with_thresholds, '--out', tmp_path / 'a.png', '--num', 1]
    assert call_tool('tools/analysis_tools/show_attention.py', *looks) is None
    assert "thresholds: each class's own in" in capsys.readouterr().out


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda values: values.pop('cat'), 'has no threshold for 1 class: cat'),
        (lambda values: values.update(bee=0.5), 'has 1 unknown class: bee'),
        (lambda values: values.update({'a\n' * 300: 0.5}), "has 1 unknown class: 'a"),
        (lambda values: values.update(cat=1.5), "threshold of 'cat' must be from 0 to 1, got 1.5"),
        (lambda values: values.update(cat=-0.1), "'cat' must be from 0 to 1, got -0.1"),
        (lambda values: values.update(cat=float('nan')), "'cat' must be a finite number, got nan"),
        (lambda values: values.update(cat=[1]), r"'cat' must be a finite number, got \[1\]"),
        (lambda values: values.clear(), 'no thresholds in it'),
        (None, 'its thresholds must be an object'),
    ],
)
def test_thresholds_in_a_checkpoint_are_checked(with_thresholds, tmp_path, change, message):
    content = read_checkpoint(with_thresholds)
    if change is None:
        content['meta']['thresholds'] = [0.5] * 5
    else:
        change(content['meta']['thresholds']['thresholds'])
    torch.save(content, tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match=f'^[^\n]*bad.pth.*{message}[^\n]*$'):
        open_run(tmp_path / 'bad.pth')


@pytest.mark.parametrize(
    'values, message',
    [
        ({'dog': 0.5}, 'has no threshold for 4 classes'),
        (dict.fromkeys(CLASSES, 2), "the threshold of 'cat' must be from 0 to 1, got 2"),
    ],
)
def test_thresholds_that_do_not_fit_are_not_given_away(run, tmp_path, values, message):
    (tmp_path / 'bad.json').write_text(json.dumps(values))
    for tool, *arguments in (
        ('publish_model.py', run / 'work_dirs/run', tmp_path / 'new'),
        ('deploy/export.py', run / 'config.py', run / 'work_dirs/run', '--out', 'new/a.onnx'),
    ):
        status = call_tool(f'tools/{tool}', *arguments, '--threshold', tmp_path / 'bad.json')
        assert status.startswith('error: ') and message in status and '\n' not in status
    assert not (tmp_path / 'new').exists() and not Path('new').exists()


def example(*arguments):
    command = [sys.executable, str(DEMO), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_thresholds_are_exported_verified_and_used(run, photos, with_thresholds, fitted, tmp_path):
    out = tmp_path / 'model.onnx'
    config = run / 'config.py'
    assert call_tool('tools/deploy/export.py', config, with_thresholds, '--out', out) is None
    (text,) = (entry.value for entry in onnx.load(out).metadata_props if entry.key == 'thresholds')
    assert json.loads(text) == read_checkpoint(with_thresholds)['meta']['thresholds']

    def verify(checkpoint, *options):
        arguments = [config, checkpoint, out, '--num', 1, *options]
        return call_tool('tools/deploy/verify.py', *arguments)

    assert verify(with_thresholds) is None
    assert verify(run / 'work_dirs/run', '--threshold', fitted) is None
    differ = 'the thresholds in the file differ'
    assert differ in verify(run / 'work_dirs/run')
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(dict.fromkeys(CLASSES, 0.4)))
    assert differ in verify(with_thresholds, '--threshold', other)

    done = example(out, photos[0])
    assert done.stdout.startswith(f'{photos[0]}: tree ') and ',' not in done.stdout
    assert done.stderr == "thresholds: each class's own in the model\n"
    told = example(out, photos[0], '--threshold', 0)
    assert told.stdout.count(', ') == 4 and told.stderr == ''


# ---------------------------------------------------------------- the documents


def run_document(name, folder, monkeypatch):
    """Run a document's commands in a folder."""
    monkeypatch.chdir(folder)
    Path('thresholds.json').write_text(json.dumps(dict.fromkeys(CLASSES, 0.4)))
    shutil.copy('photos/photo 0.png', 'photo.jpg')
    shell = ''.join(code_of(f'docs/{name}', 'bash')).replace('\\\n', '').splitlines()
    commands = list(filter(None, (shlex.split(line, comments=True) for line in shell)))
    assert len(commands) >= 3
    for words in commands:
        if words[0] == 'pip':
            assert words[1] == 'install'
            continue
        variables = {}
        while '=' in words[0]:
            variables.update([words.pop(0).split('=')])
        assert words[0] == 'python', words
        words = ['config.py' if word == 'CONFIG' else word for word in words]
        words = [next(Path().glob(word)) if '*' in word else word for word in words]
        with mock.patch.dict(os.environ, variables):
            assert call_tool(*words[1:]) is None, words


def test_every_command_of_the_inference_document_works(run, monkeypatch):
    run_document('inference.md', run, monkeypatch)
    assert {'predictions.json', 'scores.csv', 'pictures'} <= set(os.listdir(run / 'result'))


def test_every_command_of_the_deploy_document_works(documented):
    results = ['model.onnx', 'model.pt2', 'published', 'result/predictions.json']
    assert all((documented / name).exists() for name in results)


def test_an_onnx_file_that_leads_out_of_its_folder_is_refused_in_one_line(tmp_path):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    (tmp_path / 'model').mkdir()
    (tmp_path / 'secret').write_bytes(bytes(12))
    (tmp_path / 'model' / 'link').symlink_to('../secret')
    path = tmp_path / 'model' / 'model.onnx'
    for location in ('../secret', str(tmp_path / 'secret'), 'link', '/dev/zero', None):
        weights = onnx.TensorProto(name='w', data_type=1, dims=[3], data_location=1)
        weights.external_data.add(key='location', value=str(location))
        values = [onnx.helper.make_tensor_value_info(name, 1, [3]) for name in ('images', 'scores')]
        add = onnx.helper.make_node('Add', ['images', 'w'], ['scores'])
        graph = onnx.helper.make_graph([add], 'g', values[:1], values[1:], [weights])
        path.write_bytes(onnx.helper.make_model(graph).SerializeToString() if location else b'x')
        with pytest.raises(ValueError, match=r'model\.onnx cannot be opened') as refusal:
            open_model(path)
        assert '\n' not in str(refusal.value)
    example = [sys.executable, ROOT / 'mlic/demo/onnx_predict.py', path, 'photo.png']
    result = subprocess.run(example, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and result.stderr.count('\n') == 1
    assert result.stderr.startswith(f'error: {path} is no model of export.py')


@pytest.mark.parametrize(
    'node, message',
    [
        (('Div', 'mean', 'mean'), '3 of 3 scores are NaN'),  # 0 / 0
        (('Sub', 'mean', 'two'), 'scores from -2 to -2, not from 0 to 1'),
    ],
)
def test_scores_of_an_onnx_file_that_are_no_scores_are_an_error(tmp_path, node, message):
    path, photo = of_black(tmp_path, [node], two=2.0)
    with pytest.raises(ImageReadError, match=message):
        MultiLabelInferencer(path)(str(photo))
    if node[0] == 'Div':
        said = f'error: {photo}: scores of {path} are NaN or infinite'
        assert call_tool(DEMO, path, photo) == said


@pytest.mark.parametrize(
    'nodes, value',
    [
        ([('Add', 'mean', 'value', 'logits'), ('Sigmoid', 'logits')], 17.695677),
        ([('Add', 'mean', 'value')], 1 + np.finfo(np.float16).eps),
    ],
)
def test_a_score_that_is_rounded_to_more_than_1_is_1(tmp_path, capsys, nodes, value):
    path, photo = of_black(tmp_path, nodes, value=value)
    assert MultiLabelInferencer(path)(str(photo)).scores == dict.fromkeys('abc', 1.0)
    assert call_tool(DEMO, path, photo) is None
    assert 'a 1.00, b 1.00, c 1.00' in capsys.readouterr().out


def of_black(folder, nodes, **constants):
    """A model whose last nodes make scores of the `mean` of each colour, and a black photo."""
    helper, path, photo = onnx.helper, folder / 'model.onnx', folder / 'photo.png'
    Image.new('RGB', (8, 8)).save(photo)
    *inner, last = nodes
    nodes = [
        helper.make_node('Cast', ['images'], ['float'], to=1),
        helper.make_node('ReduceMean', ['float'], ['mean'], axes=[2, 3], keepdims=0),
        *(helper.make_node(name, inputs, [output]) for name, *inputs, output in inner),
        helper.make_node(last[0], last[1:], ['scores']),
    ]
    images = helper.make_tensor_value_info('images', 2, ['batch', 3, 8, 8])
    scores = helper.make_tensor_value_info('scores', 1, ['batch', 3])
    tensors = [helper.make_tensor(name, 1, [1], [value]) for name, value in constants.items()]
    graph = helper.make_graph(nodes, 'g', [images], [scores], tensors)
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    recipe = dict(size=[8, 8], resize='bilinear', transforms=[])
    metadata = dict(classes=json.dumps(list('abc')), preprocessing=json.dumps(recipe))
    helper.set_model_props(content, metadata)
    path.write_bytes(content.SerializeToString())
    return path, photo
