"""DSDLHead against loops and recordings. B images, C classes, K channels, E width of a vector."""

import copy
import re
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from mlic.datasets.coco import COCO_CATEGORIES
from mlic.models.layers.label_vectors import LabelVectors
from projects.dsdl.dsdl_head import DSDLHead, one_over
from projects.dsdl.published_weights import DSDL
from tests.helpers import run_tool
from tests.peer_recordings import PeerRecording, sequential_resnet

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
CASE = re.compile(r'train\.loss\.lambda(.+)_beta(.+)\.f64')


def recorded_head():
    recording = PeerRecording('dsdl', rtol=1e-7, gradient_rtol=1e-5)  # solved, not inverted
    head = recording.head_of(DSDL)
    head.ridge, head.dictionary_weight = (float(recording[key]) for key in ('lambda', 'beta'))
    return head, recording


def total(losses):
    return losses['loss_cls'] + losses['loss_dictionary']


def recorded_names(head):
    return dict(W1=head.w1, W2=head.w2)


def by_loops(head, feature_map, target):
    """Logits (B, C), and the loss, one number at a time."""
    w1, w2, vectors = head.w1, head.w2, head.vectors.vectors
    (dims, hidden), channels = w1.shape, w2.shape[1]
    atoms, cosines = [], []
    for z in vectors:
        middle = [sum(z[e] * w1[e, h] for e in range(dims)) for h in range(hidden)]
        middle = [max(x, 0.2 * x) for x in middle]
        atom = [sum(middle[h] * w2[h, k] for h in range(hidden)) for k in range(channels)]
        middle = [sum(atom[k] * w2[h, k] for k in range(channels)) for h in range(hidden)]
        middle = [max(x, 0.2 * x) for x in middle]
        again = [sum(middle[h] * w1[e, h] for h in range(hidden)) for e in range(dims)]
        dot = sum(a * b for a, b in zip(z, again))
        cosines.append(dot / (sum(a * a for a in z) * sum(b * b for b in again)) ** 0.5)
        atoms.append(torch.stack(atom))
    gram = torch.stack([torch.stack([a @ b for b in atoms]) for a in atoms])
    inverse = (gram + head.ridge * torch.eye(len(atoms)).double()).inverse()
    scores, error, size, binary = [], 0.0, 0.0, 0.0
    for image, labels in zip(feature_map, target):
        pooled = torch.stack([channel.max() for channel in image])
        code = inverse @ torch.stack([atom @ pooled for atom in atoms])
        built = sum(s * atom for s, atom in zip(code, atoms))
        error += sum((built - pooled) ** 2)
        size += sum(code**2)
        for s, y in zip(code, labels):
            binary -= (y * s.sigmoid().log() + (1 - y) * (1 - s.sigmoid()).log()) / target.numel()
        scores.append(code)
    penalty = head.dictionary_weight * (error**0.5 + head.ridge * size**0.5)
    return torch.stack(scores), (binary + penalty) / (sum(cosines) / len(cosines))


def small_head(**settings):
    torch.manual_seed(0)
    settings = dict(dict(ridge=0.5, dictionary_weight=0.3, vectors=dict(dims=3)), **settings)
    return DSDLHead(3, 4, hidden_channels=5, **settings).double()


def samples_of(target):
    return [DataSample().set_gt_score(row) for row in target]


def test_head_equals_loops():
    head = small_head()
    feature_map, target = torch.randn(2, 4, 3, 3).double(), torch.tensor([[1, 0, 1], [0, 0, 1]])
    scores, loss = by_loops(head, feature_map, target)
    assert_close(head((feature_map,)), scores, **EXACT)
    losses = head.loss((feature_map,), samples_of(target.double()))
    assert_close(total(losses), loss, **EXACT)
    parameters = [head.w1, head.w2]
    found = torch.autograd.grad(total(losses), parameters)
    assert_close(found, torch.autograd.grad(loss, parameters), **EXACT)


def test_scores_losses_and_gradients_are_those_of_the_released_code():
    head, recording = recorded_head()
    feature = recording.double('feature').requires_grad_()
    atoms, cosine = head.dictionary()
    recording.check(atoms, 'train.dictionary.f64')
    words, reconstructed = recording['train._sem.f64'], recording['train.res_semantic.f64']
    assert_close(cosine, torch.cosine_similarity(words, reconstructed).mean(), **recording.exact)
    recording.check(head.pooled((feature,)), 'train.pooled.f64')
    recording.check(head((feature,)), 'train.score.f64')
    losses = head.loss((feature,), recording.samples())
    recording.check(total(losses), 'train.loss.total.f64')
    total(losses).backward()
    gradients = {name: p.grad for name, p in recorded_names(head).items()}
    recording.check_gradients({**gradients, 'in.feature': feature.grad})
    recording.check(head.eval()((feature,)), 'eval.score.f64')
    recording.check(head.float()((recording['feature'],)), 'eval.score.f32')


def test_losses_of_other_constants_are_those_of_the_released_code():
    keys = [key for key in PeerRecording('dsdl').file if CASE.fullmatch(key)]
    assert keys
    head, recording = recorded_head()
    # the constants are those of the loss; the scores are of the recorded ridge
    scores = head.class_part()
    head.classifiers = lambda atoms: scores
    for key in keys:
        head.ridge, head.dictionary_weight = map(float, CASE.fullmatch(key).groups())
        losses = head.loss((recording.double('feature'),), recording.samples())
        recording.check(total(losses), key)


def test_three_steps_are_those_of_the_released_code():
    head, recording = recorded_head()
    sgd = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    feature, samples = recording.double('feature'), recording.samples()
    recording.check_steps(
        sgd, lambda: total(head.loss((feature,), samples)), recorded_names(head), max_norm=10
    )
    recording.check(head((feature,)), 'steps.eval.score')


def test_vectors_are_not_learned():
    head = small_head()
    assert {name for name, _ in head.named_parameters()} == {'w1', 'w2'}
    assert 'vectors.vectors' in head.state_dict() and head.vectors().std() > 0.5
    with pytest.raises(ValueError, match='set vectors.fixed'):
        small_head(vectors=dict(fixed=False))
    info = SimpleNamespace(names='abc')
    assert head.vectors.learn_classes(info) == ['Label vectors: random ones, which stay (no file)']
    assert LabelVectors(3).learn_classes(info) == []


@pytest.mark.parametrize('ridge', [0, -1.0, float('nan')])
def test_a_ridge_that_leaves_the_system_singular_is_refused(ridge):
    with pytest.raises(ValueError, match='ridge must be more than 0'):
        small_head(ridge=ridge)


def test_below_the_least_cosine_the_loss_still_falls_where_the_cosine_grows():
    cosine = torch.linspace(-1, 1, 2001, dtype=torch.float64).requires_grad_()
    value = one_over(cosine)
    (slope,) = torch.autograd.grad(value.sum(), cosine)
    assert (value > 0).all() and (slope < 0).all()
    usual = cosine >= 0.01
    assert_close(value[usual], 1 / cosine[usual])
    assert_close(one_over(torch.tensor([0.01 - 1e-9, 0.01])), torch.tensor([100.0, 100.0]))
    assert one_over(torch.tensor(float('nan'))).isnan()


def test_a_dictionary_that_points_away_from_the_vectors_is_turned():
    """With a cosine below 0, where the quotient would have the wrong sign."""
    head = small_head(vectors=dict(dims=2))
    with torch.no_grad():
        head.vectors.vectors.copy_(torch.tensor([[1, 0.5], [1, 0], [1, -0.5]]))
        head.w1.mul_(0.1)[0, :2] += torch.tensor([1.0, -1.0])
        head.w2.mul_(0.1)[:2, 0] += torch.tensor([1.0, 2.0])
    feature_map, target = torch.randn(2, 4, 2, 2).double(), torch.eye(3).double()[:2]
    sgd, cosines = torch.optim.SGD(head.parameters(), lr=0.01), []
    for _ in range(20):
        sgd.zero_grad()
        losses = head.loss((feature_map,), samples_of(target))
        assert losses['loss_cls'] > 0 and losses['loss_dictionary'] > 0
        total(losses).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 10)
        sgd.step()
        cosines.append(losses['cosine'])
    assert cosines[0] < -0.5 and cosines[-1] > 0.5


def test_features_of_zeros_have_finite_gradients():
    head = small_head()
    losses = head.loss((torch.zeros(2, 4, 2, 2).double(),), samples_of(torch.eye(3).double()[:2]))
    assert losses['loss_dictionary'] == 0
    total(losses).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_bfloat16_features_are_coded_in_float32():
    head = small_head().float()
    feature_map = torch.randn(2, 4, 2, 2).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        found = head((feature_map,))
        losses = head.loss((feature_map,), samples_of(torch.eye(3)[:2]))
    assert_close(found, head((feature_map.float(),)), rtol=0, atol=0)
    expected = head.loss((feature_map.float(),), samples_of(torch.eye(3)[:2]))
    assert_close(losses, expected, rtol=0, atol=0)


def test_before_an_export_the_classifiers_become_a_constant():
    head, feature_map = small_head().eval(), torch.randn(2, 4, 2, 2).double()
    fixed = copy.deepcopy(head)
    fixed.before_export()
    assert torch.equal(fixed((feature_map,)), head((feature_map,)))
    assert fixed.state_dict().keys() == head.state_dict().keys()
    with torch.no_grad():
        fixed.w1.zero_()
    assert torch.equal(fixed((feature_map,)), head((feature_map,)))


def test_a_released_checkpoint_has_as_many_classes_as_there_are_vectors(tmp_path):
    """And they come in the data set's order."""
    weights, _ = sequential_resnet()
    weights.update(W1=torch.randn(3, 4), W2=torch.randn(4, 512))
    torch.save(dict(state_dict=weights), tmp_path / 'coco.pth.tar')
    rows = torch.randn(len(COCO_CATEGORIES), 3)
    lines = [
        ' '.join([name.replace(' ', '_'), *map(str, row.tolist())])
        for name, row in zip(COCO_CATEGORIES, rows)
    ]
    (tmp_path / 'glove.txt').write_text('\n'.join(lines))
    options = ('--classes', 'COCOMultiLabel', '--vectors', tmp_path / 'glove.txt')
    tool = 'tools/model_converters/published_to_mm.py'
    run_tool(tool, tmp_path / 'coco.pth.tar', tmp_path / 'ours.pth', *options)
    content = torch.load(tmp_path / 'ours.pth')
    assert content['meta']['model'] == 'DSDL, 80 classes'
    assert_close(content['state_dict']['head.vectors.vectors'], rows)
    for name in ('w1', 'w2'):
        assert_close(content['state_dict'][f'head.{name}'], weights[name.upper()])
    with pytest.raises(SystemExit, match='has no word vectors: give --vectors'):
        run_tool(tool, tmp_path / 'coco.pth.tar', tmp_path / 'ours.pth')


def test_weights_are_drawn_up_to_one_over_the_root_of_their_columns():
    head = DSDLHead(3, 16, hidden_channels=25, vectors=dict(dims=40))
    for weight, bound in ((head.w1, 1 / 5), (head.w2, 1 / 4)):
        assert 0.98 * bound < weight.abs().max().item() <= bound
