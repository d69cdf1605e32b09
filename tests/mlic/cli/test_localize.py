"""localize.py on images whose classes are their colours: the highest pixel is known."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mlic.cli.localize import class_table
from mlic.evaluation.localization import MEASURES
from tests.helpers import call_tool
from tests.tiny_runs import write_run

TOOL = 'tools/analysis_tools/localize.py'
CLASSES = ['red', 'green', 'blue']
PLACES = [(4, 10, 8, 20), (20, 30, 30, 38), (2, 6, 26, 40)]  # rows and columns of each colour


def write_images(folder):
    """Three images 40 wide and 32 high; red and green are in all, blue in the last."""
    (folder / 'photos').mkdir()
    (folder / 'masks').mkdir()
    entries = []
    for number in range(3):
        image, mask = np.zeros((32, 40, 3), np.uint8), np.zeros((32, 40), np.uint8)
        labels = [0, 1, 2][: 2 + (number == 2)]
        for label in labels:
            top, bottom, left, right = PLACES[label]
            image[top:bottom, left:right, label] = 250
            mask[top:bottom, left:right] = label + 1
        Image.fromarray(image).save(folder / 'photos' / f'{number}.png')
        Image.fromarray(mask).save(folder / 'masks' / f'{number}.png')
        entries.append(dict(img_path=f'{number}.png', gt_label=labels))
    content = dict(metainfo=dict(classes=CLASSES), data_list=entries)
    (folder / 'test.json').write_text(json.dumps(content))


def write_model(folder, weight, **pipeline):
    """A linear classifier of the mean colour; returns its config and checkpoint."""
    transforms = [
        dict(type='LoadImageStrict'),
        pipeline or dict(type='Resize', scale=(40, 32)),
        dict(type='PackInputs'),
    ]
    dataset = dict(
        type='MultiLabelDataset',
        ann_file=str(folder / 'test.json'),
        data_prefix=str(folder / 'photos'),
        pipeline=transforms,
    )
    loader = dict(batch_size=1, num_workers=0, dataset=dataset)
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='StoredFeatures'),  # the image itself
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=3),
    )
    config = write_run(
        folder,
        model,
        bases=['default_runtime'],
        test_dataloader=loader,
        data_preprocessor=dict(type='MultiLabelDataPreprocessor', num_classes=3, to_rgb=True),
    )
    weights = {'head.fc.weight': weight, 'head.fc.bias': torch.zeros(3)}
    torch.save(dict(state_dict=weights), folder / 'best_mAP.pth')
    return config, folder / 'best_mAP.pth'


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path)
    return tmp_path


def rows_of(text):
    """The cells of each row of the tables, by the first."""
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if row}


@pytest.mark.parametrize('maps', ['cam', 'grad-cam'])
def test_a_classifier_of_colours_points_at_them(folder, capsys, maps):
    model = write_model(folder, torch.eye(3))
    call_tool(TOOL, *model, '--masks', folder / 'masks', '--maps', maps)
    out = capsys.readouterr().out
    assert '7 pairs of 3 images' in out
    rows = rows_of(out)
    assert rows[f'{maps} of config'] == ['100.0 (100.0 … 100.0)'] * 5
    share = 100 * np.mean([72, 80, 56]) / (32 * 40)
    assert rows['any pixel'][0].startswith(f'{share:.1f} (')
    assert rows['the centre'][0].startswith('0.0 (')
    assert rows['green'] == ['3', *['100.0'] * 5, f'{100 * 80 / 1280:.1f}']
    assert list(rows)[-3:] == ['red', 'green', 'blue']  # the most frequent first


def test_a_centre_that_is_not_known_is_neither_a_hit_nor_a_miss(folder, capsys):
    model = write_model(folder, torch.eye(3))
    for unknown, expected in (((0,), '100.0 (100.0 … 100.0)'), ((0, 1, 2), '–')):
        for number in range(3):
            mask = np.asarray(Image.open(folder / 'masks' / f'{number}.png')).copy()
            mask[16, 20] = 255 if number in unknown else 1
            Image.fromarray(mask).save(folder / 'masks' / f'{number}.png')
        call_tool(TOOL, *model, '--masks', folder / 'masks', '--tolerance', '30')
        cells = rows_of(capsys.readouterr().out)['the centre']
        assert cells[1] == expected, cells  # near: within 30 px of each of the masks


def test_the_difference_to_another_model_is_over_the_same_pairs(folder, capsys):
    arguments = '--masks', folder / 'masks', '--tolerance', '0'
    call_tool(TOOL, *write_model(folder, torch.eye(3)), *arguments, '--out', folder / 'good.json')
    content = json.loads((folder / 'good.json').read_text())
    assert content['images'] == ['0.png', '1.png', '2.png'] and content['tolerance'] == 0
    assert content['pairs']['label'] == [0, 1, 0, 1, 0, 1, 2]
    assert content['pairs']['image'] == [0, 0, 1, 1, 2, 2, 2]
    capsys.readouterr()
    swapped = write_model(folder, torch.eye(3)[[1, 0, 2]])  # red points at green
    call_tool(TOOL, *swapped, *arguments, '--against', folder / 'good.json')
    rows = rows_of(capsys.readouterr().out)
    assert rows['red'][1] == rows['green'][1] == '0.0' and rows['blue'][1] == '100.0'
    assert rows['difference'][0].startswith(f'{-200 / 3:.1f} (')
    # two checkpoints are averaged pair by pair
    best = folder / 'best_mAP.pth'
    call_tool(TOOL, swapped[0], best, best, *arguments, '--against', folder / 'good.json')
    assert rows_of(capsys.readouterr().out) == rows


def test_rare_classes_stay_in_the_table_of_classes_alone(folder, capsys):
    swapped = write_model(folder, torch.eye(3)[[1, 0, 2]])  # blue alone is right
    call_tool(TOOL, *swapped, '--masks', folder / 'masks', '--least', '2')
    rows = rows_of(capsys.readouterr().out)
    assert 'mean over 2 classes' in rows and rows['cam of config'][0] == '0.0 (0.0 … 0.0)'
    assert rows['blue'][1] == '100.0'
    message = call_tool(TOOL, *swapped, '--masks', folder / 'masks', '--least', '4')
    assert message == 'error: no class has 4 pairs (--least)'


def test_names_of_classes_stay_in_their_cells():
    pairs = dict.fromkeys((*MEASURES, 'area'), np.full(2, 0.5)) | dict(label=np.array([0, 1]))
    *_, first, second = class_table(pairs, ['a|b', '<b>'])
    assert first.startswith(r'| a\|b | 1 | 50.0 |') and second.startswith(r'| \<b> | 1 | 50.0 |')


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(tolerance=3), 'has other tolerance than this'),
        (dict(images=['x.png']), 'has other images than this'),
        (dict(pairs={}), 'not a file of localize.py --out'),
        ([], 'not a file of localize.py --out'),
    ],
)
def test_measures_of_other_pairs_are_not_subtracted(folder, change, message):
    arguments = *write_model(folder, torch.eye(3)), '--masks', folder / 'masks'
    other = folder / 'other.json'
    call_tool(TOOL, *arguments, '--out', other)
    content = {**json.loads(other.read_text()), **change} if change else change
    other.write_text(json.dumps(content))
    assert message in call_tool(TOOL, *arguments, '--against', other)


def test_coco_masks_are_those_of_the_index_images(folder, capsys):
    annotations = [
        dict(image_id=n, category_id=c + 1, segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]])
        for n in range(3)
        for c, (y1, y2, x1, x2) in enumerate(PLACES)
    ]  # blue has a mask in each image, but is a label of one
    content = dict(
        images=[dict(id=n, file_name=f'{n}.png', height=32, width=40) for n in range(3)],
        categories=[dict(id=c + 1, name=name) for c, name in enumerate(CLASSES)],
        annotations=annotations,
    )
    (folder / 'instances.json').write_text(json.dumps(content))
    model = write_model(folder, torch.eye(3))
    tables = []
    for masks in (folder / 'masks', folder / 'instances.json'):
        call_tool(TOOL, *model, '--masks', masks)
        tables.append(rows_of(capsys.readouterr().out))
    assert tables[0] == tables[1]


def test_the_mean_mask_is_that_of_the_other_images(folder, capsys):
    model = write_model(folder, torch.eye(3))
    # red is elsewhere in one image: there the other two mislead, and in those one of two does
    mask = np.zeros((32, 40), np.uint8)
    mask[24:28, :10] = 1
    Image.fromarray(mask).save(folder / 'masks' / '0.png')
    call_tool(TOOL, *model, '--masks', folder / 'masks', '--maps', 'mean-mask', '--tolerance', '0')
    rows = rows_of(capsys.readouterr().out)
    assert rows['green'][:2] == ['2', '100.0']  # the other image has it at the same place
    assert rows['red'][0] == '3' and float(rows['red'][1]) < 100
    assert rows['blue'][:4] == ['1', f'{100 * 56 / 1280:.1f}', f'{100 * 56 / 1280:.1f}', '0.0']


def test_images_without_masks_are_counted(folder, capsys):
    model = write_model(folder, torch.eye(3))
    (folder / 'masks' / '1.png').unlink()
    call_tool(TOOL, *model, '--masks', folder / 'masks')
    out = capsys.readouterr().out
    assert '1 of 3 images have no masks' in out and '5 pairs of 2 images' in out
    for path in (folder / 'masks').iterdir():
        path.unlink()
    message = call_tool(TOOL, *model, '--masks', folder / 'masks')
    assert message == 'error: no image of the test set has a mask of one of its labels'


@pytest.mark.parametrize(
    'transform', [dict(type='CenterCrop', crop_size=24), dict(type='Pad', size=(48, 48))]
)
def test_a_pipeline_that_shows_another_frame_is_refused(folder, transform):
    model = write_model(folder, torch.eye(3), **transform)
    message = call_tool(TOOL, *model, '--masks', folder / 'masks')
    assert message.startswith('error: the test pipeline cuts off or adds a border')


def test_masks_of_another_size_than_the_image_are_refused(folder):
    model = write_model(folder, torch.eye(3))
    Image.new('L', (20, 16)).save(folder / 'masks' / '0.png')
    Image.new('L', (20, 16), 1).save(folder / 'masks' / '1.png')
    message = call_tool(TOOL, *model, '--masks', folder / 'masks')
    assert message.endswith('1.png has (32, 40) pixels, its masks have (16, 20)')


def test_images_of_one_name_are_refused(folder):
    model = write_model(folder, torch.eye(3))
    content = json.loads((folder / 'test.json').read_text())
    (folder / 'photos' / 'more').mkdir()
    (folder / 'photos' / '0.png').rename(folder / 'photos' / 'more' / '1.png')
    content['data_list'][0]['img_path'] = 'more/1.png'
    (folder / 'test.json').write_text(json.dumps(content))
    message = call_tool(TOOL, *model, '--masks', folder / 'masks')
    assert message == 'error: 2 images are called 1: which has the mask?'
