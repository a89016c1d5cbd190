"""Parser of COCO's JSON format: images, annotations and categories, with ids and nesting made uniform."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgcn.checks import InputFileError
from lgcn.datasets.parsing import read_text

Id = int | str
"""Identifier of an image or a category; numbers that are written as floats or text become integers."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One entry of ``annotations``."""

    index: int
    """Place in the list, from 0."""
    image_id: Id | None
    category_id: Id | None
    keypoints: list[Any]
    """Flat: x, y, v or x, y for each landmark; empty if there are none."""
    bbox: object
    iscrowd: object


@dataclass(frozen=True)
class CocoContent:
    """The parts of a COCO file that are read.

    Args:
        images: id -> file name.
        annotations: in the order of the file.
        categories: id -> names of the keypoints, empty if the category names none.
    """

    images: dict[Id, str]
    annotations: list[Annotation]
    categories: dict[Id, list[str]]


def parse_coco(path: Path, layout: str) -> CocoContent:
    """Read a JSON file in COCO's format.

    Args:
        path: the file.
        layout: which files go where, for messages.

    Raises:
        InputFileError: if the file is missing, is no JSON, repeats a key within an object, is not in COCO's format, or
            gives the id of an image twice.
    """
    text = read_text(path, "a JSON file in COCO's format", layout)
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputFileError(f"Expected JSON in '{path}' ({reason}). Restore the file from its archive.") from None
    if not isinstance(content, dict) or not all(
        _is_list_of_objects(content.get(key)) for key in ("images", "annotations")
    ):
        raise InputFileError(
            f"Expected an object with the lists of objects 'images' and 'annotations' in '{path}' (got "
            f"{', '.join(map(ascii, content))[:60] if isinstance(content, dict) else type(content).__name__}). {layout}"
        )
    categories = content.get("categories") or []
    return CocoContent(
        _images(content["images"], path),
        [_annotation(index, each, path) for index, each in enumerate(content["annotations"])],
        _categories(categories if _is_list_of_objects(categories) else [], path),
    )


def is_crowd(value: object, where: str) -> bool:
    """The meaning of ``iscrowd``, which some tools write as text.

    Raises:
        InputFileError: if it is neither yes nor no.
    """
    text = str(value).strip().lower()
    if text in ("none", "", "0", "0.0", "false", "no"):
        return False
    if text in ("1", "1.0", "true", "yes"):
        return True
    raise InputFileError(f"Expected 'iscrowd' of {where} to be 0 or 1 (got {ascii(value)[:40]}). Correct it.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the file; Python's parser keeps the last value of a key that is there twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {ascii(twice)[:40]} twice in one object")
    return content


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _images(images: list[dict[str, Any]], path: Path) -> dict[Id, str]:
    names: dict[Id, str] = {}
    for index, image in enumerate(images):
        key, name = _id(image.get("id")), image.get("file_name")
        if key is None or not isinstance(name, str) or not name:
            raise InputFileError(
                f"Expected 'id' and 'file_name' in image {index} of '{path}' "
                f"(got {ascii(image.get('id'))[:40]} and {ascii(name)[:40]}). Restore the file from its archive."
            )
        if names.setdefault(key, name) != name:
            raise InputFileError(
                f"Expected a different 'id' for each image in '{path}' (got {ascii(key)[:40]} for "
                f"{ascii(names[key])[:60]} and for {ascii(name)[:60]}, image {index}). Give each image an id of its "
                "own, also in 'image_id' of its annotations."
            )
    return names


def _annotation(index: int, annotation: dict[str, Any], path: Path) -> Annotation:
    keypoints = annotation.get("keypoints")
    if keypoints is not None and not isinstance(keypoints, list):
        raise InputFileError(
            f"Expected a list 'keypoints' in annotation {index} of '{path}' (got {type(keypoints).__name__})."
            " Restore the file from its archive."
        )
    keypoints = keypoints or []
    if keypoints and all(isinstance(each, list) for each in keypoints):
        sizes = {len(each) for each in keypoints}
        if len(sizes) != 1 or not sizes <= {2, 3}:
            raise InputFileError(
                f"Expected [x, y, v] for each of the keypoints in annotation {index} of '{path}' "
                f"(got lists of {', '.join(map(str, sorted(sizes)[:5]))} numbers). Restore the file from its archive."
            )
        keypoints = [value for each in keypoints for value in each]
    if any(isinstance(value, dict | list) for value in keypoints):
        raise InputFileError(
            f"Expected numbers x, y, v in 'keypoints' of annotation {index} of '{path}' (got a "
            f"{next(type(value).__name__ for value in keypoints if isinstance(value, dict | list))}). Write them in a "
            "flat list."
        )
    return Annotation(
        index,
        _id(annotation.get("image_id")),
        _id(annotation.get("category_id")),
        [float("nan") if value is None else value for value in keypoints],
        annotation.get("bbox"),
        annotation.get("iscrowd"),
    )


def _categories(categories: list[dict[str, Any]], path: Path) -> dict[Id, list[str]]:
    names: dict[Id, list[str]] = {}
    for index, category in enumerate(categories):
        key, keypoints = _id(category.get("id")), category.get("keypoints") or []
        if key is None or not isinstance(keypoints, list):
            continue
        keypoints = [str(each) for each in keypoints]
        if names.setdefault(key, keypoints) != keypoints:
            raise InputFileError(
                f"Expected a different 'id' for each category in '{path}' (got {ascii(key)[:40]} again in category "
                f"{index}, with other keypoints). Give each category a different id."
            )
    return names


def _id(value: object) -> Id | None:
    """An identifier in its uniform form, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        return (
            int(value)
            if value.isascii() and value.isdigit() and len(value) < 20 and str(int(value)) == value
            else value
        )
    return int(value) if isinstance(value, int) or value.is_integer() else None
