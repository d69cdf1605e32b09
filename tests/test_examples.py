"""Every public class shows how it is used, and what the examples print is true.

An example runs as if it was pasted into a new Python: it imports what it uses.
"""

import doctest
import importlib
import inspect
import re

import pytest

from tests.helpers import ROOT

NAMES = re.findall(r'^::: ([\w.]+)$', (ROOT / 'docs/api.md').read_text(encoding='utf-8'), re.M)
# tests/mlic/apis/test_predictions.py runs these, next to a trained model
OF_A_RUN = {'MultiLabelInferencer', 'Prediction', 'open_run'}
WITHOUT = {
    'COCOMultiLabel': 'what it shows is of the published files',
    'ConsoleRunner': 'takes a whole config: tools/train.py',
    'LazyTIMMBackbone': "needs the extra 'timm'",
    'MultiLabelVisualizationHook': 'needs the visualizer of a Runner',
    'MultiLabelVisualizer': 'draws: docs/figures.md shows it',
    'NUSWIDE': 'needs the published files',
    'OpenRun': 'is what open_run returns',
    'TensorboardVisBackend': "needs the extra 'tensorboard'",
    'TrainingRunner': 'takes a whole config: tools/train.py',
    'VG500': 'needs the published files',
    'VOCMultiLabel': 'needs the published files',
    'WandbVisBackend': "needs the extra 'wandb'",
}


def find(name):
    """A public object, and the text of its docstring."""
    package, _, attribute = name.rpartition('.')
    thing = getattr(importlib.import_module(package), attribute)
    return thing, (inspect.unwrap(thing).__doc__ or '') if callable(thing) else ''


SHOWN = [name for name in NAMES if '>>> ' in find(name)[1]]


def test_every_public_class_has_an_example_or_a_reason_for_none():
    classes = [name for name in NAMES if inspect.isclass(find(name)[0])]
    assert len(classes) > 100
    without = {
        name.rpartition('.')[2]
        for name in classes
        if name not in SHOWN and not issubclass(find(name)[0], Exception)  # not built, but raised
    }
    assert without == WITHOUT.keys() - {'COCOMultiLabel'}


@pytest.mark.parametrize(
    'name', [name for name in SHOWN if name.rpartition('.')[2] not in OF_A_RUN | WITHOUT.keys()]
)
def test_what_an_example_prints_is_true(name):
    (example,) = doctest.DocTestFinder(recurse=False).find(find(name)[0], name, globs={})
    assert any(part.want for part in example.examples)
    told = []
    doctest.DocTestRunner().run(example, out=told.append)
    assert not told, ''.join(told)
