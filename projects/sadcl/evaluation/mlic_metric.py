"""The metric of multi-label image classification. N images, C classes, W processes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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

from .protocols import average_precision, evaluate_protocols, get_protocol, topk_mask

MAX_NAMES_IN_LOG = 10


class Block(NamedTuple):
    """Scores, truth and ignored entries of some images: (N, C) float, bool, bool or None."""

    pred: np.ndarray
    target: np.ndarray
    ignore: np.ndarray | None


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
        self.classes = _read_class_file(classes) if isinstance(classes, (str, Path)) else classes
        self.difficult = difficult
        self.out_file = out_file

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Set by the Evaluator before the first batch: an unknown class name fails here."""
        self._dataset_meta = dataset_meta
        self._class_indices()

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Append one :class:`Block` with the scores and labels of the batch."""
        pred = _stack(data_samples, 'pred_score')  # (N, C)
        if all('gt_score' in sample for sample in data_samples):
            target = _binary(_stack(data_samples, 'gt_score'))
        else:
            labels = [sample['gt_label'] for sample in data_samples]
            target = _multi_hot(labels, pred.shape[1])
        if pred.shape != target.shape:
            raise ValueError(f'pred_score is {pred.shape}, the labels are {target.shape}')
        ignore = None
        if any('gt_label_difficult' in sample for sample in data_samples):
            labels = [sample.get('gt_label_difficult', ()) for sample in data_samples]
            difficult = _multi_hot(labels, pred.shape[1]) & ~target
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
        block = _concatenate(self.results)
        self.results.clear()
        blocks = self._gather(block)
        outcome: list = [None]
        if is_main_process():
            try:
                metrics = self.compute_metrics(_interleave(blocks, size))
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
        block = _concatenate(results)
        if block is None:
            raise ValueError('no image was evaluated (N = 0)')
        names = self._class_names(block.pred.shape[1])
        if self.out_file is not None:
            _save(self.out_file, block, names)
        indices = self._class_indices()
        pred, target, ignore = _prepare(*block, indices)
        metrics = evaluate_protocols(
            pred, target, self.protocols, self.threshold, self.topk, ignore
        )
        empty = [names[c if indices is None else indices[c]] for c in _empty_classes(target)]
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
        header = f'{num_images} images, {num_classes} classes, {_describe(empty)}; in percent'
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
        pred, target, ignore = _prepare(pred, target, ignore, classes)
        (metrics,) = evaluate_protocols(pred, target, [rules], threshold, topk, ignore)
        empty = [c if classes is None else classes[c] for c in _empty_classes(target)]
        if empty and not rules.empty_ap_is_zero:
            print_log(f'left out of mAP: {_describe(empty)}', 'current', logging.WARNING)
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
        pred, target, ignore = _prepare(pred, target, ignore, classes)
        if topk is not None and rules.topk_rule is None:
            raise ValueError(f'protocol {protocol!r} has no top-k rule, got topk={topk}')
        top = None if topk is None else topk_mask(pred, topk, ignore)
        metrics = rules.class_metrics(rules.decide(pred, threshold, top), target, ignore)
        metrics['ap'] = rules.class_ap(average_precision(pred, target, ignore))
        for key in ('ap', 'precision', 'recall', 'f1'):
            metrics[key] = 100.0 * metrics[key]
        return metrics


def _as_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """A numpy array of tensors on any device; 16-bit floats become float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    values = np.asarray(values)
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _stack(data_samples: Sequence[dict], key: str) -> np.ndarray:
    """(N, C) from the (C,) values of the samples, in one transfer."""
    return _as_array(torch.stack([torch.as_tensor(sample[key]) for sample in data_samples]))


def _multi_hot(labels: list, num_classes: int) -> np.ndarray:
    """(N, C) bool from the class indices of each image."""
    hot = np.zeros((len(labels), num_classes), dtype=bool)
    for row, indices in enumerate(labels):
        indices = _as_array(indices).astype(np.int64)
        if np.any((indices < 0) | (indices >= num_classes)):
            raise ValueError(f'labels {indices.tolist()} are not all within 0..{num_classes - 1}')
        hot[row, indices] = True
    return hot


def _binary(target: np.ndarray) -> np.ndarray:
    """Labels as bool; ValueError unless they are 0 and 1."""
    positive = target == 1
    wrong = ~positive & (target != 0)
    if wrong.any():
        raise ValueError(
            f'{np.count_nonzero(wrong)} of {target.size} labels are neither 0 nor 1, such as'
            f' {target[wrong][0]} (a class listed twice for an image gives 2)'
        )
    return positive


def _prepare(
    pred: np.ndarray | torch.Tensor,
    target: np.ndarray | torch.Tensor,
    ignore: np.ndarray | torch.Tensor | None,
    classes: Sequence[int] | None,
) -> tuple:
    """Checked (N, C) arrays of the chosen classes: float32 or float64, bool, bool or None."""
    pred, target = _as_array(pred), _as_array(target)
    ignore = None if ignore is None else _as_array(ignore).astype(bool)
    if pred.ndim != 2 or not pred.size:
        raise ValueError(f'pred must be (N, C) with N and C at least 1, got {pred.shape}')
    for name, array in (('target', target), ('ignore', ignore)):
        if array is not None and array.shape != pred.shape:
            raise ValueError(f'pred is {pred.shape}, {name} is {array.shape}')
    if classes is not None:
        num_classes = pred.shape[1]
        if any(not 0 <= c < num_classes for c in classes):
            raise ValueError(f'classes {list(classes)} are not all within 0..{num_classes - 1}')
        if not 0 < len(classes) == len(set(classes)):
            raise ValueError(f'classes must be one or more different indices, got {list(classes)}')
        pred, target = pred[:, classes], target[:, classes]
        ignore = None if ignore is None else ignore[:, classes]
    if pred.dtype not in (np.float32, np.float64):
        pred = pred.astype(np.float64)
    missing = np.count_nonzero(np.isnan(pred))
    if missing:
        raise ValueError(f'{missing} of {pred.size} scores are NaN')
    return pred, _binary(target if ignore is None else np.where(ignore, False, target)), ignore


def _concatenate(blocks: list) -> Block | None:
    """One block of several, None of none."""
    if len(blocks) < 2:
        return blocks[0] if blocks else None
    ignore = None
    if any(block.ignore is not None for block in blocks):
        ignore = np.concatenate(
            [np.zeros_like(b.target) if b.ignore is None else b.ignore for b in blocks]
        )
    pred = np.concatenate([block.pred for block in blocks])
    return Block(pred, np.concatenate([block.target for block in blocks]), ignore)


def _interleave(blocks: list, size: int) -> list:
    """[block in dataset order, without padding] or []: rank r holds the images r, r + W, ..."""
    merged = _concatenate([block for block in blocks if block is not None])
    if merged is None:
        return []
    positions = [
        rank + len(blocks) * np.arange(len(block.pred))
        for rank, block in enumerate(blocks)
        if block is not None
    ]
    order = slice(size) if len(blocks) == 1 else np.argsort(np.concatenate(positions))[:size]
    merged = Block(*(None if array is None else array[order] for array in merged))
    if len(merged.pred) < size:
        print_log(f'{len(merged.pred)} of {size} images evaluated', 'current', logging.WARNING)
    return [merged]


def _empty_classes(target: np.ndarray) -> np.ndarray:
    """Indices of the classes without positives."""
    return np.flatnonzero(~target.any(axis=0))


def _describe(empty: list) -> str:
    """How many classes have no positive, and which."""
    if not empty:
        return 'all with positives'
    names = [str(name) for name in empty[:MAX_NAMES_IN_LOG]]
    names += ['...'] * (len(empty) > MAX_NAMES_IN_LOG)
    return f'{len(empty)} without positives ({", ".join(names)})'


def _save(out_file: str, block: Block, names: list) -> None:
    """Write the scores and the truth as an ``.npz`` without pickled objects."""
    Path(out_file).parent.mkdir(parents=True, exist_ok=True)
    pred, target, ignore = block
    ignore = np.zeros_like(target) if ignore is None else ignore
    classes = np.array(names, dtype=np.str_)
    np.savez(out_file, pred=pred, target=target.astype(np.uint8), ignore=ignore, classes=classes)
    print_log(f'scores of {len(pred)} images written to {out_file}', 'current')


def _read_class_file(path: str) -> list:
    """Class names, one a line."""
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip()]
