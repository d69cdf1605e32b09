"""What tests of several modules need."""

import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
# what the published code was seen to compute; the small recordings are part of the repository
RECORDINGS = Path(os.environ.get('MLIC_RECORDINGS', ROOT / 'tests' / 'recordings'))
# published data sets and lists of labels, which are not
DATA = Path(os.environ.get('MLIC_DATA', ROOT / 'data'))


@lru_cache
def recorded(name):
    """What a file of recordings holds; the test is skipped where the folder lacks it."""
    path = RECORDINGS / name
    if not path.is_file():
        pytest.skip(f'needs {name} in the folder that MLIC_RECORDINGS names')
    if path.suffix == '.json':
        return json.loads(path.read_text())
    with np.load(path) as file:
        return dict(file)


def needs_data(*folders):
    """Mark of a test that reads ``folders`` of the data that MLIC_DATA names."""
    absent = [folder for folder in folders if not (DATA / folder).is_dir()]
    return pytest.mark.skipif(bool(absent), reason=f'needs {absent} in the folder of MLIC_DATA')
