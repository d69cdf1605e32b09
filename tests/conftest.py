"""What tests of several modules need."""

import shutil

import pytest


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
