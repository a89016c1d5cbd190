"""``lgcn fit-refiner`` and ``lgcn refine`` on files of each layout."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lgcn.cli.main import main

K, N = 6, 120


@pytest.fixture(scope="module")
def shapes() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mean = 20 * torch.randn(K, 2, generator=generator)
    factors = torch.einsum(
        "nf,fka->nka", torch.randn(N, 2, generator=generator), 3 * torch.randn(2, K, 2, generator=generator)
    )
    return 100 + mean + factors + 0.3 * torch.randn(N, K, 2, generator=generator)


@pytest.fixture(scope="module")
def points(shapes: Tensor) -> Tensor:
    return shapes + 3 * torch.randn(N, K, 2, generator=torch.Generator().manual_seed(1))


def records(pos: Tensor) -> list[dict[str, Any]]:
    """As ``lgcn predict`` writes them, two faces an image."""
    faces = [
        {"box": [0, 0, 9, 9], "landmarks": each.tolist(), "initial": each.tolist(), "confidence": [0.5] * K}
        for each in pos
    ]
    return [{"image": f"a/{n}.jpg", "faces": faces[n : n + 2], "note": n} for n in range(0, len(faces), 2)]


def results(pos: Tensor, score: float = 0.5) -> list[dict[str, Any]]:
    scored = torch.cat([pos, torch.full_like(pos[..., :1], score)], dim=-1).flatten(1).tolist()
    return [{"image_id": n, "category_id": 1, "keypoints": flat, "score": 0.9} for n, flat in enumerate(scored)]


def write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture(scope="module")
def refiner(shapes: Tensor, points: Tensor, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("refiner")
    files = write(folder / "points.json", results(points)), write(folder / "truth.json", results(shapes))
    options = ["--truth", files[1], "--no-confidence", "--output", str(folder / "model")]
    assert main(["fit-refiner", files[0], *options]) == 0
    return str(folder / "model")


def nearer(refined: Any, points: Tensor, shapes: Tensor) -> bool:
    after = (torch.tensor(refined) - shapes).norm(dim=-1).mean()
    return bool(after < 0.95 * (points - shapes).norm(dim=-1).mean())


def test_what_predict_writes(
    refiner: str, points: Tensor, shapes: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = records(points)
    given[0]["faces"][0]["landmarks"][2] = None
    for name, text in (
        ("points.json", json.dumps(given)),
        ("points.jsonl", "".join(json.dumps(record) + "\n" for record in given)),
    ):
        (tmp_path / name).write_text(text)
        assert main(["refine", str(tmp_path / name), "--refiner", refiner]) == 0
        out = capsys.readouterr().out
        read = json.loads(out) if name.endswith(".json") else [json.loads(line) for line in out.splitlines()]
        assert [record["image"] for record in read] == [record["image"] for record in given]
        assert read[3]["note"] == given[3]["note"]
        faces = [face for record in read for face in record["faces"]]
        assert nearer([face["landmarks"] for face in faces], points, shapes)
        first = faces[0]
        assert first["filled_in"] == [2] and faces[1]["filled_in"] == []
        assert first["initial"] == given[0]["faces"][0]["landmarks"]
        assert len(first["expected_error"]) == K and min(first["expected_error"]) > 0
        assert first["covered"] is None, "the refiner uses no confidences"


def test_coco_results(
    refiner: str, points: Tensor, shapes: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = results(points)
    given[4]["keypoints"][3:6] = [0, 0, 0]
    given[7]["keypoints"][0] += 500
    output = tmp_path / "refined.json"
    assert (
        main(
            [
                "refine",
                write(tmp_path / "in.json", given),
                "--refiner",
                refiner,
                "--output",
                str(output),
                "--drop-outliers",
                "2",
            ]
        )
        == 0
    )
    assert "120 objects refined, 1 landmark filled in" in capsys.readouterr().err
    read = json.loads(output.read_text())
    refined = torch.tensor([entry["keypoints"] for entry in read]).view(N, K, 3)
    assert nearer(refined[..., :2].tolist(), points, shapes)
    assert read[4]["filled_in"] == [1] and refined[4, 1, 2] == 0
    assert 0 in read[7]["outliers"] and read[7]["score"] == 0.9
    assert main(["refine", str(tmp_path / "in.json"), "--refiner", refiner, "--output", str(output)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_csv(refiner: str, points: Tensor, shapes: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = ["image", "mine", *(f"landmark_{k}_{axis}" for k in range(K) for axis in "xy")]
    rows = [[f"{n}.jpg", "kept", *map(str, each.flatten().tolist())] for n, each in enumerate(points)]
    rows[1][4] = ""
    with (tmp_path / "points.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    assert main(["refine", str(tmp_path / "points.csv"), "--refiner", refiner]) == 0
    read = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    refined = [[[float(row[f"landmark_{k}_{axis}"]) for axis in "xy"] for k in range(K)] for row in read]
    assert nearer(refined, points, shapes)
    assert read[0]["mine"] == "kept" and float(read[0]["expected_error_5"]) > 0


def test_objects_are_matched_by_image_and_distance(
    shapes: Tensor, points: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted = records(points)
    for record in predicted:
        record["image"] = f"/elsewhere/{record['image']}"
        record["faces"].reverse()
    truth = records(shapes + 500 * (torch.arange(N) % 2)[:, None, None])
    for record in predicted:
        for number, face in enumerate(record["faces"]):
            offset = 0 if number else 500
            face["landmarks"] = [[x + offset, y + offset] for x, y in face["landmarks"]]
    predicted[0]["image"] = "unknown.jpg"
    files = write(tmp_path / "points.json", predicted), write(tmp_path / "truth.json", truth)
    assert main(["fit-refiner", files[0], "--truth", files[1], "--output", str(tmp_path / "model")]) == 0
    out = capsys.readouterr().out
    assert "fitted to 118 objects; 2 predicted ones have no truth, 2 true ones no prediction" in out
    assert "held-out fifth: mean error" in out


def test_truth_of_a_scheme_of_ones_own(shapes: Tensor, points: Tensor, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for n, pos in enumerate(shapes):
        Image.new("L", (4, 4)).save(tmp_path / "faces" / f"{n}.png")
        rows = "\n".join(f"{x + 1} {y + 1}" for x, y in pos.tolist())
        (tmp_path / "faces" / f"{n}.pts").write_text(f"version: 1\nn_points: {K}\n{{\n{rows}\n}}\n")
    faces = [{"landmarks": each.tolist()} for each in points]
    file = write(tmp_path / "points.json", [{"image": f"{n}.png", "faces": [face]} for n, face in enumerate(faces)])
    (tmp_path / "six.yaml").write_text(f"name: six\nnames: {[f'point_{k}' for k in range(K)]}\n")
    dataset = ["--dataset", "pts", "--root", str(tmp_path / "faces"), "--split", "all"]
    options = [*dataset, "--scheme", str(tmp_path / "six.yaml"), "--output", str(tmp_path / "model")]
    assert main(["fit-refiner", file, *options]) == 0
    assert json.loads((tmp_path / "model" / "config.json").read_text())["scheme"] == "six"


def test_outliers_by_their_share_in_the_fit(
    shapes: Tensor, points: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = points.clone()
    wrong[::12, 2] += 200
    files = write(tmp_path / "points.json", results(wrong)), write(tmp_path / "truth.json", results(shapes))
    wrong = points.clone()
    wrong[::12, 2] += 100
    less = write(tmp_path / "less.json", results(wrong))
    model = str(tmp_path / "model")
    assert main(["fit-refiner", files[0], "--truth", files[1], "--no-confidence", "--output", model]) == 0
    capsys.readouterr()
    named = {}
    for share in ("0", "0.05"):
        assert main(["refine", less, "--refiner", model, "--outlier-share", share]) == 0
        read = json.loads(capsys.readouterr().out)
        named[share] = {n for n, entry in enumerate(read) if 2 in entry["outliers"]}
    assert named["0.05"] >= set(range(0, N, 12)) and named["0.05"] > named["0"]
    assert main(["refine", less, "--refiner", model, "--outlier-share", "2"]) == 2
    assert "--outlier-share" in capsys.readouterr().err


def test_errors_are_one_line(refiner: str, points: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.json", results(points))
    short = write(tmp_path / "short.json", [{"image_id": 1, "keypoints": [1, 2]}])
    odd = write(tmp_path / "odd.json", {"points": []})
    fewer = write(tmp_path / "fewer.json", results(points[:, 1:]))
    (tmp_path / "no.csv").write_text("image,x\n1.jpg,3\n")
    for words, expected in (
        (["refine", good, "--refiner", "nowhere"], "of a ShapeRefiner, as 'lgcn fit-refiner' writes it, or a hub id"),
        (["refine", short, "--refiner", refiner], "x, y, score for each landmark in entry 0"),
        (["refine", odd, "--refiner", refiner], "Expected a known layout"),
        (["refine", fewer, "--refiner", refiner], f"Expected 6 landmarks of each object in '{fewer}', as the refiner"),
        (["refine", str(tmp_path / "no.csv"), "--refiner", refiner], "columns image, landmark_0_x"),
        (["refine", str(tmp_path / "no.csv"), "--refiner", refiner], "got 'image,x'"),
        (["refine", "missing.json", "--refiner", refiner], "Expected a file of landmarks"),
        (["fit-refiner", good, "--output", str(tmp_path / "m")], "'--truth FILE' or '--dataset NAME'"),
        (
            ["fit-refiner", good, "--truth", fewer, "--output", str(tmp_path / "m")],
            f"Expected 5 landmarks of each object in '{good}'",
        ),
    ):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert err.startswith("lgcn: error: ") and err.count("\n") == 1
        assert expected in err


def test_names_and_missing_numbers_of_json_are_kept(
    refiner: str, points: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = records(points[:2])
    given[0]["image"] = "a\u2028b\x85.jpg"
    given[0]["faces"][0]["landmarks"][2] = given[0]["faces"][0]["initial"][2] = [float("nan"), float("nan")]
    given[0]["faces"][0]["score"] = float("nan")
    (tmp_path / "points.jsonl").write_text(json.dumps(given[0], ensure_ascii=False) + "\n")
    assert main(["refine", str(tmp_path / "points.jsonl"), "--refiner", refiner]) == 0
    (line, rest) = capsys.readouterr().out.split("\n")
    assert not rest and "NaN" not in line
    read = json.loads(line)
    face = read["faces"][0]
    assert read["image"] == given[0]["image"] and face["score"] is None
    assert face["initial"][2] == [None, None] and face["filled_in"] == [2]


@pytest.mark.parametrize("number", ["Infinity", "1e999", "1" * 400])
def test_numbers_without_bounds_are_one_line(
    number: str, refiner: str, points: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = records(points[:2])
    given[0]["faces"][0]["landmarks"][1] = ["?", 3.0]
    (tmp_path / "points.json").write_text(json.dumps(given).replace('"?"', number))
    assert main(["refine", str(tmp_path / "points.json"), "--refiner", refiner]) == 2
    err = capsys.readouterr().err
    assert err.startswith("lgcn: error: Expected ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.json", "[]\n"),
        ("none.json", '[{"image": "1.jpg", "faces": []}]\n'),
        ("none.jsonl", '{"image": "1.jpg", "faces": []}\n'),
        ("none.csv", "image,landmark_0_x,landmark_0_y,confidence_0\n"),
    ],
)
def test_a_file_without_objects_stays_as_it_is(
    refiner: str, points: Tensor, name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    assert main(["refine", str(tmp_path / name), "--refiner", refiner]) == 0
    read = capsys.readouterr()
    assert read.out == content and f"No object to refine in '{tmp_path / name}'" in read.err
    good = write(tmp_path / "good.json", results(points))
    for files in ([good, "--truth", str(tmp_path / name)], [str(tmp_path / name), "--truth", good]):
        assert main(["fit-refiner", *files, "--output", str(tmp_path / "model")]) == 2
        assert f"landmarks to fit to in '{tmp_path / name}' (got no object)" in capsys.readouterr().err


def test_what_does_not_match_is_a_name_or_a_distance(
    points: Tensor, shapes: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write(tmp_path / "truth.json", records(shapes))
    far = write(tmp_path / "far.json", records(points + 1000))
    other = records(points)
    for record in other:
        record["image"] = f"{record['image']}.png"
    names = write(tmp_path / "names.json", other)
    for file, expected in ((far, "60 images with both, and none where"), (names, "no name in common; images such as")):
        assert main(["fit-refiner", file, "--truth", truth, "--output", str(tmp_path / "model")]) == 2
        assert expected in capsys.readouterr().err


def test_a_fit_of_the_truth_to_itself_has_nothing_to_gain(
    shapes: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write(tmp_path / "truth.json", records(shapes))
    assert main(["fit-refiner", truth, "--truth", truth, "--output", str(tmp_path / "model")]) == 0
    out = capsys.readouterr().out
    assert "predictions are the truth" in out and "inf" not in out


@pytest.mark.parametrize("count", [40, 100])
def test_a_fit_to_few_objects_warns(
    shapes: Tensor, points: Tensor, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = (
        write(tmp_path / "points.json", records(points[:count])),
        write(tmp_path / "t.json", records(shapes[:count])),
    )
    assert main(["fit-refiner", files[0], "--truth", files[1], "--output", str(tmp_path / "model")]) == 0
    assert ("fewer than 100 objects" in capsys.readouterr().err) == (count < 100)
