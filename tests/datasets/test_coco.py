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
from lgcn.schemes import SCHEMES
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


def test_invalid_json_is_refused(tmp_path: Path) -> None:
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
        *(("annotations", 0, key) for key in ("image_id", "category_id", "keypoints", "bbox", "iscrowd")),
        *(("categories",), ("categories", 0), ("categories", 0, "id"), ("categories", 0, "keypoints")),
        ("categories", 0, "keypoints", 3),
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
    value = named(*COCO_NAMES)
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


def face(keypoints: list[Any], **others: Any) -> dict[str, Any]:
    return {"image_id": 7, "keypoints": keypoints, **others}


@pytest.mark.parametrize(
    "keypoints",
    [
        BODY,
        [BODY[3 * k : 3 * k + 3] for k in range(17)],
        [BODY[3 * k : 3 * k + 2] for k in range(17)],
        [value for k in range(17) for value in BODY[3 * k : 3 * k + 2]],
        [value for k in range(17) for value in (*BODY[3 * k : 3 * k + 2], None)],
    ],
    ids=["flat", "nested", "nested without v", "flat without v", "v is null"],
)
def test_forms_of_keypoints(tmp_path: Path, keypoints: list[Any]) -> None:
    dataset = COCOKeypoints(make_root(tmp_path, content(face(keypoints))))
    assert dataset.scheme.name == "coco17"
    assert dataset.pos[0].tolist() == [BODY[3 * k : 3 * k + 2] for k in range(17)]
    assert dataset.visibility.all()


def test_null_is_a_missing_keypoint(tmp_path: Path) -> None:
    pairs: list[Any] = [BODY[3 * k : 3 * k + 2] for k in range(17)]
    pairs[4] = [None, None]
    dataset = COCOKeypoints(make_root(tmp_path, content(face(pairs))))
    assert dataset.visibility[0].tolist() == [1.0] * 4 + [0.0] + [1.0] * 12


def test_visibility_0_everywhere_is_an_error(tmp_path: Path) -> None:
    hidden = [0 if k % 3 == 2 else value for k, value in enumerate(BODY)]
    with pytest.raises(InputFileError, match=r"v = 1 or 2 in annotation 0 .*Write v = 2"):
        COCOKeypoints(make_root(tmp_path, content(face(hidden))))


@pytest.mark.parametrize(("key", "image_id"), [(7, 7.0), (7.0, 7), ("7", 7), (7, "7"), ("seven", "seven")])
def test_ids_of_other_types(tmp_path: Path, key: object, image_id: object) -> None:
    value = {"images": [{"id": key, "file_name": "a.jpg"}], "annotations": [annotation(image_id)]}
    assert COCOKeypoints(make_root(tmp_path, value)).image_ids == ["val2017/a.jpg"]


@pytest.mark.parametrize(
    ("iscrowd", "count"), [("0", 2), ("false", 2), ("", 2), (None, 2), ("1", 1), ("True", 1), (1.0, 1)]
)
def test_iscrowd_as_text(tmp_path: Path, iscrowd: object, count: int) -> None:
    dataset = COCOKeypoints(make_root(tmp_path, content(annotation(), annotation(8, iscrowd=iscrowd))))
    assert len(dataset) == count


@pytest.mark.parametrize("name", ["a.jpg", "/a.jpg", "./a.jpg"])
@pytest.mark.parametrize(
    ("file", "folder"),
    [("mine.json", "."), ("sub/mine.json", "sub"), ("annotations/mine.json", "mine"), ("sub/mine.json", "sub/images")],
)
def test_the_folder_of_the_images_is_found(tmp_path: Path, name: str, file: str, folder: str) -> None:
    value = {"images": [{"id": 7, "file_name": name}], "annotations": [annotation()]}
    dataset = COCOKeypoints(make_root(tmp_path, value, file, folder), file)
    assert dataset.image_ids == [(Path(folder) / "a.jpg").as_posix()]
    assert dataset[0].image.shape == (1, 3, 20, 30)


def test_backslashes_separate_folders(tmp_path: Path) -> None:
    value = {"images": [{"id": 7, "file_name": "sub\\a.jpg"}], "annotations": [annotation()]}
    assert COCOKeypoints(make_root(tmp_path, value, folder="val2017/sub")).image_ids == ["val2017/sub/a.jpg"]


def named(*names: str, **others: Any) -> dict[str, Any]:
    value = content(annotation(category_id=1), annotation(8, category_id=1))
    return {**value, "categories": [{"id": 1, "name": "thing", "keypoints": list(names)}], **others}


COCO_NAMES = SCHEMES["coco17"].names


def test_names_of_keypoints(tmp_path: Path) -> None:
    swapped = [COCO_NAMES[0], COCO_NAMES[2], COCO_NAMES[1], *COCO_NAMES[3:]]
    for names in (
        COCO_NAMES,
        [name.upper().replace("_", " ") for name in COCO_NAMES],
        [f"kp_{k}" for k in range(1, 18)],
    ):
        assert COCOKeypoints(make_root(tmp_path, named(*names))).scheme.name == "coco17"
    message = r"of scheme 'coco17' .*got 'right_eye' where it has 'left_eye', keypoint 1\)\. Reorder"
    for scheme in (None, "coco17"):
        with pytest.raises(InputFileError, match=message):
            COCOKeypoints(make_root(tmp_path, named(*swapped)), scheme=scheme)
    others = ["tip", *COCO_NAMES[1:]]
    with pytest.raises(InputFileError, match=r"got 'tip' where it has 'nose', keypoint 0\).*give scheme='coco17'"):
        COCOKeypoints(make_root(tmp_path, named(*others)))
    assert COCOKeypoints(make_root(tmp_path, named(*others)), scheme="coco17").scheme.name == "coco17"
    with pytest.raises(InputFileError, match=r"17 numbers|got 16|18 landmarks|names of keypoints"):
        COCOKeypoints(make_root(tmp_path, named(*COCO_NAMES[:16])))


def test_duplicate_ids_are_refused(tmp_path: Path) -> None:
    value = content(annotation())
    value["images"][1]["id"] = 7
    with pytest.raises(
        InputFileError, match=r"different 'id' for each image .*got 7 for 'a\.jpg' and for 'b\.jpg', image 1"
    ):
        COCOKeypoints(make_root(tmp_path, value))
    value["images"][1]["file_name"] = "a.jpg"
    assert len(COCOKeypoints(make_root(tmp_path, value))) == 1
    root = make_root(tmp_path, value)
    (root / FILE).write_text('{"images": [{"id": 7, "id": 8, "file_name": "a.jpg"}], "annotations": []}')
    with pytest.raises(InputFileError, match="the key 'id' twice"):
        COCOKeypoints(root)


def test_values_in_messages_are_plain_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"0, 1 or 2 \(got 0\.4, 2\)"):
        COCOKeypoints(make_root(tmp_path, content(annotation(keypoints=[*BODY[:-1], 0.4]))))


def test_keypoints_that_are_objects_are_named(tmp_path: Path) -> None:
    root = make_root(tmp_path, content(annotation(keypoints=17 * [{"x": 1, "y": 2, "v": 2}])))
    with pytest.raises(InputFileError, match="numbers x, y, v in 'keypoints' of annotation 0 .*got a dict"):
        COCOKeypoints(root)
