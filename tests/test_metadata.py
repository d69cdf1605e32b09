"""model-index.yml, metafiles, CITATION.cff, CI: they parse, and say what the documents say."""

import re
from pathlib import Path

import pytest
import yaml
from modelindex.load_model_index import load

from mlic import __version__
from tests.helpers import ROOT

METAFILES = sorted(ROOT.glob('projects/*/metafile.yml'))
NO_METRIC = {'minutes', 'commit'}


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding='utf-8'))


MODELS = {model['Name']: model for path in METAFILES for model in read(path)['Models']}


def tables(path):
    """The rows of all tables of a document, each as {column: cell}.

    A table without a column `commit` has the one that its section names.
    """
    rows, header, commit = [], None, {}
    for line in (ROOT / path).read_text(encoding='utf-8').splitlines():
        cells = [cell.strip() for cell in line.strip().strip('|').split('|')]
        if not line.startswith('|'):
            header = None
            named = re.search(r'\bcommit ([0-9a-f]{7})\b', line)
            commit = dict(commit=named[1]) if named else {} if line.startswith('#') else commit
        elif header is None:
            header = cells
        elif not set(line) <= set('|-: '):
            rows.append(commit | dict(zip(header, cells)))
    return rows


def config_of(row):
    """The config that a row links to, by its name."""
    found = re.search(r'\]\((?:[\w./-]*configs/\w+/)?([\w-]+)\.py\)', ' '.join(row.values()))
    return found and found[1]


def metrics_of(row):
    """The numbers of a row: {column: value}, and the deviation of a column that has one."""
    metrics = {}
    for column, cell in row.items():
        column = re.sub(r' \(`\w+`\)$', '', column)
        number = re.fullmatch(r'(\d+\.\d+)(?: ± (\d+\.\d+))?', cell)
        if number and column not in NO_METRIC and 'paper' not in column:
            metrics[column] = float(number[1])
            if number[2]:
                part = column.removeprefix('mAP')  # nothing, or such as ', 5 classes'
                metrics[f'standard deviation{part}'] = float(number[2])
    return metrics


def results_of(path):
    """The measured rows of each config: [(metrics, commit or None)], in the order of the file."""
    found, name = {}, None
    for row in tables(path):
        first = next(iter(row.values()))
        name = config_of(row) or (name if first.startswith('the same') else None)
        metrics = metrics_of(row)
        if name and metrics:
            found.setdefault(name, []).append((metrics, row.get('commit')))
    return found


def test_the_index_parses_and_passes_its_own_check(monkeypatch):
    monkeypatch.chdir(ROOT)
    index = load('model-index.yml')
    index.check(silent=True)
    problems = [*index.check_errors]
    for model in index.models:
        model.check(silent=True)
        problems += model.check_errors
    assert not problems
    assert {model.name for model in index.models} == set(MODELS)
    imported = {ROOT / path for path in read('model-index.yml')['Import']}
    assert imported == set(METAFILES)


@pytest.mark.parametrize('path', METAFILES, ids=lambda path: path.parent.name)
def test_files_exist_and_names_are_those_of_configs(path):
    content = read(path)
    collections = {collection['Name'] for collection in content['Collections']}
    for collection in content['Collections']:
        assert (ROOT / collection['README']).is_file()
        assert (ROOT / collection['Code']['URL']).is_file()
        assert collection['Code']['Version'] == __version__
    names = [model['Name'] for model in content['Models']]
    assert len(names) == len(set(names))
    for model in content['Models']:
        assert (ROOT / model['Config']).is_file()
        assert Path(model['Config']).stem == model['Name']
        assert model['In Collection'] in collections
        assert model['Weights'] is None, 'no weights are published'


def test_results_are_the_rows_of_the_experiments():
    wanted = results_of('docs/experiments.md')
    assert len(wanted) >= 10
    assert wanted.keys() == {name for name, model in MODELS.items() if 'Results' in model}
    for name, rows in wanted.items():
        results = MODELS[name]['Results']
        assert [result['Metrics'] for result in results] == [metrics for metrics, _ in rows], name
        for result, (_, commit) in zip(results, rows):
            assert re.fullmatch(r'[0-9a-f]{7}', result['Commit'])
            assert commit in (None, result['Commit']), name
            assert result['Protocol'] == 'standard'
            assert 'Seed' in result


def by_method(path, column):
    """The first number in a column, by the method that the first column names."""
    found = {}
    for row in tables(path):
        first = next(cell for key, cell in row.items() if key != 'commit')
        number = re.match(r'\d+\.\d+', row.get(column, ''))
        if number:
            found[re.sub(r'\[([^]]+)\]\([^)]*\)', r'\1', first).split(',')[0]] = float(number[0])
    return found


def test_numbers_of_the_main_readme_are_those_of_the_documents():
    ours = by_method('README.md', 'measured here')
    measured = by_method('docs/comparison.md', 'mAP')
    assert len(ours) >= 8
    assert ours == {name: measured[name] for name in ours}
    assert by_method('docs/methods.md', 'ours') == ours
    paper = by_method('README.md', "paper's mAP on COCO")
    published = by_method('docs/methods.md', "paper's mAP: COCO")
    assert len(paper) >= 8
    assert paper == {name: published[name] for name in paper}


def test_numbers_of_the_paper_are_labelled_and_equal_in_all_places():
    found = 0
    for row in tables('configs/sadcl/README.md'):
        column = next((name for name in row if 'paper' in name), None)
        number = column and re.match(r'\d+\.\d', row[column])
        if number and config_of(row):
            found += 1
            assert MODELS[config_of(row)]['Metadata']["Paper's mAP"] == float(number[0])
    assert found >= 3


def test_a_paper_number_is_the_same_in_docstring_metafile_and_table():
    docstrings = {}
    for name, model in MODELS.items():
        text = (ROOT / model['Config']).read_text(encoding='utf-8').split('"""')[1]
        number = re.search(r'Paper[^:]*: mAP (\d+\.\d+)', text)
        if number:
            docstrings[name] = float(number[1])
    paper = "Paper's mAP"
    models = {k: m['Metadata'][paper] for k, m in MODELS.items() if paper in m['Metadata']}
    assert docstrings == models
    rows = {
        config_of(row): re.match(r'\d+\.\d+', row[key])
        for page in ROOT.glob('configs/*/README.md')
        for row in tables(page)
        for key in row
        if key.startswith("the paper's mAP")
    }
    assert {name: float(found[0]) for name, found in rows.items() if found} == models
    assert len(models) >= 25


def test_the_citation_names_software_and_paper():
    citation = read('CITATION.cff')
    assert citation['cff-version'] == '1.2.0'
    assert {'message', 'title', 'authors'} <= citation.keys()  # what the format requires
    assert citation['version'] == __version__
    (paper,) = citation['references']
    readme = (ROOT / 'README.md').read_text(encoding='utf-8').replace('\n', ' ')
    assert paper['title'] in readme
    for author in paper['authors']:
        assert f'{author["given-names"]} {author["family-names"]}' in readme
    assert read('projects/sadcl/metafile.yml')['Collections'][0]['Paper']['URL'] == paper['url']


# ---------------------------------------------------------------- workflow and pre-commit hooks


def test_the_workflow_runs_targets_that_exist_on_every_supported_python():
    jobs = read('.github/workflows/ci.yml')['jobs']
    makefile = (ROOT / 'Makefile').read_text()
    steps = [step for job in jobs.values() for step in job['steps']]
    targets = {step['run'].split()[1] for step in steps if step.get('run', '').startswith('make ')}
    assert targets == {'lint', 'test'}
    assert all(re.search(rf'^{target}:', makefile, re.MULTILINE) for target in targets)
    used = {step['uses'] for step in steps if 'uses' in step}
    assert all(re.fullmatch(r'actions/[\w-]+@v\d+', action) for action in used), used
    versions = jobs['test']['strategy']['matrix']['python-version']
    assert versions == ['3.10', '3.11', '3.12', '3.13']
    assert f'requires-python = ">={versions[0]}"' in (ROOT / 'pyproject.toml').read_text()
    assert 'secrets.' not in (ROOT / '.github/workflows/ci.yml').read_text()


def test_hooks_before_a_commit_use_the_ruff_of_the_project():
    repositories = read('.pre-commit-config.yaml')['repos']
    (ruff,) = [entry for entry in repositories if entry['repo'].endswith('/ruff-pre-commit')]
    version = ruff['rev'].removeprefix('v')
    assert f'"ruff=={version}"' in (ROOT / 'pyproject.toml').read_text()
