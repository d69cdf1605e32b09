"""Corel5k's 74 frequent words, to be made worse: fewer images, wrong labels, hidden ones."""

_base_ = './corel5k74_160.py'

worse = dict(images=1.0, replaced=0.0, hidden=0.0, draw_seed=0)
train_dataloader = dict(dataset=dict(type='DegradedData', of='MultiLabelDataset', **worse))
