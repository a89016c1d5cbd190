from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lgcn.checks import InputError, InputFileError
from lgcn.datasets import read_pts, write_pts

POINTS = [[97.0648, 120.4006], [-3.5, 0.0], [1e2, 7.25]]


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nn_points: 3\n{\n97.0648 120.4006\n-3.5 0\n1e2 7.25\n}\n",
        "version: 1\r\nn_points:  3\r\n{\r\n97.0648 120.4006\r\n-3.5 0\r\n1e2 7.25\r\n}",
        "97.0648 120.4006\n-3.5 0\n1e2 7.25",
        "\ufeff97.0648 120.4006\n-3.5 0\n1e2 7.25",
        "version: 1\nn_points: 3\n97.0648 120.4006\n-3.5 0\n1e2 7.25",
        "\ufeffversion: 1\n{\n# the chin\n  97.0648\t120.4006  \n\n-3.5 0 // the nose\n\n1e2 7.25\n",
        "n_points: 3\nimage_size_x: 640\n{97.0648 120.4006\n-3.5 0\n1e2 7.25}\nanything",
    ],
)
def test_common_forms_of_pts_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.pts"
    path.write_bytes(text.encode("utf-8"))
    assert read_pts(path, 3).tolist() == torch.tensor(POINTS).tolist()


def test_write_then_read(tmp_path: Path) -> None:
    pos = torch.rand(68, 2) * 500
    write_pts(tmp_path / "new" / "a.pts", pos)
    torch.testing.assert_close(read_pts(tmp_path / "new" / "a.pts", 68), pos, atol=1e-4, rtol=0)
    assert (tmp_path / "new" / "a.pts").read_text().splitlines()[:3] == ["version: 1", "n_points: 68", "{"]
    with pytest.raises(InputError, match="'pos'"):
        write_pts(tmp_path / "a.pts", pos[None])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\nnan 4\n5 6", "finite coordinates.*got 'nan 4' for landmark 1"),
        ("1 2\n3 inf\n5 6", "got '3 inf' for landmark 1"),
        ("1 2\n3 1e39\n5 6", "got '3 1e39' for landmark 1"),
        ("1 2\n3 4", "Expected 3 points.*the landmark scheme says.*got 2"),
        ("n_points: 4\n{\n1 2\n3 4\n5 6\n}", "Expected 4 points.*its own header says.*got 3"),
        ("1 2\n3 4 9\n5 6", "one 'x y' per line.*got '3 4 9'"),
        ("1 2\n3\n5 6", "got '3'"),
        ("hello world, this is text", "one 'x y' per line.*got 'hello world, this is text'"),
        ("", "Expected 3 points.*got 0"),
        ("{}", "got 0"),
    ],
)
def test_malformed_files_are_reported_with_their_fault(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.pts"
    path.write_text(text)
    with pytest.raises(InputFileError, match=f"(?s){message}") as caught:
        read_pts(path, 3)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_empty_and_missing(tmp_path: Path) -> None:
    (tmp_path / "empty.pts").touch()
    with pytest.raises(InputFileError, match="got none"):
        read_pts(tmp_path / "empty.pts")
    with pytest.raises(InputFileError, match=r"absent\.pts"):
        read_pts(tmp_path / "absent.pts")
    with pytest.raises(InputFileError):
        read_pts(tmp_path)


OFFICIAL = b"version: 1\nn_points: 3\n{\n97.0648 120.4006\n-3.5 0\n1e2 7.25\n}\n"
damage = st.lists(st.tuples(st.integers(0, len(OFFICIAL) - 1), st.integers(0, 255)), min_size=1, max_size=6)
lines = st.lists(
    st.one_of(
        st.tuples(st.floats(), st.floats()).map(lambda point: f"{point[0]} {point[1]}"),
        st.sampled_from(["{", "}", "version: 1", "n_points: 2", "n_points: x", "#", "//", " ", "1 2", "1,5 2"]),
        st.text(max_size=12),
    ),
    max_size=8,
)


def damaged(changes: list[tuple[int, int]]) -> bytes:
    content = bytearray(OFFICIAL)
    for where, byte in changes:
        content[where] = byte
    return bytes(content)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(
    content=st.one_of(
        st.binary(max_size=80),
        damage.map(damaged),
        lines.map(lambda rows: "\n".join(rows).encode("utf-8", "surrogatepass")),
    )
)
def test_any_bytes_give_finite_points_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pts"
    path.write_bytes(content)
    try:
        pos = read_pts(path)
    except InputFileError:
        return
    assert pos.dtype == torch.float32
    assert pos.shape[1:] == (2,)
    assert len(pos) > 0
    assert torch.isfinite(pos).all()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("version: 2\nn_points: 2\n", r"version 1 of the \.pts format .*got '2'"),
        ("version: x\n", "version 1"),
        ("version: 1\nn_points: 3\n", "Expected 3 points in .* its own header says .got 2"),
        ("n_points: many\n", "Expected many points .*got 2"),
        (f"n_points: {'9' * 5000}\n", "Expected 9{20} points"),
        ("version: 1.0\nn_points:  2\n", None),
        ("VERSION : 1\n", None),
    ],
)
def test_the_header_is_checked(tmp_path: Path, header: str, message: str | None) -> None:
    path = tmp_path / "a.pts"
    path.write_text(f"{header}{{\n1 2\n3 4\n}}\n")
    if message is None:
        assert read_pts(path).tolist() == [[1, 2], [3, 4]]
    else:
        with pytest.raises(InputFileError, match=message):
            read_pts(path)
