import csv

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from PIL import Image
from torch.testing import assert_close

from mlic.visualization.prototypes import cluster_order, cosine_matrix, draw_prototypes
from projects.sadcl.models.sadcl_head import SADCLHead
from tests.helpers import ROOT, Recorder, run_tool
from tests.tiny_runs import sarl_model, write_run

TOOL = ROOT / 'tools/analysis_tools/show_prototypes.py'
NAMES = ['cat', 'bus', 'dog', 'void', 'car']


def loop_cosines(vectors):
    """The matrix by a loop over pairs; NaN where a vector is zero."""
    rows = vectors.double().tolist()
    norms = [sum(value * value for value in row) ** 0.5 for row in rows]
    result = torch.full((len(rows), len(rows)), torch.nan, dtype=torch.float64)
    for i, first in enumerate(rows):
        for j, second in enumerate(rows):
            if norms[i] and norms[j]:
                dot = sum(a * b for a, b in zip(first, second))
                result[i, j] = dot / (norms[i] * norms[j])
    return result


def two_groups():
    """Prototypes (5, 4) of NAMES: animals and vehicles, numbered alternately, and a zero one."""
    return torch.tensor(
        [[3.0, 1, 0, 0], [0, 0, 1, 2], [1, 0.5, 0, 0], [0, 0, 0, 0], [0, 0.1, 1, 1]]
    )


def texts(labels):
    return [label.get_text() for label in labels]


# ---------------------------------------------------------------- the matrix


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize('seed', [0, 1])
def test_cosines_equal_a_loop(dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(6, 9, generator=generator).to(dtype)
    vectors[[1, 4]] = 0
    cosines = cosine_matrix(vectors)
    assert_close(cosines, loop_cosines(vectors), equal_nan=True)
    assert cosines.isnan().sum() == 36 - 16


def test_cosines_of_very_small_and_large_vectors():
    vectors = two_groups()
    scales = torch.tensor([1e-30, 1e30, 1, 1, 1e-38])[:, None]
    assert_close(cosine_matrix(vectors * scales), loop_cosines(vectors), equal_nan=True)


def test_vectors_that_have_no_cosines_are_refused():
    with pytest.raises(ValueError, match=r'must be \(C, D\), got \(3,\)'):
        cosine_matrix(torch.ones(3))
    with pytest.raises(ValueError, match='not finite'):
        cosine_matrix(torch.tensor([[1.0, torch.inf]]))


# ---------------------------------------------------------------- the order


def test_similar_classes_are_neighbours_and_zero_ones_last():
    order = cluster_order(cosine_matrix(two_groups()))
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert {frozenset(order[:2]), frozenset(order[2:4])} == {frozenset((0, 2)), frozenset((1, 4))}
    assert order[4] == 3


@pytest.mark.parametrize('num_classes', [1, 2, 3, 30])
@pytest.mark.parametrize('zero', [(), (0,)])
def test_order_is_a_permutation(num_classes, zero):
    vectors = torch.randn(num_classes, 5, generator=torch.Generator().manual_seed(0))
    vectors[list(zero)] = 0
    order = cluster_order(cosine_matrix(vectors))
    assert sorted(order) == list(range(num_classes))
    assert order[num_classes - len(zero) :] == list(zero)


def test_order_finds_a_shuffled_chain():
    """Vectors that turn step by step: the order is the chain, from either end."""
    angle = torch.arange(12) ** 1.1 * 0.1
    vectors = torch.stack([angle.cos(), angle.sin()], dim=1)
    shuffle = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    chain = shuffle[cluster_order(cosine_matrix(vectors[shuffle]))].tolist()
    assert chain in (list(range(12)), list(range(11, -1, -1)))


# ---------------------------------------------------------------- the drawing


def test_names_stay_with_their_rows():
    cosines = cosine_matrix(two_groups())
    order = [4, 2, 0, 3, 1]
    axes = draw_prototypes(cosines, NAMES, order).axes[0]
    expected = ['car', 'dog', 'cat', 'void', 'bus']
    assert texts(axes.get_xticklabels()) == texts(axes.get_yticklabels()) == expected
    drawn = axes.images[0].get_array()
    for row, first in enumerate(expected):
        for column, second in enumerate(expected):
            value = cosines[NAMES.index(first), NAMES.index(second)]
            assert bool(drawn.mask[row, column]) == bool(value.isnan())
            if not value.isnan():
                assert drawn[row, column] == value
    values = [cosines[i, j] for i in (0, 1, 2, 4) for j in (0, 1, 2, 4) if i != j]
    assert axes.get_title() == (
        'cosines of 5 prototypes, 1 of them zero; off the diagonal: '
        f'mean {sum(values) / 12:.3f}, max {max(values):.3f}'
    )


@pytest.mark.parametrize('num_classes, named', [(1, 1), (40, 40), (41, 21), (500, 39)])
def test_every_kth_name_and_nothing_is_clipped(num_classes, named):
    vectors = torch.randn(num_classes, 8, generator=torch.Generator().manual_seed(0))
    names = [f'W$\\frac$ {index} ' + 'wide ' * (index % 9) for index in range(num_classes)]
    figure = draw_prototypes(cosine_matrix(vectors), names)
    figure.canvas.draw()
    axes = figure.axes[0]
    assert len(axes.get_xticklabels()) == len(axes.get_yticklabels()) == named
    assert 850 < figure.bbox.width < 1400
    for group in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in group]
        assert not any(box.overlaps(after) for box, after in zip(boxes, boxes[1:]))
    page, ink = figure.bbox, figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert ink.x0 >= 0 and ink.y0 >= 0 and ink.x1 <= page.x1 and ink.y1 <= page.y1


@pytest.mark.parametrize(
    'vectors', [torch.zeros(3, 4), torch.eye(3), torch.ones(3, 4), -torch.eye(1)]
)
def test_matrices_without_contrast_are_drawn(vectors):
    cosines = cosine_matrix(vectors)
    figure = draw_prototypes(cosines, ['a', 'b', 'c'][: len(vectors)], cluster_order(cosines))
    figure.canvas.draw()
    low, high = figure.axes[0].images[0].get_clim()
    assert low < high


def test_sizes_that_do_not_fit_are_refused():
    cosines = cosine_matrix(two_groups())
    with pytest.raises(ValueError, match='5 prototypes, but 4 class names'):
        draw_prototypes(cosines, NAMES[:4])
    with pytest.raises(ValueError, match='a permutation of 5 classes'):
        draw_prototypes(cosines, NAMES, [0, 1, 2, 3, 3])
    with pytest.raises(ValueError, match='got 0'):
        draw_prototypes(torch.zeros(0, 0), [])


# ---------------------------------------------------------------- the tool


def read_table(path):
    """Names, and the numbers (C, C) with NaN for empty cells."""
    with path.open(newline='') as file:
        (corner, *names), *rows = csv.reader(file)
    assert corner == 'class' and [row[0] for row in rows] == names
    return names, torch.tensor(
        [[float(cell or 'nan') for cell in row[1:]] for row in rows]
    ).double()


@pytest.mark.parametrize('shape', [(5, 4), (1, 5, 4)])
def test_array_file(tmp_path, capsys, shape):
    source, out = tmp_path / 'some.npy', tmp_path / 'new' / 'picture.png'
    np.save(source, two_groups().numpy().reshape(shape))
    (tmp_path / 'names.txt').write_text('\n'.join(NAMES) + '\n')
    run_tool(TOOL, source, '--names', tmp_path / 'names.txt', '--out', out)
    lines = capsys.readouterr().out.splitlines()
    assert 'closest: cat and dog, 0.990' in lines and 'zero, left blank: void' in lines
    assert lines[-1] == f'picture: {out}'
    with Image.open(out) as picture:
        assert picture.format == 'PNG'
        assert len(np.unique(np.asarray(picture.convert('RGB')).reshape(-1, 3), axis=0)) > 100
    names, table = read_table(out.with_suffix('.csv'))
    order = [NAMES.index(name) for name in names]
    cosines = loop_cosines(two_groups())
    assert order == cluster_order(cosines)
    assert_close(table, cosines[order][:, order], rtol=0, atol=1e-6, equal_nan=True)


def test_of_thousands_of_classes_neighbours_are_not_turned_and_a_picture_is_refused(tmp_path):
    vectors = torch.randn(2500, 8, generator=torch.Generator().manual_seed(0))
    assert sorted(cluster_order(cosine_matrix(vectors))) == list(range(2500))
    np.save(tmp_path / 'many.npy', np.ones((4001, 2), 'float32'))
    with pytest.raises(
        SystemExit, match='4001 prototypes are too many for a picture, at most 4000'
    ):
        run_tool(TOOL, tmp_path / 'many.npy', '--out', tmp_path / 'many.png')


@pytest.fixture
def work_dir(tmp_path):
    """A work directory with one checkpoint as mmengine writes it, its log included."""
    torch.manual_seed(0)
    head = SADCLHead(5, 4, proj_channels=3, bank_slots=2)
    head.set_prototypes(two_groups())
    content = dict(
        meta=dict(dataset_meta=dict(classes=tuple(NAMES))),
        state_dict={f'head.{name}': value for name, value in head.state_dict().items()},
        message_hub=dict(log_scalars={'train/loss': HistoryBuffer([1.0, 2.0], [1, 1])}),
    )
    torch.save(content, tmp_path / 'best_mAP.pth')
    return tmp_path, head


@pytest.mark.parametrize('projected', [False, True])
def test_work_directory(work_dir, projected):
    path, head = work_dir
    options = ['--order', 'given', *['--projected'] * projected]
    run_tool(TOOL, path, '--out', path / 'p.png', *options)
    vectors = head.projector(head.prototypes) if projected else head.prototypes
    vectors = vectors.detach().clone()
    vectors[3] = 0
    names, table = read_table(path / 'p.csv')
    assert names == NAMES
    assert_close(table, loop_cosines(vectors), rtol=0, atol=1e-6, equal_nan=True)


def test_classes_without_names_are_numbered(tmp_path):
    np.save(tmp_path / 'some.npy', two_groups().numpy())
    out = tmp_path / 'p.png'
    run_tool(TOOL, tmp_path / 'some.npy', '--out', out, '--order', 'given')
    assert read_table(tmp_path / 'p.csv')[0] == ['0', '1', '2', '3', '4']


def test_a_published_file_is_told_where_its_prototypes_are(work_dir):
    path, _ = work_dir
    content = dict(state_dict={'head.fc.weight': torch.ones(5, 4)}, meta={})
    torch.save(content, path / 'published.pth')
    with pytest.raises(SystemExit, match='published files have none; give the checkpoint or'):
        run_tool(TOOL, path / 'published.pth', '--out', path / 'p.png')
    assert not (path / 'p.png').exists()


def test_pickled_objects_are_refused_in_one_line(tmp_path):
    trace = tmp_path / 'executed'
    np.save(tmp_path / 'bad.npy', np.array([Recorder(trace)], dtype=object), allow_pickle=True)
    torch.save(dict(state_dict={}, extra=Recorder(trace)), tmp_path / 'bad.pth')
    for name, message in (
        ('bad.npy', 'bad.npy: not a .npy file of plain values'),
        ('bad.pth', 'If you trust the file'),
    ):
        with pytest.raises(SystemExit, match='error: .*' + message) as stop:
            run_tool(TOOL, tmp_path / name, '--out', tmp_path / 'p.png')
        assert '\n' not in str(stop.value)
    assert not trace.exists() and not (tmp_path / 'p.png').exists()


@pytest.mark.parametrize(
    'content, options, message',
    [
        (np.ones((5, 4)), ['--projected'], 'needs a checkpoint'),
        (np.ones((5, 4), int), [], 'one array of floats, got int64'),
        (np.ones(4), [], r'must be \(C, D\), got \(4,\)'),
        (np.full((5, 4), np.nan), [], 'not finite'),
        (dict(state_dict={'head.fc.bias': torch.ones(5)}), [], 'no head.prototypes'),
        (dict(state_dict={'head.prototypes': two_groups()}), ['--projected'], 'needs a projector'),
        (dict(state_dict={'head.prototypes': 'x'}), [], 'no head.prototypes'),
        (dict(state_dict=None, meta=None), [], 'no head.prototypes'),
        (
            {'head.prototypes': two_groups(), 'head.projector.2.bias': torch.ones(3)},
            ['--projected'],
            'the projector in SRC does not fit',
        ),
    ],
)
def test_wrong_sources_are_refused_in_one_line(tmp_path, content, options, message):
    is_checkpoint = isinstance(content, dict)
    source = tmp_path / ('source.pth' if is_checkpoint else 'source.npy')
    torch.save(content, source) if is_checkpoint else np.save(source, content)
    with pytest.raises(SystemExit, match='error: .*' + message) as stop:
        run_tool(TOOL, source, '--out', tmp_path / 'p.png', *options)
    assert '\n' not in str(stop.value)


def test_names_that_do_not_fit_are_refused(work_dir, capsys):
    path, _ = work_dir
    names = path / 'names.csv'
    for text, message in (
        ('', 'names.csv: found 0 class'),
        ('a\nb\n', '5 prototypes, but 2 class'),
    ):
        names.write_text(text)
        with pytest.raises(SystemExit, match=message):
            run_tool(TOOL, path, '--names', names, '--out', path / 'p.png')
    with pytest.raises(SystemExit):
        run_tool(TOOL, path, '--names', names, '--out', path / 'names.png')
    assert 'would overwrite --names' in capsys.readouterr().err


# ---------------------------------------------------------------- the first of two stages


@pytest.mark.parametrize('tool', ['show_prototypes', 'plot_embeddings', 'measure_embeddings'])
@pytest.mark.parametrize(
    'hook, stage, is_told',
    [('PrototypeHook', None, True), ('PrototypeHook', 2, False), ('EMAHook', None, False)],
)
def test_projector_and_prototypes_of_a_first_stage_are_said_to_be_untrained(
    tmp_path, capsys, tool, hook, stage, is_told
):
    config = write_run(tmp_path, sarl_model(10, proj_channels=8, bank_slots=2))
    path = tmp_path / 'best_mAP.pth'
    content = torch.load(path)
    content['meta'] = dict(cfg=f"custom_hooks = [dict(type='{hook}', begin=5)]")
    content['message_hub'] = dict(runtime_info={} if stage is None else dict(stage=stage))
    torch.save(content, path)
    own = {
        'show_prototypes': [path, '--projected', '--out', tmp_path / 'p.png'],
        'plot_embeddings': [config, path, '--num', 6, '--out', tmp_path / 'p.png'],
        'measure_embeddings': [config, path, '--num', 30, '--out', tmp_path / 'p.json'],
    }
    run_tool(ROOT / f'tools/analysis_tools/{tool}.py', *own[tool])
    lines = capsys.readouterr().out.splitlines()
    warned = [line for line in lines if line.startswith('warning: ')]
    assert len(warned) == is_told
    if is_told:
        assert 'is of the first stage: its projector and prototypes are not trained' in warned[0]
        assert '--stage last' in warned[0]
