"""SADCL as in the published log: 2 GPUs with 32 images each, contrast within a GPU.

tools/dist_train.sh configs/sadcl/sadcl_r101_coco448_published.py 2
Published log: EMA mAP 85.67. Ours: not run.
"""

_base_ = './sadcl_r101_coco448.py'

optim_wrapper = dict(dtype='float16')
train_dataloader = dict(batch_size=32)  # 2 GPUs x 32 = 64
model = dict(head=dict(bank_slots=32, loss_sscl=dict(gather=False), loss_pscl=dict(gather=False)))
