"""The metric, from scores to table."""

from collections.abc import Iterator

import numpy as np
import torch
from mmengine.logging import MMLogger

from mlic.evaluation.mlic_metric import MLICMetric

from .measure import Case

BATCH = 64


def cases() -> Iterator[Case]:
    """Random scores at the sizes of COCO val2014 and the NUS-WIDE test split."""
    for images, classes, limit in ((40137, 80, 1.0), (83898, 81, 2.5)):
        rng = np.random.default_rng(0)
        pred = rng.random((images, classes), dtype=np.float32)
        target = rng.random((images, classes)) < 0.036
        yield Case(
            f'mAP, CF1, OF1 of {images:,} x {classes}, one protocol',
            lambda pred=pred, target=target: MLICMetric.calculate(pred, target, topk=None),
            limit=limit,
            measure_memory=False,
        )
        if classes == 80:
            yield _whole(pred, target)


def _whole(pred: np.ndarray, target: np.ndarray) -> Case:
    """From the first ``process()`` to the table, as the Runner calls it."""
    scores, labels = torch.from_numpy(pred), torch.from_numpy(target.astype(np.float32))
    batches = [
        [
            dict(pred_score=score, gt_score=label)
            for score, label in zip(scores[i : i + BATCH], labels[i : i + BATCH])
        ]
        for i in range(0, len(scores), BATCH)
    ]

    def run():
        MMLogger.get_current_instance().setLevel('ERROR')  # the table is made, not shown
        metric = MLICMetric(protocols=['standard', 'sadcl', 'mmpretrain'])
        for batch in batches:
            metric.process(None, batch)
        metric.evaluate(len(scores))

    name = f'process() to table of {len(scores):,} x {scores.shape[1]}, three protocols'
    return Case(name, run, limit=8.0, measure_memory=False)
