"""TDRG as its paper has it: attention over the cells of an image.

tools/dist_train.sh configs/tdrg/tdrg_r101_coco448_cells.py 2
Nobody has published this. Ours: not run.
"""

_base_ = './tdrg_r101_coco448.py'

model = dict(head=dict(attend='cells'))
