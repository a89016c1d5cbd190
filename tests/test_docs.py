"""What the README and the documentation print runs: all Python of a page, in order, in one fresh interpreter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lgcn

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"print\(.*\)  # -> (.*)")


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if CODE.search(page.read_text(encoding="utf-8"))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_the_examples_of_a_page_run_and_print_what_they_say(page: Path, tmp_path: Path) -> None:
    blocks = CODE.findall(page.read_text(encoding="utf-8"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(lgcn.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for claim in PRINTED.findall("\n".join(blocks)):
        assert claim in done.stdout.splitlines()


def test_every_part_of_the_package_has_a_reference_page() -> None:
    listed = set(re.findall(r"^ +lgcn\.(\w+)$", (ROOT / "docs" / "api" / "index.md").read_text(), re.MULTILINE))
    present = {path.stem for path in Path(lgcn.__file__).parent.iterdir() if re.match(r"[a-z]\w*(\.py)?$", path.name)}
    assert listed == present - {"cli", "configs"}
