"""Memory of ``lgcn predict`` over a long run, and what a run loses that is killed and resumed.

    python benchmarks/long_runs.py --root DIR [--images 10000] [--kills 0] --output long_runs.json
    python benchmarks/long_runs.py --root DIR --images 1000 --kills 3 --output killed.json

The images below ``--root`` are linked under as many names as needed and predicted whole. The memory of the command and
its workers (RssAnon in /proc, so without files and libraries) is read twice a second; the JSON holds its largest value
while so many images were written. With ``--kills`` the command is ended by SIGKILL once random numbers of images are
written, and resumed; the images in ``landmarks.jsonl`` are then compared with the files, and lost or repeated ones make
the exit status 1.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MARKS = (100, 300, 1000, 3000, 5000, 10000)
"""Numbers of images after which memory is reported."""


def link_images(root: Path, folder: Path, number: int) -> list[str]:
    """The names of ``number`` links in ``folder`` to the images below ``root``, in turn."""
    sources = sorted(path for path in root.resolve().rglob("*") if path.suffix in {".jpg", ".png"})
    if not sources:
        raise SystemExit(f"Expected images below '{root}' (got none).")
    for index in range(number):
        source = sources[index % len(sources)]
        (folder / f"{index:06d}{source.suffix}").symlink_to(source)
    return sorted(map(str, folder.iterdir()))


def resident_bytes(process: int) -> int:
    """Of a process and its descendants; what forked workers still share with it is counted for each."""
    total, waiting = 0, [process]
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        try:
            # Each thread has its own children.
            waiting += [int(child) for path in folder.glob("task/*/children") for child in path.read_text().split()]
            status = (folder / "status").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))
    return total


def count_lines(path: Path, since: int = 0) -> tuple[int, int]:
    """Lines written to a file since a position, and the position of its end."""
    if not path.exists():
        return 0, since
    with path.open("rb") as file:
        file.seek(since)
        content = file.read()
    return content.count(b"\n"), since + len(content)


def predict(command: list[str], record: Path, stop_after: int | None) -> tuple[int, dict[int, int]]:
    """Run the command, killing it once ``stop_after`` images are written; its status, and peak bytes for each mark."""
    process = subprocess.Popen(command, start_new_session=True)
    peaks: dict[int, int] = dict.fromkeys(MARKS, 0)
    done, position = count_lines(record)
    while process.poll() is None:
        more, position = count_lines(record, position)
        done += more
        if stop_after is None:
            mark = next((each for each in MARKS if done <= each), MARKS[-1])
            peaks[mark] = max(peaks[mark], resident_bytes(process.pid))
        elif done >= stop_after:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.5 if stop_after is None else 0.05)
    return process.returncode, {mark: peak for mark, peak in peaks.items() if peak}


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of images")
    parser.add_argument("--images", type=int, default=10000, help="default: 10000")
    parser.add_argument("--kills", type=int, default=0, help="times that the run is killed and resumed (default: 0)")
    parser.add_argument("--model", default="lgcn-68", help="default: lgcn-68")
    parser.add_argument("--workers", type=int, default=2, help="default: 2")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which the run is killed (default: 0)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args()

    draw = random.Random(args.seed)
    with TemporaryDirectory() as temporary:
        photos, out = Path(temporary, "photos"), Path(temporary, "out")
        photos.mkdir()
        names = link_images(args.root, photos, args.images)
        command = [sys.executable, "-m", "lgcn.cli.main", "predict", str(photos), "--output", str(out), "--resume"]
        command += ["--faces", "whole_image", "--model", args.model, "--workers", str(args.workers)]
        record = out / "landmarks.jsonl"
        stops = [*sorted(draw.sample(range(1, args.images), args.kills)), None]
        statuses, peaks, written = [], {}, []
        for stop in stops:
            status, peaks = predict(command, record, stop)
            statuses.append(status)
            written.append(count_lines(record)[0])
        found = Counter(json.loads(line)["image"] for line in record.read_text().splitlines())
        exported = [each["image"] for each in json.loads((out / "landmarks.json").read_text())]
    figures: dict[str, Any] = {
        "settings": {**vars(args), "root": args.root.name, "output": args.output.name, "model": Path(args.model).name},
        "cores": os.cpu_count(),
        "statuses": statuses,
        "images_after_each_run": written,
        "lost": len(set(names) - set(found)),
        "repeated": sum(count - 1 for count in found.values()),
        "same_in_json": sorted(exported) == names,
        "peak_mb_until_image": {mark: round(peak / 1e6, 1) for mark, peak in peaks.items()},
    }
    args.output.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return 0 if not figures["lost"] and not figures["repeated"] and figures["same_in_json"] else 1


if __name__ == "__main__":
    sys.exit(main())
