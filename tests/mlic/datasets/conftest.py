"""What the data sets say in the log."""

import pytest

from mlic.datasets import label_cache, list_files, voc


@pytest.fixture
def log(monkeypatch):
    """The lines, in order."""
    lines = []
    for module in (label_cache, list_files, voc):
        monkeypatch.setattr(module, 'print_log', lambda text, *_, **__: lines.append(text))
    return lines
