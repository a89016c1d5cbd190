"""``lgcn dataset check``: counts and validates the files of a dataset, and draws some of its faces."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lgcn.datasets.findings import CheckReport
    from lgcn.datasets.image_checks import CheckedSplit
    from lgcn.visualization import Tile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; nothing heavy is imported for ``--help``."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    summary = "count faces, validate annotations and pictures, draw a sample"
    check = actions.add_parser("check", help=summary, description=f"{summary.capitalize()}.")
    check.add_argument("name", metavar="NAME", help="name of a dataset, for instance ibug300w or wflw")
    check.add_argument("--root", required=True, type=Path, metavar="DIR", help="folder of the dataset")
    check.add_argument(
        "--split", nargs="+", action="extend", help="splits to check, each against the others (default: all)"
    )
    check.add_argument(
        "--output", type=Path, metavar="DIR", help="write report.json and a sheet of faces for each split to DIR"
    )
    check.add_argument("--sample", type=int, default=20, metavar="N", help="faces on a sheet (default: 20)")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="decides which faces (default: 0)")
    check.add_argument(
        "--limit", type=int, default=20, metavar="N", help="findings of a kind to print, 0 for all (default: 20)"
    )
    check.add_argument(
        "--num-workers", type=int, default=2, metavar="N", help="processes that read pictures (default: 2; 0: this one)"
    )


def run(args: argparse.Namespace) -> int:
    """Checks, prints, writes; 0 if all is well, 1 if something was found."""
    from lgcn.checks import check_at_least
    from lgcn.cli.writable import check_writable_folder
    from lgcn.datasets.checking import check_dataset

    for option, least in (("num_workers", 0), ("limit", 0), ("sample", 1)):
        check_at_least(f"--{option.replace('_', '-')}", getattr(args, option), least)
    if args.output is not None:
        check_writable_folder("--output", args.output)
    report, checked = check_dataset(args.name, args.root, args.split, num_workers=args.num_workers)
    written = [] if args.output is None else _write(args, report, checked)
    print("\n".join(_summary(report, args.limit)))
    if args.output is None:
        print("Nothing is drawn or written without --output DIR: a sheet of faces for each split, and report.json.")
    else:
        print(f"\nwrote {', '.join(written)} to '{args.output}'")
    return 1 if report.findings else 0


def _summary(report: "CheckReport", limit: int) -> list[str]:
    """The table of counts, findings by kind, notes, and the outcome."""
    from lgcn.datasets.findings import KINDS
    from lgcn.evaluation.formatting import align

    lines = [f"{report.dataset} in '{report.root}'"]
    table = [["split", "faces", "published", "pictures", "left out"]]
    for split, counts in report.splits.items():
        left_out = str(sum(counts.left_out.values()))
        table.append([split, str(counts.faces), _or_dash(counts.published), str(counts.pictures), left_out])
        table += [
            [f"  {subset}", str(faces), _or_dash(published), str(pictures), ""]
            for subset, (faces, published, pictures) in counts.subsets.items()
        ]
    lines += ["", *align(table, left=1)] if report.splits else []
    for kind, findings in report.by_kind().items():
        shown = findings[: limit or None]
        lines += ["", f"{KINDS[kind]}: {len(findings)}", *(f"  {finding}" for finding in shown)]
        if len(shown) < len(findings):
            lines.append(f"  and {len(findings) - len(shown)} more (--limit 0 prints all, --output writes all)")
    lines += ["", *(f"note: {note}" for note in report.notes)] if report.notes else []
    faces = sum(counts.faces for counts in report.splits.values())
    wrong = f"{len(report.findings)} finding{'' if len(report.findings) == 1 else 's'}"
    return [*lines, "", f"{faces} faces checked: {wrong if report.findings else 'all is well'}."]


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _write(args: argparse.Namespace, report: "CheckReport", checked: dict[str, "CheckedSplit"]) -> list[str]:
    """Writes the report and the sheets; their names."""
    from lgcn.cli.writable import writing_to
    from lgcn.files import write_text
    from lgcn.visualization import save_contact_sheet

    written = ["report.json"]
    with writing_to(args.output):
        write_text(args.output / "report.json", _to_json(report))
        for number, (split, each) in enumerate(checked.items()):
            tiles = _sample(each, args.sample, args.seed)
            if not tiles:
                continue
            # A split may be called as a folder is, or as several: words that are no file's name and need not differ.
            name = "".join(letter if letter.isalnum() else "-" for letter in split)[:60]
            written.append(f"sheet_{name if name == split else f'{number}_{name}'}.png")
            title = f"{report.dataset} {split}, {len(tiles)} of {len(each.dataset.image_ids)} faces, seed {args.seed}"
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
    """Tiles of faces drawn at random from those whose pictures can be read, in the order of the annotation."""
    import torch

    from lgcn.datasets.findings import printable
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
        picture, box = dataset.read_image(index), dataset.bbox[index]
        tiles.append(cut_tile(picture, box, None, target, caption, scheme=dataset.scheme, occlusion=occlusion))
    return tiles
