"""What the documents name exists: links, tools, configs, tests and classes; and their site."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('projects/*/*.md')])
TESTS = {path.stem: path.read_text() for path in ROOT.glob('tests/test_*.py')}


def headings(path):
    """The anchors of a Markdown file, as GitHub makes them."""
    found = re.findall(r'^#+ (.+)$', path.read_text(), flags=re.M)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in found}


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r'\]\(([^)\s]+)\)', document.read_text()):
        if '://' in target:
            continue
        name, _, anchor = target.partition('#')
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f'{target} does not exist'
        if anchor:
            assert anchor in headings(path), f'{target}: no such heading'


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tools_and_configs_exist(document):
    text = document.read_text()
    names = re.findall(r'\b((?:tools|configs)/[\w./-]+\.(?:py|sh))\b', text)
    shown = re.findall(r'`([^`]+)`:\n\n```python', text)  # files whose text the document gives
    missing = [name for name in names if not (ROOT / name).exists() and name not in shown]
    assert not missing


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_placeholder_is_left(document):
    prose = re.sub(r'^```.*?^```', '', document.read_text(), flags=re.M | re.S)
    assert not re.findall(r'^(?:[A-Z_]{2,}|.*\b(?:TODO|TBD|FIXME)\b.*)$', prose, flags=re.M)


def test_the_fault_tables_name_tests_that_exist():
    text = (ROOT / 'docs/reliability.md').read_text()
    named = re.findall(r'`(test_\w+)(?:::(test_\w+))?', text)
    assert len(named) > 30
    current = ''
    for first, second in named:
        current = first if first in TESTS else current
        test = second or (first if first not in TESTS else '')
        assert not test or f'def {test}' in TESTS[current], f'{current}::{test}'


def test_every_page_is_in_the_navigation_of_the_site():
    sections = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']
    pages = [
        page
        for section in sections
        for entry in section.values()
        for page in ([entry] if isinstance(entry, str) else [p for e in entry for p in e.values()])
    ]
    assert sorted(pages) == sorted(path.name for path in ROOT.glob('docs/*.md'))


@pytest.mark.parametrize(
    'package',
    [
        'sadcl.models',
        'sadcl.engine',
        'sadcl.datasets',
        'sadcl.evaluation',
        'sadcl.apis',
        'mulcon',
        'ml_decoder',
    ],
)
def test_the_reference_has_every_public_name(package):
    text = (ROOT / 'docs/api.md').read_text()
    named = re.findall(rf'^::: projects\.{re.escape(package)}\.(\w+)$', text, flags=re.M)
    assert sorted(named) == sorted(importlib.import_module(f'projects.{package}').__all__)


@pytest.mark.slow
def test_the_site_builds_and_needs_no_network(tmp_path):
    for package in ('mkdocs', 'mkdocstrings', 'latex2mathml'):
        pytest.importorskip(package, reason="the extra 'docs' is not installed")
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', tmp_path]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    pages = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob('*.html')}
    assert {'index.html', 'source/configs/sadcl/sadcl_r101_coco448.py.html'} <= pages.keys()
    for name, path in pages.items():
        text = path.read_text(encoding='utf-8')
        loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="?([^" >]+)', text)
        assert not [target for target in loaded if re.match('(https?:)?//', target)], name
        assert '$`' not in text, f'{name}: a formula was left as it is'
    for path in tmp_path.rglob('*.css'):
        assert not re.search(r'(@import|url\()\s*["\']?(https?:)?//', path.read_text())
    assert '<math' in pages['protocols.html'].read_text()
    reference = pages['api.html'].read_text()
    assert '<math' in reference
    assert 'id="projects.sadcl.models.SADCLHead.loss"' in reference
    assert not re.search(r':(class|func|math):|\.\. math::', reference)
