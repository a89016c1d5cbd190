import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import lgcn
from lgcn.checks import InputError, InputFileError
from lgcn.images import PixelRangeWarning, read_image
from lgcn.predict import ImagePreparer, LandmarkPredictor, NoFaceWarning
from lgcn.predict.workers import MAX_PIXELS_HELD, Task, prepare_all
from tests.predict.spots import SpotDetector, draw_spots, triangle


def whole(image: Tensor) -> Tensor:
    return torch.tensor([[0.0, 0.0, image.shape[2] - 1.0, image.shape[1] - 1.0]])


def killed(image: Tensor) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return whole(image)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        image = draw_spots((60, 80), triangle(10.0 + 2 * number, 15.0))
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    paths[4].write_text("no image")
    Image.fromarray(np.full((20, 20), 1000, dtype=np.uint16)).save(paths[6])
    return paths


def test_workers_give_what_this_process_gives(files: list[Path]) -> None:
    predictor = LandmarkPredictor(SpotDetector(), face_detector=whole, batch_size=3)  # type: ignore[arg-type]
    results, errors = [], []
    for workers in (0, 2):
        failed: list[tuple[str, InputError]] = []
        stream = predictor.stream(files, workers=workers, on_error=lambda *each: failed.append(each))  # noqa: B023
        with pytest.warns(PixelRangeWarning, match=r"6\.png.* is 1000"):
            results.append([(image.name, faces[0].landmarks) for image, faces in stream])
        errors.append(failed)
    assert [name for name, _ in results[1]] == [str(path) for path in files if path != files[4]]
    for (_, here), (_, there) in zip(*results, strict=True):
        assert torch.equal(here, there)
    assert [name for name, _ in errors[1]] == [str(files[4])]
    assert str(errors[0][0][1]) == str(errors[1][0][1])
    with pytest.raises(InputFileError, match=r"4\.png"):
        list(predictor.stream(files, workers=2))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_without_a_face_is_searched_further_in_this_process(workers: int) -> None:
    predictor = LandmarkPredictor(SpotDetector())  # type: ignore[arg-type]
    grey = np.full((80, 700, 3), 128, dtype=np.uint8)
    with pytest.warns(NoFaceWarning, match=r"pixels or more here"):
        assert [faces for _, faces in predictor.stream([grey], workers=workers)] == [[]]


def test_boxes_and_names_go_with_their_images(files: list[Path]) -> None:
    predictor = LandmarkPredictor(SpotDetector())  # type: ignore[arg-type]
    boxes = [[1.0 + number, 2.0, 50.0, 50.0] for number in range(4)]
    stream = predictor.stream(iter(files[:4]), boxes, names=map(str, range(4)), workers=2)
    assert [(image.name, image.boxes[0, 0].item()) for image, _ in stream] == [(str(n), 1.0 + n) for n in range(4)]


def test_images_of_every_kind_are_sent_to_workers(files: list[Path]) -> None:
    predictor = LandmarkPredictor(SpotDetector(), passes=1)  # type: ignore[arg-type]
    tensor, boxes = read_image(files[0]), torch.tensor([[1.0, 2.0, 50.0, 50.0]])
    with files[0].open("rb") as stream, Image.open(files[0]) as image:
        given = [files[0], files[0].read_bytes(), stream, image, tensor, tensor.permute(1, 2, 0).numpy()]
        for found, _ in predictor.stream(given, 6 * [boxes], workers=1):
            assert torch.equal(found.image, tensor)
            assert torch.equal(found.boxes, boxes)
    # Each shared tensor would hold a file open.
    assert not tensor.is_shared()
    assert not boxes.is_shared()


def test_images_that_cannot_be_sent_are_reported_in_turn(files: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    reasons = []
    for workers in (0, 1):
        failed: list[tuple[str, str]] = []
        with Image.open(cut) as image, files[4].open() as text:
            tasks = [Task(each, [1.0, 1, 9, 9], str(number)) for number, each in enumerate([image, files[0], text])]
            prepared = prepare_all(
                ImagePreparer(),
                tasks,
                workers=workers,
                on_error=lambda name, error: failed.append((name, str(error))),  # noqa: B023
            )
            assert [each.name for each in prepared] == ["1"]
        reasons.append(failed)
    assert reasons[0] == reasons[1]
    assert [name for name, _ in reasons[1]] == ["0", "2"]


def test_few_images_are_read_ahead(files: list[Path]) -> None:
    taken = []

    def tasks():  # type: ignore[no-untyped-def]
        for number in range(100):
            taken.append(number)
            yield Task(np.zeros((10, 10, 3), np.uint8), [0.0, 0.0, 5.0, 5.0], str(number))

    stream = prepare_all(ImagePreparer(), tasks(), workers=2, ahead=6)
    for number in range(20):
        assert next(stream).name == str(number)
        assert len(taken) <= number + 2 * 2 + 6
    stream.close()


def test_large_images_are_not_read_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lgcn.predict.workers.MAX_PIXELS_HELD", 300)
    assert MAX_PIXELS_HELD > 300
    taken = []

    def tasks():  # type: ignore[no-untyped-def]
        for number in range(30):
            taken.append(number)
            yield Task(np.zeros((10, 10, 3), np.uint8), [0.0, 0.0, 5.0, 5.0], str(number))

    for number, _ in enumerate(prepare_all(ImagePreparer(), tasks(), workers=1, ahead=20)):
        if number > 20:
            assert len(taken) <= min(30, number + 1 + 3)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_killed_worker_is_an_error_that_names_the_image(files: list[Path]) -> None:
    tasks = [Task(path, None, path.name) for path in files]
    with pytest.raises(InputError, match=r"'0\.png' and the images after it .one of them was killed"):
        list(prepare_all(ImagePreparer(killed), tasks, workers=1))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_worker_that_is_killed_before_the_next_image_is_an_error_that_names_it() -> None:
    def tasks():  # type: ignore[no-untyped-def]
        yield Task(np.zeros((10, 10, 3), np.uint8), [0.0, 0.0, 5.0, 5.0], "first")
        (worker,) = multiprocessing.active_children()
        worker.kill()
        worker.join()
        time.sleep(0.5)  # until the pool has noticed
        yield from (Task(np.zeros((10, 10, 3), np.uint8), [0.0, 0.0, 5.0, 5.0], str(n)) for n in range(9))

    with pytest.raises(InputError, match=r"' and the images after it .one of them was killed"):
        list(prepare_all(ImagePreparer(), tasks(), workers=1))


METHODS = [method for method in multiprocessing.get_all_start_methods() if "fork" in method]
WAITING = """
import itertools, multiprocessing, sys, time
import torch
from lgcn.predict import ImagePreparer
from lgcn.predict.workers import Task, prepare_all

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    tasks = (Task(image.numpy().transpose(1, 2, 0), torch.tensor([1.0, 1, 9, 9]), str(i)) for i in itertools.count())
    prepared = prepare_all(ImagePreparer(), tasks, workers=2)
    first = [next(prepared).name for _ in range(3)]
    print(*first, *(process.pid for process in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("method", METHODS)
def test_workers_end_with_the_main_process_and_not_before(method: str, tmp_path: Path) -> None:
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    environment = {**os.environ, "PYTHONPATH": str(Path(lgcn.__file__).parents[1])}
    command = [sys.executable, str(script), method]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        words = process.stdout.readline().split() if process.stdout else []
        process.kill()
    assert words[:3] == ["0", "1", "2"]
    workers = [int(pid) for pid in words[3:]]
    assert len(workers) == 2
    end = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def test_numbers_of_workers_below_zero_are_refused() -> None:
    with pytest.raises(InputError, match="'workers' to be 0 or more"), warnings.catch_warnings():
        list(LandmarkPredictor(SpotDetector()).stream([], workers=-1))  # type: ignore[arg-type]
