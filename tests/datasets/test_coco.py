import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lgcn.checks import InputFileError
from lgcn.datasets import COCOKeypoints
from lgcn.protocols import EvaluationProtocol
from tests.datasets.fuzz import assert_sound_or_refused, damaged, thousand

BODY = [value for k in range(17) for value in (5 + k % 5, 4 + k // 5, 2)]
FILE = "annotations/person_keypoints_val2017.json"


def annotation(image_id: int = 7, **others: Any) -> dict[str, Any]:
    return {"image_id": image_id, "keypoints": list(BODY), "bbox": [2, 1, 20.5, 15], "iscrowd": 0, **others}


def content(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {"images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}], "annotations": [*annotations]}


def make_root(root: Path, value: object, file: str = FILE, folder: str = "val2017") -> Path:
    for path in (root / file, root / folder / "a.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
    for name in "ab":
        Image.new("RGB", (30, 20)).save(root / folder / f"{name}.jpg")
    (root / file).write_text(json.dumps(value))
    return root


def test_people_and_their_missing_and_covered_keypoints(tmp_path: Path) -> None:
    keypoints = list(BODY)
    keypoints[0:3] = [0, 0, 0]
    keypoints[5] = 1
    root = make_root(tmp_path, content(annotation(8, keypoints=keypoints), annotation()))
    dataset = COCOKeypoints(root, "val")
    assert dataset.image_ids == ["val2017/b.jpg", "val2017/a.jpg"]
    first = dataset[0]
    assert first.visibility.tolist() == [0.0] + 16 * [1.0]
    assert first.occlusion.tolist() == [0.0, 1.0] + 15 * [0.0]
    assert first.y[0].isnan().all() and first.y[1].tolist() == [6, 4]
    assert first.rect.tolist() == [[2, 1, 22.5, 16]]
    assert first.bbox.tolist() == [[5, 4, 9, 7]]
    assert dataset.scheme.name == "coco17" and dataset.normalizer_name == "box"
    assert dataset.completeness() == (2, None, None)
    own = EvaluationProtocol("own", "the dataset's own boxes", box="dataset")
    assert COCOKeypoints(root, "val", protocol=own)[0].bbox.tolist() == [[2, 1, 22.5, 16]]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    lone = 48 * [0] + [3, 4, 2]
    annotations = [
        annotation(),
        annotation(iscrowd=1),
        annotation(keypoints=51 * [0]),
        annotation(keypoints=lone),
        {"image_id": 7, "bbox": [0, 0, 1, 1]},
    ]
    dataset = COCOKeypoints(make_root(tmp_path, content(*annotations)))
    assert len(dataset) == 1
    assert dataset.skipped == {"crowds": 1, "without keypoints": 2, "fewer than two landmarks apart": 1}


def test_a_person_without_the_normalizer_can_be_trained_on(tmp_path: Path) -> None:
    keypoints = list(BODY)
    keypoints[3 * 5 : 3 * 7] = 6 * [0]
    root = make_root(tmp_path, content(annotation(keypoints=keypoints), annotation()))
    dataset = COCOKeypoints(root, normalizer="shoulders")
    assert dataset.normalizer.isnan().tolist() == [True, False]


def test_other_files_of_the_form(tmp_path: Path) -> None:
    faces = content({"image_id": 7, "keypoints": [v for k in range(29) for v in (k % 6, k // 6, 1)]})
    root = make_root(tmp_path, faces, "faces/mine.json", "images")
    dataset = COCOKeypoints(root, "faces/mine.json")
    assert dataset.scheme.name == "cofw29"
    assert dataset.image_ids == ["images/a.jpg"]
    assert dataset.rect is None
    with pytest.raises(InputFileError, match=r"Expected 98 landmarks in the 87 numbers .*got 29"):
        COCOKeypoints(root, "faces/mine.json", scheme="wflw98")


def test_a_missing_root(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"person_keypoints_train2017\.json.*annotations_trainval2017\.zip"):
        COCOKeypoints(tmp_path, "train")
    root = make_root(tmp_path, content(annotation()))
    (root / "val2017/a.jpg").unlink()
    assert COCOKeypoints(root).missing_images() == ["val2017/a.jpg"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "'images' and 'annotations' .*got int"),
        ({"images": []}, "'images' and 'annotations' .*got 'images'"),
        ({"images": [3], "annotations": []}, "'images' and 'annotations'"),
        ({"images": [{"id": 7}], "annotations": []}, "'id' and 'file_name' in image 0 .*got 7 and None"),
        ({"images": [{"id": 7, "file_name": ""}], "annotations": []}, "'id' and 'file_name' in image 0 .*got 7 and ''"),
        (content(), "annotations with keypoints .*got none"),
        (content(annotation(iscrowd=1)), r"got none; left out: \{'crowds': 1\}"),
        (content(annotation(keypoints="x")), "a list 'keypoints' in annotation 0 .*got str"),
        (content(annotation(), annotation(9)), "'image_id' of annotation 1 .*got 9"),
        (content(annotation(), annotation(9), annotation(9)), r"image_id' of annotation 1 .*Likewise: annotation 2\.$"),
        (content(annotation(), *2 * [annotation(keypoints=BODY[3:])]), r"annotation 1 .*Likewise: annotation 2\.$"),
        (content(annotation(), annotation(keypoints=BODY[:-1])), r"Expected 51 numbers .*annotation 1 .*got 50"),
        (content(annotation(keypoints=BODY[:-1])), "the 50 numbers 'keypoints' of annotation 0"),
        (content(annotation(keypoints=[*BODY[:-1], 0.4])), "every v .* 0, 1 or 2"),
        (content(annotation(keypoints=[*BODY[:-2], "x", 2])), "numbers in annotation 0 .*got 'x'"),
        (content(annotation(bbox=[1, 2, 3])), "'bbox' of annotation 0 .*got .1, 2, 3."),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(InputFileError, match=message) as caught:
        COCOKeypoints(make_root(tmp_path, value))
    assert "val2017.json" in str(caught.value)


def test_no_json(tmp_path: Path) -> None:
    root = make_root(tmp_path, 0)
    for text in ("", "{", "[" * 100_000, "1" * 5000, '{"images": NaNa}'):
        (root / FILE).write_text(text)
        with pytest.raises(InputFileError, match=r"Expected .*val2017\.json"):
            COCOKeypoints(root)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4))
odd = st.one_of(
    scalars, st.lists(scalars, max_size=4), st.just({}), st.just(10**400), st.sampled_from(["\ud800", "\0"])
)
paths = st.sampled_from(
    [
        ("images",),
        ("annotations",),
        ("images", 0),
        ("images", 0, "id"),
        ("images", 0, "file_name"),
        ("annotations", 0),
        *(("annotations", 0, key) for key in ("image_id", "keypoints", "bbox", "iscrowd")),
        *(("annotations", 0, "keypoints", index) for index in (0, 1, 2, 15, 50)),
        *(("annotations", 0, "bbox", index) for index in range(4)),
    ]
)


def put(value: Any, path: tuple[Any, ...], thing: object) -> None:
    """Replaces what lies at ``path``, if an earlier change has left the path there."""
    with suppress(TypeError, LookupError):
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = deepcopy(thing)


def changed(changes: list[tuple[tuple[Any, ...], object]]) -> bytes:
    value = content(annotation(), annotation(8))
    for path, thing in changes:
        put(value, path, thing)
    return json.dumps(value).encode()


@pytest.fixture(scope="module")
def fuzz_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("coco"), content())


@thousand
@given(
    text=st.one_of(
        st.lists(st.tuples(paths, odd), min_size=1, max_size=3).map(changed),
        damaged(json.dumps(content(annotation())).encode()),
    )
)
def test_any_file_gives_people_or_an_input_error(fuzz_root: Path, text: bytes) -> None:
    (fuzz_root / FILE).write_bytes(text)
    assert_sound_or_refused(lambda: COCOKeypoints(fuzz_root, "val"))
