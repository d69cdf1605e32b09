import pytest

from mlic.apis.image_sources import collect_images
from mlic.engine.checkpoints.search import find_checkpoint
from tests.photo_run import make_run


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The folder of a tiny training on photographs."""
    return make_run(tmp_path_factory.mktemp('photos') / 'run')


@pytest.fixture(scope='module')
def checkpoint(run):
    return find_checkpoint(run / 'work_dirs/run').path


@pytest.fixture(scope='module')
def photos(run):
    return collect_images([str(run / 'photos')]).images
