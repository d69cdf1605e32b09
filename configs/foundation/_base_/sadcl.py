# SADCL's neck and head; the contrastive losses begin with the eighth of the ten epochs.
_base_ = ['./adamw_cosine_10e.py', '../../_base_/default_runtime.py']

custom_imports = dict(imports=['projects.sadcl'], allow_failed_imports=False)
num_classes = 80
embed_dims = 768
model = dict(
    type='ImageClassifier',
    neck=dict(
        type='SARLNeck',
        num_classes=num_classes,
        embed_dims=embed_dims,
        feedforward_channels=4 * embed_dims,
    ),
    head=dict(
        type='SADCLHead',
        num_classes=num_classes,
        in_channels=embed_dims,
        prior_prob=0.036,  # an image has 2.9 of 80 labels
        # the shares of _base_/models/sadcl_r101.py: over its 1000 / 80 of cross-entropy
        loss_cls=dict(type='StopGradAsymmetricLoss'),
        loss_sscl=dict(type='SSCLLoss', anchors='all', loss_weight=1.28, gather=True),
        loss_pscl=dict(type='PSCLLoss', loss_weight=4.0, gather=True),
    ),
)
# not tuned: what begins with random weights learns ten times as fast as the backbone
faster = dict(lr_mult=10.0)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'neck.': faster, 'head.': faster}))
custom_hooks = [*_base_.custom_hooks, dict(type='PrototypeHook', begin=8)]
