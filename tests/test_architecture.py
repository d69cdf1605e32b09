"""Which module may import which, how long files may be, and where mmengine's own matters are."""

import ast
import re
from functools import lru_cache
from pathlib import Path

import mmengine
import pytest

from tests.helpers import ROOT

FILES = sorted(
    path.relative_to(ROOT)
    for folder in ('mlic', 'projects', 'tools')
    for path in (ROOT / folder).rglob('*.py')
)
METHODS = sorted(path.parent.name for path in ROOT.glob('projects/*/__init__.py'))
INDEPENDENT = ('models', 'datasets', 'evaluation', 'visualization')
INTERNALS = Path('mlic/engine/mmengine_internals.py')


@lru_cache
def imports_of(path):
    """The modules of this repository that a file imports, by their full names."""
    package = path.parent.parts
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = '.'.join([*base, *filter(None, [node.module])])
            # `from package import module` is an import of the module, too
            found.update({base, *(f'{base}.{alias.name}' for alias in node.names)})
    return {name for name in found if name.split('.')[0] in ('mlic', 'projects', 'tools', 'tests')}


def breaches(of, forbidden):
    """'file: module' where a file below ``of`` imports one of the packages."""
    return [
        f'{path}: {module}'
        for path in FILES
        if path.is_relative_to(of)
        for module in sorted(imports_of(path))
        if any(f'{module}.'.startswith(f'{package}.') for package in forbidden)
    ]


def test_relative_imports_are_resolved():
    assert 'mlic.engine.hooks.seed_hook' in imports_of(Path('mlic/engine/__init__.py'))
    assert 'mlic.apis.open_run.open_run' in imports_of(Path('mlic/apis/inferencer.py'))


def test_the_toolkit_knows_no_method_no_tool_and_no_test():
    assert breaches('mlic', ['projects', 'tools', 'tests']) == []


@pytest.mark.parametrize('method', METHODS)
def test_a_method_knows_no_other(method):
    others = [f'projects.{other}' for other in METHODS if other != method]
    assert breaches(f'projects/{method}', [*others, 'tools', 'tests']) == []


@pytest.mark.parametrize('package', INDEPENDENT)
def test_parts_of_the_toolkit_do_not_know_one_another(package):
    others = [name for name in (*INDEPENDENT, 'engine', 'apis', 'cli') if name != package]
    assert breaches(f'mlic/{package}', [f'mlic.{other}' for other in others]) == []


def test_the_engine_takes_from_the_models_their_declarations_alone():
    found = breaches('mlic/engine', ['mlic.models', 'mlic.apis', 'mlic.cli'])
    names = ('training_parts', 'attention_maps', 'checks', 'given_labels', 'targets')
    seams = tuple(f'mlic.models.{name}' for name in names)
    assert [line for line in found if not line.split(': ')[1].startswith(seams)] == []


def test_what_is_asked_of_a_config_needs_no_run():
    assert breaches('mlic/engine/config', ['mlic.engine.hooks', 'mlic.engine.runner']) == []


def test_no_test_imports_another_test():
    for path in (ROOT / 'tests').rglob('*.py'):
        found = imports_of(path.relative_to(ROOT))
        assert [name for name in found if re.search(r'\.test_\w+', name)] == [], path


def test_files_can_be_read_in_one_sitting():
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > 320} == {}
    sadcl = sum(length for path, length in lengths.items() if path.startswith('projects/sadcl/'))
    assert sadcl <= 1500


def test_private_members_of_mmengine_are_named_in_one_file():
    sources = Path(mmengine.__file__).parent.rglob('*.py')
    text = '\n'.join(path.read_text(encoding='utf-8') for path in sources)
    private = set(re.findall(r'(?:\bself\.|\bdef )(_[a-z]\w*)', text))
    private -= {'_dataset_meta'}  # mmpretrain puts it on a model for its inferencers
    assert {'_resume', '_load_from', '_global_step'} <= private
    found = []
    for path in FILES:
        if path != INTERNALS:
            for node in ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8'))):
                if isinstance(node, ast.Attribute) and node.attr in private:
                    owner = ast.unparse(node.value)
                    if owner not in ('self', 'cls', 'super()'):
                        found.append(f'{path}:{node.lineno}: {owner}.{node.attr}')
    assert found == []
