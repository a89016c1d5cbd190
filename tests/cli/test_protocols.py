import json
from pathlib import Path

import pytest

from lgcn.cli.main import main
from lgcn.protocols import PROTOCOLS, get_protocol


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["protocols", *options]) == 0
    return capsys.readouterr().out


def test_every_protocol_has_a_row_with_all_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    header, *rows = printed(capsys).splitlines()
    assert [row.split()[0] for row in rows] == list(PROTOCOLS)
    facts = get_protocol("pipnet").facts()
    assert all(name in header for name in facts)
    row = next(row for row in rows if row.startswith("pipnet"))
    assert all(value in row for value in facts.values())


def test_named_protocols_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "official", "official")
    words = " ".join(text.split())
    assert get_protocol("official").description in words
    assert "source: the released code of the paper" in words
    assert words.count("letterboxed") == 1 and "spiga" not in text


def test_markdown_and_json_hold_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "--markdown").splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert [cell.strip() for cell in rows[2].split("|")][1:4] == ["`zero_based`", "landmarks", "1.25"]
    (spiga,) = json.loads(printed(capsys, "spiga", "--json"))
    assert (spiga["name"], spiga["enlargement"], spiga["thresholds"]) == ("spiga", 1.6, [0.1, 0.08])


def test_unknown_names_list_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocols", "hrnett"]) == 2
    assert "Did you mean 'hrnet'?" in capsys.readouterr().err


def test_the_table_in_the_documentation_is_the_output_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
    assert printed(capsys, "--markdown") in page.read_text(encoding="utf-8")
