"""``lgcn dataset check``: count and validate the files of a dataset, and draw a sample of its faces."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lgcn.cli.dataset_options import add_dataset_option, parse_dataset_options

if TYPE_CHECKING:
    from lgcn.datasets.check import CheckedSplit, CheckReport
    from lgcn.visualization import Tile

DESCRIPTION = """\
Count the faces of a dataset, validate its annotations, decode each image once, and draw a sample of faces.
Each finding is one line that names split, file and face, and the remedy if it is not obvious.
Exit status: 0 no findings, 1 findings, 2 wrong arguments."""

EXAMPLES = """\
examples:
  lgcn dataset check wflw --root /data/wflw --output check
  lgcn dataset check ibug300w --root /data/300w --split train full
  lgcn dataset check pts --root my_faces --dataset-option one_based=false
  lgcn dataset check coco_keypoints --root my_faces --split annotations.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments; import nothing slow, to keep ``--help`` fast."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    check = actions.add_parser(
        "check",
        help="count faces, validate annotations and images, draw a sample",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument(
        "name",
        metavar="NAME",
        help="dataset: aflw19, coco_keypoints, cofw, hrnet_csv, ibug300w, lapa, pts or wflw",
    )
    check.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the dataset")
    check.add_argument(
        "--split",
        nargs="+",
        action="extend",
        help="splits to check and to compare with each other; a name, or for hrnet_csv, coco_keypoints and pts a file "
        "or folder below DIR (default: all that the dataset names)",
    )
    add_dataset_option(check)
    check.add_argument(
        "--output", type=Path, metavar="DIR", help="write report.json and a sheet of faces for each split to DIR"
    )
    check.add_argument("--sample", type=int, default=20, metavar="N", help="faces on a sheet (default: 20)")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw of these faces (default: 0)")
    check.add_argument(
        "--limit", type=int, default=20, metavar="N", help="findings of a kind to print, 0 for all (default: 20)"
    )
    check.add_argument(
        "--num-workers",
        type=int,
        default=2,
        metavar="N",
        help="processes that read images; 0 reads in the main process (default: 2)",
    )


def run(args: argparse.Namespace) -> int:
    """Check, print and write; return 0 without findings, else 1."""
    from lgcn.checks import check_at_least
    from lgcn.cli.writable import check_writable_folder
    from lgcn.datasets import DATASETS
    from lgcn.datasets.check import check_dataset

    for option, least in (("num_workers", 0), ("limit", 0), ("sample", 1)):
        check_at_least(f"--{option.replace('_', '-')}", getattr(args, option), least)
    if args.output is not None:
        check_writable_folder("--output", args.output)
    options = parse_dataset_options(args.dataset_option, DATASETS[args.name], args.scheme)
    report, checked = check_dataset(args.name, args.root, args.split, options=options, num_workers=args.num_workers)
    written = [] if args.output is None else _write(args, report, checked)
    _print(_summary(report, args.limit))
    if args.output is None:
        _print(["Use --output DIR to write report.json and a sheet of faces for each split."])
    else:
        _print(["", f"wrote {', '.join(written)} to '{args.output}'"])
    return 1 if report.findings else 0


def _print(lines: Sequence[str]) -> None:
    """Print lines with names of files; characters that the stream cannot encode are escaped."""
    from lgcn.files import printable

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        print(printable(line).encode(encoding, errors="backslashreplace").decode(encoding))


def _summary(report: "CheckReport", limit: int) -> list[str]:
    """The table of counts, the findings by kind, the notes, and the outcome."""
    from tabulate import tabulate

    from lgcn.datasets.check import KINDS
    from lgcn.files import printable

    lines = [f"{report.dataset} in '{report.root}'"]
    rows = []
    for split, counts in report.splits.items():
        left_out = sum(counts.left_out.values())
        rows.append([printable(split), counts.faces, _or_dash(counts.published), counts.images, left_out])
        rows += [
            [f"  {subset}", faces, _or_dash(published), images, ""]
            for subset, (faces, published, images) in counts.subsets.items()
        ]
    if rows:
        table = tabulate(
            rows,
            headers=["split", "faces", "published", "images", "left out"],
            tablefmt="plain",
            colalign=("left", *4 * ["right"]),
            disable_numparse=True,
            preserve_whitespace=True,
        )
        lines += ["", *table.splitlines()]
        reasons = sum((Counter(counts.left_out) for counts in report.splits.values()), Counter[str]())
        lines += [f"left out: {count} {reason}" for reason, count in reasons.items()]
    for kind, findings in report.by_kind().items():
        shown = findings[: limit or None]
        lines += ["", f"{KINDS[kind]}: {len(findings)}", *(f"  {finding}" for finding in shown)]
        if len(shown) < len(findings):
            lines.append(f"  and {len(findings) - len(shown)} more (--limit 0 prints all, --output writes all)")
    lines += ["", *(f"note: {note}" for note in report.notes)] if report.notes else []
    faces = sum(counts.faces for counts in report.splits.values())
    wrong = f"{len(report.findings)} finding{'' if len(report.findings) == 1 else 's'}"
    return [*lines, "", f"{faces} faces checked: {wrong if report.findings else 'no findings'}."]


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _write(args: argparse.Namespace, report: "CheckReport", checked: dict[str, "CheckedSplit"]) -> list[str]:
    """Write the report and the sheets; return their names."""
    from lgcn.cli.writable import writing_to
    from lgcn.files import printable, write_text
    from lgcn.visualization import save_contact_sheet

    written = ["report.json"]
    with writing_to(args.output):
        write_text(args.output / "report.json", _to_json(report))
        for number, (split, each) in enumerate(checked.items()):
            tiles = _sample(each, args.sample, args.seed)
            if not tiles:
                continue
            # A split may be one or several folder paths: not a file name, and not unique.
            name = "".join(letter if letter.isalnum() else "-" for letter in split)[:60]
            written.append(f"sheet_{name if name == split else f'{number}_{name}'}.png")
            drawn = f"{len(tiles)} of {len(each.dataset.image_ids)} faces, seed {args.seed}"
            title = f"{report.dataset} {printable(split)}, {drawn}"
            save_contact_sheet(args.output / written[-1], tiles, columns=5, title=title)
    return written


def _to_json(report: "CheckReport") -> str:
    import json
    from dataclasses import asdict

    content = asdict(report)
    for counts in content["splits"].values():
        counts["subsets"] = {name: subset._asdict() for name, subset in counts["subsets"].items()}
    content["findings"] = [finding._asdict() for finding in report.findings]
    content["num_findings"] = {kind: len(findings) for kind, findings in report.by_kind().items()}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _sample(checked: "CheckedSplit", count: int, seed: int) -> Sequence["Tile"]:
    """Tiles of a random sample of the faces whose images can be read, in the order of the annotation."""
    import torch

    from lgcn.files import printable
    from lgcn.visualization import cut_tile

    dataset = checked.dataset
    readable = [
        index
        for index, image_id in enumerate(dataset.image_ids)
        if image_id in checked.facts and checked.facts[image_id].error is None
    ]
    order = torch.randperm(len(readable), generator=torch.Generator().manual_seed(seed))[:count]
    tiles = []
    for index in sorted(readable[place] for place in order.tolist()):
        name = printable(dataset.image_ids[index])
        target = dataset.pos[index].masked_fill(dataset.visibility[index][:, None] == 0, torch.nan)
        caption = f"face {int(dataset.kept[index])}\n{name if len(name) <= 34 else f'...{name[-31:]}'}"
        occlusion = None if dataset.occlusion is None else dataset.occlusion[index]
        image, box = dataset.read_image(index), dataset.bbox[index]
        tiles.append(cut_tile(image, box, None, target, caption, scheme=dataset.scheme, occlusion=occlusion))
    return tiles
