"""ADD-GCN on Pascal VOC 2007 at 512 px, from weights that were trained on COCO, by class name.

tools/train.py configs/add_gcn/add-gcn_r101_voc512_from-coco.py --cfg-options \
    load_from=work_dirs/add-gcn_r101_coco448/best_multi-label_mAP_epoch_N.pth
Paper: mAP 96.0. Ours: not run.
"""

_base_ = ['./_base_/add-gcn_r101.py', '../_base_/datasets/voc512.py']

model = dict(neck=dict(num_classes=20), head=dict(num_classes=20))
train_dataloader = dict(batch_size=16)
renamed = dict(aeroplane='airplane', motorbike='motorcycle', sofa='couch', tvmonitor='tv')
load_from_classes = dict(renamed, diningtable='dining table', pottedplant='potted plant')
