"""What the data sets say in the log."""

import pytest

from mlic.datasets import coco, label_cache, nus_wide, visual_genome, voc


@pytest.fixture
def log(monkeypatch):
    """The lines, in order."""
    lines = []
    for module in (label_cache, coco, nus_wide, visual_genome, voc):
        monkeypatch.setattr(module, 'print_log', lambda text, *_, **__: lines.append(text))
    return lines
