"""coco448.py without the images that have no label: 82,081 to train and 40,137 to test."""

_base_ = './coco448.py'

train_dataloader = dict(dataset=dict(labelled_only=True))
val_dataloader = dict(dataset=dict(labelled_only=True))
test_dataloader = val_dataloader
