optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-5))
# Published: when the loss on the validation images has not fallen for 5 epochs. mmengine's watches
# what the metrics say; here it is mAP, which has not risen.
param_scheduler = [
    dict(
        type='ReduceOnPlateauLR',
        monitor='multi-label/mAP',
        rule='greater',
        factor=0.1,
        patience=5,
        by_epoch=True,
    )
]
custom_hooks = []

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=16)
