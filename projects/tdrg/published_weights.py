"""Checkpoints of TDRG's released code, and of its older form, which the COCO checkpoint has."""

from collections.abc import Mapping

from torch import Tensor, nn

from mlic.engine.checkpoints import published
from mlic.engine.checkpoints.renaming import NameTable

from .tdrg_head import TDRGHead

# theirs, in the older code where it differs, ours
LINES = """
layer1.0.weight                features.0.weight                backbone.conv1.weight
layer1.1.{norm}                features.1.{norm}                backbone.bn1.{norm}
layer1.4.{block}               features.4.{block}               backbone.layer1.{block}
layer{n}.{block}                                                backbone.layer{n}.{block}
transform_28.{affine}                                           head.projections.0.{affine}
transform_14.{affine}                                           head.projections.1.{affine}
transform_7.{affine}                                            head.projections.2.{affine}
transformer.encoder.layers.{n}.self_attn.{attention}            head.encoder.{n}.attn.{attention}
transformer.encoder.layers.{n}.norm1.{affine}                   head.encoder.{n}.attn_norm.{affine}
transformer.encoder.layers.{n}.linear1.{affine}                 head.encoder.{n}.ffn.0.{affine}
transformer.encoder.layers.{n}.linear2.{affine}                 head.encoder.{n}.ffn.3.{affine}
transformer.encoder.layers.{n}.norm2.{affine}                   head.encoder.{n}.ffn_norm.{affine}
trans_classifier.{affine}      classifier.{affine}              head.trans_fc.{affine}
constraint_classifier.weight   fc.weight                        head.activation.weight
gcn_dim_transform.{affine}     conv_transform.{affine}          head.transform.{affine}
guidance_transform.{affine}    conv_position.{affine}           head.guidance.{affine}
guidance_conv.{affine}         gcn.conv_global.{affine}         head.graph.context.{affine}
guidance_bn.{norm}             gcn.bn_global.{norm}             head.graph.context_norm.{norm}
matrix_transform.{affine}      gcn.conv_create_co_mat.{affine}  head.graph.correlation.{affine}
forward_gcn.weight.{affine}    gcn.dynamic_weight.{affine}      head.graph.update.{affine}
gcn_classifier.{affine}        last_linear.{affine}             head.fc.{affine}
""".splitlines()[1:]
NAMES = NameTable(
    [(name, ours) for *theirs, ours in map(str.split, LINES) for name in theirs],
    dropped=('.num_batches_tracked',),
    # a second name of the backbone, what never had a gradient, and parts of the older code
    unused=(
        *('backbone.', 'mask_mat', 'query_embed.', 'positional_embedding.', 'transformer.decoder.'),
        *('bottleneck.', 'classifier_global.', 'bn_position', 'gcn.static_'),
    ),
)


def model_of(weights: Mapping[str, Tensor]) -> nn.Module:
    """ResNet and the head of the weights' sizes; how many heads attend is not in them."""
    fine, coarse, _ = (weights[f'head.projections.{scale}.weight'] for scale in range(3))
    head = TDRGHead(
        len(weights['head.activation.weight']),
        (fine.shape[1], coarse.shape[1]),
        embed_dims=len(fine),
        graph_dims=len(weights['head.transform.weight']),
        num_layers=published.count_layers(weights, 'head.encoder.'),
        feedforward_channels=len(weights['head.encoder.0.ffn.0.weight']),
        attend='batch',
    )
    return nn.ModuleDict(dict(backbone=published.resnet_of(weights), head=head))


TDRG = published.by_table('TDRG', NAMES, model_of, published.as_linear)
