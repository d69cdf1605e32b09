"""CPSD's student against loops and recordings. B images, C classes, K channels, D embed dims."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mlic.engine.checkpoints.renaming import NameTable
from mlic.models.distilled_classifier import DistilledClassifier
from projects.cpsd.r101tf import R101TFHead, R101TFNeck
from tests.peer_recordings import PeerRecording

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
LAYER = 'transformer.layers.{n}'
NAMES = NameTable(
    (
        ('fc.0.{affine}', 'neck.input_proj.{affine}'),
        ('label_emb.0.{affine}', 'neck.label_proj.{affine}'),
        (f'{LAYER}.0.fn.norm.{{affine}}', 'neck.layers.{n}.attn_norm.{affine}'),
        (f'{LAYER}.0.fn.fn.to_qkv.weight', 'neck.layers.{n}.attn.qkv.weight'),
        (f'{LAYER}.0.fn.fn.to_out.0.{{affine}}', 'neck.layers.{n}.attn.out.{affine}'),
        (f'{LAYER}.1.fn.norm.{{affine}}', 'neck.layers.{n}.ffn_norm.{affine}'),
        (f'{LAYER}.1.fn.fn.net.0.{{affine}}', 'neck.layers.{n}.ffn.0.{affine}'),
        (f'{LAYER}.1.fn.fn.net.3.{{affine}}', 'neck.layers.{n}.ffn.3.{affine}'),
        ('classify.0.{affine}', 'head.fc.{affine}'),
    )
)


class Map(nn.Module):
    """A backbone whose input is its feature map."""

    def forward(self, inputs):
        return (inputs,)


class Scores(nn.Module):
    """A teacher that gives the same logits whatever it sees."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer('logits', logits)

    def forward(self, inputs, mode):
        assert mode == 'tensor' and not torch.is_grad_enabled()
        return self.logits


def tiny_neck(num_classes=3, channels=5, vectors=4, dims=6, layers=2, heads=2, feedforward=7):
    return R101TFNeck(
        channels,
        num_classes,
        embed_dims=dims,
        num_layers=layers,
        num_heads=heads,
        feedforward_channels=feedforward,
        dropout=0.0,
        vectors=dict(dims=vectors, file='of the recording'),
    )


def recorded_model(dtype=torch.float64):
    recording = PeerRecording('cpsd')
    weights = NAMES.rename(recording.weights())
    layers = sum(name.endswith('qkv.weight') for name in weights)
    vectors = recording.double('word_vectors')
    qkv = weights['neck.layers.0.attn.qkv.weight']
    dims = qkv.shape[1]
    neck = tiny_neck(
        len(vectors),
        recording['feature'].shape[1],
        vectors.shape[1],
        dims,
        layers,
        len(qkv) // 3 // dims,
        len(weights['neck.layers.0.ffn.0.weight']),
    )
    loss = dict(type='StopGradAsymmetricLoss', gamma_neg=4.0, gamma_pos=0.0, clip=0.05)
    model = DistilledClassifier(
        backbone=Map(),
        neck=neck,
        head=R101TFHead(len(vectors), dims, loss_cls=dict(loss, eps=1e-8)),
        distillation=dict(teachers=['of the recording']),
    ).to(dtype)
    model.load_state_dict({**weights, 'neck.vectors.vectors': vectors})
    parts = {key.split('.')[1] for key in recording.file if key.startswith('part.')}
    model.learn_from(
        (
            Scores(recording[f'part.{part}.teacher_logits'].to(dtype)),
            recording[f'part.{part}.classes'].tolist(),
            part[:2],
        )
        for part in sorted(parts)
    )
    return model, recording


@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('dtype,suffix', [(torch.float64, '.f64'), (torch.float32, '.f32')])
def test_scores_and_losses_are_those_of_the_released_code(mode, dtype, suffix):
    model, recording = recorded_model(dtype)
    model.train(mode == 'train')
    inputs = recording['feature'].to(dtype)
    recording.check(model(inputs), f'{mode}.score{suffix}')
    losses = model.loss(inputs, recording.samples())
    images = len(inputs)  # the released losses are sums over them
    recording.check(losses['loss_cls'] * images / 0.5, f'{mode}.loss.asl{suffix}')
    recording.check(sum(losses.values()) * images, f'{mode}.loss.total{suffix}')


def test_gradients_are_those_of_the_released_code():
    model, recording = recorded_model()
    inputs = recording.double('feature').requires_grad_()
    losses = model.train().loss(inputs, recording.samples())
    (sum(losses.values()) * len(inputs)).backward()
    found = {NAMES.theirs(name): p.grad for name, p in model.named_parameters()}
    recording.check_gradients({**found, 'in.feature': inputs.grad})


def embeds_by_loops(neck, feature_map):
    """(K, h, w) → (C, D), a token at a time."""
    cells = feature_map.flatten(1).T
    tokens = [neck.input_proj(cell) for cell in cells]
    tokens += [neck.label_proj(vector).clamp(min=0) for vector in neck.vectors()]
    for layer in neck.layers:
        dims, heads = len(tokens[0]), layer.attn.num_heads
        normed = [layer.attn_norm(token) for token in tokens]
        weight = layer.attn.qkv.weight.reshape(3, heads, dims, dims)
        attended = []
        for token in normed:
            outputs = []
            for head in range(heads):
                query = weight[0, head] @ token
                scores = [query @ (weight[1, head] @ other) / math.sqrt(dims) for other in normed]
                shares = torch.stack(scores).softmax(0)
                values = (weight[2, head] @ other for other in normed)
                outputs.append(sum(share * value for share, value in zip(shares, values)))
            attended.append(layer.attn.out(torch.cat(outputs)))
        tokens = [token + added for token, added in zip(tokens, attended)]
        first, last = layer.ffn[0], layer.ffn[3]
        tokens = [t + last(nn.functional.gelu(first(layer.ffn_norm(t)))) for t in tokens]
    return torch.stack(tokens[len(cells) :])


def test_label_embeddings_equal_loops():
    torch.manual_seed(0)
    neck, feature_map = tiny_neck().double(), torch.randn(2, 5, 3, 2).double()
    neck.vectors.vectors.normal_()
    head = R101TFHead(3, 6).double()
    with torch.no_grad():
        expected = torch.stack([embeds_by_loops(neck, one) for one in feature_map])
        assert_close(neck((feature_map,))[0], expected, **EXACT)
        scores = torch.stack([torch.stack([head.fc.weight[0] @ e for e in x]) for x in expected])
        assert_close(head((expected,)), scores + head.fc.bias, **EXACT)


def test_autocast_rounds_no_logits():
    head = R101TFHead(3, 8)
    embeds = torch.rand(2, 3, 8).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        logits = head((embeds,))
    assert_close(logits, head((embeds.float(),)), rtol=0, atol=0)
