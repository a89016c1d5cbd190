"""Prepare images in worker processes, in order and with bounded memory."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from lgcn.checks import InputError
from lgcn.images import ImageLike, as_image_tensor
from lgcn.images.convert import read_stream
from lgcn.predict.boxes import BoxesLike
from lgcn.predict.preparation import ImagePreparer, PreparedImage

MAX_PIXELS_HELD = 2**26
"""Pixels of images held at a time, about 200 MB."""


class Task(NamedTuple):
    """An image to prepare: the arguments of :class:`ImagePreparer`."""

    image: ImageLike
    boxes: BoxesLike | None
    name: str


def prepare_all(
    preparer: ImagePreparer,
    tasks: Iterable[Task],
    *,
    workers: int = 0,
    ahead: int = 0,
    on_error: Callable[[str, InputError], None] | None = None,
) -> Iterator[PreparedImage]:
    """Yield the prepared images, without those that cannot be used.

    Args:
        preparer: reads and detects.
        tasks: consumed as needed.
        workers: processes; 0 prepares in this one.
        ahead: images that may wait for the caller in addition to two for each worker, where their pixels permit it.
        on_error: called with the name of an image that cannot be used, and the error, which is raised if None.

    Raises:
        InputError: if a worker process was killed, and for an image if ``on_error`` is None.
    """
    attempts = _in_workers(preparer, tasks, workers, ahead) if workers else _here(preparer, tasks)
    for name, prepared in attempts:
        if isinstance(prepared, PreparedImage):
            yield prepared
        elif on_error is None:
            raise prepared
        else:
            on_error(name, prepared)


def _here(preparer: ImagePreparer, tasks: Iterable[Task]) -> Iterator[tuple[str, PreparedImage | InputError]]:
    for task in tasks:
        yield task.name, _attempt(preparer, task)


def _in_workers(
    preparer: ImagePreparer, tasks: Iterable[Task], workers: int, ahead: int
) -> Iterator[tuple[str, PreparedImage | InputError]]:
    pool = ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(preparer,))
    waiting: deque[tuple[str, Future[_Outcome]]] = deque()
    largest = 1
    try:
        for task in tasks:
            waiting.append((task.name, _submit(pool, preparer, task)))
            while len(waiting) >= max(2 * workers, min(2 * workers + ahead, MAX_PIXELS_HELD // largest)):
                name, prepared = _receive(*waiting.popleft())
                if isinstance(prepared, PreparedImage):
                    largest = max(largest, prepared.image.shape[1] * prepared.image.shape[2])
                yield name, prepared
                # It may be the last reference to many megabytes.
                del prepared
        while waiting:
            yield _receive(*waiting.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, preparer: ImagePreparer, task: Task) -> "Future[_Outcome]":
    """Have a worker prepare an image; what cannot be sent, or submitted, is found in turn with the others."""
    try:
        return pool.submit(_attempt_in_worker, _sendable(preparer, task))
    except InputError as error:
        unused: Future[_Outcome] = Future()
        unused.set_result(_Outcome(None, error, []))
    except BrokenProcessPool as error:
        unused = Future()
        unused.set_exception(error)
    return unused


def _sendable(preparer: ImagePreparer, task: Task) -> Task:
    """The task without streams, and with arrays for tensors.

    Sent tensors would be moved to shared memory, with an open file for each as long as it lives, of which a process may
    have a thousand. A Pillow image would be decoded here in any case, and lose its file.

    Raises:
        InputError: for an image that cannot be read here.
    """
    image, boxes, name = task
    if isinstance(image, Image.Image | torch.Tensor):
        pixels = as_image_tensor(image, max_pixels=preparer.max_pixels, name=name)
        image = pixels.cpu().permute(1, 2, 0).numpy()
    elif hasattr(image, "read"):
        image = read_stream(image, name=name)
    if isinstance(boxes, torch.Tensor):
        boxes = boxes.detach().cpu().to(torch.float32).numpy()
    return Task(image, boxes, name)


class _Outcome(NamedTuple):
    """What a worker sends back: arrays, because tensors would need shared memory, of which containers have little."""

    prepared: tuple[Any, ...] | None
    error: InputError | None
    warnings: list[tuple[str, type[Warning], str, int]]


_preparer: ImagePreparer
"""The one of this worker process."""


def _start_worker(preparer: ImagePreparer) -> None:
    global _preparer
    _preparer = preparer
    torch.set_num_threads(1)
    # Ctrl-C reaches all processes of a terminal; the main process decides what follows from it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process once the one that asked for it has been killed, which nothing else would tell it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # Not os.getppid(), which is a server's if processes are forked by one (the default from Python 3.14).
    parent.join()
    os._exit(1)


def _attempt(preparer: ImagePreparer, task: Task) -> PreparedImage | InputError:
    try:
        return preparer(task.image, task.boxes, name=task.name)
    except InputError as error:
        return error


def _attempt_in_worker(task: Task) -> _Outcome:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepared = _attempt(_preparer, task)
    told = [(str(each.message), each.category, each.filename, each.lineno) for each in caught]
    if isinstance(prepared, InputError):
        # Without the chain of causes, some of which cannot be sent.
        return _Outcome(None, type(prepared)(*prepared.args), told)
    fields = (each.numpy() if isinstance(each, torch.Tensor) else each for each in prepared)
    return _Outcome(tuple(fields), None, told)


def _receive(name: str, future: "Future[_Outcome]") -> tuple[str, PreparedImage | InputError]:
    try:
        prepared, error, told = future.result()
    except BrokenProcessPool:
        raise InputError(
            f"Expected worker processes to prepare '{name}' and the images after it (one of them was killed, "
            "perhaps for lack of memory). Use fewer 'workers', or 0."
        ) from None
    for each in told:
        warnings.warn_explicit(*each)
    if error is not None:
        return name, error
    assert prepared is not None
    fields = (torch.from_numpy(each) if isinstance(each, np.ndarray) else each for each in prepared)
    return name, PreparedImage._make(fields)
