"""No tool writes over what it reads."""

import numpy as np
import pytest
import torch

from tests.helpers import call_tool

EVAL, PLOT = 'tools/analysis_tools/eval_metric.py', 'tools/analysis_tools/plot.py'
VECTORS, VERIFY = (f'tools/dataset_tools/{name}.py' for name in ('label_vectors', 'verify_dataset'))
MASKS, CONVERT = 'tools/analysis_tools/localize.py', 'tools/model_converters/published_to_mm.py'
TEST, INFER, INTO = 'tools/test.py', 'tools/infer.py', ('--checkpoint', 'a.pth', '--out', '.')
CONFIG = 'sadcl_r101_voc448'


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Files to read; one of them is reached by a link, too."""
    monkeypatch.chdir(tmp_path)
    labels = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    np.savez('p.npz', pred=labels * 0.8, target=labels, classes=['cat', 'dog'])
    (tmp_path / 't.json').write_text('{"cat": 0.5, "dog": 0.5}')
    (tmp_path / 't.csv').write_text('class,threshold\ncat,0.5\ndog,0.5\n')
    (tmp_path / 'names.txt').write_text('cat\ndog\n')
    (tmp_path / 'glove.txt').write_text('cat 1 0\ndog 0 1\n')
    torch.save(dict(state_dict={}), 'net.pth')
    (tmp_path / 'link.json').symlink_to('t.json')
    (tmp_path / 'scores.csv').write_text('image,cat\na.png,1\n')
    return tmp_path


@pytest.mark.parametrize(
    'command, message',
    [
        ((EVAL, 'p.npz', '--threshold', 't.json', '--out', 't.json'), 't.json would be written'),
        ((EVAL, 'p.npz', '--threshold', 't.json', '--out', 'link.json'), 'link.json would be'),
        ((EVAL, 'p.npz', '--threshold', 't.csv', '--per-class', './t.csv'), 't.csv would be'),
        ((PLOT, 'pr', 'p.npz', '--threshold', 't.csv', '--out', 't.png'), 't.csv would be written'),
        ((VECTORS, 'names.txt', '--glove', 'glove.txt', '--out', 'glove.txt'), 'glove.txt would'),
        ((VECTORS, 'names.txt', '--glove', 'glove.txt', '--out', 'names.txt'), 'names.txt would'),
        ((MASKS, CONFIG, 'a.pth', '--masks', 't.json', '--out', 't.json'), 't.json would be'),
        ((MASKS, CONFIG, 'a.pth', '--masks', 'a', '--names', 't.json', '--out', 't.json'), ''),
        ((CONVERT, 'p.npz', 'p.npz'), 'p.npz would be written'),
        ((CONVERT, 'a.pth', 'p.npz', '--graph', 'p.npz'), 'p.npz would be written'),
        ((TEST, CONFIG, 'net.pth', '--threshold', 't.json', '--out', 't.json'), 't.json would be'),
        ((INFER, 'p.npz', *INTO, '--known', 'scores.csv'), 'scores.csv would be written'),
        ((VERIFY, CONFIG, '--out', 'names.txt'), 'names.txt is no list of broken images'),
    ],
    ids=str,
)
def test_what_is_read_is_not_written_over(here, command, message):
    before = {path: path.read_bytes() for path in here.iterdir()}
    ended = call_tool(*command)
    assert ended.startswith(f'error: {message}') and ended.endswith('name another file')
    assert {path: path.read_bytes() for path in here.iterdir()} == before


@pytest.mark.parametrize(
    'command, kind',
    [
        ((EVAL, 'p.npz', '--out', 'p.npz'), '.json'),
        ((EVAL, 'p.npz', '--per-class', 'p.npz'), '.csv'),
        ((VERIFY, CONFIG, '--out', 't.json'), '.txt'),
    ],
    ids=str,
)
def test_what_is_written_has_its_suffix(here, command, kind, capsys):
    before = {path: path.read_bytes() for path in here.iterdir()}
    assert call_tool(*command) == 2
    assert f'takes a file that ends in {kind}' in capsys.readouterr().err
    assert {path: path.read_bytes() for path in here.iterdir()} == before
