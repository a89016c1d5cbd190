import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lgcn.checks import InputError
from lgcn.datasets import DATASETS
from lgcn.datasets.hrnet_csv import PUBLISHED as HRNET_CSV
from lgcn.datasets.hrnet_csv import SUBSET_NAMES
from lgcn.evaluation import PublishedResult, comparison_tables, keypoint_metrics, published_results, report_markdown
from lgcn.evaluation.formatting import format_result
from lgcn.evaluation.literature import all_published_results, published_results_of_csv
from lgcn.evaluation.results import EvaluationResult, EvaluationRow
from lgcn.evaluation.serialization import (
    curve_to_rows,
    faces_to_rows,
    landmarks_to_rows,
    result_to_dict,
    result_to_rows,
)
from lgcn.evaluation.text_tables import PUBLISHED_NOTE
from lgcn.protocols import PROTOCOLS, get_protocol
from lgcn.registry import Registry

WFLW_COLUMNS = ("test", "pose", "expression", "illumination", "make-up", "occlusion", "blur")
THRESHOLDS = (0.08, 0.10)


def make_result(
    model: str = "mine", split: str = "test", masks: dict[str, Tensor] | None = None, **changes: object
) -> EvaluationResult:
    """Six faces, three landmarks; the last face is not measured."""
    errors = torch.tensor(
        [
            [0.01, 0.02, 0.03],
            [0.04, 0.04, 0.04],
            [0.09, 0.09, 0.09],
            [0.2, 0.1, 0.3],
            [0.05, 0.06, 0.07],
            [math.nan] * 3,
        ],
        dtype=torch.float64,
    )
    errors[0, 2] = math.nan
    rows = {
        kind: EvaluationRow.from_errors(
            (scale * errors).nanmean(dim=1), THRESHOLDS, scale * errors, torch.zeros(6, 3, 2)
        )
        for kind, scale in (("initial", 1.0), ("refined", 0.5))
    }
    result = EvaluationResult(
        model=model,
        dataset="wflw",
        split=split,
        protocol=get_protocol("hrnet"),
        normalizer="inter_ocular",
        num_faces=5,
        expected_faces=None,
        warning=None,
        thresholds=THRESHOLDS,
        rows=rows,
        masks=masks or {},
        image_ids=tuple(f"{number}.jpg" for number in range(6)),
        landmark_names=("a", "b", "c"),
    )
    return replace(result, **changes)


def mask(*faces: int) -> Tensor:
    chosen = torch.zeros(6, dtype=torch.bool)
    chosen[list(faces)] = True
    return chosen


def cells(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(start))
    return line.removeprefix(start).split()


def test_rows_of_subsets_are_those_of_their_faces() -> None:
    result = make_result(masks={"pose": mask(0, 3, 5), "blur": mask(5)})
    pose = result.subsets["pose"]["initial"]
    assert pose.nme_percent == pytest.approx(100 * (0.015 + 0.2) / 2)
    assert pose.fr_percent == {0.08: pytest.approx(50.0), 0.10: pytest.approx(50.0)}
    assert pose.auc[0.10] == pytest.approx((0.1 - 0.015) / 0.1 / 2)
    assert (result.num_measured(), result.num_measured("pose"), result.num_measured("blur")) == (5, 2, 0)
    assert math.isnan(result.subsets["blur"]["refined"].nme_percent)
    expected = np.percentile([1.5, 4, 9, 20, 6], (90, 95, 99))
    assert list(result.rows["initial"].nme_percent_percentiles.values()) == pytest.approx(expected.tolist())
    assert result.rows["initial"].nme_percent_per_landmark.tolist() == pytest.approx([7.8, 6.2, 12.5])


def test_the_columns_of_wflw_are_those_of_the_papers() -> None:
    masks = {name: mask(number) for number, name in enumerate(WFLW_COLUMNS[1:])}
    nme, fr8, auc8, fr, auc = comparison_tables([make_result(masks=masks)])
    assert nme.columns == ("Test", "Pose", "Expr.", "Illum.", "Make-up", "Occlu.", "Blur")
    assert [table.title for table in (fr8, auc8, fr, auc)] == ["FR@0.08 %", "AUC@0.08", "FR@0.10 %", "AUC@0.10"]
    text = nme.as_text()
    assert cells(text, "faces") == ["5", "1", "1", "1", "1", "1", "0"]
    assert cells(text, "initial (heatmap)") == ["hrnet", "8.100", "1.500", "4.000", "9.000", "20.000", "6.000", "-"]
    assert cells(fr.as_text(), "initial (heatmap)") == ["hrnet", "20.00", "0.00", "0.00", "0.00", "100.00", "0.00", "-"]
    assert cells(auc.as_text(), "initial (heatmap)")[:4] == ["hrnet", "0.3900", "0.8500", "0.6000"]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_the_columns_of_300w_put_full_last_and_splits_side_by_side() -> None:
    full = make_result(split="full", masks={"common": mask(0, 1), "challenging": mask(2)}, dataset="ibug300w")
    private = make_result(split="private", dataset="ibug300w", expected_faces=600)
    nme = comparison_tables([full, private])[0]
    assert nme.columns == ("Common", "Challenge", "Full", "Private")
    assert cells(nme.as_text(), "faces") == ["2", "1", "5", "5/600"]
    assert cells(nme.as_text(), "initial (heatmap)") == ["hrnet", "2.750", "9.000", "8.100", "8.100"]


def test_subsets_with_the_same_name_get_distinct_columns() -> None:
    results = [make_result(split=split, masks={"pose": mask(0)}) for split in ("train", "test")]
    assert comparison_tables(results)[0].columns == ("train", "Pose", "Test", "test/pose")


def test_several_models_name_their_rows_and_protocols() -> None:
    other = make_result(model="yours", protocol=get_protocol("official"))
    text = comparison_tables([make_result(), other])[0].as_text()
    assert cells(text, "mine: refined (graph)")[0] == "hrnet"
    assert cells(text, "yours: refined (graph)")[0] == "official"


def test_models_whose_protocols_have_other_thresholds_or_normalizers_share_tables() -> None:
    yours = make_result(model="yours", protocol=get_protocol("adnet"), normalizer="inter_pupil", thresholds=(0.10,))
    yours.rows["refined"].fr_percent.pop(0.08)
    tables = {table.title: table.as_text() for table in comparison_tables([yours, make_result()])}
    assert list(tables)[1:] == ["FR@0.10 %", "AUC@0.10", "FR@0.08 %", "AUC@0.08"]
    fr = tables["FR@0.08 %"]
    assert cells(fr, "yours: refined (graph)") == ["adnet,", "inter_pupil", "-"]
    assert cells(fr, "mine: refined (graph)") == ["hrnet,", "inter_ocular", "20.00"]


def test_no_column_but_one_of_a_split_keeps_a_name_of_the_code() -> None:
    result = make_result(masks={name: mask(0) for name in SUBSET_NAMES.values()})
    assert all(column[0].isupper() for column in comparison_tables([result])[0].columns)


def test_published_rows_are_marked_and_keep_their_digits() -> None:
    published = [
        PublishedResult("A", "wflw", "a", {"test": 4.5, "pose": 7.123}, {"test": 2.1}, {"test": 0.5892}, "spiga"),
        PublishedResult("B", "wflw", "b", {"test": 3.0}, {}, {"test": 0.6}, normalizer="inter_pupil"),
        PublishedResult("C", "wflw", "c", {"private": 3.0}),
    ]
    nme, fr8, _, fr, auc = (
        table.as_text() for table in comparison_tables([make_result(masks={"pose": mask(0)})], published)
    )
    assert cells(nme, "A (published)") == ["spiga", "4.50", "7.123"]
    assert cells(nme, "B (published)") == ["?,", "inter_pupil", "3.00", "-"]
    assert cells(fr, "A (published)") == ["spiga", "2.10", "-"]
    assert cells(auc, "A (published)") == ["spiga", "0.5892", "-"]
    assert cells(auc, "B (published)") == ["?,", "inter_pupil", "0.600", "-"]
    assert "B (published)" not in fr and "C (published)" not in nme
    assert "published" not in fr8, "they were reported at 0.10"


def test_literature_is_plausible_and_names_known_datasets_and_protocols() -> None:
    for each in all_published_results():
        assert each.dataset in DATASETS
        assert each.protocol is None or each.protocol in PROTOCOLS
        assert each.source and each.nme_percent
        assert all(1 < value < 15 for value in each.nme_percent.values())
        assert all(0 <= value < 35 for value in each.fr_percent.values())
        assert all(0.1 < value < 0.8 for value in each.auc.values())
    systems = [(each.dataset, each.system) for each in all_published_results()]
    assert len(set(systems)) == len(systems)
    assert not published_results("coco_keypoints")


def test_csv_files_of_the_public_hrnet_code_get_the_published_results_of_their_dataset() -> None:
    splits = {"face_landmarks_300w_valid.csv": "valid", "face_landmarks_300w_test.csv": "test", "mine.csv": "mine"}
    own = next(each for each in published_results_of_csv(splits) if each.system.startswith("LGCN"))
    assert own.nme_percent == {"valid": 3.38, "common": 2.95, "challenging": 5.15}
    assert (own.fr_percent, own.auc) == ({"test": 0.50}, {"test": 0.6024})
    pose = published_results_of_csv({"face_landmarks_wflw_test_largepose.csv": "x.csv"})
    assert {each.dataset for each in pose} == {"wflw"} and pose[0].nme_percent["x.csv"] == 7.57
    assert not published_results_of_csv({"mine.csv": "mine"})
    names = [name for name in HRNET_CSV if not name.endswith("train")]
    for name in names:
        dataset = "ibug300w" if name.startswith("300w") else "wflw"
        if not name.startswith("aflw"):
            assert any(
                "x" in each.nme_percent for each in published_results_of_csv({f"face_landmarks_{name}.csv": "x"})
            ), name
            assert all(each.dataset == dataset for each in published_results_of_csv({f"{name}.csv": "x"}))


def test_the_results_of_the_paper_are_complete() -> None:
    own = next(each for each in published_results("wflw") if each.system.startswith("LGCN"))
    for figures, whole in ((own.nme_percent, 4.24), (own.fr_percent, 2.68), (own.auc, 0.5892)):
        assert tuple(figures) == WFLW_COLUMNS
        assert figures["test"] == whole
    assert (own.nme_percent["pose"], own.fr_percent["make-up"], own.auc["blur"]) == (7.57, 0.97, 0.5390)
    own = next(each for each in published_results("ibug300w") if each.system.startswith("LGCN"))
    assert own.nme_percent == {"full": 3.38, "common": 2.95, "challenging": 5.15}
    assert (own.fr_percent, own.auc) == ({"private": 0.50}, {"private": 0.6024})


def test_json_and_csv_hold_subsets_percentiles_and_landmarks() -> None:
    result = make_result(masks={"pose": mask(0, 3), "blur": mask(5)}, expected_subset_faces={"pose": 326})
    content = json.loads(json.dumps(result_to_dict(result), allow_nan=False))
    assert content["subsets"]["pose"]["num_faces"] == 2
    assert content["subsets"]["pose"]["expected_faces"] == 326
    assert content["subsets"]["pose"]["results"]["refined"]["nme_percent"] == pytest.approx(100 * (0.0075 + 0.1) / 2)
    assert content["subsets"]["blur"]["results"]["refined"]["nme_percent"] is None
    assert set(content["nme_percent_percentiles"]["initial"]) == {"90", "95", "99"}
    assert content["protocol_facts"]["size"] == "1.25"

    rows = result_to_rows(result)
    assert [(row["subset"], row["landmarks"]) for row in rows] == [
        (subset, kind) for subset in ("", "pose", "blur") for kind in ("initial", "refined")
    ]
    assert len({tuple(row) for row in rows}) == 1
    assert float(rows[0]["nme_percent"]) == pytest.approx(8.1) and rows[-1]["nme_percent"] == ""
    assert all(row["protocol"] == "hrnet" for row in rows)

    for each in (
        *(rows, faces_to_rows(result), landmarks_to_rows(result)),
        curve_to_rows(result, "refined", 0.12, "pose", num_points=4),
    ):
        assert {(row["protocol"], row["normalizer"], row["dataset"]) for row in each} == {
            ("hrnet", "inter_ocular", "wflw")
        }
    curve = curve_to_rows(result, "refined", 0.12, "pose", num_points=4)
    # The two faces of the subset have 0.75 and 10 %.
    assert [(row["nme_percent"], row["fraction_of_faces"]) for row in curve] == [
        ("0", "0"),
        ("4", "0.5"),
        ("8", "0.5"),
        ("12", "1"),
    ]

    faces = faces_to_rows(result)
    assert [face["image_id"] for face in faces] == list(result.image_ids)
    assert float(faces[3]["nme_percent_refined"]) == pytest.approx(10.0) and faces[5]["nme_percent_initial"] == ""
    assert [face["pose"] for face in faces] == [1, 0, 0, 1, 0, 0]
    landmarks = landmarks_to_rows(result)
    assert [(each["name"], float(each["nme_percent_initial"])) for each in landmarks] == [
        ("a", pytest.approx(7.8)),
        ("b", pytest.approx(6.2)),
        ("c", pytest.approx(12.5)),
    ]


def test_the_page_holds_tables_warnings_images_and_sources() -> None:
    result = make_result(masks={"pose": mask(0)}, warning="split 'test': 6 of 2500 faces", missed_faces=2)
    published = published_results("wflw")
    tables = comparison_tables([result], published)
    page = report_markdown([result], tables, published, [("Curves", "ced.png")])
    assert "**WARNING: INCOMPLETE split 'test': 6 of 2500 faces." in page
    assert "- protocol: hrnet (" in page
    assert "- boxes: from a face detector, which missed 2 of 6 faces" in page
    (row, *_) = (line for line in page.splitlines() if line.startswith("| initial (heatmap)"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["initial (heatmap)", "hrnet", "8.100", "1.500"]
    assert "![Curves](ced.png)" in page
    assert PUBLISHED_NOTE in page
    assert all(each.source in page for each in published)
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
    assert PUBLISHED_NOTE not in report_markdown([result], comparison_tables([result]))


def test_published_results_are_plain_values() -> None:
    assert (
        json.loads(json.dumps(asdict(all_published_results()[0]), allow_nan=False))["system"]
        == all_published_results()[0].system
    )


def test_a_registered_metric_is_in_the_table_the_json_and_the_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics: Registry = Registry("metric")
    monkeypatch.setattr(keypoint_metrics, "METRICS", metrics)
    metrics.register("worst_percent", lambda errors: 100 * errors.nan_to_num(nan=0).amax())
    result = make_result()
    assert "worst %" in format_result(result)
    assert "30.00" in format_result(result)
    results = result_to_dict(result)["results"]
    assert (results["initial"]["worst_percent"], results["refined"]["worst_percent"]) == pytest.approx((30, 15))
    assert [row["worst_percent"] for row in result_to_rows(result)] == ["30", "15"]
    metrics.register("each", lambda errors: errors)
    with pytest.raises(InputError, match="metric 'each' to return one number"):
        format_result(result)
