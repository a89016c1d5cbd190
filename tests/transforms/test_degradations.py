import pytest
import torch
from torch_geometric.data import Data

from lgcn.checks import InputError
from lgcn.transforms import BoxJitter, Darkness, FacePatch, GaussianBlur, JPEGCompression
from lgcn.transforms.degradations import Degradation


def face(image_id: str = "a.png") -> Data:
    generator = torch.Generator().manual_seed(0)
    return Data(
        image=torch.randint(1, 255, (1, 3, 64, 48), dtype=torch.uint8, generator=generator),
        y=torch.tensor([[10.0, 12.0], [40.0, 12.0], [25.0, 52.0]]),
        visibility=torch.ones(3),
        bbox=torch.tensor([[10.0, 12.0, 40.0, 52.0]]),
        image_id=image_id,
    )


TRANSFORMS = [FacePatch(0.4, seed=1), GaussianBlur(2, seed=1), Darkness(0.25, seed=1), JPEGCompression(5, seed=1)]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_pixels_change_and_landmarks_do_not(transform: Degradation) -> None:
    before, after = face(), transform(face())
    assert after.image.shape == before.image.shape and after.image.dtype == torch.uint8
    assert not torch.equal(after.image, before.image)
    assert torch.equal(after.y, before.y) and torch.equal(after.visibility, before.visibility)
    assert torch.equal(before.image, face().image)


@pytest.mark.parametrize("build", [FacePatch, Darkness, BoxJitter], ids=lambda each: each.__name__)
def test_draws_depend_on_the_seed_and_the_face_only(build: type[Degradation]) -> None:
    key = "bbox" if build is BoxJitter else "image"
    first = build(0.2, 0.4, seed=1)(face())[key]
    torch.rand(5)
    assert torch.equal(build(0.2, 0.4, seed=1)(face())[key], first)
    assert not torch.equal(build(0.2, 0.4, seed=2)(face())[key], first)
    assert not torch.equal(build(0.2, 0.4, seed=1)(face("b.png"))[key], first)
    assert not torch.equal(build(0.2, 0.4)(face())[key], build(0.2, 0.4)(face())[key])


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 1.0])
def test_a_patch_covers_its_share_of_the_face(share: float) -> None:
    texture = torch.zeros(3, 80, 80, dtype=torch.uint8)
    covered = (FacePatch(share, textures=[texture], seed=3)(face()).image == 0).all(dim=1)[0]
    assert covered.sum() == pytest.approx(share * 30 * 40, rel=0.12)
    rows, columns = covered.nonzero().unbind(1)
    assert rows.min() >= 12 and rows.max() <= 52 and columns.min() >= 10 and columns.max() <= 40


def test_small_textures_are_enlarged() -> None:
    texture = torch.zeros(3, 4, 5, dtype=torch.uint8)
    assert (FacePatch(0.4, textures=[texture], seed=3)(face()).image == 0).sum() > 3 * 400


def test_strengths() -> None:
    assert torch.equal(FacePatch(0.0)(face()).image, face().image)
    assert torch.equal(GaussianBlur(0.0)(face()).image, face().image)
    assert torch.equal(Darkness(1.0, noise=0.0)(face()).image, face().image)
    assert torch.equal(Darkness(0.5, noise=0.0)(face()).image, (face().image * 0.5).round().to(torch.uint8))
    smooth = face()
    smooth.image = torch.arange(0, 240, 5, dtype=torch.uint8).expand(1, 3, 64, 48).contiguous()
    worse, better = (JPEGCompression(quality)(smooth).image.float() for quality in (5, 95))
    assert (worse - smooth.image).abs().mean() > 2 * (better - smooth.image).abs().mean()


def test_box_jitter_stays_within_its_range() -> None:
    boxes = torch.cat([BoxJitter(0.1)(face()).bbox for _ in range(100)])
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    limit = torch.tensor([3.0, 4.0])
    assert ((centre - torch.tensor([25.0, 32.0])).abs() <= limit + 1e-4).all()
    assert ((side - torch.tensor([30.0, 40.0])).abs() <= limit + 1e-4).all()
    assert centre.std(dim=0).min() > 0.5
    assert torch.allclose(side[:, 0] / side[:, 1], torch.tensor(0.75))


@pytest.mark.parametrize(
    ("build", "low", "high"),
    [(FacePatch, -0.1, 0.2), (FacePatch, 0.5, 1.2), (Darkness, 0.5, 0.2), (JPEGCompression, 0, 5)],
)
def test_bad_strengths(build: type[Degradation], low: float, high: float) -> None:
    with pytest.raises(InputError, match=f"strength of {build.__name__}"):
        build(low, high)
