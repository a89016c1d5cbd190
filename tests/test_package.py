"""The package as it is installed: one version, types, data files, the command, lazy exports."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points, requires, version
from importlib.resources import files
from pathlib import Path

import pytest

import lgcn

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(lgcn.__file__).parent


def packages() -> list[str]:
    found = [path.parent.relative_to(PACKAGE).parts for path in PACKAGE.rglob("__init__.py")]
    return sorted(".".join(["lgcn", *parts]) for parts in found)


def test_the_version_has_one_source() -> None:
    assert version("lgcn") == lgcn.__version__
    assert f"## [{lgcn.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="lgcn")
    assert callable(command.load())


def test_data_files_are_installed() -> None:
    package = files("lgcn")
    assert package.joinpath("py.typed").is_file()
    assert any(path.name.endswith(".yaml") for path in package.joinpath("configs").iterdir())
    model = package.joinpath("models", "pretrained", "lgcn-68")
    assert {"config.json", "model.safetensors"} <= {path.name for path in model.iterdir()}


def test_no_requirement_has_an_upper_bound() -> None:
    declared = [requirement.partition(";")[0] for requirement in requires("lgcn") or []]
    assert declared
    assert not [requirement for requirement in declared if set("<=~").intersection(requirement.replace(">=", ""))]


def test_all_has_every_extra_but_those_that_are_heavy_or_compiled() -> None:
    (everything,) = [line for line in requires("lgcn") or [] if line.partition(";")[2].strip() == 'extra == "all"']
    extras = {line.partition("extra == ")[2].strip("\"' ") for line in requires("lgcn") or [] if "extra ==" in line}
    left_out = {"all", "adapters", "demo", "ray", "scatter"}
    assert set(everything.partition("[")[2].partition("]")[0].split(",")) == extras - left_out


@pytest.mark.parametrize("name", packages())
def test_all_lists_importable_names(name: str) -> None:
    package = import_module(name)
    listed = getattr(package, "__all__", None)
    if listed is None:
        public = [one for one in vars(package) if not one.startswith("_") and f"{name}.{one}" not in sys.modules]
        assert not public, f"{name} needs __all__: the curated list that the documentation is made from"
        return
    assert list(listed) == sorted(set(listed), key=listed.index), "a name is listed twice"
    assert not [one for one in listed if not hasattr(package, one)]


def test_dir_offers_the_exports_and_all_parts() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert set(dir(lgcn)) == {*lgcn.__all__, *parts} - {"__init__"}


def test_parts_are_imported_on_first_use() -> None:
    code = """
import sys
import lgcn
assert "torch" not in sys.modules
assert lgcn.nn.LGCN.__module__.startswith("lgcn.nn")
assert "lgcn.models" not in sys.modules
assert lgcn.datasets.DATASETS and lgcn.training.LandmarkModule
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lgcn' has no attribute 'LandmarkPredictr'"):
        _ = lgcn.LandmarkPredictr


def test_help_answers_without_the_network_libraries() -> None:
    code = """
import sys
from lgcn.cli.main import main
try:
    main(["--help"])
except SystemExit as done:
    assert not done.code
print("LOADED", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text, _, loaded = done.stdout.partition("LOADED")
    assert all(command in text for command in ("fit", "evaluate", "predict"))
    assert {"torch", "torch_geometric", "lightning", "timm"}.isdisjoint(loaded.split())
