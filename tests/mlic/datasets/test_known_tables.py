"""Tables of what is known of images that are to be predicted."""

from pathlib import Path

import pytest

from mlic.datasets.own_data.known import read_known

CLASSES = ['cat', 'dog', 'red fox', 'No Finding']
IMAGES = ['photos/a.jpg', 'photos/b.jpg', '/data/x/c.png', 'https://x.org/d.jpg?size=1']
CAT, NOT_CAT, DOG, NOT_DOG = {'cat': True}, {'cat': False}, {'dog': True}, {'dog': False}


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(text, images=IMAGES, path='k.csv'):
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)
    return read_known(Path(path), images, CLASSES)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        # a column for each class; the same name but for folders
        ('image,cat,dog\nphotos/a.jpg,1,0\nb.jpg,,1\n', [CAT | NOT_DOG, DOG, {}, {}]),
        ('image;dog;cat\n/data/x/c.png;True;False\n', [{}, {}, DOG | NOT_CAT, {}]),
        ('filename,cat,dog\na.jpg,-1,1\nb.jpg,1,?\n', [NOT_CAT | DOG, CAT, {}, {}]),
        # no 0 or False: blank is still not known, nor is a column that says nothing
        ('image,cat,dog\na.jpg,1,\nc,,1\n', [CAT, {}, DOG, {}]),
        ('image,cat,dog\na.jpg,0,\n', [NOT_CAT, {}, {}, {}]),
        ('image,cat,age,split\na.jpg,1,35,test\n', [CAT, {}, {}, {}]),
        # lists say what is there, and nothing of other classes
        ('image,labels\na.jpg,cat;dog\nhttps://x.org/d.jpg?size=1,red fox\n',
         [CAT | DOG, {}, {}, {'red fox': True}]),
        ('image,labels\na.jpg,"{""cat"": 1, ""dog"": 0}"\n', [CAT | NOT_DOG, {}, {}, {}]),
        ('image,label,confidence\na.jpg,cat,1\na.jpg,dog,0\n', [CAT | NOT_DOG, {}, {}, {}]),
        ('image,labels,blurred\na.jpg,cat,1\n', [CAT, {}, {}, {}]),
        # whatever the splits of training are
        ('image,labels,split\na.jpg,cat,\nb.jpg,dog,test\n', [CAT, DOG, {}, {}]),
        ('image,cat,is_valid\na.jpg,1,no\n', [CAT, {}, {}, {}]),
        # but for one that says that there is none
        ('image,labels\na.jpg,cat;dog\nb.jpg,No Finding\n',
         [CAT | DOG, {**NOT_CAT, **NOT_DOG, 'red fox': False, 'No Finding': True}, {}, {}]),
    ],
)  # fmt: skip
def test_what_a_table_says_is_known_and_nothing_else(text, expected):
    assert read(text)[0] == expected


def test_names_count_from_the_folder_of_the_table_too():
    known, _ = read('image,cat\na.jpg,1\n', ['one/a.jpg', 'two/a.jpg'], 'two/k.csv')
    assert known == [{}, CAT]


@pytest.mark.parametrize('column', ['label', 'labels'])
def test_a_class_may_be_called_like_two_others(column):
    classes = ['car', 'red', 'red-car', 'black', 'white', 'black and white']
    rows = zip('abc', ['red', 'car', 'red-car']), zip('abc', ['white', 'black', 'black and white'])
    for pairs in rows:
        pairs = [(f'{name}.jpg', label) for name, label in pairs]
        Path('k.csv').write_text(f'image,{column}\n' + ''.join(f'{a},{b}\n' for a, b in pairs))
        known = read_known(Path('k.csv'), [name for name, _ in pairs], classes)[0]
        assert known == [{label: True} for _, label in pairs]


def test_an_image_that_is_named_twice_is_told_twice():
    assert read('image,cat\na.jpg,1\n', ['photos/a.jpg', './photos/a.jpg'])[0] == [CAT, CAT]


def test_an_image_may_be_called_1():
    assert read('image,cat\n1,1\n', ['photos/1.jpg'])[0] == [CAT]


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('image,cat\nphotos/a.jpg,1\n', [CAT, {}]),
        ('image,cat,file_name\nphotos/a.jpg,1,a.jpg\n', [CAT, {}]),
        ('file_name,image,cat\na.jpg,0,1\nb.jpg,1,\n', [CAT | {'image': False}, {'image': True}]),
        ('image,labels\na.jpg,image;cat\n', [CAT | {'image': True}, {}]),
    ],
)
def test_a_class_may_be_called_image(text, expected):
    Path('k.csv').write_text(text)
    assert read_known(Path('k.csv'), IMAGES[:2], [*CLASSES, 'image'])[0] == expected


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('image,cat\nq.jpg,1\n', 'none of the 1 images .* the list of images to predict'),
        ('file_name,image,cat\na.jpg,often,1\n', "the column 'image' has 'often'"),
    ],
)
def test_a_class_called_image_hides_no_mistake(text, message):
    Path('k.csv').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_known(Path('k.csv'), IMAGES, [*CLASSES, 'image'])


def test_addresses_may_differ_in_their_query_alone():
    images = [f'https://x.org/photo?id={number}' for number in (1, 2, 3)]
    text = 'image,cat\nhttps://x.org/photo?id=1,1\nhttps://x.org/photo?id=2,0\n'
    assert read(text, images)[0] == [CAT, NOT_CAT, {}]
    assert read('image,cat\nhttps://x.org/photo?id=1,1\n', images[:1])[0] == [CAT]


def test_lines_say_what_was_taken_for_what():
    rows = 'a.jpg,1,0,35', 'b.jpg,1,0,35', 'other.jpg,1,1,9'
    lines = read('\n'.join(['image,cat,dog,patient', *rows]))[1]  # nothing of splits
    assert lines == [
        'k.csv: 3 rows',
        "  images: column 'image'",
        "  labels: a column for each of 2 classes, cat, dog ('1' is present, '0' absent)",
        '  columns not used: patient',
        '1 of 3 rows skipped, their image is missing',
        'known labels: 4, of 2 of 4 images',
    ]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('image,cat,dgo\na.jpg,0,1\n', "k.csv: the column 'dgo' is not a class of the model"),
        # the only column of a class, and one next to a label column that holds no names
        ('image,Cat\na.jpg,1\n', "'Cat' is not a class of the model .similar: 'cat'.: write its"),
        ('image,Red Fox\na.jpg,yes\n', "'Red Fox' is not a class of the model .similar: 'red fox'"),
        ('image,label,Dog\na.jpg,1,0\n', "'Dog' is not a class of the model .similar: 'dog'"),
        ('image,zebra\na.jpg,1\n', "'zebra' is not a class of the model: write its"),
        (
            'image,labels\na.jpg,cat\nb.jpg,dgo\n',
            "k.csv, line 3: 'dgo' is not a class of the model",
        ),
        ('image,labels\na.jpg,"{""cat"": 1, ""dgo"": 0}"\n', "'dgo' is not a class of the model"),
        ('image,cat\nq.jpg,1\n', 'k.csv: none of the 1 images .* the list of images to predict'),
        ('image,cat,dog\na.jpg,1,1\na.jpg,0,1\n', 'k.csv: photos/a.jpg is listed twice'),
        ('image,cat,dog\na.jpg,,\n', 'k.csv: no cell says what is known; a table of known labels'),
        ('image,cat,dog\na.jpg,1,-1\nb.jpg,0,1\n', "'-1', '0', '1', .* are certain.*; a table of"),
        ('image,cat,dog\na.jpg,1,often\n', "'often'"),
        ('', 'k.csv is empty'),
    ],
)
def test_what_could_be_taken_in_two_ways_or_for_nothing_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as error:
        read(text)
    assert 'k.csv' in str(error.value) and '\n' not in str(error.value)


def test_a_refusal_of_cells_of_any_length_is_short():
    with pytest.raises(
        ValueError, match="^k.csv: .*'xx.* … .*labels with what is present$"
    ) as error:
        read(f'image,cat\na.jpg,{"x" * 9000}\n')
    assert len(str(error.value)) < 1000
