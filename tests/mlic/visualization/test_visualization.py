import base64
import io
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image, ImageDraw

from mlic.apis.model_outputs import unsquash
from mlic.apis.open_run import open_run
from mlic.cli import report, show_attention
from mlic.datasets.digit_scenes import DigitScenes
from mlic.visualization.attention import (
    FALSE_COLOUR,
    TRUE_COLOUR,
    draw_attention,
    heat_map,
    overlay_attention,
    select_labels,
)
from mlic.visualization.page import fit_ends, text_width
from mlic.visualization.prediction import INK, draw_prediction
from tests.helpers import ROOT, run_tool

TOOL = ROOT / 'tools/analysis_tools/show_attention.py'
NAMES = ['zero', 'one', 'two', 'three', 'four']


def random_batch(num_images, num_classes=5, size=(48, 64), seed=0):
    """What draw_attention takes, from images to attention."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num_images, *size, 3), generator=generator)
    pred_score = torch.rand(num_images, num_classes, generator=generator)
    target = (torch.rand(num_images, num_classes, generator=generator) > 0.5).float()
    attention = torch.rand(num_images, num_classes, 3, 4, generator=generator)
    return list(images.numpy().astype(np.uint8)), pred_score, target, attention


def titles(figure):
    return [(axes.get_title(), axes.title.get_color()) for axes in figure.axes]


def captions(figure):
    return [text.get_text() for text in figure.texts]


def rendered(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


# ---------------------------------------------------------------- the drawing


def test_panels_titles_colours_and_captions():
    images, _, _, attention = random_batch(2)
    pred_score = torch.tensor([[0.10, 0.97, 0.60, 0.40, 0.71], [0.50, 0.0, 0.1, 0.2, 0.3]])
    target = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0]])
    figure = draw_attention(images, pred_score, target, attention, NAMES, ['a', 'b'])
    plain = figure.axes[0].title.get_color()
    assert titles(figure) == [
        ('a', plain),
        ('one 0.97', TRUE_COLOUR),
        ('four 0.71', TRUE_COLOUR),
        ('two 0.60', FALSE_COLOUR),
        ('b', plain),
        ('zero 0.50', TRUE_COLOUR),
    ]
    assert captions(figure) == ['true: one, three, four', 'missed: three', 'true: zero']


@pytest.mark.parametrize('num_images', [1, 2, 7])
def test_panels_are_aligned_and_apart(num_images):
    batch = random_batch(num_images)
    figure = draw_attention(*batch, NAMES)
    shown = [select_labels(score, 0.5, 4) for score in batch[1]]
    assert len(figure.axes) == sum(1 + len(labels) for labels in shown)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({round(box.y0, 6) for box in boxes}) == num_images
    assert len({round(box.x0, 6) for box in boxes}) == 1 + max(map(len, shown))
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])
    assert rendered(figure).std() > 0


def test_images_differ_in_size_and_maps_in_cells():
    sizes, cells = [(30, 90), (90, 30), (50, 50)], [(2, 6), (6, 2), (3, 3)]
    images = [np.zeros((*size, 3), np.uint8) for size in sizes]
    attention = [torch.rand(5, *cell) for cell in cells]
    figure = draw_attention(images, torch.full((3, 5), 0.9), torch.ones(3, 5), attention, NAMES)
    assert [axes.images[0].get_array().shape[:2] for axes in figure.axes[::5]] == sizes
    rendered(figure)
    for axes in figure.axes:
        height, width = axes.images[0].get_array().shape[:2]
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(height / width, rel=1e-3)


def test_no_predicted_label_shows_the_best_one():
    images, _, _, attention = random_batch(1)
    pred_score = torch.tensor([[0.1, 0.3, 0.2, 0.0, 0.1]])
    target = torch.tensor([[0, 1, 0, 1, 0]])
    figure = draw_attention(images, pred_score, target, attention, NAMES)
    assert titles(figure)[1:] == [('one 0.30', TRUE_COLOUR)]
    assert captions(figure) == ['true: one, three', 'missed: one, three', 'no score reaches 0.5']


def test_no_true_label():
    images, pred_score, _, attention = random_batch(1)
    figure = draw_attention(images, pred_score, torch.zeros(1, 5), attention, NAMES)
    assert captions(figure)[0] == 'true: no label'
    assert {colour for _, colour in titles(figure)[1:]} == {FALSE_COLOUR}


def test_predicted_labels_without_a_panel_are_named():
    images, _, _, attention = random_batch(1)
    pred_score = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.1]])
    target = torch.tensor([[1, 1, 1, 0, 0]])
    figure = draw_attention(images, pred_score, target, attention, NAMES, max_labels=2)
    assert [title for title, _ in titles(figure)[1:]] == ['zero 0.90', 'one 0.80']
    assert captions(figure) == ['true: zero, one, two', 'also predicted: two, three']


@pytest.mark.parametrize('max_labels', [1, 7])
def test_wide_names_stay_in_their_panel_and_on_the_page(max_labels):
    names = [f'W{index} ' + 'wide WWW $\\frac$ name ' * (index % 4 + 1) for index in range(16)]
    images, _, _, attention = random_batch(2, num_classes=16)
    pred_score = torch.linspace(1, 0, 16).repeat(2, 1)
    target = 1 - pred_score.round()
    figure = draw_attention(
        images, pred_score, target, attention, names, max_labels=max_labels, thr=0.4
    )
    rendered(figure)
    tolerance = 2  # pixels of hinting
    for axes in figure.axes:
        title, box = axes.title.get_window_extent(), axes.get_window_extent()
        assert title.width <= box.width + tolerance
    for axes in figure.axes[1 : 1 + max_labels]:
        assert '… ' in axes.get_title() or axes.get_title().startswith(tuple(names))
        assert axes.get_title()[-5:-2] in (' 1.', ' 0.')  # the score is never cut
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [axes.title.get_window_extent() for axes in figure.axes]
    for index, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_a_row_does_not_depend_on_the_other_images():
    images, pred_score, target, attention = random_batch(3)
    together = draw_attention(images, pred_score, target, attention, NAMES, list('abc'))
    rows = [
        draw_attention(
            images[index : index + 1],
            *(matrix[index : index + 1] for matrix in (pred_score, target, attention)),
            NAMES,
            ['abc'[index]],
        )
        for index in range(3)
    ]
    assert titles(together) == [title for row in rows for title in titles(row)]
    assert captions(together) == [caption for row in rows for caption in captions(row)]
    alone = [axes.images[0].get_array() for row in rows for axes in row.axes]
    for axes, picture in zip(together.axes, alone):
        np.testing.assert_array_equal(axes.images[0].get_array(), picture)


def test_sizes_that_do_not_fit_are_refused():
    images, pred_score, target, attention = random_batch(2)
    with pytest.raises(ValueError, match='target has 1 rows for 2 images'):
        draw_attention(images, pred_score, target[:1], attention, NAMES)
    with pytest.raises(ValueError, match='pred_score has 5 classes, class_names 4'):
        draw_attention(images, pred_score, target, attention, NAMES[:4])
    with pytest.raises(ValueError, match='got 0'):
        draw_attention([], pred_score, target, attention, NAMES)
    with pytest.raises(ValueError, match='max_labels must be at least 1, got 0'):
        draw_attention(images, pred_score, target, attention, NAMES, max_labels=0)


def test_names_of_files_are_cut_in_their_middle():
    name = 'COCO_val2014_000000391895.jpg'
    assert fit_ends(name, 9.0) == name
    cut = fit_ends(name, 1.4)
    assert text_width(cut) <= 1.4
    head, tail = cut.split('…')
    assert name.startswith(head) and name.endswith(tail) and tail.endswith('391895.jpg')
    figure = draw_attention(*random_batch(1), NAMES, [f'{name[:-4]}_{name}'])
    assert figure.axes[0].get_title().endswith('391895.jpg')


# ---------------------------------------------------------------- the picture of a prediction


@pytest.mark.parametrize('num_maps', [None, 3, 14])
def test_a_prediction_names_each_label_once(monkeypatch, num_maps):
    written = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        'text',
        lambda *args, **kw: [written.append(args[2]), draw(*args, **kw)],
    )
    names = [f'label {k}' for k in range(num_maps or 3)]
    attention = None if num_maps is None else torch.ones(num_maps, 2, 2)
    image = np.zeros((60, 80, 3), np.uint8)
    page = draw_prediction(image, names, [0.9] * len(names), attention)
    assert written == [f'{name} 0.90' for name in names]
    assert (np.asarray(page)[-11:] == 255).all()
    written.clear()
    draw_prediction(image, [], [], None if num_maps is None else torch.ones(0, 2, 2))
    assert written == ['no label']


def test_labels_of_every_score_are_dark_on_a_light_ground():
    def luminance(colour):  # relative, as WCAG defines it
        parts = [c / 255 for c in colour]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))

    grounds = []
    for score in np.linspace(0, 1, 21):
        picture = np.asarray(draw_prediction(np.zeros((60, 80, 3), np.uint8), ['HHH'], [score]))
        chip = picture[-44:-12, 12:60]
        ground = chip[16, 4]
        contrast = (luminance(ground) + 0.05) / (luminance(INK) + 0.05)
        assert contrast > 7  # the highest demand of WCAG
        darkest = chip.reshape(-1, 3)[chip.sum(axis=-1).argmin()]
        np.testing.assert_allclose(darkest, INK, atol=25)  # the text, wherever it is not smoothed
        grounds.append(luminance(ground))
    assert grounds == sorted(grounds, reverse=True)  # the higher the score, the deeper


# ---------------------------------------------------------------- the heat map


@pytest.mark.parametrize('row, column', [(0, 0), (1, 4), (3, 2)])
def test_heat_map_of_one_cell_peaks_at_its_place(row, column):
    attention = torch.zeros(4, 5)
    attention[row, column] = 0.3
    heat = heat_map(attention[None], (80, 100))[0]
    peak = (heat == heat.max()).nonzero().float().mean(0)
    # at the border a cell's peak may lie anywhere between its centre and the image's edge
    low, high = torch.tensor([row, column]) * 20, torch.tensor([row + 1, column + 1]) * 20
    assert (peak >= low).all() and (peak < high).all()
    torch.testing.assert_close((heat.min(), heat.max()), (torch.tensor(0.0), torch.tensor(1.0)))
    picture = overlay_attention(np.full((80, 100, 3), 128, np.uint8), attention)
    changed = np.abs(picture.astype(int) - 128).sum(-1)
    assert changed[row * 20 + 10, column * 20 + 10] > 100
    assert changed[(row * 20 + 50) % 80, (column * 20 + 60) % 100] == 0


def test_heat_map_has_no_steps():
    attention = torch.zeros(1, 4, 4)
    attention[0, 1, 1] = 1
    heat = heat_map(attention, (128, 128))[0]
    assert max(heat.diff(dim=0).abs().max(), heat.diff(dim=1).abs().max()) < 0.1


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_attention_without_contrast(dtype):
    ones = torch.ones(2, 8, 8)
    torch.testing.assert_close(heat_map((ones[:, :4, :4] / 16).to(dtype), (8, 8)), ones)
    torch.testing.assert_close(heat_map(torch.zeros(2, 4, 4, dtype=dtype), (8, 8)), ones * 0)


def test_selected_labels():
    pred_score = torch.tensor([0.2, 0.9, 0.5, 0.7])
    assert select_labels(pred_score, 0.5, 4) == [1, 3, 2]
    assert select_labels(pred_score, 0.5, 2) == [1, 3]
    assert select_labels(pred_score, 0.95, 4) == [1]


# ---------------------------------------------------------------- the tool

MODEL = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
    neck=dict(
        type='SARLNeck', in_channels=64, num_classes=10, embed_dims=16, feedforward_channels=16
    ),
    head=dict(type='SADCLHead', num_classes=10, in_channels=16, loss_sscl=None, loss_pscl=None),
)


@pytest.fixture
def run_dir(tmp_path):
    """A work directory: config.py and the checkpoint of a model with random weights."""
    base = ROOT / 'configs/_base_/datasets/digits128.py'
    runtime = ROOT / 'configs/_base_/default_runtime.py'
    text = f'_base_ = [{str(base)!r}, {str(runtime)!r}]\nmodel = {MODEL!r}\n'
    (tmp_path / 'config.py').write_text(text)
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(MODEL).state_dict()), tmp_path / 'best_mAP.pth')
    return tmp_path


def test_tool_writes_a_picture(run_dir, capsys):
    out = run_dir / 'new' / 'picture.png'
    config = run_dir / 'config.py'
    run_tool(TOOL, config, run_dir, '--out', out, '--num', 3, '--max-labels', 2)
    assert capsys.readouterr().out.splitlines()[-1] == f'picture: {out}'
    with Image.open(out) as picture:
        assert picture.format == 'PNG'
        assert len(np.unique(np.asarray(picture.convert('RGB')).reshape(-1, 3), axis=0)) > 100


def test_drawn_images_and_attention_are_those_of_the_data_set_and_the_model(run_dir):
    tool = vars(show_attention)
    cfg = Config.fromfile(run_dir / 'config.py')
    cfg.data_preprocessor.pad_size_divisor = 96  # 128 px become 192
    model = open_run(run_dir / 'best_mAP.pth', cfg).model
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    figure = tool['draw'](model, dataset, [7], thr=0.0, max_labels=1)
    drawn, heat = (axes.images[0].get_array() for axes in figure.axes)
    shown = DigitScenes(split='test', num_images=500, test_mode=True)[7]
    np.testing.assert_array_equal(drawn[:128, :128], shown['img'][..., ::-1])
    assert drawn.shape == (192, 192, 3) and not drawn[128:].any() and not drawn[:, 128:].any()
    assert figure.axes[0].get_title() == 'image 7'
    expected = ', '.join(dataset.metainfo['classes'][label] for label in shown['gt_label'])
    assert captions(figure)[0] == f'true: {expected}'

    batch = model.data_preprocessor(dict(inputs=[dataset[7]['inputs']]), False)['inputs']
    with torch.no_grad():
        score = model(batch)[0].sigmoid().cpu()
        attention = model.neck.attention_maps(model.backbone(batch))[0].cpu()
    label = int(score.argmax())
    assert figure.axes[1].get_title() == f'{dataset.metainfo["classes"][label]} {score[label]:.2f}'
    np.testing.assert_array_equal(heat, overlay_attention(np.asarray(drawn), attention[label]))


def files_of_one_image(folder, *transforms):
    """A data set of one file, 120 px wide and 80 high."""
    Image.new('RGB', (120, 80), 'teal').save(folder / 'a cat.png')
    sample = dict(img_path='a cat.png', gt_label=[1])
    content = dict(metainfo=dict(classes=[f'class {c}' for c in range(10)]), data_list=[sample])
    (folder / 'test.json').write_text(json.dumps(content))
    pipeline = [dict(type='LoadImageFromFile'), *transforms, dict(type='PackInputs')]
    options = dict(data_root=str(folder), ann_file='test.json', pipeline=pipeline, test_mode=True)
    return DATASETS.build(dict(type='MultiLabelDataset', **options))


def test_tool_names_files_and_shows_them_in_their_proportions(run_dir):
    tool = vars(show_attention)
    dataset = files_of_one_image(run_dir, dict(type='Resize', scale=(96, 96)))
    cfg = Config.fromfile(run_dir / 'config.py')
    model = open_run(run_dir / 'best_mAP.pth', cfg).model
    figure = tool['draw'](model, dataset, [0], thr=0.0, max_labels=2)
    assert figure.axes[0].get_title() == 'a cat.png'
    assert {axes.images[0].get_array().shape for axes in figure.axes} == {(64, 96, 3)}


@pytest.mark.parametrize('has_maps', [True, False])
def test_report_shows_files_in_their_proportions(run_dir, has_maps):
    card = report.card
    dataset = files_of_one_image(run_dir, dict(type='Resize', scale=(96, 96)))
    cfg = Config.fromfile(run_dir / 'config.py')
    model = open_run(run_dir / 'best_mAP.pth', cfg).model if has_maps else None
    pred, target = np.full((1, 10), 0.5), np.eye(10, dtype=bool)[1:2]
    entry = card(dataset, model, 0, 1, pred, target, dataset.metainfo['classes'])
    assert entry['image'] == 'a cat.png' and ('overlay' in entry) == has_maps
    for key in ('picture', 'overlay')[: 1 + has_maps]:
        content = base64.b64decode(entry[key].partition(',')[2])
        assert Image.open(io.BytesIO(content)).size == (96, 64)


@pytest.mark.parametrize(
    'transforms, shape',
    [
        ([dict(type='Resize', scale=(60, 60))], (40, 60)),
        ([dict(type='Resize', scale=(60, 30))], (40, 60)),
        ([], (80, 120)),
        ([dict(type='CenterCrop', crop_size=50)], (50, 50)),
    ],
)
def test_proportions_are_those_of_a_file_that_is_seen_whole(tmp_path, transforms, shape):
    dataset = files_of_one_image(tmp_path, *transforms)
    item = dataset[0]
    picture = np.zeros((*item['inputs'].shape[1:], 3), np.uint8)
    assert unsquash(picture, dataset, item).shape[:2] == shape
    padded = np.pad(picture, ((0, 32), (0, 32), (0, 0)))
    assert unsquash(padded, dataset, item) is padded


def test_tool_spreads_images_evenly():
    choose_images = show_attention.choose_images
    assert choose_images(11, 3, None) == [0, 5, 10]
    assert choose_images(2, 6, None) == [0, 1]
    assert choose_images(11, 3, [4, 4, 0]) == [4, 4, 0]


def test_tool_refuses_a_model_without_attention(run_dir):
    cfg = Config.fromfile(run_dir / 'config.py')
    cfg.model.neck = dict(type='GlobalAveragePooling')
    cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=10, in_channels=64)
    cfg.dump(run_dir / 'baseline.py')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), run_dir / 'baseline.pth')
    with pytest.raises(SystemExit, match='GlobalAveragePooling, and SARLNeck is needed'):
        run_tool(TOOL, run_dir / 'baseline.py', run_dir / 'baseline.pth')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--indices', '500'], '--indices 500: the test set has images 0 to 499'),
        (['--indices', '-1'], '--indices -1: the test set has images 0 to 499'),
    ],
)
def test_tool_refuses_indices_outside_the_test_set(run_dir, arguments, message):
    with pytest.raises(SystemExit, match=message):
        run_tool(TOOL, run_dir / 'config.py', run_dir, *arguments)


@pytest.mark.parametrize(
    'arguments', [['--out', 'picture.txt'], ['--num', '0'], ['--max-labels', '0']]
)
def test_tool_refuses_options_that_make_no_picture(run_dir, capsys, arguments):
    with pytest.raises(SystemExit):
        run_tool(TOOL, run_dir / 'config.py', run_dir, *arguments)
    assert arguments[0] in capsys.readouterr().err.splitlines()[-1]
