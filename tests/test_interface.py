"""What users type stays: registry names, config names, and the options of every tool.

``interface.json`` is the list as it was before the toolkit became a package of its own. What has
changed since then is said here.
"""

import argparse
import inspect
import json
from pathlib import Path

import mmpretrain.registry
import pytest
from mmengine.registry import Registry

import tests.methods  # noqa: F401
from tests.helpers import ROOT, call_tool

BEFORE = json.loads((ROOT / 'tests' / 'interface.json').read_text())
NEW_NAMES = {
    'DATASETS': {
        'ClassPart',
        'DegradedData',
        'HideLabels',
        'MultiLabelDataset',
        'OnePositive',
    },  # MultiLabelDataset is mmpretrain's, checked
    'LOOPS': {'MultiLabelTestLoop', 'MultiLabelValLoop'},
    'HOOKS': {
        'ClassInfoHook',
        'ContextMemoryHook',
        'DeferredInfoHook',
        'EarlyLoggerHook',
        'ForeachEMAHook',
        'LabelCheckHook',
        'MultiLabelVisualizationHook',
        'StageRestartHook',
        'TeachersHook',
    },
    'MODELS': {
        *('ExpectedPositiveLoss', 'ImageContrastHead', 'ImageSupConLoss', 'LabelEmbedHead'),
        'MultiLabelDataPreprocessor',
        *('ADDGCNHead', 'ADDGCNNeck', 'CCDHead', 'CTranHead', 'TDRGHead'),
        *('CPCLHead', 'DSDLHead', 'MarginLoss'),
        'LazyLoRAModel',
        *('MCARClassifier', 'MCARHead', 'MLGCNHead', 'MultiLabelSoftMarginLoss'),
        *('DistilledClassifier', 'R101TFHead', 'R101TFNeck'),
        *(
            'NeckLossClassifier',
            'PriorSmoothLoss',
            'SALGLNeck',
            'SSGRLNeck',
            'SupConLoss',
            'WeakNegativeLoss',
        ),
    },
    'OPTIM_WRAPPER_CONSTRUCTORS': {'SharedGroupsConstructor'},
    'TRANSFORMS': {'PackInputs'},  # mmpretrain's, with unknown labels
    'VISUALIZERS': {'MultiLabelVisualizer'},
}
RENAMED_TOOLS = {
    'analysis_tools/eval_predictions.py': 'analysis_tools/eval_metric.py',
    'dataset_tools/browse.py': 'dataset_tools/browse_dataset.py',
    'dataset_tools/verify.py': 'dataset_tools/verify_dataset.py',
    'publish.py': 'publish_model.py',
}
NEW_TOOLS = {
    'dataset_tools/class_parts.py': ['--help', '--out', '--parts', '--seed'],
    'dataset_tools/label_vectors.py': ['--glove', '--help', '--out', '--spell'],
    'analysis_tools/compare_precision.py': [
        '--cfg-options',
        '--help',
        '--precision',
        '--threshold',
    ],
    'analysis_tools/measure_embeddings.py': [
        *('--against', '--cfg-options', '--help', '--max-pairs', '--names', '--neighbours'),
        *('--num', '--out', '--resamples', '--seed'),
    ],
    'analysis_tools/localize.py': [
        *('--against', '--cfg-options', '--help', '--least', '--maps', '--masks', '--names'),
        *('--out', '--tolerance'),
    ],
    'benchmark/models.py': ['--cfg-options', '--help', '--repeats'],
}
GONE_CONFIGS = {'sadcl/sadcl_r101_coco448_formula'}  # is `sadcl_r101_coco448` now
NEW_OPTIONS = {
    'compare.py': {'--by-images', '--epochs', '--sweep', '--tune', '--vary'},
    'compute_prototypes.py': {'--precision'},
    'analysis_tools/fit_thresholds.py': {'--precision'},
    'analysis_tools/report.py': {'--split'},
    **dict.fromkeys(('infer.py', 'test.py'), {'--known', '--precision', '--tta'}),
    'dataset_tools/from_csv.py': {
        *('--absent', '--group-column', '--ignore-columns', '--image-column', '--label-columns'),
        *('--present', '--skip-unreadable', '--split-column', '--splits-of', '--unknown'),
        '--unlisted',
    },
    'dataset_tools/from_folder.py': {'--sep', '--skip-unreadable', '--splits-of', '--unlisted'},
    'deploy/export.py': {'--half'},
    'model_converters/published_to_mm.py': {'--graph', '--vectors'},
    'publish_model.py': {'--format', '--pred'},
}
RENAMED_OPTIONS = {
    **dict.fromkeys(('--thr', '--thr-file', '--thresholds'), '--threshold'),
    '--num-images': '--num',
}
# which checkpoint a work directory stands for
WITH_STAGE = {
    'analysis_tools/compare_precision.py',
    *('analysis_tools/localize.py', 'analysis_tools/measure_embeddings.py'),
    *('analysis_tools/plot_embeddings.py', 'analysis_tools/report.py'),
    *('analysis_tools/show_attention.py', 'analysis_tools/show_prototypes.py'),
    *('deploy/export.py', 'deploy/verify.py'),
    *('compute_prototypes.py', 'demo.py', 'infer.py', 'publish_model.py', 'test.py'),
}
# which packages the config inside a checkpoint may import
WITH_STORED_CONFIG = {'demo.py', 'infer.py', 'publish_model.py'}
# each class's threshold, for a model that is given away
WITH_STORED_THRESHOLDS = {'deploy/export.py', 'deploy/verify.py', 'publish_model.py'}
TOOLS = {RENAMED_TOOLS.get(tool, tool): options for tool, options in BEFORE['tools'].items()}
TOOLS.update(NEW_TOOLS)


class FoundParser(BaseException):
    """Ends a tool where it has made its parser."""


def options_of(parser):
    """The long options of a parser and of its commands."""
    options = {name for action in parser._actions for name in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            options.update(*map(options_of, action.choices.values()))
    return {name for name in options if name.startswith('--')}


def test_registry_names_are_those_of_before_and_the_new_ones():
    for name, registry in vars(mmpretrain.registry).items():
        if isinstance(registry, Registry):
            ours = {
                key
                for key, value in registry.module_dict.items()
                if value.__module__.startswith(('mlic.', 'projects.'))
                and Path(inspect.getfile(value)).is_relative_to(ROOT)
            }
            assert ours == {*BEFORE['registry'].get(name, ()), *NEW_NAMES.get(name, ())}, name


def test_every_config_of_before_is_there_but_for_what_another_became():
    folder = ROOT / 'configs'
    found = {path.relative_to(folder).with_suffix('').as_posix() for path in folder.rglob('*.py')}
    assert set(BEFORE['configs']) - found == GONE_CONFIGS


def test_the_tools_are_those_of_before_under_their_new_names():
    folder = ROOT / 'tools'
    found = {path.relative_to(folder).as_posix() for path in folder.rglob('*.py')}
    assert {path for path in found if not path.startswith('docs_site/')} == set(TOOLS)


@pytest.mark.parametrize('tool', sorted(TOOLS))
def test_options_of_a_tool_are_those_of_before_but_for_the_renamed(tool, monkeypatch):
    def stop(parser, *args, **kwargs):
        raise FoundParser(parser)

    monkeypatch.setenv('LOCAL_RANK', '0')  # which train.py and test.py set
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    with pytest.raises(FoundParser) as found:
        call_tool(f'tools/{tool}')
    expected = {RENAMED_OPTIONS.get(name, name) for name in TOOLS[tool]}
    expected |= NEW_OPTIONS.get(tool, set())
    expected |= {'--stage'} if tool in WITH_STAGE else set()
    expected |= {'--allow-import'} if tool in WITH_STORED_CONFIG else set()
    expected |= {'--threshold'} if tool in WITH_STORED_THRESHOLDS else set()
    assert options_of(found.value.args[0]) == expected
