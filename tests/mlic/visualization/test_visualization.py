"""Attention as a picture: heat maps, show_attention.py, and the images of a report."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from PIL import Image

from mlic.apis.open_run import open_run
from mlic.cli import report, show_attention
from mlic.datasets.digit_scenes import DigitScenes
from mlic.datasets.pictures import image_to_draw, seen_image
from mlic.evaluation.matrices import Block
from mlic.visualization.attention import heat_map, overlay_attention
from mlic.visualization.multi_label_visualizer import draw_sample
from mlic.visualization.page import fit_text
from mlic.visualization.prediction import INK, draw_prediction
from tests.helpers import ROOT, run_tool
from tests.tiny_runs import plain_model, sarl_model, write_run

TOOL = ROOT / 'tools/analysis_tools/show_attention.py'


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
    attention = ones[:, :4, :4] / torch.tensor([16, 4])[:, None, None]  # each has a peak of its own
    torch.testing.assert_close(heat_map(attention.to(dtype), (8, 8)), ones)
    torch.testing.assert_close(heat_map(torch.zeros(2, 4, 4, dtype=dtype), (8, 8)), ones * 0)


# ---------------------------------------------------------------- the tool


@pytest.fixture
def run_dir(tmp_path):
    """A work directory: config.py and the checkpoint of a model with random weights."""
    return write_run(tmp_path, sarl_model(10)).parent


def test_tool_writes_a_picture(run_dir, capsys):
    out = run_dir / 'new' / 'picture.png'
    config = run_dir / 'config.py'
    run_tool(TOOL, config, run_dir, '--out', out, '--num', 3, '--max-labels', 2)
    assert capsys.readouterr().out.splitlines()[-1] == f'picture: {out}'
    with Image.open(out) as picture:
        assert picture.format == 'PNG'
        assert len(np.unique(np.asarray(picture.convert('RGB')).reshape(-1, 3), axis=0)) > 100


def test_drawn_images_and_attention_are_those_of_the_data_set_and_the_model(run_dir, monkeypatch):
    drawn = []

    def spy(*args, **kwargs):
        drawn.append(args)
        return draw_sample(*args, **kwargs)

    monkeypatch.setattr(show_attention, 'draw_sample', spy)
    cfg = Config.fromfile(run_dir / 'config.py')
    cfg.data_preprocessor.pad_size_divisor = 96  # 128 px become 192
    model = open_run(run_dir / 'best_mAP.pth', cfg).model
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    show_attention.draw(model, dataset, [7], 0.0, 1)
    ((image, sample, _),) = drawn
    shown = DigitScenes(split='test', num_images=500, test_mode=True)[7]
    np.testing.assert_array_equal(image[:128, :128], shown['img'][..., ::-1])
    assert image.shape == (192, 192, 3) and not image[128:].any() and not image[:, 128:].any()
    assert sample.gt_label.tolist() == list(shown['gt_label'])

    batch = model.data_preprocessor(dict(inputs=[dataset[7]['inputs']]), False)['inputs']
    with torch.no_grad():
        score = model(batch)[0].sigmoid().cpu()
        attention = model.neck.attention_maps(model.backbone(batch))[0].cpu()
    torch.testing.assert_close(sample.pred_score, score)
    torch.testing.assert_close(sample.attention, attention)


def files_of_one_image(folder, *transforms):
    """A data set of one file, 120 px wide and 80 high."""
    Image.new('RGB', (120, 80), 'teal').save(folder / 'a cat.png')
    sample = dict(img_path='a cat.png', gt_label=[1])
    content = dict(metainfo=dict(classes=[f'class {c}' for c in range(10)]), data_list=[sample])
    (folder / 'test.json').write_text(json.dumps(content))
    pipeline = [dict(type='LoadImageFromFile'), *transforms, dict(type='PackInputs')]
    options = dict(data_root=str(folder), ann_file='test.json', pipeline=pipeline, test_mode=True)
    return DATASETS.build(dict(type='MultiLabelDataset', **options))


def test_tool_names_files_and_shows_them_in_their_proportions(run_dir, written):
    dataset = files_of_one_image(run_dir, dict(type='Resize', scale=(96, 96)))
    model = open_run(run_dir, run_dir / 'config.py').model
    page = np.asarray(show_attention.draw(model, dataset, [0], 0.0, 2))
    assert written[0].text == 'a cat.png'
    teal = (np.abs(page.astype(int) - (0, 128, 128)) < 9).all(axis=-1)
    rows, columns = teal.any(axis=1).sum(), teal.any(axis=0).sum()
    assert (rows, columns) == (149, 224)  # of a panel: 224 x 80 / 120


@pytest.mark.parametrize('has_maps', [True, False])
def test_report_shows_files_in_their_proportions(run_dir, has_maps):
    dataset = files_of_one_image(run_dir, dict(type='Resize', scale=(96, 96)))
    model = open_run(run_dir, run_dir / 'config.py').model if has_maps else None
    block = Block(np.full((1, 10), 0.5), np.eye(10, dtype=bool)[1:2])
    entry = report.card(dataset, model, 0, 1, block, dataset.metainfo['classes'])
    assert entry['image'] == 'a cat.png' and ('overlay' in entry) == has_maps
    for key in ('picture', 'overlay')[: 1 + has_maps]:
        content = base64.b64decode(entry[key].partition(',')[2])
        assert Image.open(io.BytesIO(content)).size == (120, 80)


@pytest.mark.parametrize('transforms', [[dict(type='Resize', scale=(60, 60))], []])
def test_a_file_that_is_seen_whole_is_drawn_itself(tmp_path, transforms):
    dataset = files_of_one_image(tmp_path, *transforms)
    sample = dataset[0]['data_samples']
    teal = np.broadcast_to(np.uint8([0, 128, 128]), (80, 120, 3))
    np.testing.assert_array_equal(image_to_draw(sample, dataset.pipeline.transforms), teal)


def test_attention_on_a_part_is_drawn_on_that_part(tmp_path):
    dataset = files_of_one_image(tmp_path, dict(type='CenterCrop', crop_size=50))
    item = dataset[0]
    sample, transforms = item['data_samples'], dataset.pipeline.transforms
    assert image_to_draw(sample, transforms).shape == (80, 120, 3)
    for size in ((50, 50), (64, 64)):
        sample.set_field(seen_image(item['inputs'], size), 'view', dtype=np.ndarray)
        sample.set_field(torch.ones(10, 2, 2), 'attention', dtype=torch.Tensor)
        assert image_to_draw(sample, transforms).shape == (*size, 3)


def test_tool_takes_given_images_as_they_are():
    assert show_attention.choose_images(11, 3, [4, 4, 0]) == [4, 4, 0]


def test_tool_refuses_a_model_without_attention(tmp_path):
    config = write_run(tmp_path, plain_model(10))
    with pytest.raises(SystemExit, match='GlobalAveragePooling and .*, without attention_maps'):
        run_tool(TOOL, config, tmp_path)


def test_tool_refuses_indices_outside_the_test_set(run_dir):
    with pytest.raises(SystemExit, match='--indices 500: the test set has images 0 to 499'):
        run_tool(TOOL, run_dir / 'config.py', run_dir, '--indices', 500)


@pytest.mark.parametrize(
    'arguments', [['--out', 'picture.txt'], ['--num', '0'], ['--max-labels', '0']]
)
def test_tool_refuses_options_that_make_no_picture(run_dir, capsys, arguments):
    with pytest.raises(SystemExit):
        run_tool(TOOL, run_dir / 'config.py', run_dir, *arguments)
    assert arguments[0] in capsys.readouterr().err.splitlines()[-1]


def test_a_name_of_a_million_characters_is_cut_before_it_is_measured():
    """A checkpoint's names are anybody's; to measure all of it for each character takes hours."""
    measured = []

    def measure(text):
        measured.append(len(text))
        return 8.0 * len(text)

    assert fit_text('x' * 10**6, 80, ' 0.5', measure) == 'xxx…xx 0.5'
    assert fit_text('x' * 10**6, 10**9, ' 0.5', measure).count('x') == 500
    assert fit_text('cat', 80, ' 0.5', measure) == 'cat 0.5'
    assert len(measured) < 1000 and max(measured) < 1000


def test_long_names_that_begin_alike_are_cut_to_different_texts():
    names = [f'upper body clothing: dress with {end}' for end in ('long sleeves', 'a long skirt')]
    shown = [fit_text(name, 160, ' 0.5', lambda text: 8.0 * len(text)) for name in names]
    assert shown == ['upper bo…sleeves 0.5', 'upper bo…g skirt 0.5']
    assert fit_text('xe' * 9 + 'e\u0301', 3, measure=len) == 'x…'
    assert fit_text('x', 0.5, measure=len) == '…'
