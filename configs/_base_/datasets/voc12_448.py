"""Pascal VOC 2012 at 448 px: its trainval to train, VOC 2007 test to report.

The labels of VOC 2012 test are not public, and the published code chooses and reports on VOC 2007
test. These numbers do not compare with those of VOC's evaluation server.
"""

_base_ = './voc448.py'

train_dataloader = dict(dataset=dict(data_root='data/VOCdevkit/VOC2012/'))
