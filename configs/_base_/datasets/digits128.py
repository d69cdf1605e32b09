"""DigitScenes at 128 px: rendered on the fly from scikit-learn's scans, no download."""

_base_ = './small.py'

data_preprocessor = dict(num_classes=10)

# No flip and no strong crop: either would change what the label says.
train_pipeline = [dict(type='PackInputs')]
# scenes have 128 px; photographs that a model is given may have thousands
test_pipeline = [dict(type='Resize', scale=(128, 128)), dict(type='PackInputs')]

few = dict(type='DigitScenes', num_images=500, pipeline=test_pipeline)
train = dict(type='DigitScenes', split='train', num_images=2000, pipeline=train_pipeline)
train_dataloader = dict(dataset=train)
val_dataloader = dict(dataset=dict(**few, split='val'))
test_dataloader = dict(dataset=dict(**few, split='test'))
