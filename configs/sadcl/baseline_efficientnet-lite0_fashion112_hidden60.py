"""60 % of the training labels are hidden, and left out.

tools/train.py configs/sadcl/baseline_efficientnet-lite0_fashion112_hidden60.py
Stored features, 3 seeds: docs/unknown_labels.md.
"""

_base_ = './baseline_efficientnet-lite0_fashion112.py'

train_dataloader = dict(dataset=dict(type='HideLabels', of='MultiLabelDataset', share=0.6))
