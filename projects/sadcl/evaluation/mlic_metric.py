"""The metric of multi-label image classification. N images, C classes, W processes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    collect_results,
    get_world_size,
    is_main_process,
)
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from .blocks import (
    Block,
    binary,
    concatenate_blocks,
    describe_empty,
    empty_classes,
    interleave_blocks,
    multi_hot,
    prepare_matrices,
    read_class_file,
    save_predictions,
    stack_samples,
)
from .protocols import average_precision, evaluate_protocols, get_protocol, topk_mask


@METRICS.register_module()
class MLICMetric(BaseMetric):
    """mAP, CP, CR, CF1, OP, OR, OF1 and the top-k six under one or several named protocols.

    The field's definitions disagree: :data:`PROTOCOLS` names them (sadcl, standard, asl,
    mmpretrain) and :class:`Protocol` explains them. Scores are streamed once, as one array per
    batch, and sorted once for all protocols; a table with a column per protocol goes to the log.

    A data sample needs ``pred_score`` (C,) and ``gt_score`` (C,) multi-hot or else ``gt_label``
    (class indices). The meta key ``gt_label_difficult`` (class indices) is optional; a class that
    is also labelled as not difficult counts as positive.

    With one protocol the keys are ``mAP``, ... With several, the keys of the first are bare and
    those of the others read ``sadcl/mAP``. The Runner sees ``multi-label/mAP``. All values are in
    percent.

    Args:
        protocols (str | Sequence[str]): Names. Defaults to ('standard',).
        threshold (float, optional): For all protocols, in units of the scores. Defaults to None:
            each protocol's own.
        topk (int, optional): Size of the top-k rule; None leaves its metrics out. Defaults to 3.
        classes (Sequence[int] | Sequence[str] | str, optional): Evaluate these classes as if they
            were the label set: indices, names of ``dataset_meta['classes']``, or the path of a
            text file with one name a line. Defaults to None: all.
        difficult (str): 'ignore' leaves difficult entries out of everything, 'negative' and
            'positive' count them as such. Defaults to 'ignore'.
        out_file (str, optional): An ``.npz`` file for the main process to write at every
            evaluation, before the metrics: ``pred`` (N, C), ``target`` (N, C) uint8, ``ignore``
            (N, C) bool and ``classes`` (C,) unicode, all in dataset order and for all classes.
            Load it with ``allow_pickle=False``. Defaults to None.
        collect_device (str): As in BaseMetric. Defaults to 'cpu'.
        prefix (str, optional): Defaults to None: 'multi-label'.
        collect_dir (str, optional): Exchange blocks through files in this shared folder. Defaults
            to None: through the process group, which leaves no folder behind.

    Raises:
        ValueError: An unknown protocol or class name, scores that are NaN, labels other than 0
            and 1, shapes that differ, no image, or no positive at all (see
            :func:`evaluate_protocols`). An error of the main process is raised on every rank.
    """

    default_prefix = 'multi-label'

    def __init__(
        self,
        protocols: str | Sequence[str] = ('standard',),
        threshold: float | None = None,
        topk: int | None = 3,
        classes: Sequence[int] | Sequence[str] | str | None = None,
        difficult: str = 'ignore',
        out_file: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        names = [protocols] if isinstance(protocols, str) else list(protocols)
        if not names or len(set(names)) < len(names):
            raise ValueError(f'protocols must be one or more different names, got {names}')
        if topk is not None and topk < 1:
            raise ValueError(f'topk must be at least 1, got {topk}')
        if difficult not in ('ignore', 'negative', 'positive'):
            raise ValueError(f"difficult is 'ignore', 'negative' or 'positive', not {difficult!r}")
        if out_file is not None and not str(out_file).endswith('.npz'):
            raise ValueError(f'out_file must end with .npz, got {out_file}')
        self.protocols = [get_protocol(name) for name in names]
        self.threshold = threshold
        self.topk = topk
        self.classes = read_class_file(classes) if isinstance(classes, (str, Path)) else classes
        self.difficult = difficult
        self.out_file = out_file

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Set by the Evaluator before the first batch: an unknown class name fails here."""
        self._dataset_meta = dataset_meta
        self._class_indices()

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Append one :class:`Block` with the scores and labels of the batch."""
        pred = stack_samples(data_samples, 'pred_score')  # (N, C)
        if all('gt_score' in sample for sample in data_samples):
            target = binary(stack_samples(data_samples, 'gt_score'))
        else:
            labels = [sample['gt_label'] for sample in data_samples]
            target = multi_hot(labels, pred.shape[1])
        if pred.shape != target.shape:
            raise ValueError(f'pred_score is {pred.shape}, the labels are {target.shape}')
        ignore = None
        if any('gt_label_difficult' in sample for sample in data_samples):
            labels = [sample.get('gt_label_difficult', ()) for sample in data_samples]
            difficult = multi_hot(labels, pred.shape[1]) & ~target
            if self.difficult == 'ignore' and difficult.any():
                ignore = difficult
            elif self.difficult == 'positive':
                target |= difficult
        self.results.append(Block(pred, target, ignore))

    def evaluate(self, size: int) -> dict:
        """Gather the blocks of all ranks in dataset order, cut the sampler's padding, evaluate.

        Args:
            size (int): Number of images in the dataset.

        Returns:
            dict: The same on every rank: prefixed metric names to percent.
        """
        if not self.results:
            print_log('MLICMetric.evaluate before any batch', 'current', logging.WARNING)
        block = concatenate_blocks(self.results)
        self.results.clear()
        blocks = self._gather(block)
        outcome: list = [None]
        if is_main_process():
            try:
                metrics = self.compute_metrics(interleave_blocks(blocks, size))
                outcome = [{f'{self.prefix}/{key}': value for key, value in metrics.items()}]
            except Exception as error:  # for every rank: they wait for this broadcast
                outcome = [error]
        broadcast_object_list(outcome)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def compute_metrics(self, results: list) -> dict:
        """Write ``out_file`` and the table, and return the metrics.

        Args:
            results (list[Block]): Blocks of images in dataset order.
        """
        block = concatenate_blocks(results)
        if block is None:
            raise ValueError('no image was evaluated (N = 0)')
        names = self._class_names(block.pred.shape[1])
        if self.out_file is not None:
            save_predictions(self.out_file, block, names)
        indices = self._class_indices()
        pred, target, ignore = prepare_matrices(*block, indices)
        metrics = evaluate_protocols(
            pred, target, self.protocols, self.threshold, self.topk, ignore
        )
        empty = [names[c if indices is None else indices[c]] for c in empty_classes(target)]
        self._log_table(metrics, target.shape, empty)
        keyed = dict(metrics[0])
        for protocol, values in zip(self.protocols[1:], metrics[1:]):
            keyed.update({f'{protocol.name}/{key}': value for key, value in values.items()})
        return keyed

    def _gather(self, block: Block | None) -> list:
        """The blocks of all ranks by rank, None for a rank without images (on rank 0 at least)."""
        if self.collect_dir is None or get_world_size() == 1:
            return all_gather_object(block)
        parts = collect_results([(block,)], get_world_size(), 'cpu', tmpdir=self.collect_dir)
        return [part for (part,) in parts or ()]

    def _class_names(self, num_classes: int) -> list:
        """Names from the dataset, or the indices as strings."""
        names = (self.dataset_meta or {}).get('classes') or [str(c) for c in range(num_classes)]
        if len(names) != num_classes:
            raise ValueError(f'dataset_meta has {len(names)} classes, the scores {num_classes}')
        return list(names)

    def _class_indices(self) -> list | None:
        """``classes`` as indices, None for all."""
        if self.classes is None or not any(isinstance(c, str) for c in self.classes):
            return self.classes
        names = list((self.dataset_meta or {}).get('classes') or ())
        unknown = [c for c in self.classes if c not in names]
        if unknown:
            raise ValueError(f'classes {unknown} are not among the {len(names)} of the dataset')
        return [names.index(c) for c in self.classes]

    def _log_table(self, metrics: list, shape: tuple, empty: list) -> None:
        """Log a row per metric and a column per protocol."""
        num_images, num_classes = shape
        rows = [['', *(protocol.name for protocol in self.protocols)], ['threshold'], ['mAP over']]
        for protocol in self.protocols:
            threshold = protocol.threshold if self.threshold is None else self.threshold
            rows[1].append(f'{">" if protocol.strict else ">="} {threshold:g}')
            rows[2].append(str(num_classes - (0 if protocol.empty_ap_is_zero else len(empty))))
        for key in max(metrics, key=len):
            rows.append([key, *(f'{m[key]:.2f}' if key in m else '-' for m in metrics)])
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [
            '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        header = f'{num_images} images, {num_classes} classes, {describe_empty(empty)}; in percent'
        print_log('\n'.join([header, *lines]), 'current')

    @staticmethod
    def calculate(
        pred: np.ndarray | torch.Tensor,
        target: np.ndarray | torch.Tensor,
        protocol: str = 'standard',
        threshold: float | None = None,
        topk: int | None = 3,
        classes: Sequence[int] | None = None,
        ignore: np.ndarray | torch.Tensor | None = None,
    ) -> dict:
        """Metrics of a score matrix under one protocol.

        Args:
            pred (np.ndarray | torch.Tensor): (N, C) scores of any real dtype, higher is more
                likely.
            target (np.ndarray | torch.Tensor): (N, C) multi-hot labels, 0 or 1.
            protocol (str): Name in :data:`PROTOCOLS`. Defaults to 'standard'.
            threshold (float, optional): Defaults to None: the protocol's.
            topk (int, optional): None leaves the top-k metrics out. Defaults to 3.
            classes (Sequence[int], optional): Evaluate these classes as if they were the label
                set, in the top-k rule too. Defaults to None: all.
            ignore (np.ndarray | torch.Tensor, optional): (N, C) bool; True entries are left out of
                everything, as VOC's difficult ones; ``target`` may be anything there. They take no
                place in the top-k. Defaults to None.

        Returns:
            dict: mAP, CP, CR, CF1, OP, OR, OF1 and, where the protocol has a top-k rule, the last
            six with ``_top3`` (``topk`` = 3): floats in percent. Classes without positives that
            the protocol leaves out of mAP are named in a log line.

        Raises:
            ValueError: As the class.
        """
        rules = get_protocol(protocol)
        pred, target, ignore = prepare_matrices(pred, target, ignore, classes)
        (metrics,) = evaluate_protocols(pred, target, [rules], threshold, topk, ignore)
        empty = [c if classes is None else classes[c] for c in empty_classes(target)]
        if empty and not rules.empty_ap_is_zero:
            print_log(f'left out of mAP: {describe_empty(empty)}', 'current', logging.WARNING)
        return metrics

    @staticmethod
    def calculate_per_class(
        pred: np.ndarray | torch.Tensor,
        target: np.ndarray | torch.Tensor,
        protocol: str = 'standard',
        threshold: float | None = None,
        topk: int | None = None,
        classes: Sequence[int] | None = None,
        ignore: np.ndarray | torch.Tensor | None = None,
    ) -> dict:
        """Metrics of each class; arguments as :meth:`calculate`.

        Args:
            topk (int, optional): Decide by the protocol's top-k rule. Defaults to None: by the
                threshold alone.

        Returns:
            dict: (C,) arrays. ``ap``, ``precision``, ``recall``, ``f1`` in percent, NaN where the
            protocol leaves the class out of the mean; ``true_positives``, ``predicted`` and
            ``support`` (positives) are counts.
        """
        rules = get_protocol(protocol)
        pred, target, ignore = prepare_matrices(pred, target, ignore, classes)
        if topk is not None and rules.topk_rule is None:
            raise ValueError(f'protocol {protocol!r} has no top-k rule, got topk={topk}')
        top = None if topk is None else topk_mask(pred, topk, ignore)
        metrics = rules.class_metrics(rules.decide(pred, threshold, top), target, ignore)
        metrics['ap'] = rules.class_ap(average_precision(pred, target, ignore))
        for key in ('ap', 'precision', 'recall', 'f1'):
            metrics[key] = 100.0 * metrics[key]
        return metrics
