"""Files of ``lgcn evaluate --output``: JSON, CSV, Markdown, CED curves, and a sheet of the worst faces."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcn.cli.writable import check_not_replaced

if TYPE_CHECKING:
    from torch import Tensor

    from lgcn.datasets import LandmarkDataset
    from lgcn.evaluation.comparison_table import ComparisonTable
    from lgcn.evaluation.literature import PublishedResult
    from lgcn.evaluation.results import EvaluationResult
    from lgcn.visualization import Tile

WORST_FACES = 12

_FILES = ("evaluation.json", "evaluation.csv", "faces.csv", "landmarks.csv", "ced.png", "ced.csv", "evaluation.md")
"""Files of every evaluation."""


class EvaluationFolder:
    """The folder that an evaluation is written to.

    Args:
        folder: created when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[Path] = []

    def check_not_replaced(self, overwrite: bool) -> None:
        """Check that the folder holds no earlier results, unless they may be replaced.

        Raises:
            InputFileError: naming one of them.
        """
        check_not_replaced([self.folder / name for name in _FILES], overwrite)

    def write(
        self,
        results: Sequence["EvaluationResult"],
        datasets: Sequence["LandmarkDataset"],
        tables: Sequence["ComparisonTable"],
        published: Sequence["PublishedResult"],
    ) -> None:
        """Write all files.

        Args:
            results: results of the evaluation.
            datasets: the dataset of each result; the images of the worst faces are read again.
            tables: tables of subsets.
            published: the published results in the tables.
        """
        from lgcn.evaluation.formatting import report_markdown
        from lgcn.evaluation.serialization import faces_to_rows, landmarks_to_rows, result_to_rows
        from lgcn.files import write_text

        write_text(self._file("evaluation.json"), to_json(results, published))
        self._write_csv("evaluation.csv", [row for result in results for row in result_to_rows(result)])
        self._write_csv("faces.csv", [row for result in results for row in faces_to_rows(result)])
        self._write_csv("landmarks.csv", [row for result in results for row in landmarks_to_rows(result)])
        images = self._write_curves(results)
        for result, dataset in zip(results, datasets, strict=True):
            # Under other conditions the images of the dataset are not what the network saw.
            if result.condition in ("clean", "detector"):
                images.append(self._write_worst(result, dataset, self._ending(results, result)))
        write_text(self._file("evaluation.md"), report_markdown(results, tables, published, images))

    def _file(self, name: str) -> Path:
        path = self.folder / name
        self.written.append(path)
        return path

    def _ending(self, results: Sequence["EvaluationResult"], result: "EvaluationResult") -> str:
        """Distinguishes the files of several results: "" for one, else "_1_model_split"."""
        if len(results) == 1:
            return ""
        names = [result.model, result.split]
        names += [result.condition] if len({each.condition for each in results}) > 1 else []
        words = (re.sub(r"\W+", "-", word, flags=re.ASCII).strip("-")[-40:] for word in names)
        number = next(number for number, each in enumerate(results, start=1) if each is result)
        return "_".join(["", str(number), *words])

    def _write_csv(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        from lgcn.files import escape_name, replace_when_done

        # Splits with different subsets, and models without a graph, have different columns.
        columns = dict.fromkeys(column for row in rows for column in row)
        with (
            replace_when_done(self._file(name)) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(columns), restval="")
            writer.writeheader()
            for row in rows:
                # File names may hold what UTF-8 cannot encode; lgcn.files.unescape_name gives them back.
                writer.writerow(
                    {key: escape_name(value) if isinstance(value, str) else value for key, value in row.items()}
                )

    def _write_curves(self, results: Sequence["EvaluationResult"]) -> list[tuple[str, str]]:
        """Plots of the CED and their CSV; pairs of a title and a file name."""
        from lgcn.evaluation.serialization import curve_to_rows
        from lgcn.evaluation.text_tables import ROW_TITLES

        whole = {}
        for result in results:
            name = _name_of(results, result)
            for kind, row in result.rows.items():
                whole[": ".join([*name, ROW_TITLES.get(kind, kind)])] = row.errors
        threshold = max(threshold for result in results for threshold in result.thresholds)
        points = [row for result in results for kind in result.rows for row in curve_to_rows(result, kind, threshold)]
        images = [("Cumulative error distribution", self._plot("ced", whole, threshold, _conditions(results), points))]
        for result in results:
            kind = list(result.rows)[-1]
            parts = {
                name: rows[kind].errors for name, rows in result.subsets.items() if not rows[kind].errors.isnan().all()
            }
            points = [row for name in ("", *parts) for row in curve_to_rows(result, kind, threshold, name)]
            if parts:
                parts = {f"all of {result.split}": result.rows[kind].errors, **parts}
                what = f"{result.model}, {ROW_TITLES.get(kind, kind)}"
                stem, title = f"ced_subsets{self._ending(results, result)}", f"{what}: {_conditions([result])}"
                file = self._plot(stem, parts, threshold, title, points)
                images.append((f"Cumulative error distribution of the subsets of {result.split}, {what}", file))
        return images

    def _plot(
        self, stem: str, curves: dict[str, "Tensor"], threshold: float, title: str, points: Sequence[dict[str, object]]
    ) -> str:
        """Draw the curves and write their points; return the name of the image."""
        from lgcn.files import printable
        from lgcn.visualization import plot_ced

        printable_curves = {printable(name): errors for name, errors in curves.items()}
        plot_ced(printable_curves, threshold, self._file(f"{stem}.png"), title=printable(title))
        self._write_csv(f"{stem}.csv", points)
        return f"{stem}.png"

    def _write_worst(self, result: "EvaluationResult", dataset: "LandmarkDataset", ending: str) -> tuple[str, str]:
        from lgcn.files import printable
        from lgcn.visualization import save_contact_sheet

        kind, row = list(result.rows.items())[-1]
        # NaN, a face that was not measured, comes last.
        worst = row.errors.nan_to_num(nan=-1.0, posinf=float("inf")).argsort(descending=True, stable=True)
        faces = [int(face) for face in worst[:WORST_FACES] if not row.errors[face].isnan()]
        tiles = [self._tile(result, dataset, kind, face) for face in faces]
        title = f"worst faces of {result.model}, {kind} landmarks: {_conditions([result])}"
        name = f"worst{ending}.png"
        save_contact_sheet(self._file(name), tiles, title=printable(title))
        return f"Worst faces of {result.model} on {result.split}", name

    def _tile(self, result: "EvaluationResult", dataset: "LandmarkDataset", kind: str, face: int) -> "Tile":
        import torch

        from lgcn.files import printable
        from lgcn.geometry import landmark_box
        from lgcn.visualization import cut_tile

        row, index = result.rows[kind], dataset.indices()[face]
        assert row.landmarks is not None
        visibility = dataset.visibility[index]
        target = dataset.pos[index].masked_fill(visibility[:, None] == 0, torch.nan)
        name = printable(result.image_ids[face])
        caption = f"NME {100 * row.errors[face]:.2f} %\n{name if len(name) <= 34 else f'...{name[-31:]}'}"
        box = landmark_box(dataset.pos[index], visibility)
        return cut_tile(dataset.read_image(index), box, row.landmarks[face].float(), target, caption)


def to_json(results: Sequence["EvaluationResult"], published: Sequence["PublishedResult"] = ()) -> str:
    """A single result as one object; several results, or with published ones, as ``{"evaluations": [...]}``."""
    from dataclasses import asdict

    from lgcn.evaluation.serialization import result_to_dict

    found = [result_to_dict(result) for result in results]
    content: dict[str, Any] = found[0]
    if len(found) > 1 or published:
        content = {"evaluations": found}
    if published:
        content["published"] = [asdict(each) for each in published]
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _name_of(results: Sequence["EvaluationResult"], result: "EvaluationResult") -> list[str]:
    """The part of a title that distinguishes a result; empty if it is the only one."""
    models, splits, protocols = ({getattr(each, key) for each in results} for key in ("model", "split", "protocol"))
    words = [result.model] if len(models) > 1 else []
    words += [result.split] if len(splits) > 1 else []
    words += [result.condition] if len({each.condition for each in results}) > 1 else []
    words += [f"protocol {result.protocol.name}"] if len(protocols) > 1 else []
    return [", ".join(words)] if words else []


def _conditions(results: Sequence["EvaluationResult"]) -> str:
    """Dataset, splits, protocols and normalisers, for the title of an image."""
    splits, protocols, normalizers = (
        ", ".join(dict.fromkeys(each))
        for each in (
            [result.split for result in results],
            [result.protocol.name for result in results],
            [result.normalizer for result in results],
        )
    )
    degraded = [condition for condition in dict.fromkeys(each.condition for each in results) if condition != "clean"]
    under = f", {' '.join(degraded)}" if degraded and len(results) == 1 else ""
    return f"{results[0].dataset} {splits}{under}, protocol {protocols}, {normalizers}"
