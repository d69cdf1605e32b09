"""One evaluation of a block of predictions, as numbers, as a table and as a CSV file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlic.files import write_csv

from .matrices import (
    Block,
    apply_difficult_rule,
    class_indices,
    describe_empty,
    empty_classes,
    prepare_matrices,
)
from .protocols import Protocol, evaluate_protocols
from .thresholds import ThresholdFile, of_classes


@dataclass(frozen=True)
class Report:
    """Metrics of N images and C classes under some protocols.

    Args:
        protocols (list[Protocol]): The columns of the table.
        threshold (float | np.ndarray, optional): One or (C,), or None: each protocol's own.
        num_images (int): N.
        names (list[str]): C class names.
        empty (list[str]): Those without positives.
        metrics (list[dict]): Of each protocol, names to percent.
        per_class (list[dict]): Of each protocol, names to (C,) arrays.
    """

    protocols: list
    threshold: float | np.ndarray | None
    num_images: int
    names: list
    empty: list
    metrics: list
    per_class: list

    def keyed(self) -> dict:
        """All metrics: bare keys of the first protocol, ``sadcl/mAP`` of the others."""
        keyed = dict(self.metrics[0])
        for protocol, values in zip(self.protocols[1:], self.metrics[1:]):
            keyed.update({f'{protocol.name}/{key}': value for key, value in values.items()})
        return keyed

    def table(self) -> str:
        """A header line, then a row per metric and a column per protocol."""
        rows = [['', *(protocol.name for protocol in self.protocols)], ['threshold'], ['mAP over']]
        for protocol in self.protocols:
            sign = '>' if protocol.strict else '>='
            threshold = self._threshold(protocol)
            is_one = np.isscalar(threshold)
            rows[1].append(f'{sign} {threshold:g}' if is_one else f'{sign} by class')
            empty = 0 if protocol.empty_ap_is_zero else len(self.empty)
            rows[2].append(str(len(self.names) - empty))
        for key in max(self.metrics, key=len):
            rows.append([key, *(f'{m[key]:.2f}' if key in m else '-' for m in self.metrics)])
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [
            '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        classes = f'{len(self.names)} classes, {describe_empty(self.empty)}'
        return '\n'.join([f'{self.num_images} images, {classes}; in percent', *lines])

    def write_per_class(self, path: str | Path) -> None:
        """Write a CSV file with a row per protocol and class.

        AP, precision, recall and F1 in percent, empty where the protocol leaves the class out;
        support is the number of positives, predicted that of decisions (score and threshold).
        """
        shares = dict(ap='AP', precision='precision', recall='recall', f1='F1')
        counts = ('support', 'predicted')
        rows = [['protocol', 'class', *shares.values(), *counts, 'threshold']]
        for protocol, values in zip(self.protocols, self.per_class):
            thresholds = np.broadcast_to(self._threshold(protocol), len(self.names))
            for c, name in enumerate(self.names):
                row = [values[key][c] for key in shares]
                row = ['' if np.isnan(share) else f'{share:.4f}' for share in row]
                row += [values[key][c] for key in counts]
                rows.append([protocol.name, name, *row, f'{thresholds[c]:.6g}'])
        write_csv(path, rows)

    def _threshold(self, protocol: Protocol) -> float | np.ndarray:
        """What the protocol decides by here: one, or (C,)."""
        return protocol.threshold if self.threshold is None else self.threshold


def evaluate_block(
    block: Block,
    names: Sequence[str],
    protocols: list,
    threshold: float | ThresholdFile | None = None,
    topk: int | None = 3,
    classes: Sequence[int] | Sequence[str] | None = None,
    difficult: str = 'ignore',
) -> Report:
    """Evaluate predictions.

    Args:
        block (Block): Scores and truth of all classes.
        names (Sequence[str]): Of all classes.
        protocols (list[Protocol]): One or more.
        threshold, topk, classes, difficult: As :class:`MLICMetric`.

    Raises:
        ValueError: As :class:`MLICMetric`.
    """
    indices = class_indices(classes, names)
    threshold = of_classes(threshold, names)
    if isinstance(threshold, np.ndarray) and indices is not None:
        threshold = threshold[indices]
    target, ignore = apply_difficult_rule(block, difficult)
    pred, target, ignore = prepare_matrices(block.pred, target, ignore, indices)
    metrics, per_class = evaluate_protocols(pred, target, protocols, threshold, topk, ignore)
    chosen = [names[c] for c in (range(len(names)) if indices is None else indices)]
    empty = [chosen[c] for c in empty_classes(target)]
    return Report(protocols, threshold, len(pred), chosen, empty, metrics, per_class)
