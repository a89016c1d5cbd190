"""Schemes as plain values and files: a round trip, and errors that name the mistake."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lgcn.checks import InputError, InputFileError
from lgcn.models import LandmarkDetector, create_detector, read_config
from lgcn.schemes import SCHEMES, LandmarkScheme, define_scheme, get_scheme, scheme_from_dict, scheme_to_dict

FIVE = {"name": "my_five", "names": ["right_eye", "left_eye", "nose", "right_mouth", "left_mouth"]}


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SCHEMES, "_things", dict(SCHEMES._things))


@pytest.mark.parametrize("name", SCHEMES.names())
def test_every_scheme_survives_a_round_trip_through_yaml(name: str) -> None:
    scheme = SCHEMES[name]
    assert scheme_from_dict(yaml.safe_load(yaml.safe_dump(scheme_to_dict(scheme), sort_keys=False))) == scheme


def test_landmarks_by_name_or_number() -> None:
    scheme = scheme_from_dict(
        FIVE
        | {"flip_pairs": [["right_eye", "left_eye"], [3, 4]], "contours": {"mouth": ["right_mouth", 4]}}
        | {"normalizers": {"eyes": ["right_eye", "left_eye"], "height": [[0, 1], ["right_mouth", "left_mouth"]]}}
    )
    assert scheme.flip_pairs == ((0, 1), (3, 4))
    assert scheme.contours[0].indices == (3, 4)
    assert scheme.normalizers == {"eyes": ((0,), (1,)), "height": ((0, 1), (3, 4))}
    assert scheme.default_normalizer == "eyes"
    assert scheme.subject == "face"
    assert scheme_from_dict(FIVE).default_normalizer == "box"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": []}, "'key of a landmark scheme' to be one of name, names, flip_pairs"),
        ({"flip_pairs": [["right_eye", "left_eie"]]}, "'landmark in flip_pairs of scheme 'my_five''.*'left_eye'"),
        ({"flip_pairs": [[0, 1, 2]]}, "'flip_pairs' of scheme 'my_five' to hold pairs"),
        ({"flip_pairs": 3}, r"'flip_pairs' of scheme 'my_five' to be a list \(got 3\)"),
        ({"names": ["a", True]}, "'names' of scheme 'my_five' to be a list with a name.*in quotes"),
        ({"names": ["a", "a"]}, "'names' of scheme 'my_five' to be all different"),
        ({"contours": ["mouth"]}, "'contours' of scheme 'my_five' to map names to landmarks"),
        ({"normalizers": {"eyes": [0, 1, 2]}}, "two groups of landmarks"),
        ({"contours": {"mouth": [3, 5]}}, r"hold landmarks 0..4 \(got \[5\]\)"),
        ({"sigmas": [0.1]}, "'sigmas' of scheme 'my_five' to hold a positive number for each of 5"),
        ({"default_normalizer": "iod"}, "'default_normalizer' to be one of box"),
        ({"name": "five.yaml"}, "without a file ending"),
        ({"subject": ["fish"]}, r"'subject' of scheme 'my_five' to say what.*\(got \['fish'\]\)"),
    ],
)
def test_mistakes_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scheme_from_dict(FIVE | change)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text(yaml.safe_dump(FIVE))
    assert get_scheme(path) is get_scheme(str(path)) is SCHEMES["my_five"]
    path.write_text(yaml.safe_dump(FIVE | {"names": ["other"]}))
    with pytest.raises(
        InputError, match=r"'my_five' that is the registered one of this name \(got other values of names"
    ):
        get_scheme(path)
    path.write_text("names: [a, b]")
    with pytest.raises(InputFileError, match=r"'name' in a landmark scheme \(got names\).* In '.*five.yaml'"):
        get_scheme(path)
    path.write_text("name: [")
    with pytest.raises(InputFileError, match="cannot be read"):
        get_scheme(path)
    with pytest.raises(InputFileError, match="cannot be read: No such file"):
        get_scheme("nowhere.yaml")


def test_a_saved_model_brings_its_scheme_into_a_fresh_process(tmp_path: Path) -> None:
    define_scheme(scheme_from_dict(FIVE | {"flip_pairs": [[0, 1], [3, 4]]}))
    tiny = {"backbone": "test_efficientnet", "backbone_options": {"width": 8}, "input_size": (32, 32)}
    create_detector("default", scheme="my_five", **tiny).save_pretrained(tmp_path)
    code = (
        "from lgcn import LandmarkDetector; from lgcn.schemes import SCHEMES; assert 'my_five' not in SCHEMES;"
        f"d = LandmarkDetector.from_pretrained({str(tmp_path)!r}); print(d.scheme.flip_pairs, 'my_five' in SCHEMES)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "((0, 1), (3, 4)) True"
    assert LandmarkDetector.from_pretrained(tmp_path).scheme is SCHEMES["my_five"]
    assert isinstance(create_detector("default", **tiny).config.saved()["scheme"], str)


def test_a_downloaded_configuration_reads_no_file(tmp_path: Path) -> None:
    (tmp_path / "five.yaml").write_text(yaml.safe_dump(FIVE))
    with pytest.raises(InputError, match="'scheme' to be one of aflw19, .*five.yaml"):
        read_config({"scheme": str(tmp_path / "five.yaml")})
    with pytest.raises(InputError, match="'key of a landmark scheme'"):
        read_config({"scheme": {"nane": "x"}})
    other = LandmarkScheme("ibug68", ("nose",))
    with pytest.raises(InputError, match="'ibug68' that is the registered one"):
        read_config({"scheme": scheme_to_dict(other)})
