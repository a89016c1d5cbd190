import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.transforms import FacePatch


def face(fill: int = 7) -> Data:
    """A crop of one grey level, whose landmarks are a grid over x = 40 ... 200, y = 48 ... 208; the last is missing."""
    grid = torch.cartesian_prod(torch.arange(40.0, 201, 40), torch.arange(48.0, 209, 40))
    return Data(
        image=torch.full((1, 3, 256, 240), fill, dtype=torch.uint8),
        y=torch.cat([grid, torch.tensor([[300.0, 400.0]])]),
        visibility=torch.cat([torch.ones(25), torch.zeros(1)]),
    )


BLACK = [torch.zeros(3, 200, 200, dtype=torch.uint8)]


def black_patch(data: Data) -> Tensor:
    return (data.image == 0).all(dim=1)[0]


@pytest.mark.parametrize("shape", ["rectangle", "ellipse"])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 0.7])
def test_a_patch_covers_its_share_of_the_face_and_nothing_else(share: float, shape: str) -> None:
    for _ in range(20):
        data = FacePatch(share, kinds=["texture"], shapes=[shape], textures=BLACK)(face())
        covered = black_patch(data)
        assert covered.sum() == pytest.approx(share * 160 * 160, rel=0.04)
        rows, columns = covered.nonzero().unbind(1)
        assert rows.min() >= 48 and rows.max() <= 208 and columns.min() >= 40 and columns.max() <= 200
        height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert 0.45 <= height / width <= 2.2 or share > 0.5
        filled = covered.sum() / (height * width)
        assert filled == 1 if shape == "rectangle" else filled == pytest.approx(math.pi / 4, rel=0.06)


def test_covered_landmarks_are_those_under_the_patch() -> None:
    seen = set()
    for seed in range(30):
        data = face()
        data.image_id = str(seed)
        data = FacePatch(0.4, kinds=["texture"], shapes=["rectangle", "ellipse"], textures=BLACK, seed=0)(data)
        under = black_patch(data)
        x, y = data.y[:25].long().unbind(1)
        assert data.covered.tolist() == [*under[y, x].tolist(), False]
        seen.add(tuple(data.covered.tolist()))
    assert len(seen) > 10


def test_covered_is_set_without_a_patch_and_joined_by_a_second_one() -> None:
    assert FacePatch(0.5, probability=0.0)(face()).covered.tolist() == 26 * [False]
    whole = FacePatch(1.0)(face())
    assert whole.covered[:25].sum() >= 16
    assert FacePatch(0.01)(whole).covered[:25].sum() >= 16


def test_kinds() -> None:
    generator = torch.Generator().manual_seed(0)
    crop = torch.randint(1, 256, (1, 3, 256, 240), dtype=torch.uint8, generator=generator)
    textures = [torch.randint(1, 256, (3, 200, 200), dtype=torch.uint8, generator=generator)]

    def patch_of(kind: str) -> Tensor:
        data = face()
        data.image = crop
        changed = FacePatch(0.3, kinds=[kind], textures=textures if kind == "texture" else [])(data).image[0]
        rows, columns = (changed != crop[0]).any(dim=0).nonzero().unbind(1)
        return changed[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]

    def is_part(patch: Tensor, whole: Tensor) -> bool:
        windows = whole.unfold(1, patch.shape[1], 1).unfold(2, patch.shape[2], 1)
        return bool((windows == patch[:, None, None]).all(dim=-1).all(dim=-1).all(dim=0).any())

    color, noise, texture, copy = (patch_of(kind) for kind in ("color", "noise", "texture", "copy"))
    assert (color == color[:, :1, :1]).all()
    assert noise.float().std() > 60 and not is_part(noise.flip(1), crop[0])
    assert is_part(texture.flip(1), textures[0])
    assert is_part(copy.flip(1), crop[0])


def test_all_kinds_and_shapes_occur() -> None:
    kinds = ["noise", "color", "texture"]
    found = set()
    for _ in range(60):
        patch = FacePatch(0.4, kinds=kinds, shapes=["rectangle", "ellipse"], textures=BLACK)(face()).image[0]
        changed = (patch != 7).any(dim=0)
        rows, columns = changed.nonzero().unbind(1)
        box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        levels = len(patch[:, changed].unique(dim=1)[0])
        kind = "noise" if levels > 1 else "texture" if (patch[:, changed] == 0).all() else "color"
        found.add((kind, "rectangle" if changed.sum() > 0.9 * box else "ellipse"))
    assert len(found) == 6


def test_small_textures_are_enlarged() -> None:
    texture = torch.zeros(3, 4, 5, dtype=torch.uint8)
    assert black_patch(FacePatch(0.4, kinds=["texture"], textures=[texture])(face())).sum() > 8000


def test_a_face_without_visible_landmarks_stays_as_it_is() -> None:
    data = face()
    data.visibility = torch.zeros(26)
    after = FacePatch(0.5)(data)
    assert torch.equal(after.image, face().image) and not after.covered.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["hands"]}, "'kinds' to be one of noise, color, texture, copy .got 'hands'"),
        ({"kinds": "noise"}, "'kinds' to be a list of noise, color, texture, copy"),
        ({"shapes": []}, "'shapes' to be a list of rectangle, ellipse"),
        ({"kinds": ["texture"]}, "'textures' if, and only if, 'kinds' has 'texture'"),
        ({"textures": BLACK}, "'textures' if, and only if, 'kinds' has 'texture'"),
        ({"probability": 1.5}, "'probability'"),
    ],
)
def test_bad_options(options: dict[str, Sequence[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FacePatch(0.2, **options)  # type: ignore[arg-type]
