"""Every command in the documents: its tool takes its arguments, its config loads.

Some are executed, too: those of inference.md and deploy.md in test_deploy.py, those of datasets.md
on own images in test_own_data.py, the tutorial's in test_document_examples.py.
"""

import argparse
import functools
import os
import re
import runpy
import shlex
from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config

from tests.helpers import DOCUMENTS, ROOT, code_of, run_tool

PROJECT = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
A_CONFIG = 'configs/sadcl/sadcl_efficientnet-lite0_digits128.py'
# What a reader puts instead of capitals
PLACEHOLDERS = {
    'CONFIG': A_CONFIG,
    'CONFIG…': A_CONFIG,
    'CHECKPOINT': 'work_dirs/run/epoch_1.pth',
    'WORK_DIR': 'work_dirs/run',
    'DIR': 'work_dirs/run',
    'PARTITION': 'gpu',
    'JOB': 'run',
    'FIRST.npz': 'first.npz',
    'SECOND.npz': 'second.npz',
    'PRED.npz': 'pred.npz',
    'T': '0.5',
    'FILE': 'file',
    'FILE.json': 'file.json',
}
# What a sentence about an option leaves out, as in `tools/test.py --threshold FILE`
LEFT_OUT = {
    'tools/train.py': 'CONFIG',
    'tools/test.py': 'CONFIG CHECKPOINT',
    'tools/compare.py': 'CONFIG --out DIR',
}
# they show their own files
EXAMPLE = ''.join(
    (ROOT / 'docs' / name).read_text(encoding='utf-8')
    for name in ('write_a_method.md', 'datasets.md')
)
OTHER_PROGRAMS = {'cd', 'cp', 'export', 'mkdir', 'source', 'tensorboard'}


def lines_of(document):
    """The lines of a document's bash blocks, continued ones joined, without comments."""
    # the repository is next to the reader's folder
    text = ''.join(code_of(document, 'bash')).replace('../mlic/', '')
    lines = text.replace('\\\n', ' ').splitlines()
    return [line for line in (re.sub(r'(^|\s)#.*', '', line).strip() for line in lines) if line]


def inline_commands(document):
    """Tools with arguments within sentences and tables: `tools/test.py CONFIG …`."""
    text = re.sub(r'```.*?```', '', document.read_text(encoding='utf-8'), flags=re.DOTALL)
    if document.name == 'figures.md':
        rows = re.findall(r'^\|.*?`(\w+\.py [^`]+)`', text, flags=re.MULTILINE)
        yield from (f'python tools/analysis_tools/{row}' for row in rows)
    for span in re.findall(r'`([^`]+)`', text):
        found = re.fullmatch(r'(?:python )?(tools/\S+\.(?:py|sh)) (\S.*)', ' '.join(span.split()))
        if found:
            tool, arguments = found.groups()
            if arguments.startswith('-'):
                arguments = f'… {arguments}'
            yield f'{tool} {arguments}'.replace('… ', f'{LEFT_OUT.get(tool, "")} ')


def cases():
    """(document, command) of all documents, each command once for a document."""
    for document in DOCUMENTS:
        for line in dict.fromkeys([*lines_of(document), *inline_commands(document)]):
            for command in re.split(r'\s+(?:&&|\|)\s+(?![^\[]*\])', line):
                yield pytest.param(command, id=f'{document.stem}-{command[:60]}')


def fill(command):
    """The words of a command: options in brackets are given, of alternatives the first is taken."""
    command = re.sub(r'\[(--[^\]]+)\]', lambda option: option[1].split('|')[0], command)
    words = shlex.split(command)
    while re.match(r'[A-Z_0-9]+=', words[0]):
        words.pop(0)
    return [PLACEHOLDERS.get(word, word) for word in words]


class ParsedError(BaseException):
    """The parser has taken all arguments; no tool catches it."""


def parse(tool, arguments, monkeypatch):
    """Give the arguments to the tool's own parser; SystemExit if it refuses them."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    # some configs are written by the documents' commands before
    monkeypatch.setattr('mlic.cli.arguments.find_config', lambda name, folder: name)
    original = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *args, **kwargs):
        original(self, *args, **kwargs)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
    with pytest.raises(ParsedError):
        run_tool(tool, *arguments)


def check_configs(words):
    """Configs of the repository load; others are those that a command before has written."""
    for word in words:
        if re.match(r'configs/[\w./-]+\.py$', word) and f'`{word}`:' not in EXAMPLE:
            load(word)


@functools.cache
def load(config):
    return Config.fromfile(ROOT / config)


def check_script(tool, arguments, monkeypatch):
    """The shell scripts hand CONFIG and what follows to train.py or test.py."""
    assert os.access(ROOT / tool, os.X_OK), tool
    if tool == 'tools/slurm_train.sh':
        parse('tools/train.py', arguments[2:], monkeypatch)
        return
    given = 2 if tool == 'tools/dist_test.sh' else 1
    assert arguments[given].isdigit(), 'the number of processes'
    target = tool.replace('dist_', '').replace('.sh', '.py')
    parse(target, arguments[:given] + arguments[given + 1 :], monkeypatch)


def check_pip(words):
    """`pip install -e '.[a,b]'`: the extras are declared."""
    section = PROJECT.split('[project.optional-dependencies]\n')[1].split('\n[')[0]
    declared = set(re.findall(r'^([\w-]+) = \[', section, flags=re.MULTILINE))
    assert words[0] == 'install'
    for word in words[1:]:
        if word.startswith('.'):
            extras = re.fullmatch(r'\.(?:\[([\w,]+)\])?', word)[1]
            assert set(extras.split(',') if extras else ()) <= declared
        else:
            assert word in ('-e', '--no-deps') or re.fullmatch(r'[a-z][a-z0-9-]+', word), word


def check_mim(words, monkeypatch):
    """`mim train mmpretrain CONFIG …`: mmpretrain's own tool takes it."""
    tool, package, *arguments = words
    assert package == 'mmpretrain'
    # `mim test` hands the checkpoint on without the option's name
    arguments = [word for word in arguments if word != '--checkpoint']
    tools = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
    parse(tools / f'{tool}.py', arguments, monkeypatch)


def check_pytest(words):
    """Markers are registered, files exist or are the document's own."""
    section = PROJECT.split('\nmarkers = [\n')[1].split('\n]')[0]
    markers = set(re.findall(r'^    "(\w+):', section, flags=re.MULTILINE))
    for option, value in zip(words, words[1:]):
        if option == '-m':
            assert set(re.findall(r'\w+', value)) - {'not', 'or', 'and'} <= markers
    for word in words:
        if word.startswith('tests/') and f'`{word}`:' not in EXAMPLE:
            assert (ROOT / word).is_file(), word


@pytest.mark.parametrize('command', list(cases()))
def test_every_command_is_taken_by_its_tool(command, monkeypatch):
    words = fill(command)
    program = Path(words[0]).name
    check_configs(words)
    if words[0].startswith('tools/') and words[0].endswith('.sh'):
        check_script(words[0], words[1:], monkeypatch)
    elif words[0].startswith('tools/'):
        parse(words[0], words[1:], monkeypatch)
    elif re.fullmatch(r'python[\d.]*', program):
        if words[1] == '-m':
            assert words[2] in ('venv', 'pytest')
            if words[2] == 'pytest':
                check_pytest(words[3:])
        elif words[1] == 'mlic/demo/onnx_predict.py':
            assert (ROOT / words[1]).is_file()  # executed in test_deploy.py
        else:
            parse(words[1], words[2:], monkeypatch)
    elif program == 'pip':
        check_pip(words[1:])
    elif program == 'make':
        makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
        assert re.search(rf'^{words[1]}:', makefile, re.MULTILINE), words
    elif program == 'mim':
        check_mim(words[1:], monkeypatch)
    else:
        assert program in OTHER_PROGRAMS, f'what is {program}?'


def test_a_wrong_option_is_noticed(monkeypatch, capsys):
    for tool in ('tools/train.py', 'tools/dataset_tools/from_csv.py'):
        with pytest.raises(SystemExit):
            parse(tool, [A_CONFIG, '--no-such-option'], monkeypatch)


def test_the_pictures_of_the_figures_are_those_that_the_script_draws(monkeypatch):
    script = runpy.run_path(str(ROOT / 'tools/docs_site/draw_figures.py'))
    for command in script['COMMANDS'].values():
        tool, *arguments = command.split()
        parse(tool, arguments, monkeypatch)
    shown = re.findall(r'\]\(images/([^)]+)\)', (ROOT / 'docs/figures.md').read_text('utf-8'))
    assert shown.pop() == 'report.png' and sorted(shown) == sorted(script['COMMANDS'])
    assert all((ROOT / 'docs/images' / name).stat().st_size <= 150_000 for name in shown)
