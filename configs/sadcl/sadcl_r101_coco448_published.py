"""SADCL as released: 2 GPUs with 32 images each, contrast within a GPU, and most anchors left out.

tools/dist_train.sh configs/sadcl/sadcl_r101_coco448_published.py 2
Paper: mAP 85.6 (the published log: EMA mAP 85.67). Ours: not run.
"""

_base_ = './sadcl_r101_coco448.py'

optim_wrapper = dict(dtype='float16')
train_dataloader = dict(batch_size=32)  # 2 GPUs x 32 = 64
# 'official': the code's mistake in the order of rows (docs/reproduction.md)
loss_sscl = dict(anchors='official', loss_weight=100.0, gather=False)
model = dict(head=dict(bank_slots=32, loss_sscl=loss_sscl, loss_pscl=dict(gather=False)))
