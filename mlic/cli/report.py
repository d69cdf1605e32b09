"""Write a report of a model as one HTML page: tools/analysis_tools/report.py CONFIG CHECKPOINT

    python tools/analysis_tools/report.py CONFIG CHECKPOINT --out report.html
    python tools/analysis_tools/report.py CONFIG CHECKPOINT --pred predictions.npz
    python tools/analysis_tools/report.py CONFIG CHECKPOINT --threshold thresholds.json
    python tools/analysis_tools/report.py CONFIG CHECKPOINT --split train --out train.html

The page needs no network and no other file: the main numbers, metrics of all protocols, a table
of the classes, curves, sliders for the thresholds, and the worst mistakes as pictures, with
attention where the model has SARLNeck. Without --pred the test set, or another --split, is
predicted, and saved next to the page (.npz).
"""

import argparse
import datetime
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from rich.progress import track

from mlic.apis.model_outputs import predict_item
from mlic.cli import arguments
from mlic.cli.fit_thresholds import describe_source
from mlic.cli.run_data import build_dataset, open_checkpoint
from mlic.cli.test import use_split
from mlic.datasets.pictures import image_name, image_to_draw
from mlic.datasets.wrappers import inner_datasets, transforms_of
from mlic.engine.config.device import adapt_to_device
from mlic.engine.runner.errors import one_line_errors
from mlic.engine.runner.precision import (
    autocast_to,
    eval_precision,
    predict_on_host,
    usable_precision,
)
from mlic.evaluation.matrices import Block, apply_difficult_rule
from mlic.evaluation.predictions import read_predictions, read_tta
from mlic.evaluation.protocols import PROTOCOLS
from mlic.evaluation.summary import Report, evaluate_block
from mlic.evaluation.thresholds import ThresholdFile, parse_score_threshold
from mlic.files import write_text
from mlic.models.attention_maps import is_attentive
from mlic.names import first_names
from mlic.visualization.attention import overlay_attention
from mlic.visualization.report import picture_uri, prediction_data, render_page, select_mistakes


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write a report of a model as one HTML page')
    arguments.add_config_argument(parser)
    arguments.add_checkpoint_arguments(parser)
    parser.add_argument(
        '--pred', type=Path, metavar='PRED.npz', help='predictions of test.py --out (predict now)'
    )
    arguments.add_split_argument(parser)
    arguments.add_out_argument(parser, 'report.html', '.html', '.htm')
    parser.add_argument('--title', help="the page's title (the config's name)")
    arguments.add_own_threshold_argument(parser, 'where the sliders start')
    arguments.add_number(parser, '--num', 12, 'pictures of mistakes, and of missed', least=0)
    arguments.add_difficult_argument(parser)
    arguments.add_cfg_options(parser, 'test_dataloader.batch_size=8')
    return parser.parse_args(argv)


@torch.no_grad()
def predict(model: BaseModel, dataset: BaseDataset, cfg: Config, out_file: Path) -> str:
    """Predict a data set into an ``.npz`` file; returns in which precision."""
    adapt_to_device(cfg)
    loader = Runner.build_dataloader({**cfg.test_dataloader, 'dataset': dataset})
    evaluator = Evaluator(dict(type='MLICMetric', out_file=str(out_file)))
    evaluator.dataset_meta = dataset.metainfo
    precision = usable_precision(eval_precision(cfg), model)
    predict_on_host(model)
    with autocast_to(precision, model):
        for data in track(loader, 'images'):
            evaluator.process(model.test_step(data), data)
    evaluator.evaluate(len(dataset))
    return precision


def check_images(
    dataset: BaseDataset, block: Block, names: list[str], path: Path, split: str
) -> None:
    """SystemExit unless the predictions are of this data set, image by image."""
    classes = [str(name) for name in dataset.metainfo.get('classes') or names]
    if len(dataset) != len(block.target) or classes != names:
        sys.exit(
            f'{path} has {len(block.target)} images and {len(names)} classes, the {split} set '
            f'of the config {len(dataset)} and {len(classes)} (or classes of other names)'
        )
    unknown = np.zeros_like(block.target) if block.unknown is None else block.unknown
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for key, matrix, what in (
            ('gt_label', block.target, 'labels'),
            ('gt_label_unknown', unknown, 'unknown labels'),
        ):
            labels = set(np.asarray(info.get(key, ()), dtype=int).tolist())
            if labels != set(np.flatnonzero(matrix[index]).tolist()):
                sys.exit(f"{path}: image {index} has other {what} than the config's {split} set")


def card(
    dataset: BaseDataset,
    model: BaseModel | None,
    image: int,
    label: int,
    block: Block,
    names: list[str],
) -> dict:
    """An image with a mistake, as the page takes it."""
    sample = predict_item(model, dataset[image])
    picture = image_to_draw(sample, transforms_of(dataset))
    entry = dict(
        label=names[label],
        score=float(block.pred[image, label]),
        image=image_name(sample),
        true=[names[c] for c in np.flatnonzero(block.target[image])],
        picture=picture_uri(picture),
    )
    if block.unknown is not None:
        entry['unknown'] = first_names(names[c] for c in np.flatnonzero(block.unknown[image]))
    if model is not None:
        entry['overlay'] = picture_uri(overlay_attention(picture, sample.attention[label]))
    return entry


def describe_split(dataset: BaseDataset) -> str:
    """The kind of a data set, and which split or annotation file of it; of each in a wrapper."""
    parts = []
    for one in inner_datasets(dataset):
        split = getattr(one, 'split', '') or Path(getattr(one, 'ann_file', '')).stem
        parts.append(', '.join(filter(None, [type(one).__name__, split])))
    return '; '.join(parts)


def protocol_data(report: Report) -> list[dict]:
    """The columns of the page's first table."""
    return [
        dict(
            name=protocol.name,
            rule=f'{">" if protocol.strict else "≥"} {protocol.threshold:g}',
            classes=classes,
            metrics=metrics,
        )
        for protocol, classes, metrics in zip(report.protocols, report.mean_over(), report.metrics)
    ]


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    threshold = parse_score_threshold(args.threshold)
    run = open_checkpoint(args)
    cfg, model, checkpoint = run.config, run.model, run.checkpoint
    threshold = arguments.given_or_own(threshold, run.thresholds)
    if args.split != 'test':
        use_split(cfg, args.split)
    dataset = build_dataset(cfg, 'test')
    precision = 'float32'
    if args.pred is None:
        args.pred = args.out.with_suffix('.npz')
        precision = predict(model, dataset, cfg, args.pred)
    block, names = read_predictions(args.pred)
    report = evaluate_block(block, names, list(PROTOCOLS.values()), difficult=args.difficult)
    target, ignore = apply_difficult_rule(block, args.difficult)
    from_file = isinstance(threshold, ThresholdFile)
    start = threshold.of_classes(names) if from_file else threshold
    data = prediction_data(block.pred, target, ignore, names, start)
    source = describe_source(args.pred, block, args.difficult)
    data['fitted_on'] = {**source, 'file': args.pred.name}
    data['start_fitted_on'] = threshold.fitted_on or None if from_file else None

    if report.known is not None:
        data['known'] = (100 * report.known).round(1).tolist()

    check_images(dataset, block, names, args.pred, args.split)
    model = model if is_attentive(model) else None
    chosen = select_mistakes(block.pred, target, ignore, args.num)
    true = block._replace(target=target)
    for key, entries in zip(('mistakes', 'missed'), chosen):
        data[key] = [card(dataset, model, *entry, true, names) for entry in entries]
    notes = [f'config {Path(args.config).name}, checkpoint {Path(checkpoint.path).name}']
    if args.split == 'train':
        notes.append('optimistic: the model has learnt from these images')
    if precision != 'float32':
        notes.append(f'predicted in {precision}')
    tta = read_tta(args.pred)
    if tta:
        notes.append(f'predicted with test-time augmentation: {tta}')
    if from_file:
        notes.append(f'the sliders start at the thresholds of {Path(threshold.path).name}')
        if threshold.fitted_on.get('sha256') == source['sha256']:
            notes.append('optimistic: these thresholds were fitted on these very predictions')
    facts = describe_split(dataset), report.describe(), datetime.date.today().isoformat()
    data['facts'] = ' · '.join(facts)
    data.update(notes=notes, protocols=protocol_data(report))
    write_text(args.out, render_page(args.title or Path(args.config).stem, data))
    print(f'page: {args.out}, {args.out.stat().st_size / 1e6:.1f} MB')
