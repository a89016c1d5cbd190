"""Damaged variants of every format: a check ends with printable findings or an ``InputError``."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lgcn.checks import InputError
from lgcn.datasets.check import check_dataset
from tests.datasets.formats import FORMATS, Write
from tests.datasets.fuzz import damaged, odd_texts
from tests.datasets.synthetic import points

COORDINATES = st.sampled_from(["0", "-1", "1e5", "0.5", "nan", "-0"])
EXTRAS = st.sampled_from(
    [b"\x1b[2J", b"\x00", b"..\\..\\a.png", b"/etc/passwd", b"C:\\a.png", b"\xff\xfe", b"\xe9", b"9" * 5000]
)


@settings(max_examples=60, deadline=20_000, derandomize=True)
@given(data=st.data())
@pytest.mark.parametrize(("write", "K"), FORMATS)
def test_a_damaged_dataset_is_checked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, write: Write, K: int, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    name, split = write(root, [points(K, 0), points(K, 1)])
    path = data.draw(st.sampled_from(sorted(path for path in root.rglob("*.*") if path.is_file())))
    content = path.read_bytes()
    if path.suffix == ".png":
        path.write_bytes(data.draw(damaged(content)))
    else:
        words = content.split(b" ")
        place = data.draw(st.integers(0, len(words) - 1))
        odd = data.draw(st.one_of(odd_texts.map(lambda text: text.encode("utf-8", "surrogatepass")), EXTRAS))
        words[place] = data.draw(st.one_of(st.just(odd), COORDINATES.map(str.encode), st.just(words[place] + odd)))
        path.write_bytes(b" ".join(words) if data.draw(st.booleans()) else data.draw(damaged(content)))
    try:
        report, _ = check_dataset(name, root, [split])
    except InputError as error:
        lines = [str(error)]
    else:
        lines = [str(each) for each in report.findings]
    assert all(line.isprintable() and len(line) < 2000 for line in lines)


def test_the_names_of_splits(tmp_path: Path) -> None:
    write, K = FORMATS[0]
    name, _ = write(tmp_path, [points(K, 0)])
    for split in ("../x", "/", "a\0b", "\x1b[2J", ",", "all,../..", "~", "x" * 5000):
        with pytest.raises(InputError) as caught:
            check_dataset(name, tmp_path, [split])
        assert str(caught.value).isprintable()
