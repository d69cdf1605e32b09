"""CPSD: R101TF learns from ten of its kind, of five parts of the classes each in two partitions.

tools/dist_train.sh configs/cpsd/cpsd_r101_coco448.py 2
Needs the teachers first (projects/cpsd/README.md). Paper: mAP 85.2. Ours: not run.
"""

_base_ = './_base_/r101tf_coco448.py'

teachers = [
    dict(config='cpsd_r101_coco448_teacher', checkpoint=f'work_dirs/cpsd/{kind}-{k}', ensemble=kind)
    for kind in ('co', 'dis')
    for k in range(5)
]
model = dict(type='DistilledClassifier', distillation=dict(teachers=teachers, alpha=0.5))
default_hooks = dict(teachers=dict(type='TeachersHook'))
