"""Numbers of the command line: each has bounds, and what lies outside is a usage error."""

import argparse
import ast
import importlib
import os
import re
import runpy
from pathlib import Path

import pytest

from mlic.cli import arguments
from tests.helpers import ROOT, call_tool

SOURCES = sorted(
    path for part in ('mlic', 'projects', 'tools') for path in (ROOT / part).rglob('*.py')
)


def test_no_option_takes_any_number():
    """int and float take numbers that a tool has to refuse later, or does not: -1 processes."""
    found, options = [], 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('.add_argument'):
                options += 1
                types = [ast.unparse(key.value) for key in node.keywords if key.arg == 'type']
                if types and types[0] in ('int', 'float'):
                    found.append(f'{path}:{node.lineno}')
    assert options > 100 and found == []


@pytest.mark.parametrize(
    ('tool', 'options', 'message'),
    [
        ('compare.py', ['C', '--out', 'O', '--jobs', '-1'], '--jobs: must be at least 1, got -1'),
        ('compare.py', ['C', '--out', 'O', '--seeds', '0', '-1'], '--seeds: must be at least 0'),
        ('compare.py', ['C', '--out', 'O', '--by-images', '0'], '--by-images: must be at least 1'),
        ('compare.py', ['C', '--out', 'O', '--train-part', 'nan'], 'at least 0 and below 1, got'),
        ('benchmark/run.py', ['--repeats', '0'], '--repeats: must be at least 1, got 0'),
        ('benchmark/run.py', ['--size', '-8'], '--size: must be at least 1, got -8'),
        ('dataset_tools/browse_dataset.py', ['C', '--seed', '-1'], '--seed: must be at least 0'),
        ('dataset_tools/class_parts.py', ['C', '--parts', '1'], '--parts: must be at least 2'),
        ('dataset_tools/corel5k_to_json.py', ['--val-fraction', '1'], 'and below 1, got 1'),
        ('dataset_tools/from_csv.py', ['T', '--val', 'nan'], '--val: must be at least 0'),
        ('deploy/export.py', ['C', 'P', '--opset', '-1'], '--opset: must be at least 1, got -1'),
        ('demo.py', ['C', '--port', '65536'], '--port: must be at least 1 and below 65536, got'),
        ('analysis_tools/plot_embeddings.py', ['C', 'P', '--seed', '-1'], '--seed: must be'),
        ('analysis_tools/show_attention.py', ['C', 'P', '--indices', '-1'], '--indices: must be'),
        ('analysis_tools/eval_metric.py', ['P', '--topk', '0'], '--topk: must be at least 1'),
        ('analysis_tools/fit_thresholds.py', ['P', '--smoothing', '-1'], '--smoothing: must be'),
        ('compute_prototypes.py', ['C', 'P', '--threshold', '1'], 'and below 1, got 1'),
    ],
)
def test_a_number_out_of_bounds_is_a_usage_error(capsys, tool, options, message):
    config = 'sadcl_efficientnet-lite0_digits128'  # the name of one, where it is asked for
    options = [config if option == 'C' else option for option in options]
    assert call_tool(f'tools/{tool}', *options) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_read_only_folder_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    read_only, other = tmp_path / 'read-only', tmp_path / 'other'
    for folder in (read_only, other):
        folder.mkdir()
    former, pipe, link = (read_only / name for name in ('a.json', 'pipe.json', 'link.json'))
    former.touch()
    os.mkfifo(pipe)
    link.symlink_to(other / 'b.json')
    monkeypatch.setattr(os, 'access', lambda place, mode: Path(place) != read_only)
    file = arguments.out_file('.json')
    for path in (former, read_only / 'new/deep/a.json'):
        with pytest.raises(argparse.ArgumentTypeError, match=f'{path}: .* written to {read_only}$'):
            file(str(path))
    for path in (pipe, link, other / 'new/a.json'):
        assert file(str(path)) == path


def test_a_read_only_work_directory_is_refused_with_the_option_for_another(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    access = os.access
    monkeypatch.setattr(os, 'access', lambda p, mode: Path(p) != tmp_path and access(p, mode))
    config = 'sadcl_efficientnet-lite0_digits128'
    for tool in (['train.py', config], ['test.py', config, 'run.pth']):
        fault = f'work_dirs/{config}: nothing can be written to {tmp_path}; --work-dir FOLDER'
        assert call_tool(f'tools/{tool[0]}', *tool[1:]).startswith(f'error: {fault}')
    assert call_tool('tools/compare.py', config, '--out', 'results') == 2
    end = f'argument --out: results: nothing can be written to {tmp_path}'
    assert capsys.readouterr().err.splitlines()[-1].endswith(end)


def test_a_file_to_write_is_checked_while_the_options_are_read():
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('.add_argument'):
                key = {key.arg: ast.unparse(key.value) for key in node.keywords}
                if re.search('(file|checkpoint) to write', key.get('help', '')):
                    found.append(key['type'].partition('(')[0].rpartition('.')[2])
    assert len(found) > 3 and {*found} == {'out_file'}


@pytest.mark.parametrize('text', ['nan', '1.1', '-0.1'])
def test_the_example_for_onnx_takes_thresholds_from_0_to_1(text):
    pytest.importorskip('onnxruntime')
    score = runpy.run_path(str(ROOT / 'mlic/demo/onnx_predict.py'))['score']
    assert (score('0'), score('1')) == (0, 1)
    with pytest.raises(argparse.ArgumentTypeError, match=f'must be from 0 to 1, got {text}'):
        score(text)


@pytest.mark.parametrize('text', ['-1', str(2**32), '1.5', 'x'])
def test_a_seed_is_what_numpy_takes(text, capsys):
    parser = argparse.ArgumentParser()
    arguments.add_seed(parser, 'of all')
    assert parser.parse_args([]).seed == 0
    assert parser.parse_args(['--seed', str(2**32 - 1)]).seed == 2**32 - 1
    with pytest.raises(SystemExit):
        parser.parse_args(['--seed', text])
    assert text in capsys.readouterr().err.splitlines()[-1]


CONFIG = 'sadcl_efficientnet-lite0_digits128'
OPENERS = {
    **{
        f'analysis_tools/{name}.py': [CONFIG, 'run']
        for name in ('compare_precision', 'measure_embeddings', 'plot_embeddings', 'report')
    },
    'analysis_tools/localize.py': [CONFIG, 'run', '--masks', 'masks'],
    'analysis_tools/show_attention.py': [CONFIG, 'run'],
    'analysis_tools/show_prototypes.py': ['run'],
    'compute_prototypes.py': [CONFIG, 'run', '--out', 'a.npy'],
    'demo.py': ['run'],
    'deploy/export.py': [CONFIG, 'run', '--out', 'a.onnx'],
    'deploy/verify.py': [CONFIG, 'run', 'a.onnx'],
    'infer.py': ['a.jpg', '--checkpoint', 'run', '--out', 'out'],
    'publish_model.py': ['run', 'published'],
    'test.py': [CONFIG, 'run'],
}


@pytest.mark.parametrize('tool', OPENERS)
def test_the_checkpoint_of_the_stage_that_is_asked_for_is_opened(tool, empty_folder, monkeypatch):
    asked = []

    def find(source, stage='best'):
        asked.append((str(source), stage))
        raise FileNotFoundError('no such run')

    for module in ('mlic.apis.open_run', 'mlic.cli.test', 'projects.sadcl.cli.show_prototypes'):
        monkeypatch.setattr(importlib.import_module(module), 'find_checkpoint', find)
    monkeypatch.setattr('mlic.cli.demo.import_gradio', lambda: None)
    Path('a.jpg').touch()
    result = call_tool(f'tools/{tool}', *OPENERS[tool], '--stage', 'last')
    assert asked == [('run', 'last')], result
