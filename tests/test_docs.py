"""README, documentation and repository files: examples run, commands and links exist, generated pages are current."""

import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

import lgcn
from lgcn.checks import InputError
from lgcn.nn import LearnableConnectivity, LGCNConv
from tests.scripts import run_script

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.md"))
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)\s]*)?\)")
PRINTED = re.compile(r"print\(.*\)  # -> (.*)")
ALL_HELP = """
import contextlib, io, json, runpy, sys
texts = []
for words in json.loads(sys.argv[1]):
    sys.argv = [*words, "--help"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        if words[0] == "lgcn":
            runpy.run_module("lgcn.cli.main", run_name="__main__")
        else:
            runpy.run_path(words[0], run_name="__main__")
    texts.append(printed.getvalue())
print(json.dumps(texts))
"""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if CODE.search(page.read_text(encoding="utf-8"))], ids=name)
def test_examples_of_a_page_run_and_print_the_stated_output(page: Path, tmp_path: Path) -> None:
    blocks = CODE.findall(page.read_text(encoding="utf-8"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    # From a file, since inspect.getsource needs one.
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    printed = run_script(tmp_path / "page.py", tmp_path).splitlines()
    for claim in PRINTED.findall("\n".join(blocks)):
        assert claim in printed


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_notebooks_run(notebook: Path, tmp_path: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert text.startswith("---\nfile_format: mystnb\n")  # else Sphinx would not execute it
    cells = CELL.findall(text)
    assert len(cells) == text.count("```{code-cell}") > 3
    (tmp_path / "notebook.py").write_text("\n".join(cells), encoding="utf-8")
    run_script(tmp_path / "notebook.py", notebook.parent)


def commands() -> Iterator[tuple[Path, list[str]]]:
    """Commands of this project in all pages, with their words."""
    for page in [*PAGES, ROOT / "benchmarks" / "README.md"]:
        for block in SHELL.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                for command in line.split("&&"):
                    words = shlex.split(command, comments=True)
                    if words[:1] == ["lgcn"] or (words[:1] == ["python"] and words[1].endswith(".py")):
                        yield page, words


def program_of(words: list[str]) -> tuple[str, ...]:
    """The part of a command that has a --help of its own; nothing for scripts of the reader."""
    if words[0] == "python":
        return (str(ROOT / words[1]),) if (ROOT / words[1]).is_file() else ()
    if not re.match(r"[a-z]", words[1]):
        return ()  # lgcn --version
    return tuple(words[: 3 if words[1] == "dataset" else 2])


def test_commands_and_options_of_the_pages_exist(tmp_path: Path) -> None:
    found = [(page, words, program) for page, words in commands() if (program := program_of(words))]
    programs = sorted({("lgcn", "fit"), *(program for _, _, program in found)})
    (tmp_path / "all_help.py").write_text(ALL_HELP, encoding="utf-8")
    printed = run_script(tmp_path / "all_help.py", tmp_path, json.dumps(programs))
    helps = dict(zip(programs, json.loads(printed), strict=True))
    assert len(found) > 30
    for page, words, program in found:
        # --help lists neither the keys of a mapping nor the arguments of callbacks.
        options = [
            re.sub(r"(_options|callbacks)\..*|\+?=.*", r"\1", word) for word in words if re.match(r"--?[a-zA-Z]", word)
        ]
        text = helps[program]
        assert "--help" in text, program
        if "lgcn fit" in text:
            text += helps["lgcn", "fit"]  # it passes further options on
        missing = [option for option in options if not re.search(rf"{re.escape(option)}(?![\w.-])", text)]
        assert not missing, f"{name(page)}: {' '.join(words)}"


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS, ROOT / "benchmarks" / "README.md"], ids=name)
def test_links_lead_to_files(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    # What contributing.md and changelog.md include is relative to the root, but for Sphinx.
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^(?:notebooks/)?(\w+)$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert {page.stem for page in [*DOCS.glob("*.md"), *NOTEBOOKS]} - listed == {"index", "cheatsheet.in"}


def test_every_part_of_the_package_has_a_reference_page() -> None:
    listed = set(re.findall(r"^ +lgcn\.(\w+)$", (DOCS / "api" / "index.md").read_text(), re.MULTILINE))
    present = {path.stem for path in Path(lgcn.__file__).parent.iterdir() if re.match(r"[a-z]\w*(\.py)?$", path.name)}
    assert listed == present - {"cli", "configs"}


def test_the_cheatsheet_is_generated_from_the_classes_as_they_are() -> None:
    run_script(DOCS / "make_cheatsheet.py", ROOT, "--check")


def test_limits_in_the_cheatsheet_hold() -> None:
    x, pos, confidence, index = torch.randn(3, 4), torch.rand(3, 3), torch.rand(3), torch.tensor([[0, 1], [1, 2]])
    conv, types = LGCNConv(4, 2, LearnableConnectivity(3)), torch.arange(3)
    assert "edge_attr" not in inspect.signature(conv.forward).parameters
    with pytest.raises(InputError, match="pos"):
        conv(x, index, pos, types, confidence)
    assert LGCNConv(4, 2, LearnableConnectivity(3), shape_features=False)(x, index, None, types, confidence).shape == (
        3,
        2,
    )
    with pytest.raises(InputError, match="edge_weight"):
        conv((x, x), index, (pos[:, :2], pos[:, :2]), types, confidence)


def test_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "title", "message", "authors"} <= citation.keys()  # required by the format
    assert citation["version"] == lgcn.__version__
    (paper,) = citation["references"]
    assert paper["doi"] == "10.1109/ACCESS.2022.3200037" and len(paper["authors"]) == 7


@pytest.mark.parametrize("form", ["bug_report", "feature_request", "question"])
def test_issue_forms_are_valid(form: str) -> None:
    content = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{form}.yml").read_text(encoding="utf-8"))
    assert content["name"] and content["description"]
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["type"] in {"input", "textarea"} and field["attributes"]["label"] for field in fields)
    assert any(field["validations"]["required"] for field in fields)
