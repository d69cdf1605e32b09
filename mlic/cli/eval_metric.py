"""Compute metrics again from saved predictions: tools/analysis_tools/eval_metric.py PRED.npz

    python tools/test.py CONFIG CHECKPOINT --out predictions.npz
    python tools/analysis_tools/eval_metric.py predictions.npz --protocols all

PRED.npz holds pred (N, C) scores from 0 to 1 and target (N, C) 0 or 1; ignore (N, C) bool, VOC's
difficult entries, unknown (N, C) bool, labels that nobody gave, and classes (C,) names may be left
out. Nothing in it is executed.
"""

import argparse
from pathlib import Path

from mlic.cli import arguments
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.predictions import file_digest, read_predictions, read_tta
from mlic.evaluation.protocols import PROTOCOLS, get_protocols
from mlic.evaluation.summary import evaluate_block
from mlic.evaluation.thresholds import parse_score_threshold
from mlic.files import read_class_file, write_json


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compute metrics from saved predictions')
    parser.add_argument('predictions', metavar='PRED.npz', type=Path, help='file of test.py --out')
    parser.add_argument(
        '--protocols',
        nargs='+',
        default=['standard'],
        metavar='NAME',
        help=f'all, or one or more of {", ".join(PROTOCOLS)} (standard)',
    )
    arguments.add_threshold_argument(parser, 'what decides', None)
    arguments.add_number(parser, '--topk', 3, 'size of the top-k rule')
    parser.add_argument(
        '--classes', type=Path, metavar='FILE', help='evaluate only these classes, one name a line'
    )
    arguments.add_difficult_argument(parser)
    table, out = arguments.out_file('.csv'), arguments.out_file('.json')
    parser.add_argument('--per-class', type=table, metavar='OUT.csv', help='metrics of each class')
    parser.add_argument('--out', type=out, metavar='OUT.json', help='the metrics')
    args = parser.parse_args(argv)
    written = args.out, args.per_class
    arguments.keep_inputs(written, args.predictions, args.threshold, args.classes)
    return args


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    names = list(PROTOCOLS) if args.protocols == ['all'] else args.protocols
    protocols = get_protocols(names)
    threshold = parse_score_threshold(args.threshold)
    classes = read_class_file(args.classes) if args.classes else None
    block, names = read_predictions(args.predictions)
    report = evaluate_block(block, names, protocols, threshold, args.topk, classes, args.difficult)
    if args.per_class:
        report.write_per_class(args.per_class)
    if args.out:
        metrics = {f'multi-label/{key}': value for key, value in report.keyed().items()}
        write_json(args.out, metrics)
    print(report.table())
    tta = read_tta(args.predictions)
    if tta:
        print(f'predicted with test-time augmentation: {tta}')
    fitted_on = getattr(threshold, 'fitted_on', {})
    if fitted_on.get('sha256') == file_digest(args.predictions):
        print(f'optimistic: the thresholds of {threshold.path} were fitted on this very file')
    if args.per_class:
        print(f'of each class: {args.per_class}')
    if args.out:
        print(f'metrics: {args.out}')
