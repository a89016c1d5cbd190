"""Every line of the cheatsheet names tests, and they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def test_every_line_of_the_cheatsheet_names_tests_that_are_there() -> None:
    rows = [line for line in (ROOT / "docs" / "cheatsheet.md").read_text().splitlines() if line.startswith("| ")]
    lines = [row for row in rows if not row.endswith("| shown by |")]
    assert len(lines) > 30
    for line in lines:
        tests = NAMED.findall(line)
        assert tests, line
        for file, name in tests:
            path = ROOT / file if file.startswith("tests/") else ROOT / "tests" / "nn" / file
            assert f"\ndef {name}(" in path.read_text(), f"{file}::{name}"
