"""Public names are documented: how they are used, their arguments, defaults and errors.

An example runs as if it was pasted into a new Python: it imports what it uses.
"""

import ast
import doctest
import importlib
import inspect
import re
import textwrap

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
CHECKS = {'check_counts', 'check_heads', 'check_temperature', 'log_odds'}  # raise a ValueError


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


# ---------------------------------------------------------------- the words


def documented():
    """(name, what is called, docstring) of public classes and functions, and of their methods."""
    for name in NAMES:
        thing = inspect.unwrap(find(name)[0])
        members = vars(thing).items() if inspect.isclass(thing) else ()
        methods = {f'{name}.{key}': value for key, value in members if key[0] != '_'}
        for key, value in {name: thing, **methods}.items():
            value = inspect.unwrap(getattr(value, '__func__', value))
            code = vars(value).get('__init__') if inspect.isclass(value) else value
            if inspect.isfunction(code) and code.__code__.co_filename[0] != '<':  # of a dataclass
                yield pytest.param(code, inspect.cleandoc(value.__doc__ or ''), id=key)


every_docstring = pytest.mark.parametrize(('code', 'text'), list(documented()))


def arguments_in(text):
    """The section ``Args`` of a docstring: {name: (what it says, how many it says it of)}."""
    block = re.search(r'^Args:\n((?:    .*\n|\n)*)', f'{text}\n', flags=re.M)
    found = {}
    entries = re.findall(r'^    (\S.*?):((?:.|\n     )*)', block[1], re.M) if block else ()
    for names, said in entries:
        names = re.sub(r' \(.*', '', names).replace('*', '').split(', ')
        found.update(dict.fromkeys(names, (' '.join(said.split()), len(names))))
    return found


@every_docstring
def test_arguments_and_defaults_are_those_of_the_signature(code, text):
    said, parameters = arguments_in(text), inspect.signature(code).parameters
    if said or code.__name__ == '__init__':
        optional = {'self', 'args', 'kwargs'} - said.keys()
        assert list(said) == [key for key in parameters if key not in optional]
    for key, (entry, sharing) in said.items():
        default = parameters[key].default
        shown = re.search(r"Defaults to (\(.*?\)|'.*?'|.*?)(?:[.,;:]? |[.,;:]?$)", entry)
        if sharing == 1 and not entry.startswith('See '):
            assert bool(shown) == (default is not inspect.Parameter.empty), key
        if shown and isinstance(default, (bool, int, float, str)):
            assert ast.literal_eval(shown[1]) == default, key


@every_docstring
def test_errors_that_are_raised_are_named(code, text):
    tree = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(code))))
    calls = {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)}
    errors = {call for call in calls if call.endswith('Error')}
    assert not [error for error in errors if error not in text]
    assert 'ValueError' in text or not calls & CHECKS
