"""NUS-WIDE and VG500: small files in their published forms, and the real lists when present."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config
from mmpretrain.registry import DATASETS

from mlic.datasets import nus_wide
from mlic.datasets.nus_wide import NUSWIDE
from mlic.datasets.visual_genome import VG500
from tests.dataset_files import (
    CONCEPTS,
    NUS_LABELS,
    ZEBRA,
    write_image,
    write_lines,
    write_nus,
    write_vg,
)
from tests.helpers import DATA, ROOT, needs_data

LABEL_FILES = DATA / 'label_files'


def infos(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


# ---------------------------------------------------------------- NUSWIDE


def test_nus_has_the_published_classes():
    assert len(CONCEPTS) == len(set(CONCEPTS)) == 81
    assert list(CONCEPTS) == sorted(CONCEPTS)
    assert [CONCEPTS[i] for i in (0, 42, 80)] == ['airport', 'person', 'zebra']


@pytest.mark.parametrize('newline, last', [('\n', True), ('\n', False), ('\r\n', True)])
@pytest.mark.parametrize('split', ['train', 'test'])
@pytest.mark.parametrize('variant', nus_wide.VARIANTS)
def test_nus_variants_read_the_same_images(tmp_path, log, variant, split, newline, last):
    write_nus(tmp_path, newline, last)
    kwargs = dict(data_root=str(tmp_path), split=split, variant=variant)
    found = infos(NUSWIDE(**kwargs))
    assert [info['gt_label'] for info in found] == [[13, 55, 80], [0]]
    assert all(Path(info['img_path']).is_file() for info in found)
    assert f'3 images of NUS-WIDE ({variant}, {split}), 1 without a label dropped' in log[-1]
    assert log[-1].endswith('0 listed again, 2 used')
    found = infos(NUSWIDE(labelled_only=False, **kwargs))
    assert [info['gt_label'] for info in found] == list(NUS_LABELS)
    assert '1 without a label kept' in log[-1]


MATRIX, CSV = 'ImageList/Labels_Train.txt', 'nus_wid_data.csv'
VARIANTS = {ZEBRA: 'official', MATRIX: 'matrix', CSV: 'csv'}  # by their files
HEADER = 'filepath,label,split'
SKY = 'a,"[\'sky\']",'


@pytest.mark.parametrize(
    'file, lines, message',
    [
        (ZEBRA, ['0', '1'], r'zebra_Train.txt: found 2 lines, expected 3, .*TrainImage'),
        (ZEBRA, ['0', '2', '0'], r"zebra_Train.txt, line 2: '2' is not 0 or 1"),
        (ZEBRA, ['0', '', '0'], r'zebra_Train.txt, line 2 of 3: is empty'),
        (MATRIX, ['0 ' * 81] * 4, r'Labels_Train.txt: found 4 lines, expected 3'),
        (MATRIX, ['0 ' * 81, '0 1', '0'], r'Train.txt, line 2: found 2 columns, .* 81'),
        (MATRIX, ['0 ' * 81, '-1 ' * 81, '0'], r"Train.txt, line 2: '-1' is not 0 or 1"),
        (MATRIX, ['0 ' * 81] * 3, r'found 0 labelled images among 3'),
        (MATRIX, [], r'Labels_Train.txt: found 0 lines, expected at least 1'),
        (CSV, ['name,label', 'a,b'], r"\['name', 'label'\] lack \('filepath'"),
        (CSV, [HEADER, SKY + 'dev'], r"line 2: split 'dev' is not one"),
        (CSV, [HEADER, SKY[:-1]], 'line 2: found 2 columns, expected 3'),
        (CSV, [HEADER, SKY + 'val'], r"0 rows of the split 'train'"),
        (
            CSV,
            [HEADER, SKY + 'train', "b,\"['sky', 'moose']\",train"],
            r"csv, line 3: 1 of 2 concepts are not among the 81 classes, such as 'moose'",
        ),
        (
            CSV,
            [HEADER, "a,__import__('os').getcwd(),train"],
            r'csv, line 2: .* is not a list of names',
        ),
        (CSV, [HEADER, 'a,sky,train'], r"line 2: 'sky' is not a list of names"),
        (CSV, [HEADER, "a,[['sky']],train"], r"line 2: \"\[\['sky'\]\]\" is not a list of names"),
        (CSV, [HEADER, 'a,' + '(' * 9000 + ',train'], r"line 2: '\(+\.\.\.\(+' is not a list of"),
        (CSV, [HEADER, 'a,' + '-' * 9000 + '1,train'], r"line 2: '-+\.\.\.-+1' is not a list of"),
        (CSV, [HEADER, SKY.replace('a', 'a\0') + 'train'], 'NUL|not the name of an image'),
        (CSV, [HEADER, f'a,{"x" * 140_000},train'], r'line 2: field larger than field limit'),
        (
            CSV,
            [HEADER, SKY.replace('a,', '../a.jpg,') + 'train'],
            r'\.\./a.jpg.* is not in .*Flickr',
        ),
    ],
)
def test_nus_names_file_line_and_count(tmp_path, file, lines, message):
    write_nus(tmp_path)
    write_lines(tmp_path / file, lines)
    with pytest.raises(ValueError, match=message):
        NUSWIDE(data_root=str(tmp_path), variant=VARIANTS[file])


def test_nus_names_what_is_missing(tmp_path):
    root = str(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'TrainImagelist.txt not found; docs/datasets.md'):
        NUSWIDE(data_root=root)
    with pytest.raises(FileNotFoundError, match=r'nus_wid_data.csv not found'):
        NUSWIDE(data_root=root, variant='csv')
    write_nus(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'images not found; docs/datasets.md'):
        NUSWIDE(data_root=root, data_prefix='images')
    with pytest.raises(FileNotFoundError, match=r'0002_17.jpg not found: is .* of the 2 images of'):
        NUSWIDE(data_root=root, data_prefix='ImageList')
    (tmp_path / ZEBRA).unlink()
    with pytest.raises(
        FileNotFoundError, match=r'1 of the 81 files of .* not found, such as Labels_z'
    ):
        NUSWIDE(data_root=root)
    (tmp_path / MATRIX).unlink()
    with pytest.raises(FileNotFoundError, match=r'Labels_Train.txt not found'):
        NUSWIDE(data_root=root, variant='matrix')


def test_nus_names_wrong_arguments():
    with pytest.raises(ValueError, match=r"variant must be one of .*, but got 'asl'"):
        NUSWIDE(variant='asl')
    with pytest.raises(ValueError, match=r"split must be one of .*, but got 'val'"):
        NUSWIDE(split='val')


# ---------------------------------------------------------------- VG500


@pytest.mark.parametrize('newline, last', [('\n', True), ('\n', False), ('\r\n', True)])
def test_vg_labels_are_sorted_unique_and_in_list_order(tmp_path, log, newline, last):
    kwargs = write_vg(tmp_path, newline=newline, last=last)
    train = infos(VG500(**kwargs))
    assert [Path(info['img_path']).name for info in train] == ['11.jpg', '7.jpg']
    assert [info['gt_label'] for info in train] == [[3], []]
    assert '2 images of VG500 (train), 1 without a label kept, 0 listed again' in log[-1]
    test = VG500(split='test', **kwargs)
    assert test.get_cat_ids(0) == [0, 499]
    assert test.metainfo['classes'][7] == 'class_007'
    assert len(test.metainfo['classes']) == 500


def test_vg_takes_class_names_from_a_file(tmp_path):
    kwargs = write_vg(tmp_path)
    write_lines(tmp_path / 'names.txt', [f'thing {i}' for i in range(500)], '\r\n', last=False)
    assert VG500(names_file='names.txt', **kwargs).metainfo['classes'][499] == 'thing 499'
    write_lines(tmp_path / 'names.txt', ['thing'] * 499)
    with pytest.raises(ValueError, match=r'names.txt: found 499 names, expected 500'):
        VG500(names_file='names.txt', **kwargs)


@pytest.mark.parametrize(
    'labels, message',
    [
        ({'11.jpg': [3, 500]}, r"json: '11.jpg' has 1 of 2 indices outside 0\.\.499, such as 500"),
        ({'7.jpg': [-1]}, r"json: '7.jpg' has 1 of 1 indices outside 0\.\.499, such as -1"),
        ({'7.jpg': 'cat'}, r"json: '7.jpg' has 'cat', expected a list of indices"),
        ({'7.jpg': [1.0]}, r"json: '7.jpg' has \[1.0\], expected a list of indices"),
    ],
)
def test_vg_names_the_image_of_a_bad_label(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        VG500(**write_vg(tmp_path, labels))


def test_vg_names_what_is_missing(tmp_path):
    kwargs = write_vg(tmp_path)
    write_lines(tmp_path / 'test_list_500.txt', ['5.jpg', '9.jpg', '8.jpg'])
    message = r"json: found no entry for 2 of the 3 images of .*test_list_500.txt, such as '9.jpg'"
    with pytest.raises(ValueError, match=message):
        VG500(split='test', **kwargs)
    with pytest.raises(FileNotFoundError, match=r'11.jpg not found: is .* the 2 images of .*train'):
        VG500(data_prefix='', **kwargs)
    with pytest.raises(ValueError, match=r"split must be one of .*, but got 'val'"):
        VG500(split='val', **kwargs)
    labels = tmp_path / 'vg_category_500_labels_index.json'
    for text, message in (('{"5.jpg": [', 'json: not JSON'), ('[1]', 'json: a list, expected')):
        labels.write_text(text)
        with pytest.raises(ValueError, match=message):
            VG500(**kwargs)
    labels.unlink()
    with pytest.raises(FileNotFoundError, match=r'index.json not found; docs/datasets.md'):
        VG500(**kwargs)
    (tmp_path / 'train_list_500.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'train_list_500.txt not found'):
        VG500(**kwargs)


# ---------------------------------------------------------------- configs


@pytest.mark.parametrize(
    'name, write, labels',
    [('nus448', write_nus, [[13, 55, 80]] * 2), ('vg576', write_vg, [[3], [0, 499]])],
)
def test_configs_build_items(tmp_path, name, write, labels):
    write(tmp_path)
    cfg = Config.fromfile(str(ROOT / f'configs/_base_/datasets/{name}.py'))
    for loader, expected in zip((cfg.train_dataloader, cfg.test_dataloader), labels):
        item = DATASETS.build({**loader.dataset, 'data_root': str(tmp_path)})[0]
        assert item['inputs'].shape == (3, int(name[-3:]), int(name[-3:]))
        assert item['data_samples'].gt_label.tolist() == expected


@pytest.mark.parametrize(
    'name, num_classes', [('voc448', 20), ('voc12-448', 20), ('nus448', 81), ('vg576', 500)]
)
def test_both_stages_have_the_classes_of_the_data_set_and_the_published_scale(name, num_classes):
    sadcl, sarl = (
        Config.fromfile(str(ROOT / f'configs/sadcl/{method}_r101_{name}.py'))
        for method in ('sadcl', 'sarl')
    )
    coco = Config.fromfile(str(ROOT / 'configs/sadcl/sadcl_r101_coco448.py'))
    first = dict(type='StopGradAsymmetricLoss', mean_over_classes=True, loss_weight=1000.0)
    first['gamma_neg'] = 4.0
    for cfg in (sadcl, sarl):
        assert cfg.model.head.loss_cls == first
        assert cfg.model.neck.num_classes == cfg.model.head.num_classes == num_classes
        assert cfg.data_preprocessor.num_classes == num_classes
        assert cfg.data_preprocessor.mean == coco.data_preprocessor.mean
        assert cfg.train_dataloader.dataset.pipeline == cfg.stage1_pipeline
        assert cfg.val_evaluator.protocols == ['standard', 'sadcl']
    assert sarl.model.head.loss_sscl is None and sarl.model.head.loss_pscl is None
    assert sadcl.model.head.loss_sscl == coco.model.head.loss_sscl
    assert sadcl.model.head.loss_pscl == coco.model.head.loss_pscl
    (switch,) = [hook for hook in sadcl.custom_hooks if hook.type == 'SwitchRecipeHook']
    (second,) = switch.schedule
    del first['gamma_neg']
    assert second == dict(action_epoch=81, train_pipeline=sadcl.train_pipeline, loss=first)


# ---------------------------------------------------------------- the real lists


@needs_data('label_files/nuswide')
def test_nus_reads_the_real_test_list(tmp_path, log):
    source = LABEL_FILES / 'nuswide' / 'TestImagelist.txt'
    write_image(tmp_path / 'actor' / '0002_174174086.jpg')
    # image i has class i % 82, where 81 stands for no label
    rows = [' '.join(str(int(i == label)) for i in range(81)) for label in range(82)]
    (tmp_path / source.name).write_bytes(source.read_bytes())
    write_lines(tmp_path / 'Labels_Test.txt', [rows[i % 82] for i in range(107859)])
    kwargs = dict(data_root=str(tmp_path), data_prefix='', ann_file=source.name, split='test')
    dataset = NUSWIDE(variant='matrix', labelled_only=False, **kwargs)
    assert len(dataset) == 107859
    for i in (0, 80, 81, 82, 107858):
        assert dataset.get_cat_ids(i) == ([i % 82] if i % 82 < 81 else [])
    assert dataset.get_data_info(107858)['img_path'].endswith('/zoos/0598_144768190.jpg')
    assert ', 0 listed again' in log[-1]
    names = (LABEL_FILES / 'names_and_embeddings' / 'nuswide.label.txt').read_text().split()
    assert tuple(names) == CONCEPTS


@needs_data('label_files/vg500')
def test_vg_reads_the_real_lists(tmp_path, log):
    content = {}
    for split in ('train', 'test'):
        source = LABEL_FILES / 'vg500' / f'{split}_list_500.txt'
        (tmp_path / source.name).write_bytes(source.read_bytes())
        names = source.read_text().split()
        write_image(tmp_path / 'VG_100K' / names[0])
        content.update({name: [i % 500] for i, name in enumerate(names)})
    (tmp_path / 'vg_category_500_labels_index.json').write_text(json.dumps(content))
    for split, size in (('train', 82904), ('test', 10000)):
        dataset = VG500(data_root=str(tmp_path), split=split)
        assert len(dataset) == size
        assert dataset.get_cat_ids(size - 1) == [(size - 1) % 500]
        assert ', 0 listed again' in log[-1]
