"""The number of cores is that of this process, on every system."""

import os
import pathlib
import re

import pytest

import mlic
from mlic.comparison.processes import device_slots
from mlic.cores import usable_cores


def test_cores_are_those_that_the_process_was_given(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {3, 5, 7}, raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 64)
    assert usable_cores() == 3


@pytest.mark.parametrize('count, cores', [(6, 6), (None, 1)])
def test_a_system_that_gives_no_cores_to_processes_has_those_of_the_machine(
    monkeypatch, count, cores
):
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: count)
    assert usable_cores() == cores
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    monkeypatch.setattr(os, 'getloadavg', lambda: (0.0, 0.0, 0.0))
    assert len(device_slots(None)) == cores


def test_cores_are_counted_in_one_place():
    package = pathlib.Path(mlic.__file__).parent
    found = [
        path.relative_to(package).as_posix()
        for path in package.rglob('*.py')
        if re.search(r'sched_getaffinity|cpu_count', path.read_text(encoding='utf-8'))
    ]
    assert found == ['cores.py']
