"""What a data sample is given of an image."""

import mmpretrain.datasets
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class PackInputs(mmpretrain.datasets.PackInputs):
    """mmpretrain's ``PackInputs``, in whose place it is registered.

    It always keeps the meta key ``gt_label_unknown``, whatever ``meta_keys`` names: a label that
    nobody looked for would be a negative one without it. The arguments are mmpretrain's.

    **Required Keys:** mmpretrain's, and ``gt_label_unknown`` (list[int], optional)
    """

    def transform(self, results: dict) -> dict:
        """Pack the image and its labels."""
        packed = super().transform(results)
        if 'gt_label_unknown' in results:
            unknown = dict(gt_label_unknown=results['gt_label_unknown'])
            packed['data_samples'].set_metainfo(unknown)
        return packed
