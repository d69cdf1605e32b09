"""SARL + PSCL on NUS-WIDE, a row of the paper's ablation.

tools/dist_train.sh configs/sadcl/sadcl_r101_nus448_no-sscl.py 8
Paper: this row's number was not found. Ours: not run.
"""

_base_ = './sadcl_r101_nus448.py'

model = dict(head=dict(loss_sscl=None))
