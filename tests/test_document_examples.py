"""What the documents show is executed: write_a_loss.md, the tutorial, backbones of own images."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlic.models.backbones.timm_backbone import LazyTIMMBackbone
from tests.helpers import ROOT, run_tool

# ---------------------------------------------------------------- write_a_loss.md


def own_files():
    """The files that write_a_loss.md shows: {path: text}."""
    text = (ROOT / 'docs' / 'write_a_loss.md').read_text(encoding='utf-8')
    found = re.findall(r'in\s+`([\w/.-]+\.py)`:\n\n```python\n(.*?)```', text, re.DOTALL | re.I)
    assert text.count('```python') == len(found) == 3
    return dict(found)


@pytest.fixture
def written_loss(tmp_path, monkeypatch):
    """The document's files in a checkout that has the repository's configs."""
    for name, text in own_files().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in (ROOT / 'configs').rglob('*.py'):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ('projects.nearest', 'test_nearest'):
        sys.modules.pop(name, None)
    MODELS.module_dict.pop('NearestPrototypeLoss', None)


def test_the_loss_of_the_document_passes_its_own_tests(written_loss):
    path = written_loss / 'tests' / 'test_nearest.py'
    assert (
        pytest.main(['-q', '-p', 'no:cacheprovider', f'--rootdir={written_loss}', str(path)]) == 0
    )
    tests = [
        node.name
        for node in ast.parse(path.read_text()).body
        if 'test_' in getattr(node, 'name', '')
    ]
    assert len(tests) == 4


def test_the_config_of_the_document_trains_with_the_loss(written_loss):
    (name,) = (name for name in own_files() if name.startswith('configs/'))
    cfg = Config.fromfile(written_loss / name)
    small = dict(in_channels=16, proj_channels=8, bank_slots=4)
    head = MODELS.build({**cfg.model.head, **small})
    embeds = torch.randn(4, 10, 16, requires_grad=True)
    target = torch.eye(10)[:4]
    losses = head.loss((embeds,), [DataSample().set_gt_score(row) for row in target])
    assert type(head.loss_pscl).__name__ == 'NearestPrototypeLoss'
    assert set(losses) == {'loss_cls', 'loss_sscl', 'loss_pscl'}
    losses['loss_pscl'].backward()
    assert head.prototypes.grad.abs().sum() > 0
    assert embeds.grad.abs().sum() > 0


# ---------------------------------------------------------------- backbones.md, on own images


@pytest.fixture
def own_leaf(tmp_path, monkeypatch, capsys):
    """The document's config beside the one that from_csv.py writes."""
    for name in ('photos', 'new_photos', 'data'):
        (tmp_path / name).mkdir()
    write_photographs(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ['labels.csv', '--images', 'photos', '--out', 'data/holiday']
    run_tool('tools/dataset_tools/from_csv.py', *arguments)
    config, question = examples_on_own_images()
    path = tmp_path / 'data' / 'holiday' / 'holiday_r50.py'
    path.write_text(config)
    return Config.fromfile(path), question


def examples_on_own_images():
    text = (ROOT / 'docs' / 'backbones.md').read_text(encoding='utf-8')
    return re.findall(r'```python\n(.*?)```', text.split('\n## On your own images\n')[1], re.DOTALL)


def test_another_backbone_learns_own_images(own_leaf, tmp_path):
    cfg, _ = own_leaf
    weights = cfg.model.backbone.init_cfg
    published = MODELS.build({**cfg.model.backbone, 'init_cfg': None})
    torch.nn.init.constant_(published.conv1.weight, 0.25)
    entries = {f'backbone.{name}': value for name, value in published.state_dict().items()}
    torch.save(dict(state_dict=entries), tmp_path / 'file.pth')
    weights.checkpoint = 'file.pth'
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    model.init_weights()
    assert (model.backbone.conv1.weight == 0.25).all()
    samples = [DataSample().set_gt_label([0]), DataSample().set_gt_label([1])]
    images = [torch.full((3, 64, 64), value, dtype=torch.uint8) for value in (10, 200)]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    assert data['data_samples'][0].gt_score.shape == (2,)  # two colours
    sum(model.train()(**data, mode='loss').values()).backward()
    trained = {
        name.split('.')[0] for name, p in model.backbone.named_parameters() if p.requires_grad
    }
    assert trained == {'layer4'}
    assert model.backbone.layer4[0].conv1.weight.grad.abs().sum() > 0


def test_mmpretrain_tells_what_the_config_of_own_images_says(own_leaf):
    cfg, question = own_leaf
    answers = {}
    exec(question, answers)
    assert answers['address'] == cfg.model.backbone.init_cfg.checkpoint
    assert Path(answers['address']).name.startswith('resnet50_8xb32_in1k_')
    assert 'resnet50_8xb32_in1k' in answers['names']
    for key in ('mean', 'std', 'to_rgb'):
        assert cfg.data_preprocessor[key] == answers['normalisation'][key]


def test_a_file_takes_the_place_of_timms_download(tmp_path, monkeypatch):
    timm = pytest.importorskip('timm', reason="needs pip install -e '.[timm]'")
    network = timm.create_model('resnet10t')
    torch.nn.init.constant_(network.conv1[0].weight, 0.25)
    torch.save(network.state_dict(), tmp_path / 'weights.pth')
    overlay = dict(file=str(tmp_path / 'weights.pth'))
    backbone = LazyTIMMBackbone('resnet10t', pretrained_cfg_overlay=overlay)
    backbone.init_weights()
    assert (backbone.timm_model.conv1[0].weight == 0.25).all()

    def unreachable(*args, pretrained, **kwargs):
        if pretrained:
            raise FileNotFoundError('An error happened while trying to locate the file')
        return network

    monkeypatch.setattr(timm, 'create_model', unreachable)
    message = r'resnet10t are neither in the cache.*pretrained_cfg_overlay=dict\(file='
    with pytest.raises(OSError, match=message):
        LazyTIMMBackbone('resnet10t').init_weights()


# ---------------------------------------------------------------- tutorial.md


def tutorial_commands(extra):
    """The tutorial's commands but for pip, as they stand there; `extra` replaces words."""
    text = (ROOT / 'docs' / 'tutorial.md').read_text(encoding='utf-8')
    lines = (
        ''.join(re.findall(r'```bash\n(.*?)```', text, re.DOTALL)).replace('\\\n', ' ').splitlines()
    )
    lines = [line for line in lines if not line.startswith('pip ')]
    for old, new in extra.items():
        assert any(old in line for line in lines), old
        lines = [line.replace(old, new) for line in lines]
    return lines


def write_photographs(folder):
    """24 small pictures of two colours, a table of their labels, and one more picture."""
    rows = ['image,labels']
    for number in range(24):
        labels = [['red'], ['blue'], ['red', 'blue'], []][number % 4]
        image = np.full((96, 128, 3), 60 + number, np.uint8)
        image[:48, :, 2] = 255 if 'red' in labels else 0
        image[48:, :, 0] = 255 if 'blue' in labels else 0
        cv2.imwrite(str(folder / 'photos' / f'{number}.jpeg'), image)
        rows.append(f'{number}.jpeg,{";".join(labels)}')
    (folder / 'labels.csv').write_text('\n'.join(rows) + '\n')
    cv2.imwrite(str(folder / 'new_photos' / '1001.jpeg'), image)


@pytest.mark.slow
def test_the_tutorial_from_beginning_to_end(tmp_path):
    for name in ('photos', 'new_photos'):
        (tmp_path / name).mkdir()
    for name in ('tools', 'projects', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    write_photographs(tmp_path)
    environment = dict(os.environ, OMP_NUM_THREADS='1')
    environment['PATH'] = f'{Path(sys.executable).parent}:{environment["PATH"]}'
    outputs = {}
    for line in tutorial_commands({'--epochs 12': '--epochs 2'}):
        done = subprocess.run(
            ['bash', '-c', line], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
        outputs[shlex.split(line)[1]] = done.stdout.strip()
    run = tmp_path / 'work_dirs' / 'holiday'
    assert outputs['tools/dataset_tools/verify_dataset.py'].endswith('OK')
    assert 'Contrastive stage starts' in outputs['tools/train.py']
    assert re.search(r'mAP \d+\.\d \(standard\)$', outputs['tools/test.py'])
    assert list(run.glob('best_multi-label_mAP_epoch_*.pth'))
    assert list(run.glob('published/*.pth'))
    for name in ('report.html', 'model.onnx', 'test.npz'):
        assert (run / name).stat().st_size > 1000
    assert (tmp_path / 'result' / 'pictures' / '1001.jpg').is_file()
    assert set(re.findall(r'red|blue', outputs['mlic/demo/onnx_predict.py'])) <= {
        'red',
        'blue',
    }
