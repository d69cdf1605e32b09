"""SADCL in two stages on Pascal VOC 2007, from weights that were trained on COCO, by class name.

tools/dist_train.sh configs/sadcl/sadcl_r101_voc448_from-coco.py 8 --cfg-options \
    load_from=work_dirs/sadcl_r101_coco448/best_multi-label_mAP_epoch_N.pth
Paper (its poster): mAP 96.4. Ours: not run.
"""

_base_ = './sadcl_r101_voc448.py'

load_from_classes = {  # the other 14 of the 20 have the same name in COCO
    'aeroplane': 'airplane',
    'diningtable': 'dining table',
    'motorbike': 'motorcycle',
    'pottedplant': 'potted plant',
    'sofa': 'couch',
    'tvmonitor': 'tv',
}
