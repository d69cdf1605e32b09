"""Photographs of a shop, to be made worse: fewer images, wrong labels, hidden ones."""

_base_ = './fashion112.py'

worse = dict(images=1.0, replaced=0.0, hidden=0.0, draw_seed=0)
train_dataloader = dict(dataset=dict(type='DegradedData', of='MultiLabelDataset', **worse))
