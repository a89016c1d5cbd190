"""Results of `lgcn predict` that is stopped, killed, or runs out of room."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from lgcn.cli.main import main
from lgcn.cli.stopping import Stopped, exit_status, stoppable
from lgcn.models import create_detector
from lgcn.predict import LandmarkPredictor, read_boxes
from lgcn.predict.exports import EXPORTS
from lgcn.predict.preparation import ImagePreparer

COUNT, STOP = 8, 5


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """`lgcn predict` with the smallest network, on several images with one box each, one image at a time."""
    folder = tmp_path_factory.mktemp("photos")
    torch.manual_seed(0)
    create_detector(scheme="ibug68", backbone="test_efficientnet", input_size=(64, 64)).save_pretrained(
        folder / "model"
    )
    for number in range(COUNT):
        Image.new("RGB", (120, 90), "grey").save(folder / f"{number}.png")
    boxes = {f"{number}.png": [[20, 20, 70, 70]] for number in range(COUNT)}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    options = ["--model", folder / "model", "--boxes", folder / "boxes.json", "--batch-size", 1]
    return [str(word) for word in ["predict", folder, *options]]


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """Handlers as a shell in the foreground leaves them: under nohup, and in the background, signals are ignored."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def act_at_stop(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Does something when the image of number STOP is prepared."""

    def install(act):  # type: ignore[no-untyped-def]
        original = ImagePreparer.__call__

        def prepare(self, image, boxes=None, **options):  # type: ignore[no-untyped-def]
            if Path(image).stem == str(STOP):
                act()
            return original(self, image, boxes, **options)

        monkeypatch.setattr(ImagePreparer, "__call__", prepare)

    return install


def names(records: list[dict[str, object]]) -> list[str]:
    return [Path(str(record["image"])).name for record in records]


DONE = [f"{number}.png" for number in range(STOP)]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
@pytest.mark.parametrize("file_format", ["json", "csv", "pts", "printed"])
def test_finished_results_survive_a_signal(  # type: ignore[no-untyped-def]
    number: signal.Signals,
    said: str,
    file_format: str,
    words: list[str],
    act_at_stop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    act_at_stop(lambda: os.kill(os.getpid(), number))
    output = [] if file_format == "printed" else ["--output", str(tmp_path / "out"), "--format", file_format]
    assert main([*words, *output]) == 128 + number
    printed = capsys.readouterr()
    assert f"Stopped by {said} after {STOP} of {COUNT} images. {STOP} faces in {STOP} images" in printed.err
    record = tmp_path / "out" / "landmarks.jsonl"
    if file_format == "printed":
        assert names(json.loads(printed.out)) == DONE
    else:
        assert names([json.loads(line) for line in record.read_text().splitlines()]) == DONE
    if file_format == "json":
        assert names(json.loads((tmp_path / "out" / "landmarks.json").read_text())) == DONE
    elif file_format == "csv":
        assert [Path(name).name for name in read_boxes(tmp_path / "out" / "landmarks.csv").boxes] == DONE
    elif file_format == "pts":
        assert sorted(path.stem for path in (tmp_path / "out").glob("*.pts")) == [str(each) for each in range(STOP)]
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_run_is_resumed_without_loss_or_repetition(words: list[str], tmp_path: Path) -> None:
    code = "import sys; from lgcn.cli.main import main; sys.exit(main(sys.argv[1:]))"
    out = tmp_path / "out"
    run = [*words, "--output", str(out), "--workers", "2", "--overlay"]
    record = out / "landmarks.jsonl"
    # Killed again and again, each time once it has got a little further.
    for least in (2, 5):
        with subprocess.Popen([sys.executable, "-c", code, *run, "--resume"], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (not record.exists() or record.read_bytes().count(b"\n") < least):
                time.sleep(0.01)
            process.kill()
        # The same would happen to a line that the kill cuts in two.
        with record.open("ab") as file:
            file.write(b'{"image": "5.png", "fa')
    # Another run must not replace or continue it unasked, nor with other settings.
    before = record.read_bytes()
    assert main(run) == 2
    assert main([*run, "--resume", "--min-confidence", "0.5"]) == 2
    assert record.read_bytes() == before

    assert main([*run, "--resume"]) == 0
    records = [json.loads(line) for line in record.read_text().splitlines()]
    assert names(records) == [f"{number}.png" for number in range(COUNT)]
    assert json.loads((out / "landmarks.json").read_text()) == records
    assert len(list(out.glob("*_overlay.png"))) == COUNT
    assert [Path(name).name for name in read_boxes(record).boxes] == names(records)

    # Resumed once more it has nothing to predict, and writes another format.
    assert main([*run, "--resume", "--format", "csv"]) == 0
    assert len((out / "landmarks.csv").read_text().splitlines()) == 1 + COUNT
    assert main([*run, "--overwrite"]) == 0
    assert len(record.read_text().splitlines()) == COUNT


def test_a_resumed_run_keeps_results_complete_and_single(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, folder, *options = words
    out = tmp_path / "out"
    options += ["--output", str(out), "--resume"]
    assert main([command, str(Path(folder) / "0.png"), *options]) == 0
    # Without their .pts files and overlays, the images that are done would be left out of the results.
    for more in (["--format", "pts"], ["--overlay"]):
        assert main([command, folder, *options, *more]) == 2
        assert "every image of the run to resume" in capsys.readouterr().err
    # The same image by another path.
    monkeypatch.chdir(Path(folder))
    assert main([command, "0.png", "1.png", *options]) == 0
    assert names(json.loads((out / "landmarks.json").read_text())) == ["0.png", "1.png"]
    assert main([command, "2.png", *options]) == 0
    assert "also has the results of 2 images" in capsys.readouterr().err
    assert names(json.loads((out / "landmarks.json").read_text())) == ["0.png", "1.png", "2.png"]


def test_a_run_is_not_resumed_with_another_file_at_the_same_path(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, folder, _, model, _, boxes, *options = words
    copies = {"model": tmp_path / "model", "boxes": tmp_path / "boxes.json"}
    shutil.copytree(model, copies["model"])
    shutil.copy(boxes, copies["boxes"])
    options += ["--model", str(copies["model"]), "--boxes", str(copies["boxes"]), "--output", str(tmp_path / "out")]
    run = [command, str(Path(folder) / "0.png"), *options]
    assert main(run) == 0
    assert "images/s" in capsys.readouterr().err
    assert main([*run, "--resume"]) == 0
    assert "images/s" not in capsys.readouterr().err  # there was nothing to do
    for name, file in {"model": copies["model"] / "config.json", "boxes": copies["boxes"]}.items():
        before = file.read_text()
        file.write_text(before + "\n")
        assert main([*run, "--resume"]) == 2
        assert f"got {name}_sha256 = " in capsys.readouterr().err
        file.write_text(before)
    assert main([*run, "--resume"]) == 0


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_with_no_room_for_the_final_file_leaves_the_record(  # type: ignore[no-untyped-def]
    words: list[str], act_at_stop, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(EXPORTS, "json", ("landmarks.json", refuse))
    act_at_stop(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert main([*words, "--output", str(tmp_path / "out")]) == 143
    printed = capsys.readouterr().err
    record = tmp_path / "out" / "landmarks.jsonl"
    assert "No space left on device" in printed and f"{STOP} images; written: {record}." in printed
    assert names([json.loads(line) for line in record.read_text().splitlines()]) == DONE


def test_finished_results_survive_an_error(  # type: ignore[no-untyped-def]
    words: list[str], act_at_stop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("out of memory")

    act_at_stop(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        main([*words, "--output", str(tmp_path / "out")])
    assert names(json.loads((tmp_path / "out" / "landmarks.json").read_text())) == DONE
    assert f"Stopped by an error after {STOP} of {COUNT} images" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--overlay"], ["--format", "pts"], ["--format", "csv"]])
def test_a_disk_that_fills_up_leaves_whole_files(
    options: list[str], words: list[str], small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "ballast").write_bytes(bytes(36_000))
    assert main([*words, "--output", str(small_disk / "out"), *options]) == 2
    printed = capsys.readouterr().err
    assert "Expected to be able to write to" in printed and "No space left on device" in printed
    assert "Traceback" not in printed
    left = sorted((small_disk / "out").iterdir())
    assert left, "the landmarks of the first image fit"
    for path in left:
        assert not path.name.startswith(".")
        if path.name == "settings.json":
            assert json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            assert names(records) == [f"{number}.png" for number in range(len(records))]
        elif path.suffix == ".json":
            assert names(json.loads(path.read_text()))[:STOP] == DONE[: len(json.loads(path.read_text()))]
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".pts":
            assert path.read_text().endswith("}\n")


def test_an_unwritable_folder_is_reported_before_the_work(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("lgcn.cli.writable.TemporaryFile", refuse)
    monkeypatch.setattr(LandmarkPredictor, "from_pretrained", None)
    assert main([*words, "--output", str(tmp_path / "out")]) == 2
    assert "Expected '--output' to be writable" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_behind_stdout_is_one_line(words: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:  # noqa: PTH123
        code = "import sys; from lgcn.cli.main import main; sys.exit(main(sys.argv[1:]))"
        done = subprocess.run(
            [sys.executable, "-c", code, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "lgcn: error: Expected to be able to write to standard output (No space left on device)." in done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_status_and_handlers() -> None:
    assert exit_status(KeyboardInterrupt()) == 130
    assert exit_status(Stopped(signal.SIGTERM)) == 143
    # A command that nohup protects from SIGHUP stays protected.
    if hasattr(signal, "SIGHUP"):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with stoppable():
                assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGHUP, before)
