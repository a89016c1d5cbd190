"""Landmark graphs on disk: computed once, the same after a reload, refused if they are of something else."""

import copy
from pathlib import Path

import pytest
import torch
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import AddSelfLoops

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import LandmarkGraphs, PtsFolder
from lgcn.models import LandmarkDetector, create_detector
from lgcn.transforms import CropToInput
from tests.datasets.synthetic import pts_tree

FACES, K = 5, 68


@pytest.fixture
def faces(tmp_path: Path) -> PtsFolder:
    pts_tree(tmp_path / "faces", "a", FACES)
    return PtsFolder(tmp_path / "faces")


@pytest.fixture
def detector() -> LandmarkDetector:
    backbone = {"backbone": "test_efficientnet", "backbone_options": {"width": 8}}
    return create_detector("default", input_size=(32, 32), refiner={"hidden_channels": [8]}, **backbone)


def test_graphs_are_those_of_the_detector(faces: PtsFolder, detector: LandmarkDetector, tmp_path: Path) -> None:
    detector.backbone.eval()
    graphs = LandmarkGraphs(tmp_path / "graphs", faces, detector, batch_size=2)
    assert detector.training and not detector.backbone.training and faces.transform is None
    assert len(graphs) == FACES
    faces.transform = CropToInput(detector.input_size, **faces.protocol.crop_options)
    face = faces[3]
    expected = detector.eval().landmark_graphs(face.image, face.y[None])[0]
    assert graphs[3].image_id == face.image_id
    for key, value in expected:
        torch.testing.assert_close(graphs[3][key], value, atol=1e-4, rtol=1e-4)
    for key in ("visibility", "affine", "normalizer", "bbox"):
        assert torch.equal(graphs[3][key], face[key])


def test_they_are_loaded_from_the_disk_alone(faces: PtsFolder, detector: LandmarkDetector, tmp_path: Path) -> None:
    made = LandmarkGraphs(tmp_path / "graphs", faces, detector)
    loaded = LandmarkGraphs(tmp_path / "graphs")
    batch = next(iter(DataLoader(loaded, batch_size=3)))
    assert batch.edge_index.max() == 3 * K - 1 and batch.landmark_id.max() == K - 1
    assert batch.normalizer.shape == (3,) and batch.affine.shape == (3, 2, 3) and len(batch.image_id) == 3
    assert torch.equal(batch[2].x, made[2].x) and torch.equal(batch[2].edge_index, made[0].edge_index)
    # The edges, the same for all, are not stored with each graph.
    assert (tmp_path / "graphs/processed/graphs.pt").stat().st_size < FACES * made[0].edge_index.nbytes


def test_graphs_of_others_are_refused(faces: PtsFolder, detector: LandmarkDetector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no graphs in '.*graphs', and no dataset"):
        LandmarkGraphs(tmp_path / "graphs")
    with pytest.raises(InputError, match=r"'detector' to be a LandmarkDetector \(got 'lgcn-68'\)"):
        LandmarkGraphs(tmp_path / "graphs", faces, "lgcn-68")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'dataset' to be a LandmarkDataset"):
        LandmarkGraphs(tmp_path / "graphs", str(tmp_path), detector)  # type: ignore[arg-type]
    LandmarkGraphs(tmp_path / "graphs", faces, detector)
    with torch.no_grad():
        next(detector.parameters()).add_(1.0)
    with pytest.raises(InputFileError, match=r"those of this dataset and detector .*source.json.*force_reload=True"):
        LandmarkGraphs(tmp_path / "graphs", faces, detector)
    assert len(LandmarkGraphs(tmp_path / "graphs", faces[:2], detector, force_reload=True)) == 2
    (tmp_path / "graphs/processed/graphs.pt").write_bytes(b"not a graph")
    with pytest.raises(InputFileError, match="they cannot be read"):
        LandmarkGraphs(tmp_path / "graphs")


def test_graphs_that_only_look_the_same_are_refused(
    faces: PtsFolder, detector: LandmarkDetector, tmp_path: Path
) -> None:
    LandmarkGraphs(tmp_path / "graphs", faces, detector)
    decoded = LandmarkDetector(detector.config.with_options(codec={"decode": "argmax"}))
    decoded.load_state_dict(detector.state_dict())
    mirrored = LandmarkDetector(detector.config.with_options(flip_test=True))
    mirrored.load_state_dict(detector.state_dict())
    permuted = copy.deepcopy(detector)
    with torch.no_grad():
        weight = permuted.refiner.lgcn.convs[0].lin_self.weight
        weight.copy_(weight.flip(0))
    moved = copy.copy(faces)
    moved.bbox = faces.bbox + 1
    others = [(faces, decoded), (faces, mirrored), (faces, permuted), (moved, detector)]
    for changed, network in [*others, (faces.index_select([1, 0, 2, 3, 4]), detector)]:
        with pytest.raises(InputFileError, match="those of this dataset and detector"):
            LandmarkGraphs(tmp_path / "graphs", changed, network)
    detector.save_pretrained(tmp_path / "model")
    loaded = LandmarkDetector.from_pretrained(tmp_path / "model")
    assert len(LandmarkGraphs(tmp_path / "graphs", copy.copy(faces), loaded)) == FACES


def test_a_pre_transform_may_change_the_edges(faces: PtsFolder, detector: LandmarkDetector, tmp_path: Path) -> None:
    graphs = LandmarkGraphs(tmp_path / "graphs", faces, detector, pre_transform=AddSelfLoops())
    assert graphs[0].num_edges == len(graphs[0].edge_weight) == K * K
