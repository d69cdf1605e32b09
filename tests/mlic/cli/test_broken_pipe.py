"""A reader that has seen enough, such as head, is not an error of the tool."""

import json
import os
import sys

import numpy as np
import pytest

from tests.helpers import run_tool

TOOL = 'tools/analysis_tools/eval_metric.py'


def test_eval_predictions_ends_quietly_and_writes_its_files(tmp_path, monkeypatch, capsys):
    generator = np.random.default_rng(0)
    pred, target = generator.random((8, 3)), generator.integers(0, 2, (8, 3))
    np.savez(tmp_path / 'p.npz', pred=pred, target=target)
    arguments = ['p.npz', '--out', 'metrics.json', '--per-class', 'classes.csv']
    monkeypatch.chdir(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, 'w')
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, 'stdout', stream)
        run_tool(TOOL, *arguments)
    stream.close()  # what is left goes nowhere, without an error
    assert end.value.code == 1  # no message
    assert capsys.readouterr().err == ''
    assert 'multi-label/mAP' in json.loads((tmp_path / 'metrics.json').read_text())
    assert (tmp_path / 'classes.csv').read_text().startswith('protocol,class,')
