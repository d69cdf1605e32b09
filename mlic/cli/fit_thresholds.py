"""Fit a decision threshold for each class: tools/analysis_tools/fit_thresholds.py VAL_PRED.npz

    python tools/analysis_tools/fit_thresholds.py val.npz --out thresholds.json --eval test.npz
    python tools/test.py CONFIG CHECKPOINT --threshold thresholds.json

Each class takes the threshold of its highest F1 on VAL_PRED.npz (scores saved by test.py --out),
pulled towards the one of the highest F1 over all entries: (P t_class + K t_global) / (P + K) for a
class with P positives; or, with --precision 0.9, the lowest at which nine in ten are right. What
was fitted on a file says nothing about that file: measure elsewhere.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlic.cli import arguments
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.matrices import (
    Block,
    apply_difficult_rule,
    describe_lacking,
    lacking_classes,
    prepare_matrices,
)
from mlic.evaluation.predictions import file_digest, read_predictions, read_tta
from mlic.evaluation.protocols import PROTOCOLS, Protocol
from mlic.evaluation.summary import evaluate_block
from mlic.evaluation.thresholds import ThresholdFile, fit_thresholds
from mlic.files import write_json
from mlic.names import counted, first_names


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Fit decision thresholds on held-out predictions')
    parser.add_argument('predictions', metavar='VAL_PRED.npz', type=Path, help='of test.py --out')
    arguments.add_out_argument(parser, 'thresholds.json', '.json')
    parser.add_argument(
        '--protocol',
        choices=PROTOCOLS,
        default='standard',
        help='whose decision rule, > or >=, and whose CF1 (%(default)s)',
    )
    parser.add_argument(
        '--smoothing',
        type=arguments.at_least(0, float),
        default=1.0,
        metavar='K',
        help='positives at which a class counts as much as the global one; 0: none (%(default)s)',
    )
    parser.add_argument(
        '--precision',
        type=arguments.at_least(0, float),
        metavar='P',
        help='instead of the best F1, the lowest threshold of each class at which this share of '
        'what it finds is right; no smoothing',
    )
    arguments.add_difficult_argument(parser)
    parser.add_argument(
        '--eval', type=Path, metavar='TEST_PRED.npz', help='measure on these predictions, too'
    )
    return parser.parse_args(argv)


def describe_source(path: Path, block: Block, difficult: str) -> dict:
    """What thresholds are fitted on."""
    images, classes = block.pred.shape
    source = dict(file=str(path), sha256=file_digest(path), images=images, classes=classes)
    tta = read_tta(path)
    return dict(source, difficult=difficult, **(dict(tta=tta) if tta else {}))


def read_held_out(args: argparse.Namespace, fitted: Block, names: list) -> Block:
    """The predictions of --eval; ValueError if they are those of the fit, or of other classes."""
    block, other = read_predictions(args.eval)
    if block.pred.shape == fitted.pred.shape and np.array_equal(block.pred, fitted.pred):
        raise ValueError(
            f'--eval {args.eval} holds the predictions that the thresholds are fitted on'
            f' ({args.predictions}): give those of other images'
        )
    if other != names:
        raise ValueError(
            f'{args.eval} has {len(other)} classes, {args.predictions} {len(names)}: they must be'
            ' the same, in the same order'
        )
    return block


def describe(
    block: Block, names: list, protocol: Protocol, threshold: ThresholdFile | None, difficult: str,
    keys: Sequence[str],
) -> str:  # fmt: skip
    """Some metrics, as columns."""
    report = evaluate_block(block, names, [protocol], threshold, None, difficult=difficult)
    return '  '.join(f'{report.metrics[0][key]:6.2f}' for key in keys)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    block, names = read_predictions(args.predictions)
    if len(set(names)) < len(names):
        raise ValueError(f'{args.predictions}: thresholds go by class name, and names repeat')
    held_out = read_held_out(args, block, names) if args.eval else None
    protocol = PROTOCOLS[args.protocol]
    pred, target, ignore = prepare_matrices(
        block.pred, *apply_difficult_rule(block, args.difficult), None
    )
    thresholds, overall = fit_thresholds(
        pred, target, ignore, protocol.strict, args.smoothing, args.precision
    )
    empty, one_sided = lacking_classes(target, ignore, names)
    decision = f'score {">" if protocol.strict else ">="} threshold'
    record = dict(
        fitted_on=describe_source(args.predictions, block, args.difficult),
        decision=decision,
        protocol=protocol.name,
        **(dict(precision=args.precision) if args.precision else dict(smoothing=args.smoothing)),
        global_threshold=overall,
        classes_without_positives=empty,
        thresholds=dict(zip(names, thresholds.tolist())),
    )
    if one_sided:
        record['classes_without_known_negatives'] = one_sided
    write_json(args.out, record)
    size = f'{counted(len(pred), "image")}, {counted(len(names), "class")}'
    print(f'fitted on {args.predictions}: {size},', end=' ')
    note = ': these take the global threshold' if empty or one_sided else ''
    print(describe_lacking(empty, one_sided) + note)
    print(f'global threshold {overall:.4g}; by class {thresholds.min():.4g} to', end=' ')
    if args.precision is None:
        print(f'{thresholds.max():.4g}; smoothing {args.smoothing:g}')
    else:
        print(f'{thresholds.max():.4g}; precision {args.precision:g}')
        lacking = {*empty, *one_sided}
        never = [x for x, value in zip(names, thresholds) if value == 1 and x not in lacking]
        if never:
            print(f'never so precise, threshold 1: {first_names(never, 9)}')
    fitted = ThresholdFile(str(args.out), record['thresholds'], record['fitted_on'])
    own = f'{decision[6:-9]}{protocol.threshold:g}'
    parts = [('fitting part', block, ' (optimistic: measured where it was fitted)')]
    if held_out:
        parts.append((str(args.eval), held_out, ''))
    keys = ('CF1', 'OF1') if args.precision is None else ('CP', 'CR', 'OP', 'OR')
    print(f'protocol {protocol.name}, in percent:')
    print('  '.join(f'{key:>6}' for key in keys))
    for part, predictions, note in parts:
        before = describe(predictions, names, protocol, None, args.difficult, keys)
        after = describe(predictions, names, protocol, fitted, args.difficult, keys)
        print(f'{before}  {part}, before: {own}')
        print(f'{after}  {part}, after{note}')
    print(f'thresholds: {args.out}')
