import numpy as np
import pytest
import torch

from lgcn.adapters import combine_runs, from_arrays, from_supervision, from_vitpose
from lgcn.checks import InputError


def test_arrays_with_gaps() -> None:
    points = np.array([[[1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]]])
    found = from_arrays(points, [[0.5, 0.0, 1.0]])
    assert found.mask.tolist() == [[True, False, False]]
    assert from_arrays(points[:, :1]).mask is None and from_arrays(points[:, :1]).confidence is None
    for wrong, message in ((points[0], r"'pos' to have shape \[N, K, 2\]"), ("no", "Expected numbers")):
        with pytest.raises(InputError, match=message):
            from_arrays(wrong)
    with pytest.raises(InputError, match="'confidence' to have shape"):
        from_arrays(points, [[0.5]])


def test_supervision() -> None:
    sv = pytest.importorskip("supervision", exc_type=ImportError)
    xy = np.array([[[3.0, 4.0], [5.0, 6.0], [0.0, 0.0]]], dtype=np.float32)
    found = from_supervision(sv.KeyPoints(xy=xy, keypoint_confidence=np.array([[0.9, 0.4, 0.0]], dtype=np.float32)))
    assert torch.equal(found.pos, torch.from_numpy(xy))
    assert found.confidence.shape == (1, 3) and found.mask.tolist() == [[True, True, False]]
    hidden = sv.KeyPoints(xy=xy[:, :2], visible=np.array([[True, False]]))
    assert from_supervision(hidden).confidence is None
    assert from_supervision(hidden).mask.tolist() == [[True, False]]
    with pytest.raises(InputError, match="ndarray has no 'xy'"):
        from_supervision(xy)


def test_vitpose_results() -> None:
    people = [{"keypoints": 10 * torch.rand(17, 2) + 1, "scores": torch.rand(17)} for _ in range(2)]
    two, none = from_vitpose([people, []])
    assert two.pos.shape == (2, 17, 2) and two.confidence.shape == (2, 17) and len(none.pos) == 0
    people[1]["keypoints"] = people[1]["keypoints"][:5]
    with pytest.raises(InputError, match=r"got \[5, 17\]"):
        from_vitpose([people])
    for wrong in (people, [[people]], [{"keypoints": 1}]):
        with pytest.raises(InputError, match=r"a list of images, each a list of persons .*as \[persons\]"):
            from_vitpose(wrong)


def test_runs_are_combined_without_their_failures() -> None:
    generator = torch.Generator().manual_seed(0)
    true = 50 * torch.rand(4, 6, 2, generator=generator)
    runs = true + torch.randn(11, 4, 6, 2, generator=generator)
    runs[:2] += 100
    runs[:, :, 3] += 3 * torch.randn(11, 4, 2, generator=generator)
    found = combine_runs(runs)
    assert (found.pos - true).norm(dim=-1).mean() < 0.75 * (runs[2] - true).norm(dim=-1).mean()
    others = found.confidence[:, [0, 1, 2, 4, 5]]
    assert (others.mean(1) > found.confidence[:, 3]).all()
    assert found.confidence.min() >= 0 and found.confidence.max() <= 1


def test_runs_with_gaps_are_combined_of_those_that_found_a_landmark() -> None:
    generator = torch.Generator().manual_seed(0)
    runs = 50 * torch.rand(1, 2, 6, 2, generator=generator) + torch.randn(5, 2, 6, 2, generator=generator)
    gaps = runs.clone()
    gaps[0, 0, 1], gaps[:, 1, 2, 0] = torch.nan, torch.nan
    found, fewer = combine_runs(gaps), combine_runs(runs[1:])
    torch.testing.assert_close(found.pos[0, 1], fewer.pos[0, 1])
    assert found.mask is not None and (~found.mask).nonzero().tolist() == [[1, 2]]
    assert found.pos[1, 2].isnan().all() and found.confidence[1, 2] == 0
    assert found.confidence.isfinite().all() and found.pos[found.mask].isfinite().all()
    rest = [0, 1, 3, 4, 5]
    torch.testing.assert_close(found.confidence[1, rest], combine_runs(runs[:, :, rest]).confidence[1])
