"""SADCL with SSCL as the paper's formula has it: every anchor counts.

tools/dist_train.sh configs/sadcl/sadcl_r101_coco448_formula.py 8
Ours: not run.
"""

_base_ = './sadcl_r101_coco448.py'

# The published anchors are a part of the formula's, about 1/B + (1 - 1/B) sum p^2 / sum p for
# class frequencies p: 0.18 for B = 32 and frequencies like COCO's. 100 x 0.18 = 18 keeps the size
# of the gradient.
model = dict(head=dict(loss_sscl=dict(anchors='all', loss_weight=18.0)))
