_base_ = '../../_base_/schedules/sgd_multi-step_50e.py'

optim_wrapper = dict(optimizer=dict(lr=0.03))
param_scheduler = [dict(type='MultiStepLR', milestones=[41], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=64)
