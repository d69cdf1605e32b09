"""Pascal VOC: difficult objects, faults that are named, and the real subset when present."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmpretrain.datasets import VOC
from mmpretrain.registry import DATASETS

from mlic.datasets.voc import VOCMultiLabel
from tests.dataset_files import VOC_OBJECTS, write_image, write_objects, write_voc
from tests.helpers import DATA, ROOT, needs_data

VOC2007 = 'voc2007_subset/VOCdevkit/VOC2007'
OFFICIAL = 'label_files/voc2007/ImageSets_Main_official'

CAR, DOG, PERSON = 6, 11, 14


def labels(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(info['gt_label'], info['gt_label_difficult']) for info in infos]


def test_voc_separates_difficult_labels(tmp_path, log):
    kwargs = write_voc(
        tmp_path,
        {
            **VOC_OBJECTS,
            '000003': [('person', '1'), ('person', '0'), ('car', '1')],  # one person is easy
            '000004': [],
        },
    )
    dataset = VOCMultiLabel(**kwargs)
    assert labels(dataset) == [([CAR], [PERSON]), ([], [DOG]), ([PERSON], [CAR]), ([], [])]
    assert Path(dataset.get_data_info(3)['img_path']) == tmp_path / 'JPEGImages/000004.jpg'
    assert log[-1] == (
        f'{tmp_path}/ImageSets/Main/trainval.txt: 4 images of VOC, 2 without a label kept, '
        '0 listed again, 0 objects of other classes left out'
    )


@pytest.mark.parametrize('difficult', [None, '', ' ', '0', ' 0\n'])
def test_voc_objects_are_not_difficult_without_the_tag(tmp_path, log, difficult):
    dataset = VOCMultiLabel(**write_voc(tmp_path, {'7': [('car', difficult), ('dog', ' 1 ')]}))
    assert labels(dataset) == [([CAR], [DOG])]


@pytest.mark.parametrize(
    'text',
    ['000002 \n000001', '000002\r\n000001\r\n', '000002\n000001\n\n', '\ufeff000002\n000001'],
)
def test_voc_lists_may_end_and_break_as_they_like(tmp_path, log, text):
    kwargs = write_voc(tmp_path)
    (tmp_path / 'ImageSets/Main/trainval.txt').write_bytes(text.encode())
    assert labels(VOCMultiLabel(**kwargs)) == [([], [DOG]), ([CAR], [PERSON])]


def test_voc_warns_of_images_that_are_listed_twice(tmp_path, log):
    kwargs = write_voc(tmp_path)
    (tmp_path / 'ImageSets/Main/trainval.txt').write_text('000001\n000002\n000001')
    assert len(VOCMultiLabel(**kwargs)) == 3
    assert log[-1].startswith('WARNING: ') and ', 1 listed again' in log[-1]


def test_voc_counts_the_objects_that_own_classes_leave_out(tmp_path, log):
    kwargs = write_voc(tmp_path)
    dataset = VOCMultiLabel(metainfo=dict(classes=('person', 'cat')), **kwargs)
    assert labels(dataset) == [([], [0]), ([], [])]
    assert log[-1].endswith(', 3 objects of other classes left out')


@pytest.mark.parametrize(
    'objects, message',
    [
        (
            [('car', '0'), ('cat ', '0'), ('Car', '0')],
            r"Annotations/000002.xml: 1 of 3 objects are not of the 20 .*, such as 'Car'; own clas",
        ),
        ([('car', '-1')], r"000002.xml: object 1 \(car\) has difficult '-1', expected 0 or 1"),
        ([('car', '0'), ('dog', 'yes')], r"000002.xml: object 2 \(dog\) has difficult 'yes'"),
        ([('car', '0'), (' ', '0')], r'000002.xml: object 2 has no name'),
    ],
)
def test_voc_names_the_file_and_the_value_of_a_bad_object(tmp_path, objects, message):
    kwargs = write_voc(tmp_path)
    write_objects(tmp_path, '000002', objects)
    with pytest.raises(ValueError, match=message):
        VOCMultiLabel(**kwargs)


def test_voc_names_what_is_missing(tmp_path):
    kwargs = write_voc(tmp_path)
    xml = tmp_path / 'Annotations/000002.xml'
    xml.write_text(xml.read_text()[:-5])
    with pytest.raises(ValueError, match=r'000002.xml: not complete XML \(.* line 3, column'):
        VOCMultiLabel(**kwargs)
    xml.unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r'Annotations: 1 of the 2 files of .*trainval.txt not found, such as 000002.xml',
    ):
        VOCMultiLabel(**kwargs)
    write_objects(tmp_path, '000002', [])
    (tmp_path / 'JPEGImages/000001.jpg').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'JPEGImages: 1 of the 2 files of .*, such as 000001.jpg'
    ):
        VOCMultiLabel(**kwargs)
    with pytest.raises(FileNotFoundError, match=r'images not found; docs/datasets.md'):
        VOCMultiLabel(data_prefix=dict(img_path='images', ann_path='Annotations'), **kwargs)
    with pytest.raises(FileNotFoundError, match=r'Main/val.txt not found; docs/datasets.md'):
        VOCMultiLabel(split='val', **kwargs)
    with pytest.raises(ValueError, match=r'test.txt: data_prefix needs ann_path'):
        VOCMultiLabel(split='test', data_prefix='JPEGImages', test_mode=True, **kwargs)
    (tmp_path / 'ImageSets/Main/trainval.txt').write_text('\n')
    with pytest.raises(ValueError, match=r'trainval.txt: found 0 lines'):
        VOCMultiLabel(**kwargs)


def paths(dataset):
    return [Path(item['img_path']).name for item in dataset.data_list]


def test_voc_finds_images_of_any_kind_and_by_the_name_in_the_xml_file(tmp_path, log):
    kwargs = write_voc(tmp_path, {**VOC_OBJECTS, '000003': []})
    kwargs['serialize_data'] = False
    folder = tmp_path / 'JPEGImages'
    (folder / '000001.jpg').rename(folder / '000001.PNG')
    (folder / '000003.jpg').rename(folder / 'photo 3.webp')
    xml = '<annotation><filename>C:\\pictures\\{}</filename></annotation>'
    (tmp_path / 'Annotations/000003.xml').write_text(xml.format('photo 3.webp'))
    for _ in range(2):  # parsed, and from the cache
        assert paths(VOCMultiLabel(**kwargs)) == ['000001.PNG', '000002.jpg', 'photo 3.webp']
    write_image(folder / '000003.png')
    write_image(folder / '000003.jpg')
    with pytest.raises(ValueError, match=r'000003.xml: .* must name one of 000003.jpg, 000003.png'):
        VOCMultiLabel(**kwargs)
    (tmp_path / 'Annotations/000003.xml').write_text(xml.format('000003.png'))
    assert paths(VOCMultiLabel(**kwargs))[2] == '000003.png'


def test_voc_reads_folders_in_its_folders_and_notices_when_they_change(tmp_path, log):
    kwargs = write_voc(tmp_path, {'x/000001': [('car', '0')], 'y/000001': [('dog', '0')]})
    kwargs['serialize_data'] = False
    path = tmp_path / 'ImageSets/Main/trainval.txt'
    for text in ('x/000001\ny/000001\n', 'x\\000001\ny\\000001.jpg\n'):
        path.write_text(text)
        dataset = VOCMultiLabel(**kwargs)
        assert labels(dataset) == [([CAR], []), ([DOG], [])]
        assert [Path(x['img_path']).parent.name for x in dataset.data_list] == ['x', 'y']
    write_objects(tmp_path, 'y/000001', [('person', '0')])
    assert labels(VOCMultiLabel(**kwargs))[1] == ([PERSON], [])
    path.write_text('../000001\n')
    with pytest.raises(FileNotFoundError, match='such as ../000001.xml'):
        VOCMultiLabel(**kwargs)


def test_voc_gives_no_image_the_labels_of_two(tmp_path, log):
    kwargs = write_voc(tmp_path)
    (tmp_path / 'JPEGImages/000001.jpg').unlink()
    xml = tmp_path / 'Annotations/000001.xml'
    xml.write_text('<annotation><filename>000002.jpg</filename></annotation>')
    with pytest.raises(ValueError, match='000001.xml and 000002.xml are both of 000002.jpg'):
        VOCMultiLabel(**kwargs)


def test_voc_leaves_out_no_object_for_its_spelling(tmp_path, log):
    kwargs = write_voc(tmp_path)
    with pytest.raises(
        ValueError, match="000001.xml: 'car' is not a class, but looks like .* 'Car'"
    ):
        VOCMultiLabel(metainfo=dict(classes=('Car', 'dog')), **kwargs)


def test_voc_reads_the_lists_of_a_class(tmp_path, log):
    kwargs = write_voc(tmp_path)
    expected = labels(VOCMultiLabel(**kwargs))
    path = tmp_path / 'ImageSets/Main/car_trainval.txt'
    path.write_text('000001  1\n000002 -1\n')
    kwargs['image_set_path'] = 'ImageSets/Main/car_trainval.txt'
    assert labels(VOCMultiLabel(**kwargs)) == expected
    path.write_text('000001  1\n000002\n')
    with pytest.raises(FileNotFoundError, match=r'such as 000001  1.xml'):
        VOCMultiLabel(**kwargs)


def test_voc_takes_no_number_in_a_name_for_the_flag_of_a_class(tmp_path, log):
    dataset = VOCMultiLabel(**write_voc(tmp_path, {'img 1': [('car', '0')], 'img 0': []}))
    assert labels(dataset) == [([CAR], []), ([], [])]


@pytest.mark.parametrize(
    'content, message',
    [
        (b'<annotation><object/></annotation>', 'object 1 has no name'),
        (b'<annotation><Object><name>cat</name></Object></annotation>', '1 object would be missed'),
        (b'<annotation><a><object/><object/></a></annotation>', '2 objects would be missed, in an'),
        (
            b'<annotation><object><name>cat</name><name>dog</name></object></annotation>',
            'object 1 has more than one name',
        ),
        (b'<html><object><name>car</name></object></html>', 'begins with <html>, expected <ann'),
        (b'<?xml version="1.0" encoding="nope"?><annotation/>', 'not complete XML .*encoding'),
        (b'<?xml version="1.0" encoding="gb2312"?><annotation/>', 'not complete XML .*encoding'),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation><object><name>&x;'
         b'</name></object></annotation>', 'not complete XML .*undefined entity'),
    ],
)  # fmt: skip
def test_voc_refuses_xml_that_is_no_annotation_or_leads_elsewhere(tmp_path, content, message):
    kwargs = write_voc(tmp_path)
    (tmp_path / 'Annotations/000002.xml').write_bytes(content)
    with pytest.raises(ValueError, match=f'000002.xml: {message}'):
        VOCMultiLabel(**kwargs)


@pytest.mark.parametrize('name', ['voc224', 'voc448', 'voc12_448'])
def test_voc_configs_name_their_splits_and_pack_difficult_labels(tmp_path, log, name):
    write_voc(tmp_path)
    cfg = Config.fromfile(str(ROOT / f'configs/_base_/datasets/{name}.py'))
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    year = 2012 if '12' in name else 2007
    assert (train.data_root, train.split) == (f'data/VOCdevkit/VOC{year}/', 'trainval')
    assert (test.data_root, test.split) == ('data/VOCdevkit/VOC2007/', 'test')
    assert cfg.val_dataloader == cfg.test_dataloader
    assert 'ann_file' not in train and 'ann_file' not in test
    test = DATASETS.build({**cfg.test_dataloader.dataset, 'data_root': str(tmp_path)})
    assert isinstance(test, VOCMultiLabel)
    samples = [test[i]['data_samples'] for i in range(2)]
    assert [sample.gt_label.tolist() for sample in samples] == [[CAR], []]
    assert [sample.gt_label_difficult for sample in samples] == [[PERSON], [DOG]]
    assert 'gt_label_difficult' in samples[0].metainfo_keys()
    train = DATASETS.build({**cfg.train_dataloader.dataset, 'data_root': str(tmp_path)})
    assert [train[i]['data_samples'].gt_label.tolist() for i in range(2)] == [[CAR], []]


# ---------------------------------------------------------------- the real files


@needs_data(VOC2007)
def test_voc_config_reads_the_real_subset_as_mmpretrain_does(log):
    cfg = Config.fromfile(str(ROOT / 'configs/_base_/datasets/voc224.py'))
    sizes = []
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        dataset = DATASETS.build({**loader.dataset, 'data_root': str(DATA / VOC2007)})
        theirs = labels(VOC(data_root=str(DATA / VOC2007), split=loader.dataset.split))
        assert labels(dataset) == [
            (sorted(easy), sorted(set(difficult) - set(easy))) for easy, difficult in theirs
        ]
        sizes.append(len(dataset))
    assert sizes == [935, 954]
    idx = next(i for i, (_, difficult) in enumerate(labels(dataset)) if difficult)
    item = dataset[idx]
    assert item['inputs'].shape == (3, 224, 224)
    assert item['data_samples'].gt_label_difficult == labels(dataset)[idx][1]


def official_rows(split):
    """Rows of -1, 0 (difficult) and 1 of the 20 official lists, by image name."""
    rows = {}
    for name in VOCMultiLabel.METAINFO['classes']:
        for line in (DATA / OFFICIAL / f'{name}_{split}.txt').read_text().splitlines():
            image, value = line.split()
            rows.setdefault(image, []).append(int(value))
    return rows


@needs_data(OFFICIAL)
@pytest.mark.parametrize('split, size', [('trainval', 5011), ('test', 4952)])
def test_voc_reads_the_official_lists(tmp_path, log, split, size):
    rows = official_rows(split)
    classes = VOCMultiLabel.METAINFO['classes']
    source = DATA / OFFICIAL / f'{split}.txt'
    names = source.read_text().split()
    assert len(names) == len(rows) == size
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / f'ImageSets/Main/{split}.txt').write_bytes(source.read_bytes())
    for name in names:
        found = [(classes[i], str(int(v == 0))) for i, v in enumerate(rows[name]) if v >= 0]
        write_objects(tmp_path, name, found)
        (tmp_path / 'JPEGImages' / f'{name}.jpg').touch()
    dataset = VOCMultiLabel(data_root=str(tmp_path), split=split)
    assert len(dataset) == size
    for name, (easy, difficult) in zip(names, labels(dataset)):
        expected = [-1] * 20
        for label in easy:
            expected[label] = 1
        for label in difficult:
            expected[label] = 0
        assert expected == rows[name]
