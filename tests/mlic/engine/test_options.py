"""--cfg-options and --set: entries that nothing reads are refused."""

import argparse
import ast
import inspect
import re
from unittest import mock

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mlic.cli.arguments import add_cfg_options
from mlic.engine.config.options import READ, merge_options, misspelt_names, set_in_vain
from mlic.engine.runner.tool_runners import TrainingRunner
from mlic.installation import CONFIGS, find_config
from tests.helpers import ROOT, call_tool, run_tool

DIGITS = 'sadcl_efficientnet-lite0_digits128'
COCO = 'sadcl_r101_coco448'
TRAIN, TEST, COMPARE = 'tools/train.py', 'tools/test.py', 'tools/compare.py'


def merged(config, **options):
    cfg = Config.fromfile(find_config(config))
    merge_options(cfg, options)
    return cfg


@pytest.mark.parametrize(
    'key, meant',
    [
        ('train_dataloder.batch_size', 'train_dataloader.batch_size'),
        ('eval_precison', 'eval_precision'),
        ('compil', 'compile'),
        ('seed', 'randomness.seed'),
        ('backbone.out_stage', 'model.backbone.out_stage'),
    ],
)
def test_an_option_that_nothing_reads_is_refused_with_the_name_that_was_meant(key, meant):
    with pytest.raises(ValueError) as error:
        merged(DIGITS, **{key: 3})
    assert str(error.value) == f'nothing reads {key}; did you mean {meant}?'


@pytest.mark.parametrize(
    'name, meant',
    [('optim_wraper', 'optim_wrapper'), ('param_schedulers', 'param_scheduler')],
)
def test_a_name_in_a_config_that_is_nearly_one_read_is_told(name, meant):
    (line,) = misspelt_names({name: {}, 'train_pipeline': [], 'model': {}, 'slower': {}})
    assert line == f'nothing reads {name} of the config; did you mean {meant}?'


@pytest.mark.parametrize(
    'cfg, line',
    [
        (
            dict(env_cfg=dict(cudn_benchmark=True, dist_cfg={})),
            'nothing reads env_cfg.cudn_benchmark: cudnn_benchmark, mp_cfg, dist_cfg, '
            'resource_limit are',
        ),
        (
            dict(auto_scale_lr=dict(base_batch_size=8, enabled=True)),
            'nothing reads auto_scale_lr.enabled: base_batch_size, enable are',
        ),
        (
            dict(default_hooks=dict(checkpoint={}, timer=None, checkpont={})),
            'default_hooks has checkpoint and checkpont: did you mean one of them?',
        ),
    ],
)
def test_a_misspelt_name_inside_is_told(cfg, line):
    assert misspelt_names(cfg) == [line]


def test_names_of_the_configs_here_are_not_taken_for_misspelt():
    for path in CONFIGS.glob('*/**/*.py'):
        names = ast.parse(path.read_text(encoding='utf-8')).body
        assigned = [node.targets[0] for node in names if isinstance(node, ast.Assign)]
        names = [target.id for target in assigned if isinstance(target, ast.Name)]
        assert misspelt_names(dict.fromkeys(names)) == [], path


@pytest.fixture
def base(tmp_path):
    """A config file that makes its pipeline of its size, and its training data of both."""
    path = tmp_path / 'base.py'
    path.write_text(
        'size = 448\nunused = 1\npipeline = [dict(scale=size)]\n'
        'train_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
    )
    return path


@pytest.mark.parametrize(
    'texts, told',
    [
        (['size = 224'], {'size': 'pipeline'}),
        (['pipeline = []'], {'pipeline': 'train_dataloader'}),
        (['size = 224\npipeline = [size]'], {'pipeline': 'train_dataloader'}),
        (['size = 224', 'model = dict()'], {'size': 'pipeline'}),
        (['size = 448'], {}),  # as it is in the base
        (['size = 224', 'model = dict(side=_base_.size)'], {}),
        (['size = 224\nmodel = dict(side=size)'], {}),
        (['size = 224\npipeline = [dict(scale=224)]'], {'pipeline': 'train_dataloader'}),
        (['pipeline = [1]\ntrain_dataloader = dict(dataset=dict(pipeline=[1]))'], {}),
        (['other = 224\nunused = 2\ntrain_dataloader = dict(batch_size=2)'], {}),
    ],
)
def test_a_value_of_a_file_that_only_inherited_files_have_used_is_told(base, texts, told):
    path = base
    for number, text in enumerate(texts):
        path = base.with_name(f'own{number}.py')
        above = f'own{number - 1}.py' if number else 'base.py'
        path.write_text(f"_base_ = './{above}'\n{text}\n")
    assert set_in_vain(Config.fromfile(path).text) == [
        f'setting {name} in own0.py changes nothing: what it inherits has already used its {name}, '
        f'for {made}; set this anew, too'
        for name, made in told.items()
    ]


@pytest.mark.parametrize(
    'tool, options', [(TRAIN, ['--dry-run']), (TRAIN, []), (COMPARE, ['--out', 'out'])]
)
@pytest.mark.usefixtures('empty_folder')
def test_what_is_about_to_train_tells_what_its_config_sets_in_vain(tool, options, tmp_path, capfd):
    config = tmp_path / 'own.py'
    config.write_text(f"_base_ = '{find_config(DIGITS)}'\nfew = dict(num_images=9)\n")
    with (
        mock.patch.object(TrainingRunner, 'train'),
        mock.patch('mlic.cli.compare.run_all', side_effect=KeyboardInterrupt),
    ):
        call_tool(tool, config, *options)
    told = 'setting few in own.py changes nothing: '
    assert sum(told in line for line in ''.join(capfd.readouterr()).splitlines()) == 1


def test_an_option_like_no_other_is_refused_without_a_guess():
    with pytest.raises(ValueError, match=r'^nothing reads data_root$'):
        merged(DIGITS, data_root='/data')


@pytest.mark.parametrize(
    'config, key, entries',
    [
        (
            COCO,
            'data_root',
            ['train_dataloader.dataset.data_root', 'test_dataloader.dataset.data_root'],
        ),
        (DIGITS, 'num_classes', ['model.neck', 'model.head', 'data_preprocessor']),
        (COCO, 'dataset_type', ['train_dataloader.dataset.type']),
        (DIGITS, 'vis_backends.0.type', ['visualizer.vis_backends.0.type']),
        (DIGITS, 'train.num_images', ['train_dataloader.dataset.num_images']),
        (
            COCO,
            'size',
            [
                'train_dataloader.dataset.pipeline.1.scale',
                'val_dataloader.dataset.pipeline.1.scale',
            ],
        ),
        (COCO, 'epochs', ['the entries that were made of it']),
    ],
)
def test_a_value_that_the_file_has_used_is_refused_with_the_entries_that_hold_it(
    config, key, entries
):
    with pytest.raises(ValueError) as error:
        merged(config, **{key: 5})
    name = key.partition('.')[0]
    message = str(error.value)
    assert message.startswith(
        f'setting {key} changes nothing: the config file has already used its {name}; set '
    )
    assert [entry for entry in entries if entry not in message] == []


@pytest.mark.parametrize(
    'cfg, entry',
    [
        (
            dict(epochs=1, train_cfg=dict(max_epochs=1, val_interval=1, log_epochs=True)),
            'train_cfg.max_epochs',
        ),
        (
            dict(base_lr=1, optim_wrapper=dict(optimizer=dict(lr=1, nesterov=1))),
            'optim_wrapper.optimizer.lr',
        ),
    ],
)
def test_a_number_that_the_file_has_used_is_looked_for_under_similar_names(cfg, entry):
    with pytest.raises(ValueError, match=f'; set {entry}$'):
        merge_options(Config(cfg), {next(iter(cfg)): 3})


def test_entries_that_are_read_are_replaced_and_files_may_name_anything(tmp_path):
    path = tmp_path / 'own.py'
    path.write_text('batch = 4\ntrain_dataloader = dict(batch_size=batch)\n')
    cfg = merged(path, **{'train_dataloader.batch_size': 8, 'compiled_parts': ['neck']})
    assert cfg.to_dict() == dict(
        batch=4, train_dataloader=dict(batch_size=8), compiled_parts=['neck']
    )


@pytest.mark.parametrize('key', ['custom_hooks.99.begin', 'custom_hooks.begin', 'resume.x'])
def test_a_key_that_leads_nowhere_is_named(key):
    with pytest.raises(ValueError, match=f'^{re.escape(key)}: '):
        merged(DIGITS, **{key: 3})


def test_all_that_is_read_at_the_top_of_a_config_may_be_set():
    read = re.findall(r"self\.cfg\.get\(\s*'(\w+)'", inspect.getsource(Runner))
    for path in (*ROOT.glob('mlic/**/*.py'), *ROOT.glob('projects/**/*.py')):
        text = path.read_text(encoding='utf-8')
        read += re.findall(r"\b(?:runner|self|run)\.cfg\.get\(\s*'(\w+)'", text)
    assert len(read) > 5 and set(read) <= READ


@pytest.mark.parametrize(
    'command',
    [
        (TRAIN, DIGITS, '--dry-run', '--cfg-options'),
        (TEST, DIGITS, 'none.pth', '--cfg-options'),
        ('tools/dataset_tools/browse_dataset.py', DIGITS, '--cfg-options'),
        ('tools/benchmark/models.py', DIGITS, '--cfg-options'),
        (COMPARE, DIGITS, '--out', 'out', '--set'),
    ],
)
@pytest.mark.usefixtures('empty_folder')
def test_every_tool_refuses_an_option_that_nothing_reads(command):
    with pytest.raises(SystemExit, match='^error: nothing reads sede$'):
        run_tool(*command, 'sede=3')


@pytest.mark.parametrize('command', [(TRAIN, DIGITS, '--cfg-options'), (COMPARE, DIGITS, '--set')])
@pytest.mark.parametrize('words', [['foo'], ['model.head.topk', '16'], ['=3'], ['model.x=[1,(2']])
def test_an_option_in_another_form_is_refused_in_one_line(command, words, capsys):
    with pytest.raises(SystemExit) as end:
        run_tool(*command, *words)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f'argument {command[-1]}: expected KEY=VALUE, got {words[0]!r}')


@pytest.mark.parametrize(
    'text, value',
    [
        ('/x/E run/best (1).pth', '/x/E run/best (1).pth'),
        ('"hot dog"', 'hot dog'),
        ('[hot dog, cat]', ['hot dog', 'cat']),
        ('( 1, 2.5 ,[a b, None])', (1, 2.5, ['a b', None])),
        ('1, 2', [1, 2]),
        ('(0.8, 1), (a b, 2)', [(0.8, 1), ('a b', 2)]),
        ('[1],2,', [[1], 2]),
        ('1e-4', 1e-4),
        (' 3 ', 3),
        ('true', True),
        ('None', None),
        ('[]', []),
        ('', ''),
    ],
)
def test_a_value_is_read_with_the_blanks_within_it(text, value):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    assert parser.parse_args(['--cfg-options', f'a.b={text}']).cfg_options == {'a.b': value}
