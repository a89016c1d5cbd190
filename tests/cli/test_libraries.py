import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lgcn.cli.libraries import load_libraries

ASTRONAUT = Path(__file__).resolve().parents[2] / "examples" / "astronaut.jpg"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that knows whether garbage was collected while it was imported."""
    (tmp_path / "library_of_test.py").write_text("import gc\ncollected = gc.isenabled()\n")
    (tmp_path / "broken_library_of_test.py").write_text("raise RuntimeError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "library_of_test"
    sys.modules.pop("library_of_test", None)
    gc.unfreeze()


def test_libraries_are_imported_without_garbage_collection(library: str) -> None:
    load_libraries("sys", library)
    assert not sys.modules[library].collected
    assert gc.isenabled() and gc.get_freeze_count()


def test_nothing_is_done_in_a_process_that_has_them(library: str) -> None:
    gc.unfreeze()
    load_libraries("sys", "gc")
    assert not gc.get_freeze_count()


def test_garbage_is_collected_again_after_a_failure(library: str) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        load_libraries(f"broken_{library}")
    assert gc.isenabled()


def test_collection_stays_off_where_it_was(library: str) -> None:
    gc.disable()
    try:
        load_libraries(library)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_photo_costs_neither_full_collections_nor_libraries_of_training() -> None:
    code = f"""
import gc, sys
from lgcn.cli.main import main
full = []
gc.callbacks.append(lambda phase, info: full.append(phase) if info["generation"] == 2 else None)
assert main(["predict", {str(ASTRONAUT)!r}]) == 0
print("LOADED", len(full), *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    full, *loaded = done.stdout.partition("LOADED")[2].split()
    assert int(full) == 0
    assert {"torch_geometric", "timm"} <= set(loaded)
    parts = {"datasets", "evaluation", "losses", "metrics", "training", "transforms", "visualization"}
    heavy = {"lightning", "matplotlib", "onnx", "onnxruntime", "pandas", "scipy", "torchmetrics", "transformers"}
    # PyG imports pandas itself where it is installed.
    by_pyg = subprocess.run(
        [sys.executable, "-c", "import sys, torch_geometric; print(*sys.modules)"], capture_output=True
    )
    heavy -= {"pandas"}.intersection(by_pyg.stdout.decode().split())
    assert not {*heavy, "torch._inductor.compile_fx", *(f"lgcn.{part}" for part in parts)}.intersection(loaded)
