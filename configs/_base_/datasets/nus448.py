"""NUS-WIDE at 448 px, images with a label only: 125,449 to train, 83,898 to report.

The split of the authors, from their own files; variant='matrix' reads the same split from two label
matrices. The paper's numbers are taken to be of this split; ASL's (variant='csv') is another one.
"""

_base_ = './coco448.py'

dataset_type = 'NUSWIDE'
data_root = 'data/nuswide/'
data_preprocessor = dict(num_classes=81)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='train',
        variant='official',
        pipeline=_base_.train_pipeline,
    )
)
# as on COCO, the best checkpoint is chosen on the split that is reported
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        split='test',
        variant='official',
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
