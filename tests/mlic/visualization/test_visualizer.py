"""One look of predictions: draw_sample, the visualizer, the hook, test.py and infer."""

import json
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.visualization import BaseVisBackend
from mmpretrain.registry import VISBACKENDS, VISUALIZERS
from mmpretrain.structures import DataSample
from PIL import Image, ImageColor

from mlic.apis.inferencer import MultiLabelInferencer
from mlic.engine.config.device import adapt_to_device
from mlic.files import write_picture
from mlic.visualization.attention import overlay_attention
from mlic.visualization.multi_label_visualizer import draw_sample
from mlic.visualization.page import FALSE_COLOUR, MISSED_COLOUR, NEUTRAL_COLOUR, TRUE_COLOUR
from mlic.visualization.prediction import draw_prediction
from tests.helpers import run_ranks, run_tool
from tests.photo_run import CLASSES, NUM_IMAGES, make_config

NAMES = ['zero', 'one', 'two', 'three', 'four']
RUN = 'work_dirs/run'
IMAGE = np.full((300, 480, 3), 90, np.uint8)


def make_sample(scores, pred=(), true=None, attention=None):
    sample = DataSample().set_pred_score(torch.tensor(scores)).set_pred_label(list(pred))
    if true is not None:
        sample.set_gt_label(list(true))
    if attention is not None:
        sample.set_field(attention, 'attention', dtype=torch.Tensor)
    return sample


def texts(written):
    lines = [line.text for line in written]
    written.clear()
    return lines


def outlines(page):
    """Which colours of outlines are in a picture, in the order of the looks."""
    pixels = {tuple(pixel) for pixel in np.asarray(page).reshape(-1, 3)}
    colours = (NEUTRAL_COLOUR, TRUE_COLOUR, FALSE_COLOUR, MISSED_COLOUR)
    return [ImageColor.getrgb(colour) in pixels for colour in colours]


# ---------------------------------------------------------------- a sample


def test_labels_say_whether_they_are_true_false_or_missed(written):
    scores, true = [0.10, 0.97, 0.60, 0.40, 0.71], [1, 3, 4]
    page = draw_sample(IMAGE, make_sample(scores, [1, 2, 4], true), NAMES)
    assert texts(written) == ['✓ one 0.97', '✓ four 0.71', '✗ two 0.60', 'missed: three 0.40']
    assert outlines(page) == [False, True, True, True]
    page = draw_sample(IMAGE, make_sample(scores, [1, 2, 4]), NAMES)
    assert texts(written) == ['one 0.97', 'four 0.71', 'two 0.60']
    assert outlines(page) == [True, False, False, False]
    hidden = draw_sample(IMAGE, make_sample(scores, [1, 2, 4], true), NAMES, draw_gt=False)
    assert hidden == page
    draw_sample(IMAGE, make_sample(scores, [1], []))  # a data set without names
    assert texts(written)[-1] == '✗ 1 0.97'


@pytest.mark.parametrize('key', ['gt_label_unknown', 'gt_label_difficult'])
def test_a_label_that_is_not_judged_is_neither_true_nor_false(written, key):
    sample = make_sample([0.10, 0.97, 0.60, 0.40, 0.71], [1, 2, 4], [1, 3])
    sample.set_metainfo({key: [0, 2]})
    page = draw_sample(IMAGE, sample, NAMES)
    assert texts(written) == ['✓ one 0.97', '✗ four 0.71', 'two 0.60', 'missed: three 0.40']
    assert outlines(page) == [True, True, True, True]
    draw_sample(IMAGE, sample, NAMES, draw_gt=False)
    assert texts(written) == ['one 0.97', 'four 0.71', 'two 0.60']


@pytest.mark.parametrize(
    'threshold', [0.5, [0.7, 0.1, 0.5, 0.9, 0.1], dict(zip(NAMES, [0.7, 0.1, 0.5, 0.9, 0.1]))]
)
def test_a_threshold_stands_in_for_the_predicted_labels(written, threshold):
    sample = make_sample([0.6, 0.4, 0.5, 0.8, 0.05], [4])
    draw_sample(IMAGE, sample, NAMES, threshold=threshold)
    expected = ['two 0.50', 'one 0.40'] if threshold != 0.5 else ['three 0.80', 'zero 0.60']
    assert texts(written) == (expected if threshold != 0.5 else [*expected, 'two 0.50'])


@pytest.mark.parametrize('true', [None, [], [3], [1, 3]])
def test_without_a_predicted_label_the_best_is_named_and_looked_at(written, true):
    sample = make_sample([0.1, 0.3, 0.2, 0.0, 0.1], [], true, torch.ones(5, 2, 2))
    page = draw_sample(IMAGE, sample, NAMES)
    lines = texts(written)
    assert 'none predicted; the best is one 0.30' in lines
    others = [line for line in lines if not line.startswith('none predicted')]
    best = ['missed: one 0.30' if true == [1, 3] else 'one 0.30']
    assert others == best + ['missed: three 0.00'] * (true in ([3], [1, 3]))
    draw_sample(IMAGE, sample, ['zero', 'كلب', *NAMES[2:]])
    assert 'none predicted; the best is \u200eكلب\u200e 0.30' in ''.join(texts(written))
    sample.pop('attention')
    assert page.height - draw_sample(IMAGE, sample, NAMES).height > 140  # one heat map


def test_heat_maps_are_those_of_the_predicted_labels_in_their_order(written):
    attention = torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(0))
    sample = make_sample([0.9, 0.8, 0.2, 0.7, 0.1], [0, 1, 3], [0], attention)
    page = np.asarray(draw_sample(IMAGE, sample, NAMES, max_maps=2))
    for number, label in enumerate([0, 1]):
        heat = Image.fromarray(overlay_attention(IMAGE, attention[label]))
        heat = np.asarray(heat.resize((224, 140), Image.Resampling.BICUBIC))
        left = 12 + number * 232
        np.testing.assert_array_equal(page[364 : 364 + 140, left : left + 224], heat)
    assert texts(written) == ['✓ zero 0.90', '✗ one 0.80', '✗ three 0.70']
    assert [line.box for line in written] == []


@pytest.mark.parametrize(
    'max_maps, maps', [(None, [0, 1, 3, 4, 2]), (2, [0, 1, 4, 2]), (1, [0, 4])]
)
def test_missed_labels_have_their_heat_maps_after_the_predicted_ones(written, max_maps, maps):
    attention = torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(0))
    sample = make_sample([0.9, 0.8, 0.2, 0.7, 0.3], [0, 1, 3], [0, 2, 4], attention)
    page = np.asarray(draw_sample(IMAGE, sample, NAMES, max_maps=max_maps))
    for number, label in enumerate(maps):
        heat = Image.fromarray(overlay_attention(IMAGE, attention[label]))
        heat = np.asarray(heat.resize((224, 140), Image.Resampling.BICUBIC))
        columns = 3 if len(maps) > 2 else 2
        left, top = 12 + number % columns * 232, 364 + number // columns * 188
        np.testing.assert_array_equal(page[top : top + 140, left : left + 224], heat)
    shown = {0: '✓ zero 0.90', 1: '✗ one 0.80', 2: 'missed: two 0.20'}
    shown |= {3: '✗ three 0.70', 4: 'missed: four 0.30'}
    order = maps + [label for label in (0, 1, 3, 4, 2) if label not in maps]
    assert texts(written) == [shown[label] for label in order]


@pytest.mark.parametrize('height, width', [(300, 480), (480, 100), (40, 900)])
@pytest.mark.parametrize('num_maps', [0, 5])
def test_labels_start_where_the_photograph_starts(height, width, num_maps):
    attention = torch.ones(5, 2, 2) if num_maps else None
    sample = make_sample([0.9] * 5, range(5), attention=attention)
    image = np.zeros((height, width, 3), np.uint8)
    page = np.asarray(draw_sample(image, sample, NAMES)).astype(int)
    lefts = (page < 250).any(axis=-1).argmax(axis=1)
    rows = page[:, 12:].min(axis=(1, 2)) < 250  # of the photograph, of heat maps and of labels
    assert set(lefts[rows].tolist()) <= set(range(12, 20))  # corners of labels are round
    assert (page[12:20, 12] == 0).all()  # the photograph itself


@pytest.mark.parametrize('title', [None, 'a very long name of a folder and COCO_000000391895.jpg'])
@pytest.mark.parametrize('num_maps', [0, 1, 7, 16])
def test_text_stays_on_the_page_and_apart(written, title, num_maps):
    names = [f'W{index} ' + 'wide WWW $\\frac$ name ' * (index % 4 + 1) for index in range(16)]
    sample = make_sample([1 - c / 16 for c in range(16)], range(10), range(0, 16, 2))
    sample.set_field(torch.ones(16, 2, 2), 'attention', dtype=torch.Tensor)
    page = draw_sample(IMAGE, sample, names, title=title, max_maps=num_maps)
    boxes = [line.box for line in written]
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 10 and top >= 0 and right <= page.width - 10 and bottom <= page.height
        for other in boxes[index + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    if title is not None:
        assert written[0].text.startswith('…') and written[0].text.endswith('000391895.jpg')
    for line in written[title is not None :]:
        assert line.text.startswith(('✓ W', '✗ W', 'missed: W'))
        assert line.text[-5:-2] in (' 1.', ' 0.')


def test_a_picture_of_thousands_of_labels_fits_into_a_file(written, tmp_path):
    """A JPEG has at most 65,500 pixels on a side: there was none of 9,605 labels."""
    names = [f'{k} ' + 'wide WWW ' * 3 for k in range(9605)]
    page = draw_sample(IMAGE, make_sample([0.5] * 9605, range(9605)), names)
    write_picture(tmp_path / 'page.jpg', page)
    note, *labels = texts(written)
    assert note == 'the first 500 of 9605 labels' and len(labels) == 500
    assert labels[0].startswith('0 wide') and labels[-1].startswith('499 wide')


# ---------------------------------------------------------------- the visualizer and the hook


@pytest.fixture
def cfg(tmp_path):
    """A run on six photographs, whose test batches are of four and of two."""
    cfg = make_config(tmp_path)
    cfg.env_cfg.cudnn_benchmark = False
    cfg.train_cfg.update(max_epochs=2, val_interval=1)
    cfg.default_hooks.visualization.update(enable=True, interval=1)
    return cfg


def test_the_visualizer_draws_into_a_file_or_to_its_backends(tmp_path):
    backend = dict(type='LocalVisBackend', save_dir=str(tmp_path))
    visualizer = VISUALIZERS.build(
        dict(type='MultiLabelVisualizer', name=tmp_path.name, vis_backends=[backend])
    )
    visualizer.dataset_meta = dict(classes=NAMES)
    sample = make_sample([0.9, 0.1, 0.0, 0.0, 0.0], [0], [1])
    expected = np.asarray(draw_sample(IMAGE, sample, NAMES))
    picture = visualizer.visualize_cls(IMAGE, sample, name='photo', step=3)
    np.testing.assert_array_equal(picture, expected)
    stored = cv2.imread(str(tmp_path / 'vis_image/photo_3.png'))
    np.testing.assert_array_equal(stored[..., ::-1], expected)
    visualizer.visualize_cls(IMAGE, sample, out_file=str(tmp_path / 'new/photo.png'), name='other')
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'new/photo.png')), expected)
    assert not list((tmp_path / 'vis_image').glob('other*'))


def test_pictures_of_validation_reach_the_backends_at_each_epoch(cfg, tmp_path):
    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    pytest.importorskip('tensorboard')
    cfg.visualizer.vis_backends = backends
    cfg.default_hooks.visualization.interval = 2
    Runner.from_cfg(cfg).train()
    stored = sorted(file.name for file in (tmp_path / RUN).glob('*/vis_data/vis_image/*'))
    expected = [f'0000{k}_photo {k}_{epoch}.png' for k in (0, 2, 4) for epoch in (1, 2)]
    assert stored == expected
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = (tmp_path / RUN).glob('*/vis_data/events.out.tfevents.*')
    found = EventAccumulator(str(events), size_guidance=dict(images=0))
    found.Reload()
    images = {tag: [event.step for event in found.Images(tag)] for tag in found.Tags()['images']}
    assert images == {f'0000{k}_photo {k}': [1, 2] for k in (0, 2, 4)}


@pytest.mark.parametrize('attention', [False, True])
def test_testing_and_inference_draw_one_picture(cfg, tmp_path, attention):
    cfg.default_hooks.visualization.update(attention=attention, draw_args=dict(draw_gt=False))
    runner = Runner.from_cfg(cfg)
    torch.manual_seed(0)
    for parameter in runner.model.head.parameters():
        torch.nn.init.normal_(parameter)
    checkpoint = tmp_path / 'model.pth'
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=runner.model.state_dict(), meta=meta), checkpoint)
    runner.test()
    inferencer = MultiLabelInferencer(checkpoint, cfg, 'cpu')
    photos = sorted(map(str, (tmp_path / 'photos').iterdir()))
    samples = inferencer(photos, attention=attention, return_datasamples=True)
    for index, (photo, sample) in enumerate(zip(photos, samples)):
        (file,) = (tmp_path / RUN).glob(f'*/vis_data/vis_image/0000{index}_photo {index}_0.png')
        stored = cv2.imread(str(file))[..., ::-1].astype(int)
        drawn = np.asarray(inferencer.draw(photo, sample)).astype(int)
        np.testing.assert_array_equal(stored[:240], drawn[:240])  # the image itself
        assert np.abs(stored - drawn).max() <= 3  # a folded BatchNorm rounds otherwise


def test_show_dir_draws_in_this_look_whatever_the_config_draws_with(cfg, tmp_path):
    cfg.visualizer = dict(type='UniversalVisualizer', vis_backends=[])
    cfg.default_hooks.visualization = dict(type='VisualizationHook', enable=False)
    cfg.dump(tmp_path / 'config.py')
    torch.save(dict(state_dict=Runner.from_cfg(cfg).model.state_dict()), tmp_path / 'model.pth')
    (tmp_path / 'thresholds.json').write_text(json.dumps(dict.fromkeys(CLASSES, 0.0)))
    arguments = [tmp_path / 'config.py', tmp_path / 'model.pth']
    for option in ('--show-dir', '--work-dir'):
        arguments += [option, tmp_path / option[2:]]
    run_tool('tools/test.py', *arguments, '--threshold', tmp_path / 'thresholds.json')
    files = sorted((tmp_path / 'show-dir').iterdir())
    assert [file.name for file in files] == [f'0000{k}_photo {k}.jpg' for k in range(NUM_IMAGES)]
    for file, photo in zip(files, sorted((tmp_path / 'photos').iterdir())):
        photo = np.asarray(Image.open(photo))
        expected = draw_prediction(photo, [f'✓ {name}' for name in CLASSES], [0.5] * 5)
        assert Image.open(file).size == expected.size  # five labels on two lines: threshold 0


@VISBACKENDS.register_module()
class ListVisBackend(BaseVisBackend):
    """Keeps the names of pictures, as a backend that there is once for all processes."""

    def __init__(self, save_dir):
        super().__init__(save_dir)
        self.names = []

    experiment, _init_env = None, None

    def add_image(self, name, image, step=0):
        self.names.append(name)


def draw_twice(rank, folder):
    """Test with pictures to the backends, then with pictures in a folder."""
    cfg = Config.fromfile(folder / 'config.py')
    cfg.launcher = 'none' if rank is None else 'pytorch'
    adapt_to_device(cfg)
    cfg.work_dir = str(folder / ('one' if rank is None else 'several'))
    cfg.experiment_name = f'to_backends_{rank}'
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend'), dict(type='ListVisBackend')]
    runner = Runner.from_cfg(cfg)
    draw = runner.visualizer.visualize_cls
    with mock.patch.object(runner.visualizer, 'visualize_cls', side_effect=draw) as drawn:
        runner.test()
    assert drawn.call_count == {None: 5, 0: 3, 1: 2}[rank]
    if not rank:
        names = runner.visualizer.get_backend('ListVisBackend').names
        Path(cfg.work_dir, 'names.json').write_text(json.dumps(names))
    thresholds = dict.fromkeys(CLASSES, 0.0)
    cfg.default_hooks.visualization.update(
        out_dir=str(Path(cfg.work_dir, 'pictures')), draw_args=dict(threshold=thresholds)
    )
    cfg.experiment_name = f'into_a_folder_{rank}'
    Runner.from_cfg(cfg).test()


@pytest.mark.slow
@pytest.mark.dist
def test_several_processes_draw_what_one_process_draws(cfg, tmp_path):
    """Of five images each of two processes has three: one comes a second time."""
    cfg.test_dataloader.dataset.indices = 5
    torch.save(dict(state_dict=Runner.from_cfg(cfg).model.state_dict()), tmp_path / 'model.pth')
    cfg.load_from = str(tmp_path / 'model.pth')
    cfg.dump(tmp_path / 'config.py')
    draw_twice(None, tmp_path)
    run_ranks(2, draw_twice, tmp_path)
    for pattern in ('*/vis_data/vis_image/*', 'pictures/*'):
        one, several = (
            {file.name: file.read_bytes() for file in (tmp_path / name).glob(pattern)}
            for name in ('one', 'several')
        )
        assert len(one) == 5 and several == one
    names = json.loads((tmp_path / 'several/names.json').read_text())
    assert names == ['00000_photo 0', '00002_photo 2', '00004_photo 4']
    logs = [
        ''.join(file.read_text() for file in (tmp_path / name).glob('*/*.log'))
        for name in ('one', 'several')
    ]
    line = 'ListVisBackend: of 2 processes, only the first sends its pictures'
    assert [text.count(line) for text in logs] == [0, 1]


def test_attention_of_a_model_without_it_is_refused_before_the_first_image(cfg):
    cfg.default_hooks.visualization.attention = True
    cfg.model.neck = dict(type='GlobalAveragePooling')
    cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=5, in_channels=64)
    with pytest.raises(ValueError, match='GlobalAveragePooling and .*, without attention_maps'):
        Runner.from_cfg(cfg).test()


def test_the_hook_of_mmpretrain_draws_with_this_visualizer(cfg, tmp_path):
    cfg.default_hooks.visualization = dict(type='VisualizationHook', enable=True, interval=1)
    Runner.from_cfg(cfg).test()
    stored = (tmp_path / RUN).glob('*/vis_data/vis_image/*')
    assert sorted(file.name for file in stored) == [
        f'photo {k}.png_0.png' for k in range(NUM_IMAGES)
    ]
