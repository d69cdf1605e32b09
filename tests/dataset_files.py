"""Small data sets in their published forms, and files of photos."""

import json
from pathlib import Path

import cv2
import numpy as np

from mlic.datasets.nus_wide import NUSWIDE

COCO_CLASSES = dict(classes=('person', 'dog', 'zebra'))
COCO_IDS = (24, 'zebra'), (1, 'person'), (18, 'dog')
CONCEPTS = NUSWIDE.METAINFO['classes']
NUS_NAMES = ('actor\\0002_17.jpg', 'zoos\\0005_26.jpg', 'zoos\\0596_39.jpg')
NUS_LABELS = ([13, 55, 80], [], [0])  # of NUS_NAMES: clouds, sky, zebra; none; airport
ZEBRA = 'Groundtruth/TrainTestLabels/Labels_zebra_Train.txt'
VOC_OBJECTS = {
    '000001': [('car', '0'), ('person', '1'), ('car', '0')],
    '000002': [('dog', '1')],  # no other than a difficult one
}


def coco_content():
    """Ids with gaps, categories out of order, a crowd, a class twice, an unlabelled image."""
    return dict(
        images=[
            dict(id=30, file_name='c.jpg', height=4, width=4),
            dict(id=7, file_name='a.jpg', height=4, width=4),
            dict(id=12, file_name='b.jpg', height=4, width=4),
        ],
        categories=[dict(id=id, name=name) for id, name in COCO_IDS],
        annotations=[
            dict(id=5, image_id=30, category_id=24, iscrowd=0),
            dict(id=2, image_id=30, category_id=1, iscrowd=0),
            dict(id=9, image_id=30, category_id=24, iscrowd=0),
            dict(id=4, image_id=7, category_id=18, iscrowd=1),
        ],
    )


def write_image(path, size=(30, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))


def write_coco(root, content):
    (root / 'annotations').mkdir()
    for name in 'abc':
        write_image(root / 'train2014' / f'{name}.jpg', (4, 4))
    (root / 'annotations' / 'instances.json').write_text(json.dumps(content))
    return dict(data_root=str(root), ann_file='annotations/instances.json', metainfo=COCO_CLASSES)


def write_lines(path, lines, newline='\n', last=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((newline.join(lines) + newline * last).encode())


def write_nus(root, newline='\n', last=True):
    """The same three images, train and test, in all three forms."""
    for name in NUS_NAMES:
        write_image(root / 'Flickr' / name.replace('\\', '/'))
    rows = ['filepath,label,split']
    for split in ('Train', 'Test'):
        write_lines(root / 'ImageList' / f'{split}Imagelist.txt', NUS_NAMES, newline, last)
        matrix = [[str(int(i in labels)) for i in range(81)] for labels in NUS_LABELS]
        lines = [' '.join(row) + ' ' for row in matrix]  # the real rows end in a blank
        write_lines(root / 'ImageList' / f'Labels_{split}.txt', lines, newline, last)
        for i, concept in enumerate(CONCEPTS):
            path = root / 'Groundtruth/TrainTestLabels' / f'Labels_{concept}_{split}.txt'
            write_lines(path, [row[i] for row in matrix], newline, last)
        for name, labels in zip(NUS_NAMES, NUS_LABELS):
            concepts = [CONCEPTS[i] for i in reversed(labels)]
            csv_split = 'train' if split == 'Train' else 'val'
            rows.append(f'{name.replace(chr(92), "/")},"{concepts}",{csv_split}')
    write_lines(root / 'nus_wid_data.csv', rows, newline, last)
    return dict(data_root=str(root))


def write_vg(root, labels=None, newline='\n', last=True):
    for name in ('11.jpg', '7.jpg', '5.jpg'):
        write_image(root / 'VG_100K' / name)
    write_lines(root / 'train_list_500.txt', ['11.jpg', '7.jpg'], newline, last)
    write_lines(root / 'test_list_500.txt', ['5.jpg'], newline, last)
    content = {'5.jpg': [499, 0, 499], '7.jpg': [], '11.jpg': [3], **(labels or {})}
    (root / 'vg_category_500_labels_index.json').write_text(json.dumps(content))
    return dict(data_root=str(root))


def write_objects(root, name, objects):
    """An XML file; None for 'difficult' stands for no tag."""
    tags = ''.join(
        f'<object><name>{label}</name>'
        + ('' if difficult is None else f'<difficult>{difficult}</difficult>')
        + '<part><name>head</name></part></object>\n'
        for label, difficult in objects
    )
    path = root / 'Annotations' / f'{name}.xml'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<annotation>\n{tags}</annotation>')


def write_voc(root, objects=VOC_OBJECTS):
    (root / 'Annotations').mkdir(parents=True)
    for name, items in objects.items():
        write_objects(root, name, items)
        write_image(root / 'JPEGImages' / f'{name}.jpg')
    for split in ('trainval', 'test'):
        write_lines(root / 'ImageSets/Main' / f'{split}.txt', objects)
    return dict(data_root=str(root))


def write_photos(*names):
    """Files of the folder photos; only their names matter."""
    for name in names:
        path = Path('photos', name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
