"""CTranHead against loops and recordings. B images, C classes, K channels, D width, N cells."""

import math

import pytest
import torch
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from mlic.models.given_labels import check_takes_given, give_labels
from mlic.models.losses.soft_margin_loss import MultiLabelSoftMarginLoss
from projects.c_tran.c_tran_head import CTranHead
from projects.c_tran.published_weights import C_TRAN, NAMES
from tests.helpers import recorded
from tests.peer_recordings import PeerRecording

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
NAN = float('nan')
CASES = ['', 'all_unknown.', 'no_lmt.']  # some labels known; none; without label mask training


# --- recordings ---------------------------------------------------------------------------------


def recorded_head(case=''):
    """The head of a recording in float64, which gives what was given there; and the recording."""
    recording = PeerRecording('c_tran')
    width = recorded('peers/index.json')['c_tran']['widths']
    weights = C_TRAN.convert(recording.weights())
    weights = {name.removeprefix('head.'): value for name, value in weights.items()}
    num_classes = len(weights['label_embed'])
    head = CTranHead(
        num_classes,
        width['hidden'],
        num_layers=width['layers'],
        num_heads=width['heads'],
        feedforward_channels=width['ffn'],
        dropout=0.0,
        known_labels=None if case == 'no_lmt.' else 0.75,
        # the sum over the images of a batch
        loss=dict(
            type='MultiLabelSoftMarginLoss',
            mean_over_classes=False,
            loss_weight=len(recording['target']),
        ),
    ).double()
    if case == 'no_lmt.':
        weights = {name: value for name, value in weights.items() if 'state' not in name}
    head.load_state_dict(weights)
    given = recording.double('mask').masked_fill(recording['mask'] < 0, NAN)
    given = given * NAN if case == 'all_unknown.' else given
    head.draw_given = lambda target: given
    return head, recording, None if case == 'no_lmt.' else given


def recorded_samples(recording, case):
    """Their targets; without label mask training the recorded loss is of the same labels."""
    samples = recording.samples()
    for sample, row in zip(samples, recording['unknown_mask'] == 0):
        if case == 'no_lmt.':
            sample.set_metainfo(dict(gt_label_unknown=row.nonzero().flatten().tolist()))
    return samples


def by_released_names(values):
    """Values of our parameters; a zero for the first of the three states, which is none."""
    found = {NAMES.theirs(f'head.{name}'): value for name, value in values.items()}
    if 'known_states' in values:
        states = values['known_states']
        found['known_label_lt.weight'] = torch.cat([torch.zeros_like(states[:1]), states])
    return found


@pytest.mark.parametrize('case', CASES)
def test_scores_losses_and_gradients_are_those_of_the_released_code(case):
    head, recording, given = recorded_head(case)
    feature = recording.double('feature').requires_grad_()
    recording.check(head((feature,), given), f'{case}train.score.f64')
    loss = head.loss((feature,), recorded_samples(recording, case))['loss_cls']
    recording.check(loss, f'{case}train.loss.total.f64')
    loss.backward()
    found = by_released_names({name: p.grad for name, p in head.named_parameters()})
    recording.check_gradients({**found, 'in.feature': feature.grad}, f'{case}grad.')
    head.eval()
    recording.check(head((feature,), given), f'{case}eval.score.f64')
    half = None if given is None else given.float()
    recording.check(head.float()((recording['feature'],), half), f'{case}eval.score.f32')


@pytest.mark.parametrize('case', CASES)
def test_maps_are_the_last_layers_recorded_attention_of_labels_to_cells(case):
    head, recording, given = recorded_head(case)
    feature = recording.double('feature')
    maps = head.eval().attention_maps((feature,), given)
    assert maps.shape == (*recording['target'].shape, *feature.shape[-2:])
    cells = feature.shape[-1] * feature.shape[-2]
    expected = recording[f'{case}eval.attention.f64'][-1][:, cells:, :cells]
    assert_close(maps.flatten(2), expected, **EXACT)


def test_three_steps_are_those_of_the_released_code():
    head, recording, given = recorded_head()
    adam = torch.optim.Adam(head.parameters(), lr=1e-3)
    feature, samples = recording.double('feature'), recording.samples()
    named = {n: p for n, p in head.named_parameters() if n != 'known_states'}
    recording.check_steps(
        adam,
        lambda: head.loss((feature,), samples)['loss_cls'],
        by_released_names(named),
        # the keys' biases have no gradient but for rounding, and Adam makes it a step
        skip=[NAMES.theirs(f'head.{name}') for name in named if name.endswith('in_proj_bias')],
    )
    states = torch.cat([head.unknown_state[None], head.known_states.detach()])
    found = torch.stack([states.norm(), states.sum()])
    assert_close(found, recording['steps.norm_sum.known_label_lt.weight'], **EXACT)
    recording.check(head((feature,), given), 'steps.eval.score')


def test_a_released_checkpoint_is_one_of_ours():
    recording = PeerRecording('c_tran')
    released = {f'module.{name}': value for name, value in recording.weights().items()}
    released['module.backbone.base_network.fc.weight'] = torch.zeros(1000, 2048)
    weights = C_TRAN.convert(released)
    head = C_TRAN.model_of(weights)['head']
    states = recording.double('sd.known_label_lt.weight')
    assert_close(weights['head.unknown_state'], states[0])
    assert_close(weights['head.known_states'], states[1:])
    # but for the backbone, which was not recorded
    with pytest.raises(ValueError, match='missing: backbone.base_network.conv1.weight') as found:
        C_TRAN.check(weights, published=True)
    assert 'unknown' not in str(found.value) and 'LayerNorm' not in str(found.value)
    assert head.num_classes == len(recording['target'][0])


# --- the formula --------------------------------------------------------------------------------


def by_loops(head, feature_map, given):
    """Logits (B, C), token by token."""
    rows = []
    for b, image in enumerate(feature_map):
        tokens = [*image.flatten(1).T]
        for c, embed in enumerate(head.label_embed):
            state = None if given is None else given[b, c]
            if state is None or state.isnan():
                tokens.append(embed + head.unknown_state)
            else:
                tokens.append(embed + head.known_states[1 if state >= 0.5 else 0])
        tokens = [normed(token, head.norm) for token in tokens]
        for layer in head.layers:
            tokens = layer_by_loops(tokens, layer, head.layers[0].attn.num_heads)
        labels = tokens[-head.num_classes :]
        rows.append([t @ w + v for t, w, v in zip(labels, head.fc.weight, head.fc.bias)])
    return torch.tensor(rows, dtype=torch.float64)


def normed(token, norm):
    variance = ((token - token.mean()) ** 2).mean()
    return (token - token.mean()) / (variance + norm.eps).sqrt() * norm.weight + norm.bias


def layer_by_loops(tokens, layer, num_heads):
    attn, width = layer.attn, len(tokens[0])
    (wq, wk, wv), (bq, bk, bv) = attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3)
    size, out = width // num_heads, []
    for token in tokens:
        parts = []
        for h in range(num_heads):
            rows = slice(h * size, (h + 1) * size)
            query = wq[rows] @ token + bq[rows]
            weights = [
                math.exp(query @ (wk[rows] @ other + bk[rows]) / math.sqrt(size))
                for other in tokens
            ]
            values = [wv[rows] @ other + bv[rows] for other in tokens]
            parts.append(sum(w * v for w, v in zip(weights, values)) / sum(weights))
        attended = attn.out_proj.weight @ torch.cat(parts) + attn.out_proj.bias
        token = normed(token + attended, layer.attn_norm)
        hidden = (layer.ffn[0].weight @ token + layer.ffn[0].bias).clamp(min=0)
        out.append(normed(token + layer.ffn[3].weight @ hidden + layer.ffn[3].bias, layer.ffn_norm))
    return out


def tiny_head(num_classes=3, width=4, **kwargs):
    torch.manual_seed(0)
    options = dict(num_layers=2, num_heads=2, feedforward_channels=5, dropout=0.0)
    head = CTranHead(num_classes, width, **{**options, **kwargs}).double()
    for parameter in head.parameters():  # biases that are zero, and weights that are one
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return head


GIVEN = torch.tensor([[NAN, 1.0, 0.0], [NAN, NAN, NAN]], dtype=torch.float64)


@pytest.mark.parametrize('given', [None, GIVEN])
def test_head_equals_loops(given):
    head, feature_map = tiny_head(), torch.randn(2, 4, 2, 3).double()
    with torch.no_grad():
        expected = by_loops(head, feature_map, given)
        assert_close(head((feature_map,), given), expected, **EXACT)


def test_another_width_comes_from_a_convolution():
    head, feature_map = tiny_head(embed_dims=6), torch.randn(2, 4, 2, 3).double()
    with torch.no_grad():
        expected = by_loops(head, head.input_proj(feature_map), None)
        assert_close(head((feature_map,)), expected, **EXACT)
    with pytest.raises(ValueError, match='a width of 6 .* no multiple of num_heads=4'):
        CTranHead(3, 8, embed_dims=6)


def test_what_is_not_given_is_what_was_never_asked():
    """No labels known, and all of them unknown, are the same; an image does not see the others."""
    head, feature_map = tiny_head().eval(), torch.randn(2, 4, 2, 3).double()
    together = head((feature_map,), GIVEN)
    assert_close(head((feature_map[1:],)), together[1:], **EXACT)
    assert_close(head((feature_map[:1],), GIVEN[:1]), together[:1], **EXACT)
    assert_close(head((feature_map,)), head((feature_map,), torch.full_like(GIVEN, NAN)), **EXACT)
    assert (head((feature_map,))[0] - together[0]).abs().min() > 1e-6


def test_the_state_unknown_is_no_parameter_and_the_others_get_a_gradient():
    head = tiny_head()
    assert 'unknown_state' in dict(head.named_buffers())
    before = head.unknown_state.clone()
    samples = [DataSample().set_gt_score(torch.tensor([1.0, 0.0, 1.0])) for _ in range(2)]
    head.draw_given = lambda target: torch.tensor([[1.0, NAN, NAN], [NAN, 0.0, NAN]]).double()
    head.loss((torch.randn(2, 4, 2, 3).double(),), samples)['loss_cls'].backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    assert_close(head.unknown_state, before)


# --- training with known labels -----------------------------------------------------------------


def test_the_loss_is_that_of_the_labels_that_are_not_given():
    head, feature_map = tiny_head(), torch.randn(2, 4, 2, 3).double()
    target = torch.tensor([[1.0, 1.0, NAN], [0.0, NAN, 1.0]]).double()
    given = torch.tensor([[NAN, 1.0, NAN], [NAN, NAN, NAN]]).double()
    head.draw_given = lambda _: given
    samples = []
    for row in target:
        sample = DataSample().set_gt_score(row.nan_to_num(1.0))
        sample.set_metainfo(dict(gt_label_unknown=row.isnan().nonzero().flatten().tolist()))
        samples.append(sample)
    scores = head((feature_map,), given)
    terms = [
        math.log1p(math.exp(-s if y else s))
        for row, labels, known in zip(scores.tolist(), target.tolist(), given.isnan().tolist())
        for s, y, asked in zip(row, labels, known)
        if asked and y == y
    ]
    loss = head.loss((feature_map,), samples)['loss_cls']
    assert len(terms) == 3
    assert_close(loss.item(), sum(terms) / 2, **EXACT)
    # the mean of its images', as processes and accumulated steps have them
    parts = []
    for k in range(2):
        head.draw_given = lambda _, k=k: given[k : k + 1]
        parts.append(head.loss((feature_map[k : k + 1],), samples[k : k + 1])['loss_cls'])
    assert_close(sum(parts) / 2, loss, **EXACT)


def test_without_known_labels_the_loss_is_of_all_and_there_are_no_states():
    head, feature_map = tiny_head(known_labels=None), torch.randn(2, 4, 2, 3).double()
    assert not any('state' in name for name in head.state_dict())
    target = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]).double()
    samples = [DataSample().set_gt_score(row) for row in target]
    loss = head.loss((feature_map,), samples)['loss_cls']
    expected = MultiLabelSoftMarginLoss(mean_over_classes=False)(head((feature_map,)), target)
    assert_close(loss, expected, **EXACT)
    with pytest.raises(ValueError, match='known_labels=None'):
        head((feature_map,), GIVEN)


@pytest.mark.parametrize(('share', 'most'), [(0.75, 6), (0.3, 2), (0.0, 0), (1.0, 8)])
def test_up_to_a_share_of_the_labels_is_given_each_as_often(share, most):
    head, torch_seed = tiny_head(8, known_labels=share), 1
    torch.manual_seed(torch_seed)
    target = (torch.rand(20_000, 8) < 0.3).float()
    given = head.draw_given(target)
    known = ~given.isnan()
    assert torch.equal(given[known], target[known])
    counts = torch.bincount(known.sum(1), minlength=9) / len(target)
    expected = torch.tensor([1 / (most + 1)] * (most + 1) + [0.0] * (8 - most))
    assert_close(counts, expected, rtol=0, atol=0.02)
    assert_close(known.float().mean(0), torch.full((8,), most / 16), rtol=0, atol=0.02)


def test_of_what_nobody_looked_at_nothing_is_given():
    head = tiny_head(8)
    torch.manual_seed(0)
    target = torch.zeros(20_000, 8)
    target[:, 3:] = NAN  # three are known, of which up to two are given
    known = ~head.draw_given(target).isnan()
    assert not known[:, 3:].any()
    counts = torch.bincount(known.sum(1), minlength=4) / len(target)
    assert_close(counts, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]), rtol=0, atol=0.02)


def test_the_draw_follows_torchs_generator_alone():
    head, target = tiny_head(8), torch.zeros(5, 8)
    torch.manual_seed(3)
    first, second = head.draw_given(target), head.draw_given(target)
    torch.manual_seed(3)
    assert torch.equal(head.draw_given(target).isnan(), first.isnan())
    assert not torch.equal(first.isnan(), second.isnan())


# --- prediction with known labels ---------------------------------------------------------------


def test_predict_takes_what_the_samples_tell():
    head, feature_map = tiny_head().eval(), torch.randn(2, 4, 2, 3).double()
    samples = [DataSample(), DataSample()]
    give_labels(samples[0], GIVEN[0])
    found = torch.stack([sample.pred_score for sample in head.predict((feature_map,), samples)])
    assert_close(found, head((feature_map,), GIVEN).sigmoid())
    plain = torch.stack([sample.pred_score for sample in head.predict((feature_map,))])
    assert_close(plain, head((feature_map,)).sigmoid())


def test_a_head_without_states_is_refused():
    model = torch.nn.Module()
    for model.head in (tiny_head(known_labels=None), torch.nn.Linear(1, 1)):
        with pytest.raises(ValueError, match=f'--known: {type(model.head).__name__} cannot use'):
            check_takes_given(model, '--known')
    model.head = tiny_head()
    check_takes_given(model, '--known')


def test_a_loss_of_its_own_for_unknown_labels_does_not_get_the_given_ones():
    loss = dict(type='WeakNegativeLoss', loss=dict(type='MultiLabelSoftMarginLoss'))
    with pytest.raises(
        ValueError, match='WeakNegativeLoss would take the labels .* known_labels=0'
    ):
        tiny_head(loss=loss)
    tiny_head(loss=loss, known_labels=0.0)


def test_embeddings_are_drawn_up_to_one_over_the_root_of_their_width():
    head = CTranHead(50, 64, num_layers=1, num_heads=1)
    for weight in (head.label_embed, head.known_states, head.unknown_state):
        assert -1 / 8 <= weight.min() < -1 / 16 and 1 / 16 < weight.max() <= 1 / 8


@pytest.mark.parametrize('share', [-0.1, 1.1, NAN])
def test_a_share_of_known_labels_is_from_0_to_1(share):
    with pytest.raises(ValueError, match=f'a share from 0 to 1, or None, got {share}'):
        CTranHead(5, 8, known_labels=share)
