"""The packages below this plugin: editions and versions, said in one line at the import."""

import importlib.util
import os
import re
import subprocess
import sys
import warnings
from importlib import metadata

import pytest

from mlic import packages
from mlic.packages import MissingPackageError, check_stack, require
from tests.helpers import ROOT

TORCH = {'torch': '2.6.0+cu124'}
STOCK = {**TORCH, 'mmengine': '0.10.7', 'mmcv-lite': '2.2.0', 'mmpretrain': '1.2.0'}
OURS = {
    **TORCH,
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmpretrain': '1.3.6',
}


def pretend(monkeypatch, installed):
    """Let these packages, name to version, be all that pip has installed."""

    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(packages.metadata, 'version', version)


@pytest.mark.parametrize('installed', [STOCK, OURS, {**OURS, 'onedl-mmengine': '0.10.12+local'}])
def test_either_edition_passes_without_a_word(monkeypatch, installed):
    pretend(monkeypatch, installed)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check_stack()


@pytest.mark.parametrize(
    'package, version, command',
    [
        ('torch', '2.5.1+cpu', "pip install -U 'torch>=2.6'"),
        ('mmengine', '0.9.0', "pip install -U 'mmengine>=0.9.1'"),
        ('mmcv-full', '1.7.2', "pip install -U 'mmcv-full>=2.0.0'"),
        ('mmpretrain', '1.0.0rc8', "pip install -U 'mmpretrain>=1.0.2'"),
    ],
)
def test_a_version_that_is_too_old_is_named_with_the_command(
    monkeypatch, package, version, command
):
    module = package.partition('-')[0]
    rest = {name: found for name, found in STOCK.items() if not name.startswith(module)}
    pretend(monkeypatch, {**rest, package: version})
    with pytest.raises(MissingPackageError) as error:
        check_stack()
    assert f'{package} {version} is installed: {command}' in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('module', ['mmengine', 'mmcv', 'mmpretrain'])
def test_a_package_that_is_missing_is_named_with_the_command(monkeypatch, module):
    pretend(monkeypatch, {name: found for name, found in OURS.items() if module not in name})
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        packages.importlib.util,
        'find_spec',
        lambda name: None if name == module else find_spec(name),
    )
    with pytest.raises(MissingPackageError, match=f'not installed: pip install onedl-{module}$'):
        check_stack()


def test_a_checkout_on_the_path_needs_no_package(monkeypatch):
    pretend(monkeypatch, {})
    check_stack()


def test_two_editions_in_one_folder_are_a_warning(monkeypatch):
    pretend(monkeypatch, {**OURS, 'mmengine': '0.10.7'})
    message = 'pip uninstall -y onedl-mmengine mmengine, then pip install onedl-mmengine'
    with pytest.warns(UserWarning, match=message):
        check_stack()


def test_the_import_ends_with_that_line(tmp_path):
    folder = tmp_path / 'mmengine-0.8.5.dist-info'
    folder.mkdir()
    (folder / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmengine\nVersion: 0.8.5\n')
    result = subprocess.run(
        [sys.executable, '-c', 'import projects.sadcl'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        'mlic.packages.MissingPackageError: mlic needs mmengine 0.9.1 or '
        "later, and mmengine 0.8.5 is installed: pip install -U 'mmengine>=0.9.1'"
    )


def install_transformers(folder, version):
    info = folder / f'transformers-{version}.dist-info'
    info.mkdir()
    text = f'Metadata-Version: 2.1\nName: transformers\nVersion: {version}\n'
    (info / 'METADATA').write_text(text)
    (folder / 'transformers.py').write_text('')  # without what mmpretrain asks it for


@pytest.mark.parametrize('version, is_there', [('4.57.1', True), ('5.17.0', False)])
def test_mmpretrain_sees_a_transformers_that_its_models_can_use(
    tmp_path, monkeypatch, version, is_there
):
    install_transformers(tmp_path, version)
    monkeypatch.syspath_prepend(tmp_path)
    with packages.only_models_that_import():
        found = [d for d in ('transformers', 'numpy') if has_distribution(d)]
    assert found == ['transformers', 'numpy'][not is_there :]
    assert metadata.distribution('transformers').version == version


def has_distribution(name):
    try:
        return bool(metadata.distribution(name))
    except metadata.PackageNotFoundError:
        return False


@pytest.mark.slow
def test_the_import_works_beside_a_transformers_that_mmpretrain_cannot_use(tmp_path):
    install_transformers(tmp_path, '5.17.0')
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, '-c', 'import mlic; print(mlic.__version__)']
    env = {**os.environ, 'PYTHONPATH': path}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_pip_installs_is_not_older_than_what_the_import_asks_for():
    asked = {name: version for version, names in packages.STACK.values() for name in names}
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / 'pyproject.toml').read_text()))
    assert bounds['torch'] == asked['torch']
    shared = asked.keys() & bounds
    assert {'torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain'} <= shared
    assert all(packages._numbers(bounds[name]) >= packages._numbers(asked[name]) for name in shared)


def test_a_folder_is_no_package(tmp_path, monkeypatch):
    (tmp_path / 'folder_of_runs').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match=r"pip install -e '\.\[wandb\]'"):
        require('folder_of_runs', 'wandb', 'WandbVisBackend')
