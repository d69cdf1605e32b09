"""What a data sample is given of an image."""

import mmpretrain.datasets
import numpy as np
from mmpretrain.registry import TRANSFORMS

from mlic.names import short


@TRANSFORMS.register_module(force=True)
class PackInputs(mmpretrain.datasets.PackInputs):
    """mmpretrain's ``PackInputs``, which it replaces in the registry.

    It always keeps the meta key ``gt_label_unknown``, whatever ``meta_keys`` names: without
    it, a label that nobody annotated would count as negative. The arguments are mmpretrain's.

    **Required Keys:** mmpretrain's, and ``gt_label_unknown`` (list[int], optional)

    Example:
        >>> import numpy as np
        >>> from mlic.datasets import PackInputs
        >>> packed = PackInputs()(dict(img=np.zeros((48, 64, 3), np.uint8), gt_label=[0, 2]))
        >>> packed['inputs'].shape, packed['data_samples'].gt_label
        (torch.Size([3, 48, 64]), tensor([0, 2]))
    """

    def transform(self, results: dict) -> dict:
        """Pack the image and its labels.

        Raises:
            ValueError: If labels are text.
        """
        labels = results.get('gt_label')
        if labels is not None and np.asarray(labels).dtype.kind in 'SU':
            raise ValueError(
                f'{results.get("img_path", "an image")}: gt_label={short(labels)} is text. Labels '
                "are indices of the data set's classes, such as [0, 2], in the order of its "
                'metainfo'
            )
        packed = super().transform(results)
        if 'gt_label_unknown' in results:
            unknown = dict(gt_label_unknown=results['gt_label_unknown'])
            packed['data_samples'].set_metainfo(unknown)
        return packed
