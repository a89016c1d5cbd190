import pytest
import torch

from lgcn.checks import InputError
from lgcn.registry import Registry
from lgcn.schemes import SCHEMES, LandmarkScheme, get_scheme, registry

SIZES = {"ibug68": 68, "wflw98": 98, "cofw29": 29, "aflw19": 19, "lapa106": 106, "coco17": 17}
SIZES |= {"hand21": 21, "cephalometric19": 19}

# Written from the published descriptions, 1-based for COFW and AFLW as these are, apart from the package's tables.
IBUG_FIXED = {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}
WFLW_FIXED = {16, 51, 52, 53, 54, 57, 79, 85, 90, 94}
COFW_PAIRS = [(1, 2), (5, 7), (3, 4), (6, 8), (9, 10), (11, 12), (13, 15), (17, 18), (14, 16), (19, 20), (23, 24)]
AFLW_PAIRS = [(1, 6), (2, 5), (3, 4), (7, 12), (8, 11), (9, 10), (13, 15), (16, 18)]


def test_the_shipped_schemes() -> None:
    assert {name: get_scheme(name).num_landmarks for name in SIZES} == SIZES


@pytest.mark.parametrize("name", SIZES)
def test_flipping_is_an_involution_that_swaps_left_and_right_in_the_names(name: str) -> None:
    scheme = get_scheme(name)
    permutation = scheme.flip_permutation
    assert sorted(permutation) == list(range(scheme.num_landmarks))
    assert [permutation[k] for k in permutation] == list(range(scheme.num_landmarks))
    swap = {"left": "right", "right": "left"}
    for index, landmark in enumerate(scheme.names):
        mirrored = "_".join(swap.get(word, word) for word in landmark.split("_"))
        assert scheme.names[permutation[index]] == mirrored


@pytest.mark.parametrize("name", SIZES)
def test_contours_cover_every_landmark_and_mirror_onto_each_other(name: str) -> None:
    scheme = get_scheme(name)
    assert {index for contour in scheme.contours for index in contour.indices} == set(range(scheme.num_landmarks))
    edges = {frozenset(edge) for contour in scheme.contours for edge in contour.edges}
    permutation = scheme.flip_permutation
    assert {frozenset(permutation[index] for index in edge) for edge in edges} == edges


@pytest.mark.parametrize("name", SIZES)
def test_normalizers_do_not_change_under_a_flip(name: str) -> None:
    scheme = get_scheme(name)
    permutation = scheme.flip_permutation
    for first, second in scheme.normalizers.values():
        mirrored = {frozenset(permutation[index] for index in group) for group in (first, second)}
        assert mirrored == {frozenset(first), frozenset(second)}


def test_published_flip_pairs() -> None:
    def fixed(name: str) -> set[int]:
        return {index for index, partner in enumerate(get_scheme(name).flip_permutation) if index == partner}

    def pairs_from_one(name: str) -> set[frozenset[int]]:
        return {frozenset(index + 1 for index in pair) for pair in get_scheme(name).flip_pairs}

    assert fixed("ibug68") == IBUG_FIXED
    assert fixed("wflw98") == WFLW_FIXED
    assert pairs_from_one("cofw29") == {frozenset(pair) for pair in COFW_PAIRS}
    assert pairs_from_one("aflw19") == {frozenset(pair) for pair in AFLW_PAIRS}


def test_flip_pairs_agree_with_the_mean_face(shared) -> None:
    from lgcn.datasets import IBUG300W

    scheme = get_scheme("ibug68")
    pos = IBUG300W(shared / "data" / "300w", "lfpw/testset").pos
    mean = (pos - pos.mean(1, keepdim=True)).mean(0)
    mirrored = mean[list(scheme.flip_permutation)] * torch.tensor([-1.0, 1.0])
    outer = mean[45, 0] - mean[36, 0]
    assert (mirrored - mean).abs().max() < 0.1 * outer


def test_a_user_registers_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SCHEMES", Registry("scheme"))
    mine = LandmarkScheme("mine", ("a", "b"))
    registry.SCHEMES.register("mine", mine)
    assert get_scheme("mine") is mine
    assert get_scheme(mine) is mine
    with pytest.raises(InputError, match="taken"):
        registry.SCHEMES.register("mine", mine)


def test_an_unknown_scheme_lists_the_known() -> None:
    with pytest.raises(
        InputError,
        match=r"aflw19, cephalometric19, coco17, cofw29, hand21, ibug68, lapa106, wflw98.*Did you mean 'ibug68'",
    ):
        get_scheme("ibug-68")
    assert "ibug-68" not in SCHEMES
