import argparse
from typing import Any

import pytest

from lgcn.checks import InputError
from lgcn.cli.dataset_options import add_dataset_option, parse_dataset_options
from lgcn.datasets import DATASETS


class Shapes:
    def __init__(
        self,
        root: str,
        split: str = "all",
        *,
        scheme: str | None = None,
        one_based: bool = True,
        sides: int = 3,
        scale: float | None = None,
    ) -> None:
        pass


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["one_based=false"], {"one_based": False}),
        (["one-based=No", "one_based=TRUE"], {"one_based": True}),
        (["sides=4", "scale=0.5"], {"sides": 4, "scale": 0.5}),
        (["scale=none", "scheme=null"], {"scale": None, "scheme": None}),
        (["scheme=a=b"], {"scheme": "a=b"}),
    ],
)
def test_values_have_the_annotated_type(words: list[str], expected: dict[str, Any]) -> None:
    found = parse_dataset_options(words, Shapes)
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("one_based", "'--dataset-option' as NAME=VALUE .got 'one_based'."),
        ("one_base=true", "one of scheme, one_based, sides, scale .got 'one_base'.. Did you mean 'one_based'"),
        ("root=x", "one of scheme, one_based, sides, scale .got 'root'."),
        ("one_based=maybe", "'one_based' to be true or false .got 'maybe'."),
        ("sides=three", "'sides' to be a whole number .got 'three'."),
        ("scale=large", "'scale' to be a number or none .got 'large'."),
    ],
)
def test_a_bad_option_is_named(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_dataset_options([word], Shapes)


def test_options_of_the_pts_dataset() -> None:
    parser = argparse.ArgumentParser()
    add_dataset_option(parser)
    words = parser.parse_args(["--dataset-option", "one_based=false", "--dataset-option", "scheme=ibug68"])
    options = parse_dataset_options(words.dataset_option, DATASETS["pts"])
    assert options == {"one_based": False, "scheme": "ibug68"}
    assert parser.parse_args([]).dataset_option == []
