"""Tables as other programs write them: read as they are meant, or refused with a command."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import shlex
import time
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from mlic.cli import from_csv
from mlic.datasets.own_data.choices import Choices, Undecided
from mlic.datasets.own_data.finder import ImageFinder
from mlic.datasets.own_data.rows import read_images
from mlic.datasets.own_data.table import read_tables
from tests.dataset_files import write_photos

pytestmark = pytest.mark.usefixtures('empty_folder')
A, B, C, D = WANTED = ['cat', 'dog'], ['cat'], [], ['dog']
NAMES = ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg']


def read(*options, tables=('labels.csv',)):
    """{image: (its labels, sorted; its split)} of what the tool reads."""
    found = {}

    def keep(args, images, folder, classes=None):
        found.update({x.path: (sorted(x.labels), x.split) for x in images})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_csv, 'finish', keep)
        from_csv.main([*map(str, tables), '--images', 'photos', '--out', 'out', *options])
    return found


def labels_of(*options, **kwargs):
    return {path: labels for path, (labels, _) in read(*options, **kwargs).items()}


def refused(*options, **kwargs):
    """(the message, the options that it adds to those typed)."""
    with pytest.raises(SystemExit) as error:
        read(*options, **kwargs)
    message = str(error.value.code)
    assert message.startswith('error: ') and '\n' not in message
    said, _, command = message.partition('type: ')
    words = shlex.split(command)
    tables = kwargs.get('tables', ['labels.csv'])
    typed = [*map(str, tables), '--images', 'photos', '--out', 'out', *options]
    if command:
        start = words.index(typed[0])
        assert words[start : start + len(typed)] == typed
        return said, words[start + len(typed) :]
    return said, None


def json_lines(*rows):
    return '\n'.join(map(json.dumps, rows)) + '\n'


def ground_truth(name, **labels):
    metadata = {f'{key}-metadata': meta for key, (_, meta) in labels.items()}
    return {'source-ref': f's3://b/{name}', **{k: v for k, (v, _) in labels.items()}, **metadata}


def coco(names, categories, boxes, **image):
    return json.dumps(
        dict(
            images=[dict(id=i, file_name=name, **image) for i, name in enumerate(names)],
            categories=[dict(id=i, name=name) for i, name in categories.items()],
            annotations=[dict(image_id=i, category_id=k, bbox=[0, 0, 9, 9]) for i, k in boxes],
        )
    )


# name of an export: its table, files of the folder, and labels by file
READ = {
    'kaggle planet': (
        'image_name,tags\ntrain_0,haze primary\ntrain_1,clear primary\ntrain_2,clear\n'
        'train_3,haze clear\n',
        {
            'train_0.jpg': ['haze', 'primary'],
            'train_1.jpg': ['clear', 'primary'],
            'train_2.jpg': ['clear'],
            'train_3.jpg': ['clear', 'haze'],
        },
    ),
    'fastai pascal': (
        'fname,labels,is_valid\na.jpg,cat dog,True\nb.jpg,cat,False\nc.jpg,,False\n'
        'd.jpg,dog,True\n',
        dict(zip(NAMES, WANTED)),
    ),
    'chestx-ray14': (
        'Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View '
        'Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n'
        '00000001_000.png,cat|dog,0,1,58,M,PA,2682,2749,0.143,0.143,\n'
        '00000002_000.png,cat,0,2,58,M,PA,2682,2749,0.143,0.143,\n'
        '00000003_000.png,No Finding,0,3,58,M,PA,2682,2749,0.143,0.143,\n',
        {
            'images_001/images/00000001_000.png': A,
            'images_001/images/00000002_000.png': B,
            'images_002/images/00000003_000.png': C,
        },
    ),
    'open images': (
        'ImageID,Source,LabelName,Confidence\na,verification,cat,1\na,verification,dog,1\n'
        'b,verification,cat,1\nb,verification,dog,0\nc,verification,cat,0\nd,machine,dog,1\n',
        dict(zip(NAMES, WANTED)),
    ),
    'json-min of label studio, whose unlabelled images lack the key': (
        json.dumps(
            [
                dict(
                    image=f'/data/upload/1/0a1b2c3d-{name}',
                    id=i,
                    annotator=1,
                    lead_time=4.2,
                    **choice,
                )
                for i, (name, choice) in enumerate(
                    [
                        ('a.jpg', {'choice': {'choices': A}}),
                        ('b.jpg', {'choice': 'cat'}),
                        ('c.jpg', {}),
                    ]
                )
            ],
            indent=2,
        ),
        dict(zip(NAMES, [A, B, C])),
    ),
    'json lines of hugging face': (
        json_lines(*(dict(file_name=name, labels=names) for name, names in zip(NAMES, WANTED))),
        dict(zip(NAMES, WANTED)),
    ),
    'json lines of vertex ai': (
        json_lines(
            *(
                dict(imageGcsUri=f'gs://b/{name}', annotations=[dict(displayName=x) for x in names])
                for name, names in zip(NAMES, WANTED)
            )
        ),
        dict(zip(NAMES, WANTED)),
    ),
    'the manifest of ground truth, numbers with their names': (
        json_lines(
            ground_truth('a.jpg', x=([1, 0], {'class-map': {'1': 'dog', '0': 'cat'}})),
            ground_truth('c.jpg', x=([], {'class-map': {}})),
        ),
        {'a.jpg': A, 'c.jpg': C},
    ),
    'the manifest of ground truth, boxes and a map of all classes': (
        json_lines(
            *(
                ground_truth(
                    name,
                    x=(
                        {'annotations': [{'class_id': k, 'left': 1} for k in numbers]},
                        {'class-map': {'0': 'cat', '1': 'dog', '2': 'bird'}},
                    ),
                )
                for name, numbers in zip(NAMES, [[1, 0, 1], [0], []])
            )
        ),
        dict(zip(NAMES, [A, B, C])),
    ),
    'the manifest of rekognition, a key for each label': (
        json_lines(
            ground_truth(
                'a.jpg',
                one=(1, {'class-name': 'cat', 'confidence': 1}),
                two=(1, {'class-name': 'dog', 'confidence': 0.0}),
            ),
            ground_truth('b.jpg', one=(1, {'class-name': 'cat'})),
            ground_truth('c.jpg'),
        ),
        dict(zip(NAMES, [A, B, C])),
    ),
    "boxes in coco's form, and a root without any": (
        coco(NAMES, {0: 'pets', 7: 'dog', 3: 'cat'}, [(0, 3), (0, 7), (0, 7), (1, 3), (3, 7)]),
        dict(zip(NAMES, WANTED)),
    ),
    'boxes of tensorflow': (
        'filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,9,cat,1,2,3,4\n'
        'a.jpg,9,9,dog,1,2,3,4\na.jpg,9,9,dog,5,2,3,4\nb.jpg,9,9,cat,1,2,3,4\n',
        {'a.jpg': A, 'b.jpg': B},
    ),
    'celeba as text': (
        '4\ncat dog \na.jpg  1  1\nb.jpg  1 -1\nc.jpg -1 -1\nd.jpg -1  1\n',
        dict(zip(NAMES, WANTED)),
    ),
    'celeba as csv': (
        'image_id,cat,dog\na.jpg,1,1\nb.jpg,1,-1\nc.jpg,-1,-1\nd.jpg,-1,1\n',
        dict(zip(NAMES, WANTED)),
    ),
    'get_dummies with its index': (
        ',image,cat,dog\n0,a.jpg,True,True\n1,b.jpg,True,False\n2,c.jpg,False,False\n'
        '3,d.jpg,False,True\n',
        dict(zip(NAMES, WANTED)),
    ),
    'the file name as the index of pandas': (
        ',cat,dog\na.jpg,1,1\nb.jpg,1,0\nc.jpg,0,0\nd.jpg,0,1\n',
        dict(zip(NAMES, WANTED)),
    ),
    'excel': (
        'sep=;\r\nimage;labels;\r\na.jpg;cat, dog;\r\nb.jpg;cat;\r\nc.jpg;;\r\nd.jpg;dog;\r\n',
        dict(zip(NAMES, WANTED)),
    ),
    'windows paths': (
        'path,labels\nC:\\data\\my photos\\a.jpg,cat;dog\nC:\\data\\my photos\\x\\b.jpg,cat\n',
        {'a.jpg': A, 'x/b.jpg': B},
    ),
    'label studio': (
        'annotation_id,annotator,choice,created_at,id,image,lead_time\n'
        '1,1,"{""choices"":[""cat"",""dog""]}",2024,1,/data/upload/3/0a1b2c3d-a.jpg,3.5\n'
        '2,1,cat,2024,2,/data/upload/3/1a1b2c3d-b.jpg,2.5\n'
        '3,1,,2024,3,/data/upload/3/2a1b2c3d-c.jpg,2.5\n'
        '4,1,dog,2024,4,http://host/data/upload/3/3a1b2c3d-d.jpg?x=1,2.5\n',
        dict(zip(NAMES, WANTED)),
    ),
    'label studio next to its own copies': (
        'choice,id,image\ncat,1,/data/upload/3/0a1b2c3d-a.jpg\n,2,/data/upload/3/1a1b2c3d-b.jpg\n',
        {'0a1b2c3d-a.jpg': ['cat'], '1a1b2c3d-b.jpg': []},
    ),
    'objects of 0 and 1': (
        'image,labels\na.jpg,"{""cat"": 1, ""dog"": 1}"\nb.jpg,"{""cat"": 1, ""dog"": 0}"\n',
        {'a.jpg': A, 'b.jpg': B},
    ),
    'decimal commas': (
        'Bild;cat;dog\na.jpg;1,0;1,0\nb.jpg;1,0;0,0\nc.jpg;0,0;0,0\nd.jpg;0,0;1,0\n',
        dict(zip(NAMES, WANTED)),
    ),
    'marks of Chinese': (
        'image,labels\na.jpg,cat；dog\nb.jpg,cat\nd.jpg,dog\n',
        {'a.jpg': A, 'b.jpg': B, 'd.jpg': D},
    ),
    'marks that are not seen': (
        'image,labels\na.jpg,cat\u200b;\u00a0dog\nb.jpg,\u200ecat\n',
        {'a.jpg': A, 'b.jpg': B},
    ),
    'label studio boxes': (
        'image,label\n'
        'a.jpg,"[{""x"":1.5,""rectanglelabels"":[""cat""]},{""x"":2,""rectanglelabels"":[""dog""]}]"\n'
        'b.jpg,"[{""x"":1.5,""rectanglelabels"":[""cat""]}]"\nc.jpg,[]\n',
        dict(zip(NAMES, WANTED[:3])),
    ),
    'vgg image annotator': (
        'filename,file_size,file_attributes,region_count,labels\n'
        'a.jpg,9,"{}",1,"{""cat"":true,""dog"":true}"\nb.jpg,9,"{}",1,"{""cat"":true}"\nc.jpg,9,{},0,{}\n',
        dict(zip(NAMES, WANTED[:3])),
    ),
    'vertex with a header': (
        'ml_use,image,labels\ntraining,gs://bucket/set/a.jpg,cat;dog\ntest,gs://bucket/set/b.jpg,cat\n',
        {'a.jpg': A, 'b.jpg': B},
    ),
    'hugging face metadata': (
        "file_name,labels\ntrain/a.jpg,\"['cat', 'dog']\"\ntrain/b.jpg,['cat']\ntrain/c.jpg,[]\n",
        {'train/a.jpg': A, 'train/b.jpg': B, 'train/c.jpg': C},
    ),
    'names with commas': (
        'image,labels\na.jpg,"[\'table, dining\', ""driver\'s seat""]"\nb.jpg,"[\'cat\']"\n',
        {'a.jpg': ["driver's seat", 'table, dining'], 'b.jpg': B},
    ),
    'an array of numpy': (
        "image,labels\na.jpg,['cat' 'dog']\nb.jpg,['cat']\n",
        {'a.jpg': A, 'b.jpg': B},
    ),
    'a tuple and a set': (
        "image,labels\na.jpg,\"('cat', 'dog')\"\nb.jpg,{'cat'}\n",
        {'a.jpg': A, 'b.jpg': B},
    ),
    'bare lists': (
        'image,labels\na.jpg,"[cat, dog]"\nb.jpg,[cat]\nc.jpg,[]\n',
        dict(zip(NAMES, WANTED[:3])),
    ),
    'bare lists without commas': (
        'image,labels\na.jpg,[cat dog]\nb.jpg,[cat]\nc.jpg,[ ]\nd.jpg,[dog]\n',
        dict(zip(NAMES, WANTED)),
    ),
    'bare lists of other marks': (
        'image,labels\na.jpg,[cat;dog]\nb.jpg,[cat]\nc.jpg,[]\nd.jpg,[dog]\n',
        dict(zip(NAMES, WANTED)),
    ),
    'names of two words in bare lists': (
        'image,label\na.jpg,[hot dog]\nb.jpg,[cat]\n',
        {'a.jpg': ['hot dog'], 'b.jpg': ['cat']},
    ),
    'sets of python, and an empty one': (
        "image,labels\na.jpg,\"{'cat', 'dog'}\"\nb.jpg,{'cat'}\nc.jpg,set()\nd.jpg,{'dog'}\n",
        dict(zip(NAMES, WANTED)),
    ),
    'empty containers as python makes them': (
        'image,labels\na.jpg,frozenset()\nb.jpg,"[""cat""]"\nc.jpg,list()\nd.jpg,dict()\n',
        {'a.jpg': [], 'b.jpg': B, 'c.jpg': [], 'd.jpg': []},
    ),
    'missing values of pandas in lists': (
        "image,labels\na.jpg,\"['cat', nan, 'dog']\"\nb.jpg,\"[nan, 'cat']\"\nc.jpg,[nan]\n"
        'd.jpg,"[""dog"", null, NaN]"\n',
        dict(zip(NAMES, WANTED)),
    ),
    'missing values in bare lists, and a name that is none': (
        'image,labels\na.jpg,"[cat, nan]"\nb.jpg,[None]\nc.jpg,"[cat, nancy]"\n',
        {'a.jpg': ['cat'], 'b.jpg': [], 'c.jpg': ['cat', 'nancy']},
    ),
    'names that are the words for missing values': (
        "image,labels\na.jpg,\"['nan', 'cat']\"\nb.jpg,\"['None']\"\n",
        {'a.jpg': ['cat', 'nan'], 'b.jpg': ['None']},
    ),
    'objects of 0.0 and 1.0': (
        "image,labels\na.jpg,\"{'cat': 1.0, 'dog': 1.0}\"\n"
        'b.jpg,"{""cat"": 1.0, ""dog"": 0.0}"\n',
        {'a.jpg': A, 'b.jpg': B},
    ),
    'a missing value of pandas': (
        'image,labels\na.jpg,cat;dog\nb.jpg,cat\nc.jpg,<NA>\nd.jpg,dog\n',
        dict(zip(NAMES, WANTED)),
    ),
    'lines in a cell': (
        'image,labels\na.jpg,"cat\ndog"\nb.jpg,cat\nc.jpg,\nd.jpg,dog\n',
        dict(zip(NAMES, WANTED)),
    ),
    'quotes after a blank': (
        'image, labels\na.jpg, "cat, dog"\nb.jpg, "cat"\nc.jpg, ""\nd.jpg, dog\n',
        dict(zip(NAMES, WANTED)),
    ),
    'quotes within a cell': (
        'image,labels\na.jpg,"""table, dining"", dog"\nb.jpg,"dog, cat"\nc.jpg,cat\nd.jpg,dog\n',
        {'a.jpg': ['dog', 'table, dining'], 'b.jpg': A, 'c.jpg': B, 'd.jpg': D},
    ),
    'bars between the columns': (
        'image|labels\na.jpg|cat;dog\nb.jpg|cat\nc.jpg|\nd.jpg|dog\n',
        dict(zip(NAMES, WANTED)),
    ),
    'keywords of a photo program': (
        'File Name;Keywords;Year\na.jpg;cat, dog;19\nb.jpg;cat;18\nc.jpg;;18\nd.jpg;dog;19\n',
        dict(zip(NAMES, WANTED)),
    ),
    'a code that stands for names': (
        'id,image_name,label\n1,b.jpg,cat\n2,1.jpg,dog\n',
        {'b.jpg': ['cat'], '1.jpg': ['dog']},
    ),
    'exponents of numpy.savetxt': (
        'image,cat,dog\na.jpg,1.000e+00,1.000000000000000000e+00\nb.jpg,1.000E+00,0.000e+00\n'
        'c.jpg,0.000e+00,-0.000e+00\nd.jpg,0.0,+1e0\n',
        dict(zip(NAMES, WANTED)),
    ),
    'percentages': (
        'image,cat,dog\na.jpg,100%,100.0 %\nb.jpg,100%,0%\nc.jpg,0%,0.00%\nd.jpg,0,100%\n',
        dict(zip(NAMES, WANTED)),
    ),
    'commas before decimals': (
        'image;cat;dog\na.jpg;1,0;1\nb.jpg;1,0;0,0\nc.jpg;0,000;0\nd.jpg;0;1,00\n',
        dict(zip(NAMES, WANTED)),
    ),
    'numbered columns of 0 and 1': (
        'image,label_1,label_2,label_3\na.jpg,1,0,1\nb.jpg,0,1,0\n',
        {'a.jpg': ['label_1', 'label_3'], 'b.jpg': ['label_2']},
    ),
    'numbered columns of minus one and 1': (
        'image,class_0,class_1\na.jpg,1,-1\nb.jpg,-1,1\n',
        {'a.jpg': ['class_0'], 'b.jpg': ['class_1']},
    ),
    'marks within names, of which a part is a label': (
        'image,labels\na.jpg,t-shirt\nb.jpg,ice_cream\nc.jpg,shirt\nd.jpg,black and white\n',
        dict(zip(NAMES, [['t-shirt'], ['ice_cream'], ['shirt'], ['black and white']])),
    ),
    'lists of numpy in two lines, a remark, and splits': (
        'image,labels,split,s1_name\n'
        "a.jpg,\"['low, wet land' 'cat'\n 'dog']\",train,x\nb.jpg,['cat'],validate,y\n",
        {'a.jpg': ['cat', 'dog', 'low, wet land'], 'b.jpg': B},
    ),
    'boxes of several readers, or without': (
        'image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\nc,No finding,14,R11,,,,\n'
        'c,No finding,14,R7,,,,\na,cat,3,R10,691.0,1375.0,1653.0,1831.0\n'
        'a,dog,0,R10,1264.0,743.0,1611.0,1019.0\na,cat,3,R9,690.0,1370.0,1650.0,1830.0\n',
        {'c.jpg': C, 'a.jpg': A},
    ),
    'concepts in a column of no known name, tabs between': (
        'ID\tCUIs\na\tC04;C09\nb\tC04\nd\tC09;C13\n',
        {'a.jpg': ['C04', 'C09'], 'b.jpg': ['C04'], 'd.jpg': ['C09', 'C13']},
    ),
    'tabs between columns, and commas in their names': (
        'image\tcat, big, grey\tdog, small\na.jpg\t1\t1\nb.jpg\t1\t0\n',
        {'a.jpg': ['cat, big, grey', 'dog, small'], 'b.jpg': ['cat, big, grey']},
    ),
    'one class of those with columns is in no image': (
        'image,cat,dog,UNK\na,1.0,1.0,0.0\nb,1.0,0.0,0.0\n',
        {'a.jpg': A, 'b.jpg': B},
    ),
    'words of no known column, and a fold': (
        'image,fold,y\na.jpg,0,cat\nb.jpg,1,dog\n',
        {'a.jpg': ['cat'], 'b.jpg': ['dog']},
    ),
    'names of several words, in more than one image': (
        'image,labels\na.jpg,new york\nb.jpg,new york\nc.jpg,paris\n',
        {'a.jpg': ['new york'], 'b.jpg': ['new york'], 'c.jpg': ['paris']},
    ),
    'a row for each label, of several words': (
        'image,label\na.jpg,red car\na.jpg,red bus\nb.jpg,red car\n',
        {'a.jpg': ['red bus', 'red car'], 'b.jpg': ['red car']},
    ),
    'the delimiter is named, and another would fit': (
        'sep=;\nimage, path;labels\n"a, 1.jpg";cat\nb, 2.jpg;dog\n',
        {'a, 1.jpg': ['cat'], 'b, 2.jpg': ['dog']},
    ),
    'the header has more commas than delimiters': (
        'image;kind, breed, age\na.jpg;cat\nb.jpg;dog\n',
        {'a.jpg': ['cat'], 'b.jpg': ['dog']},
    ),
    'lists of numbers': (
        'image,labels\na.jpg,"[1, 2]"\nb.jpg,[2]\n',
        {'a.jpg': ['1', '2'], 'b.jpg': ['2']},
    ),
}


@pytest.mark.parametrize('name', READ)
def test_an_export_is_read_as_it_is_meant(name):
    text, expected = READ[name]
    Path('labels.csv').write_bytes(text.encode())
    write_photos(*expected, 'other.jpg')
    assert labels_of() == expected


# what is not certain: table, a part of the message, the options that decide, labels with them
ASKED = {
    'labels that are names of files, too': (
        'label,n\nb,a\nc,b\na,c\nd,d\n',
        "only the column 'n' names files of photos, without their suffix",
        ['--image-column', 'n'],
        [['b'], ['c'], ['a'], ['d']],
    ),
    'chexpert': (
        'Path,Sex,Age,AP/PA,cat,dog\nset/train/a.jpg,Female,60,AP,1.0,1.0\n'
        'set/train/b.jpg,Male,0,,1.0,0.0\nset/train/c.jpg,Female,1,PA,,\nset/train/d.jpg,Male,2,,-1.0,1.0\n',
        "hold blank, '-1', '0', '1', and only 0 and 1, True and False, or -1 and 1 are certain",
        ['--unknown', '-1', ''],
        WANTED,
    ),
    'a fold among classes': (
        'image,cat,dog,fold\na.jpg,1,1,0\nb.jpg,1,0,1\nc.jpg,0,0,0\nd.jpg,0,1,1\n',
        "'fold' ('0', …) do not look like classes",
        ['--ignore-columns', 'fold'],
        WANTED,
    ),
    'minus one and zero': (
        'image,cat,dog\na.jpg,1,1\nb.jpg,1,-1\nc.jpg,0,-1\nd.jpg,-1,1\n',
        "hold '-1', '0', '1', and only 0 and 1",
        ['--unknown', '-1'],
        WANTED,
    ),
    'question marks and crosses': (
        'image,cat,dog\na.jpg,x,x\nb.jpg,x,?\nc.jpg,,?\nd.jpg,,x\n',
        "hold blank, '?', 'x'",
        ['--present', 'x', '--absent', '', '--unknown', '?'],
        WANTED,
    ),
    'blanks, yes and no': (
        'image,cat,dog\na.jpg,yes,yes\nb.jpg,yes,no\nc.jpg,,no\nd.jpg,NaN,yes\n',
        "hold blank, 'nan', 'no', 'yes'",
        ['--present', 'yes', '--absent', 'no', '--unknown', '', 'nan'],
        WANTED,
    ),
    'rows that are uncertain': (
        'ImageID,LabelName,Confidence\na,cat,1\na,dog,1\nb,cat,1\nb,dog,-1\nc,cat,\nd,dog,1\n',
        "line 5: '-1' in the column 'Confidence' is neither 0 nor 1",
        ['--unknown', '', '-1'],
        WANTED,
    ),
    'a column of no known name among classes': (
        'image,cat,dog,ward\na.jpg,1,1,x1\nb.jpg,1,0,x2\nc.jpg,?,0,x3\nd.jpg,0,1,x4\n',
        "the columns 'ward' ('x1', …) do not look like classes",
        ['--ignore-columns', 'ward'],
        WANTED,
    ),
    'minus one and blanks': (
        'image,cat,dog\na.jpg,1,1\nb.jpg,1,-1\nc.jpg,,-1\nd.jpg,-1,1\n',
        "hold blank, '-1', '1'",
        ['--unknown', ''],
        WANTED,
    ),
    'crosses': (
        'image,cat,dog\na.jpg,x,X\nb.jpg,x,\nc.jpg,,\nd.jpg,,x\n',
        "hold blank, 'x'",
        ['--present', 'x', '--absent', ''],
        WANTED,
    ),
    'yes and no': (
        'image,cat,dog\na.jpg,yes,yes\nb.jpg,yes,no\nc.jpg,no,no\nd.jpg,no,yes\n',
        "hold 'no', 'yes'",
        ['--present', 'yes', '--absent', 'no'],
        WANTED,
    ),
    **{
        f'{yes} and {no}': (
            f'image,cat,dog\na.jpg,{yes},{yes}\nb.jpg,{yes},{no}\nc.jpg,{no},{no}\nd.jpg,{no},{yes}\n',
            'and only 0 and 1',
            ['--present', yes.lower(), '--absent', no.lower()],
            WANTED,
        )
        for yes, no in (
            ('WAHR', 'FALSCH'), ('VRAI', 'FAUX'), ('VERO', 'FALSO'), ('VERDADERO', 'FALSO'),
            ('VERDADEIRO', 'FALSO'), ('WAAR', 'ONWAAR'), ('ja', 'nein'), ('oui', 'non'),
            ('sí', 'no'), ('si', 'no'), ('pos', 'neg'), ('sim', 'não'), ('sim', 'nao'),
            ('ja', 'nee'),
        )
    },
    'two forms of yes': (
        'image,cat,dog\na.jpg,1,True\nb.jpg,1,True\n',
        "hold '1', 'true'",
        ['--present', '1', 'true'],
        [A, A],
    ),
    'numbers of objects': (
        'image,cat,dog\na.jpg,2,1\nb.jpg,1,0\nc.jpg,0,0\nd.jpg,0,3\n',
        "hold '0', '1', '2', '3'",
        ['--present', '1', '2', '3', '--absent', '0'],
        WANTED,
    ),
    'numbers of objects, of which one class always has many': (
        'image,cat,dog,owl\na.jpg,3,12,0\nb.jpg,1,0,0\nc.jpg,0,0,0\nd.jpg,2,120,1\n',
        "look at 'cat', 'dog'",
        ['--present', '1', '12', '120', '2', '3', '--absent', '0'],
        [A, B, C, ['cat', 'dog', 'owl']],
    ),
    'numbers of objects, of which there are always many': (
        'image,cat,dog\na.jpg,10,12\nb.jpg,10,0\nc.jpg,0,0\nd.jpg,0,12\n',
        "look at 'cat', 'dog'",
        ['--present', '10', '12', '--absent', '0'],
        WANTED,
    ),
    'numbers of rows and an age among classes': (
        'image,nr,age,cat,dog\na.jpg,0,0,1,1\nb.jpg,10,7,1,0\nc.jpg,20,0,0,0\nd.jpg,30,70,0,1\n',
        "the columns 'nr' ('10', …) do not look like classes",
        ['--ignore-columns', 'nr'],
        WANTED,
    ),
    'numbers of classes': (
        'image,kind\na.jpg,0\nb.jpg,12\nc.jpg,0\nd.jpg,7\n',
        "'kind' may hold the labels",
        ['--label-columns', 'kind'],
        [['0'], ['12'], ['0'], ['7']],
    ),
    'two columns of files': (
        'left,right,labels\na.jpg,b.jpg,cat;dog\nb.jpg,a.jpg,cat\n',
        "'left', 'right' all name files of photos",
        ['--image-column', 'left'],
        WANTED[:2],
    ),
    'rows of labels under a name for several': (
        'image,labels\na.jpg,cat\na.jpg,dog\nb.jpg,cat\n',
        'a.jpg is listed twice, in line 2 and in line 3',
        ['--sep', ''],
        WANTED[:2],
    ),
    'two separators': (
        'image,labels\na.jpg,cat;dog\nb.jpg,"cat, big"\n',
        "line 3: 'cat, big': does it hold several labels, and which separates labels: ; or ,?",
        ['--sep', ';'],
        [A, ['cat, big']],
    ),
    'blanks in single names': (
        'image,label\na.jpg,polar bear\nb.jpg,brown bear\n',
        "'polar bear': does it hold several labels",
        ['--sep', ''],
        [['polar bear'], ['brown bear']],
    ),
    'names of ImageNet with commas': (
        'image,labels\na.jpg,"tench, Tinca tinca"\nb.jpg,"goldfish, Carassius auratus"\n',
        'does it hold several labels, and which separates labels: ,?',
        ['--sep', ','],
        [['Tinca tinca', 'tench'], ['Carassius auratus', 'goldfish']],
    ),
    'scores of rows': (
        'ImageID,LabelName,Confidence\na,cat,0.9\na,dog,0.8\nb,cat,1\n',
        "line 2: '0.9' in the column 'Confidence' is neither 0 nor 1",
        ['--ignore-columns', 'Confidence'],
        WANTED[:2],
    ),
    'yes and no of another language': (
        'image,cat,dog\na.jpg,ay,ay\nb.jpg,ay,hindi\nc.jpg,hindi,hindi\nd.jpg,hindi,ay\n',
        "the columns 'cat', 'dog' hold 'ay', 'hindi'",
        ['--present', 'ay', '--absent', 'hindi'],
        WANTED,
    ),
    'yes and no of another language, and a question mark': (
        'image,cat,dog\na.jpg,ay,ay\nb.jpg,ay,hindi\nc.jpg,?,hindi\nd.jpg,hindi,ay\n',
        "the columns 'cat', 'dog' hold 'hindi', 'ay', '?'",
        ['--present', 'hindi', '--absent', 'ay', '--unknown', '?'],
        [[], ['dog'], ['dog'], ['cat']],
    ),
    'a part of 0 and 1 among classes': (
        'image,cat,dog,Set\na.jpg,1,1,0\nb.jpg,1,0,1\nc.jpg,0,0,0\nd.jpg,0,1,1\n',
        "'Set' ('0', …) do not look like classes",
        ['--ignore-columns', 'Set'],
        WANTED,
    ),
    'a split and an age among classes': (
        'image,cat,dog,split,age\na.jpg,1,1,0,60\nb.jpg,1,0,1,7\nc.jpg,0,0,0,8\nd.jpg,0,1,1,9\n',
        "line 2: split '0' is not one of train",
        ['--ignore-columns', 'split'],
        WANTED,
    ),
    'one number among flags': (
        'image,cat,dog,rooms\na.jpg,1,1,0\nb.jpg,1,0,3\nc.jpg,0,0,0\nd.jpg,0,1,0\n',
        "; look at 'rooms'",
        ['--present', '1', '3', '--absent', '0'],
        [A, ['cat', 'rooms'], C, D],
    ),
    'the number of classes of an image': (
        'image,cat,dog,owl,n\na.jpg,1,1,0,2\nb.jpg,1,0,0,1\nc.jpg,0,0,0,0\nd.jpg,0,1,0,1\n',
        "the columns 'n' ('2', …) do not look like classes, and 'cat', 'dog', 'owl' do",
        ['--ignore-columns', 'n'],
        WANTED,
    ),
    'names of classes in their own columns': (
        'image,cat,dog\na.jpg,cat,Dog\nb.jpg,cat,\nc.jpg,,0\nd.jpg,,dog\n',
        "the columns 'cat', 'dog' hold their own names",
        ['--label-columns', 'cat', 'dog', '--present', 'cat', 'dog', '--absent', '', '0'],
        WANTED,
    ),
    'names of classes in their own columns, next to remarks': (
        'image,cat,remark,dog\na.jpg,cat,dark,dog\nb.jpg,cat,,dog\n',
        "the columns 'cat', 'dog' hold their own names",
        ['--label-columns', 'cat', 'dog', '--present', 'cat', 'dog'],
        [A, A],
    ),
    'numbers of classes, and a measure': (
        'image,kind,size\na.jpg,3,0.5\nb.jpg,12,0.5\nc.jpg,3,1.5\nd.jpg,7,0.5\n',
        "one of the columns 'kind', 'size' may hold the labels",
        ['--label-columns', 'kind'],
        [['3'], ['12'], ['3'], ['7']],
    ),
    'numbers of classes with commas between': (
        'image,kinds\na.jpg,"1,2"\nb.jpg,"1,3"\nc.jpg,3\nd.jpg,2\n',
        "one of the columns 'kinds' may hold the labels",
        ['--label-columns', 'kinds'],
        [['1', '2'], ['1', '3'], ['3'], ['2']],
    ),
    'an index that names other files': (
        'id,image,labels\n1,2,cat\n2,1,cat;dog\n',
        "the columns 'image', 'id' all name files of photos",
        ['--image-column', 'image'],
        WANTED[:2],
    ),
    'an index, and no known name': (
        'row,photo_no,labels\n1,2,cat\n2,1,cat;dog\n',
        "the columns 'photo_no', 'row' all name files of photos",
        ['--image-column', 'photo_no'],
        WANTED[:2],
    ),
    'numbered columns of labels': (
        'image,label_1,label_2\na.jpg,cat,dog\nb.jpg,cat,\nc.jpg,,\nd.jpg,dog,\n',
        "'label_1', 'label_2' could all hold the labels",
        ['--label-columns', 'label_1', 'label_2'],
        WANTED,
    ),
    'a mark between labels that are labels alone, too': (
        'image,labels\na.jpg,cat/dog\nb.jpg,cat\nd.jpg,dog\n',
        "which separates labels: /?",
        ['--sep', '/'],
        [A, B, None, D],
    ),
    **{
        f'{mark} between labels that are labels alone, too, under a name for {count}': (
            f'image,{column}\na.jpg,cat{mark}dog\nb.jpg,cat\nd.jpg,dog\n',
            f"(--sep '{mark}' or --sep '')",
            [f'--sep={mark}'] if mark == '-' else ['--sep', mark],
            [A, B, None, D],
        )
        for mark in (*'/#:~*_-', '<br>', ' and ')
        for column, count in (('labels', 'several'), ('label', 'one'))
    },
    'a mark between labels that is in another label, too': (
        'image,labels\na.jpg,cat_dog\nb.jpg,cat\nc.jpg,ice_cream\nd.jpg,dog\n',
        "which separates labels: _ (it cuts 'ice_cream', too)?",
        ['--sep', '_'],
        [A, B, ['cream', 'ice'], D],
    ),
    'a name like two others in rows of one label each': (
        'image,label\na.jpg,cat\na.jpg,dog\nb.jpg,cat-dog\n',
        "which separates labels: -? (--sep '-' or --sep '')",
        ['--sep', ''],
        [A, ['cat-dog']],
    ),
    'regions of the VGG annotator': (
        'filename,region_count,region_attributes\na.jpg,2,"{""class"":""cat""}"\n'
        'a.jpg,2,"{""class"":""dog""}"\nb.jpg,1,"{""class"":""cat""}"\n',
        'in line 2 and in line 3; an image has one row with all its labels, or a row for each',
        ['--label-columns', 'region_attributes', '--sep', ''],
        WANTED[:2],
    ),
    'words of no known column': (
        'image,animal,caption\na.jpg,cat,one\nb.jpg,cat,two\nc.jpg,dog,three\n',
        "one of the columns 'animal', 'caption' may hold the labels",
        ['--label-columns', 'animal'],
        [['cat'], ['cat'], ['dog']],
    ),
    'words, and a few remarks': (
        'image,animal,caption\na.jpg,cat,\nb.jpg,cat,\nc.jpg,dog,blurred\n',
        "one of the columns 'animal', 'caption' may hold the labels",
        ['--label-columns', 'animal'],
        [['cat'], ['cat'], ['dog']],
    ),
    'two marks, of which most cells have one': (
        'image,labels\na.jpg,"cat,dog"\nb.jpg,"dog,cat"\nd.jpg,dog|cat\n',
        "'dog|cat': does it hold several labels, and which separates labels: , or |?",
        ['--sep', ','],
        [A, A, None, ['dog|cat']],
    ),
    'a label column of 0 and 1': (
        'image,label\na.jpg,1\nb.jpg,0\n',
        "'label' may be a class, or its values the names of classes (--sep '')",
        ['--label-columns', 'label'],
        [['label'], []],
    ),
    'a label column of minus one and 1': (
        'image,label\na.jpg,1\nb.jpg,-1\n',
        "'label' may be a class",
        ['--label-columns', 'label'],
        [['label'], []],
    ),
    'a label column of True and False, and one that is no class': (
        'image,label,verified,remark\na.jpg,TRUE,1,\nb.jpg,FALSE,0,late\n',
        "'label' may be a class",
        ['--label-columns', 'label'],
        [['label'], []],
    ),
    'a label column of 1 and blank': (
        'image,class0\na.jpg,1\nb.jpg,\n',
        "'class0' may be a class",
        ['--label-columns', 'class0', '--present', '1', '--absent', ''],
        [['class0'], []],
    ),
    'one numbered column of yes and no': (
        'image,label_1\na.jpg,yes\nb.jpg,no\n',
        "'label_1' may be a class, or its values the names of classes (--sep '')",
        ['--label-columns', 'label_1', '--present', 'yes', '--absent', 'no'],
        [['label_1'], []],
    ),
    'two label columns of 0 and 1': (
        'image,label,class\na.jpg,1,0\nb.jpg,1,1\n',
        "each of 'label', 'class' may be a class, or its values the names of classes",
        ['--label-columns', 'label', 'class'],
        [['label'], ['class', 'label']],
    ),
    'numbered columns of yes and no': (
        'image,label_1,label_2\na.jpg,yes,no\nb.jpg,yes,yes\nc.jpg,no,no\n',
        "the columns of classes hold 'no', 'yes'",
        ['--present', 'yes', '--absent', 'no'],
        [['label_1'], ['label_1', 'label_2'], []],
    ),
    'numbered columns of crosses, and one of remarks': (
        'image,class0,class1,remark\na.jpg,x,-,\nb.jpg,x,x,late\nc.jpg,-,-,\n',
        "the columns 'remark' ('late', …) do not look like classes",
        ['--ignore-columns', 'remark', '--present', 'x', '--absent=-'],
        [['class0'], ['class0', 'class1'], []],
    ),
    'a thousand among zeros': (
        'image,cat,dog\na.jpg,0,1\nb.jpg,"1,000",0\nc.jpg,0,0\nd.jpg,0,1\n',
        "the columns 'cat' ('1,000', …) do not look like classes",
        ['--ignore-columns', 'cat'],
        [['dog'], [], [], ['dog']],
    ),
    'a word that is there more often than zero': (
        'image,cat,dog\na.jpg,255,255\nb.jpg,255,0%\nc.jpg,255,0\nd.jpg,0,255\n',
        "the columns 'cat', 'dog' hold '255', '0'",
        ['--present', '255', '--absent', '0'],
        [A, B, B, D],
    ),
    'a word that is there more often than no': (
        'image,cat,dog\na.jpg,sure,sure\nb.jpg,sure,no\nc.jpg,sure,No\nd.jpg,no,sure\n',
        "the columns 'cat', 'dog' hold 'sure', 'no'",
        ['--present', 'sure', '--absent', 'no'],
        [A, B, B, D],
    ),
    'a yes that is there more often than another word': (
        'image,cat,dog\na.jpg,yes,yes\nb.jpg,yes,nay\nc.jpg,nay,yes\n',
        "the columns 'cat', 'dog' hold 'yes', 'nay'",
        ['--present', 'yes', '--absent', 'nay'],
        [A, B, D],
    ),
    'numbered columns of the numbers of labels': (
        'image,label_1,label_2\na.jpg,4,1\nb.jpg,0,\n',
        "the columns 'label_1', 'label_2' could all hold the labels",
        ['--label-columns', 'label_1', 'label_2'],
        [['1', '4'], ['0']],
    ),
    'words of no known column, and a fold': (
        'image,fold,y,caption\na.jpg,0,cat,one\nb.jpg,1,cat,two\nc.jpg,1,dog,three\n',
        "one of the columns 'y', 'caption' may hold the labels",
        ['--label-columns', 'y'],
        [['cat'], ['cat'], ['dog']],
    ),
    'fiftyone': (
        'filepath,ground_truth.label,tags\n/home/me/a.jpg,cat,"[""train""]"\n/home/me/b.jpg,dog,[]\n',
        "'ground_truth.label', 'tags' could all hold the labels",
        ['--label-columns', 'ground_truth.label'],
        [['cat'], ['dog']],
    ),
    'two split columns': (
        'image,labels,split,is_valid\na.jpg,cat;dog,train,False\nb.jpg,cat,val,True\n',
        "'split', 'is_valid' all say which images are for training",
        ['--split-column', 'split'],
        WANTED[:2],
    ),
    'left and right of a patient, whose labels are of both': (
        'ID,Age,Sex,Left,Right,Left words,N,D\n10,69,Female,a.jpg,b.jpg,cataract,0,1\n'
        '11,57,Male,c.jpg,d.jpg,normal fundus,1,0\n',
        "the columns 'Left', 'Right' all name files of photos, not the same ones",
        ['--image-column', 'Left', '--ignore-columns', 'Right', 'Left words'],
        [['D'], None, ['N']],
    ),
    'numbers of classes with blanks between': (
        'Id,Target\na,16 0\nb,7 1 2 0\nc,5\nd,1\n',
        "'16 0': does it hold several labels, and which separates labels: blanks?",
        ['--sep', ' '],
        [['0', '16'], ['0', '1', '2', '7'], ['5'], ['1']],
    ),
    'a list of genres, and a column for each': (
        'Id,Genre,cat,dog,N/A\na,"[\'cat\', \'dog\']",1,1,0\nb,[\'cat\'],1,0,0\n'
        'd,"[\'dog\', \'N/A\']",0,1,1\n',
        "the columns 'Genre' (\"['cat', 'dog']\", …) do not look like classes",
        ['--ignore-columns', 'Genre'],
        [A, B, None, ['N/A', 'dog']],
    ),
    'lists under a name of its own, among words': (
        'image,side,kind,seen,height\na.jpg,L,C,"[\'cat\', \'dog\']",3\nb.jpg,R,C,[\'cat\'],4\n',
        "one of the columns 'side', 'kind', 'seen', 'height' may hold the labels",
        ['--label-columns', 'seen'],
        WANTED[:2],
    ),
    'runs of pixels, which differ in all rows': (
        'ImageId,ClassId,EncodedPixels\na.jpg,1,29 12 29\na.jpg,3,1 2 3\nb.jpg,3,18 28 82\n',
        "one of the columns 'ClassId', 'EncodedPixels' may hold the labels",
        ['--label-columns', 'ClassId', '--sep', ''],
        [['1', '3'], ['3']],
    ),
    'numbered columns of words under a name of their own': (
        'image,title,type1,type2\na.jpg,one,cat,dog\nb.jpg,two,cat,\nd.jpg,three,dog,\n',
        "one of the columns 'title', 'type1', 'type2' may hold the labels",
        ['--label-columns', 'type1', 'type2'],
        [A, B, None, D],
    ),
    'numbers of classes, and their names': (
        'image,class,label\na.jpg,3,cat\nb.jpg,4,dog\n',
        "the columns 'class', 'label' could all hold the labels",
        ['--label-columns', 'label'],
        [['cat'], ['dog']],
    ),
    'a first column of labels without a number': (
        'image,labels,label_2\na.jpg,cat,dog\nb.jpg,cat,\n',
        "'labels', 'label_2' could all hold the labels",
        ['--label-columns', 'labels', 'label_2'],
        WANTED[:2],
    ),
    'choices of label studio under a name of their own': (
        'animal,annotation_id,annotator,created_at,id,image,lead_time\n'
        '"{""choices"":[""cat"",""dog""]}",1,1,2024-01-01T10:00Z,1,/data/upload/1/0a1b2c3d-a.jpg,3.5\n'
        'cat,2,1,2024-01-01T10:01Z,2,/data/upload/1/1a1b2c3d-b.jpg,2.5\n',
        "one of the columns 'animal', 'created_at', 'lead_time' may hold the labels",
        ['--label-columns', 'animal'],
        WANTED[:2],
    ),
    'an id of the row, and a hash that names the file': (
        'id,sha,tags\n17,a,cat dog\n18,b,cat\n19,d,dog\n',
        "only the column 'sha' names files of photos, without their suffix",
        ['--image-column', 'sha'],
        [A, B, None, D],
    ),
    'flags of rows that may say whether the label is there': (
        'image,label,is_present\na.jpg,cat,1\na.jpg,dog,0\nb.jpg,cat,1\n',
        "holds '0', '1' next to a label: if it says whether the label is there, call it confidence",
        ['--ignore-columns', 'is_present'],
        WANTED[:2],
    ),
    'answers to a question for each row': (
        'image,attribute,certainty,answer\na.jpg,cat,3,yes\na.jpg,dog,4,no\nb.jpg,cat,3,yes\n',
        "the column 'answer' holds 'no', 'yes' next to a label",
        ['--label-columns', 'attribute', '--ignore-columns', 'answer', '--sep', ''],
        WANTED[:2],
    ),
    'words in a column of what is for validation': (
        'image,labels,is_valid\na.jpg,cat;dog,yes\nb.jpg,cat,no\n',
        "line 2: split 'yes' is not one of 0, 1, false, true",
        ['--ignore-columns', 'is_valid'],
        WANTED[:2],
    ),
    'two of the three numbers of a partition': (
        'image,labels,partition\na.jpg,cat;dog,0\nb.jpg,cat,1\n',
        "line 2: split '0' is not one of train, training, trainval",
        ['--ignore-columns', 'partition'],
        WANTED[:2],
    ),
    'numbers without suffix': (
        'number,labels\n1,cat;dog\n2,cat\n',
        "only the column 'number' names files of photos, without their suffix",
        ['--image-column', 'number'],
        WANTED[:2],
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', ASKED)
def test_what_is_not_certain_is_refused_with_a_command_that_works(name):
    text, said, options, expected = ASKED[name]
    Path('labels.csv').write_text(text)
    names = ['1.jpg', '2.jpg'] if 'suffix' in name or 'index' in name else NAMES
    write_photos(*names)
    message, added = refused()
    assert said in message
    assert added == options
    assert labels_of(*added) == {x: y for x, y in zip(names, expected) if y is not None}


@pytest.mark.parametrize('where', ['Total;;2;2;', ';Total;2;2;'])
def test_a_row_of_totals_says_nothing_of_the_columns(where):
    """It names no image, and its numbers are no labels."""
    write_photos(*NAMES)
    head = 'nr;file;cat;dog;note\n1;a;yes;yes;\n2;b;yes;no;check\n3;c;no;no;\n4;d;no;yes;\n'
    Path('labels.csv').write_text(f'{head}{where}\n')
    _, ignored = refused()
    assert ignored == ['--ignore-columns', 'nr', 'note']
    message, _ = refused(*ignored)
    named = "1 of 5 images are not in photos: 'Total' (line 6)"
    blank = '1 of 5 rows name no image, the first in line 6'
    assert (blank if where.startswith('Total') else named) in message
    _, meanings = refused(*ignored, '--skip-missing')
    assert meanings == ['--present', 'yes', '--absent', 'no']
    assert labels_of(*ignored, '--skip-missing', *meanings) == dict(zip(NAMES, WANTED))


def test_it_is_said_how_many_images_are_listed_twice():
    write_photos(*NAMES)
    Path('labels.csv').write_text('image,cat\na.jpg,1\nb.jpg,0\na.jpg,0\nb.jpg,1\nc.jpg,1\n')
    message, _ = refused()
    assert 'a.jpg is listed twice, in line 2 and in line 4, one of 2 such images; an' in message


def test_a_row_that_occurs_twice_in_one_file_says_no_more_than_once():
    """In two files it may be in two splits."""
    write_photos(*NAMES)
    head, rows = 'image,cat,dog\n', 'a.jpg,1,0\nb.jpg,0,1\na.jpg,1,0\nc.jpg,1,1\n'
    Path('labels.csv').write_text(head + rows + 'd.jpg,0,1\nc.jpg,1,1\na.jpg,1,0\n')
    expected = {'a.jpg': ['cat'], 'b.jpg': ['dog'], 'c.jpg': ['cat', 'dog'], 'd.jpg': ['dog']}
    assert labels_of() == expected
    Path('train.csv').write_text(head + 'a.jpg,1,0\nb.jpg,0,1\n')
    Path('test.csv').write_text(head + 'a.jpg,1,0\nc.jpg,1,1\n')
    with pytest.raises(SystemExit, match='a.jpg is'):
        from_csv.main(['train.csv', 'test.csv', '--images', 'photos', '--out', 'two'])


def test_where_a_separator_is_given_numbers_with_commas_are_labels():
    Path('labels.csv').write_text('image,kinds,marks\na.jpg,"1,2","2,3"\nb.jpg,"1,3","2,4"\n')
    write_photos('a.jpg', 'b.jpg')
    message, added = refused('--sep', ',')
    assert "one of the columns 'kinds', 'marks' may hold the labels" in message
    assert labels_of('--sep', ',', *added) == {'a.jpg': ['1', '2'], 'b.jpg': ['1', '3']}


def test_a_label_that_one_column_has_and_another_denies_is_refused():
    Path('labels.csv').write_text(
        'image,label_1,label_2\na.jpg,"{""cat"": 1}","{""dog"": 0}"\nb.jpg,cat,"{""cat"": 0}"\n'
    )
    write_photos('a.jpg', 'b.jpg')
    message, _ = refused('--label-columns', 'label_1', 'label_2', '--sep', '')
    assert "line 3: 'cat' is absent in b.jpg, but present in line 3" in message


def test_rows_of_several_columns_of_labels_are_one_an_image():
    Path('labels.csv').write_text('image,label_1,label_2\na.jpg,cat,dog\na.jpg,dog,\n')
    write_photos('a.jpg')
    message, _ = refused('--label-columns', 'label_1', 'label_2', '--sep', '')
    said = 'a.jpg is listed twice, in line 2 and in line 3; an image has one row'
    assert said in message
    Path('labels.csv').write_text('image,label\na.jpg,cat dog\na.jpg,dog cow\n')
    assert said in refused('--sep', ' ')[0]


REFUSED = {
    'google without a header': ('gs://b/a.jpg,cat,dog\ngs://b/b.jpg,cat\n', 'the first row must'),
    'two annotators': (
        'annotator,choice,image\n1,cat,a.jpg\n2,dog,a.jpg\n',
        'a.jpg is listed twice, in line 2 and in line 3; an image has one row',
    ),
    'classes with two rows': (
        'image,cat,dog\na.jpg,1,0\na.jpg,0,1\n',
        'a.jpg is listed twice, in line 2 and in line 3',
    ),
    'no file of the folder': ('x,y\n1,cat\n2,dog\n', "no cell of the columns 'x', 'y' is a file"),
    'an object of unknown names': (
        'image,labels\na.jpg,"{""text"": ""cat""}"\n',
        "labels.csv, line 2: '{\"text\": \"cat\"}': an object with ['text']",
    ),
    'a list of lists': ('image,labels\na.jpg,"[[""a"",""b""]]"\n', 'is not a label'),
    'a count that is not there': ('3\ncat dog\na.jpg 1 -1\n', '1 row, but its first line says 3'),
    'an object of JSON': (
        '{"a.jpg": ["cat"]}\n',
        "is one object, and not of COCO's form (no 'images'); expected [{",
    ),
    'a line of JSON that is cut off': (
        '{"image": "a.jpg", "label": "cat"}\n{"image": "b.jp',
        'labels.csv, line 2: not JSON',
    ),
    'a list of JSON that is cut off': ('[{"image": "a.jpg", "label": "cat"},\n', 'not JSON'),
    'a list of names': ('["a.jpg",\n"b.jpg"]', 'line 1: not an object with an image; expected ['),
    'all that label studio knows': (
        json.dumps([dict(id=1, data=dict(image='a.jpg'), annotations=[], total_annotations=1)]),
        "is Label Studio's full JSON: export it as JSON-MIN or CSV",
    ),
    'a failure of ground truth': (
        json_lines(
            ground_truth('a.jpg', x=([0], {'class-map': {'0': 'cat'}})),
            ground_truth('b.jpg', x=(None, {'failure-reason': 'expired'})),
        ),
        "line 2: 'x-metadata' says that labelling failed",
    ),
    'a number that the map of ground truth lacks': (
        json_lines(
            ground_truth('a.jpg', x=([0], {'class-map': {'0': 'cat'}})),
            ground_truth('b.jpg', x=([3], {'class-map': {'0': 'cat'}})),
        ),
        "line 2: 'x' and its class-map do not fit together (no '3')",
    ),
    'a job of ground truth that corrects another': (
        json_lines(
            *(
                ground_truth(
                    name,
                    x=([0, 1], {'class-map': {'0': 'cat', '1': 'dog'}}),
                    y=([0], {'class-map': {'0': 'cat'}}),
                )
                for name in NAMES
            )
        ),
        "line 1: 'x', 'y' are of several labelling jobs; remove all but one",
    ),
    'categories of COCO with one id': (
        coco(NAMES, {1: 'cat'}, [(0, 1)]).replace('"cat"}', '"cat"}, {"id": 1, "name": "dog"}'),
        'several categories have the same id',
    ),
    'a category of COCO without a name': (
        coco(NAMES, {1: 'cat', 2: None}, [(0, 1), (1, 2)]),
        "not of COCO's form (a category without a name)",
    ),
    'what an annotator rejected, in Prodigy': (
        json_lines(
            {'image': 'a.jpg', 'accept': ['cat'], 'answer': 'accept'},
            {'image': 'b.jpg', 'accept': ['dog'], 'answer': 'reject'},
        ),
        "line 2: its answer is 'reject', which is Prodigy's for what is not accepted; remove",
    ),
    'a box of an unknown image': (coco(NAMES, {1: 'cat'}, [(9, 1)]), "not of COCO's form (no 9)"),
    'what images lack, by the key of LVIS': (
        coco(NAMES, {1: 'cat'}, [(0, 1)], neg_category_ids=[]),
        'says what images lack: COCOMultiLabel reads it (docs/datasets.md)',
    ),
    'a quote that does not end': ('image,labels\na.jpg,"""big"" cat; dog"\n', "expected after"),
    'probabilities': (
        'image,cat,dog\na.jpg,12%,0.91\nb.jpg,0,0.5\n',
        "the columns 'cat', 'dog' hold numbers such as '12%', and a label is 1 (there) or 0",
    ),
    'votes, some of which are missing': (
        'image,cat,dog\na.jpg,0.67,nan\nb.jpg,1,0.33\n',
        'round them, or say by --present, --absent and --unknown what each means',
    ),
    'a list that is broken among lists': (
        'image,labels\na.jpg,"[\'cat\', dog]"\nb.jpg,"[\'cat\', \'dog\']"\n',
        "labels.csv, line 2: some cells are lists and \"['cat', dog]\" is none",
    ),
    'a delimiter at the end of each row but the first': (
        'image,cat,dog\na.jpg,1,0,\nb.jpg,1,1,\n',
        "'dog'); each row ends with the delimiter: let the header end with it, too",
    ),
    'two splits of an image': (
        'image,label,split\na.jpg,cat,train\na.jpg,dog,val\n',
        'line 3: a.jpg is in two splits',
    ),
    'a vector in each cell': (
        'image,labels\na.jpg,"[1, 1, 0]"\nb.jpg,"[0, 0, 1]"\n',
        "labels.csv, line 2: '[1, 1, 0]': a value for each of 3 classes; write them into columns",
    ),
    'a vector with minus one': (
        'image,labels\na.jpg,"[0, 1, -1]"\nb.jpg,"[1, 0, -1]"\n',
        "labels.csv, line 2: '[0, 1, -1]': a value for each of 3 classes; write them into columns",
    ),
    'a vector of truth values': (
        'image,labels\na.jpg,"[False, True]"\nb.jpg,"[True, False]"\n',
        "labels.csv, line 2: '[False, True]': a value for each of 2 classes; write them",
    ),
    'a vector of truth values as JSON writes it': (
        'image,labels\na.jpg,"[false, true]"\nb.jpg,"[true, null]"\n',
        "labels.csv, line 2: '[false, true]': a value for each of 2 classes; write them",
    ),
    'a vector of exponents': (
        'image,labels\na.jpg,1.000e+00 1.000e+00\nb.jpg,1.000e+00 0.000e+00\n',
        "line 2: '1.000e+00 1.000e+00': a value for each of 2 classes; write them",
    ),
    'a vector without one number': (
        'image,labels\na.jpg,"[1, nan, 0]"\nb.jpg,"[1, 0, 1]"\n',
        "line 2: '[1, nan, 0]': a value for each of 3 classes; write them",
    ),
    'a vector with blanks': ('image,labels\na.jpg,1. 1. 0.\nb.jpg,0. 1. 1.\n', 'of 3 classes'),
    'scores of objects': (
        'image,labels\na.jpg,"[{""label"": ""cat"", ""score"": 0.1}]"\n',
        'a label with score 0.1: is it there or not?',
    ),
    'a label that is there and is not': (
        'ImageID,LabelName,Confidence\na,cat,1\na,cat,0\n',
        "labels.csv, line 3: 'cat' is absent in a.jpg, but present in line 2",
    ),
    'an object that says what another row denies': (
        'image,label\na.jpg,"{""cat"": 0}"\nb.jpg,dog\na.jpg,"{""cat"": 1}"\n',
        "labels.csv, line 4: 'cat' is present in a.jpg, but absent in line 2",
    ),
    'an object that denies what a row lists': (
        'image,label\na.jpg,cat\na.jpg,"{""cat"": 0}"\n',
        "labels.csv, line 3: 'cat' is absent in a.jpg, but present in line 2",
    ),
    'cells of several labels, and two rows': (
        'image,labels\na.jpg,cat;dog\na.jpg,cat\nb.jpg,dog\n',
        'a.jpg is listed twice, in line 2 and in line 3; an image has one row: keep one, with',
    ),
    'no column but an index': (
        ',image\n0,a.jpg\n1,b.jpg\n',
        "labels.csv: no column is left for labels, of ['', 'image'] (one without a name is taken",
    ),
    'words that are called like files': (
        'image,kind\nx,a\ny,b\n',
        "none of the 2 images of column 'image'",
    ),
    'a class with a line break': (
        'image,"hot\ndog",cat\na.jpg,1,0\n',
        "the column 'hot\\ndog' has a line break in its name",
    ),
    'boxes without a header': (
        'a.jpg,1,2,cat\n',
        'names=["image", "column 2", "column 3", "column 4"], dtype=str)',
    ),
    'tabs, and no header': (
        '0\t1.0\ta.jpg\n1\t0.0\tb.jpg\n',
        'names=["column 1", "column 2", "image"], sep="\\t", dtype=str)',
    ),
    'blanks, and no header': ('a.jpg 0\nb.jpg 1\n', '"labels"], sep="\\\\s+", dtype=str)'),
    'lists of labels, and no header': (
        'a.jpg 0\nb.jpg 0 1\n',
        'such as image,labels; rows differ in length: write each in this way: a.jpg,cat;dog',
    ),
    'images without suffix, and no header': (
        'a,1,0\nb,0,1\n',
        "labels.csv: ['a', '1', '0'] looks like an image and its labels; the first row must name",
    ),
    'images without suffix, words, and no header': (
        'a,cat\nb,cat dog\n',
        'with pandas: pandas.read_csv(FILE, names=["image", "labels"], dtype=str)',
    ),
    'images without suffix, values that come again, and no header': (
        'a,1,1\nb,0,1\n',
        "the column '1' occurs twice (the first row names the columns)",
    ),
    'a number before the image': ('1,a.jpg\n', 'names=["labels", "image"], dtype=str)'),
    'labels in columns without a name': (
        'image,labels,,\na.jpg,cat,dog,owl\nb.jpg,cat,,\n',
        "line 1: column 3 has no name, but holds 'dog' (line 2); the first row names the columns",
    ),
    'a title above the header': (
        'Labels of May,,\nimage,labels,\na.jpg,"cat, dog",\n',
        "line 1: column 2 has no name, but holds 'labels' (line 2)",
    ),
    'a title of one cell above the header': (
        'Table 1\nimage,labels\na.jpg,cat;dog\n',
        "line 2: 1 cell, but the header has 2 ('Table', '1'); blanks are between the cells",
    ),
    'a name for all columns of flags': (
        '2\nimage_name labels\na.jpg -1 1 -1\nb.jpg 1 -1 -1\n',
        'the first row must name every column',
    ),
    'single quotes': (
        "image,labels\na.jpg,'cat,dog'\nb.jpg,'cat'\n",
        'a cell that holds the delimiter must be in double quotes',
    ),
    'merged cells': (
        'image,label\na.jpg,cat\n,dog\nb.jpg,cat\n',
        '1 of 3 rows name no image, the first in line 3: where a spreadsheet merged cells',
    ),
    'splits before images, and no header': (
        'TRAINING,gs://x/a.jpg,cat,dog\nTEST,gs://x/b.jpg,cat\n',
        'such as split,image,labels; rows differ in length: write each in this way: '
        'TRAINING,gs://x/a.jpg,cat;dog',
    ),
    'splits before images, as many cells in each row, and no header': (
        'TRAINING,gs://x/a.jpg,cat\nTEST,gs://x/b.jpg,cat\n',
        'names=["split", "image", "column 3"], dtype=str)',
    ),
    'flags with commas behind a tab, and no header': (
        'a.jpg\t0,0,1\nb.jpg\t1,0,1\n',
        'names=["image", "labels"], sep="\\t", dtype=str)',
    ),
    'a remark above the header': ('# by me\nimage,labels\na.jpg,cat\n', "'#', 'by', 'me'"),
    'an object that says both': (
        'image,labels\na.jpg,"[{""cat"": 1}, {""cat"": 0}]"\n',
        "labels.csv, line 2: '[{\"cat\": 1}, {\"cat\": 0}]': 'cat' is there and is not",
    ),
    'an object of JSON that says a label twice': (
        'image,labels\na.jpg,"{""cat"": true, ""cat"": false}"\n',
        "line 2: '{\"cat\": true, \"cat\": false}': 'cat' occurs twice in one object",
    ),
    'an object of Python that says a label twice': (
        'image,labels\na.jpg,"[{\'cat\': 1, \'cat\': 0}]"\n',
        "'cat' occurs twice in one object",
    ),
    'a value that is not decided': (
        'image,cat,dog\na.jpg,1,w\nb.jpg,1,0\n',
        "line 2: 'w' in the column 'dog' is neither '1' (--present) nor '0' (--absent)",
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', REFUSED)
def test_what_makes_no_sense_is_one_line(name):
    text, said = REFUSED[name]
    Path('labels.csv').write_text(text)
    write_photos('a.jpg', 'b.jpg')
    decided = ['--present', '1', '--absent', '0'] if 'decided' in name else []
    message, added = refused(*decided)
    assert said in message
    assert added is None


@pytest.mark.parametrize(
    'content, said',
    [
        (
            'image,labels\n'.encode('utf-16'),
            'is UTF-16, not a table as text; save it as "CSV UTF-8"',
        ),
        ('image,labels\n'.encode('utf-16-le'), 'has NUL characters (UTF-16?)'),
        ('image,labels\na.jpg,caf\xe9\n'.encode('cp1252'), 'line 2: not UTF-8'),
        (b'PK\x03\x04rest', 'is an Excel workbook'),
        (
            gzip.compress(b'image,labels\n', mtime=0),
            'is packed by gzip, not a table as text; unpack it',
        ),
        (bz2.compress(b'image,labels\n'), 'is packed by bzip2, not a table as text; unpack it'),
        (lzma.compress(b'image,labels\n'), 'is packed by xz, not a table as text; unpack it'),
        (
            b'<?xml version="1.0"?>\n<annotations>\n',
            "is XML, not a table as text; Pascal VOC's form",
        ),
        (b'<!DOCTYPE html>\n<html>\n', 'is a web page, not a table as text; download the file'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n', 'git lfs pull'),
        (b'MATLAB 5.0 MAT-file\0\1IM', 'pandas.DataFrame(matrix, files, classes)'),
        (b'\x93NUMPY\1\0', 'is a matrix of numpy, not a table as text'),
        (b'PAR1rest', 'is a Parquet file, not a table as text; with pandas: pandas.read_parquet'),
    ],
)
def test_a_file_that_is_no_text_table_says_what_it_is(content, said):
    Path('labels.csv').write_bytes(content)
    write_photos('a.jpg')
    message, _ = refused()
    assert said in message


@pytest.mark.parametrize(
    'cell', ['[' * 120_000, '[' * 9_000, '[' + '-' * 9_000 + '1]', "['" + "\\'" * 4_000, '(' * 300]
)
def test_a_cell_that_would_exhaust_a_parser_is_one_line_or_one_name(cell):
    write_csv([('image', 'labels'), ('a.jpg', cell), ('b.jpg', '["cat"]')], ',', csv.QUOTE_ALL)
    write_photos('a.jpg', 'b.jpg')
    try:
        found = labels_of()
    except SystemExit as error:
        assert '\n' not in error.code and len(error.code) < 500
    else:
        assert found in [{'a.jpg': [x], 'b.jpg': ['cat']} for x in (cell, cell[1:-1])]


@pytest.mark.parametrize(
    'cells', [['0' * 100_000 + 'x'], ['a' * 100_000], ["'" + "\\'" * 4_900] * 9]
)
@pytest.mark.parametrize('header', ['image,labels', 'labels,image', 'image,cat'])
def test_a_long_cell_takes_as_long_as_it_is(header, cells):
    rows = [(f'{i}.jpg', cell) for i, cell in enumerate(cells)]
    rows = [header.split(','), *(row[:: -1 if header == 'labels,image' else 1] for row in rows)]
    write_csv(rows, ',', csv.QUOTE_ALL)
    write_photos(*(f'{i}.jpg' for i in range(9)))
    started = time.perf_counter()
    with contextlib.suppress(SystemExit):
        read()
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize('count', ['3', '9' * 5_000])
def test_a_number_of_rows_that_is_not_theirs_is_refused(count):
    Path('labels.csv').write_text(f'{count}\nimage labels\na.jpg cat\n')
    write_photos('a.jpg')
    message, _ = refused()
    assert 'labels.csv: 1 row, but its first line says' in message and len(message) < 500


def test_nothing_in_a_cell_is_executed():
    cell = "[__import__('os').system('touch executed')]"
    write_csv([('image', 'labels'), ('a.jpg', cell), ('b.jpg', 'cat')], ',', csv.QUOTE_ALL)
    write_photos('a.jpg', 'b.jpg')
    assert labels_of() == {'a.jpg': [cell], 'b.jpg': ['cat']}
    assert not Path('executed').exists()


def test_three_tables_of_roboflow_are_three_splits():
    write_photos(*(f'{split}/0_jpg.rf.1.jpg' for split in ('train', 'valid', 'test')))
    tables = []
    for split, bits in (('train', '1, 0'), ('valid', '0, 1'), ('test', '1, 1')):
        tables.append(Path('photos', split, '_classes.csv'))
        tables[-1].write_text(f'filename, cat, dog\n0_jpg.rf.1.jpg, {bits}\n')
    assert read(tables=tables) == {
        'train/0_jpg.rf.1.jpg': (['cat'], 'train'),
        'valid/0_jpg.rf.1.jpg': (['dog'], 'val'),
        'test/0_jpg.rf.1.jpg': (['cat', 'dog'], 'test'),
    }
    tables[1].write_text('filename, cat, bird\n0_jpg.rf.1.jpg, 0, 1\n')
    assert "differ in the columns ['bird', 'dog']" in refused(tables=tables)[0]


def test_columns_that_are_named_are_taken():
    Path('labels.csv').write_text('a,b,name,part,x y\ncat,dog,a.jpg,train,1\n,cat,b.jpg,dev,0\n')
    write_photos('a.jpg', 'b.jpg')
    options = ['--label-columns', 'a', 'b', '--split-column', 'part']
    assert read(*options) == {'a.jpg': (A, 'train'), 'b.jpg': (B, 'val')}
    assert labels_of('--label-columns', 'x y', '--present', '1') == {'a.jpg': ['x y'], 'b.jpg': []}
    message, _ = refused('--label-columns', 'c')
    assert "no column 'c' among ['a', 'b', 'name', 'part', 'x y']" in message


def test_a_value_of_several_columns_is_one_class_and_that_is_said(capsys):
    Path('labels.csv').write_text('image,sex,hair,type1,type2\na.jpg,1,2,x,y\nb.jpg,2,2,y,\n')
    write_photos('a.jpg', 'b.jpg')
    assert labels_of('--label-columns', 'sex', 'hair') == {'a.jpg': ['1', '2'], 'b.jpg': ['2']}
    assert "warning: '2' in several of them: one class each" in capsys.readouterr().out
    read('--label-columns', 'sex', 'type1', 'type2')
    assert 'warning' not in capsys.readouterr().out


def test_a_class_that_is_called_like_a_measure_is_one_where_its_cells_hold_what_is_present():
    Path('labels.csv').write_text('image,cat,weight\na.jpg,P,A\nb.jpg,A,P\n')
    write_photos('a.jpg', 'b.jpg')
    given = labels_of('--present', 'P', '--absent', 'A')
    assert given == {'a.jpg': ['cat'], 'b.jpg': ['weight']}


def test_zero_and_one_in_a_cell_may_be_two_labels():
    Path('labels.csv').write_text('image,labels\na.jpg,0 1\nb.jpg,1 0\n')
    write_photos('a.jpg', 'b.jpg')
    assert labels_of('--sep', ' ') == {'a.jpg': ['0', '1'], 'b.jpg': ['0', '1']}
    Path('labels.csv').write_text('image,n\na.jpg,0\nb.jpg,1\n')  # or one
    assert refused('--sep', '')[1] == ['--label-columns', 'n']


def test_a_column_that_is_named_twice_is_taken_once(capsys):
    Path('labels.csv').write_text('image,cat,dog\na.jpg,1,1\nb.jpg,1,0\n')
    write_photos('a.jpg', 'b.jpg')
    assert labels_of('--label-columns', 'cat', 'dog', 'cat') == dict(zip(NAMES, [A, B]))
    assert 'a column for each of 2 classes, cat, dog' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('cell', 'options', 'labels'),
    [
        ('[cat dog]', ['--sep', ' '], ['cat', 'dog']),
        ('[cat dog]', ['--sep', ''], ['cat dog']),
        ('[big, red; dog]', ['--sep', ';'], ['big, red', 'dog']),
        ('[dog, cow]', [], ['cow', 'dog']),  # no word comes again, as in lists it need not
    ],
)
def test_the_brackets_of_bare_lists_are_no_part_of_labels(cell, options, labels):
    Path('labels.csv').write_text(f'image,labels\na.jpg,"{cell}"\nb.jpg,[cat]\n')
    write_photos('a.jpg', 'b.jpg')
    assert labels_of(*options) == {'a.jpg': labels, 'b.jpg': ['cat']}


def test_a_cell_that_makes_no_sense_is_named_with_its_own_table():
    Path('train.csv').write_text('image,labels\na.jpg,"[""cat""]"\n')
    Path('val.csv').write_text('image,labels\nb.jpg,"[[""cat""]]"\n')
    write_photos('a.jpg', 'b.jpg')
    message, _ = refused(tables=('train.csv', 'val.csv'))
    assert message.startswith('error: val.csv, line 2: ')


def test_a_missing_value_of_pandas_among_flags_is_unknown():
    Path('labels.csv').write_text('image,cat,dog\na.jpg,1,<NA>\nb.jpg,0,1\n')
    write_photos('a.jpg', 'b.jpg')
    table = read_tables([Path('labels.csv')])
    images, *_ = read_images(table, Path('photos'), Choices(), skip_missing=False)
    assert [image.unknown for image in images] == [{'dog'}, set()]


def test_a_quoted_label_may_stand_after_a_blank():
    Path('labels.csv').write_text('image,labels\na.jpg,"cat; ""dog; big"""\n')
    write_photos('a.jpg')
    assert labels_of('--sep', ';') == {'a.jpg': ['cat', 'dog; big']}


def test_a_separator_of_several_characters_leaves_quotes_alone():
    Path('labels.csv').write_text('image,labels\na.jpg,"a ""x"";|cat"\nb.jpg,cat\n')
    write_photos('a.jpg', 'b.jpg')
    assert labels_of('--sep', ';|') == {'a.jpg': ['a "x"', 'cat'], 'b.jpg': ['cat']}


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize('first', ['', 'sep=;', '\ufeff"sep=;"'])
def test_a_table_with_any_line_ends_is_read_and_names_its_lines(first, end):
    lines = [*filter(None, [first]), 'image;cat;dog', 'a.jpg;1;1', 'b.jpg;1;0']
    Path('labels.csv').write_bytes(end.join(lines).encode())
    write_photos('a.jpg')
    message, _ = refused()
    assert f"'b.jpg' (line {len(lines)})" in message
    write_photos('b.jpg')
    assert labels_of() == dict(zip(NAMES, [A, B]))


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_a_table_that_begins_with_its_number_of_rows_has_any_line_ends(end):
    Path('labels.csv').write_bytes(end.join(['2', 'cat dog', 'a.jpg 1 1', 'b.jpg 1 -1']).encode())
    write_photos('a.jpg', 'b.jpg')
    assert labels_of() == dict(zip(NAMES, [A, B]))


def test_names_of_a_table_that_begins_with_its_number_of_rows_are_cut_at_blanks_alone():
    Path('labels.csv').write_text('2\ncat,big dog\na.jpg 1 1\nb.jpg 1 -1\n')
    write_photos('a.jpg', 'b.jpg')
    assert labels_of() == {'a.jpg': ['cat,big', 'dog'], 'b.jpg': ['cat,big']}


def test_a_name_in_two_folders_is_not_guessed():
    Path('labels.csv').write_text('image,labels\n1.jpg,cat\n2.jpg,dog\n')
    write_photos('x/1.jpg', 'y/1.jpg', 'x/2.jpg')
    message, _ = refused()
    assert "1 of 2 names mean several files of photos each, such as '1.jpg' (line 2)" in message
    assert 'x/1.jpg, y/1.jpg; include their folders' in message
    assert refused('--skip-missing')[0] == message  # none of them is missing


def test_folders_before_names_are_left_out_only_if_all_names_have_them():
    write_photos('1.jpg', '2.jpg')
    Path('labels.csv').write_text('image,labels\ncat/1.jpg,cat\ndog/2.jpg,dog\n')
    assert 'none of the 2 images' in refused()[0]
    Path('labels.csv').write_text('image,labels\nx/cat/1.jpg,cat\nx/cat/2.jpg,dog\n')
    assert labels_of() == {'1.jpg': ['cat'], '2.jpg': ['dog']}


def test_what_was_taken_for_what_is_printed(capsys):
    Path('labels.csv').write_text(
        ',fname,labels,note,is_valid\n0,/home/me/1.jpg,cat;dog,x,True\n1,/home/me/0.jpg,cat,y,False\n'
    )
    write_photos('0.jpg', '1.jpg')
    assert read() == {'1.jpg': (A, 'val'), '0.jpg': (B, 'train')}
    assert capsys.readouterr().out.splitlines() == [
        'labels.csv: 2 rows',
        "  images: column 'fname', without 'home/me/' before them",
        "  labels: in the column 'labels', separated by ;",
        "  split: column 'is_valid' (false is train, true is val)",
        '  columns not used: (no name), note',
        '2 images',
    ]


@pytest.mark.parametrize('name', ['Patient ID', 'subject_id', 'lesion_id', 'seq_no', 'video'])
def test_images_of_one_patient_that_are_or_may_be_in_different_splits_are_named(capsys, name):
    write_photos('a.jpg', 'b.jpg', 'c.jpg')
    may = f'{name!r} may come into different splits'
    are = f"{name!r} are in different splits (1 of 2, such as '7')"
    for rows, split, said in (
        (['a,cat,7', 'b,dog,7', 'c,cat,8'], '', may),
        (['a,cat,7', 'b,dog,9', 'c,cat,'], '', None),
        (['a,cat,', 'b,dog,', 'c,cat,8'], '', None),
        (['a,cat,7', 'b,dog,7', 'c,cat,7'], '', None),
        (['a,cat,7,train', 'b,dog,7,train', 'c,cat,8,test'], ',split', may),
        (['a,cat,7,train', 'b,dog,7,train', 'c,cat,8,val'], ',split', None),
        (['a,cat,7,train', 'b,dog,7,test', 'c,cat,8,val'], ',split', are),
        (['a,cat,,train', 'b,dog,,test', 'c,cat,8,val'], ',split', None),
    ):
        Path('labels.csv').write_text('\n'.join([f'image,label,{name}{split}', *rows]))
        read()
        warnings = [x for x in capsys.readouterr().out.splitlines() if x.startswith('warning')]
        assert len(warnings) == (said is not None) and (said or '') in ''.join(warnings)
        read('--group-column', name)  # said is then only what the given splits do
        printed = capsys.readouterr().out
        assert ('warning' in printed) == (are in printed) == (said == are)
        assert 'columns not used' not in printed
        read('--ignore-columns', name)
        assert 'warning' not in capsys.readouterr().out


def test_labels_in_a_column_called_like_a_group_are_no_group(capsys):
    write_photos('a.jpg', 'b.jpg', 'c.jpg')
    Path('labels.csv').write_text('image,sequence\na,cat\nb,cat\nc,dog\n')
    read('--label-columns', 'sequence')
    assert 'warning' not in capsys.readouterr().out


def test_an_image_of_two_patients_is_refused():
    write_photos('a.jpg', 'b.jpg')
    Path('labels.csv').write_text('image,label,who\na,cat,7\nb,cat,8\na,dog,8\n')
    with pytest.raises(SystemExit, match=r"line 2: a.jpg has two values in 'who', '7' and '8'"):
        read('--group-column', 'who')


def test_a_group_of_two_values_is_not_asked_about_next_to_labels():
    write_photos('a.jpg', 'b.jpg')
    Path('labels.csv').write_text('image,label,visit\na,cat,0\na,dog,0\nb,cat,1\n')
    assert refused()[1] == ['--ignore-columns', 'visit']
    assert labels_of('--group-column', 'visit') == {'a.jpg': A, 'b.jpg': B}
    Path('labels.csv').write_text('image,visit,cat,dog\na,x,1,1\nb,y,1,0\n')  # ... or of flags
    assert labels_of('--group-column', 'visit') == {'a.jpg': A, 'b.jpg': B}


@pytest.mark.parametrize('mark', [',\t', '\t,', ' ,\t', ',', '\t'])
def test_tabs_may_align_the_cells_of_rows(mark):
    write_photos('a.jpg', 'b.jpg', '0.jpg', '1.jpg')
    rows = ['image', 'cat', 'dog'], ['a.jpg', '1', '1'], ['b.jpg', '1', '0']
    Path('labels.csv').write_text('\n'.join(map(mark.join, rows)))
    assert labels_of() == {'a.jpg': A, 'b.jpg': B}


def test_a_class_may_be_called_like_a_program():
    write_photos('a.jpg', 'b.jpg')
    Path('labels.csv').write_text('MATLAB,image\n1,a.jpg\n0,b.jpg\n')
    assert labels_of() == {'a.jpg': ['MATLAB'], 'b.jpg': []}


def test_the_numbers_of_celeba_are_splits():
    write_photos('a.jpg', 'b.jpg', 'c.jpg')
    Path('labels.csv').write_text(
        'image_id,cat,dog,partition\na.jpg,1,1,0\nb.jpg,1,-1,1\nc.jpg,-1,-1,2\n'
    )
    assert read() == {'a.jpg': (A, 'train'), 'b.jpg': (B, 'val'), 'c.jpg': (C, 'test')}


@pytest.mark.parametrize('name', ['ml_use', 'Usage', 'phase', 'set'])
def test_a_column_that_may_be_of_splits_is_where_it_holds_splits_alone(name):
    write_photos('a.jpg', 'b.jpg')
    rows = f'image,labels,note,{name}\na.jpg,cat;dog,val,TRAIN\nb.jpg,cat,val,valid\n'
    Path('labels.csv').write_text(rows)
    assert read() == {'a.jpg': (A, 'train'), 'b.jpg': (B, 'val')}


def test_splits_are_not_taken_for_labels():
    Path('labels.csv').write_text('filepath,tags\na.jpg,"[""train""]"\nb.jpg,"[""val""]"\n')
    write_photos('a.jpg', 'b.jpg')
    message, added = refused()
    assert "'tags' holds 'train', 'val', which may be splits or labels" in message
    assert labels_of(*added) == {'a.jpg': ['train'], 'b.jpg': ['val']}


@pytest.mark.parametrize(
    'prefix', ['/data/local-files/?d=my%20photos/', 'file:///a%20b/', '//x//./']
)
def test_addresses_of_files_name_files(prefix):
    Path('labels.csv').write_text(f'image,labels\n{prefix}x/a.jpg,cat\n{prefix}b.jpg,dog\n')
    write_photos('x/a.jpg', 'b.jpg')
    assert labels_of() == {'x/a.jpg': ['cat'], 'b.jpg': ['dog']}


# ---------------------------------------------------------------- what is written reads back

LETTERS = 'abAB \'",;|[](){}é\u00df\u6d77\u0645\u0301-_./\\0'
names = some.text(some.sampled_from(LETTERS), min_size=1, max_size=6)
names = names.map(lambda x: normalize('NFC', x.strip())).filter(bool)
label_sets = some.lists(some.frozensets(names, max_size=4), min_size=2, max_size=6)


def join(labels, separator):
    """Labels of a cell, in quotes where they hold the separator."""
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator='').writerow(sorted(labels))
    return out.getvalue()


def plain(name):
    return name[0] not in '[{('


# of each dialect: which names it can hold, the cells of a set of labels, and what must be said
CELLS = {
    'json': (lambda name: True, lambda x: json.dumps(sorted(x)), None),
    'json with its characters': (
        lambda name: True,
        lambda x: json.dumps(sorted(x), ensure_ascii=False),
        None,
    ),
    'python': (lambda name: True, lambda x: repr(sorted(x)), None),
    'choices': (lambda name: True, lambda x: json.dumps({'choices': sorted(x)}), None),
    **{
        f'separated by {mark}': (plain, lambda x, mark=mark: join(x, mark) if x else '', mark)
        for mark in ';|,'
    },
    'lines': (plain, lambda x: '\n'.join(sorted(x)), '\n'),
    'blanks': (lambda name: plain(name) and not name.split()[1:], lambda x: ' '.join(x), ' '),
}


def write_csv(rows, delimiter, quoting):
    with open('labels.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file, delimiter=delimiter, quoting=quoting).writerows(rows)


def read_sets(choices, number):
    found, *_ = read_images(read_tables([Path('labels.csv')]), Path('photos'), choices, False)
    labels = {image.path: image.labels for image in found}
    return [labels.get(f'{i}.jpg', set()) for i in range(number)]


checked = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
dialects = some.sampled_from(',;\t'), some.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])


@pytest.mark.parametrize('form', CELLS)
@checked
@given(label_sets, *dialects)
def test_a_table_of_cells_reads_back(form, wanted, delimiter, quoting):
    fits, cell, sep = CELLS[form]
    wanted = [{name for name in labels if fits(name)} for labels in wanted]
    write_photos(*(f'{i}.jpg' for i in range(6)))
    rows = [(f'{i}.jpg', cell(labels)) for i, labels in enumerate(wanted)]
    write_csv([('image', 'labels'), *rows], delimiter, quoting)
    assert read_sets(Choices(sep=sep, labels=['labels']), len(wanted)) == wanted


@checked
@given(label_sets, *dialects)
def test_a_table_of_a_row_for_each_label_reads_back(wanted, delimiter, quoting):
    wanted = [set(filter(plain, labels)) for labels in wanted]
    write_photos(*(f'{i}.jpg' for i in range(6)))
    rows = [(f'{i}.jpg', x) for i, labels in enumerate(wanted) for x in labels or ['']]
    write_csv([('image', 'label'), *rows], delimiter, quoting)
    assert read_sets(Choices(sep='', labels=['label']), len(wanted)) == wanted


@pytest.mark.parametrize('values', [('0', '1'), ('0.0', '1.0'), ('False', 'True'), ('-1', '1')])
@checked
@given(label_sets, *dialects)
def test_a_table_of_a_column_for_each_class_reads_back(values, wanted, delimiter, quoting):
    classes = sorted({x for labels in wanted for x in labels} - {'image'})
    if not classes:
        return
    write_photos(*(f'{i}.jpg' for i in range(6)))
    rows = [
        (f'{i}.jpg', *(values[name in labels] for name in classes))
        for i, labels in enumerate(wanted)
    ]
    write_csv([('image', *classes), *rows], delimiter, quoting)
    assert read_sets(Choices(labels=classes), len(wanted)) == wanted


words = some.sampled_from(
    ['image', 'labels', 'label', 'split', 'is_valid', 'id', 'Age', 'fold', 'cat', 'dog', 'tags']
    + ['file_name', 'Confidence', 'annotator']
)
cells = some.one_of(
    some.sampled_from(['0', '1', '-1', '', '?', 'nan', 'True', 'cat', 'cat;dog', '[]', '["a"]']),
    some.sampled_from(['0', '1', '-1', '', '{"a":1}', '{"a":0}', 'u', 'yes', 'no']),
    some.sampled_from(['a.jpg', 'b.jpg', 'a', 'b', 'photos/a.jpg', 'train', 'val', '0.5', 'x y']),
    some.text(some.sampled_from('ab;|,"\'[](){}\n -:1\\'), max_size=8),
)


@settings(checked, max_examples=300)
@given(some.lists(words, min_size=2, max_size=5, unique=True), some.data())
def test_any_table_is_read_or_refused_in_one_line_and_the_options_named_are_enough(header, data):
    row = some.lists(cells, min_size=len(header), max_size=len(header))
    write_photos('a.jpg', 'b.jpg')
    write_csv([header, *data.draw(some.lists(row, min_size=1, max_size=4))], ',', csv.QUOTE_MINIMAL)
    options = read_any([])
    if options:
        assert read_any(options) is None


def test_a_column_of_labels_is_read_alike_whether_it_is_named_or_found():
    write_photos('a.jpg')
    write_csv([('image', 'labels', 'label'), ('a.jpg', 'yes', '')], ',', csv.QUOTE_MINIMAL)
    assert read_any([]) == ['--label-columns', 'labels']
    assert read_any(['--label-columns', 'labels']) is None


def test_a_column_of_labels_is_the_same_with_the_separator_named():
    write_photos('a.jpg')
    header = ('split', 'id', 'image', 'verified', 'Age')
    rows = [('0', '0', 'a', '0', '0'), ('0', '0', 'a', 'cat', '0')]
    write_csv([header, *rows], ',', csv.QUOTE_MINIMAL)
    assert read_any([]) == ['--ignore-columns', 'split', '--sep', '']
    assert read_any(read_any([])) is None


def test_what_an_answer_leaves_open_is_asked_with_it():
    write_photos('a.jpg', 'b.jpg')
    header = ('image', 'Confidence', 'split', 'verified', 'id')
    rows = [('b.jpg', 'True', '0', 'cat', 'cat'), ('a.jpg', *'0000')]
    write_csv([header, *rows], ',', csv.QUOTE_MINIMAL)
    ignored = ['--ignore-columns', 'split', 'Confidence']
    assert read_any([]) == [*ignored, '--present', 'cat', '--absent', '0']
    assert read_any(read_any([])) is None


def test_a_value_that_looks_like_an_option_can_be_typed():
    write_photos('a.jpg')
    write_csv([('image', 'verified', 'id'), ('a.jpg', '', '-:')], ',', csv.QUOTE_MINIMAL)
    assert read_any([]) == ['--present=-:', '--absent', '']
    assert read_any(read_any([])) is None


def read_any(options):
    """What a table of any content leaves open; None where it is read or refused for good."""
    try:
        table = read_tables([Path('labels.csv')])
        images, *_ = read_images(table, Path('photos'), vars_of(options), skip_missing=True)
    except Undecided as error:
        assert str(error) and error.options
        return error.options
    except ValueError as error:
        assert str(error)
        return None
    assert {image.path for image in images} <= {'a.jpg', 'b.jpg'}
    assert all(label == label.strip() != '' for image in images for label in image.labels)
    return None


def vars_of(options):
    """The choices that options of the command line make."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_csv, 'read_tables', lambda tables: None)
        patch.setattr(from_csv, 'read_images', lambda *args: found.append(args) or ([], None, []))
        patch.setattr(from_csv, 'finish', lambda *args: None)
        from_csv.main(['labels.csv', '--images', 'photos', '--out', 'out', *options])
    return found[0][2]


@pytest.mark.slow
def test_a_table_of_100_000_rows_is_read_in_seconds():
    count = 100_000
    for start in range(0, count, 10_000):
        folder = Path('photos', f'images_{start}', 'images')
        folder.mkdir(parents=True)
        for i in range(start, start + 10_000):
            (folder / f'{i}_000.png').touch()
    rows = ((f'{i}_000.png', f'a{i % 7}|b{i % 31}|c{i % 5}', i % 90) for i in range(count))
    write_csv([('Image Index', 'Finding Labels', 'Age'), *rows], ',', csv.QUOTE_MINIMAL)
    start = time.process_time()
    table = read_tables([Path('labels.csv')])
    finder = ImageFinder(Path('photos'))
    found, _ = finder.find_all(table.column(0), [Path('labels.csv')] * count)
    assert all(found) and time.process_time() - start < 5
    start = time.process_time()
    images, *_ = read_images(table, Path('photos'), Choices(), False)
    assert len(images) == count and time.process_time() - start < 10
