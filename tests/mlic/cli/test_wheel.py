"""The wheel: what is in it, and that its command works where there is no checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.slow
DIGITS = 'sadcl_efficientnet-lite0_digits128'
# four tiny epochs: the second stage starts with the fourth
SHORT = [
    'train_cfg.max_epochs=4',
    'train_dataloader.dataset.num_images=32',
    'val_dataloader.dataset.num_images=32',
    'test_dataloader.dataset.num_images=32',
    'default_hooks.logger.interval=1',
]


def run(*command, **kwargs):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """Built from the source distribution, as pip builds it."""
    folder = tmp_path_factory.mktemp('wheel')
    ignored = shutil.ignore_patterns('.*', 'work_dirs', 'data', 'build', '*.egg-info', 'tests')
    shutil.copytree(ROOT, folder / 'source', ignore=ignored, symlinks=True)
    run(sys.executable, 'setup.py', '-q', 'sdist', '-d', folder, cwd=folder / 'source')
    (source,) = folder.glob('*.tar.gz')
    options = ['--no-deps', '--no-build-isolation', '--wheel-dir', folder]
    run(sys.executable, '-m', 'pip', 'wheel', '--quiet', *options, source)
    return next(folder.glob('*.whl'))


def test_the_wheel_has_what_the_repository_has(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [Path(line) for line in run('git', 'ls-files', cwd=ROOT).splitlines()]
    for path in files:
        top = path.parts[0]
        if top in ('mlic', 'projects') and path.suffix in ('.py', '.html', '.csv'):
            assert str(path) in names
        is_asset = top == 'configs' or (top == 'tools' and 'docs_site' not in path.parts)
        if is_asset or path.name in ('model-index.yml', 'metafile.yml'):
            assert f'mlic/.mim/{path}' in names
    tops = {name.split('/')[0] for name in names}
    assert {name for name in tops if not name.endswith('.dist-info')} == {
        'mlic',
        'mlic_command.py',
        'projects',
    }
    assert 'projects/__init__.py' not in names


def test_the_installed_command_trains_tests_predicts_and_exports(wheel, tmp_path):
    site, folder = tmp_path / 'site', tmp_path / 'empty'
    folder.mkdir()
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', site, wheel)
    environment = {**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '2'}

    def mlic(*arguments):
        return run(sys.executable, '-m', 'mlic', *arguments, cwd=folder, env=environment)

    assert mlic('--version') == run(sys.executable, '-m', 'mlic', '--version', cwd=ROOT)
    where = run(
        sys.executable, '-c', 'import mlic; print(mlic.__file__)', cwd=folder, env=environment
    )
    assert where.startswith(str(site))
    assert '  compute_prototypes  ' in mlic('--help')
    trained = mlic('train', DIGITS, '--cfg-options', *SHORT)
    run_dir = f'work_dirs/{DIGITS}'
    assert f'test it: mlic test {run_dir}/{DIGITS}.py {run_dir}' in trained
    assert 'mAP' in mlic('test', DIGITS, run_dir, '--cfg-options', *SHORT).splitlines()[-1]
    # the data group of the benchmark reads a config, and sadcl adds its own groups
    assert 'losses,' in mlic('benchmark', '--help')
    compared = mlic('compare', DIGITS, '--out', 'compared', '--jobs', 1, '--set', *SHORT)
    assert '1 run: 0 done before, 1 to do' in compared
    tool = site / 'mlic' / '.mim' / 'tools' / 'train.py'  # as mim starts it
    run(sys.executable, tool, DIGITS, '--dry-run', cwd=folder, env=environment)
    code = 'import projects.sadcl, mmpretrain; mmpretrain.get_model("sadcl_r50_coco448")'
    run(sys.executable, '-c', code, cwd=folder, env=environment)
