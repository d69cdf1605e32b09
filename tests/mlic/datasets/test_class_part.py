"""A part of the classes of a data set."""

import numpy as np
import pytest
from mmpretrain.registry import DATASETS

import mlic  # noqa: F401
from mlic.class_info import ClassInfo
from mlic.cli.class_parts import divide, similarities
from tests.helpers import call_tool

SCENES = dict(num_images=12, image_size=32)


def part_of(tmp_path, names, **settings):
    (tmp_path / 'part.txt').write_text('\n'.join(names) + '\n')
    settings = dict(part=str(tmp_path / 'part.txt'), **SCENES, **settings)
    return DATASETS.build(dict(type='ClassPart', of='DigitScenes', **settings))


def whole(**settings):
    return DATASETS.build(dict(type='DigitScenes', pipeline=(), **SCENES, **settings))


def test_labels_of_a_part_are_numbered_anew_and_all_images_stay(tmp_path):
    data = whole()
    names = [data.CLASSES[label] for label in (7, 2, 5)]
    part = part_of(tmp_path, names)
    assert len(part) == len(data)
    assert part.CLASSES == part.metainfo['classes'] == tuple(names)
    for index in range(len(data)):
        labels = set(data.get_data_info(index)['gt_label'])
        expected = [place for place, label in enumerate((7, 2, 5)) if label in labels]
        assert part.get_data_info(index)['gt_label'] == expected
        assert part[index]['gt_label'] == expected
    assert any(not part.get_data_info(index)['gt_label'] for index in range(len(data)))


def test_unknown_labels_stay_unknown(tmp_path):
    part = part_of(tmp_path, [whole().CLASSES[label] for label in (7, 2)])
    info = dict(gt_label=[2, 3], gt_label_unknown=[7, 8])
    assert part._hide(info, 0) == dict(gt_label=[1], gt_label_unknown=[0])


@pytest.mark.parametrize(
    'names,message',
    [
        (['horse'], "names 'horse', and DigitScenes has 10 classes"),
        ([], 'found 0 class names, expected at least 1'),
        (['TWICE', 'TWICE'], 'part.txt has the class .* more than once'),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, names, message):
    names = [whole().CLASSES[0] if name == 'TWICE' else name for name in names]
    with pytest.raises(ValueError, match=message):
        part_of(tmp_path, names)


def test_similarities_equal_loops():
    together = np.array([[4, 1, 0], [1, 9, 0], [0, 0, 0]])  # the last class has no image
    found = similarities(together)
    for i in range(3):
        for j in range(3):
            shares = [
                (together[i, j] / together[k, k]) ** 0.5 if together[k, k] else 0 for k in (i, j)
            ]
            assert found['co'][i, j] == pytest.approx(sum(shares) / 2)
            assert found['dis'][i, j] == pytest.approx(1 - sum(shares) / 2)


def test_classes_that_occur_together_are_one_part_and_others_the_other():
    together = np.full((8, 8), 1)
    together[:4, :4] = together[4:, 4:] = 80
    np.fill_diagonal(together, 100)
    assert divide(similarities(together)['co'], 2, 0) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    rarely = 81 - together  # with each of the other half often
    np.fill_diagonal(rarely, 100)
    assert divide(similarities(rarely)['dis'], 2, 0) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_tool_writes_parts_and_how_they_are_trained(tmp_path, capsys):
    config = 'configs/sadcl/sadcl_efficientnet-lite0_digits128.py'
    tool, tmp_path = 'tools/dataset_tools/class_parts.py', tmp_path / 'new' / 'parts'
    said = call_tool(tool, config, '--parts', 10, '--out', tmp_path)
    assert said.endswith('has 10 classes: use fewer parts than classes')
    call_tool(tool, config, '--parts', 2, '--out', tmp_path)
    out = capsys.readouterr().out
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ['co-0.txt', 'co-1.txt', 'dis-0.txt', 'dis-1.txt']
    for kind in ('co', 'dis'):
        names = [(tmp_path / f'{kind}-{k}.txt').read_text().split('\n')[:-1] for k in (0, 1)]
        assert sorted(sum(names, [])) == sorted(whole().CLASSES)
    number = len((tmp_path / 'co-0.txt').read_text().splitlines())
    line = next(line for line in out.splitlines() if 'co-0.txt:' in line)
    for option in (
        'train_dataloader.dataset.type=ClassPart',
        'val_dataloader.dataset.of=DigitScenes',
        f'test_dataloader.dataset.part={tmp_path}/co-0.txt',
        f'model.head.num_classes={number}',
        f'data_preprocessor.num_classes={number}',
    ):
        assert option in line.split()


def test_counts_of_a_part_are_those_of_the_whole(tmp_path):
    data = whole()
    together, _ = ClassInfo(data, data.CLASSES).counts
    part = part_of(tmp_path, [data.CLASSES[label] for label in (7, 2, 5)])
    assert np.array_equal(
        ClassInfo(part, part.CLASSES).counts[0], together[np.ix_((7, 2, 5), (7, 2, 5))]
    )
