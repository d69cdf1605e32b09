"""SARL + SSCL, a row of the paper's ablation.

tools/dist_train.sh configs/sadcl/sadcl_r101_coco448_no-pscl.py 8
Paper: mAP 85.4. Ours: not run.
"""

_base_ = './sadcl_r101_coco448.py'

model = dict(head=dict(loss_pscl=None))
