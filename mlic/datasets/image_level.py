"""Labels of whole images in COCO's form: what LVIS, Open Images and TAO say besides annotations."""

from mlic.names import short

PRESENT, ABSENT, PARTLY = IMAGE_LEVEL = (
    'pos_category_ids', 'neg_category_ids', 'not_exhaustive_category_ids',
)  # fmt: skip


def check_image_level(images: list[dict], known: set, source: str) -> set:
    """The ids of the categories that images say they have; ValueError unless all are known."""
    for image in images:
        for key in IMAGE_LEVEL:
            ids = image.get(key, [])
            if not isinstance(ids, list) or any(
                isinstance(x, (bool, dict, list)) or x not in known for x in ids
            ):
                raise ValueError(
                    f'{source}: the image {short(image["file_name"])} has the {key} {short(ids)}, '
                    'expected ids of categories that the file lists'
                )
    return {x for image in images for x in image.get(PRESENT, ())}


def known_absent(image: dict, labels: set[int], class_of: dict, source: str) -> list[int] | None:
    """The classes that an image does not have for certain; None: all but its labels.

    Args:
        image (dict): As checked by :func:`check_image_level`.
        labels (set[int]): Its classes, by annotations and ``pos_category_ids``.
        class_of (dict): {category id: class}; other categories are not classes.
        source (str): The file, for the messages.

    Raises:
        ValueError: If it has one of them.
    """
    if not any(key in image for key in (PRESENT, ABSENT)) and not image.get(PARTLY):
        return None
    classes = {
        key: {class_of[x] for x in image.get(key, ()) if x in class_of} for key in IMAGE_LEVEL
    }
    if ABSENT in image or PRESENT in image:
        absent = classes[ABSENT]
    else:
        absent = {*class_of.values()} - labels - classes[PARTLY]
    both = absent & (labels | classes[PARTLY])
    if both:
        category = next(category for category, index in class_of.items() if index in both)
        raise ValueError(
            f'{source}: the image {short(image["file_name"])} has the category {short(category)}, '
            f'which is among its {ABSENT} {short(image[ABSENT])}'
        )
    return sorted(absent)
