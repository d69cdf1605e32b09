"""What a data sample is given of an image."""

import mmpretrain.datasets
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class PackInputs(mmpretrain.datasets.PackInputs):
    """mmpretrain's ``PackInputs``, which it replaces in the registry.

    It always keeps the meta key ``gt_label_unknown``, whatever ``meta_keys`` names: a label that
    nobody looked for would be a negative one without it. The arguments are mmpretrain's.

    **Required Keys:** mmpretrain's, and ``gt_label_unknown`` (list[int], optional)

    Example:
        >>> import numpy as np
        >>> from mlic.datasets import PackInputs
        >>> packed = PackInputs()(dict(img=np.zeros((48, 64, 3), np.uint8), gt_label=[0, 2]))
        >>> packed['inputs'].shape, packed['data_samples'].gt_label
        (torch.Size([3, 48, 64]), tensor([0, 2]))
    """

    def transform(self, results: dict) -> dict:
        """Pack the image and its labels."""
        packed = super().transform(results)
        if 'gt_label_unknown' in results:
            unknown = dict(gt_label_unknown=results['gt_label_unknown'])
            packed['data_samples'].set_metainfo(unknown)
        return packed
