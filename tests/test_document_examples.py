"""What the documents show is executed: write_a_method.md, the tutorial, backbones of own images."""

import re
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mlic.models.backbones.timm_backbone import LazyTIMMBackbone
from tests.helpers import ROOT, code_of, run_process, run_tool
from tests.tiny_backbones import address_in_index

# ---------------------------------------------------------------- write_a_method.md

METHOD = (ROOT / 'docs' / 'write_a_method.md').read_text(encoding='utf-8')
RUN = 'work_dirs/counting_digits128'
FEW_IMAGES = [
    f'{split}_dataloader.{key}'
    for split in ('train', 'val', 'test')
    for key in ('dataset.num_images=32', 'num_workers=0', 'persistent_workers=False')
]
TWO_EPOCHS = [
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=2',
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=1',
]


@pytest.fixture(scope='module')
def method_folder(tmp_path_factory):
    """An empty folder next to the repository, with the document's files in it."""
    folder = tmp_path_factory.mktemp('methods') / 'mine'
    (folder / 'photos').mkdir(parents=True)
    (folder.parent / 'mlic').symlink_to(ROOT)
    files = re.findall(r'In `([\w/.-]+\.py)`:\n\n```python\n(.*?)```', METHOD, re.DOTALL | re.I)
    assert METHOD.count('```python') == len(files) == 4
    method = files[:3]  # the last is what it is compared with
    assert sum(bool(line.strip()) for _, text in method for line in text.splitlines()) <= 80
    for name, text in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / 'photos' / 'noise.png'), image)
    return folder


def run_line(line, folder, options=()):
    """Run a command of the document in the folder: (status, what it prints, errors)."""
    if options:
        line = f'{line.partition(" #")[0]} --cfg-options {" ".join(options)}'
    done = run_process('bash', '-c', line, cwd=folder, PYTHONPATH=f'{folder}:{ROOT}')
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope='module')
def method_run(method_folder):
    """What the commands of the document print, in their order."""
    block = METHOD.split('## From training to use')[1].split('```bash\n')[1].split('```')[0]

    def run(line):
        options = []
        if '/train.py' in line or '/test.py' in line or 'show_attention' in line:
            options = FEW_IMAGES + TWO_EPOCHS
        if '--resume' in line:  # as after a kill in the second epoch
            (method_folder / RUN / 'epoch_2.pth').unlink()
        status, output, errors = run_line(line, method_folder, options)
        assert status == 0, f'{line}\n{output}\n{errors}'
        return output

    tests, train, resume, *others = block.replace('\\\n', '').splitlines()
    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(run, (tests, train)), run(resume), *pool.map(run, others)]


@pytest.mark.slow
def test_the_method_of_the_document_trains_and_resumes(method_run, method_folder):
    tests, train, resumed, tested, *_ = method_run
    assert re.search(r'^3 passed', tests, re.MULTILINE)
    assert 'loss_count: ' in train
    assert 'resumed epoch: 1' in resumed and 'Epoch(val) [2]' in resumed
    assert re.search(r'^standard, >= 0.5 +\d+\.\d\d', tested, re.MULTILINE)
    state = torch.load(method_folder / RUN / 'epoch_2.pth', weights_only=False)
    assert {'head.counter.weight', 'neck.attend.weight'} < state['state_dict'].keys()


@pytest.mark.slow
def test_what_only_training_needs_is_not_published(method_run, method_folder):
    (weights,) = (method_folder / 'published').glob('*.pth')
    names = torch.load(weights, weights_only=True)['state_dict'].keys()
    assert 'head.fc.weight' in names
    assert not [name for name in names if 'counter' in name]


@pytest.mark.slow
def test_the_method_of_the_document_is_exported_and_drawn(method_run, method_folder):
    for name in ('model.onnx', 'looks.png', 'result/predictions.json', 'result/pictures/noise.jpg'):
        assert (method_folder / name).stat().st_size > 100, name


@pytest.mark.slow
def test_an_error_of_the_method_is_one_line(method_folder):
    status, output, errors = run_line(
        'python ../mlic/tools/train.py configs/counting_digits128.py --work-dir wrong',
        method_folder,
        [*FEW_IMAGES, 'model.neck.in_channels=64'],
    )
    assert status == 1
    last = errors.splitlines()[-1]
    assert last.startswith('error: ClassPool(in_channels=64) takes a feature map') and '112' in last
    assert 'Traceback' not in output + errors


@pytest.mark.slow
def test_the_method_of_the_document_is_compared_with_itself_without_the_loss(method_folder):
    block = METHOD.split('## Does it help?')[1].split('```bash\n')[1].split('```')[0]
    line = block.replace('\\\n', '').replace('--seeds 0 1 2', '--seeds 0').strip()
    status, output, errors = run_line(
        f'{line} --set {" ".join(FEW_IMAGES + TWO_EPOCHS)}', method_folder
    )
    assert status == 0, errors
    assert re.search(r'^\| counting_digits128 .* … ', output, re.MULTILINE)  # with an interval


# ---------------------------------------------------------------- backbones.md, on own images


@pytest.fixture
def own_leaf(tmp_path, monkeypatch, capsys):
    """The document's config next to the one that from_csv.py writes."""
    for name in ('photos', 'new_photos', 'data'):
        (tmp_path / name).mkdir()
    write_photographs(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ['labels.csv', '--images', 'photos', '--out', 'data/holiday']
    run_tool('tools/dataset_tools/from_csv.py', *arguments)
    config, question = code_of('docs/backbones.md', 'python')[-2:]  # on own images
    path = tmp_path / 'data' / 'holiday' / 'holiday_r50.py'
    path.write_text(config)
    return Config.fromfile(path), question


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
    parameters = model.backbone.named_parameters()
    assert {name.split('.')[0] for name, p in parameters if p.requires_grad} == {'layer4'}
    assert model.backbone.layer4[0].conv1.weight.grad.abs().sum() > 0


def test_mmpretrain_tells_what_the_config_of_own_images_says(own_leaf):
    cfg, question = own_leaf
    answers = {}
    exec(question, answers)
    assert answers['address'] == address_in_index(cfg.model.backbone.init_cfg.checkpoint)
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
    text = ''.join(code_of('docs/tutorial.md', 'bash')).replace('\\\n', ' ')
    lines = [line for line in text.splitlines() if not line.startswith('pip ')]
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
    for name in ('mlic', 'tools', 'projects', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    write_photographs(tmp_path)
    outputs = {}
    for line in tutorial_commands({'--epochs 12': '--epochs 2'}):
        done = run_process('bash', '-c', line, cwd=tmp_path)
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
        outputs[shlex.split(line)[1]] = done.stdout.strip()
    (snippet,) = code_of('docs/tutorial.md', 'python')
    done = run_process(sys.executable, '-c', snippet, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r'^new_photos/1001.jpeg \[.*\] 0\.\d', done.stdout, re.MULTILINE)
    said = "thresholds: each class's own in work_dirs/holiday/published/holiday-"
    assert said in outputs['tools/infer.py'] and said in done.stdout
    run = tmp_path / 'work_dirs' / 'holiday'
    assert outputs['tools/dataset_tools/verify_dataset.py'].endswith('OK')
    assert 'Contrastive stage starts' in outputs['tools/train.py']
    assert re.search(r'^standard, >= 0.5 +\d+\.\d\d ', outputs['tools/test.py'], re.MULTILINE)
    assert list(run.glob('best_multi-label_mAP_epoch_*.pth'))
    assert list(run.glob('published/*.pth'))
    for name in ('report.html', 'model.onnx', 'test.npz'):
        assert (run / name).stat().st_size > 1000
    assert (tmp_path / 'result' / 'pictures' / '1001.jpg').is_file()
    assert outputs['mlic/demo/onnx_predict.py'].startswith('new_photos/1001.jpeg: ')


# ---------------------------------------------------------------- new_classes.md


@pytest.mark.slow
def test_a_label_is_added_to_a_trained_model_as_the_page_says(tmp_path):
    for name in ('photos', 'new_photos'):
        (tmp_path / name).mkdir()
    for name in ('mlic', 'tools', 'projects', 'configs'):
        (tmp_path / name).symlink_to(ROOT / name)
    write_photographs(tmp_path)
    table = (tmp_path / 'labels.csv').read_text()
    (tmp_path / 'labels2.csv').write_text(table.replace(',\n', ',grey\n'))
    blocks = (block.replace('\\\n', ' ') for block in code_of('docs/new_classes.md', 'bash')[:2])
    (make, train), compare = (block.splitlines() for block in blocks)
    first = 'work_dirs/holiday/best_multi-label_mAP_epoch_12.pth'
    assert first in train
    commands = [
        make.split(' --splits-of')[0].replace('2', ''),
        train.split(' --cfg-options')[0].replace('2', ''),
        make,
    ]
    for line in commands:
        line += ' --epochs 2' * ('from_csv' in line)
        done = run_process('bash', '-c', line, cwd=tmp_path)
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    best = next((tmp_path / 'work_dirs' / 'holiday').glob('best_*.pth')).relative_to(tmp_path)
    done = run_process('bash', '-c', train.replace(first, str(best)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        f'load_from {best}: 2 classes taken over by name, 1 new (grey), 0 left out' in done.stdout
    )
    for line in compare:
        done = run_process('bash', '-c', line, cwd=tmp_path)
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    assert '2 classes of both; left out: grey' in done.stdout


# ---------------------------------------------------------------- running.md


def test_parts_work_in_a_training_loop_of_ones_own():
    (snippet,) = [code for code in code_of('docs/running.md', 'python') if 'SSCLLoss' in code]
    found = {}
    exec(snippet, found)
    assert found['loss'] > 0 and set(found['metrics']) > {'mAP', 'CF1', 'OF1'}
    learned = [*found['neck'].parameters(), *found['classifier'].parameters()]
    assert all(parameter.grad.isfinite().all() for parameter in learned)
