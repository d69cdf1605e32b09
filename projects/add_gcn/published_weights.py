"""Names of ADD-GCN's released code, and ours."""

from mlic.engine.checkpoints.renaming import NameTable
from torch import Tensor

NAMES = NameTable(
    (
        ('fc.weight', 'neck.activation.weight'),
        ('conv_transform.{affine}', 'neck.transform.{affine}'),
        ('gcn.static_adj.0.weight', 'neck.static_graph.weight'),
        ('gcn.static_weight.0.{affine}', 'neck.static_update.{affine}'),
        ('gcn.conv_global.{affine}', 'neck.dynamic_graph.context.{affine}'),
        ('gcn.bn_global.{norm}', 'neck.dynamic_graph.context_norm.{norm}'),
        ('gcn.conv_create_co_mat.{affine}', 'neck.dynamic_graph.correlation.{affine}'),
        ('gcn.dynamic_weight.{affine}', 'neck.dynamic_graph.update.{affine}'),
        ('last_linear.{affine}', 'head.fc.{affine}'),
    ),
    dropped=('mask_mat', '.num_batches_tracked'),
)


def adjust(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions along the classes, (out, in, 1), are linear layers here."""
    return {name: value[..., 0] if value.dim() == 3 else value for name, value in weights.items()}
