"""Make a checkpoint small and ready to give away: tools/publish_model.py SRC DST-DIR

It keeps the weights that prediction needs (the averaged ones, where training averages), the names
of the classes, their thresholds and the config. It drops optimizer, schedule, logs, projector,
prototypes, memory bank, absolute paths of the machine and services that take logs (WandB, MLflow).
It writes <config>-<first 8 digits of the file's SHA-256>.pth (or .safetensors) and next to it, with
the same name, the config for prediction (.py), and a model card (README.md).
"""

import argparse
import hashlib
import io
import os
import re
from pathlib import Path, PurePath

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mlic.apis.model_card import model_card
from mlic.apis.open_run import OpenRun, open_run
from mlic.apis.stored_config import read_stored_config
from mlic.cli import arguments
from mlic.engine.checkpoints.safetensors_file import to_safetensors
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.predictions import read_predictions, read_tta
from mlic.evaluation.protocols import PROTOCOLS
from mlic.evaluation.summary import Report, evaluate_block
from mlic.files import ESCAPED, write_texts
from mlic.literals import write_literals
from mlic.registries import load_config

PRIVATE = ('work_dir', 'load_from', 'load_from_classes', 'resume', 'launcher', 'experiment_name')
# visualization backends that write files of this machine
LOCAL_BACKENDS = ('LocalVisBackend', 'TensorboardVisBackend')
KEPT_META = ('epoch', 'iter', 'seed', 'dataset_meta')
FORMATS = ('pth', 'safetensors')
CARD = 'README.md'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Strip a checkpoint down to what prediction needs')
    arguments.add_checkpoint_arguments(parser, 'source', metavar='SRC')
    parser.add_argument('target', metavar='DST-DIR', type=Path, help='folder to write to')
    arguments.add_stored_config_arguments(parser)
    arguments.add_stored_threshold_argument(parser)
    parser.add_argument('--format', choices=FORMATS, default='pth', help='file format (pth)')
    parser.add_argument(
        '--pred',
        type=Path,
        metavar='PRED.npz',
        help='predictions of test.py --out, for the metrics in the model card (none in it)',
    )
    return parser.parse_args(argv)


def publish(args: argparse.Namespace) -> Path:
    """Write the three files; returns the checkpoint's path.

    Raises:
        FileExistsError: If one of them is there.
        ValueError: If a config cannot be written as plain values, or predictions are of other
            classes.
    """
    options = dict(stage=args.stage, device='cpu', allow_imports=args.allow_import)
    run = open_run(args.source, args.config, **options)
    source = run.checkpoint.path
    print(f'checkpoint: {run.checkpoint}')
    thresholds = arguments.model_thresholds(args.threshold, run.thresholds, run.classes)
    run = run._replace(thresholds=thresholds)
    if args.config is None:
        # of what was published before, too
        stored = dict(cfg=run.meta.get('training_cfg', run.meta.get('cfg')))
        trained = read_stored_config(stored, source, args.allow_import)
    else:
        trained = load_config(args.config)
    name = config_name(args.config, run.meta, source)
    # of a run that was resumed, load_from is the checkpoint of that
    start = '' if trained.get('resume') else PurePath(trained.get('load_from') or '').name
    trained = without_private(trained)
    report = measured(args.pred, run.classes) if args.pred else None
    content = pack(run, trained)
    data = to_bytes(content, args.format)
    digest = hashlib.sha256(data).hexdigest()
    target = args.target / f'{name}-{digest[:8]}.{args.format}'
    pred, tta = (args.pred.name, read_tta(args.pred)) if args.pred else ('', '')
    card = model_card(name, target.name, run, trained, report, pred, start, tta)
    files = {
        target.with_suffix('.py'): content['meta']['cfg'].encode('utf-8', ESCAPED),
        target.with_name(CARD): card.encode('utf-8', ESCAPED),
        target: data,
    }
    for path in files:
        if path.exists():
            raise FileExistsError(f'{path} exists: it is not overwritten')
    write_texts(files)
    return target


def to_bytes(content: dict, file_format: str) -> bytes:
    """The content of the file."""
    if file_format == 'safetensors':
        return to_safetensors(**content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def measured(path: Path, classes: list[str]) -> Report:
    """The metrics of predictions under every protocol, the first of which is 'standard'."""
    block, names = read_predictions(path)
    if names != classes:
        raise ValueError(f'{path}: its classes are not those of the checkpoint')
    protocols = sorted(PROTOCOLS.values(), key=lambda protocol: protocol.name != 'standard')
    return evaluate_block(block, names, protocols)


def pack(run: OpenRun, trained: Config) -> dict:
    """The content of the published checkpoint."""
    cfg = without_private(run.config)
    # this one predicts and evaluates; hooks of training stay in the other config
    cfg.custom_hooks = []
    kept = {key: run.meta[key] for key in KEPT_META if key in run.meta}
    dataset_meta = {**(kept.get('dataset_meta') or {}), 'classes': run.classes}
    state_dict = {name: value.contiguous() for name, value in run.model.state_dict().items()}
    if run.thresholds:
        kept['thresholds'] = run.thresholds.content()
    what = f'the config of {run.checkpoint.path}'
    texts = {
        name: write_literals(config.to_dict(), what)
        for name, config in (('cfg', cfg), ('training_cfg', trained))
    }
    return dict(meta=dict(kept, dataset_meta=dataset_meta, **texts), state_dict=state_dict)


def without_private(config: Config) -> Config:
    """A copy without what belongs to one run on one machine.

    Relative paths stay: the config evaluates where data lie in the same place. Of an absolute one
    (data, weights to start from) the last part stays.
    """
    cfg = config.to_dict()
    for key in PRIVATE:
        cfg.pop(key, None)
    return Config(last_parts(_without_services(cfg)))


def _without_services(value: object) -> object:
    """The same without backends that send logs to a service, with its address and keys."""
    if isinstance(value, dict):
        value = {key: _without_services(item) for key, item in value.items()}
        backends = value.get('vis_backends')
        if isinstance(backends, (list, tuple)):
            kinds = [item.get('type') if isinstance(item, dict) else None for item in backends]
            kept = [item for item, kind in zip(backends, kinds) if kind in LOCAL_BACKENDS]
            value['vis_backends'] = kept or [dict(type='LocalVisBackend')]
    return value


def last_parts(value: object) -> object:
    """The same dicts and lists, with the last part of each absolute path."""
    if isinstance(value, dict):
        return {key: last_parts(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(last_parts(item) for item in value)
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value


def config_name(config: str | None, meta: dict, source: str) -> str:
    """Of the config file, else of the run (without its time), else of the checkpoint file."""
    if config:
        return Path(config).stem
    name = str(meta.get('experiment_name') or Path(source).stem)
    name = re.sub(r'_\d{8}_\d{6}$', '', name)
    return re.sub(r'[^\w.-]', '_', name)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    MMLogger.get_instance('publish', log_level='WARNING')
    target = publish(args)
    print(f'{target}: {os.path.getsize(target) / 1e6:.1f} MB')
    print(f'{target.with_suffix(".py")}: its config')
    print(f'{target.with_name(CARD)}: its model card')
