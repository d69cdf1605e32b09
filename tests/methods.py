"""Importing this registers every method of ``projects``."""

import importlib

from tests.helpers import ROOT

PACKAGES = sorted(f'projects.{path.parent.name}' for path in ROOT.glob('projects/*/__init__.py'))
for package in PACKAGES:
    importlib.import_module(package)
