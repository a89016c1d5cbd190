from pathlib import Path

import pytest
import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import LandmarkDataset
from lgcn.protocols import EvaluationProtocol
from lgcn.schemes import LandmarkScheme
from lgcn.transforms import CropToInput

SCHEME = LandmarkScheme("three", ("a", "b", "c"), normalizers={"ab": ((0,), (1,))}, default_normalizer="ab")
POS = torch.tensor([[[1.2, 2.7], [4.2, 6.7], [9.5, 3.0]], [[0.0, 0.0], [6.0, 8.0], [3.0, 20.5]]])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(2):
        Image.new("RGB", (30, 20 + i), (i, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_items_have_the_documented_keys(root: Path) -> None:
    dataset = LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME)
    data = dataset[1]
    assert data.image.dtype == torch.uint8
    assert data.image.shape == (1, 3, 21, 30)
    assert data.image[0, 0, 0, 0] == 1
    assert torch.equal(data.y, POS[1])
    assert data.visibility.tolist() == [1, 1, 1]
    assert data.landmark_id.tolist() == [0, 1, 2]
    assert data.bbox.tolist() == [[0, 0, 6, 21]]
    assert data.normalizer.tolist() == [10.0]
    assert data.image_id == "1.png"
    assert data.num_nodes == 3
    assert dataset[0].bbox.tolist() == [[1, 2, 10, 7]]
    assert dataset.completeness() == (2, None, None)


def test_items_do_not_share_memory_with_the_annotations(root: Path) -> None:
    dataset = LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME)
    data = dataset[0]
    for key in ("y", "visibility", "bbox", "normalizer"):
        data[key].zero_()
    assert torch.equal(dataset[0].y, POS[0])
    assert dataset[0].bbox.any()
    assert dataset[0].normalizer.all()
    assert dataset[0].visibility.all()


def test_an_image_may_come_several_times(root: Path) -> None:
    dataset = LandmarkDataset(root, ["0.png", "0.png"], POS, SCHEME)
    assert dataset[0].image_id == dataset[1].image_id
    assert not torch.equal(dataset[0].y, dataset[1].y)


def test_missing_landmarks_are_ignored(root: Path) -> None:
    pos = POS.clone()
    pos[0, 2] = torch.nan
    visibility = torch.tensor([[1, 1, 0], [1, 1, 1]])
    data = LandmarkDataset(root, ["0.png", "1.png"], pos, SCHEME, visibility=visibility)[0]
    assert data.bbox.tolist() == [[1, 2, 5, 7]]
    assert data.visibility.tolist() == [1, 1, 0]
    assert data.normalizer.item() == pytest.approx(5.0)
    assert LandmarkDataset(root, ["0.png", "1.png"], pos, SCHEME).visibility.tolist() == visibility.tolist()


def test_normalizer_by_name(root: Path) -> None:
    dataset = LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME, normalizer="box")
    assert dataset.normalizer_name == "box"
    assert dataset[1].normalizer.item() == pytest.approx((6 * 20.5) ** 0.5)
    with pytest.raises(InputError, match="ab, box"):
        LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME, normalizer="inter_ocular")


def test_batches_stack_graph_tensors_and_join_nodes(root: Path) -> None:
    dataset = LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME, transform=CropToInput((16, 12)))
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    assert batch.image.shape == (2, 3, 16, 12)
    assert batch.y.shape == (6, 2)
    assert batch.visibility.shape == (6,)
    assert batch.landmark_id.tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.affine.shape == (2, 2, 3)
    assert batch.bbox.shape == (2, 4)
    assert batch.normalizer.shape == (2,)
    assert batch.image_id == ["0.png", "1.png"]
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_face_without_normalizer_stays_and_one_without_extent_is_left_out(root: Path) -> None:
    pos = POS.clone()
    pos[1, 1] = pos[1, 0]
    dataset = LandmarkDataset(root, ["0.png", "1.png"], pos, SCHEME)
    assert len(dataset) == 2
    assert dataset.normalizer[0] == 5 and dataset.normalizer[1].isnan()
    assert dataset[1].normalizer.isnan().tolist() == [True]
    assert dataset.completeness().message == "split 'all': 2 faces (without the normaliser 'ab': 1, such as in '1.png')"
    pos[1, 2] = pos[1, 0]
    dataset = LandmarkDataset(root, ["0.png", "1.png"], pos, SCHEME)
    assert dataset.image_ids == ["0.png"]
    assert dataset.kept.tolist() == [0]
    assert dataset.skipped == {"fewer than two landmarks apart": 1}
    assert dataset.completeness().message == (
        "split 'all': 1 faces (left out with fewer than two landmarks apart: 1, such as in '1.png')"
    )
    one_visible = torch.tensor([[1, 0, 0], [1, 1, 1]])
    assert LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME, visibility=one_visible).image_ids == ["1.png"]
    with pytest.raises(InputError, match="N=1"):
        LandmarkDataset(root, ["0.png"], POS, SCHEME)


def test_rectangles_and_occlusion_of_the_annotation(root: Path) -> None:
    boxes = torch.tensor([[0.0, 1.0, 20.0, 30.0], [5.0, 5.0, 5.0, 9.0]])
    dataset = LandmarkDataset(
        root,
        ["0.png", "1.png"],
        POS,
        SCHEME,
        rect=boxes,
        occlusion=torch.tensor([[0, 1, 0], [0, 0, 0]]),
        subsets={"covered": torch.tensor([True, False])},
        distances={"head": torch.tensor([7.0, 0.0])},
        normalizer="head",
    )
    first, second = dataset[0], dataset[1]
    assert first.bbox.tolist() == [[1, 2, 10, 7]] and not dataset.crops_by_rect
    assert first.rect.tolist() == [[0, 1, 20, 30]]
    assert first.occlusion.tolist() == [0, 1, 0]
    assert dataset.normalizer_name == "head"
    assert first.normalizer.tolist() == [7.0] and second.normalizer.isnan()
    assert dataset.subsets["covered"].tolist() == [True, False]
    assert dataset[1:].subsets["covered"].tolist() == [False]
    with pytest.raises(InputError, match="ab, box, head"):
        LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME, distances={"head": boxes[:, 0]}, normalizer="x")


def test_a_protocol_may_crop_by_the_boxes_of_the_annotation(root: Path) -> None:
    boxes = torch.tensor([[0.5, 1.0, 20.0, 30.0], [5.0, 5.0, 5.0, 9.0]])
    protocol = EvaluationProtocol("own", "the dataset's own boxes", box="dataset")
    dataset = LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME, rect=boxes, protocol=protocol)
    assert dataset.crops_by_rect
    assert dataset[0].bbox.tolist() == [[0.5, 1, 20, 30]]
    assert dataset[1].bbox.tolist() == [[0, 0, 6, 21]]  # its own has no extent
    assert not LandmarkDataset(root, ["0.png", "1.png"], POS, SCHEME, protocol=protocol).crops_by_rect


def test_a_dataset_may_read_its_images_from_elsewhere(root: Path) -> None:
    class Grey(LandmarkDataset):
        def read_image(self, idx: int) -> torch.Tensor:
            return torch.full((3, 4, 5), idx, dtype=torch.uint8)

    assert Grey(root, ["0.png", "1.png"], POS, SCHEME)[1].image.unique().tolist() == [1]


def test_missing_images_are_found_without_reading(root: Path) -> None:
    dataset = LandmarkDataset(root, ["0.png", "gone/2.png"], POS, SCHEME)
    assert dataset.missing_images() == ["gone/2.png"]
    assert dataset.completeness().message == "split 'all': 2 faces (missing images: 1, such as 'gone/2.png')"
    with pytest.raises(InputFileError, match=r"gone/2\.png"):
        dataset[1]


def test_the_normalizer_of_a_scheme_follows_the_protocol(tmp_path: Path) -> None:
    pos = torch.rand(2, 29, 2)
    names = {
        protocol: LandmarkDataset(tmp_path, ["a", "b"], pos, "cofw29", protocol=protocol).normalizer_name
        for protocol in ("hrnet", "adnet", "slpt")
    }
    assert names == {"hrnet": "inter_ocular", "adnet": "inter_pupil", "slpt": "inter_pupil"}
    given = LandmarkDataset(tmp_path, ["a", "b"], pos, "cofw29", protocol="adnet", normalizer="inter_ocular")
    assert given.normalizer_name == "inter_ocular"
