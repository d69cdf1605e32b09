"""The model card of a published checkpoint, as model hubs read it (README.md): what is known."""

import inspect
from collections.abc import Iterator, Mapping

import yaml
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mlic.datasets.wrappers import inner_configs
from mlic.engine.checkpoints.initial_weights import initial_weights
from mlic.evaluation.summary import Report
from mlic.installation import is_method_here
from mlic.names import counted, markdown_text
from mlic.registries import find_registered

from .export import input_size
from .open_run import OpenRun

CLASS_MEAN = ('mAP', 'CF1', 'OF1')  # what the front matter has of the first protocol
UNSAID = ('type', 'pipeline', 'metainfo')  # of a data set

CARD = """---
{front}---

# {name}

A model that predicts which of {number} classes are in an image, any number of them.

| | |
|---|---|
{facts}

## Use

```bash
python tools/infer.py photos --checkpoint {file} --out result{allowed}
```
{needed}
## Classes

In the order of the scores. {decision}

{classes}

## Metrics

{metrics}

## Training

| | |
|---|---|
{training}

The command line of the training is not recorded; its whole config is in the file. These two lines
{again}, once the data are where the config says:

```bash
python -c "from mlic.engine.checkpoints.reading import read_checkpoint as read; \\
print(read('{file}')['meta']['training_cfg'])" > training.py
python tools/train.py training.py{options}
```
"""


def model_card(
    name: str,
    file: str,
    run: OpenRun,
    trained: Config,
    report: Report | None,
    source: str,
    start: str = '',
    tta: str = '',
) -> str:
    """The card of a checkpoint.

    Args:
        name (str): Of the model.
        file (str): Of the published checkpoint.
        run (OpenRun): With the config for prediction.
        trained (Config): That of the training, without what is private.
        report (Report, optional): Its metrics under some protocols; None if they are not known.
        source (str): The file of the predictions behind them.
        start (str): The checkpoint that the training started from, by its name. Defaults to ''.
        tta (str): The test-time augmentation of the predictions. Defaults to '': none.
    """
    measured = 'Not measured for this card.'
    if report:
        how = f', with test-time augmentation ({markdown_text(tta)})' * bool(tta)
        measured = (
            f'Of the predictions in {markdown_text(source)}{how}:\n\n```text\n{report.table()}\n```'
        )
    thresholds = run.thresholds
    decision = 'A label is predicted if its score is at least 0.5.'
    if thresholds:
        decision = (
            'A label is predicted if its score reaches the threshold of its class '
            f'({markdown_text(thresholds)}).'
        )
    values = thresholds.values if thresholds else dict.fromkeys(run.classes, 0.5)
    imports = (run.config.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else imports
    foreign = [x for x in imports if x.split('.')[0] != 'mlic' and not is_method_here(x)]
    modules = markdown_text(', '.join(foreign))
    front = _front(name, report, source, tta)
    rows = [['', 'class', 'threshold'], ['---', '---', '---']]
    rows += [[k, label, f'{values[label]:.4g}'] for k, label in enumerate(run.classes)]
    return CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        name=markdown_text(name),
        number=len(run.classes),
        facts=_table(_facts(run).items()),
        file=file,
        allowed=''.join(f' --allow-import {name}' for name in foreign),
        needed=f'\nIt needs the Python module {modules}.\n' if foreign else '',
        decision=decision,
        classes=_table(rows),
        metrics=measured,
        training=_table(_training(run, trained, start).items()),
        again='repeat the training from those weights, which are not in it'
        if start
        else 'repeat the training',
        options=start and f' --cfg-options load_from={start}',
    )


def _front(name: str, report: Report | None, source: str, tta: str) -> dict:
    """What a hub sorts by: task, library, metrics."""
    front = dict(
        library_name='mlic',
        pipeline_tag='image-classification',
        tags=['multi-label-image-classification', 'mmpretrain', 'pytorch'],
    )
    if report is None:
        return front
    protocol = report.protocols[0].name
    metrics = [
        dict(type=key, value=round(float(report.metrics[0][key]), 2), name=f'{key} ({protocol}), %')
        for key in CLASS_MEAN
    ]
    task = dict(type='image-classification', name='multi-label image classification')
    how = f', test-time augmentation {tta}' * bool(tta)
    dataset = dict(type=source, name=f'{source}, {counted(report.num_images, "image")}{how}')
    index = dict(name=name, results=[dict(task=task, dataset=dataset, metrics=metrics)])
    return dict(front, metrics=list(CLASS_MEAN), **{'model-index': [index]})


def _facts(run: OpenRun) -> dict:
    """Parts, size and precision."""
    model = run.config.model
    parts = [model[key]['type'] for key in ('backbone', 'neck', 'head') if model.get(key)]
    tensors = run.model.state_dict().values()
    kinds = {
        str(value.dtype).removeprefix('torch.') for value in tensors if value.is_floating_point()
    }
    facts = dict(
        parts=' → '.join(parts),
        parameters=f'{sum(value.numel() for value in run.model.parameters()):,}',
        precision=f'weights {", ".join(sorted(kinds))}',
    )
    if run.config.get('test_dataloader'):
        try:
            size = '{} x {} pixels'.format(*input_size(run.config))
        except ValueError:
            size = 'depends on the image'
        facts['input'] = f'RGB, {size}'
    return facts


def _training(run: OpenRun, trained: Config, start: str) -> dict:
    """On what, from where and for how long, as far as config and checkpoint say."""
    model, loader = trained.model, trained.get('train_dataloader') or {}
    wrapper = trained.get('optim_wrapper') or {}
    optimizer = wrapper.get('optimizer') or {}
    score, best = run.checkpoint.score, trained.get('default_hooks', {}).get('checkpoint', {})
    facts = dict(
        data=loader.get('dataset') and _data(loader['dataset']),
        start=', '.join(filter(None, [*initial_weights(trained), *_own_weights(model), start])),
        epochs=run.meta.get('epoch'),
        iterations=run.meta.get('iter'),
        batch=loader.get('batch_size') and f'{loader["batch_size"]} images a process',
        optimizer=optimizer and f'{optimizer.get("type")}, lr {optimizer.get("lr")}',
        precision=_precision(wrapper),
        seed=run.meta.get('seed'),
        validation=score and f'{best.get("save_best", "score")} {score:.2f}',
    )
    return {key: value for key, value in facts.items() if value not in (None, '', {})}


def _own_weights(part: object) -> Iterator[str]:
    """The weights that parts of a model fetch themselves, which are not among initial_weights."""
    if isinstance(part, Mapping):
        # of a stranger's config: MODELS.get would import what is not registered
        cls = find_registered(MODELS, str(part.get('type')).rpartition('.')[2])
        taken = inspect.signature(cls).parameters if cls else {}
        settings = {**{key: value.default for key, value in taken.items()}, **part}
        if settings.get('pretrained') is True:
            which = settings.get('model_name') or settings.get('arch')
            yield f'the pretrained weights of {part["type"]}' + f' ({which})' * bool(which)
    for inner in part.values() if isinstance(part, Mapping) else part:
        if isinstance(inner, (Mapping, list, tuple)):
            yield from _own_weights(inner)


def _precision(wrapper: dict) -> str:
    """What an optimizer wrapper trains in."""
    kind = wrapper.get('type', 'OptimWrapper')
    return 'float32' if kind == 'OptimWrapper' else f'{kind} {wrapper.get("dtype", "")}'


def _data(dataset: dict) -> str:
    """The data sets of a config with what tells them apart."""
    return '; '.join(
        ', '.join([str(one.get('type')), *(f'{k} {v}' for k, v in one.items() if k not in UNSAID)])
        for one in inner_configs(dataset)
    )


def _table(rows: object) -> str:
    """Rows of a Markdown table."""
    return '\n'.join(f'| {" | ".join(map(markdown_text, row))} |' for row in rows)
