"""Loop versions of the evaluation formulas, from their definitions, without numpy tricks.

N images, C classes; ``scores`` and ``labels`` are lists of N lists of C, labels None = ignored.
All results are in percent.
"""


def ap_plain(scores, labels):
    """Sum over the distinct scores, from high to low, of recall gain times precision."""
    positives = sum(labels)
    ap = recall_before = 0.0
    for level in sorted(set(scores), reverse=True):
        chosen = [label for score, label in zip(scores, labels) if score >= level]
        recall = sum(chosen) / positives
        ap += (recall - recall_before) * sum(chosen) / len(chosen)
        recall_before = recall
    return 100.0 * ap


def ap_voc(ranked_labels):
    """VOC's area under the precision envelope, of labels sorted from high score to low."""
    recalls, precisions, hits = [0.0], [0.0], 0
    for count, label in enumerate(ranked_labels, start=1):
        hits += label
        recalls.append(hits / sum(ranked_labels))
        precisions.append(hits / count)
    area = 0.0
    for i in range(1, len(recalls)):
        area += (recalls[i] - recalls[i - 1]) * max(precisions[i:])
    return 100.0 * area


def ap_interpolated(scores, labels):
    """VOC's area, with the negatives of a tied group ranked before its positives."""
    ranked = sorted(zip(scores, labels), key=lambda pair: (-pair[0], pair[1]))
    return ap_voc([label for _, label in ranked])


def decisions(scores, labels, threshold, strict, k=None):
    """Per image the set of classes called present; ``threshold`` None: the k best alone.

    ``threshold`` may be a list of C, one for each class.
    """
    chosen = []
    for row, truth in zip(scores, labels):
        classes = [c for c in range(len(row)) if truth[c] is not None]
        if k is not None:
            classes = sorted(classes, key=lambda c: (-row[c], c))[:k]
        if threshold is not None:
            levels = threshold if isinstance(threshold, list) else [threshold] * len(row)
            classes = [
                c for c in classes if (row[c] > levels[c] if strict else row[c] >= levels[c])
            ]
        chosen.append(set(classes))
    return chosen


def divide(a, b):
    """The quotient, 0 for nothing over nothing."""
    return a / b if b else 0.0


def says_nothing(labels, c):
    """Whether some labels of a class are ignored, and none of the others is negative."""
    column = [truth[c] for truth in labels]
    return None in column and 0 not in column


def six(chosen, labels, f1_of_means, skip_empty):
    """CP, CR, CF1, OP, OR, OF1 of the decisions."""
    precisions, recalls, f1s, total = [], [], [], [0, 0, 0]
    for c in range(len(labels[0])):
        hits = sum(c in called and truth[c] == 1 for called, truth in zip(chosen, labels))
        called = sum(c in called for called in chosen)
        positives = sum(truth[c] == 1 for truth in labels)
        total = [t + new for t, new in zip(total, (hits, called, positives))]
        if (positives == 0 and skip_empty) or says_nothing(labels, c):
            continue
        precisions.append(divide(hits, called))
        recalls.append(divide(hits, positives))
        f1s.append(divide(2 * precisions[-1] * recalls[-1], precisions[-1] + recalls[-1]))
    cp, cr, cf1 = (divide(sum(values), len(values)) for values in (precisions, recalls, f1s))
    if f1_of_means:
        cf1 = divide(2 * cp * cr, cp + cr)
    op, overall_recall = divide(total[0], total[1]), divide(total[0], total[2])
    of1 = divide(2 * op * overall_recall, op + overall_recall)
    return [100.0 * value for value in (cp, cr, cf1, op, overall_recall, of1)]


def mean_ap(scores, labels, ap, skip_empty):
    """Mean over the classes of which something is known; no positives: left out, or 0."""
    values = []
    for c in range(len(labels[0])):
        pairs = [(row[c], truth[c]) for row, truth in zip(scores, labels) if truth[c] is not None]
        if says_nothing(labels, c):
            continue
        if any(label for _, label in pairs):
            values.append(ap([score for score, _ in pairs], [label for _, label in pairs]))
        elif not skip_empty:
            values.append(0.0)
    return sum(values) / len(values)


# AP, whether its mean leaves out empty classes, F1 of the mean CP and CR, whether the other means
# leave out empty classes, and whether a score must exceed the threshold
PROTOCOLS = {
    'sadcl': (ap_interpolated, True, False, False, True),
    'standard': (ap_plain, True, True, True, False),
    'asl': (ap_plain, False, False, False, True),
    'mmpretrain': (ap_plain, False, False, False, False),
}


def protocol_metrics(name, scores, labels, k=3, threshold=None):
    """All metrics of one protocol, written out per protocol as its users define them."""
    level = (0.8 if name == 'asl' else 0.5) if threshold is None else threshold
    ap, skip_ap, f1_of_means, skip_means, strict = PROTOCOLS[name]
    plain = decisions(scores, labels, level, strict)
    names = ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1')
    metrics = {'mAP': mean_ap(scores, labels, ap, skip_ap)}
    metrics.update(zip(names, six(plain, labels, f1_of_means, skip_means)))
    if name != 'asl':  # the k best, and of them those above the threshold but for mmpretrain
        top = decisions(scores, labels, None if name == 'mmpretrain' else level, strict, k)
        values = six(top, labels, f1_of_means, skip_means)
        metrics.update({f'{n}_top{k}': value for n, value in zip(names, values)})
    return metrics


def best_f1(scores, labels, strict):
    """The best F1 of all sets of decisions of one class; no score of 0 is above a threshold."""
    found = [0]
    for level in sorted(set(scores)):
        if strict and level == 0:
            continue
        called = [score >= level for score in scores]
        hits = sum(c and label for c, label in zip(called, labels))
        found.append(divide(2 * hits, sum(called) + sum(labels)))
    return max(found)
