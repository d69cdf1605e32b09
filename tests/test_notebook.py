"""docs/tutorial.ipynb: what is committed is small and of no machine, and every cell runs."""

import json
import re
import sys

import pytest

from tests.helpers import ROOT, run_process

PATH = ROOT / 'docs' / 'tutorial.ipynb'
NOTEBOOK = json.loads(PATH.read_text(encoding='utf-8'))
CODE = [''.join(cell['source']) for cell in NOTEBOOK['cells'] if cell['cell_type'] == 'code']
PROSE = [''.join(cell['source']) for cell in NOTEBOOK['cells'] if cell['cell_type'] == 'markdown']


def as_python(cell):
    """A cell without IPython: lines that start with ! are commands, which have to succeed."""
    command = r'\1subprocess.run("""\2""", shell=True, check=True)'
    return re.sub(r'^( *)!(.*)', command, cell, flags=re.MULTILINE)


def test_the_notebook_is_small_and_names_no_machine():
    assert PATH.stat().st_size <= 150_000
    outputs = json.dumps([cell.get('outputs') for cell in NOTEBOOK['cells']])
    assert not re.findall(r'(?<![\w.])/(?:home|root|tmp|work|Users|usr)\b[^"\\ ]*', outputs)
    assert 'Traceback' not in outputs
    assert (NOTEBOOK['nbformat'], NOTEBOOK['nbformat_minor']) == (4, 5)


def test_links_of_the_notebook_lead_somewhere():
    links = [link for text in PROSE for link in re.findall(r'\]\(([^)\s]+)\)', text)]
    assert 'tutorial.md' in links
    for link in links:
        assert (PATH.parent / link).is_file(), link


@pytest.mark.slow
def test_every_cell_of_the_notebook_runs(tmp_path):
    script = '\n'.join(['import subprocess', *map(as_python, CODE)])
    (tmp_path / 'notebook.py').write_text(script, encoding='utf-8')
    done = run_process(sys.executable, 'notebook.py', cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, f'{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
    assert re.search(r'^standard, >= 0.5 +\d+\.\d\d', done.stdout, re.M)
    assert len(re.findall(r'\d\.\d\d +truth: ', done.stdout)) == 4
    folder = tmp_path / 'work_dirs' / 'notebook'
    for name in ('data/digits/digits.png', 'looks.png', 'model.onnx'):
        assert (folder / name).stat().st_size > 1000, name
