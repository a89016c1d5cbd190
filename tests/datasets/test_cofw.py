import builtins
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.loader import DataLoader

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import COFW, cofw
from lgcn.transforms import CropToInput
from tests.datasets.fuzz import assert_sound_or_refused, damaged, thousand

h5py = pytest.importorskip("h5py")

Y, X = np.meshgrid(np.arange(20), np.arange(30), indexing="ij")
COLOUR = np.stack([X, Y, X + Y], axis=-1).astype(np.uint8)  # [H, W, 3], as MATLAB has it


def annotations(num_faces: int) -> np.ndarray:
    """phis [N, 87] as MATLAB has them: x of all landmarks, y of all, flags of all."""
    rows = np.zeros((num_faces, 87))
    for n in range(num_faces):
        rows[n, :29] = 5.5 + n + np.arange(29) % 6
        rows[n, 29:58] = 3 + np.arange(29) // 6
        rows[n, 58 + n] = 1
    return rows


def write(
    path: Path | io.BytesIO,
    rows: np.ndarray,
    images: list[np.ndarray],
    ending: str = "T",
    instead: Mapping[str, np.ndarray] = MappingProxyType({}),
    **others: np.ndarray,
) -> None:
    """A file as MATLAB 7.3 writes one: every array with its axes reversed, cells as references."""
    with h5py.File(path, "w") as file:
        arrays = {f"phis{ending}": rows, **others}
        arrays |= {f"#refs#/{index}": image for index, image in enumerate(images)}
        for key, value in arrays.items():
            file[key] = instead.get(key, value.T)
        if f"Is{ending}" in instead:
            file[f"Is{ending}"] = instead[f"Is{ending}"]
            return
        cells = file.create_dataset(f"Is{ending}", (1, len(images)), dtype=h5py.ref_dtype)
        references = [file[f"#refs#/{index}"].ref for index in range(len(images))]
        cells[0, :] = np.array(references, dtype=h5py.ref_dtype)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    boxes = np.array([[4.0, 2.0, 10.0, 8.0], [5.0, 2.0, 11.0, 9.0]])
    write(tmp_path / "COFW_test_color.mat", annotations(2), [COLOUR, COLOUR[..., 1]], bboxesT=boxes)
    return tmp_path


def test_faces_with_their_images_and_covered_landmarks(root: Path) -> None:
    dataset = COFW(root, "test")
    assert dataset.image_ids == ["COFW_test_color.mat#0", "COFW_test_color.mat#1"]
    colour, grey = dataset[0], dataset[1]
    assert (colour.image[0].permute(1, 2, 0).numpy() == COLOUR).all()
    assert (grey.image[0].permute(1, 2, 0).numpy() == COLOUR[..., 1:2]).all()
    assert colour.y[:2].tolist() == [[4.5, 2], [5.5, 2]]
    assert COFW(root, "test", protocol="hrnet")[0].y[0].tolist() == [5.5, 3]
    assert colour.visibility.all()
    assert colour.occlusion.nonzero().tolist() == [[0]] and grey.occlusion.nonzero().tolist() == [[1]]
    assert colour.rect.tolist() == [[3, 1, 13, 9]]
    assert dataset.missing_images() == []
    assert dataset.completeness() == (2, 507, "split 'test': 2 of 507 faces")
    assert COFW.splits == {"train": 1345, "test": 507}


def test_train_and_loader_processes(tmp_path: Path) -> None:
    write(tmp_path / "COFW_train_color.mat", annotations(3), 3 * [COLOUR], "Tr")
    dataset = COFW(tmp_path, transform=CropToInput((8, 8)))
    assert dataset.rect is None
    batches = list(DataLoader(dataset, batch_size=2, num_workers=1))
    assert [batch.occlusion.shape for batch in batches] == [(58,), (29,)]
    assert pickle.loads(pickle.dumps(dataset))[2].image_id == "COFW_train_color.mat#2"


def test_a_face_that_is_left_out_takes_its_image_along(tmp_path: Path) -> None:
    rows = annotations(2)
    rows[0, :58] = np.nan
    write(tmp_path / "COFW_test_color.mat", rows, [COLOUR, COLOUR[..., 1]])
    dataset = COFW(tmp_path, "test")
    assert dataset.image_ids == ["COFW_test_color.mat#1"]
    assert (dataset[0].image[0, 0].numpy() == COLOUR[..., 1]).all()
    assert dataset.occlusion is not None and dataset.occlusion[0, 1] == 1


def test_without_h5py_the_remedy_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *args: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return builtins.__import__(name, *args)

    monkeypatch.setattr(cofw, "import_module", absent)
    with pytest.raises(InputError, match=r"pip install 'lgcn\[datasets\]'"):
        COFW(root, "test")


def test_a_missing_or_damaged_file_is_named(root: Path) -> None:
    with pytest.raises(InputFileError, match=r"COFW_train_color\.mat' \(there is none\).*COFW_color\.zip"):
        COFW(root, "train")
    with pytest.raises(InputError, match="train, test"):
        COFW(root, "val")
    path = root / "COFW_test_color.mat"
    content = path.read_bytes()
    for broken in (b"", b"MATLAB 5.0 MAT-file", content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(InputFileError, match=r"COFW_test_color\.mat' to have the layout of"):
            COFW(root, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.__delitem__("phisT"), "no 'phisT'"),
        (lambda file: file.move("IsT", "Is"), "no 'IsT'"),
        (lambda file: replace(file, "phisT", np.zeros((2, 87))), r"'phisT' \(2, 87\), not numbers \[87, N\]"),
        (lambda file: replace(file, "phisT", np.zeros((87, 3))), r"3 rows of points and images \(1, 2\)"),
        (lambda file: file["phisT"].__setitem__((60, 1), 3), "flags 0 or 1 .* face 1 of"),
        (lambda file: file["phisT"].__setitem__((6, 1), np.inf), r"within 1e\+06 pixels in face 1 of .*landmark 6"),
    ],
)
def test_a_file_of_another_layout(root: Path, change: Callable[[Any], None], message: str) -> None:
    with h5py.File(root / "COFW_test_color.mat", "r+") as file:
        change(file)
    with pytest.raises(InputFileError, match=message):
        COFW(root, "test")


@pytest.mark.parametrize("image", [np.zeros((0, 4), np.uint8), np.zeros((4, 5, 2), np.uint8), np.zeros((4, 5)), None])
def test_a_damaged_image_is_named_on_access(root: Path, image: np.ndarray | None) -> None:
    with h5py.File(root / "COFW_test_color.mat", "r+") as file:
        del file["#refs#/1"]
        file["other"] = np.zeros(3) if image is None else image.T
        file["IsT"][0, 1] = file["other"].ref
    dataset = COFW(root, "test")
    assert dataset[0].image.shape == (1, 3, 20, 30)
    with pytest.raises(InputFileError, match=r"COFW_test_color\.mat', image 1 to have the layout"):
        dataset[1]


def replace(file: Any, key: str, value: object) -> None:
    del file[key]
    file[key] = value


values = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0, -1.0, np.nan, np.inf, 1e7, 1e300, 7.5]),
    st.floats(),
)
odd_arrays = st.one_of(
    st.sampled_from(
        [np.zeros(()), np.zeros(3), np.zeros((87, 0)), np.zeros((87, 1)), np.zeros((4, 1)), np.zeros((1, 1))]
    ),
    st.sampled_from(
        [np.zeros((87, 1), "i8"), np.zeros((87, 1), "S3"), np.zeros((87, 1), bool), np.zeros((3, 4, 5), "u1")]
    ),
    st.sampled_from([np.zeros((5, 4), "u1"), np.zeros((1, 0), "u1"), np.zeros((2, 2), "c8")]),
)


@thousand
@given(
    points=st.lists(st.tuples(st.integers(0, 86), values), max_size=4),
    boxes=st.lists(values, min_size=4, max_size=4),
    instead=st.one_of(
        st.just({}),
        st.dictionaries(st.sampled_from(["phisT", "IsT", "bboxesT", "#refs#/0"]), odd_arrays, min_size=1, max_size=2),
    ),
    length=st.one_of(st.none(), st.none(), st.floats(0, 1)),
)
def test_any_file_gives_a_face_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory,
    points: list[tuple[int, float]],
    boxes: list[float],
    instead: dict[str, np.ndarray],
    length: float | None,
) -> None:
    rows = annotations(1)
    for column, value in points:
        rows[0, column] = value
    path = tmp_path_factory.getbasetemp() / "COFW_test_color.mat"
    write(path, rows, [COLOUR[:3, :2]], instead=instead, bboxesT=np.array([boxes]))
    if length is not None:
        content = path.read_bytes()
        path.write_bytes(content[: int(length * len(content))])
    assert_face_or_refused(path)


def whole_file() -> bytes:
    """A file of one small face."""
    write(content := io.BytesIO(), annotations(1), [COLOUR[:3, :2]], bboxesT=np.array([[4.0, 2.0, 10.0, 8.0]]))
    return content.getvalue()


@settings(thousand, max_examples=400)
@given(content=damaged(whole_file()))
def test_any_bytes_give_a_face_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes" / "COFW_test_color.mat"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert_face_or_refused(path)


def assert_face_or_refused(path: Path) -> None:
    dataset = assert_sound_or_refused(lambda: COFW(path.parent, "test"))
    if dataset is not None and len(dataset):
        try:
            image = dataset.read_image(0)
        except InputFileError:
            return
        assert image.shape[0] == 3 and image.numel() > 0
