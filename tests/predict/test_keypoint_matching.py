import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.predict.keypoint_matching import match_keypoints


@pytest.fixture
def pos() -> Tensor:
    return 100 * torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("predicted", "true", "same"),
    [
        ("a/1.jpg", "a/1.jpg", True),
        ("/photos/a/1.jpg", "a/1.jpg", True),
        ("1.jpg", "/photos/a/1.jpg", True),
        ("/photos/1.jpg", "/photos/1.jpg", True),
        ("c/1.jpg", "b/1.jpg", False),
        ("1.jpg", "21.jpg", False),
    ],
)
def test_images_have_the_same_name_or_one_path_ends_with_the_other(
    predicted: str, true: str, same: bool, pos: Tensor
) -> None:
    if same:
        assert match_keypoints([predicted], pos, [true], pos).true.tolist() == [0]
    else:
        with pytest.raises(InputError, match="no name in common"):
            match_keypoints([predicted], pos, [true], pos)


def test_a_name_of_several_images_is_refused(pos: Tensor) -> None:
    two = torch.cat([pos, pos + 1])
    assert match_keypoints(["b/1.jpg"], pos, ["a/1.jpg", "b/1.jpg"], two).true.tolist() == [1]
    with pytest.raises(InputError, match=r"'1\.jpg' \(got 'a/1\.jpg' and 'b/1\.jpg'\)\. Write its folder too"):
        match_keypoints(["1.jpg"], pos, ["a/1.jpg", "b/1.jpg"], two)
