"""What tests of several modules need."""

import copy
import gc
import os
import shutil
import signal
from pathlib import Path
from unittest import mock

import pytest

import mlic  # noqa: F401  (first: it repairs what a test imports, and imports it faster)

# isort: split
from mmengine.config import Config
from mmengine.dataset import base_dataset
from mmengine.registry import init_default_scope

from mlic.installation import CONFIGS
from mlic.packages import no_garbage
from tests.helpers import FORMATTER


def pytest_configure(config):
    """Tests see no GPU, but those with the mark ``gpu`` where they are asked for.

    Ctrl-C works in what they start, also where a shell ignores it for pytest in the background.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if 'gpu' not in config.option.markexpr.replace('not gpu', ''):
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


@pytest.hookimpl(hookwrapper=True)
def pytest_collection():
    """What the tests import and are is not searched for garbage."""
    with no_garbage():
        yield


@pytest.fixture(scope='module', autouse=True)
def garbage_once_a_module():
    """mmengine collects it at each data set: half a second, with all that is imported here."""
    gc.collect()
    gc.freeze()
    with mock.patch.object(base_dataset, 'gc'):
        yield


@pytest.fixture(scope='session', autouse=True)
def configs_as_they_are():
    """mmengine lays out the text of each config that it writes: up to half a second."""
    as_it_is = lambda text, **options: (f'{text}\n', True)  # noqa: E731
    with mock.patch(FORMATTER, as_it_is):
        yield


@pytest.fixture(scope='session', autouse=True)
def configs_are_read_once():
    """mmengine copies a file four times to read it: a config of the repository takes 24 ms."""
    known, read = {}, Config.fromfile

    def read_once(filename, *args, **kwargs):
        if CONFIGS not in Path(filename).parents:
            return read(filename, *args, **kwargs)
        key = str((filename, args, kwargs))
        if key not in known:
            known[key] = read(filename, *args, **kwargs)
        return copy.deepcopy(known[key])

    with mock.patch.object(Config, 'fromfile', read_once):
        yield


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """A tool that ends after it leaves the process to the system's own handler, which kills it."""
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def default_scope():
    """Names of mmpretrain's registries are found, as in every config of ours."""
    init_default_scope('mmpretrain')


@pytest.fixture
def empty_folder(monkeypatch, tmp_path):
    """The working directory is an empty one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='module')
def browser():
    """Headless Chromium of the system, steered by playwright."""
    sync_api = pytest.importorskip('playwright.sync_api', reason='needs playwright')
    path = shutil.which('chromium') or shutil.which('google-chrome')
    if path is None:
        pytest.skip('needs Chromium')
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield chromium
        chromium.close()
