"""What the documents name exists: links, tools, configs, tests and classes; and their site."""

import importlib
import json
import os
import re
import runpy
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml

from tests.helpers import DOCUMENTS, ROOT
from tests.methods import PACKAGES

PLACEHOLDER = re.compile(r'\b(TODO|TBD|FIXME|XXX)\b')
TESTS = {path.stem for path in ROOT.glob('tests/**/test_*.py')}


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
    assert not re.findall(r'^[A-Z_]{2,}$', prose, flags=re.M)
    assert not PLACEHOLDER.search(document.read_text())


def test_no_placeholder_is_left_in_a_config():
    for file in ROOT.glob('configs/**/*.py'):
        assert not PLACEHOLDER.search(file.read_text()), file


def test_the_page_of_faults_names_the_files_of_their_tests():
    sections = (ROOT / 'docs/reliability.md').read_text().split('\n## ')[1:]
    for section in sections:
        named = re.findall(r'`(test_\w+)`', section)
        assert named and not set(named) - TESTS, section.splitlines()[0]


def rows_of(path):
    """The rows of the tables of a folder's README that link a config: {config: last cell}."""
    rows = re.findall(r'^\| \[([\w-]+)\]\(\1\.py\) .*\| ([^|]+) \|$', path.read_text(), flags=re.M)
    assert len(rows) == len(dict(rows)), 'a config has two rows'
    return dict(rows)


CONFIG_PAGES = sorted(
    folder / 'README.md' for folder in ROOT.glob('configs/[!_]*') if any(folder.glob('*.py'))
)


@pytest.mark.parametrize('page', CONFIG_PAGES, ids=lambda path: path.parent.name)
def test_every_config_has_a_row_in_its_folder(page):
    assert rows_of(page).keys() == {path.stem for path in page.parent.glob('*.py')}


@pytest.mark.parametrize('page', CONFIG_PAGES, ids=lambda path: path.parent.name)
def test_our_numbers_stand_in_the_pages_they_link(page):
    for name, ours in rows_of(page).items():
        number = re.match(r'\[(\d+\.\d+)\]\(([^)#]+)[^)]*\)', ours)
        assert number or ours == '–', name
        if number:
            text = (page.parent / number[2]).read_text()
            assert re.search(rf'(?<![\d.]){re.escape(number[1])}(?!\d)', text), name


@pytest.mark.parametrize('name', [package.removeprefix('projects.') for package in PACKAGES])
def test_the_pages_of_all_methods_have_the_same_parts(name):
    text = (ROOT / 'projects' / name / 'README.md').read_text()
    parts = re.findall('^## (.+)', text, flags=re.M)
    wanted = ['Paper', 'Use', "The authors' code and ours", 'Numbers']
    assert parts == wanted or name == 'sadcl'
    assert f'(../../configs/{name}/README.md)' in text


def test_numbers_of_the_method_are_those_of_the_experiments():
    numbers = re.findall(r'[−+]?\d+\.\d\d\b', (ROOT / 'projects/sadcl/README.md').read_text())
    assert len(numbers) > 20
    pages = ('docs/experiments.md', 'docs/when_contrast_helps.md')
    experiments = ''.join((ROOT / page).read_text() for page in pages)
    assert not [number for number in numbers if number not in experiments]


def test_every_page_is_in_the_navigation_of_the_site():
    sections = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']
    pages = [
        page
        for section in sections
        for entry in section.values()
        for page in ([entry] if isinstance(entry, str) else [p for e in entry for p in e.values()])
    ]
    assert sorted(pages) == sorted(path.name for path in ROOT.glob('docs/*.md'))


def test_the_first_page_links_every_page():
    linked = re.findall(r'\]\((\w+\.md)', (ROOT / 'docs/index.md').read_text())
    assert not {path.name for path in ROOT.glob('docs/*.md')} - {*linked, 'index.md'}


@pytest.mark.parametrize(
    'package',
    [
        'mlic.models',
        'mlic.engine',
        'mlic.datasets',
        'mlic.evaluation',
        'mlic.apis',
        'mlic.visualization',
        'projects.sadcl.models',
        'projects.sadcl.engine',
        *(package for package in PACKAGES if package != 'projects.sadcl'),
    ],
)
def test_the_reference_has_every_public_name(package):
    text = (ROOT / 'docs/api.md').read_text()
    named = re.findall(rf'^::: {re.escape(package)}\.(\w+)$', text, flags=re.M)
    assert sorted(named) == sorted(importlib.import_module(package).__all__)


# ---------------------------------------------------------------- the site


def needs_site_packages():
    for package in ('mkdocs', 'mkdocstrings', 'latex2mathml'):
        pytest.importorskip(package, reason="the extra 'docs' is not installed")


def test_formulas_that_follow_each_other_are_blocks_of_their_own():
    needs_site_packages()
    import markdown

    hooks = runpy.run_path(str(ROOT / 'tools/docs_site/site_hooks.py'))
    text = 'As $`a_1 b_1`$:\n\n```math\na\n```\n```math\nb\n```\nand so on'
    html = markdown.markdown(text, extensions=['fenced_code', hooks['MathMLExtension']()])
    shown = re.sub(r'<math[^>]* display="(\w+)".*?</math>', r'\1', html)
    block = '<div class="formula">block</div>'
    assert shown.split('\n') == ['<p>As inline:</p>', block, block, '<p>and so on</p>']
    lines = '```math\na &= b \\\\\nc &= d\n```'
    html = markdown.markdown(lines, extensions=['fenced_code', hooks['MathMLExtension']()])
    assert html.count('<mtr>') == 2 and '&<' not in html


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The folder of the built site."""
    needs_site_packages()
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', folder]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return folder


@pytest.mark.slow
def test_the_site_builds_and_needs_no_network(site):
    pages = {path.relative_to(site).as_posix(): path for path in site.rglob('*.html')}
    assert {'index.html', 'source/configs/sadcl/sadcl_r101_coco448.py.html'} <= pages.keys()
    for name, path in pages.items():
        text = path.read_text(encoding='utf-8')
        loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="?([^" >]+)', text)
        assert not [target for target in loaded if re.match('(https?:)?//', target)], name
        assert '$`' not in text, f'{name}: a formula was left as it is'
    for path in site.rglob('*.css'):
        assert not re.search(r'(@import|url\()\s*["\']?(https?:)?//', path.read_text())
    assert '<math' in pages['protocols.html'].read_text()
    reference = pages['api.html'].read_text()
    assert '<math' in reference
    for name in ('mlic.models.LabelEmbedHead.loss', 'projects.sadcl.models.SADCLHead.other_losses'):
        assert f'id="{name}"' in reference
    assert not re.search(r':(class|func|math):|\.\. math::', reference)


@pytest.mark.slow
def test_the_search_finds_documents_before_code(site):
    index = json.loads((site / 'search/search_index.json').read_text(encoding='utf-8'))
    last = {part['location'].split('#')[0] for part in index['docs'] if part.get('boost')}
    assert {'api.html', 'source/configs/sadcl/sadcl_r101_coco448.py.html'} <= last
    assert not {'running.html', 'source/projects/sadcl/README.md.html'} & last


@pytest.mark.slow
def test_links_between_pages_have_titles(site):
    for path in site.glob('*.html'):
        names = re.findall(r'<a href="[^"]*">([\w-]+\.md)</a>', path.read_text(encoding='utf-8'))
        assert not names, path.name


@pytest.mark.slow
@pytest.mark.parametrize('name', ['index.html', 'source/configs/sadcl/sadcl_r101_coco448.py.html'])
def test_the_search_of_pages_opened_as_files(site, browser, name):
    page = browser.new_page(viewport=dict(width=1200, height=900))
    asked, messages = [], []
    page.on('request', lambda request: asked.append(request.url))
    page.on('pageerror', lambda error: messages.append(str(error)))
    page.on('console', lambda message: messages.append(message.text))
    page.goto((site / name).as_uri())
    page.locator('input.md-search__input').press_sequentially('thresholds of your own')
    found = page.locator('.md-search-result__link[href*="protocols.html"]').first
    found.wait_for(timeout=10_000)
    heights = page.locator('.md-search-result__article').evaluate_all(
        'all => all.map(article => article.offsetHeight)'
    )
    assert 0 < max(heights) < 300  # code is not shown in full
    found.click()
    page.wait_for_url('**/protocols.html*')
    assert not [url for url in asked if not url.startswith(('file:', 'data:'))]
    assert messages == []
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize('width', [390, 1200, 1400])
@pytest.mark.parametrize('name', ['protocols', 'api'])
def test_formulas_neither_collide_nor_widen_the_page(site, browser, name, width):
    page = browser.new_page(viewport=dict(width=width, height=900))
    page.goto((site / f'{name}.html').as_uri())
    assert page.evaluate('document.documentElement.scrollWidth') == width
    boxes = page.locator('.formula').evaluate_all(
        'all => all.map(box => [box.getBoundingClientRect(), box.scrollHeight - box.clientHeight])'
    )
    assert len(boxes) >= 6
    assert all(above['bottom'] < below['top'] for (above, _), (below, _) in pairwise(boxes))
    assert not any(cut for _, cut in boxes)
    lines = 'all => all.map(code => code.getClientRects().length)'
    names = page.locator('td code', has_text=re.compile(r'^\w+$')).evaluate_all(lines)
    assert set(names) <= {1}  # no name in a table is broken
    page.close()


def test_the_picture_of_the_methods_is_what_its_script_draws():
    script = runpy.run_path(str(ROOT / 'tools/docs_site/draw_methods.py'))
    assert script['TARGET'].read_text(encoding='utf-8') == script['draw']()


def test_the_pictures_of_tables_have_the_numbers_of_their_pages():
    script = runpy.run_path(str(ROOT / 'tools/docs_site/draw_tables.py'))
    results = script['hidden_labels']()
    assert [one.name.partition('112')[2] for one in results[:3]] == [
        '',
        '_hidden10',
        '_hidden10-negative',
    ]
    assert results[0][1:] == ([67.95], None, None)
    assert results[1][1:] == ([67.27], -0.67, [-1.17, -0.25]) and len(results) == 9
    panels = [
        [(gain.number, *gain.seeds) for gain in gains]
        for gains in script['contrast_gains']().values()
    ]
    assert panels == [
        [(5, 1.43), (10, 0.54), (25, 0.76), (50, 0.71), (100, 0.04)],
        [(0, 0.04), (15, 0.72), (30, 0.85)],
        [(16, 0.28), (32, 0.04), (64, 0.32), (256, 0.46)],
        [(0, 0.04), (30, 0.69), (60, -0.63)],
    ]
