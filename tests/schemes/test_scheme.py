import pickle

import pytest

from lgcn.checks import InputError
from lgcn.schemes import Contour, LandmarkScheme

NAMES = ("left", "right", "middle")


def test_flip_permutation_swaps_pairs_and_keeps_the_rest() -> None:
    assert LandmarkScheme("s", NAMES, flip_pairs=((0, 1),)).flip_permutation == (1, 0, 2)
    assert LandmarkScheme("s", NAMES).flip_permutation == (0, 1, 2)


def test_contour_edges() -> None:
    assert Contour("line", (4, 2, 7)).edges == ((4, 2), (2, 7))
    assert Contour("ring", (4, 2, 7), closed=True).edges == ((4, 2), (2, 7), (7, 4))
    assert Contour("dot", (3,), closed=True).edges == ()


def test_a_scheme_can_be_hashed_compared_and_pickled() -> None:
    scheme = LandmarkScheme("s", NAMES, ((0, 1),), normalizers={"width": ((0,), (1,))})
    scheme.flip_permutation  # noqa: B018 - fills the cache, which must not travel into equality
    twin = LandmarkScheme("s", NAMES, ((0, 1),), normalizers={"width": ((0,), (1,))})
    assert scheme == twin
    assert hash(scheme) == hash(twin)
    assert pickle.loads(pickle.dumps(scheme)) == scheme
    assert scheme.normalizer_names == ("width", "box")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ()}, "at least one landmark"),
        ({"names": ("a", "a", "b")}, r"'names'.*\['a'\] twice"),
        ({"flip_pairs": ((0, 3),)}, r"'flip_pairs'.*0\.\.2 \(got \[3\]\)"),
        ({"flip_pairs": ((0, 1), (1, 2))}, r"'flip_pairs'.*\[1\] twice"),
        ({"flip_pairs": ((0, 0),)}, r"'flip_pairs'.*\[0\] twice"),
        ({"flip_pairs": ((0, 1, 2),)}, "to hold pairs"),
        ({"flip_pairs": (("left", "right"),)}, r"'flip_pairs'.*\['left', 'right'\].*scheme_from_dict.* take names"),
        ({"normalizers": {"width": (0, 1)}}, r"normalizers: width.*\(got 0\).*each group is a tuple"),
        ({"contours": (Contour("rim", (0, -1)),)}, r"contours: rim.*\[-1\]"),
        ({"contours": (Contour("rim", ()),)}, "contours: rim.*none"),
        ({"normalizers": {"width": ((0,), (9,))}}, r"normalizers: width.*\[9\]"),
        ({"normalizers": {"box": ((0,), (1,))}}, "other than 'box'"),
        ({"default_normalizer": "widht", "normalizers": {"width": ((0,), (1,))}}, "Did you mean 'width'"),
    ],
)
def test_a_wrong_scheme_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LandmarkScheme(**{"name": "s", "names": NAMES, **options})
