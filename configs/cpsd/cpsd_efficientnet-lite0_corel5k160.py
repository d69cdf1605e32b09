"""The linear classifier on Corel5k, with CPSD's loss from a trained SARL.

tools/train.py configs/cpsd/cpsd_efficientnet-lite0_corel5k160.py
Needs the run of sarl_efficientnet-lite0_corel5k160 first. Over 74 words, stored features, 3 seeds:
docs/experiments.md.
"""

_base_ = '../sadcl/baseline_efficientnet-lite0_corel5k160.py'

sarl = 'sarl_efficientnet-lite0_corel5k160'
teachers = [dict(config=sarl, checkpoint=f'work_dirs/{sarl}')]
model = dict(type='DistilledClassifier', distillation=dict(teachers=teachers, alpha=0.5))
default_hooks = dict(teachers=dict(type='TeachersHook'))
