import cv2
import numpy as np
import PIL
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from mlic.datasets.transforms.multi_scale_crop import MultiScaleCrop
from tests.helpers import recorded


def loop_boxes(width, height, scale, scales, max_distort):
    """The rule of the class docstring, written as loops: the list of (w, h, x, y)."""
    sides = []
    for value in scales:
        side = int(min(width, height) * value)
        for target in range(scale - 2, scale + 3):
            if side == target:
                side = scale
                break
        sides.append(side)
    boxes = []
    for place_w, crop_w in enumerate(sides):
        for place_h, crop_h in enumerate(sides):
            if place_w - place_h > max_distort or place_h - place_w > max_distort:
                continue
            for column in range(5):
                for row in range(5):
                    if (column + row) % 2 == 0:  # a chess board of 13 of the 25 grid points
                        x = column * ((width - crop_w) // 4)
                        y = row * ((height - crop_h) // 4)
                        boxes.append((crop_w, crop_h, x, y))
    return boxes


def candidate_boxes(transform, width, height):
    return [
        (*size, *offset)
        for size in transform.crop_sizes(width, height)
        for offset in transform.crop_offsets(width, height, *size)
    ]


@pytest.mark.parametrize(
    'width, height', [(512, 512), (640, 480), (333, 500), (450, 600), (451, 600)]
)
@pytest.mark.parametrize(
    'scale, scales, max_distort',
    [(448, (1, 0.875, 0.75, 0.66, 0.5), 2), (384, (1, 0.8, 0.6), 1), (64, (1,), 0)],
)
def test_candidate_boxes_equal_a_loop_over_the_rule(width, height, scale, scales, max_distort):
    transform = MultiScaleCrop(scale=scale, scales=scales, max_distort=max_distort)
    expected = loop_boxes(width, height, scale, scales, max_distort)
    assert sorted(candidate_boxes(transform, width, height)) == sorted(expected)


def test_candidate_boxes_equal_the_published_ones_in_order():
    for case in recorded('multiscale_crop.json')['cases'].values():
        transform = MultiScaleCrop(scale=case['input_size'])
        width, height = case['image_w'], case['image_h']
        sizes = [(pair['crop_w'], pair['crop_h']) for pair in case['pairs']]
        assert transform.crop_sizes(width, height) == sizes
        for pair in case['pairs']:
            size = (pair['crop_w'], pair['crop_h'])
            offsets = [tuple(offset) for offset in pair['offsets']]
            assert transform.crop_offsets(width, height, *size) == offsets
        published = set(candidate_boxes(transform, width, height))
        for draws in case['sampled_with_python_random_seed'].values():
            assert {tuple(draw) for draw in draws} <= published


def test_pillow_pixels_equal_the_published_ones():
    data = recorded('crop_pixels.npz')
    image = data['image']
    transform = MultiScaleCrop(scale=64, backend='pillow')
    for seed in range(6):
        box = data[f'seed{seed}.box'].tolist()
        assert tuple(box) in candidate_boxes(transform, image.shape[1], image.shape[0])
        out = transform.crop(image[..., ::-1], box)[..., ::-1]  # the recording is RGB, we are BGR
        width, height, left, top = box
        expected = Image.fromarray(image).crop((left, top, left + width, top + height))
        expected = np.asarray(expected.resize((64, 64), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(out, expected)
        # Pillow before 13 rounds some of the recorded ones to their neighbours
        steps = np.abs(data[f'seed{seed}.out'].astype(int) - out)
        assert steps.max() <= int(int(PIL.__version__.split('.')[0]) < 13)


def test_cv2_pixels_are_close_to_pillow_pixels_when_enlarging():
    image = np.linspace(0, 255, 60 * 50 * 3).reshape(60, 50, 3).astype(np.uint8)
    box = (40, 30, 5, 10)
    pillow = MultiScaleCrop(scale=64, backend='pillow').crop(image, box)
    opencv = MultiScaleCrop(scale=64).crop(image, box)
    np.testing.assert_allclose(pillow.astype(int), opencv.astype(int), atol=2)


def test_draws_are_uniform_over_pairs_and_offsets():
    transform = MultiScaleCrop(scale=448)
    np.random.seed(0)
    draws = 247 * 60
    count = {}
    for _ in range(draws):
        box = transform._draw_box(512, 512)
        count[box] = count.get(box, 0) + 1
    weight = {}
    for box in candidate_boxes(transform, 512, 512):  # a repeated box is drawn more often
        weight[box] = weight.get(box, 0) + draws / 247
    assert count.keys() == weight.keys()
    chi2 = sum((count[box] - weight[box]) ** 2 / weight[box] for box in weight)
    degrees = len(weight) - 1
    assert chi2 < degrees + 4 * (2 * degrees) ** 0.5  # mean + 4 standard deviations


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('shape', [(512, 512), (447, 600), (30, 20), (1, 5)])
def test_transform_updates_image_and_shape(backend, shape):
    transform = TRANSFORMS.build(dict(type='MultiScaleCrop', scale=448, backend=backend))
    image = np.full((*shape, 3), 7, np.uint8)
    for _ in range(5):
        results = transform(dict(img=image, img_shape=shape, gt_label=[1]))
        assert results['img'].shape == (448, 448, 3)
        assert results['img'].dtype == np.uint8
        assert (results['img'] == 7).all()  # nothing from outside the image
        assert results['img_shape'] == (448, 448)
        assert results['gt_label'] == [1]


def test_same_seed_gives_the_same_crop():
    image = np.random.RandomState(0).randint(0, 256, (90, 80, 3)).astype(np.uint8)
    transform = MultiScaleCrop(scale=64)
    outputs = []
    for _ in range(2):
        np.random.seed(3)
        outputs.append([transform(dict(img=image))['img'] for _ in range(8)])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert len({out.tobytes() for out in outputs[0]}) > 1


@pytest.mark.parametrize('shape', [(480, 640), (512, 512), (333, 100), (3, 2)], ids=str)
def test_boxes_of_a_canvas_cover_the_same_part_of_the_image(shape):
    transform, (height, width) = MultiScaleCrop(scale=448, canvas=512), shape
    for box in candidate_boxes(transform, 512, 512):
        crop_w, crop_h, x, y = transform.from_canvas(box, width, height)
        for begin, size, exact_begin, exact_size, whole in (
            (x, crop_w, box[2] * width / 512, box[0] * width / 512, width),
            (y, crop_h, box[3] * height / 512, box[1] * height / 512, height),
        ):
            assert 0 <= begin < begin + size <= whole
            assert abs(begin - exact_begin) <= 0.5
            assert abs(size - exact_size) <= 1  # two rounded edges


def test_a_canvas_gives_the_crop_of_the_resized_image():
    rows, columns = np.mgrid[:480, :640]
    smooth = np.stack([rows / 480, columns / 640, rows / 960 + columns / 1280], axis=-1)
    image = (255 * smooth).astype(np.uint8)
    outputs = []
    for transform, start in (
        (MultiScaleCrop(scale=448), cv2.resize(image, (512, 512))),
        (MultiScaleCrop(scale=448, canvas=512), image),
    ):
        np.random.seed(3)
        outputs.append([transform(dict(img=start))['img'].astype(int) for _ in range(20)])
    # half a pixel of 480 is half a level here; rounding twice and once, one level each
    assert np.abs(np.subtract(*outputs)).max() <= 3


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r'scales must be in \(0, 1\], but got \(1, 1.5\)'):
        MultiScaleCrop(scales=(1, 1.5))
    with pytest.raises(ValueError, match="backend must be 'cv2' or 'pillow', but got 'turbo'"):
        MultiScaleCrop(backend='turbo')


def test_labels_that_are_text_are_named_with_their_image():
    pack = TRANSFORMS.build(dict(type='PackInputs'))
    image = dict(img=np.zeros((4, 4, 3), np.uint8), img_path='a.jpg')
    for labels in (['dog', 'bird'], '0', np.array(['dog'])):
        with pytest.raises(ValueError, match=r'^a\.jpg: gt_label=.* is text\. Labels are indices'):
            pack(dict(image, gt_label=labels))
    for labels in ([], [1], 1, np.array([0, 1])):
        assert 'gt_label' in pack(dict(image, gt_label=labels))['data_samples']
