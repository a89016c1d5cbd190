from lgcn.schemes import get_scheme

# The pairs as mmpose's table for LaPa has them, written down apart from the package's own.
PARTNER_SUMS = {32: range(16), 79: range(33, 38), 88: range(38, 42), 120: range(55, 60), 145: range(66, 71)}
FIXED = {16, 51, 52, 53, 54, 60, 87, 93, 98, 102}


def test_published_flip_pairs() -> None:
    permutation = get_scheme("lapa106").flip_permutation
    assert {index for index, partner in enumerate(permutation) if index == partner} == FIXED
    for total, indices in PARTNER_SUMS.items():
        assert all(permutation[index] == total - index for index in indices)
    others = {71: 82, 72: 81, 73: 80, 74: 83, 84: 90, 85: 89, 86: 88, 91: 95, 92: 94, 96: 100, 97: 99, 101: 103}
    assert all(permutation[index] == partner for index, partner in {**others, 104: 105}.items())


def test_published_normalizer_is_between_the_outer_eye_corners() -> None:
    scheme = get_scheme("lapa106")
    first, second = scheme.normalizers[scheme.default_normalizer]
    assert (first, second) == ((66,), (79,))
    assert (scheme.names[66], scheme.names[79]) == ("right_eye_outer", "left_eye_outer")


def test_groups_numbered_as_in_wflw() -> None:
    lapa, wflw = get_scheme("lapa106").names, get_scheme("wflw98").names
    assert lapa[:55] == wflw[:55]
    assert lapa[66:74] == wflw[60:68] and lapa[75:83] == wflw[68:76]
    assert lapa[84:] == wflw[76:]
