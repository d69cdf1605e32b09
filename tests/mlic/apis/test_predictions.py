"""From Python: what may be given for an image and a threshold, and what is given back."""

import doctest
import http.server
import importlib
import io
import itertools
import json
import os
import shutil
import threading
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from mlic.apis import image_inputs
from mlic.apis.image_inputs import InputPipeline, to_pixels
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.evaluation.thresholds import read_thresholds
from mlic.image_reader import ImageReadError, read_image
from tests.helpers import ROOT
from tests.photo_run import CLASSES

SCORES = dict(zip(CLASSES, (0.02, 0.93, 0.11, 0.3, 0.71)))


def cut_off():
    """A file that Pillow opens, and cannot read."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, 'PNG')
    return file.getvalue()[:2000]


CUT_OFF = cut_off()


@pytest.fixture(scope='module')
def inferencer(checkpoint):
    return MultiLabelInferencer(checkpoint, device='cpu')


@pytest.fixture(scope='module')
def known(run, checkpoint):
    """A folder with work_dirs/run, whose model gives every image the scores of SCORES."""
    folder = run / 'known'
    (folder / 'work_dirs/run').mkdir(parents=True)
    content = torch.load(checkpoint, weights_only=False)
    content['state_dict']['head.fc.weight'].zero_()
    content['state_dict']['head.fc.bias'].copy_(torch.tensor([*SCORES.values()]).logit())
    torch.save(content, folder / 'work_dirs/run/epoch_1.pth')
    shutil.copytree(run / 'photos', folder / 'photos')
    for name in ('photo.jpg', 'a.jpg', 'b.jpg'):
        shutil.copy(run / 'photos/photo 0.png', folder / name)
    (folder / 'thresholds.json').write_text(json.dumps(dict.fromkeys(CLASSES, 0.4)))
    return folder


@pytest.mark.parametrize('source', ['docs/inference.md', 'inferencer', 'open_run', 'prediction'])
def test_examples_are_true(source, known, monkeypatch):
    monkeypatch.chdir(known)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if source.endswith('.md'):
        text = (ROOT / source).read_text(encoding='utf-8').replace('```', '\n')
        tests = [doctest.DocTestParser().get_doctest(text, {}, source, source, 0)]
    else:
        module = importlib.import_module(f'mlic.apis.{source}')
        tests = doctest.DocTestFinder().find(module)
    runner = doctest.DocTestRunner(optionflags=flags)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0 and runner.tries > 0


# ---------------------------------------------------------------- images


def test_each_kind_of_image_has_the_same_scores(photos, inferencer):
    class Photo(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(Path(photos[1]).read_bytes())

        def log_message(self, *args):
            pass

    pixels = cv2.imread(photos[1])
    with_alpha = np.dstack([pixels, np.full(pixels.shape[:2], 9, np.uint8)])
    turned = Image.open(photos[1]).transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned by a quarter
    content = Path(photos[1]).read_bytes()
    kinds = [Path(photos[1]), content, Image.open(photos[1]), turned, pixels, with_alpha]
    kinds += [pixels.astype(np.uint16) << 8 | 255, pixels[:, ::-1][:, ::-1]]
    entries = list(os.scandir(Path(photos[1]).parent))
    kinds += [entry for entry in entries if entry.path == photos[1]]
    assert inferencer(kinds[-1]).image == inferencer(kinds[-1:])[0].image == photos[1]
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Photo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kinds.append(f'http://127.0.0.1:{server.server_port}/photo.png')
        expected = inferencer(photos[1])
        assert expected.image == photos[1]
        results = [inferencer(kind) for kind in kinds] + inferencer(kinds)
        results += inferencer(iter(kinds), batch_size=2, num_workers=2)
        server.shutdown()
    for index, result in enumerate(results):
        assert result.scores == pytest.approx(expected.scores, abs=2e-6), index
    of_file, of_array = inferencer([photos[1], pixels], return_datasamples=True)
    assert of_array.ori_shape == of_file.ori_shape == pixels.shape[:2]
    other = inferencer(pixels[..., ::-1].copy())  # RGB is not what an array holds
    assert other.scores != pytest.approx(expected.scores, abs=1e-4)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'])
def test_pillow_images_and_arrays_become_what_their_file_becomes(mode, tmp_path):
    rng = np.random.default_rng(0)
    if mode == 'I;16':
        array = rng.integers(0, 65536, (20, 30)).astype(np.uint16)
        image = Image.fromarray(array)
    else:
        image = Image.fromarray(rng.integers(0, 256, (20, 30, 4), np.uint8)).convert(mode)
    image.save(tmp_path / 'a.png')
    expected = read_image(tmp_path / 'a.png')
    np.testing.assert_array_equal(to_pixels(image, 'it'), expected)
    np.testing.assert_array_equal(to_pixels((tmp_path / 'a.png').read_bytes(), 'it'), expected)
    array = cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED)
    found = to_pixels(array, 'it')
    np.testing.assert_array_equal(found, expected)
    # a transform may write into it, and torch warns of what is read-only
    assert found.flags.writeable and found.flags.c_contiguous
    assert not np.shares_memory(found, array)


def encoded(kind, mode='RGB', **options):
    """A file of two colourful pictures, 640 x 480, or of the first alone."""
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (6, 8, 4), np.uint8)).convert(mode).resize((640, 480))
        for _ in range(2)
    ]
    file = io.BytesIO()
    others = dict(save_all=True, append_images=pictures[1:]) if kind in ('GIF', 'MPO') else {}
    pictures[0].save(file, kind, **others, **options)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    return exif


DEEP = np.random.default_rng(0).integers(0, 65536, (48, 64, 3)).astype(np.uint16)


@pytest.mark.parametrize(
    'content',
    [
        encoded('JPEG'),
        encoded('JPEG', 'CMYK', exif=turned()),
        encoded('MPO', exif=turned()),
        encoded('GIF', 'P', transparency=3),
        encoded('PNG', 'P', transparency=3),
        encoded('TIFF', 'RGBA'),
        encoded('WEBP', exif=turned()),
        cv2.imencode('.tiff', DEEP)[1].tobytes(),
        cv2.imencode('.png', DEEP[..., 0])[1].tobytes(),
    ],
    ids=['jpeg', 'cmyk', 'mpo', 'gif', 'palette', 'alpha', 'webp', 'tiff-16', 'grey-16'],
)
def test_a_pillow_image_that_is_not_decoded_is_read_as_its_file(content, tmp_path):
    (tmp_path / 'image').write_bytes(content)
    expected = read_image(tmp_path / 'image', reduce_to=100)
    for source in (tmp_path / 'image', io.BytesIO(content)):
        with Image.open(source) as image:
            for _ in range(2):
                np.testing.assert_array_equal(to_pixels(image, 'it', 100), expected)
            assert image.tobytes() == Image.open(io.BytesIO(content)).tobytes()  # still readable


def test_what_was_done_to_a_pillow_image_is_kept():
    changed, smaller, page = (
        Image.open(io.BytesIO(encoded(kind))) for kind in ('JPEG', 'JPEG', 'GIF')
    )
    changed.putpixel((0, 0), 0)
    smaller.draft('L', (320, 240))
    page.seek(1)
    for image, shape in ((changed, (480, 640)), (smaller, (240, 320)), (page, (480, 640))):
        found = to_pixels(image, 'it', 100)
        assert found.shape[:2] == shape
        np.testing.assert_array_equal(found, np.array(image.convert('RGB'))[..., ::-1])


@pytest.mark.parametrize(
    'image, message',
    [
        (np.zeros((4, 4, 3)), 'an array must be uint8 or uint16, got float64'),
        (np.zeros((4, 4, 3), bool), 'uint8 or uint16, got bool'),
        (np.zeros((4, 4, 3), np.uint32), 'uint8 or uint16, got uint32'),
        (np.zeros((3, 8, 8), np.uint8), r'must be \(H, W, 3\), BGR, got \(3, 8, 8\)'),
        (np.zeros((0, 4, 3), np.uint8), r'got \(0, 4, 3\)'),
        (np.zeros((1, 4, 4, 3), np.uint8), r'got \(1, 4, 4, 3\)'),
        (Image.new('F', (4, 4)), '32 bits a pixel, expected 8 or 16'),
        (b'', 'an empty file'),
        (b'\x89PNG\r\n\x1a\n', 'cut off'),
        ('photos', 'not a regular file'),
        (torch.zeros(3, 4, 4), 'a Tensor, expected a path'),
        (Image.open(io.BytesIO(CUT_OFF)), 'the image is cut off'),
        (None, 'a NoneType, expected a path'),
    ],
)
def test_what_is_no_image_is_named_in_one_line(
    image, message, photos, inferencer, run, monkeypatch
):
    monkeypatch.chdir(run)
    name = image if isinstance(image, str) else r'image 2 \(from 0\)'
    with pytest.raises(ImageReadError, match=f'^{name}: .*{message}[^\n]*$'):
        inferencer([photos[0], photos[1], image])
    for inputs in ([image, photos[0]], iter([image, photos[0]])):
        (given, fault), (_, outcome) = inferencer.stream(inputs, num_workers=1)
        assert given is image
        assert isinstance(fault, ImageReadError)
        assert outcome.names == inferencer(photos[0]).names


def test_bytes_are_bytes_of_any_type(photos, inferencer):
    content = Path(photos[0]).read_bytes()
    expected = inferencer(content)
    inputs = [bytearray(content), memoryview(content)]
    assert [inferencer(one) for one in inputs] == [expected] * 2
    assert [one.scores for one in inferencer(inputs)] == [expected.scores] * 2


def test_predictions_can_be_in_a_set(photos, inferencer):
    first, second = inferencer(photos[:2])
    assert {first, second, inferencer(photos[0])} == {first, second}


def test_what_is_neither_an_image_nor_several_is_refused(photos, inferencer):
    with open(photos[0], 'rb') as file, pytest.raises(TypeError, match='bytes.*got BufferedReader'):
        inferencer(file)
    for inputs in (3, {'a': photos[0]}, torch.zeros(3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(TypeError, match=f'got {type(inputs).__name__}$'):
            inferencer(inputs)
    with pytest.raises(ImageReadError, match='^the image: an array must be uint8'):
        inferencer(np.zeros((4, 4, 3)))
    with pytest.raises(FileNotFoundError, match='no file fits the pattern'):
        inferencer('nothing/*.jpg')
    with pytest.raises(ImageReadError, match='nothing.jpg: image not found'):
        inferencer(Path('nothing.jpg'))


def test_a_folder_and_a_pattern_are_their_images(run, photos, inferencer, tmp_path, monkeypatch):
    assert [result.image for result in inferencer(run / 'photos')] == photos
    assert [result.image for result in inferencer(f'{run}/photos/*0.png')] == photos[:1]
    shutil.copy(photos[0], tmp_path / 'a.png')
    (tmp_path / 'notes.txt').touch()
    lines = []
    monkeypatch.setattr(image_inputs, 'print_log', lambda line, _: lines.append(line))
    assert len(inferencer(tmp_path)) == 1
    assert lines == [f'{tmp_path}: 1 file left out (not images)']


@pytest.mark.parametrize('workers', [0, 2])
def test_an_iterator_is_streamed(workers, photos, inferencer):
    taken = 0

    def endless():
        nonlocal taken
        for photo in itertools.cycle(photos):
            taken += 1
            yield photo

    results = inferencer(endless(), batch_size=2, num_workers=workers)
    assert taken == 0
    found = list(itertools.islice(results, 7))
    assert taken <= 8 + (4 if workers else 0)  # two batches ahead
    assert [result.image for result in found] == [*photos, *photos][:7]
    assert found[0] == found[6]
    results.close()
    assert list(inferencer(iter([]))) == inferencer([]) == []


@pytest.mark.parametrize('kind', ['gif', 'tif', 'array', 'bytearray', 'memoryview'])
@pytest.mark.parametrize('workers', [0, 2])
def test_frames_that_change_the_last_one_are_predicted_and_drawn_as_they_were(
    workers, kind, photos, inferencer, tmp_path
):
    frames = [Image.open(photo).resize((40, 40)) for photo in photos]
    file = tmp_path / f'frames.{kind}'
    if kind in ('gif', 'tif'):
        frames[0].save(file, save_all=True, append_images=frames[1:])

    def one_object():
        if file.exists():
            yield from ImageSequence.Iterator(Image.open(file))
            return
        contents = [np.array(frame) if kind == 'array' else frame.tobytes() for frame in frames]
        if kind != 'array':
            header = b'P6 40 40 255\n'
            contents = [header + content for content in contents]
        buffer = contents[0].copy() if kind == 'array' else bytearray(contents[0])
        for content in contents:
            buffer[:] = content
            yield memoryview(buffer) if kind == 'memoryview' else buffer

    def pictures(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    pixels = [to_pixels(frame, 'it') for frame in one_object()]
    expected = inferencer(pixels, batch_size=4, show_dir=tmp_path / 'expected')
    assert len({tuple(one.scores.values()) for one in expected}) == len(photos)
    options = dict(batch_size=4, num_workers=workers)
    assert list(inferencer(one_object(), **options)) == expected
    assert [one for _, one in inferencer.stream(one_object(), **options)] == expected
    assert list(inferencer(one_object(), show_dir=tmp_path / 'found', **options)) == expected
    assert pictures(tmp_path / 'found') == pictures(tmp_path / 'expected')


@pytest.mark.parametrize('kind', [list, iter])
def test_the_next_batches_are_read_while_the_model_computes(kind, photos, inferencer, monkeypatch):
    read = threading.Semaphore(0)
    calls = []

    class Pipeline(InputPipeline):
        def read(self, name, source):
            item = super().read(name, source)
            read.release()
            return item

    def compute(names, *rest):
        calls.append(names)
        if len(calls) == 1:  # its own two images, and four more
            assert all(read.acquire(timeout=60) for _ in range(6))
        return predict(names, *rest)

    predict = inferencer._predict
    monkeypatch.setattr(inferencer.pipeline, '__class__', Pipeline)
    monkeypatch.setattr(inferencer, '_predict', compute)
    results = inferencer(kind(photos * 4), batch_size=2, num_workers=2)
    assert [result.image for result in results] == photos * 4
    assert calls == [tuple((photos * 4)[k : k + 2]) for k in range(0, 4 * len(photos), 2)]


def test_reading_ends_with_the_one_who_asked(photos, inferencer):
    asked, answer = threading.Event(), threading.Event()

    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            answer.wait(60)

    before = {*threading.enumerate()}  # some of which may end meanwhile
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/photo.png'
        results = inferencer(iter([photos[0], address, address]), batch_size=1, num_workers=1)
        next(results)
        assert asked.wait(60)
        started = time.monotonic()
        results.close()  # as after Ctrl-C
        assert time.monotonic() - started < 10  # a silent server has 20 s
        answer.set()
        server.shutdown()
    end = time.monotonic() + 60
    while {*threading.enumerate()} - before and time.monotonic() < end:
        time.sleep(0.01)
    assert not {*threading.enumerate()} - before


def test_one_pillow_image_may_be_given_many_times(photos, inferencer):
    for _ in range(20):
        image = Image.open(photos[1])  # read when it is first used
        found = inferencer([image] * 8, num_workers=4)
        assert all(result.labels == inferencer(photos[1]).labels for result in found)


def test_nothing_is_printed(photos, inferencer, capfd):
    inferencer(photos[0])
    inferencer(photos, batch_size=2)
    assert capfd.readouterr() == ('', '')


def test_pictures_and_samples_as_of_mmpretrains_inferencers(photos, inferencer, tmp_path):
    inputs = [photos[0], Image.open(photos[1]), cv2.imread(photos[2])]
    options = dict(show_dir=tmp_path, return_datasamples=True)
    samples = inferencer(inputs, attention=True, **options)
    assert len(list(tmp_path.glob('*.jpg'))) == 3
    for sample, result in zip(samples, inferencer(inputs)):
        assert [*result.scores.values()] == pytest.approx(sample.pred_score.tolist(), abs=5e-7)
        assert sample.attention.shape[0] == len(CLASSES)


# ---------------------------------------------------------------- results


def test_a_prediction_becomes_json_and_does_not_change(photos, inferencer):
    result = inferencer(photos[0], topk=2)
    again = json.loads(json.dumps(result.to_dict()))
    assert again['scores'] == result.scores and list(result.scores) == CLASSES
    assert [(label['label'], label['score']) for label in again['labels']] == list(result.labels)
    assert result.names == sorted(CLASSES, key=lambda name: -result.scores[name])[:2]
    with pytest.raises(FrozenInstanceError):
        result.labels = ()


def test_half_precision_changes_little(photos, checkpoint, inferencer):
    expected = inferencer(photos, attention=True, return_datasamples=True)
    for precision in ('bfloat16', 'float16'):
        half = MultiLabelInferencer(checkpoint, device='cpu', precision=precision)
        found = half(photos, attention=True, return_datasamples=True)
        for sample, other in zip(found, expected):
            assert sample.pred_score.dtype == sample.attention.dtype == torch.float32
            assert not torch.equal(sample.pred_score, other.pred_score)
            # eight and eleven bits of a product, through some ten layers
            torch.testing.assert_close(sample.pred_score, other.pred_score, rtol=0, atol=0.05)
    with pytest.raises(ValueError, match="precision .* is one of float32, .*, got 'int8'"):
        MultiLabelInferencer(checkpoint, precision='int8')


# ---------------------------------------------------------------- thresholds


def test_thresholds_of_each_kind_decide_alike(known, tmp_path):
    inferencer = MultiLabelInferencer(known / 'work_dirs/run', device='cpu')
    photo = known / 'photo.jpg'
    values = dict(zip(CLASSES, (0.01, 0.95, 0.5, 0.29, 0.5)))
    (tmp_path / 't.json').write_text(json.dumps(values))
    (tmp_path / 't.csv').write_text(
        'class,threshold\n' + ''.join(f'{k},{values[k]}\n' for k in values)
    )
    kinds = [values, tmp_path / 't.json', str(tmp_path / 't.csv'), [*values.values()]]
    kinds += [
        dict(reversed(values.items())),
        np.array(kinds[-1]),
        read_thresholds(tmp_path / 't.json'),
    ]
    for thr in kinds:
        assert inferencer(photo, thr=thr).names == ['tree', 'straße', 'cat']
    assert inferencer(photo).names == inferencer(photo, thr=0.5).names == ['dog', 'tree']
    for thr in ('0.8', np.float32(0.8), np.float64(0.8), np.array(0.8), torch.tensor(0.8)):
        assert inferencer(photo, thr=thr).names == ['dog']
    assert inferencer(photo, thr=np.int64(1)).names == []
    assert (
        inferencer(photo, thr=torch.tensor([*values.values()])).names
        == inferencer(photo, thr=values).names
    )


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(thr=30), 'thr is a score, between 0 and 1, got 30'),
        (dict(thr=np.int64(30)), 'thr is a score, between 0 and 1, got 30'),
        (dict(thr=float('nan')), 'finite'),
        (dict(thr=np.float32('nan')), 'finite'),
        (
            dict(thr={'dog': 0.5}),
            r'thr has no threshold for 4 classes: cat, red fox, straße, tree '
            r'\(each of the 5 classes needs one\)$',
        ),
        (dict(thr=dict.fromkeys([*CLASSES, 'bee'], 0.5)), '1 unknown class: bee'),
        (
            dict(thr=dict.fromkeys(CLASSES, 50)),
            "the threshold of 'cat' must be from 0 to 1, got 50",
        ),
        (dict(thr=[0.5, 0.5]), 'got 2 thresholds for 5 classes'),
        (dict(thr=[0.5] * 4 + [50]), 'thr is a score, between 0 and 1, got 50'),
        (dict(topk=0), 'topk must be a whole number of at least 1 and at most 5, got 0'),
        (dict(topk=6), 'at most 5, got 6'),
        *(
            (dict(topk=value), f'topk must be a whole .* got {value!r}$')
            for value in (1.5, '3', True)
        ),
        (dict(batch_size=0), 'batch_size must be a whole number of at least 1, got 0'),
        (dict(batch_size=2.0), r'batch_size must be a whole number of at least 1, got 2\.0'),
        (dict(batch_size=None), 'got None'),
        (dict(num_workers=-1), 'num_workers must be a whole number of at least 0, got -1'),
        (dict(num_workers=1.5), r'got 1\.5'),
    ],
)
def test_what_cannot_decide_is_refused_before_any_image(options, message, inferencer):
    def images():
        raise AssertionError('an image was taken')
        yield

    for call in (inferencer, inferencer.stream):
        with pytest.raises(ValueError, match=message):
            call(images(), **options)
