"""Whatever stands in a file: its reader gives the right answer, or refuses it in one line."""

import ast
import copy
import csv
import functools
import io
import itertools
import json
import operator
import os
import re
import xml.dom.minidom
import zipfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some
from PIL import Image

from mlic import files
from mlic.apis.onnx_model import OnnxModel
from mlic.apis.stored_config import read_stored_config
from mlic.cli import plot, verify_export
from mlic.cli.corel5k_to_json import read_split, read_words
from mlic.cli.localize import read_other
from mlic.cli.published_to_mm import read_floats
from mlic.datasets import coco, label_cache, list_files, voc
from mlic.datasets.coco import COCOMultiLabel, read_superclasses
from mlic.datasets.feature_cache import FeatureCache
from mlic.datasets.nus_wide import NUSWIDE
from mlic.datasets.own_data.known import read_known
from mlic.datasets.own_json import MultiLabelDataset
from mlic.datasets.pixel_masks import COCOMasks, IndexMasks, read_names
from mlic.datasets.visual_genome import VG500
from mlic.datasets.voc import VOCMultiLabel
from mlic.engine.checkpoints.reading import read_checkpoint
from mlic.engine.checkpoints.safetensors_file import SUFFIX, to_safetensors
from mlic.evaluation.predictions import read_predictions, read_tta
from mlic.evaluation.thresholds import read_thresholds
from mlic.files import read_class_file
from mlic.models.layers.label_vectors import read_vectors
from projects.sadcl.models.sadcl_head import read_prototypes
from tests.dataset_files import (
    COCO_CLASSES,
    coco_content,
    write_coco,
    write_image,
    write_nus,
    write_vg,
    write_voc,
)

QUIET = dict(serialize_data=False)  # packing would collect garbage at every example


class Reader(NamedTuple):
    """A reader under test.

    Args:
        file (str): The file that is damaged.
        write (Callable): Writes this and the others, whole, to a folder.
        read (Callable): The folder to what is read, as the oracle says it.
        oracle (Callable): The same in a few naive lines, None where it cannot be said.
    """

    file: str
    write: Callable
    read: Callable
    oracle: Callable


# ------------------------------------------------------------------- readers and their oracles


def items(dataset):
    """(path, names of the classes, of the unknown ones if there are some) of each image."""
    names = dataset.CLASSES or range(10**6)
    found = []
    for item in map(dataset.get_data_info, range(len(dataset))):
        lists = item['gt_label'], item.get('gt_label_unknown', [])
        words = [[names[label] for label in labels] for labels in lists]
        found.append((os.path.abspath(item['img_path']), *words[: 1 + bool(words[1])]))
    return found


def image(folder, name):
    """The path of an image; no folder here has a name with a backslash."""
    return os.path.abspath(folder / name.replace('\\', '/'))


def in_order(found, classes):
    """The classes of a set, in the order of a list."""
    return [name for name in classes if name in found]


def coco_oracle(root):
    content = json.loads((root / 'annotations/instances.json').read_text('utf-8-sig'))
    found = []
    for item in sorted(content['images'], key=lambda item: item['id']):
        labels = {
            category['name']
            for annotation in content['annotations']
            for category in content['categories']
            if annotation['image_id'] == item['id'] and annotation['category_id'] == category['id']
        }
        names = {category['id']: category['name'] for category in content['categories']}
        labels |= {names[x] for x in item.get('pos_category_ids', [])}
        unknown = set()
        if 'neg_category_ids' in item or 'pos_category_ids' in item:
            absent = {names[x] for x in item.get('neg_category_ids', [])}
            unknown = {*COCO_CLASSES['classes']} - labels - absent
        lists = [in_order(x, COCO_CLASSES['classes']) for x in (labels, unknown)]
        found.append((image(root / 'train2014', item['file_name']), *lists[: 1 + bool(unknown)]))
    return found


def own_oracle(root):
    content = json.loads((root / 'train.json').read_text('utf-8-sig'))
    names = content['metainfo'].get('classes') or range(10**6)
    found = []
    for item in content['data_list']:
        lists = [item['gt_label'], item.get('gt_label_unknown', [])]
        words = [
            [names[label] for label in labels] for labels in lists if labels or labels is lists[0]
        ]
        found.append((image(root / 'photos', item['img_path']), *words))
    return found


def lines_of(path):
    text = io.StringIO(path.read_bytes().decode('utf-8-sig'), newline=None).read()
    return [line.strip() for line in text.split('\n')]


def vg_oracle(root):
    labels = json.loads((root / 'vg_category_500_labels_index.json').read_text('utf-8-sig'))
    names = [line for line in lines_of(root / 'train_list_500.txt') if line]
    return [
        (image(root / 'VG_100K', name), [f'class_{label:03d}' for label in sorted({*labels[name]})])
        for name in names
    ]


def rows_of(path):
    text = path.read_bytes().decode('utf-8-sig')
    rows = csv.reader(io.StringIO(text, newline=''), strict=True)
    return [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))]


def nus_csv_oracle(root):
    header, *rows = rows_of(root / 'nus_wid_data.csv')
    split = 'split_name' if 'split_name' in header else 'split'
    found = []
    for row in rows:
        cells = dict(zip(reversed(header), reversed(row)))  # of several the first counts
        if cells[split] == 'train':
            labels = in_order(ast.literal_eval(cells['label']), NUSWIDE.METAINFO['classes'])
            if labels:
                found.append((image(root / 'Flickr', cells['filepath']), labels))
    return found


def nus_matrix_oracle(root):
    names = [line for line in lines_of(root / 'ImageList/TrainImagelist.txt') if line]
    rows = [line.split() for line in lines_of(root / 'ImageList/Labels_Train.txt') if line]
    found = []
    for name, row in zip(names, rows, strict=True):
        pairs = zip(NUSWIDE.METAINFO['classes'], row, strict=True)
        labels = [concept for concept, flag in pairs if flag == '1']
        if labels:
            found.append((image(root / 'Flickr', name), labels))
    return found


def voc_objects(path):
    """(name, difficult) of each object."""
    found = []
    for item in xml.dom.minidom.parse(str(path)).documentElement.childNodes:
        if item.nodeName != 'object':
            continue
        texts = {}
        for child in item.childNodes:
            if child.nodeName in ('name', 'difficult') and child.nodeName not in texts:
                parts = itertools.takewhile(lambda node: node.nodeType != 1, child.childNodes)
                text = ''.join(part.data for part in parts if part.nodeType in (3, 4))
                texts[child.nodeName] = text.strip()
        found.append((texts['name'], texts.get('difficult') or '0'))
    return found


def voc_oracle(root):
    found = []
    for name in (line for line in lines_of(root / 'ImageSets/Main/trainval.txt') if line):
        objects = voc_objects(root / f'Annotations/{name}.xml')
        easy = {label for label, difficult in objects if difficult == '0'}
        labels = in_order(easy, VOCMultiLabel.METAINFO['classes'])
        found.append((image(root / 'JPEGImages', f'{name}.jpg'), labels))
    return found


def write_lvis(root):
    content = coco_content()
    for image, *ids in zip(content['images'], ([18], [1, 24], []), ([], [18], [])):
        image.update(neg_category_ids=ids[0], not_exhaustive_category_ids=ids[1])
    content['images'][2]['pos_category_ids'] = [24]
    write_coco(root, content)


def write_own(root):
    for name in 'ab':
        write_image(root / 'photos' / f'{name}.jpg', (4, 4))
    data_list = [dict(img_path=f'{name}.jpg', gt_label=[0, 2]) for name in 'ab']
    data_list[1]['gt_label_unknown'] = [1]
    content = dict(metainfo=dict(classes=['tree', 'car', 'boat']), data_list=data_list)
    (root / 'train.json').write_text(json.dumps(content))


def write(name, content):
    return lambda root: (root / name).write_text(content)


def write_features(root):
    np.save(root / 'a.npy', np.arange(8, dtype=np.float16).reshape(2, 2, 1, 1, 2))
    (root / 'a.json').write_text(json.dumps(['x.jpg', 'y.jpg']))


def features_of(root):
    cache = FeatureCache(root)
    return {path: cache[path].tolist() for path in cache.places}


def features_oracle(root):
    names, rows = json.loads((root / 'a.json').read_text('utf-8-sig')), np.load(root / 'a.npy')
    return {name: row.tolist() for name, row in zip(names, rows, strict=True)}


def write_predictions(root):
    np.savez(
        root / 'p.npz',
        pred=np.array([[0.5, 0.25], [0.125, 1.0]]),
        target=np.eye(2, dtype=np.uint8),
        ignore=np.zeros((2, 2), bool),
        unknown=np.array([[False, True], [False, False]]),
        classes=['cat', 'dog'],
    )


def predictions_of(root):
    block, names = read_predictions(root / 'p.npz')
    unknown = np.zeros(block.pred.shape, bool) if block.unknown is None else block.unknown
    return block.pred.tolist(), block.target.astype(int).tolist(), unknown.tolist(), names


def predictions_oracle(root):
    with zipfile.ZipFile(root / 'p.npz') as archive:
        saved = {
            name: np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }
    pred, target = saved['pred.npy'], saved['target.npy'].astype(int)
    unknown = saved.get('unknown.npy', np.zeros(pred.shape, bool))
    for hidden in (saved.get('ignore.npy', unknown), unknown):
        target = np.where(hidden, 0, target)
    names = saved.get('classes.npy', np.arange(pred.shape[1]).astype(str))
    return pred.tolist(), target.tolist(), unknown.tolist(), names.tolist()


LOG = ''.join(
    json.dumps(row) + '\n'
    for row in (
        {'lr': 0.1, 'loss': 3.0, 'loss_cls': 1.0, 'epoch': 1, 'iter': 25, 'step': 25},
        {'multi-label/mAP': 10.0, 'step': 1},
        {'lr': 0.1, 'loss': 2.0, 'loss_cls': 1.0, 'epoch': 2, 'iter': 75, 'step': 75},
    )
)


def log_of(root):
    log = plot.read_log(root / 'scalars.json')
    return [row['iter'] for row in log.train], [row['step'] for row in log.val]


def log_oracle(root):
    rows = []
    for line in (root / 'scalars.json').read_text('utf-8-sig').splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # the last line of a killed run; elsewhere it is refused
    train = [row for row in rows if 'iter' in row and 'loss' in row]
    return (
        [row['iter'] for row in train],
        [row['step'] for row in rows if row not in train and 'step' in row and '/' in ''.join(row)],
    )


def thresholds_of(name):
    return lambda root: list(read_thresholds(root / name).values.items())


def threshold_json_oracle(root):
    content = json.loads((root / 't.json').read_text('utf-8-sig'))
    if isinstance(content.get('thresholds'), dict):
        content = content['thresholds']
    return [(name, float(value)) for name, value in content.items()]


def threshold_csv_oracle(root):
    text = (root / 't.csv').read_bytes().decode('utf-8-sig')
    _, *rows = [row for row in csv.reader(io.StringIO(text, newline='')) if ''.join(row).strip()]
    return [(name, float(value)) for name, value in rows]


KNOWN_CLASSES = ['cat', 'dog', 'straße']
KNOWN_TABLE = 'image,cat,dog,straße\na.jpg,1,0,\nsub/b.jpg,,1,?\n'
KNOWN_LISTS = 'image,labels\na.jpg,cat;dog\nsub/b.jpg,straße\n'


def known_of(name):
    images = ['photos/a.jpg', '/x/sub/b.jpg']
    return lambda root: read_known(root / name, images, KNOWN_CLASSES)[0]


def known_oracle(name):
    """What the table says as it was written; of a damaged one, something of the classes."""

    def oracle(root):
        found = known_of(name)(root)
        if (root / name).read_bytes() == KNOWN_TABLE.encode():
            assert found == [{'cat': True, 'dog': False}, {'dog': True}]
        if (root / name).read_bytes() == KNOWN_LISTS.encode():
            assert found == [{'cat': True, 'dog': True}, {'straße': True}]
        assert len(found) == 2
        for known in found:
            assert {*known} <= {*KNOWN_CLASSES} and {*map(type, known.values())} <= {bool}
        return found

    return oracle


def superclass_oracle(root):
    categories = json.loads((root / 'c.json').read_text('utf-8-sig'))['categories']
    return [{c['name']: c['supercategory'] for c in categories}[name] for name in ('cat', 'car')]


CATEGORIES = [dict(name='cat', supercategory='animal'), dict(name='car', supercategory='vehicle')]
COREL = '1000 1 3\n1001 2\n'


def write_corel(root):
    for name in ('1000', '1001'):
        write_image(root / 'train_jpeg' / f'{name}.jpeg', (4, 4))
    (root / 'training_label').write_text(COREL)


def corel_oracle(root):
    rows = [line.split() for line in lines_of(root / 'training_label') if line]
    return {f'train_jpeg/{name}.jpeg': sorted({int(n) - 1 for n in row}) for name, *row in rows}


def words_oracle(root):
    return ' '.join(lines_of(root / 'words')).split()


def prototypes_oracle(root):
    array = np.load(root / 'p.npy').astype(np.float64)
    return (array[0] if array.ndim == 3 and len(array) == 1 else array).tolist()


def vectors_oracle(root):
    """Of 'cat' and 'hot dog': each line split from its end, all spellings tried in order."""
    text = (root / 'glove.txt').read_bytes().decode('utf-8-sig', 'replace')
    lines = [line.rstrip() for line in io.StringIO(text, newline=None)]
    rows = [line.split(' ') for line in lines if line]
    if len(rows[0]) == 2 and lines[0] and (rows[0][0] + rows[0][1]).isdecimal():
        rows.pop(0)
    width = 0
    while width < len(rows[0]) - 1 and is_number(rows[0][-1 - width]):
        width += 1
    assert width and all(len(row) > width for row in rows)
    found = {}
    for row in rows:
        word = '_'.join(' '.join(row[:-width]).split())
        found.setdefault(word, row[-width:])

    def look_up(name):
        def plain(word):
            return ''.join(re.split(r'[\s_-]', word.casefold()))

        alike = [word for word in found if plain(word) == plain(name)]
        for word in ('_'.join(name.split()), '_'.join(name.lower().split()), *alike):
            if word in found:
                assert all(map(is_number, found[word]))
                return np.array([float(number) for number in found[word]])
        return None

    cat, hotdog, hot, dog = map(look_up, ('cat', 'hot dog', 'hot', 'dog'))
    second = (hot + dog) / 2 if hotdog is None else hotdog
    return np.stack([cat, second]).astype(np.float32).tolist()


def is_number(text):
    try:
        return abs(float(text)) <= np.finfo(np.float32).max
    except ValueError:
        return False


def write_tensors(root):
    tensors = dict(w=torch.arange(4.0).reshape(2, 2), n=torch.tensor(3), h=torch.ones(2).half())
    meta = dict(epoch=2, dataset_meta=dict(classes=['cat', 'straße']), cfg='a = 1\n')
    (root / 'x.safetensors').write_bytes(to_safetensors(tensors, meta))


def tensors_of(root):
    content = read_checkpoint(root / 'x.safetensors')
    tensors = {
        name: (list(value.shape), value.reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, value in content['state_dict'].items()
    }
    return tensors, content['meta']


def tensors_oracle(root):
    content = (root / 'x.safetensors').read_bytes()
    start = 8 + int.from_bytes(content[:8], 'little')
    header, data = json.loads(content[8:start]), content[start:]
    meta = json.loads((header.pop('__metadata__', None) or {}).get('meta', '{}'))
    return {
        name: (item['shape'], data[slice(*item['data_offsets'])]) for name, item in header.items()
    }, meta


RECIPE = dict(size=[4, 6], resize='bilinear', reduce_to=None, mean=[1.5], transforms=[{'a': 1}])


def write_recipe(root):
    (root / 'recipe.json').write_text(json.dumps(RECIPE))


def recipe_of(root):
    """The transforms that a model exported with this recipe asks for."""
    onnx = pytest.importorskip('onnx', reason="needs pip install -e '.[deploy]'")
    pytest.importorskip('onnxruntime', reason="needs pip install -e '.[deploy]'")
    values = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ('images', 'scores')]
    node = onnx.helper.make_node('Identity', ['images'], ['scores'])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], 'g', values[:1], values[1:]),
        ir_version=10,
        opset_imports=[onnx.helper.make_opsetid('', 18)],  # as an export has
    )
    text = (root / 'recipe.json').read_bytes().decode('utf-8', 'replace')
    onnx.helper.set_model_props(model, dict(classes='["cat"]', preprocessing=text))
    onnx.save(model, root / 'recipe.json.onnx')
    load, resize, _ = OnnxModel(root / 'recipe.json.onnx').config.test_dataloader.dataset.pipeline
    return resize.scale, load.reduce_to


def recipe_oracle(root):
    recipe = json.loads((root / 'recipe.json').read_bytes().decode('utf-8', 'replace'))
    assert recipe['resize'] == 'bilinear'
    return tuple(recipe['size'][::-1]), recipe.get('reduce_to')


def write_header(root):
    write_tensors(root)
    content = (root / 'x.safetensors').read_bytes()
    start = 8 + int.from_bytes(content[:8], 'little')
    (root / 'header.json').write_bytes(content[8:start])
    (root / 'data').write_bytes(content[start:])


def with_header(read):
    """After somebody has put another header, whole, before the tensors."""

    def read_it(root):
        header, data = (root / 'header.json').read_bytes(), (root / 'data').read_bytes()
        size = len(header).to_bytes(8, 'little')
        (root / 'x.safetensors').write_bytes(size + header + data)
        try:
            return read(root)
        except ValueError as error:
            assert 'x.safetensors' in str(error)
            raise ValueError(str(error).replace('x.safetensors', 'header.json')) from error

    return read_it


CONFIG = """model = dict(type='ImageClassifier', head=dict(type='SADCLHead', num_classes=3))
optim_wrapper = dict(optimizer=dict(lr=0.1, betas=(0.9, 0.999)))
work_dir = 'work_dirs/a'
"""


def config_of(root):
    file = root / 'meta.txt'
    text = file.read_bytes().decode('utf-8', 'replace')
    return read_stored_config(dict(cfg=text), file).to_dict()


def of(dataset, **options):
    """What reads a data set; a cache would hide what is wrong."""
    return lambda root: items(dataset(data_root=str(root), **options, **QUIET))


ANN, VG_JSON = 'annotations/instances.json', 'vg_category_500_labels_index.json'
COCO_KEYS = dict(ann_file=ANN, metainfo=COCO_CLASSES)
OWN_KEYS = dict(ann_file='train.json', data_prefix='photos')
VOC_READER = of(VOCMultiLabel)


def write_indices(root):
    Image.fromarray(np.array([[0, 1, 1], [2, 0, 255]], np.uint8)).save(root / 'cat.png')


def indices_of(root):
    found = IndexMasks(root, ['cat', 'dog']).read('photos/cat.jpg')
    return found.known.tolist(), {label: mask.tolist() for label, mask in found.of.items()}


def indices_oracle(root):
    indices = np.array(Image.open(root / 'cat.png'))
    masks = {label: (indices == label + 1).tolist() for label in (0, 1) if label + 1 in indices}
    return (indices != 255).tolist(), masks


MASKS = json.dumps(
    dict(
        images=[dict(id=7, file_name='a.jpg', height=3, width=4)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
        annotations=[
            dict(image_id=7, category_id=1, segmentation=[[0, 0, 2, 0, 2, 2, 0, 2]]),
            dict(image_id=7, category_id=2, segmentation=dict(counts=[2, 10], size=[3, 4])),
        ],
    )
)


def coco_masks_of(root):
    found = COCOMasks(root / 'masks.json', ['cat', 'dog']).read('a.jpg')
    return found and {label: mask.tolist() for label, mask in found.of.items()}


PAIRS = dict(
    classes=['cat'],
    images=['a.jpg', 'b.jpg'],
    tolerance=15.0,
    pairs=dict(image=[0, 1], label=[0, 0], inside=[0.5, 1.0]),
)


def measures_of(root):
    return read_other(root / 'measures.json', PAIRS)['inside'].tolist()


def measures_oracle(root):
    return json.loads((root / 'measures.json').read_text())['pairs']['inside']


READERS = {
    'COCO': Reader(
        ANN,
        lambda root: write_coco(root, coco_content()),
        of(COCOMultiLabel, **COCO_KEYS),
        coco_oracle,
    ),
    'LVIS': Reader(ANN, write_lvis, of(COCOMultiLabel, **COCO_KEYS), coco_oracle),
    'own JSON': Reader('train.json', write_own, of(MultiLabelDataset, **OWN_KEYS), own_oracle),
    'VG500': Reader(VG_JSON, write_vg, of(VG500), vg_oracle),
    'VG500 list': Reader('train_list_500.txt', write_vg, of(VG500), vg_oracle),
    'NUS-WIDE CSV': Reader(
        'nus_wid_data.csv', write_nus, of(NUSWIDE, variant='csv'), nus_csv_oracle
    ),
    'NUS-WIDE list': Reader(
        'ImageList/TrainImagelist.txt', write_nus, of(NUSWIDE, variant='matrix'), nus_matrix_oracle
    ),
    'NUS-WIDE matrix': Reader(
        'ImageList/Labels_Train.txt', write_nus, of(NUSWIDE, variant='matrix'), nus_matrix_oracle
    ),
    'VOC XML': Reader('Annotations/000001.xml', write_voc, VOC_READER, voc_oracle),
    'VOC list': Reader('ImageSets/Main/trainval.txt', write_voc, VOC_READER, voc_oracle),
    'list of a feature cache': Reader('a.json', write_features, features_of, features_oracle),
    'array of a feature cache': Reader('a.npy', write_features, features_of, features_oracle),
    'predictions': Reader('p.npz', write_predictions, predictions_of, predictions_oracle),
    'thresholds, JSON': Reader(
        't.json',
        write('t.json', json.dumps(dict(thresholds=dict(cat=0.5, dog=0.25), fitted_on={}))),
        thresholds_of('t.json'),
        threshold_json_oracle,
    ),
    'thresholds, CSV': Reader(
        't.csv',
        write('t.csv', 'class,threshold\ncat,0.5\n"dog, brown",0.25\n'),
        thresholds_of('t.csv'),
        threshold_csv_oracle,
    ),
    'known labels': Reader(
        'k.csv', write('k.csv', KNOWN_TABLE), known_of('k.csv'), known_oracle('k.csv')
    ),
    'lists of known labels': Reader(
        'k.csv', write('k.csv', KNOWN_LISTS), known_of('k.csv'), known_oracle('k.csv')
    ),
    'class list': Reader(
        'names.txt',
        write('names.txt', 'cat\ndog\n'),
        lambda root: read_class_file(root / 'names.txt'),
        lambda root: [line for line in lines_of(root / 'names.txt') if line],
    ),
    'superclasses': Reader(
        'c.json',
        write('c.json', json.dumps(dict(categories=CATEGORIES))),
        lambda root: read_superclasses(root / 'c.json', ['cat', 'car']),
        superclass_oracle,
    ),
    'Corel5k words': Reader(
        'words', write('words', 'sky\nsun\n'), lambda root: read_words(root / 'words'), words_oracle
    ),
    'Corel5k labels': Reader(
        'training_label',
        write_corel,
        lambda root: read_split(root / 'training_label', root / 'train_jpeg', 3),
        corel_oracle,
    ),
    'index image': Reader('cat.png', write_indices, indices_of, indices_oracle),
    'names of indices': Reader(
        'names.json',
        write('names.json', '["null", "cat", "hot dog"]'),
        lambda root: read_names(root / 'names.json'),
        lambda root: json.loads((root / 'names.json').read_text()),
    ),
    'masks of COCO': Reader('masks.json', write('masks.json', MASKS), coco_masks_of, None),
    'measures of maps': Reader(
        'measures.json', write('measures.json', json.dumps(PAIRS)), measures_of, measures_oracle
    ),
    'training log': Reader('scalars.json', write('scalars.json', LOG), log_of, log_oracle),
    'prototypes': Reader(
        'p.npy',
        lambda root: np.save(root / 'p.npy', np.array([[0.5, 1.0], [2.0, -1.0]])),
        lambda root: read_prototypes(root / 'p.npy').tolist(),
        prototypes_oracle,
    ),
    'graph of released code': Reader(
        'graph.npy',
        lambda root: np.save(root / 'graph.npy', np.array([[1.0, 0.5], [0.25, 1.0]])),
        lambda root: read_floats(root / 'graph.npy', (2, 2)).tolist(),
        lambda root: np.load(root / 'graph.npy').astype(np.float32).tolist(),
    ),
    'label vectors': Reader(
        'glove.txt',
        write('glove.txt', 'the 0.5 1 -2\n. . . 1 1 1\nCat 1 2 3\nhot 1 0 0\ndog 0 1e-3 1\n'),
        lambda root: read_vectors(root / 'glove.txt', ('cat', 'hot dog')).tolist(),
        vectors_oracle,
    ),
    'safetensors': Reader('x.safetensors', write_tensors, tensors_of, tensors_oracle),
    'header of safetensors': Reader(
        'header.json', write_header, with_header(tensors_of), with_header(tensors_oracle)
    ),
    'recipe of an exported model': Reader('recipe.json', write_recipe, recipe_of, recipe_oracle),
    'stored config': Reader('meta.txt', write('meta.txt', CONFIG), config_of, None),
}


# ------------------------------------------------------------------------------- what is damaged

DEEP = '@deep@'  # becomes lists in lists, which Python cannot nest as a value
ODD_VALUES = [
    None, True, False, 0, 1, 2, 99, -1, 1.0, 1.5, float('nan'), float('inf'), 10**30, '', ' ', 'x',
    '1', 'a\\b.jpg', '..', '../a.jpg', '/etc/passwd', 'a\0.jpg', 'a\n.jpg', '\ud800', 'e\u0301',
    'x' * 5000, [], {}, [[99]], [None], [1, 1], ['sky'], {'a': 1}, {'id': 1}, [{}], DEEP,
]  # fmt: skip
ODD_TOKENS = [
    '', ' ', '0', '1', '2', '-1', '99', '1.5', 'nan', 'inf', '9' * 5000, "'", '"', '[', ']', '(',
    ')', '{', '}', ',', ';', '\n', '\r', '\r\n', '\t', '\0', '\ufeff', '\x85', '\u2028', '..', '/',
    '\\', '../a', '/etc/passwd', "['sky']", "[['sky']]", 'x' * 140_000, '[' * 500, '-' * 5000,
    '(' * 300 + ')' * 300, '<object>', '</object>', '<name>', '&amp;', '&x;', '<!-- -->', 'dict(',
    '<?xml version="1.0" encoding="gb2312"?>', '<?xml version="1.0" encoding="nope"?>',
    '<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]>', '__import__("os")', '=',
    '<a>' * 3000, 'custom_imports', 'lambda: 0', '**', 'None', 'NaN', 'true',
]  # fmt: skip
ODD_ARRAYS = [
    np.zeros(()), np.zeros(3), np.zeros((2, 2)), np.zeros((0, 2)), np.ones((2, 2), bool),
    np.full((2, 2), np.nan), np.full((2, 2), 2), np.array([['a', 'b']] * 2), np.array(['a', 'b']),
    np.array([None, None]), np.zeros((2, 2), complex), np.zeros((2, 2, 1, 1, 2), np.float16),
    np.zeros((2, 3, 1, 1, 2), np.float16), np.zeros((3, 2, 1, 1, 1), np.float16),
    np.zeros(2, dtype=[('a', 'f4')]), np.zeros((2, 2), 'M8[s]'), np.eye(2, dtype='>f4'),
]  # fmt: skip


def places(value, place=()):
    """The ways to all values of a tree of JSON."""
    yield place
    if isinstance(value, (dict, list)):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(child, (*place, key))


@some.composite
def damaged_json(draw, content):
    """A tree of JSON, one to three of whose values are replaced, removed or repeated."""
    tree = json.loads(content)
    for _ in range(draw(some.sampled_from((1, 1, 2, 3)))):
        *way, key = draw(some.sampled_from([p for p in places(tree) if p] or [(None,)]))
        if key is None or draw(some.integers(0, 30)) == 0:
            tree = copy.deepcopy(draw(some.sampled_from(ODD_VALUES)))
            break
        parent = tree
        for step in way:
            parent = parent[step]
        action = draw(some.sampled_from(('replace', 'swap', 'swap', 'remove', 'repeat')))
        if action == 'remove':
            del parent[key]
        elif action == 'replace':
            parent[key] = copy.deepcopy(draw(some.sampled_from(ODD_VALUES)))
        elif action == 'swap':  # most often for a value of the same kind
            alike = [place for place in places(tree) if place and place[-1] == key]
            other = tree
            for step in draw(some.sampled_from(alike * 3 + list(places(tree)))):
                other = other[step]
            parent[key] = copy.deepcopy(other)
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[f'{key}@twice@'] = parent[key]
    depth = draw(some.sampled_from((20, 400, 950, 100_000)))
    text = json.dumps(tree).replace(f'"{DEEP}"', '[' * depth + ']' * depth)
    return text.replace('@twice@', '').encode()


@some.composite
def damaged_text(draw, content):
    """A text some of whose words and signs are replaced, removed or repeated."""
    tokens = re.findall(r'[\w.]+|\s+|.', content.decode())
    for _ in range(draw(some.sampled_from((1, 1, 2, 4)))):
        words = [place for place, token in enumerate(tokens) if token[:1].isalnum()]
        if words and draw(some.booleans()):  # two words change places
            first, second = draw(some.sampled_from(words)), draw(some.sampled_from(words))
            tokens[first], tokens[second] = tokens[second], tokens[first]
            continue
        first = draw(some.integers(0, len(tokens)))
        last = min(first + draw(some.sampled_from((0, 1, 1, 1, 2, 50))), len(tokens))
        odd = some.sampled_from(ODD_TOKENS).map(lambda token: [token])
        tokens[first:last] = draw(odd | some.just(tokens[first:last] * 2) | some.just([]))
    return ''.join(tokens).encode('utf-8', 'surrogatepass')


@some.composite
def damaged_bytes(draw, content):
    """Bytes that are cut off, or some of which are replaced."""
    content = bytearray(content[: draw(some.integers(0, len(content)) | some.just(len(content)))])
    for _ in range(draw(some.integers(0, 4))):
        place = draw(some.integers(0, len(content)))
        content[place : place + draw(some.integers(0, 3))] = draw(some.binary(max_size=4))
    return bytes(content)


@some.composite
def damaged_arrays(draw, file):
    """Other arrays than those that belong into a file, or headers that promise more."""
    keys, buffer = ('pred', 'target', 'ignore', 'unknown', 'classes'), io.BytesIO()
    if file.endswith('.npy'):
        np.save(buffer, draw(some.sampled_from(ODD_ARRAYS)))
        content = buffer.getvalue()
        return content.replace(
            b"'shape': (2", draw(some.sampled_from((b"'shape': (2", b"'shape': (9")))
        )
    arrays = dict(pred=np.zeros((2, 2)), target=np.eye(2), classes=np.array(['a', 'b']))
    arrays.update(draw(some.dictionaries(some.sampled_from(keys), some.sampled_from(ODD_ARRAYS))))
    draw(some.sampled_from((np.savez, np.savez_compressed)))(buffer, **arrays)
    return buffer.getvalue()


def damage(reader, content):
    """Strategies of contents for the file of a reader."""
    ways = [damaged_bytes(content), some.binary(max_size=40)]
    name = reader.file
    if name.endswith(('.npy', '.npz')):
        return some.one_of(*ways, damaged_arrays(name))
    if name.endswith((SUFFIX, '.png')):
        return some.one_of(*ways)
    ways += [damaged_text(content)] * 2
    if name.endswith('.json') and name != 'scalars.json':
        ways += [damaged_json(content.decode())] * 3
    return some.one_of(*ways)


# ------------------------------------------------------------------------------------ the property


@pytest.fixture(scope='module', autouse=True)
def quiet():
    """No log, and no cache, which would be written at every example."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (coco, label_cache, list_files, voc):
            patch.setattr(module, 'print_log', lambda *_: None)
        patch.setattr(label_cache, '_write', lambda *_: None)
        patch.setattr(plot, 'print', lambda *_: None, raising=False)
        yield


@pytest.mark.filterwarnings('ignore')  # of Python about what it finds in a literal
@pytest.mark.parametrize('name', READERS)
@pytest.mark.parametrize('examples', [30, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_damaged_file_is_read_right_or_refused_by_name_in_one_line(tmp_path, examples, name):
    if 'safetensors' in name:
        pytest.importorskip('safetensors', reason="needs pip install -e '.[deploy]'")
    reader = READERS[name]
    reader.write(tmp_path)
    path = tmp_path / reader.file
    whole = path.read_bytes()
    first = reader.read(tmp_path)
    assert reader.oracle is None or first == reader.oracle(tmp_path)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(damage(reader, whole))
    def check(content):
        path.write_bytes(content)
        read_or_refuse(reader, tmp_path)

    check()


def read_or_refuse(reader, folder):
    """Whether a file is read; its content is right then, and else it is refused as it should be."""
    try:
        found = reader.read(folder)
    except (ValueError, OSError) as error:
        text = str(error)
        assert reader.file in text and len(text.splitlines()) == 1 and len(text) < 2000, text
        return False
    assert reader.oracle is None or found == reader.oracle(folder)
    return True


@pytest.mark.parametrize(
    'name, place, value',
    [
        ('masks of COCO', ['annotations', 0, 'segmentation'], ['x' * 5000]),
        ('measures of maps', ['pairs', 'image'], [[], 1]),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name_in_one_line(tmp_path, name, place, value):
    reader = READERS[name]
    reader.write(tmp_path)
    content = json.loads((tmp_path / reader.file).read_text())
    functools.reduce(operator.getitem, place[:-1], content)[place[-1]] = value
    (tmp_path / reader.file).write_text(json.dumps(content))
    assert not read_or_refuse(reader, tmp_path)


# ------------------------------------------------------------------------------- what all share

READS = dict(
    bytes=files.read_bytes,
    text=files.read_text,
    lines=files.read_lines,
    json=files.read_json,
    csv=lambda path: list(files.read_csv(path)),
    xml=files.read_xml,
    array=files.map_array,
    checkpoint=read_checkpoint,
    predictions=read_predictions,
    tta=read_tta,
    thresholds=read_thresholds,
    vectors=lambda path: read_vectors(path, ['cat']),
)


@pytest.mark.parametrize('read', READS.values(), ids=READS)
def test_only_regular_files_are_read(tmp_path, read):
    pipe, folder, missing = (tmp_path / f'{name}.json' for name in ('pipe', 'folder', 'missing'))
    os.mkfifo(pipe)  # opening it would wait for a writer for ever
    folder.mkdir()
    for path in (pipe, folder):
        with pytest.raises(ValueError, match=f'{path.name}: not a regular file'):
            read(path)
    with pytest.raises(FileNotFoundError, match='missing.json') as error:
        read(missing)
    assert error.value.filename == str(missing)  # which tools name


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"a": 1, "b": {"c": 2, "c": 2}}', "'c' occurs twice in one object"),
        ('[' * 100_000, 'JSON that is nested too deep'),
        ('[' + '9' * 5000 + ']', r'not JSON \(Exceeds the limit'),
        ('{"a": 1', r'not JSON \(.*line 1 column 8'),
        ('', r'not JSON \('),
    ],
    ids=lambda text: text[:30],
)
def test_json_from_which_something_would_be_lost_is_refused(tmp_path, text, message):
    path = tmp_path / 'x.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=f'x.json: {message}'):
        files.read_json(path)


def test_a_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    path = tmp_path / 'x.csv'
    path.write_bytes('\ufeffname\ncafé\n'.encode())
    assert list(files.read_csv(path)) == [(1, ['name']), (2, ['café'])]
    path.write_bytes('name\ncafé\n'.encode('latin-1'))
    with pytest.raises(ValueError, match='x.csv, line 2: not UTF-8'):
        list(files.read_csv(path))


def test_cells_keep_their_line_breaks_and_an_open_quote_is_refused(tmp_path):
    path = tmp_path / 'x.csv'
    path.write_bytes(b'a,"b\r\nc"\r\n\r\nd,e\n')
    assert list(files.read_csv(path)) == [(2, ['a', 'b\r\nc']), (4, ['d', 'e'])]
    path.write_bytes(b'a,b\nc,"d\n')
    with pytest.raises(ValueError, match='x.csv, line 2: unexpected end of data'):
        list(files.read_csv(path))


def test_metadata_of_an_exported_model_that_are_no_json_are_refused(monkeypatch):
    monkeypatch.setattr(verify_export, 'describe_input', lambda *_: dict(size=(4, 4)))
    inferencer = SimpleNamespace(classes=['cat'], config=None)
    found = dict(classes='["cat"]', preprocessing='{"size": [4, 4]}')
    assert verify_export.check_metadata(found, inferencer, None) == (4, 4)
    for text, message in (('["cat"', 'not JSON'), ('[' * 100_000, 'nested too deep')):
        with pytest.raises(ValueError, match=f'the classes in the file: .*{message}'):
            verify_export.check_metadata(dict(classes=text), inferencer, None)
