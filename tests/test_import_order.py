"""The folder order is the import order: each part of the package may import only from those above it.

The imports are read from the source, so that one inside a function or under ``TYPE_CHECKING`` counts as well.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lgcn

PACKAGE = Path(lgcn.__file__).parent

ORDER = [
    *("typing", "files", "checks", "registry", "modes", "options", "seeding"),
    *(
        "schemes",
        "geometry",
        "covariance",
        "protocols",
        "images",
        "codecs",
        "backbones",
        "adapters",
        "graph",
        "nn",
        "models",
    ),
    *("losses", "metrics", "transforms", "datasets"),
    *("training", "evaluation", "export", "predict", "visualization", "video", "demo", "testing", "cli"),
]

# Specific to faces, images or heatmap networks; the layer library must not need them.
FACE_SIDE = {"schemes", "protocols", "images", "codecs", "backbones", "adapters"}

# Tensors and Data only: below the models in the order, yet never importing them.
MODEL_FREE = {"losses", "metrics", "transforms", "datasets"}

# Third-party imports that are slow or optional, and the only parts of the package that may make them.
CONFINED = {
    "gradio": {"demo"},
    "lightning": {"training", "cli"},
    "matplotlib": {"visualization"},
    "skimage": {"export", "predict", "demo"},
}

# The lazy exports of the top-level package name parts of every height; nothing else may.
LAZY_EXPORTS = PACKAGE / "__init__.py"

SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != LAZY_EXPORTS)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Yields line and dotted name of every module or name that a file imports."""
    package = ["lgcn", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"}:
                yield node.lineno, str(node.args[0].value)


def imported_parts(path: Path) -> Iterator[tuple[int, str]]:
    """Yields line and name of every part of this package that a file imports."""
    for line, name in imported_modules(path):
        root, _, rest = name.partition(".")
        if root == "lgcn" and rest and rest != "__version__":
            yield line, rest.split(".")[0]


def parts_behind(part: str) -> set[str]:
    """All parts that come along when ``part`` is imported."""
    behind: set[str] = set()
    ahead = {part}
    while ahead:
        here = ahead.pop()
        behind.add(here)
        for path in SOURCES:
            if part_of(path) == here:
                ahead |= {name for _, name in imported_parts(path)} - behind
    return behind - {part}


def modules_loaded_by(statement: str) -> set[str]:
    """The modules in a fresh interpreter after ``statement``."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_every_part_has_a_place_in_the_order() -> None:
    present = {part_of(path) for path in SOURCES}
    assert present <= set(ORDER), f"give these a place in ORDER: {sorted(present - set(ORDER))}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_part_imports_only_from_those_above_it(path: Path) -> None:
    here = part_of(path)
    allowed = set(ORDER[: ORDER.index(here) + 1])
    if here in MODEL_FREE:
        allowed -= {"backbones", "nn", "models"}
    wrong = [f"line {line}: lgcn.{part}" for line, part in imported_parts(path) if part not in allowed]
    assert not wrong, f"lgcn.{here} may not import {', '.join(wrong)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_slow_libraries_are_imported_only_where_needed(path: Path) -> None:
    here = part_of(path)
    wrong = [
        f"line {line}: {name}"
        for line, name in imported_modules(path)
        if here not in CONFINED.get(name.split(".")[0], {here})
    ]
    assert not wrong, f"lgcn.{here} may not import {', '.join(wrong)}"


def test_the_layer_library_does_not_import_the_face_side() -> None:
    assert parts_behind("nn").isdisjoint(FACE_SIDE)


def test_imported_parts_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
import lgcn.models.detector
from lgcn import codecs, __version__
from lgcn.losses.focal import focal_heatmap_loss
from . import nms
from ..geometry import landmark_box

def later():
    from lgcn.cli import main
    import_module("lgcn.training")
"""
    path = tmp_path / "predict" / "boxes.py"
    path.parent.mkdir()
    path.write_text(source)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    found = [part for _, part in sorted(imported_parts(path))]
    assert found == ["models", "codecs", "losses", "predict", "geometry", "cli", "training"]


def test_modules_of_nn_import_each_other_one_way() -> None:
    for path in (PACKAGE / "nn").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nested = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
        nested -= {node.lineno for node in tree.body}
        assert not nested, f"{path}: an import inside a function or a condition at lines {sorted(nested)}"


def test_import_lgcn_loads_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "torch_geometric", "torchvision", "timm", "lightning", "skimage", "matplotlib", "scipy"}
    assert modules_loaded_by("import lgcn").isdisjoint(heavy)


def test_import_of_the_prediction_side_is_light() -> None:
    # 'lgcn predict' asks 'lgcn.video' whether a file is a video, and an exported model needs no graph layers.
    heavy = {"torch_geometric", "torchvision", "timm", "lightning", "skimage", "matplotlib", "scipy", "av"}
    assert modules_loaded_by("from lgcn.predict import LandmarkPredictor; import lgcn.video").isdisjoint(heavy)
    # Overlays of its results are drawn with matplotlib.
    assert modules_loaded_by("import lgcn.visualization").isdisjoint(heavy - {"matplotlib"})


def test_import_lgcn_nn_loads_nothing_of_the_face_side() -> None:
    # PyG imports transformers where it is installed, which imports much else.
    loaded = modules_loaded_by("import lgcn.nn") - modules_loaded_by("import torch_geometric.nn")
    assert loaded.isdisjoint({"timm", "torchvision", "lightning", "skimage", "matplotlib", "PIL"})
    assert loaded.isdisjoint({f"lgcn.{part}" for part in FACE_SIDE})
