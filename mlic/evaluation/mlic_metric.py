"""The metric of multi-label image classification. N images, C classes, W processes."""

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

from mlic.files import read_class_file

from .matrices import (
    Block,
    binary,
    check_difficult_rule,
    check_whole,
    class_indices,
    concatenate_blocks,
    describe_lacking,
    interleave_blocks,
    lacking_classes,
    marked,
    multi_hot,
    prepare_matrices,
    raise_for_scores,
    stack_samples,
    without_negatives,
)
from .predictions import save_predictions
from .protocols import (
    Protocol,
    average_precision,
    evaluate_protocols,
    get_protocol,
    get_protocols,
    in_percent,
    topk_mask,
)
from .summary import evaluate_block
from .thresholds import of_classes, parse_threshold


@METRICS.register_module()
class MLICMetric(BaseMetric):
    """mAP, CP, CR, CF1, OP, OR, OF1 and the top-k six under one or several named protocols.

    The field's definitions disagree: :data:`PROTOCOLS` names them (sadcl, standard, asl,
    mmpretrain) and :class:`Protocol` explains them. Scores are streamed once, as one array per
    batch, and sorted once for all protocols; a table with a row per protocol goes to the log.

    A data sample needs ``pred_score`` (C,) and ``gt_score`` (C,) multi-hot or else ``gt_label``
    (class indices). Two meta keys, class indices too, are optional: ``gt_label_difficult``, where
    a class that is also labelled as not difficult counts as positive, and ``gt_label_unknown``,
    the classes that nobody annotated: such an entry is left out of everything, whatever its
    truth, its score and ``difficult`` say.

    With one protocol the keys are ``mAP``, ... With several, the keys of the first are bare and
    those of the others read ``sadcl/mAP``. The Runner sees ``multi-label/mAP``. All values are in
    percent.

    Args:
        protocols (str | Protocol | Sequence[str | Protocol]): Names of :data:`PROTOCOLS`, or
            your own protocols. Defaults to ('standard',).
        threshold (float | str, optional): For all protocols, in units of the scores: a number, or
            a file of each class's (:func:`read_thresholds`). Defaults to None: a protocol's own.
        topk (int, optional): Size of the top-k rule; None leaves its metrics out. Defaults to 3.
        classes (Sequence[int] | Sequence[str] | str, optional): Evaluate these classes as if they
            were the label set: indices, names of ``dataset_meta['classes']``, or the path of a
            text file with one name a line. Defaults to None: all.
        difficult (str): 'ignore' leaves difficult entries out of everything, 'negative' and
            'positive' count them as such. Defaults to 'ignore'.
        out_file (str, optional): An ``.npz`` file for the main process to write at every
            evaluation, before the metrics (see :func:`save_predictions`): scores, truth,
            difficult and unknown entries and names of all classes in dataset order, whatever
            ``classes`` and ``difficult`` say, to compute all again. Defaults to None.
        per_class_file (str, optional): A ``.csv`` file for the main process to write at every
            evaluation (see :meth:`Report.write_per_class`). Defaults to None.
        collect_device (str): As BaseMetric takes it; changes nothing here. Defaults to 'cpu'.
        prefix (str, optional): Defaults to None: 'multi-label'.
        collect_dir (str, optional): Exchange blocks through files in this shared folder. Defaults
            to None: through the process group, which leaves no folder behind.

    Raises:
        ValueError: An unknown protocol or class name, a threshold file that does not fit the
            classes, scores that are NaN or infinite (with the first image's path), labels other
            than 0 and 1, shapes that differ, no image, or no positive at all (see
            :func:`evaluate_protocols`). An error of the main process is raised on every rank.

    Example:
        >>> import numpy as np
        >>> from mlic.evaluation import MLICMetric
        >>> scores = np.array([[0.9, 0.2, 0.4], [0.1, 0.8, 0.6]])
        >>> truth = np.array([[1, 0, 0], [0, 1, 1]])
        >>> metrics = MLICMetric.calculate(scores, truth)
        >>> metrics['mAP'], round(metrics['OF1'], 1)
        (100.0, 100.0)
    """

    default_prefix = 'multi-label'

    def __init__(
        self,
        protocols: str | Protocol | Sequence[str | Protocol] = ('standard',),
        threshold: float | str | None = None,
        topk: int | None = 3,
        classes: Sequence[int] | Sequence[str] | str | None = None,
        difficult: str = 'ignore',
        out_file: str | None = None,
        per_class_file: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        if topk is not None:
            check_whole('topk', topk, 1)
        check_difficult_rule(difficult)
        if out_file is not None and not str(out_file).endswith('.npz'):
            raise ValueError(f'out_file must end with .npz, got {out_file}')
        if per_class_file is not None and not str(per_class_file).endswith('.csv'):
            raise ValueError(f'per_class_file must end with .csv, got {per_class_file}')
        self.protocols = get_protocols(protocols)
        self.threshold = parse_threshold(threshold)
        self.topk = topk
        self.classes = read_class_file(classes) if isinstance(classes, (str, Path)) else classes
        self.difficult = difficult
        self.out_file = out_file
        self.per_class_file = per_class_file

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        """Set by the Evaluator before the first batch: an unknown class name fails here."""
        self._dataset_meta = dataset_meta
        names = (dataset_meta or {}).get('classes') or ()
        class_indices(self.classes, names)
        if names:
            of_classes(self.threshold, names)

    def metric_names(self) -> list[str]:
        """The keys of what :meth:`evaluate` returns, which no image is needed for."""
        scores = np.eye(2)
        report = evaluate_block(
            Block(scores, scores > 0), ['a', 'b'], self.protocols, topk=self.topk
        )
        return [f'{self.prefix}/{key}' for key in report.keyed()]

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Append a :class:`Block` of the batch; a ValueError if a score is not finite."""
        pred = stack_samples(data_samples, 'pred_score')  # (N, C)
        names = self._class_names(pred.shape[1])
        if not np.isfinite(pred).all():
            raise_for_scores(pred, data_samples, names, sum(len(b.pred) for b in self.results))
        if all('gt_score' in sample for sample in data_samples):
            target = stack_samples(data_samples, 'gt_score')
        else:
            target = multi_hot([sample['gt_label'] for sample in data_samples], pred.shape[1])
        if pred.shape != target.shape:
            raise ValueError(f'pred_score is {pred.shape}, the labels are {target.shape}')
        difficult, unknown = (
            marked(data_samples, f'gt_label_{key}', pred.shape[1])
            for key in ('difficult', 'unknown')
        )
        target = binary(target if unknown is None else np.where(unknown, 0, target))
        if difficult is not None:
            difficult &= ~target if unknown is None else ~(target | unknown)
        self.results.append(Block(pred, target, difficult, unknown))

    def evaluate(self, size: int) -> dict:
        """Gather the blocks of all ranks in dataset order, cut the sampler's padding, evaluate.

        Args:
            size (int): Number of images in the dataset.

        Returns:
            dict: The same on every rank: prefixed metric names to percent.
        """
        if not self.results:
            print_log('MLICMetric.evaluate before any batch', 'current', logging.WARNING)
        blocks = self._gather(concatenate_blocks(self.results))
        self.results.clear()
        outcome: list = [None]
        if is_main_process():
            try:
                metrics = self.compute_metrics(interleave_blocks(blocks, size))
                outcome[0] = {f'{self.prefix}/{key}': value for key, value in metrics.items()}
            except Exception as error:  # for every rank: they wait for this broadcast
                outcome[0] = error
        broadcast_object_list(outcome)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def compute_metrics(self, results: list) -> dict:
        """Write ``out_file`` and the table, and return the metrics.

        Args:
            results (list[Block]): Blocks of images in dataset order; a ValueError if there is none.
        """
        block = concatenate_blocks(results)
        if block is None:
            raise ValueError('no image was evaluated (N = 0)')
        names = self._class_names(block.pred.shape[1])
        if self.out_file is not None:
            tta = (self.dataset_meta or {}).get('tta', '')
            save_predictions(self.out_file, block, names, tta)
        report = evaluate_block(
            block, names, self.protocols, self.threshold, self.topk, self.classes, self.difficult
        )
        print_log(report.table(), 'current')
        if self.per_class_file is not None:
            report.write_per_class(self.per_class_file)
            print_log(f'metrics of each class written to {self.per_class_file}', 'current')
        return report.keyed()

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

    @staticmethod
    def calculate(
        pred: np.ndarray | torch.Tensor,
        target: np.ndarray | torch.Tensor,
        protocol: str | Protocol = 'standard',
        threshold: float | np.ndarray | None = None,
        topk: int | None = 3,
        classes: Sequence[int] | None = None,
        ignore: np.ndarray | torch.Tensor | None = None,
    ) -> dict:
        """Metrics of a score matrix under one protocol.

        Args:
            pred (np.ndarray | torch.Tensor): (N, C) scores of any real dtype, higher is more
                likely; the protocols' thresholds are for scores from 0 to 1, not for logits.
            target (np.ndarray | torch.Tensor): (N, C) multi-hot labels, 0 or 1.
            protocol (str | Protocol): One, or its name in :data:`PROTOCOLS`. Defaults to
                'standard'.
            threshold (float | np.ndarray, optional): One, or (C,) of the evaluated classes.
                Defaults to None: the protocol's.
            topk (int, optional): None leaves the top-k metrics out. Defaults to 3.
            classes (Sequence[int], optional): Evaluate these classes as if they were the label
                set, in the top-k rule too. Defaults to None: all.
            ignore (np.ndarray | torch.Tensor, optional): (N, C) bool; True entries are left out of
                everything, as unknown ones and VOC's difficult ones; ``target`` may be anything
                there. They take no place in the top-k. Defaults to None.

        Returns:
            dict: mAP, CP, CR, CF1, OP, OR, OF1 and, where the protocol has a top-k rule, the last
            six with ``_top3`` (``topk`` = 3): floats in percent. Classes that are left out of mAP
            are named in a log line: those without positives where the protocol says so, and
            those with ignored entries of which no other is negative.

        Raises:
            ValueError: As the class.
        """
        rules = get_protocol(protocol)
        pred, target, ignore = prepare_matrices(pred, target, ignore, classes)
        ((metrics,), _) = evaluate_protocols(pred, target, [rules], threshold, topk, ignore)
        names = range(target.shape[1]) if classes is None else list(classes)
        empty, one_sided = lacking_classes(target, ignore, names)
        empty = [] if rules.empty_ap_is_zero else empty
        if empty or one_sided:
            text = describe_lacking(empty, one_sided)
            print_log(f'left out of mAP: {text}', 'current', logging.WARNING)
        return metrics

    @staticmethod
    def calculate_per_class(
        pred: np.ndarray | torch.Tensor,
        target: np.ndarray | torch.Tensor,
        protocol: str | Protocol = 'standard',
        threshold: float | np.ndarray | None = None,
        topk: int | None = None,
        classes: Sequence[int] | None = None,
        ignore: np.ndarray | torch.Tensor | None = None,
    ) -> dict:
        """Metrics of each class.

        Args:
            pred, target, protocol, threshold: See :meth:`calculate`.
            topk (int, optional): Decide by the protocol's top-k rule. Defaults to None: by the
                threshold alone.
            classes, ignore: See :meth:`calculate`.

        Returns:
            dict: (C,) arrays. ``ap``, ``precision``, ``recall``, ``f1`` in percent, NaN where the
            class is left out of the mean; ``true_positives``, ``predicted`` and ``support``
            (positives) are counts, of the entries that are not ignored.

        Raises:
            ValueError: If ``topk`` is set and the protocol has no top-k rule.
        """
        rules = get_protocol(protocol)
        pred, target, ignore = prepare_matrices(pred, target, ignore, classes)
        if topk is not None and rules.topk_rule is None:
            raise ValueError(f'protocol {rules.name!r} has no top-k rule, got topk={topk}')
        top = None if topk is None else topk_mask(pred, topk, ignore)
        metrics = rules.class_metrics(rules.decide(pred, threshold, top), target, ignore)
        aps = average_precision(pred, target, ignore)
        metrics['ap'] = rules.class_ap(aps, without_negatives(target, ignore))
        return in_percent(metrics)
