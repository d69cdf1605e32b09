"""R101TF without teachers; on a part of the classes, a teacher.

tools/dist_train.sh configs/cpsd/cpsd_r101_coco448_teacher.py 2
Needs GloVe's vectors (projects/cpsd/README.md). Paper: not found. Ours: not run.
"""

_base_ = './_base_/r101tf_coco448.py'
