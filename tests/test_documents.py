"""What the documents name exists: links, tools, configs and tests."""

import re
from pathlib import Path

import pytest

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
    names = re.findall(r'\b((?:tools|configs)/[\w./-]+\.(?:py|sh))\b', document.read_text())
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing


def test_the_fault_tables_name_tests_that_exist():
    text = (ROOT / 'docs/reliability.md').read_text()
    named = re.findall(r'`(test_\w+)(?:::(test_\w+))?', text)
    assert len(named) > 30
    current = ''
    for first, second in named:
        current = first if first in TESTS else current
        test = second or (first if first not in TESTS else '')
        assert not test or f'def {test}' in TESTS[current], f'{current}::{test}'
