"""One evaluation of a block of predictions, as numbers, as a table and as a CSV file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlic.files import write_csv
from mlic.names import counted

from .matrices import (
    Block,
    apply_difficult_rule,
    class_indices,
    describe_lacking,
    lacking_classes,
    prepare_matrices,
)
from .protocols import Protocol, evaluate_protocols, get_protocols
from .thresholds import ThresholdFile, of_classes

COUNTED_AS = dict(ignore='ignored', negative='taken as absent', positive='taken as present')


@dataclass(frozen=True)
class Report:
    """Metrics of N images and C classes under some protocols.

    Args:
        protocols (list[Protocol]): The columns of the table.
        threshold (float | np.ndarray, optional): One or (C,), or None: each protocol's own.
        num_images (int): N.
        names (list[str]): C class names.
        empty (list[str]): Those without positives.
        one_sided (list[str]): Those without known negatives, left out of all class means.
        known (np.ndarray, optional): (C,) share of the images with a known label, None if all are.
        metrics (list[dict]): Of each protocol, names to percent.
        per_class (list[dict]): Of each protocol, names to (C,) arrays.
        difficult (str): How many labels are difficult, and what they count as; '' if none are.

    Example:
        >>> import numpy as np
        >>> from mlic.evaluation import PROTOCOLS, evaluate_block
        >>> from mlic.evaluation.matrices import Block
        >>> scores = np.array([[0.9, 0.2], [0.1, 0.8], [0.7, 0.6]])
        >>> truth = np.array([[True, False], [False, True], [True, False]])
        >>> report = evaluate_block(Block(scores, truth), ['cat', 'dog'], [PROTOCOLS['standard']])
        >>> report.num_images, report.metrics[0]['mAP']
        (3, 100.0)
    """

    protocols: list
    threshold: float | np.ndarray | None
    num_images: int
    names: list
    empty: list
    one_sided: list
    known: np.ndarray | None
    metrics: list
    per_class: list
    difficult: str = ''

    def keyed(self) -> dict:
        """All metrics: bare keys of the first protocol, ``sadcl/mAP`` of the others."""
        keyed = dict(self.metrics[0])
        for protocol, values in zip(self.protocols[1:], self.metrics[1:]):
            keyed.update({f'{protocol.name}/{key}': value for key, value in values.items()})
        return keyed

    def mean_over(self) -> list:
        """Of each protocol, over how many classes its mAP is."""
        return [int(np.isfinite(values['ap']).sum()) for values in self.per_class]

    def describe(self) -> str:
        """The images, the classes, and what is difficult or not known, in one line."""
        text = f'{counted(self.num_images, "image")}, {counted(len(self.names), "class")}'
        text += f', {describe_lacking(self.empty, self.one_sided)}'
        text += f', {self.difficult}' if self.difficult else ''
        if self.known is None:
            return text
        least = int(self.known.argmin())
        share = f'{100 * self.known.mean():.1f} % of the labels known'
        return f'{text}, {share} (least: {self.names[least]} {100 * self.known[least]:.1f} %)'

    def table(self) -> str:
        """A line that describes the data, then a column per metric and a row per decision."""
        keys = [key for key in self.metrics[0] if key != 'mAP' and '_top' not in key]
        rows = [['', 'mAP', 'mAP over', *keys]]
        for protocol, over, metrics in zip(self.protocols, self.mean_over(), self.metrics):
            threshold = self._threshold(protocol)
            threshold = f'{threshold:g}' if np.isscalar(threshold) else 'by class'
            rule = f'{protocol.name}, {">" if protocol.strict else ">="} {threshold}'
            means = [f'{metrics["mAP"]:.2f}', str(over)]
            rows.append([rule, *means, *(f'{metrics[key]:.2f}' for key in keys)])
            for top in sorted({key.partition('_')[2] for key in metrics} - {''}):
                rule = protocol.name if protocol.topk_rule == 'only' else rule
                values = [f'{metrics[f"{key}_{top}"]:.2f}' for key in keys]
                rows.append([f'{rule}, {top.replace("top", "top ")}', '', '', *values])
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [
            '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        return '\n'.join([f'{self.describe()}; in percent', *lines])

    def write_per_class(self, path: str | Path) -> None:
        """Write a CSV file with a row per protocol and class.

        AP, precision, recall and F1 in percent, empty where the protocol leaves the class out;
        support is the number of positives, predicted that of decisions (score and threshold),
        both of known labels; where some are unknown, a last column says the share of known ones.
        """
        shares = dict(ap='AP', precision='precision', recall='recall', f1='F1')
        counts = ('support', 'predicted')
        rows = [['protocol', 'class', *shares.values(), *counts, 'threshold']]
        if self.known is not None:
            rows[0].append('known')
        for protocol, values in zip(self.protocols, self.per_class):
            thresholds = np.broadcast_to(self._threshold(protocol), len(self.names))
            for c, name in enumerate(self.names):
                row = [values[key][c] for key in shares]
                row = ['' if np.isnan(share) else f'{share:.4f}' for share in row]
                row += [values[key][c] for key in counts]
                rows.append([protocol.name, name, *row, f'{thresholds[c]:.6g}'])
                if self.known is not None:
                    rows[-1].append(f'{100 * self.known[c]:.4f}')
        write_csv(path, rows)

    def _threshold(self, protocol: Protocol) -> float | np.ndarray:
        """What the protocol decides by here: one, or (C,)."""
        return protocol.threshold if self.threshold is None else self.threshold


def evaluate_block(
    block: Block,
    names: Sequence[str],
    protocols: str | Protocol | Sequence[str | Protocol],
    threshold: float | ThresholdFile | None = None,
    topk: int | None = 3,
    classes: Sequence[int] | Sequence[str] | None = None,
    difficult: str = 'ignore',
) -> Report:
    """Evaluate predictions.

    Args:
        block (Block): Scores and truth of all classes.
        names (Sequence[str]): Of all classes.
        protocols (str | Protocol | Sequence[str | Protocol]): One or more.
        threshold, topk, classes, difficult: As :class:`MLICMetric`.

    Raises:
        ValueError: As :class:`MLICMetric`, or if there are not as many names as classes.

    Example:
        >>> import numpy as np
        >>> from mlic.evaluation import PROTOCOLS, evaluate_block
        >>> from mlic.evaluation.matrices import Block
        >>> scores = np.array([[0.9, 0.2], [0.1, 0.8]])
        >>> truth = np.array([[True, False], [True, True]])
        >>> report = evaluate_block(Block(scores, truth), ['cat', 'dog'], [PROTOCOLS['standard']])
        >>> {name: round(report.metrics[0][name], 1) for name in ('mAP', 'CF1', 'OF1')}
        {'mAP': 100.0, 'CF1': 85.7, 'OF1': 80.0}
    """
    protocols = get_protocols(protocols)
    if block.pred.shape[1:] != (len(names),):
        raise ValueError(f'{len(names)} names of classes for scores {block.pred.shape}')
    indices = class_indices(classes, names)
    threshold = of_classes(threshold, names)
    if isinstance(threshold, np.ndarray) and indices is not None:
        threshold = threshold[indices]
    target, ignore = apply_difficult_rule(block, difficult)
    pred, target, ignore = prepare_matrices(block.pred, target, ignore, indices)
    metrics, per_class = evaluate_protocols(pred, target, protocols, threshold, topk, ignore)
    indices = list(range(len(names))) if indices is None else indices
    chosen = [names[c] for c in indices]
    lacking = lacking_classes(target, ignore, chosen)
    unknown = None if block.unknown is None else block.unknown[:, indices]
    known = None if unknown is None or not unknown.any() else 1 - unknown.mean(axis=0)
    number = 0 if block.difficult is None else int(block.difficult[:, indices].sum())
    said = f'{counted(number, "difficult label")} {COUNTED_AS[difficult]}' if number else ''
    return Report(
        protocols, threshold, len(pred), chosen, *lacking, known, metrics, per_class, said
    )
