"""What the data sets say in the log."""

import logging

import pytest

from mlic.datasets import coco, label_cache, list_files, voc


@pytest.fixture
def log(monkeypatch):
    """The lines, in order; what is more than information has its level before it."""
    lines = []

    def keep(text, _, level=logging.INFO):
        lines.append(text if level == logging.INFO else f'{logging.getLevelName(level)}: {text}')

    for module in (coco, label_cache, list_files, voc):
        monkeypatch.setattr(module, 'print_log', keep)
    return lines
