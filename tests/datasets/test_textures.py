import pytest
import torch

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import FaceTextures, LandmarkDataset


class Drawn(LandmarkDataset):
    """Twelve faces, each of its own grey level; those of ``broken`` cannot be read."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        pos = 20 + 20 * torch.rand(12, 68, 2, generator=torch.Generator().manual_seed(0))
        super().__init__("nowhere", [f"{face}.png" for face in range(12)], pos, "ibug68")
        self.broken = broken

    def read_image(self, idx: int) -> torch.Tensor:
        if idx in self.broken:
            raise InputFileError(f"Expected an image (got face {idx}).")
        return torch.full((3, 80, 80), idx + 1, dtype=torch.uint8)


def levels(textures: FaceTextures) -> list[int]:
    return [int(texture.max()) - 1 for texture in textures]


def test_textures_are_faces_of_the_selection_chosen_by_the_dataset_alone() -> None:
    faces = Drawn()
    textures = FaceTextures(faces.index_select([2, 3, 5, 7]), (16, 24), count=3)
    assert len(textures) == 3 and textures[0].shape == (3, 16, 24)
    first = levels(textures)
    assert len(set(first)) == 3 and set(first) <= {2, 3, 5, 7}
    assert levels(textures) == first == levels(FaceTextures(Drawn().index_select([2, 3, 5, 7]), (16, 24), count=3))
    assert len(FaceTextures(Drawn(), (8, 8))) == 12
    assert len(textures[1:]) == 2


def test_a_face_that_cannot_be_read_is_replaced() -> None:
    every = FaceTextures(Drawn(), (8, 8))
    broken = every.faces[4]
    assert levels(FaceTextures(Drawn((broken,)), (8, 8)))[3:6] == [every.faces[3], every.faces[5], every.faces[5]]
    with pytest.raises(InputFileError, match=f"got face {every.faces[0]}"):
        FaceTextures(Drawn(tuple(range(12))), (8, 8))[0]


def test_no_faces() -> None:
    with pytest.raises(InputError, match="'dataset' with faces"):
        FaceTextures(Drawn().index_select([]), (8, 8))
