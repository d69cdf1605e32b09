"""Masks of constructed files: index images with names, Pascal VOC's, COCO's polygons and runs."""

import json
import tracemalloc

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from PIL import Image

from mlic.datasets.pixel_masks import COCOMasks, IndexMasks, draw_segmentation, read_names

CLASSES = ['cat', 'dog']
INDICES = np.array([[0, 1, 1, 255], [2, 2, 0, 255], [3, 2, 0, 0]], np.uint8)


def write_indices(folder, mode='L', name='a.png'):
    folder.mkdir(exist_ok=True)
    picture = Image.fromarray(INDICES)
    if mode == 'P':  # a palette in which two indices have one colour, as in none but a hostile file
        picture.putpalette([0, 0, 0] * 2 + [9, 9, 9] * 254)
    elif mode == 'RGB':
        picture = picture.convert('RGB')
    picture.save(folder / name)


@pytest.mark.parametrize('mode', ['L', 'P'])
def test_without_names_the_indices_are_those_of_voc(tmp_path, mode):
    write_indices(tmp_path / 'masks', mode)
    masks = IndexMasks(tmp_path / 'masks', ['cat', 'dog', 'bird']).read('photos/a.jpg')
    np.testing.assert_array_equal(masks.known, INDICES != 255)
    assert masks.of.keys() == {0, 1, 2}
    for label, mask in masks.of.items():
        np.testing.assert_array_equal(mask, label + 1 == INDICES)


@pytest.mark.parametrize('form', ['json', 'txt'])
def test_names_say_which_index_is_which_class_and_others_are_other_pixels(tmp_path, form):
    write_indices(tmp_path / 'masks')
    names = ['null', 'tree', 'cat', 'dog']
    text = json.dumps(names) if form == 'json' else '\n'.join([*names, ''])
    (tmp_path / f'names.{form}').write_text(text)
    masks = IndexMasks(tmp_path / 'masks', ['dog', 'cat', 'fox'], tmp_path / f'names.{form}')
    found = masks.read('a.jpg')
    assert found.of.keys() == {0, 1}  # no fox
    np.testing.assert_array_equal(found.of[0], INDICES == 3)
    np.testing.assert_array_equal(found.of[1], INDICES == 2)
    assert masks.read('b.jpg') is None


@pytest.mark.parametrize(
    'mode, classes, message',
    [
        ('RGB', ['cat', 'dog', 'bird'], 'a.png: pixels of mode RGB, not indices of 8 bits'),
        ('L', CLASSES, 'a.png: pixels with index 3, there are 3 names'),
    ],
)
def test_an_image_that_holds_no_named_indices_is_refused(tmp_path, mode, classes, message):
    write_indices(tmp_path / 'masks', mode)
    with pytest.raises(ValueError, match=message):
        IndexMasks(tmp_path / 'masks', classes).read('a.jpg')


def test_a_jpeg_called_png_is_refused_whose_indices_are_no_longer_those_that_were_saved(tmp_path):
    Image.fromarray(INDICES % 4).save(tmp_path / 'a.jpg')
    (tmp_path / 'a.jpg').rename(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='a.png: a JPEG file, not a PNG'):
        IndexMasks(tmp_path, ['cat', 'dog', 'bird']).read('a.jpg')


@pytest.mark.parametrize(
    'text, message',
    [
        ('{}', 'not a list of names'),
        ('["cat", 3]', 'not a list of names'),
        ('["cat", "cat"]', 'cat is there twice'),
    ],
)
def test_names_that_are_no_list_of_different_texts_are_refused(tmp_path, text, message):
    (tmp_path / 'names.json').write_text(text)
    with pytest.raises(ValueError, match=f'names.json: {message}'):
        read_names(tmp_path / 'names.json')


def test_a_folder_of_masks_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none: no folder of masks'):
        IndexMasks(tmp_path / 'none', CLASSES)


def test_names_without_a_class_are_refused(tmp_path):
    (tmp_path / 'names.txt').write_text('fox\n')
    with pytest.raises(ValueError, match='names.txt: none of 1 names is a class of the model'):
        IndexMasks(tmp_path, CLASSES, tmp_path / 'names.txt')


# ---------------------------------------------------------------- COCO

RECTANGLE = [1, 1, 4, 1, 4, 3, 1, 3]  # x, y of its corners: three columns, two rows


def rectangle(size=(5, 6), rows=(1, 3), columns=(1, 4)):
    mask = np.zeros(size, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def content(*annotations, **image):
    """COCO's form; annotations are of (category id, segmentation)."""
    image = dict(id=7, file_name='val/a.jpg', height=5, width=6) | image
    return dict(
        images=[image],
        categories=[dict(id=3, name='dog'), dict(id=9, name='cat'), dict(id=1, name='fox')],
        annotations=[
            dict(image_id=7, category_id=category, segmentation=segmentation)
            for category, segmentation in annotations
        ],
    )


def masks_of(tmp_path, what):
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps(what))
    return COCOMasks(path, CLASSES).read('somewhere/a.jpg')


def runs_of(mask):
    """Counts of 0, 1, 0, …, column by column."""
    counts, value = [0], False
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return dict(counts=counts, size=list(mask.shape))


def test_annotations_of_a_class_are_one_mask_of_polygons_and_runs(tmp_path):
    corner = rectangle(rows=(4, 5), columns=(0, 2))
    found = masks_of(tmp_path, content((3, [RECTANGLE]), (3, runs_of(corner)), (1, [RECTANGLE])))
    assert found.known.all() and found.of.keys() == {1}  # the fox is no class
    np.testing.assert_array_equal(found.of[1], rectangle() | corner)


@pytest.mark.parametrize('seed', range(5))
def test_run_lengths_are_column_by_column(seed):
    mask = np.random.default_rng(seed).random((7, 4)) < 0.5
    np.testing.assert_array_equal(draw_segmentation(runs_of(mask), (7, 4)), mask)


def test_a_polygon_has_the_pixels_whose_centres_are_inside():
    triangle = [0, 0, 8, 0, 0, 8]
    expected = [[x + 0.5 + y + 0.5 < 8 for x in range(10)] for y in range(9)]
    drawn = draw_segmentation([triangle], (9, 10))
    on_edge = [[x + y + 1 == 8 for x in range(10)] for y in range(9)]
    np.testing.assert_array_equal(drawn[~np.array(on_edge)], np.array(expected)[~np.array(on_edge)])


@pytest.mark.parametrize('seed', range(20))
def test_a_polygon_that_crosses_itself_is_drawn_as_matplotlib_does(seed, monkeypatch):
    monkeypatch.setattr('mlic.datasets.pixel_masks.PAIRS', 100)  # in several parts
    corners = np.random.default_rng(seed).uniform(-10, 50, (10, 2))  # no centre is on an edge
    centres = np.stack(np.meshgrid(np.arange(35) + 0.5, np.arange(30) + 0.5), axis=-1)
    expected = Polygon(corners).contains_points(centres.reshape(-1, 2)).reshape(30, 35)
    drawn = draw_segmentation([corners.reshape(-1).tolist()], (30, 35))
    np.testing.assert_array_equal(drawn, expected)
    assert drawn.any() and not drawn.all()


@pytest.mark.parametrize(
    'segmentation',
    [[[-9, -9, 9e8, -9, 9e8, 9e8, -9, 9e8]], dict(counts=[0, 10**6], size=[1000] * 2)],
)
def test_a_large_mask_takes_a_few_bytes_of_memory_for_each_pixel(segmentation):
    tracemalloc.start()
    assert draw_segmentation(segmentation, (1000, 1000)).all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 1000**2


def test_what_is_outside_of_the_image_is_cut_off():
    np.testing.assert_array_equal(
        draw_segmentation([[-3, -3, 2, -3, 2, 99, -3, 99]], (5, 6)),
        rectangle(rows=(0, 5), columns=(0, 2)),
    )
    assert not draw_segmentation([[50, 50, 60, 50, 60, 60]], (5, 6)).any()


@pytest.mark.parametrize(
    'what, message',
    [
        (content((3, [[1, 2, 3]])), r'image 7 has a mask that cannot be drawn \(a polygon of'),
        (content((3, [[1, 2, 3, 4, 5, float('nan')]])), 'a polygon of'),
        (content((3, [[1, 2, 3, 4, 5, 1e30]])), 'a polygon of'),
        (content((3, [])), r'cannot be drawn \(no polygon'),
        (content((3, dict(counts='abc', size=[5, 6]))), 'compressed run lengths; decode them'),
        (content((3, dict(counts=[29], size=[5, 6]))), 'run lengths of another size than 5 x 6'),
        (content((4, [RECTANGLE])), r"not a file of COCO's form with masks \(4 is missing"),
        (content((3, dict(size=[5, 6]))), 'cannot be drawn .*counts'),
        (content(height=0), 'a.jpg has the size'),
        (content(height=20_000, width=10_000), r'cannot be drawn \(20000 x 10000 pixels'),
        (dict(images=[]), "'categories' is missing"),
        (dict(images=[], annotations=[], categories=[]), 'none of its categories is a class'),
    ],
)
def test_masks_that_cannot_be_drawn_are_refused_in_one_line(tmp_path, what, message):
    with pytest.raises(ValueError, match=f'^.*instances.json: .*{message}') as error:
        masks_of(tmp_path, what)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('part', ['images', 'categories'])
def test_two_of_one_id_are_refused_whose_masks_would_be_taken_for_one_another(tmp_path, part):
    what = content((3, [RECTANGLE]))
    what[part].append(dict(what[part][0], file_name='b.jpg', name='cat'))
    with pytest.raises(ValueError, match=f'the id . occurs more than once in its {part}'):
        masks_of(tmp_path, what)


def test_images_of_one_name_are_refused(tmp_path):
    what = content()
    what['images'].append(dict(what['images'][0], id=8, file_name='train/a.jpg'))
    with pytest.raises(ValueError, match='two images are called a.jpg'):
        masks_of(tmp_path, what)
