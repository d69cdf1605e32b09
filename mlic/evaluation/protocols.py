"""Named protocols of multi-label evaluation, and the arithmetic they share.

N images, C classes, P positives of a class. ``pred`` (N, C) float scores without NaN; ``target``,
``ignore`` and decisions (N, C) bool, ``target`` False wherever ``ignore`` is True: an entry that is
difficult or unknown, and left out of everything. All of this is numpy and returns fractions;
:class:`MLICMetric` checks the inputs and turns them into percent.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mlic.cores import usable_cores
from mlic.names import short

from .matrices import check_whole, without_negatives

MEAN_METRICS = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')
AP_RULES = ('plain', 'interpolated')
TOPK_RULES = ('threshold', 'only', None)
ROWS_AT_ONCE = 4096  # bounds the temporary memory of the top-k rule


@dataclass(frozen=True)
class Protocol:
    r"""One definition of mAP, CP, CR, CF1, OP, OR, OF1 and their top-k forms.

    With :math:`TP_c` right decisions, :math:`D_c` decisions and :math:`P_c` positives of class c:

    .. math::
        P_c^* = TP_c / D_c \quad R_c = TP_c / P_c \quad F_c = 2 TP_c / (D_c + P_c) \\
        CP = mean_c P_c^* \quad CR = mean_c R_c \quad
        OP = \sum TP_c / \sum D_c \quad OR = \sum TP_c / \sum P_c

    A ratio over nothing is 0: a class without decisions has precision 0, and with no decision at
    all OP and OF1 are 0 (the code of SADCL gives NaN). OP, OR and OF1 always count all entries
    that are not ignored. A class with ignored entries and without a negative among the others
    (:func:`without_negatives`) is left out of mAP, CP, CR and CF1 by every protocol.

    Args:
        name (str): The name in :data:`PROTOCOLS` and in logs.
        ap (str): 'plain' (as scikit-learn) or 'interpolated' (as VOC 2010); see
            :func:`average_precision`. Defaults to 'plain'.
        threshold (float): In units of the scores, compared in their precision: a float32 score
            0.8 is not above 0.8. Defaults to 0.5.
        strict (bool): A class is called present for score > threshold (True) or >= (False).
            Defaults to False.
        mean_f1 (bool): CF1 is the mean of :math:`F_c` (True) or 2 CP CR / (CP + CR) (False).
            Defaults to True.
        topk_rule (str, optional): 'threshold': the k best classes of an image that also pass the
            threshold; 'only': the k best, whatever their score; None: no top-k metrics. Defaults
            to 'threshold'.
        empty_ap_is_zero (bool): A class without positives has AP 0, or (False) no part in mAP.
            Defaults to True.
        empty_mean_is_zero (bool): The same for CP, CR and CF1. Defaults to True.

    Raises:
        ValueError: An ``ap`` or ``topk_rule`` that there is not.

    Example:
        >>> import numpy as np
        >>> from mlic.evaluation import PROTOCOLS, Protocol
        >>> PROTOCOLS['asl'].threshold, PROTOCOLS['standard'].threshold
        (0.8, 0.5)
        >>> own = Protocol('own', threshold=0.3)
        >>> own.decide(np.array([[0.9, 0.4, 0.2]]))
        array([[ True,  True, False]])
    """

    name: str
    ap: str = 'plain'
    threshold: float = 0.5
    strict: bool = False
    mean_f1: bool = True
    topk_rule: str | None = 'threshold'
    empty_ap_is_zero: bool = True
    empty_mean_is_zero: bool = True

    def __post_init__(self) -> None:
        for key, known in (('ap', AP_RULES), ('topk_rule', TOPK_RULES)):
            if getattr(self, key) not in known:
                raise ValueError(f'{key} is one of {known}, not {getattr(self, key)!r}')

    def decide(
        self,
        pred: np.ndarray,
        threshold: float | np.ndarray | None = None,
        top: np.ndarray | None = None,
    ) -> np.ndarray:
        """Which classes are called present, (N, C) bool.

        Args:
            pred (np.ndarray): (N, C) scores.
            threshold (float | np.ndarray, optional): Instead of the protocol's own: one, or (C,).
                Defaults to None.
            top (np.ndarray, optional): (N, C) bool of :func:`topk_mask`: apply the top-k rule.
                Defaults to None: without it.

        Raises:
            ValueError: If the threshold is neither one finite number nor C.
        """
        if top is not None and self.topk_rule == 'only':
            return top
        given = self.threshold if threshold is None else threshold
        threshold = np.asarray(given, pred.dtype)
        if threshold.shape not in ((), pred.shape[1:]) or not np.isfinite(threshold).all():
            raise ValueError(
                f'threshold must be one finite number or {pred.shape[1]}, got {short(given)}'
            )
        above = pred > threshold if self.strict else pred >= threshold
        return above if top is None else above & top

    def class_ap(self, aps: dict, left_out: np.ndarray) -> np.ndarray:
        """Of both average precisions the protocol's, (C,), NaN for a class left out of mAP.

        Args:
            aps (dict): Of :func:`average_precision`.
            left_out (np.ndarray): (C,) bool, classes that have none in any protocol.
        """
        ap = aps[self.ap]
        ap = np.nan_to_num(ap, nan=0.0) if self.empty_ap_is_zero else ap
        return np.where(left_out, np.nan, ap)

    def class_metrics(
        self, decision: np.ndarray, target: np.ndarray, ignore: np.ndarray | None = None
    ) -> dict:
        """Metrics of each class as (C,) arrays.

        Returns:
            dict: ``precision``, ``recall``, ``f1`` (fractions, NaN for a class left out of the
            means) and the counts ``true_positives``, ``predicted``, ``support``.
        """
        if ignore is not None:
            decision = decision & ~ignore
        true_positives = np.count_nonzero(decision & target, axis=0)
        predicted = np.count_nonzero(decision, axis=0)
        support = np.count_nonzero(target, axis=0)
        ratios = dict(
            precision=_ratio(true_positives, predicted),
            recall=_ratio(true_positives, support),
            f1=_ratio(2 * true_positives, predicted + support),
        )
        left_out = without_negatives(target, ignore)
        if not self.empty_mean_is_zero:
            left_out = left_out | (support == 0)
        ratios = {k: np.where(left_out, np.nan, v) for k, v in ratios.items()}
        return dict(ratios, true_positives=true_positives, predicted=predicted, support=support)

    def mean_metrics(self, per_class: dict) -> dict:
        """CP, CR, CF1, OP, OR, OF1 as floats, from the result of :meth:`class_metrics`."""
        cp, cr, cf1 = (np.nanmean(per_class[key]) for key in ('precision', 'recall', 'f1'))
        if not self.mean_f1:
            cf1 = _ratio(2 * cp * cr, cp + cr)
        hits, predicted, support = (
            per_class[key].sum() for key in ('true_positives', 'predicted', 'support')
        )
        overall = _ratio(hits, predicted), _ratio(hits, support)
        values = (cp, cr, cf1, *overall, _ratio(2 * hits, predicted + support))
        return {key: float(value) for key, value in zip(MEAN_METRICS, values)}


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # SADCL, (AP) Query2Label, SSGRL; the published code has NaN for an empty AP, and so for mAP
        Protocol('sadcl', ap='interpolated', strict=True, empty_ap_is_zero=False),
        # ML-GCN, ADD-GCN, TDRG, C-Tran, CSRA, MulCon
        Protocol('standard', mean_f1=False, empty_ap_is_zero=False, empty_mean_is_zero=False),
        # ASL; ML-Decoder with threshold=0.75
        Protocol('asl', threshold=0.8, strict=True, topk_rule=None),
        # mmpretrain's AveragePrecision and MultiLabelMetric
        Protocol('mmpretrain', topk_rule='only'),
    )
}


def get_protocol(name: str | Protocol) -> Protocol:
    """The protocol of that name, or the one given; ValueError with the known names otherwise."""
    if isinstance(name, Protocol):
        return name
    if name not in PROTOCOLS:
        raise ValueError(f'unknown protocol {name!r}; known: {", ".join(PROTOCOLS)}')
    return PROTOCOLS[name]


def get_protocols(names: str | Protocol | Iterable[str | Protocol]) -> list:
    """The protocols of one or more different names; ValueError otherwise."""
    found = [get_protocol(x) for x in ([names] if isinstance(names, (str, Protocol)) else names)]
    names = [protocol.name for protocol in found]
    if not names or len(set(names)) < len(names):
        raise ValueError(f'protocols must be one or more different names, got {names}')
    return found


def average_precision(
    pred: np.ndarray, target: np.ndarray, ignore: np.ndarray | None = None
) -> dict:
    r"""Both average precisions of every class, independent of the order of the images.

    A positive i has score :math:`s_i` and precision :math:`p_i`: the share of positives among the
    images with a score :math:`\ge s_i`. Images with equal scores are one group, so

    .. math::
        AP_{plain} = \frac{1}{P} \sum_i p_i \qquad
        AP_{interpolated} = \frac{1}{P} \sum_i \max_{j: s_j \le s_i} p_j

    'plain' equals ``sklearn.metrics.average_precision_score``. 'interpolated' is VOC's area under
    the monotone envelope over all points. Codes that compute it along an unstable argsort (SADCL,
    Query2Label) return an arbitrary value for tied scores; ours is the lowest over all orders of
    the ties.

    Returns:
        dict: ``plain`` and ``interpolated``, (C,) float64 fractions, NaN without positives.
    """

    def of_class(c: int) -> tuple[float, float]:
        scores, positive = pred[:, c], target[:, c]
        hits = np.sort(scores[positive])  # (P,) ascending
        if not hits.size:
            return np.nan, np.nan
        ranked = np.sort(scores if ignore is None else scores[~ignore[:, c]])
        positives_above = hits.size - np.searchsorted(hits, hits)
        images_above = ranked.size - np.searchsorted(ranked, hits)
        precision = positives_above / images_above  # (P,)
        return precision.mean(), np.maximum.accumulate(precision).mean()

    with ThreadPoolExecutor(usable_cores()) as pool:  # numpy sorts without the interpreter's lock
        both = np.array(list(pool.map(of_class, range(pred.shape[1]))))  # (C, 2)
    return dict(plain=both[:, 0], interpolated=both[:, 1])


def topk_mask(pred: np.ndarray, k: int, ignore: np.ndarray | None = None) -> np.ndarray:
    """The k highest scores of each image, (N, C) bool; all of them where there are fewer.

    Of equal scores the lowest class index goes first. An ignored entry takes no place.
    """
    check_whole('topk', k, 1)
    top = np.empty(pred.shape, dtype=bool)
    for start in range(0, len(pred), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        top[rows] = _topk_rows(pred[rows], k, None if ignore is None else ignore[rows])
    return top


def _topk_rows(pred: np.ndarray, k: int, ignore: np.ndarray | None) -> np.ndarray:
    """:func:`topk_mask` of some rows: all above the k-th score, then the first that equal it."""
    num_classes = pred.shape[1]
    k = min(k, num_classes)
    if ignore is not None:
        pred = np.where(ignore, -np.inf, pred)
    kth = np.partition(pred, num_classes - k, axis=1)[:, [num_classes - k]]  # (N, 1)
    top = pred > kth
    tied = pred == kth
    if ignore is not None:
        tied &= ~ignore
    free = k - np.count_nonzero(top, axis=1, keepdims=True)  # (N, 1) places left for the tied
    return top | (tied & (np.cumsum(tied, axis=1, dtype=np.int32) <= free))


def evaluate_protocols(
    pred: np.ndarray,
    target: np.ndarray,
    protocols: list,
    threshold: float | np.ndarray | None = None,
    topk: int | None = 3,
    ignore: np.ndarray | None = None,
) -> tuple[list, list]:
    """Metrics under several protocols from one sort of the scores.

    Returns:
        tuple[list[dict], list[dict]]: One dict a protocol, twice, in percent. The first: mAP, CP,
        CR, CF1, OP, OR, OF1 and, where it has a top-k rule, CP_top3 ... OF1_top3 (``topk`` = 3).
        The second, of each class, (C,): as :meth:`Protocol.class_metrics` without top-k, and
        ``ap``; NaN for a class that is left out of the mean.

    Raises:
        ValueError: A protocol leaves out all classes, as those without a positive: it has nothing
            to average over, and neither 0 nor NaN would make a usable "best" score.
    """
    left_out = without_negatives(target, ignore)
    counted = ~left_out
    if not all(protocol.empty_ap_is_zero for protocol in protocols):
        counted &= target.any(axis=0)
    if not counted.any():
        lacking = 'class has both a positive and a known negative'
        lacking = lacking if target.any() else 'positive label'
        raise ValueError(
            f'no {lacking} among {len(target)} images x {target.shape[1]} classes: the metrics'
            ' are undefined; check the annotations'
        )
    aps = average_precision(pred, target, ignore)
    top = None
    if topk is not None and any(protocol.topk_rule for protocol in protocols):
        top = topk_mask(pred, topk, ignore)
    results, classwise = [], []
    for protocol in protocols:
        per_class = protocol.class_metrics(protocol.decide(pred, threshold), target, ignore)
        class_ap = protocol.class_ap(aps, left_out)
        metrics = dict(mAP=float(np.nanmean(class_ap)))
        metrics.update(protocol.mean_metrics(per_class))
        if top is not None and protocol.topk_rule:
            decision = protocol.decide(pred, threshold, top)
            means = protocol.mean_metrics(protocol.class_metrics(decision, target, ignore))
            metrics.update({f'{key}_top{topk}': value for key, value in means.items()})
        results.append({key: 100.0 * value for key, value in metrics.items()})
        classwise.append(in_percent(dict(per_class, ap=class_ap)))
    return results, classwise


def in_percent(per_class: dict) -> dict:
    """Fractions of each class times 100; counts stay."""
    return {key: v if v.dtype.kind == 'i' else 100.0 * v for key, v in per_class.items()}


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient in float64, and 0 where the denominator is 0 (then the numerator is too)."""
    return numerator / np.where(denominator == 0, 1.0, denominator)
