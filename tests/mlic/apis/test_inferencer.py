"""Predicting images: sources, stored configs, scores, pictures, and tools/infer.py."""

import csv
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mlic.apis.folding import fold_batch_norm
from mlic.apis.image_sources import collect_images
from mlic.apis.inferencer import MultiLabelInferencer, decide
from mlic.apis.open_run import build_model, open_run
from mlic.apis.prediction import choose_threshold
from mlic.cli import infer
from mlic.datasets.list_files import IMAGE_SUFFIXES, list_images
from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.runner.errors import INTERRUPTED
from mlic.evaluation.protocols import PROTOCOLS
from mlic.image_reader import ImageReadError
from mlic.visualization.prediction import draw_prediction
from tests.helpers import ROOT, call_tool, locked_elsewhere
from tests.photo_run import CLASSES, SIZE
from tests.tiny_runs import plain_model


@pytest.fixture(scope='module')
def inferencer(checkpoint):
    return MultiLabelInferencer(checkpoint, device='cpu')


# ---------------------------------------------------------------- scores


def test_scores_are_those_of_the_test_tool(run, photos, inferencer):
    saved = run / 'test.npz'
    arguments = [run / 'config.py', run / 'work_dirs/run', '--out', saved]
    arguments += ['--work-dir', run / 'test']
    assert call_tool('tools/test.py', *arguments) is None
    pred = torch.from_numpy(np.load(saved)['pred'])
    assert (pred.std(dim=0) > 1e-3).all()  # or the tests could not tell one image from another
    samples = inferencer(photos, batch_size=4, return_datasamples=True)
    found = torch.stack([sample.pred_score for sample in samples])
    # the same batches; BatchNorm is folded, which rounds float32 otherwise
    torch.testing.assert_close(found, pred, rtol=0, atol=1e-6)
    for result, sample in zip(inferencer(photos, batch_size=4), samples):
        scores = sample.pred_score.tolist()
        assert result.scores == pytest.approx(dict(zip(CLASSES, scores)), abs=5e-7)  # six digits
        assert result.names == [CLASSES[label] for label in sample.pred_label]
        assert set(result.names) == {CLASSES[k] for k in np.flatnonzero(np.array(scores) >= 0.5)}


def scores_at(model, photos, side, flip):
    """Scores of photos that are resized, and mirrored if asked, by hand."""
    rows = []
    for photo in photos:
        image = cv2.resize(cv2.imread(photo), (side, side), interpolation=cv2.INTER_LINEAR)
        image = image[:, ::-1] if flip else image
        inputs = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        rows.append(model.test_step(dict(inputs=inputs))[0].pred_score)
    return torch.stack(rows)


def test_the_tools_average_the_scores_of_views(run, photos, checkpoint, tmp_path, capsys):
    tta = ['flip', 'scales=32,48']
    model = open_run(checkpoint, device='cpu').model
    with torch.no_grad():
        views = [scores_at(model, photos, side, flip) for side in (32, 48) for flip in (0, 1)]
    expected = torch.stack(views).mean(0)
    saved, drawn = tmp_path / 'test.npz', tmp_path / 'drawn'
    options = ['--out', tmp_path / 'metrics.json', '--work-dir', run / 'test', '--tta', *tta]
    options += ['--show-dir', drawn, '--cfg-options', f'test_evaluator.out_file={saved}']
    assert call_tool('tools/test.py', run / 'config.py', checkpoint, *options) is None
    assert (
        'test-time augmentation: flip scales=32,48 (views of an image: 4)' in capsys.readouterr()[0]
    )
    with np.load(saved) as arrays:
        assert str(arrays['tta']) == ' '.join(tta)
        # other batches are rounded otherwise; in inference BatchNorm is folded, too
        torch.testing.assert_close(torch.from_numpy(arrays['pred']), expected, rtol=0, atol=1e-6)
    assert len(list(drawn.iterdir())) == len(photos)
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics.pop('tta') == 'flip scales=32,48' and 'multi-label/mAP' in metrics
    assert call_tool('tools/analysis_tools/eval_metric.py', saved) is None
    assert 'predicted with test-time augmentation: flip scales=32,48' in capsys.readouterr()[0]

    threshold = float(expected.median())
    options = ['--threshold', threshold, '--attention', '--tta', *tta]
    out = ['--checkpoint', checkpoint, '--out', tmp_path / 'out', *options]
    assert call_tool('tools/infer.py', *photos, *out) is None
    found = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert found['tta'] == 'flip scales=32,48'
    inferencer = MultiLabelInferencer(checkpoint, device='cpu', tta=tta)
    predictions = inferencer(photos, thr=threshold, batch_size=4, num_workers=1)
    for entry, prediction, row in zip(found['images'], predictions, expected):
        assert list(prediction.scores.values()) == pytest.approx(row.tolist(), abs=2e-6)
        order = row.argsort(descending=True).tolist()
        labels = [
            CLASSES[k] for k in order if abs(row[k] - threshold) > 1e-5 and row[k] > threshold
        ]
        kept = [name for name in prediction.names if name in labels]
        assert kept == labels and len(prediction.names) - len(labels) <= 2  # of the median itself
        assert [label['label'] for label in entry['labels']] == prediction.names


def test_an_augmentation_that_does_not_fit_ends_before_the_run(run, checkpoint, tmp_path):
    config = run / 'config.py'
    text = (
        config.read_text()
        + "\ntest_dataloader['dataset']['pipeline'] = [pipeline[0], pipeline[2]]\n"
    )
    (tmp_path / 'config.py').write_text(text)
    out = ['--work-dir', tmp_path / 'work', '--tta', 'scales=48']
    message = call_tool('tools/test.py', tmp_path / 'config.py', checkpoint, *out, '--dry-run')
    assert message.startswith('error: --tta scales=48: the test pipeline has no Resize')
    with pytest.raises(ValueError, match='the test pipeline has no Resize'):
        MultiLabelInferencer(checkpoint, tmp_path / 'config.py', 'cpu', tta='scales=48')
    message = call_tool(
        'tools/infer.py', run / 'photos', '--checkpoint', checkpoint, '--out', 'y', '--tta', 'no'
    )
    assert message.startswith('error: --tta: no is not a test-time augmentation')


def test_arrays_and_batches_and_workers_do_not_matter(photos, inferencer):
    def scores(inputs, **options):
        outcomes = inferencer.stream(inputs, return_datasamples=True, **options)
        return torch.stack([sample.pred_score for _, sample in outcomes])

    expected = scores(photos)
    arrays = [cv2.imread(photo) for photo in photos]
    # sums over other batches are rounded differently
    torch.testing.assert_close(scores(arrays), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(scores(photos, batch_size=1), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(scores(photos, num_workers=2), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('loader', ['LoadImageStrict', 'LoadImageFromFile', None])
def test_what_cannot_be_read_is_an_error_in_its_place(
    run, photos, inferencer, checkpoint, loader, tmp_path
):
    cfg = Config.fromfile(run / 'config.py')
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline[0].type = loader
    cfg.test_dataloader.dataset.pipeline = pipeline if loader else pipeline[1:]
    own = MultiLabelInferencer(checkpoint, cfg, 'cpu')
    bad = [tmp_path / name for name in ('text.jpg', 'empty.png', 'missing.jpg')]
    bad[0].write_text('not an image')
    bad[1].write_text('')
    inputs = [str(bad[0]), *photos[:2], str(bad[1]), photos[2], str(bad[2])]
    outcomes = list(own.stream(inputs, batch_size=2, return_datasamples=True))
    assert [source for source, _ in outcomes] == inputs
    for source, outcome in outcomes:
        if source in photos:
            alone = inferencer(source, return_datasamples=True)
            torch.testing.assert_close(outcome.pred_score, alone.pred_score, rtol=0, atol=1e-6)
        else:
            assert isinstance(outcome, ImageReadError) and source in str(outcome)
            with pytest.raises(ImageReadError, match=Path(source).name):
                own([source])


def test_a_mistake_in_the_pipeline_is_no_fault_of_the_image(run, photos, checkpoint):
    cfg = Config.fromfile(run / 'config.py')
    cfg.test_dataloader.dataset.pipeline[1] = dict(type='CenterCrop', crop_size=(-1, -1))
    with pytest.raises(AssertionError):
        list(MultiLabelInferencer(checkpoint, cfg, 'cpu').stream(photos))


def test_what_fails_with_one_image_is_that_images(run, photos, checkpoint, tmp_path, monkeypatch):
    """In the pipeline, and in the model, which has several at a time."""
    white, wide = str(tmp_path / 'white.png'), str(tmp_path / 'wide.png')
    Image.new('RGB', (40, 30), 'white').save(white)
    Image.new('RGB', (5000, 1)).save(wide)
    cfg = Config.fromfile(run / 'config.py')
    # 5000 x 1 pixels become 640 x 0
    cfg.test_dataloader.dataset.pipeline[1] = dict(type='ResizeEdge', scale=32, edge='long')
    cfg.test_dataloader.dataset.pipeline.insert(2, dict(type='Resize', scale=(32, 32)))
    own = MultiLabelInferencer(checkpoint, cfg, 'cpu')
    options = dict(return_datasamples=True)
    expected = [sample.pred_score for sample in own(photos, batch_size=1, **options)]
    original = type(own.model).test_step

    def test_step(model, data):
        if (torch.stack(list(data['inputs'])) == 255).flatten(1).all(1).any():
            raise RuntimeError('too\nwhite')
        return original(model, data)

    monkeypatch.setattr(type(own.model), 'test_step', test_step)
    inputs = [photos[0], white, *photos[1:3], wide, *photos[3:]]
    outcomes = [outcome for _, outcome in own.stream(inputs, len(inputs), **options)]
    faults = outcomes.pop(4), outcomes.pop(1)
    assert str(faults[0]).startswith(f'{wide}: not predicted (')
    assert str(faults[1]) == f'{white}: not predicted (RuntimeError: too white)'
    found = [sample.pred_score for sample in outcomes]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for path in (white, wide):
        with pytest.raises(ImageReadError, match=f'{path}: not predicted'):
            own([photos[0], path])


@pytest.mark.parametrize('part', ['weights', 'std'])
def test_scores_that_are_no_numbers_are_an_error_of_the_image(photos, checkpoint, tmp_path, part):
    content = read_checkpoint(checkpoint)
    if part == 'weights':
        for name, value in content['state_dict'].items():
            if name.startswith('head.') and value.is_floating_point():
                value.fill_(np.nan)
    else:
        cfg = Config.fromstring(content['meta']['cfg'], '.py')
        cfg.data_preprocessor.update(mean=[0.0] * 3, std=[0.0] * 3)
        content['meta']['cfg'] = cfg.pretty_text
    path = tmp_path / 'best_x.pth'
    torch.save(content, path)
    command = ['tools/infer.py', photos[0], '--checkpoint', path, '--workers', 0]
    assert call_tool(*command, '--out', tmp_path / 'out', '--topk', 1) == 1
    record = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert record['images'] == []
    (failed,) = record['failed']
    assert failed.startswith(f'{photos[0]}: not predicted (5 of 5 scores are NaN or infinite')
    with pytest.raises(ImageReadError, match='5 of 5 scores are NaN'):
        MultiLabelInferencer(path, device='cpu')(photos[0])


def test_images_that_stay_of_different_sizes_are_predicted_one_by_one(run, photos, checkpoint):
    cfg = Config.fromfile(run / 'config.py')
    del cfg.test_dataloader.dataset.pipeline[1]
    own = MultiLabelInferencer(checkpoint, cfg, 'cpu')
    options = dict(return_datasamples=True)
    together = [sample.pred_score for sample in own([photos[0], *photos], **options)]
    alone = [own(photo, **options).pred_score for photo in photos]
    torch.testing.assert_close(together, [alone[0], *alone], rtol=0, atol=1e-6)


def test_decision_is_the_one_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    score = torch.rand(7, generator=generator)
    score[2] = 0.5
    for thr in (0.5, torch.rand(7, generator=generator).tolist()):
        each = thr if isinstance(thr, list) else [thr] * 7
        expected = [k for k in range(7) if score[k] >= each[k]]
        expected.sort(key=lambda k: -score[k])
        assert decide(score, thr, None).tolist() == expected
    assert decide(score, 0.5, 3).tolist() == score.argsort(descending=True)[:3].tolist()
    assert decide(score, 2.0, None).tolist() == []
    with pytest.raises(ValueError, match='2 thresholds for 7 classes'):
        decide(score, [0.1, 0.2], None)
    with pytest.raises(ValueError, match='at least 1 and at most 7, got 0'):
        decide(score, 0.5, 0)


@pytest.mark.parametrize('thr', [{0.1, 0.2}, iter([0.1, 0.2]), np.full((1, 2), 0.1)])
def test_what_is_no_threshold_is_refused(thr):
    with pytest.raises(ValueError, match='threshold must be a finite number or a file, got'):
        choose_threshold(thr, None, None, ['a', 'b'])


def test_a_threshold_is_compared_in_the_precision_of_the_score_as_the_metric_does():
    score = torch.tensor([0.7, 0.3])  # as float32; 0.7 is less than the double 0.7
    for thr in (0.7, [0.7, 0.7], np.array([0.7, 0.7])):
        assert decide(score, thr, None).tolist() == [0]
        called = PROTOCOLS['standard'].decide(score.numpy()[None], np.asarray(thr))
        assert called.tolist() == [[True, False]]


def test_attention_is_the_necks_and_changes_no_score(photos, inferencer):
    plain = inferencer(photos, thr=0.0, return_datasamples=True)
    samples = inferencer(photos, thr=0.0, attention=True, return_datasamples=True)
    for photo, expected, sample in zip(photos, plain, samples):
        torch.testing.assert_close(sample.pred_score, expected.pred_score)
        seen = cv2.resize(cv2.imread(photo), (SIZE, SIZE))
        np.testing.assert_array_equal(sample.view, seen[..., ::-1])
        batch = torch.from_numpy(seen.transpose(2, 0, 1).copy())[None]
        model = inferencer.model
        with torch.no_grad():
            feats = model.backbone(model.data_preprocessor(dict(inputs=batch))['inputs'])
            maps = model.neck.attention_maps(feats)[0]
        torch.testing.assert_close(sample.attention, maps)
        assert inferencer.draw(photo, sample).height > inferencer.draw(photo, expected).height


def test_a_cropped_image_is_drawn_as_the_model_sees_it(run, photos, checkpoint):
    cfg = Config.fromfile(run / 'config.py')
    cfg.test_dataloader.dataset.pipeline[1] = dict(type='CenterCrop', crop_size=SIZE)
    own = MultiLabelInferencer(checkpoint, cfg, 'cpu')
    sample = own(photos[0], thr=1.0, attention=True, return_datasamples=True)  # no label
    picture = np.asarray(own.draw(photos[0], sample))
    square = draw_prediction(sample.view, [], [])
    np.testing.assert_array_equal(picture[12:400, 150:300], np.asarray(square)[12:400, 150:300])


def test_prediction_needs_no_training_part_and_does_not_build_it(inferencer):
    names = ' '.join(inferencer.model.state_dict())
    assert not any(part in names for part in ('projector', 'prototypes', 'memory_bank'))
    assert inferencer.classes == CLASSES


def test_weights_that_do_not_fit_are_refused(run, checkpoint, tmp_path):
    def refused(change, message):
        content = torch.load(checkpoint, weights_only=False)
        cfg = Config.fromfile(run / 'config.py')
        change(content, cfg)
        torch.save(content, tmp_path / 'changed.pth')
        with pytest.raises(ValueError, match=f'changed.pth {message}'):
            open_run(tmp_path / 'changed.pth', cfg)

    def rename(content, cfg):
        weights = content['state_dict']
        weights['head.fc.other'] = weights.pop('head.fc.bias')

    refused(rename, 'lacks weights of the config: head.fc.bias')
    refused(
        lambda content, cfg: content['state_dict'].update({'backbone.more': torch.zeros(1)}),
        'has weights that the config has no place for: backbone.more',
    )
    refused(
        lambda content, cfg: cfg.model.neck.update(feedforward_channels=8),
        r'has weights of another shape: neck.*\(16, 16\) for \(8, 16\), .* and \d more',
    )
    refused(
        lambda content, cfg: content['meta']['dataset_meta'].update(classes=CLASSES[:4]),
        "has 4 classes, the data have 5; only in the data: 'tree'",
    )


# ---------------------------------------------------------------- sources


def test_sources_become_a_list_without_repetition(tmp_path):
    names = ['b/2.JPG', 'b/1.png', 'a.webp', '.hidden.jpg', '.git/x.png', 'notes.txt', 'b/noext']
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere/3.jpg').touch()
    (tmp_path / 'b/linked').symlink_to(tmp_path / 'elsewhere')

    def short(sources):
        images, num_others = collect_images([str(source) for source in sources])
        return [os.path.relpath(image, tmp_path) for image in images], num_others

    inside = ['a.webp', 'b/1.png', 'b/2.JPG', 'b/linked/3.jpg']
    assert short([tmp_path]) == (inside, 2)
    assert short([tmp_path / 'b/noext', tmp_path / 'b/1.png']) == (['b/noext', 'b/1.png'], 0)
    assert short([tmp_path / 'b/*.png', tmp_path]) == (['b/1.png', 'a.webp', *inside[2:]], 2)
    assert short([tmp_path / 'b/**/[0-9].*']) == (['b/1.png', 'b/2.JPG', 'b/linked/3.jpg'], 0)
    (tmp_path / 'b/loop').symlink_to(tmp_path)
    assert short([tmp_path]) == (inside, 2)
    assert short([tmp_path / 'elsewhere', tmp_path]) == (['elsewhere/3.jpg', *inside[:3]], 2)
    address = 'https://example.org/a/*.jpg'
    assert collect_images([address]).images == [address]


def test_a_single_source_and_paths_of_any_kind_are_taken(tmp_path):
    photo = tmp_path / 'a.jpg'
    photo.touch()
    with os.scandir(tmp_path) as entries:
        (entry,) = entries
    for sources in (str(tmp_path), tmp_path, [tmp_path], [photo], (entry,), entry, f'{photo}'):
        assert collect_images(sources) == ([str(photo)], 0)


PATTERNS = [
    '**', '**/*.jpg', '**/c/*', '**/**/*.jpg', 'a/**', 'a/**/c/**/*.jpg', './**/*.jpg',
    '*/**/?.jpg', 'a**/*.jpg', '**/.hidden/*', '.hidden/**/*', '[a]/**/*.jpg', '[[]x[]]/**/*.jpg',
    '{folder}/**/*.jpg',
]  # fmt: skip


@pytest.mark.parametrize('pattern', PATTERNS)
def test_a_pattern_finds_what_glob_finds(pattern, tmp_path, monkeypatch):
    names = ['1.jpg', 'a/2.jpg', 'a/b/3.jpg', 'a/b/c/4.jpg', 'a/c/5.jpg', 'a/c/b/6.jpg', 'a/t.txt']
    names += ['.hidden/7.jpg', '.hidden/b/8.jpg', 'a/.hidden/9.jpg', '[x]/0.jpg', 'a/c/.h.jpg']
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'a/b/empty.jpg').mkdir()
    (tmp_path / 'linked').symlink_to(tmp_path / '[x]')
    monkeypatch.chdir(tmp_path)
    pattern = pattern.format(folder=tmp_path)
    expected = {
        os.path.realpath(x) for x in glob.glob(pattern, recursive=True) if Path(x).is_file()
    }
    found = collect_images([pattern]).images
    assert {os.path.realpath(path) for path in found} == expected != set()
    assert len(found) == len(expected)
    assert set(found) <= set(glob.glob(pattern, recursive=True))


def test_a_pattern_follows_no_link_to_a_folder_that_it_is_in(tmp_path, monkeypatch):
    for name in ('a.jpg', 'sub/b.jpg', 'sub/deep/c.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ('l1', 'l2', 'sub/up', 'sub/deep/up'):  # glob would go 2^40 ways
        (tmp_path / name).symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    inside = ['a.jpg', 'sub/b.jpg', 'sub/deep/c.jpg']
    for pattern in ('**/*.jpg', '**', '**/**/*.jpg'):
        assert collect_images([pattern]).images == inside


@pytest.mark.parametrize(
    'source, message',
    [
        ('nothing.jpg', 'nothing.jpg does not exist'),
        ('*.jpg', r'no file fits the pattern .*\*.jpg'),
        ('', r'no image in the folder .* \(1 file\)'),
    ],
)
def test_sources_without_images_are_refused(source, message, tmp_path):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(FileNotFoundError, match=message):
        collect_images([os.path.join(tmp_path, source)])


def test_own_data_and_inference_take_the_same_files(tmp_path):
    names = [f'a/{k}{suffix}' for k, suffix in enumerate(IMAGE_SUFFIXES)] + ['a/upper.JPG', 'b.jpg']
    for name in [*names, 'a/notes.txt', '.hidden.jpg', '.hidden/photo.jpg']:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'a/loop').symlink_to(tmp_path)
    images, others = list_images(tmp_path)
    assert sorted(images) == sorted(names) and others == ['a/notes.txt']
    assert collect_images([str(tmp_path)]) == ([str(tmp_path / name) for name in images], 1)


def test_a_folder_that_cannot_be_listed_is_an_error_not_an_empty_one(tmp_path, monkeypatch):
    (tmp_path / 'open').mkdir()
    (tmp_path / 'closed').mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('closed'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(PermissionError, match='closed'):
        list_images(tmp_path)


def test_pictures_of_the_earlier_run_are_replaced_and_no_other_file(run, photos, tmp_path):
    common = ['--checkpoint', run / 'work_dirs/run', '--out', tmp_path, '--workers', 0]
    pictures, record = tmp_path / 'pictures', tmp_path / 'predictions.json'

    def left(*images):
        assert call_tool('tools/infer.py', *images, *common) is None
        return sorted(file.name for file in pictures.iterdir())

    assert left(*photos) == [f'photo {k}.jpg' for k in range(6)]
    (pictures / 'own.jpg').write_bytes(b'')  # of a user, and not listed
    shutil.copy2(photos[1], pictures / 'photo 1.jpg')  # replaced by one, with its old date
    (pictures / 'photo 2.jpg').unlink()
    linked = tmp_path / 'photo 2.jpg'
    shutil.copy(photos[2], linked)
    (pictures / 'photo 2.jpg').symlink_to(linked)
    assert left(photos[0]) == ['own.jpg', *[f'photo {k}.jpg' for k in range(3)]]
    assert (pictures / 'photo 2.jpg').is_symlink()
    left(linked)
    assert linked.read_bytes() == Path(photos[2]).read_bytes()
    content = json.loads(record.read_text())  # with what no run of ours lists
    outside = tmp_path / 'outside.jpg'
    outside.write_bytes(b'')
    names = '../outside.jpg', 'pictures/../outside.jpg', str(outside), 'scores.csv', None, 3
    names += ('pictures/\0.jpg',)
    content['images'] = [dict(picture=name) for name in names]
    record.write_text(json.dumps(content))
    assert left(photos[5]) == ['own.jpg', *[f'photo {k}.jpg' for k in (1, 2, 5)]]
    foreign = dict(images=[dict(picture='pictures/own.jpg')])
    for text in (json.dumps(foreign), '[]', '{', json.dumps(dict(content, images=[3]))):
        record.write_text(text)
        assert 'own.jpg' in left(photos[5]) and outside.exists()


def test_a_linked_folder_of_pictures_loses_none(run, photos, tmp_path):
    kept, out = tmp_path / 'kept', tmp_path / 'out'
    options = ['--checkpoint', run / 'work_dirs/run', '--out', out, '--workers', 0, '--no-pictures']
    kept.mkdir()
    shutil.copy(photos[0], kept / '0.jpg')
    assert call_tool('tools/infer.py', photos[0], *options) is None
    record = json.loads((out / 'predictions.json').read_text())
    record['images'][0]['picture'] = 'pictures/0.jpg'
    (out / 'predictions.json').write_text(json.dumps(record))
    (out / 'pictures').symlink_to(kept)
    assert call_tool('tools/infer.py', photos[0], *options) is None
    assert (kept / '0.jpg').is_file()


@pytest.mark.parametrize('options', [[], ['--no-pictures']], ids=str)
def test_pictures_of_the_earlier_run_are_no_images_to_label(run, photos, tmp_path, options):
    folder = tmp_path / 'mine'
    folder.mkdir()
    shutil.copy(photos[0], folder)
    command = ['tools/infer.py', folder, '--checkpoint', run / 'work_dirs/run', '--workers', 0]
    assert call_tool(*command, '--out', folder) is None
    (before,) = pictures = list((folder / 'pictures').iterdir())
    content = before.read_bytes()
    (tmp_path / 'linked').symlink_to(folder)
    for out in (folder, tmp_path / 'linked'):
        message = call_tool(*command, '--out', out, *options)
        assert message.startswith(f'error: {before} lies in {out / "pictures"}')
        assert message.endswith('give another --out')
    assert list((folder / 'pictures').iterdir()) == pictures and before.read_bytes() == content


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize('size', [(1, 1), (3, 2000), (2000, 3), (37, 53), (1200, 1500)])
@pytest.mark.parametrize('num_labels', [0, 1, 30])
def test_pictures_hold_their_text_whatever_the_image(size, num_labels):
    image = np.full((*size, 3), 90, np.uint8)
    names = [f'{"wide " * (k % 9 * 8)}label\n{k}' for k in range(num_labels)]
    scores = np.linspace(1, 0, num_labels).tolist()
    picture = np.asarray(draw_prediction(image, names, scores))
    height, width, _ = picture.shape
    assert 480 <= width <= 984 and height <= 988 + 40 * max(num_labels, 1)
    margins = [picture[:, :10], picture[:, -10:], picture[:10], picture[-10:]]
    assert all((margin == 255).all() for margin in margins)
    assert (picture[-44:-12] < 128).any()  # dark or blue: text in the last line


def test_every_label_has_its_heat_map_up_to_twelve():
    image = np.zeros((100, 100, 3), np.uint8)

    def rows(num_labels):
        labels = ['x'] * num_labels, [0.9] * num_labels
        height = draw_prediction(image, *labels, torch.ones(num_labels, 2, 2)).height
        text = -(-num_labels // 9) * 40
        return round((height - 456 - 36 - text) / (224 + 40))

    assert [rows(n) for n in (1, 3, 4, 12, 20)] == [1, 1, 2, 4, 4]


# ---------------------------------------------------------------- the tool


class CountedDict(dict):
    """Counts how often it is asked for a key."""

    asked = 0

    def __contains__(self, key):
        self.asked += 1
        return super().__contains__(key)


def test_pictures_of_one_name_are_numbered_on_and_not_from_the_first(tmp_path):
    results = infer.Results(tmp_path, None, True, {})
    results.names = CountedDict()
    sources = [f'{k}/{name}.jpg' for k in range(100) for name in ('image', 'IMAGE', 'b')]
    sources.insert(30, 'image_40.jpg')  # a file that is called as a numbered one would be
    found = [results._unique_name(source) for source in sources]
    assert found[:6] == ['image', 'IMAGE_2', 'b', 'image_3', 'IMAGE_4', 'b_2']
    assert found[30] == 'image_40' and found[-3:] == ['image_200', 'IMAGE_201', 'b_100']
    assert len({name.lower() for name in found}) == len(sources)
    assert results.names.asked <= 3 * len(sources)


def test_tool_writes_all_and_lists_what_failed(run, photos, checkpoint, capsys):
    folder = run / 'mixed'
    (folder / 'deeper').mkdir(parents=True)
    for name in ('0.png', 'deeper/0.png'):
        (folder / name).write_bytes(Path(photos[0]).read_bytes())
    (folder / 'broken.jpg').write_text('not an image')
    (folder / 'notes.txt').write_text('left out')
    out = run / 'out'
    arguments = [folder, '--checkpoint', run / 'work_dirs/run', '--out', out, '--workers', 0]
    assert call_tool('tools/infer.py', *arguments, '--threshold', '0.3', '--attention') == 1
    output = capsys.readouterr()
    assert '1 file in the folders' in output.out
    broken = str(folder / 'broken.jpg')
    assert 'could not be read or drawn: 1' in output.err and broken in output.err

    record = json.loads((out / 'predictions.json').read_text(encoding='utf-8'))
    assert record['classes'] == CLASSES and record['decision'] == 'score >= 0.3'
    assert record['precision'] == 'float32'
    assert len(record['failed']) == 1 and record['failed'][0].startswith(broken)
    pictures = [entry['picture'] for entry in record['images']]
    assert pictures == ['pictures/0.jpg', 'pictures/0_2.jpg']
    with open(out / 'scores.csv', newline='', encoding='utf-8') as file:
        header, *rows = csv.reader(file)
    assert header == ['image', 'labels', *CLASSES]
    (sample,) = MultiLabelInferencer(checkpoint, device='cpu')(photos[:1], return_datasamples=True)
    for entry, row in zip(record['images'], rows):
        assert entry['image'] == row[0]
        scores = torch.tensor([float(cell) for cell in row[2:]])
        torch.testing.assert_close(scores, sample.pred_score, rtol=0, atol=1e-6)  # six digits
        expected = decide(scores, 0.3, None).tolist()
        assert [label['label'] for label in entry['labels']] == [CLASSES[k] for k in expected]
        assert row[1] == '; '.join(CLASSES[k] for k in expected)
        with Image.open(out / entry['picture']) as picture:
            assert picture.format == 'JPEG'


def read_results(out):
    """The record, and the rows of the table by their images."""
    record = json.loads((out / 'predictions.json').read_text(encoding='utf-8'))
    with open(out / 'scores.csv', newline='', encoding='utf-8') as file:
        header, *rows = csv.reader(file)
    assert all(len(row) == len(header) for row in rows)
    return record, [row[0] for row in rows]


def test_no_file_name_and_no_address_ends_the_tool(run, photos, tmp_path, capsys):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    name = os.fsdecode(b'caf\xe9\n.png')
    names = ['a.png', 'x' * 240 + '.png', name, 'quote".png', '%s.png']
    for good in names:
        (folder / good).write_bytes(Path(photos[0]).read_bytes())
    os.mkfifo(folder / 'pipe.jpg')
    (folder / 'endless.png').symlink_to('/dev/zero')
    (folder / 'gone.png').symlink_to('nowhere')
    bad = ['http://127.0.0.1:1/a.jpg', 'http://a b/c.jpg', 'file:///etc/hostname', 'x://y/z.jpg']
    bad += ['http://[/', str(folder / 'pipe.jpg')]
    arguments = [*bad, folder, '--checkpoint', run / 'work_dirs/run', '--out', out, '--workers', 0]
    assert call_tool('tools/infer.py', *arguments, '--precision', 'bfloat16') == 1
    output = capsys.readouterr()
    assert '2 files in the folders' in output.out
    record, rows = read_results(out)
    assert record['finished'] is True and record['precision'] == 'bfloat16'
    assert sorted(entry['image'] for entry in record['images']) == sorted(
        str(folder / good) for good in names
    )
    assert len(rows) == len(names) and str(folder / 'caf\\udce9\n.png') in rows
    bad.append(str(folder / 'gone.png'))
    assert [line.startswith(source) for line, source in zip(record['failed'], bad)] == [True] * 7
    assert all(source in output.err for source in bad)
    for entry in record['images']:
        with Image.open(out / entry['picture']) as picture:
            picture.load()


def test_a_picture_that_fails_takes_no_labels_with_it(run, photos, tmp_path, monkeypatch, capsys):
    draw = MultiLabelInferencer.draw

    def fail_once(self, source, sample):
        if source == photos[1]:
            raise RuntimeError('no ink')
        return draw(self, source, sample)

    monkeypatch.setattr(MultiLabelInferencer, 'draw', fail_once)
    common = ['--checkpoint', run / 'work_dirs/run', '--out', tmp_path / 'out', '--workers', 0]
    assert call_tool('tools/infer.py', *photos[:3], *common) == 1
    assert 'without a picture (RuntimeError: no ink)' in capsys.readouterr().err
    record, rows = read_results(tmp_path / 'out')
    assert rows == photos[:3] == [entry['image'] for entry in record['images']]
    assert ['picture' in entry for entry in record['images']] == [True, False, True]


@pytest.mark.parametrize('end', [KeyboardInterrupt, RuntimeError])
def test_results_are_whole_whatever_ends_the_run(run, photos, tmp_path, monkeypatch, end):
    out = tmp_path / 'out'
    original = MultiLabelInferencer.stream

    def stop_after_two(self, *arguments, **options):
        for index, pair in enumerate(original(self, *arguments, **options)):
            if index == 2:
                record, rows = read_results(out)  # what a kill here would leave
                assert record['finished'] is False and record['images'] == []
                assert rows == photos[:2]
                raise end
            yield pair

    monkeypatch.setattr(MultiLabelInferencer, 'stream', stop_after_two)
    common = ['--checkpoint', run / 'work_dirs/run', '--out', out, '--workers', 0]
    with nullcontext() if end is KeyboardInterrupt else pytest.raises(end):
        assert call_tool('tools/infer.py', *photos, *common, '--no-pictures') == INTERRUPTED
    record, rows = read_results(out)
    assert rows == photos[:2] == [entry['image'] for entry in record['images']]
    assert record['finished'] is False


@pytest.mark.slow
def test_a_kill_leaves_whole_results(run, photos, tmp_path):
    out = tmp_path / 'out'
    with socket.create_server(('127.0.0.1', 0)) as silent:  # the sixth image never comes
        address = f'http://127.0.0.1:{silent.getsockname()[1]}/a.jpg'
        code = 'import projects.sadcl; from mlic.cli.infer import main; main()'
        command = [sys.executable, '-c', code, *photos[:5], address, '--out', out]
        command += ['--checkpoint', run / 'work_dirs/run', '--batch-size', 1, '--workers', 0]
        process = subprocess.Popen([*map(str, command)], cwd=ROOT)
        while process.poll() is None:
            if (out / 'scores.csv').exists() and len(read_results(out)[1]) == 5:
                break
            time.sleep(0.1)
        process.kill()
        process.wait()
    record, rows = read_results(out)
    assert rows == photos[:5] and record['finished'] is False


def test_predictions_are_written_again_and_again(run, photos, tmp_path, monkeypatch):
    now, seen = [0], []
    add = infer.Results.add

    def six_seconds_later(self, *outcome):
        now[0] += 6
        add(self, *outcome)
        seen.append(len(read_results(self.out)[0]['images']))

    monkeypatch.setattr(infer.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(infer.Results, 'add', six_seconds_later)
    common = ['--checkpoint', run / 'work_dirs/run', '--out', tmp_path / 'out', '--workers', 0]
    assert call_tool('tools/infer.py', *photos, *common, '--no-pictures') is None
    assert seen == [0, 2, 2, 4, 4, 6]  # every ten seconds


def test_tool_decides_by_a_file_of_thresholds_or_by_rank(run, photos):
    out = run / 'decided'
    (run / 'thresholds.json').write_text(json.dumps(dict.fromkeys(CLASSES, 1) | {'dog': 0}))
    common = [photos[0], '--checkpoint', run / 'work_dirs/run', '--out', out, '--no-pictures']
    common += ['--workers', 0]

    def labels(*arguments):
        assert call_tool('tools/infer.py', *common, *arguments) is None
        record = json.loads((out / 'predictions.json').read_text(encoding='utf-8'))
        return [label['label'] for label in record['images'][0]['labels']]

    assert labels('--threshold', run / 'thresholds.json') == ['dog']
    record = json.loads((out / 'predictions.json').read_text(encoding='utf-8'))
    assert record['thresholds'] == dict.fromkeys(CLASSES, 1) | {'dog': 0}
    assert Path(record['checkpoint']).is_file()
    assert len(labels('--topk', 3)) == 3
    assert not (out / 'pictures').exists()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nothing.jpg'], 'error: image not found: nothing.jpg does not exist'),
        (['PHOTOS', '--checkpoint', 'nothing'], 'checkpoint not found'),
        (['PHOTOS', '--topk', '6'], 'error: --topk 6: the model has 5 classes'),
        (['PHOTOS', '--threshold', '30'], 'error: --threshold is a score, between 0 and 1, got 30'),
        (['PHOTOS', '--threshold', 'no.json'], 'error: no.json does not exist'),
        (['PHOTOS', '--threshold', 'short.json'], 'has no threshold for 4 classes'),
    ],
)
def test_tool_refuses_in_one_line(run, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path('short.json').write_text('{"dog": 0.5}')
    arguments = [run / 'photos' if text == 'PHOTOS' else text for text in arguments]
    common = ['--checkpoint', run / 'work_dirs/run', '--out', 'out', *arguments]
    status = call_tool('tools/infer.py', *common)
    assert message in status and '\n' not in status
    assert not Path('out').exists()


@pytest.mark.parametrize(
    'backbone, channels',
    [(dict(type='ResNet', depth=18), 512), (dict(type='EfficientNetLite', pretrained=False), 1280)],
    ids=['ResNet', 'EfficientNetLite'],
)
def test_batch_norm_is_folded_into_the_convolutions(backbone, channels, tmp_path):
    torch.manual_seed(0)
    head = dict(type='MultiLabelLinearClsHead', num_classes=2, in_channels=channels)
    network = dict(plain_model(2), backbone=backbone, head=head)
    cfg = Config(dict(model=network, data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3)))
    model = build_model(cfg)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # at 0 and 1, nothing would show
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    meta = dict(dataset_meta=dict(classes=('cat', 'dog')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'model.pth')
    model.eval()
    images = torch.randn(2, 3, 64, 64)
    folded = fold_batch_norm(open_run(tmp_path / 'model.pth', cfg).model)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.backbone.modules())
    # float32 in another order, through some 20 to 50 layers
    torch.testing.assert_close(folded(images), model(images), rtol=1e-3, atol=1e-4)


def test_a_full_disk_is_named_with_the_image_that_found_no_place(run, photos, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'scores.csv').symlink_to('/dev/full')
    options = ['--checkpoint', run / 'work_dirs/run', '--out', out, '--workers', 0, '--no-pictures']
    message = call_tool('tools/infer.py', photos[0], *options)
    assert message.startswith('error: ') and 'scores.csv' in message and 'No space' in message
    assert json.loads((out / 'predictions.json').read_text())['finished'] is False


def test_a_second_run_into_one_folder_ends_in_one_line(run, photos, tmp_path):
    out = tmp_path / 'out'
    options = ['--checkpoint', run / 'work_dirs/run', '--out', out, '--workers', 0]
    with locked_elsewhere(out):
        message = call_tool('tools/infer.py', photos[0], *options)
        assert message == f'error: {out} is in use by another process that is running'
        assert [path.name for path in out.iterdir()] == ['.lock']
    assert call_tool('tools/infer.py', photos[0], *options) is None
