"""The web demo: what it works out of a prediction, and its page in a browser."""

import contextlib
import http.client
import importlib.machinery
import importlib.util
import socket
import sys
import types

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from numpy.testing import assert_array_equal
from PIL import Image

from mlic.apis.batches import BatchPredictor
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.demo.photo_labels import count_labels, draw_label, list_labels, predict_photo
from mlic.demo.web_demo import build_demo, serve
from mlic.image_reader import ImageReadError
from mlic.visualization.attention import overlay_attention
from tests.helpers import call_tool
from tests.tiny_runs import plain_model, sarl_model

MEGABYTES = 2**20
EVIL = '<img src=x onerror="document.title=1">${1+1}{{value}}'
CLASSES = ['cat', 'red fox', EVIL, 'straße', 'tree']
SCORES = [0.7, 0.1, 0.9, 0.55, 0.3]

RESIZE = dict(type='Resize', scale=(64, 64))
CROP = dict(type='CenterCrop', crop_size=48)


def write_checkpoint(path, model, transform=RESIZE):
    """A checkpoint with its config inside; the scores are about SCORES, whatever the photo."""
    num_classes = model['head']['num_classes']
    pipeline = [dict(type='LoadImageStrict'), transform, dict(type='PackInputs')]
    cfg = Config(
        dict(
            model=model,
            data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True),
            test_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )
    torch.manual_seed(0)
    init_default_scope('mmpretrain')
    weights = MODELS.build(model).state_dict()
    weights['head.fc.weight'] *= 1e-3
    weights['head.fc.bias'].copy_(torch.tensor(SCORES[:num_classes]).logit())
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES[:num_classes]))
    torch.save(dict(state_dict=weights, meta=meta), path)
    return path


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Checkpoints, a photo of 90 x 60 pixels, a huge one, and a file that is none."""
    folder = tmp_path_factory.mktemp('demo')
    write_checkpoint(folder / 'sarl.pth', sarl_model(5))
    write_checkpoint(folder / 'cropped.pth', sarl_model(5), CROP)
    write_checkpoint(folder / 'baseline.pth', plain_model(5))
    write_checkpoint(folder / 'single.pth', sarl_model(1))
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    photo = Image.fromarray(colours).resize((90, 60))
    photo.save(folder / 'photo.png')
    photo.resize((2000, 1000)).save(folder / 'huge.png')
    (folder / 'broken.jpg').write_text('not an image')
    return folder


@pytest.fixture(scope='module')
def inferencers(folder):
    names = ('sarl', 'cropped', 'baseline', 'single')
    return {name: MultiLabelInferencer(folder / f'{name}.pth', device='cpu') for name in names}


# ---------------------------------------------------------------- what the page shows


@pytest.mark.parametrize('name', ['sarl', 'cropped', 'baseline'])
def test_prediction_is_that_of_the_inferencer(name, inferencers, folder):
    path = str(folder / 'photo.png')
    found = predict_photo(inferencers[name], path)
    options = dict(attention=name != 'baseline', return_datasamples=True)
    expected = inferencers[name](path, **options)
    torch.testing.assert_close(found.pred_score, expected.pred_score)
    whole = cv2.imread(path)[..., ::-1]
    assert_array_equal(found.photo, whole)
    if name == 'baseline':
        assert found.attention is None
        return
    torch.testing.assert_close(found.attention, expected.attention)
    view = whole if name == 'sarl' else expected.view  # of a crop, the part that the model sees
    for label in (0, 3):
        drawn = draw_label(found, label)
        assert_array_equal(drawn, overlay_attention(view, expected.attention[label]))


def test_pictures_of_a_huge_photo_are_small(inferencers, folder):
    found = predict_photo(inferencers['sarl'], str(folder / 'huge.png'))
    assert found.photo.shape == (480, 960, 3) == draw_label(found, 0).shape


def test_bad_file_is_named_without_its_folder(inferencers, folder):
    with pytest.raises(ImageReadError, match='^broken.jpg: not an image'):
        predict_photo(inferencers['sarl'], str(folder / 'broken.jpg'))


def test_all_labels_are_listed_those_that_are_found_first():
    scores = torch.tensor(SCORES)

    def listed(thr):
        labels = list_labels(scores, CLASSES, thr)
        assert [(x.name, x.score) for x in labels] == [
            (CLASSES[x.index], float(scores[x.index])) for x in labels
        ]
        found = [label.found for label in labels]
        assert found == sorted(found, reverse=True)
        return [label.index for label in labels], sum(found), count_labels(labels)

    assert listed(0.5) == ([2, 0, 3, 4, 1], 3, '3 of 5 labels.')
    assert listed(0.8) == ([2, 0, 3, 4, 1], 1, '1 of 5 labels.')
    assert listed([1.0, 0.0, 1.0, 0.4, 1.0]) == ([3, 1, 2, 0, 4], 2, '2 of 5 labels.')
    assert listed(0.95) == ([2, 0, 3, 4, 1], 0, f'No label; the best is {EVIL} 90%.')


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    'thr, message',
    [
        (1.5, 'between 0 and 1, got 1.5'),
        (float('nan'), 'a finite number or a file, got nan'),
        ([0.5] * 4 + [30], 'between 0 and 1, got 30'),
        ([0.5, 0.5], '2 thresholds for 5 classes'),
    ],
)
def test_threshold_that_does_not_fit_is_refused(thr, message, inferencers):
    with pytest.raises(ValueError, match=message):
        build_demo(inferencers['sarl'], thr)


def test_tool_without_gradio_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    message = call_tool('tools/demo.py', 'nothing.pth')
    assert message == "error: the web demo needs the extra 'demo': pip install -e '.[demo]'"


def test_tool_refuses_an_older_gradio(monkeypatch):
    older = types.ModuleType('gradio')
    older.__version__ = '5.49.1'
    older.__spec__ = importlib.machinery.ModuleSpec('gradio', None, origin='gradio/__init__.py')
    monkeypatch.setitem(sys.modules, 'gradio', older)
    message = call_tool('tools/demo.py', 'nothing.pth')
    assert 'gradio 6 or later, and 5.49.1 is installed' in message and '\n' not in message


def test_a_decompression_bomb_is_refused_and_no_image_is_decoded_by_others(
    inferencers, folder, monkeypatch
):
    path = str(folder / 'huge.png')
    expected = predict_photo(inferencers['sarl'], path).pred_score
    opened = []
    original = cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda *a: opened.append(a) or original(*a))
    monkeypatch.setattr(Image, 'open', lambda *_: pytest.fail('Pillow opened it'))
    torch.testing.assert_close(predict_photo(inferencers['sarl'], path).pred_score, expected)
    assert len(opened) == 2  # for the model, and for the page
    monkeypatch.setenv('MLIC_MAX_PIXELS', str(2000 * 1000 - 1))
    with pytest.raises(ImageReadError, match='^huge.png: 2000 x 1000 pixels, more than'):
        predict_photo(inferencers['sarl'], path)
    assert len(opened) == 2


def test_a_file_of_too_many_bytes_is_not_taken(inferencers, tmp_path, monkeypatch):
    pytest.importorskip('gradio', reason="needs pip install -e '.[demo]'")
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path))
    demo = build_demo(inferencers['baseline'])
    try:
        address = serve(demo, port=free_port()).removeprefix('http://').rstrip('/')
        sizes = 1000, 2 * MEGABYTES, 52 * MEGABYTES
        assert [upload(address, size) for size in sizes] == [200, 200, 413]
    finally:
        demo.close()


def upload(address, size):
    """The status with which the server answers a file, of which it need not read all."""
    head = b'--X\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.putrequest('POST', '/gradio_api/upload')
    connection.putheader('Content-Type', 'multipart/form-data; boundary=X')
    connection.putheader('Content-Length', str(len(head) + size + 9))
    connection.endheaders(head)
    with contextlib.suppress(OSError):  # it has closed its end
        for start in range(0, size, MEGABYTES):
            connection.send(bytes(min(MEGABYTES, size - start)))
        connection.send(b'\r\n--X--\r\n')
    return connection.getresponse().status


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope='module')
def calls():
    """Addresses that this process has asked for, as (host, what for)."""
    calls = []

    def note(event, arguments):
        if event == 'socket.getaddrinfo':
            calls.append((arguments[0], event))
        elif event == 'socket.connect' and isinstance(arguments[1], tuple):
            calls.append((arguments[1][0], event))

    sys.addaudithook(note)  # stays to the end of the process
    return calls


@pytest.fixture
def open_page(browser, inferencers, calls, tmp_path, monkeypatch):
    """Opens a page; at the end neither it nor the server has asked elsewhere or complained."""
    if importlib.util.find_spec('gradio') is None:
        pytest.skip("needs gradio: pip install -e '.[demo]'")
    messages = []
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path / 'uploads'))
    calls.clear()
    with contextlib.ExitStack() as stack:

        def opened(name='sarl', thr=0.5, width=1280):
            demo = build_demo(inferencers[name], thr)
            stack.callback(demo.close)
            address = serve(demo, port=free_port())
            page = browser.new_page(viewport=dict(width=width, height=900))
            stack.callback(page.close)
            page.on('console', lambda message: messages.extend(fault(message)))
            page.on('pageerror', lambda error: messages.append(str(error)))
            page.on('request', lambda request: messages.extend(outside(request.url, address)))
            page.goto(address)
            page.get_by_text('No photo yet.').wait_for()
            return page

        def fault(message):
            return [message.text] if message.type == 'error' else []

        def outside(url, address):
            return [] if url.startswith((address, 'data:', 'blob:')) else [url]

        yield opened
    assert messages == []
    assert {host for host, _ in calls} <= {'127.0.0.1', 'localhost', '::1'}


def free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def drop(page, path, expected):
    """Give the page a file, and wait for a text."""
    page.set_input_files('input[type=file]', str(path))
    page.locator('#message', has_text=expected).wait_for()


def shown(page, which='.found'):
    return page.locator(f'#labels button{which} .name').all_inner_texts()


def slide(page, name, value, expected):
    """Move a slider, and wait for a text."""
    page.locator(f'#{name} input[type=range]').fill(str(value))
    page.locator('#message', has_text=expected).wait_for()


@pytest.mark.slow
def test_browser_shows_labels_and_attention(open_page, folder, monkeypatch):
    runs = []
    predict = BatchPredictor.__call__
    monkeypatch.setattr(BatchPredictor, '__call__', lambda *a: runs.append(a) or predict(*a))
    page = open_page()
    assert 'sarl · ResNet · SARLNeck · SADCLHead · 5 labels' in page.inner_text('#head')
    zone = page.locator('#file').bounding_box()['height']
    drop(page, folder / 'photo.png', '3 of 5 labels.')
    assert page.locator('#file').bounding_box()['height'] < 0.6 * zone
    assert shown(page) == [EVIL, 'cat', 'straße']
    assert shown(page, '') == [EVIL, 'cat', 'straße', 'tree', 'red fox']
    scores = ['90%', '70%', '55%', '30%', '10%']
    assert page.locator('#labels .score').all_inner_texts() == scores
    # a long label over the picture ends before the button there
    frame, button = page.locator('#attention'), page.locator('#attention [title=Fullscreen]')
    room = frame.locator('label').evaluate(
        'node => parseFloat(getComputedStyle(node).paddingRight)'
    )
    frame, button = frame.bounding_box(), button.bounding_box()
    assert button['x'] >= frame['x'] + frame['width'] - room
    first = page.locator('#attention img').get_attribute('src')
    slide(page, 'threshold', 80, '1 of 5 labels.')
    assert shown(page) == [EVIL]
    slide(page, 'threshold', 95, f'No label; the best is {EVIL} 90%.')
    assert shown(page) == [] and len(shown(page, '')) == 5
    slide(page, 'threshold', 0, '5 of 5 labels.')

    page.locator('#labels button', has_text='cat').click()  # picks it
    page.wait_for_function(
        'first => document.querySelector("#attention img").src !== first', arg=first
    )
    assert 'Where the model looks: cat 70%' in page.inner_text('#attention')
    assert shown(page, '[aria-pressed=true]') == ['cat']
    slide(page, 'threshold', 60, '2 of 5 labels.')
    assert shown(page, '[aria-pressed=true]') == ['cat']
    assert len(runs) == 1
    assert page.title() == 'Labels of a photo' and page.locator('#photo img').count() == 1

    drop(page, folder / 'broken.jpg', 'broken.jpg: not an image')
    assert shown(page, '') == [] and page.locator('img').count() == 0
    assert page.locator('#message [role=alert]').count() == 1
    drop(page, folder / 'huge.png', '2 of 5 labels.')  # and continues
    assert len(runs) == 3


@pytest.mark.slow
@pytest.mark.parametrize('width, name', [(1200, 'sarl'), (1200, 'baseline'), (390, 'sarl')])
def test_browser_has_no_empty_column_and_no_sideways_scroll(open_page, folder, width, name):
    page = open_page(name, width=width)
    assert page.locator('#photo').count() + page.locator('#labels').count() == 0  # nothing to show
    drop(page, folder / 'photo.png', '3 of 5 labels.')
    page.locator('#photo img').wait_for()
    columns = page.locator('.row .column:visible')
    assert columns.count() == (2 if name == 'baseline' else 3)
    for column in columns.all():
        assert column.locator('img, .name').count()
    assert page.evaluate('document.documentElement.scrollWidth') == width


@pytest.mark.slow
def test_browser_of_a_model_without_attention_says_so(open_page, folder):
    page = open_page('baseline', width=390)
    drop(page, folder / 'photo.png', '3 of 5 labels.')
    assert 'no attention by label: its neck is GlobalAveragePooling' in page.inner_text(
        '#attention'
    )
    assert page.locator('#photo img').count() == 1
    assert page.evaluate('document.documentElement.scrollWidth') == 390
    drop(page, folder / 'broken.jpg', 'broken.jpg: not an image')


@pytest.mark.slow
def test_browser_offers_thresholds_of_the_labels(open_page, folder):
    page = open_page(thr=[1.0, 0.0, 1.0, 0.4, 1.0])
    drop(page, folder / 'photo.png', '2 of 5 labels.')
    assert shown(page) == ['straße', 'red fox']
    assert page.locator('#threshold input[type=range]').is_disabled()
    page.locator('#by-class input').uncheck()
    page.locator('#message', has_text='3 of 5 labels.').wait_for()
    slide(page, 'threshold', 80, '1 of 5 labels.')


@pytest.mark.slow
def test_browser_of_a_model_of_one_class(open_page, folder):
    page = open_page('single')
    drop(page, folder / 'photo.png', '1 of 1 label.')
    assert shown(page) == ['cat'] and page.locator('#attention img').count() == 1
    slide(page, 'threshold', 80, 'No label; the best is cat 70%.')
