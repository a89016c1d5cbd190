import csv
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lgcn
from lgcn.backbones import TimmBackbone
from lgcn.cli.main import main
from lgcn.datasets import read_pts, write_pts
from lgcn.datasets.held_out import hold_out
from lgcn.evaluation import CONDITIONS
from lgcn.files import unescape_name
from lgcn.models import SHIPPED_MODELS, LandmarkDetector, create_detector
from tests.datasets.formats import write_pts_faces

NUM_FACES = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained network, the smallest that there is."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in the layout of 300-W, with three faces in one of the two folders of "common"."""
    root = tmp_path_factory.mktemp("300w")
    folder = root / "lfpw" / "testset"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(NUM_FACES):
        image = generator.integers(0, 255, size=(90, 110, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"image_{number}.png")
        write_pts(folder / f"image_{number}.pts", torch.from_numpy(generator.uniform(20, 80, size=(68, 2))))
    return root


def evaluate(model: str, root: Path, *options: str, split: str = "common") -> int:
    return main(
        ["evaluate", "--model", model, "--dataset", "ibug300w", "--root", str(root), "--split", split, *options]
    )


def test_breakdown_is_printed_and_written(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(model, root, "--breakdown", "--conditions", "clean", "dark4", "--output", str(out)) == 0
    printed = capsys.readouterr().out
    assert printed.count("eye distance, px: ") == 2 * NUM_FACES
    assert "brightness: " in printed and "standard errors" in printed
    clean, dark = json.loads((out / "evaluation.json").read_text())["evaluations"]
    assert clean["breakdown"].keys() >= {"eye_distance_px", "nose_offset", "sharpness"}
    # The faces are grouped as they are without the condition.
    for name in ("brightness", "sharpness"):
        assert [each["to"] for each in clean["breakdown"][name]] == [each["to"] for each in dark["breakdown"][name]]
    assert "NME % by kinds of faces" in (out / "evaluation.md").read_text()
    assert "brightness" in (out / "faces.csv").read_text().splitlines()[0]


def test_evaluate_prints_a_table_and_writes_the_same_as_json(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "figures.json"
    assert evaluate(model, root, "--json", str(file), "--batch-size", "2") == 0
    printed = capsys.readouterr().out
    figures = json.loads(file.read_text())

    assert figures["num_faces"] == NUM_FACES
    assert figures["expected_faces"] == 554
    assert figures["protocol"] == "zero_based"
    assert figures["versions"]["lgcn"] == lgcn.__version__
    assert figures["versions"]["torch"] == torch.__version__
    assert "3 of 554" in figures["warning"]
    assert set(figures["results"]) == {"initial", "refined"}

    assert "WARNING: INCOMPLETE split 'common': 3 of 554 faces (missing folders: helen/testset" in printed
    assert "distance between the outer eye corners" in printed
    for title, name in {"initial (heatmap)": "initial", "refined (graph)": "refined"}.items():
        row = next(line for line in printed.splitlines() if line.startswith(title))
        nme, fr, auc = (float(cell) for cell in row.removeprefix(title).split())
        assert nme == pytest.approx(figures["results"][name]["nme_percent"], abs=1e-3)
        assert fr == pytest.approx(figures["results"][name]["fr_percent@0.10"], abs=1e-2)
        assert auc == pytest.approx(figures["results"][name]["auc@0.10"], abs=1e-4)


def test_evaluate_takes_protocol_normalizer_and_thresholds(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    options = ["--protocol", "hrnet", "--normalizer", "box", "--thresholds", "0.08", "0.1", "--json", str(file)]
    assert evaluate(model, root, *options, split="lfpw/testset") == 0
    figures = json.loads(file.read_text())
    assert (figures["protocol"], figures["normalizer"], figures["split"]) == ("hrnet", "box", "lfpw/testset")
    assert set(figures["results"]["refined"]) == {
        *("nme_percent", "fr_percent@0.08", "auc@0.08", "fr_percent@0.10", "auc@0.10"),
    }


def test_held_out_faces_are_those_of_a_training(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    for folder, options in ((whole, []), (part, ["--held-out", "0.34"])):
        assert evaluate(model, root, *options, "--output", str(folder), split="lfpw/testset") == 0
    rows = [(folder / "faces.csv").read_text().splitlines()[1:] for folder in (whole, part)]
    (expected,) = hold_out(NUM_FACES, 0.34)[1]
    assert [row.split(",")[-3:] for row in rows[1]] == [rows[0][expected].split(",")[-3:]]
    assert evaluate(model, root, "--held-out", "1.5", split="lfpw/testset") == 2
    assert "between 0 and 1 (got 1.5)" in capsys.readouterr().err


def test_evaluate_of_a_network_alone_has_no_refined_row(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = create_detector(
        scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64), refiner={"name": "none"}
    )
    detector.save_pretrained(tmp_path)
    assert evaluate(str(tmp_path), root) == 0
    printed = capsys.readouterr().out
    assert "initial (heatmap)" in printed
    assert "refined" not in printed


def test_conditions_share_one_table(model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    names = ["clean", "patch60", "texture30", "box10", "rot45", "jpeg10"]
    assert evaluate(model, root, "--conditions", *names, "--seed", "3", "--output", str(out)) == 0
    printed = capsys.readouterr().out
    table = printed[printed.index("NME %") :].splitlines()
    assert table[0].split("  ")[0] == "NME %" and "refined covered" in table[0]
    assert [line.split()[0] for line in table[1:7]] == names
    evaluations = json.loads((out / "evaluation.json").read_text())["evaluations"]
    assert [each["condition"] for each in evaluations] == names
    assert {each["seed"] for each in evaluations} == {3}
    assert evaluations[1]["results"]["refined"]["covered_nme_percent"] > 0
    assert "covered_nme_percent" not in evaluations[0]["results"]["refined"]
    with (out / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["condition"] for row in rows[::NUM_FACES]] == names
    assert "patch60" in (out / "evaluation.md").read_text()
    (worst,) = out.glob("worst*.png")
    assert worst.stem.endswith("_common_clean")

    assert evaluate(model, root, "--conditions", "patch60", "--seed", "3", "--json", str(tmp_path / "one.json")) == 0
    alone = json.loads((tmp_path / "one.json").read_text())
    assert alone["results"] == evaluations[1]["results"]


def test_the_conditions_of_the_help_are_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}N" in words for name in CONDITIONS)


def test_earlier_output_is_replaced_only_on_request(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(model, root, "--output", str(tmp_path)) == 0
    first = (tmp_path / "evaluation.json").read_bytes()
    assert evaluate(model, root, "--output", str(tmp_path), "--protocol", "hrnet") == 2
    error = capsys.readouterr().err
    assert "Expected not to replace earlier results" in error and "--overwrite" in error
    assert (tmp_path / "evaluation.json").read_bytes() == first
    assert evaluate(model, root, "--output", str(tmp_path), "--protocol", "hrnet", "--overwrite") == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["protocol"] == "hrnet"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"--conditions": "patch"}, "Choose among clean, detector"),
        ({"--conditions": "patch400"}, "patch400"),
        ({"--model": "lgcn-86"}, "lgcn-86"),
        ({"--dataset": "ibug"}, "ibug300w"),
        ({"--split": "tset"}, "common"),
        ({"--root": "nowhere"}, "nowhere"),
        ({"--protocol": "zero"}, "zero_based"),
        ({"--normalizer": "pupil"}, "inter_pupil"),
        ({"--thresholds": "10"}, "fraction"),
        ({"--device": "gpu"}, "gpu"),
        ({"--batch-size": "0"}, "batch_size"),
        ({"--json": "."}, "--json"),
        ({"--output": __file__}, "is a file"),
        ({"--output": f"{__file__}/new"}, "is a file"),
        ({"--json": f"{__file__}/figures.json"}, "is a file"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_line_and_status_2(
    model: str, root: Path, tmp_path: Path, changes: dict[str, str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    options = {
        "--model": model,
        "--dataset": "ibug300w",
        "--root": str(root),
        "--split": "common",
        "--json": str(file),
        **changes,
    }
    assert main(["evaluate", *(word for option in options.items() for word in option)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("lgcn: error: ")
    assert expected in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_scheme_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_detector(scheme="wflw98", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(tmp_path)
    assert evaluate(str(tmp_path), root) == 2
    assert "'ibug68' (got 'wflw98')" in capsys.readouterr().err


def test_a_broken_image_leaves_no_json(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ibug"
    folder.mkdir()
    for name in ("a", "b"):
        for suffix, source in {".png": "image_0.png", ".pts": "image_0.pts"}.items():
            (folder / f"{name}{suffix}").write_bytes((root / "lfpw" / "testset" / source).read_bytes())
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    file = tmp_path / "figures.json"
    assert evaluate(model, tmp_path, "--json", str(file), split="challenging") == 2
    assert "b.png" in capsys.readouterr().err
    assert not file.exists()


def test_on_request_a_broken_image_is_left_out_and_named_everywhere(
    model: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lfpw" / "testset"
    shutil.copytree(root / "lfpw" / "testset", folder)
    (folder / "image_0.png").write_bytes(b"no image")
    out = tmp_path / "out"
    options = ["--on-corrupt", "skip", "--output", str(out), "--json", str(tmp_path / "figures.json")]
    assert evaluate(model, tmp_path, *options, split="lfpw/testset") == 0
    printed = capsys.readouterr().out
    name = "lfpw/testset/image_0.png"
    assert f"left out:   1 image that cannot be read: {name}" in printed
    assert (
        f"1 of them left out because their images cannot be read: {name}. These results cannot be compared" in printed
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["num_faces"] == NUM_FACES - 1
    assert list(figures["unreadable"]) == [name] and name in figures["warning"]
    assert f"- left out: 1 image that cannot be read: {name}" in (out / "evaluation.md").read_text()


@pytest.fixture(scope="module")
def wflw_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("wflw_model")
    torch.manual_seed(1)
    create_detector(scheme="wflw98", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(folder)
    return str(folder)


def write_wflw(root: Path) -> None:
    """Four faces in WFLW's layout; of the attributes only "blur" has no face."""
    (root / "WFLW_images" / "0--Parade").mkdir(parents=True)
    lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(4):
        name = f"0--Parade/{number}.png"
        image = generator.integers(0, 255, size=(90, 110, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / "WFLW_images" / name)
        points = generator.uniform(20, 80, size=196).round(3).tolist()
        flags = [int(number == column) for column in range(5)] + [0]
        flags[4] = 1
        rows.append(" ".join(map(str, [*points, 15, 15, 85, 85, *flags, name])))
    (lists / "list_98pt_rect_attr_test.txt").write_text("\n".join(rows) + "\n")


def test_one_run_prints_the_seven_columns_of_wflw_next_to_published_results(
    wflw_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wflw(tmp_path)
    options = ["--dataset", "wflw", "--root", str(tmp_path), "--split", "test", "--published", "--protocol", "pipnet"]
    assert main(["evaluate", "--model", wflw_model, *options]) == 0
    printed = capsys.readouterr().out
    for figure in ("NME % (inter_ocular)", "FR@0.10 %", "AUC@0.10"):
        header = next(line for line in printed.splitlines() if line.startswith(figure))
        columns = header.removeprefix(figure).split()
        assert columns == ["protocol", "Test", "Pose", "Expr.", "Illum.", "Make-up", "Occlu.", "Blur"]
        start = printed.index(header)
        block = printed[start:].split("\n\n")[0].splitlines()
        for title in ("initial (heatmap)", "refined (graph)"):
            (row,) = (line for line in block if line.startswith(title))
            protocol, *values = row.removeprefix(title).split()
            assert protocol == "pipnet"
            assert len(values) == 7 and values[-1] == "-" and "-" not in values[:-1]
        (own,) = (line for line in block if line.startswith("LGCN 2022 (the paper) (published)"))
        assert "official" in own
    assert "Compare rows only if their protocol is the same" in printed
    faces = next(line for line in printed.splitlines() if line.startswith("faces  "))
    assert faces.split()[1:] == ["4/2500", "1/326", "1/314", "1/698", "1/206", "4/736", "0/773"]


def test_missing_images_are_noticed_before_the_first_face(
    wflw_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wflw(tmp_path)
    (tmp_path / "WFLW_images" / "0--Parade" / "3.png").unlink()
    options = ["--dataset", "wflw", "--root", str(tmp_path), "--split", "test", "--json", str(tmp_path / "x.json")]
    assert main(["evaluate", "--model", wflw_model, *options]) == 2
    printed = capsys.readouterr().err
    assert "missing: 1, such as 'WFLW_images/0--Parade/3.png'" in printed and printed.count("\n") == 1
    assert not (tmp_path / "x.json").exists()


def write_300w(root: Path) -> None:
    """Two faces in each folder of "full" and of "private"."""
    generator = np.random.default_rng(0)
    for place in ("helen/testset", "lfpw/testset", "ibug", "300W/01_Indoor", "300W/02_Outdoor"):
        (root / place).mkdir(parents=True)
        for number in range(2):
            image = generator.integers(0, 255, size=(90, 110, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / place / f"{number}.png")
            write_pts(root / place / f"{number}.pts", torch.from_numpy(generator.uniform(20, 80, size=(68, 2))))


def test_the_folder_holds_everything_of_several_models_and_splits(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_300w(tmp_path / "300w")
    other, out = tmp_path / "other", tmp_path / "out"
    detector = create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64), protocol="official")
    detector.save_pretrained(other)
    options = ["--dataset", "ibug300w", "--root", str(tmp_path / "300w"), "--split", "full", "private"]
    assert main(["evaluate", "--model", model, str(other), *options, "--published", "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if line.startswith("NME % (inter_ocular)"))
    assert header.split()[4:] == ["Common", "Challenge", "Full", "Private", "Indoor", "Outdoor"]
    row = next(line for line in printed.splitlines() if line.startswith(f"{other}: refined (graph)"))
    assert row.removeprefix(f"{other}: refined (graph)").split()[0] == "official"

    content = json.loads((out / "evaluation.json").read_text())
    found = [(each["model"], each["split"], each["protocol"]) for each in content["evaluations"]]
    assert found == [
        (name, split, protocol)
        for split in ("full", "private")
        for name, protocol in ((model, "zero_based"), (str(other), "official"))
    ]
    assert {each["system"] for each in content["published"]} > {"LGCN 2022 (the paper)", "HRNetV2-W18"}
    with (out / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Two models, two kinds of landmarks, full with two subsets and private with two.
    assert len(rows) == 2 * 2 * (3 + 3)
    with (out / "faces.csv").open(newline="") as file:
        faces = list(csv.DictReader(file))
    assert len(faces) == 2 * (6 + 4)
    of_ibug = [
        float(face["nme_percent_refined"]) for face in faces if face["model"] == model and face["challenging"] == "1"
    ]
    expected = next(row for row in rows if (row["subset"], row["landmarks"]) == ("challenging", "refined"))
    assert float(expected["nme_percent"]) == pytest.approx(np.mean(of_ibug), rel=1e-4)
    with (out / "landmarks.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * 68
    with (out / "ced.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    conditions = ("model", "split", "landmarks", "protocol", "normalizer")
    curves = {tuple(point[column] for column in conditions) for point in points}
    assert len(curves) == 2 * 2 * 2 and len(points) == 201 * len(curves)
    assert (str(other), "private", "refined", "official", "inter_ocular") in curves
    for name in ("faces.csv", "landmarks.csv", *(path.name for path in out.glob("ced*.csv"))):
        with (out / name).open(newline="") as file:
            named = {(row["model"], row["protocol"], row["normalizer"]) for row in csv.DictReader(file)}
        assert named <= {(model, "zero_based", "inter_ocular"), (str(other), "official", "inter_ocular")}, name
    page = (out / "evaluation.md").read_text()
    headings = re.findall("^## .*", page, flags=re.MULTILINE)
    assert len(set(headings)) == len(headings)
    images = re.findall(r"!\[.*\]\((.*)\)", page)
    assert len(images) == 1 + 4 + 4
    for name in images:
        assert Image.open(out / name).size[0] > 200
    assert {path.name for path in out.iterdir()} == {
        *images,
        *(name.replace(".png", ".csv") for name in images if name.startswith("ced")),
        *("evaluation.json", "evaluation.csv", "evaluation.md", "faces.csv", "landmarks.csv"),
    }


def test_the_boxes_of_the_face_detector_are_a_protocol(
    model: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(model, root, "--protocol", "detector") == 0
    # There is no face in noise.
    assert "missed 3 of 3 faces; these are cropped by their landmarks" in capsys.readouterr().out


@pytest.mark.parametrize("option", [("--conditions", "clean", "detector"), ("--protocol", "detector")])
def test_boxes_of_the_face_detector_are_for_faces(
    option: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_detector(scheme="hand21", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(tmp_path / "m")
    name, split = write_pts_faces(tmp_path, [20 + 40 * torch.rand(21, 2)])
    words = ["--model", str(tmp_path / "m"), "--dataset", name, "--root", str(tmp_path), "--split", split]
    assert main(["evaluate", *words, *option]) == 2
    printed = capsys.readouterr()
    assert not printed.out and "landmarks of a face for the boxes of the face detector (got 'hand21'" in printed.err


def test_a_dataset_without_published_results(model: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dataset", "pts", "--root", str(root), "--split", "all", "--published"]
    assert main(["evaluate", "--model", model, *options]) == 0
    assert "No published results on 'pts' are known here." in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that nobody can write to")
@pytest.mark.parametrize("option", ["--json", "--output"])
def test_unwritable_outputs_are_reported_before_the_work(
    model: str, root: Path, option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("loaded a model first")

    monkeypatch.setattr(LandmarkDetector, "from_pretrained", never)
    assert evaluate(model, root, option, "/proc/self/new/place") == 2
    assert f"Expected '{option}' to be writable" in capsys.readouterr().err


def write_csv(file: Path, columns: int, num_landmarks: int) -> None:
    """Two faces in the layout of the public HRNet code, their scale, box size and centre made up."""
    (file.parent / "images").mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    lines = [",".join(f"column_{number}" for number in range(1 + columns + 2 * num_landmarks))]
    for number in range(2):
        image = generator.integers(0, 255, size=(90, 110, 3), dtype=np.uint8)
        Image.fromarray(image).save(file.parent / "images" / f"{number}.png")
        points = generator.uniform(20, 80, size=2 * num_landmarks).round(3).tolist()
        lines.append(",".join(map(str, [f"{number}.png", 0.3, *([60.0] if columns == 4 else []), 50, 50, *points])))
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("scheme", "protocol", "normalizer"),
    [
        ("aflw19", "hrnet", "box_size"),
        ("aflw19", "pipnet", "box"),
        ("cofw29", "adnet", "inter_pupil"),
        ("cofw29", "hrnet", "inter_ocular"),
    ],
)
def test_the_normalizer_of_a_scheme_follows_the_protocol(
    scheme: str, protocol: str, normalizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_detector(scheme=scheme, backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(tmp_path / "m")
    of_aflw = scheme == "aflw19"
    write_csv(tmp_path / "face_landmarks_aflw_test.csv", 4 if of_aflw else 3, 19 if of_aflw else 29)
    dataset = "aflw19" if of_aflw else "hrnet_csv"
    options = ["--model", str(tmp_path / "m"), "--dataset", dataset, "--root", str(tmp_path), "--split", "test"]
    options += ["--json", str(tmp_path / "figures.json"), "--protocol", protocol]
    assert main(["evaluate", *options]) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["normalizer"] == normalizer
    assert "(distance of that name" not in capsys.readouterr().out
    assert main(["evaluate", *options, "--normalizer", "inter_ocular"]) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["normalizer"] == "inter_ocular"


def test_a_public_hrnet_is_evaluated_as_its_own_code_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As docs/checkpoints.md tells it, with a file of made-up weights in the layout of HR18-WFLW.pth."""
    state = TimmBackbone("hrnet_w18", 98).state_dict()
    names = {name: name.removeprefix("net.").replace("head.head.", "head.") for name in state}
    torch.save({names[name]: value for name, value in state.items()}, tmp_path / "HR18-WFLW.pth")
    create_detector(
        scheme="wflw98",
        backbone="hrnet_w18",
        backbone_weights=str(tmp_path / "HR18-WFLW.pth"),
        codec={"decode": "hrnet", "activation": "clamp"},
        refiner={"name": "none"},
        protocol="hrnet",
        input_size=(64, 64),
    ).save_pretrained(tmp_path / "model")
    write_wflw(tmp_path)
    options = ["--dataset", "wflw", "--root", str(tmp_path), "--split", "test", "--protocol", "hrnet"]
    assert main(["evaluate", "--model", str(tmp_path / "model"), *options]) == 0
    printed = capsys.readouterr().out
    assert "protocol:   hrnet" in printed and "refined" not in printed
    assert "FR@0.10 %" in printed and "FR@0.08 %" in printed


def test_a_csv_file_of_the_public_hrnet_code_is_recognised_by_name(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "face_landmarks_300w_valid.csv", 3, 68)
    options = ["--dataset", "hrnet_csv", "--root", str(tmp_path), "--split", "valid", "--published"]
    assert main(["evaluate", "--model", model, *options]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("LGCN 2022 (the paper) (published)"))
    assert row.split()[-2:] == ["official", "3.38"]


def test_no_shipped_model_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "face_landmarks_cofw_test.csv", 3, 29)
    assert main(["evaluate", "--dataset", "hrnet_csv", "--root", str(tmp_path), "--split", "test"]) == 2
    error = capsys.readouterr().err
    assert "Expected '--model' for the dataset 'hrnet_csv'" in error and "of the scheme 'cofw29'" in error
    assert all(name in error for name in SHIPPED_MODELS) and error.count("\n") == 1


def test_the_default_model_prints_seven_columns_on_real_images(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shared / "data" / "wflw_standin"
    if not root.is_dir():
        pytest.skip(f"no faces in WFLW's layout at '{root}'")
    assert main(["evaluate", "--dataset", "wflw", "--root", str(root), "--split", "test"]) == 0
    printed = capsys.readouterr().out
    assert "model:      lgcn-98" in printed
    header = next(line for line in printed.splitlines() if line.startswith("NME % (inter_ocular)"))
    assert header.split()[3:] == ["protocol", "Test", "Pose", "Expr.", "Illum.", "Make-up", "Occlu.", "Blur"]
    for title in ("initial (heatmap)", "refined (graph)"):
        rows = [line.split() for line in printed.splitlines() if line.startswith(title) and "zero_based" in line]
        assert len(rows) == 3 and all(len(row) == 10 for row in rows)
        # The model card's figure, give or take another machine's arithmetic.
        assert float(rows[0][3]) == pytest.approx(2.51, abs=0.1)


def test_evaluate_on_real_faces(model: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert LandmarkDetector.from_pretrained(model).scheme.name == "ibug68"
    assert evaluate(model, shared / "data" / "300w", split="lfpw/testset") == 0
    printed = capsys.readouterr().out
    assert "224" in printed
    assert "WARNING" not in printed


def test_options_of_the_dataset_are_taken(model: str, root: Path, tmp_path: Path) -> None:
    """Points counted from 0 and the same points counted from 1 are the same faces."""
    places = {"0": tmp_path / "zero", "1": tmp_path / "one"}
    for origin, place in places.items():
        place.mkdir()
        for path in (root / "lfpw" / "testset").glob("*.png"):
            shutil.copy(path, place)
            points = read_pts(path.with_suffix(".pts"))
            write_pts(place / f"{path.stem}.pts", points + int(origin))

    def nme(origin: str, *options: str) -> float:
        file = tmp_path / "figures.json"
        command = ["evaluate", "--model", model, "--dataset", "pts", "--root", str(places[origin]), "--split", "all"]
        assert main([*command, "--json", str(file), *options]) == 0
        return float(json.loads(file.read_text())["results"]["refined"]["nme_percent"])

    expected = nme("1")
    assert nme("0", "--dataset-option", "one_based=false") == pytest.approx(expected, abs=1e-3)
    assert nme("0") != pytest.approx(expected, abs=1e-3)


def test_an_option_that_the_dataset_does_not_have_is_named(
    model: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(model, root, "--dataset-option", "one_base=false") == 2
    assert "'dataset option'" in capsys.readouterr().err


def test_names_that_cannot_be_encoded_are_escaped_everywhere(
    model: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File names that are not UTF-8 or hold a line break, printed to a stream that is ASCII only."""
    names = [os.fsdecode(b"caf\xe9"), "two\nlines", "b\u00fccher"]
    folder = tmp_path / "faces"
    folder.mkdir()
    for name, path in zip(names, sorted((root / "lfpw" / "testset").glob("*.png")), strict=True):
        try:
            shutil.copy(path, folder / f"{name}.png")
        except OSError:
            pytest.skip("the file system takes no such name")
        shutil.copy(path.with_suffix(".pts"), folder / f"{name}.pts")
    (folder / f"{names[0]}.png").write_bytes(b"no image")
    out = tmp_path / os.fsdecode(b"out\xe9")
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    options = ["--on-corrupt", "skip", "--output", str(out), "--json", str(tmp_path / "x.json")]
    command = ["evaluate", "--model", model, "--dataset", "pts", "--root", str(folder), "--split", "all"]
    assert main([*command, *options]) == 0
    sys.stdout.flush()
    assert rb"left out:   1 image that cannot be read: caf\udce9.png" in printed.getvalue()
    with (out / "faces.csv").open(newline="", encoding="utf-8") as file:
        found = [unescape_name(row["image_id"]) for row in csv.DictReader(file)]
    assert sorted(found) == sorted(f"{name}.png" for name in names)
    for file_name in (tmp_path / "x.json", out / "evaluation.json"):
        assert list(json.loads(file_name.read_text(encoding="utf-8"))["unreadable"]) == [f"{names[0]}.png"]
    assert r"caf\udce9.png" in (out / "evaluation.md").read_text(encoding="utf-8")
