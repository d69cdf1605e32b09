"""Several augmented views of each image as one batch. V views, B images."""

import torch
from mmpretrain.registry import MODELS

from mlic.models.data_preprocessor import MultiLabelDataPreprocessor


@MODELS.register_module()
class MultiViewDataPreprocessor(MultiLabelDataPreprocessor):
    """``MultiLabelDataPreprocessor``, to which the transform ``MultiView`` gives V views.

    ``MultiView`` makes ``inputs`` a list of V batches (B, 3, H, W). They become one batch of V * B
    rows, all images of the first view first, and the data samples are repeated likewise. Inputs
    without views (of the test pipeline) pass as they are. The arguments are those of
    ``MultiLabelDataPreprocessor``; ``batch_augments`` would blend each view with another image.

    Raises:
        ValueError: If there are views to join, and ``batch_augments`` is set.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from projects.mulcon import MultiViewDataPreprocessor
        >>> preprocess = MultiViewDataPreprocessor(num_classes=3, to_onehot=True)
        >>> views = [torch.zeros(1, 3, 32, 32, dtype=torch.uint8)] * 2  # of one image
        >>> data = preprocess(dict(inputs=views, data_samples=[DataSample().set_gt_label([0, 2])]))
        >>> data['inputs'].shape, len(data['data_samples'])
        (torch.Size([2, 3, 32, 32]), 2)
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Join the views, then continue as for a batch of images.

        Raises:
            ValueError: If ``batch_augments`` would blend the views.
        """
        views = data['inputs']
        # a list of single images, (3, H, W) each, comes from a loader that does not stack
        if isinstance(views, (list, tuple)) and torch.is_tensor(views[0]) and views[0].dim() == 4:
            if training and self.batch_augments is not None:
                raise ValueError(
                    'batch_augments would blend the views of an image with different images, and '
                    'MulCon contrasts views of the same: remove model.train_cfg.augments, or '
                    'data_preprocessor.batch_augments'
                )
            # stored features are float16, which autocast to bfloat16 does not join
            with torch.autocast(views[0].device.type, enabled=False):
                data = dict(data, inputs=torch.cat(tuple(views)))
            if data.get('data_samples') is not None:
                data['data_samples'] = list(data['data_samples']) * len(views)
        return super().forward(data, training)
