import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lgcn.checks import InputError, InputFileError
from lgcn.video import VideoReader, VideoWarning, VideoWriter, is_video
from lgcn.video import frames as frames_module

av = pytest.importorskip("av", reason="PyAV (the extra 'video') is not installed")


def ramp(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Dark on the left; brighter with each frame."""
    image = np.zeros((*size, 3), np.uint8)
    image[:, size[1] // 2 :] = min(255, 60 + 10 * number)
    return image


def write(path: Path, times: list[float], size: tuple[int, int] = (48, 64)) -> Path:
    with VideoWriter(path, 25.0) as writer:
        for number, time in enumerate(times):
            writer.write(ramp(number, size), time)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.3, 0.31]  # no constant rate
    with VideoReader(write(tmp_path / "clip.mp4", times)) as video:
        assert video.num_frames == 5
        found = list(video)
    assert [frame.number for frame in found] == [0, 1, 2, 3, 4]
    assert [frame.time for frame in found] == pytest.approx(times, abs=1e-3)
    for number, frame in enumerate(found):
        assert frame.image.dtype == torch.uint8 and frame.image.shape == (3, 48, 64)
        assert frame.image[:, :, :28].float().mean() == pytest.approx(0, abs=4)
        assert frame.image[:, :, 36:].float().mean() == pytest.approx(60 + 10 * number, abs=4)
    assert not [path for path in tmp_path.iterdir() if path.name != "clip.mp4"]


def test_odd_sizes_lose_a_row_and_a_column_and_other_sizes_are_refused(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "odd.mp4", [0.0], (49, 65))) as video:
        assert next(iter(video)).image.shape == (3, 48, 64)
    with VideoWriter(tmp_path / "two.mp4", 25.0) as writer:
        writer.write(ramp(0), 0.0)
        with pytest.raises(InputError, match="frames of 64 x 48 pixels.*got 32 x 32"):
            writer.write(ramp(0, (32, 32)), 0.1)


def test_frames_without_a_pair_of_rows_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "row.mp4", 25.0) as writer, pytest.raises(InputError, match="2 x 2 .*got 64 x 1"):
        writer.write(ramp(0, (1, 64)), 0.0)
    assert not list(tmp_path.iterdir())


def test_each_iteration_starts_with_the_first_frame(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "clip.mp4", [0.0, 0.04, 0.08])) as video:
        first = next(iter(video))
        for _ in range(2):
            frames = list(video)
            assert [frame.number for frame in frames] == [0, 1, 2]
            assert torch.equal(frames[0].image, first.image)


def test_a_camera_that_is_unplugged_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unplugged:
        def __init__(self, container: object, packets: list[object]) -> None:
            self.container, self.packets = container, packets

        def demux(self, stream: object) -> Iterator[object]:
            yield from self.packets
            raise av.error.OSError(19, "No such device")

        def close(self) -> None:
            self.container.close()  # type: ignore[attr-defined]

    with VideoReader(write(tmp_path / "clip.mp4", [0.0, 0.04, 0.08])) as video:
        packets = list(video._container.demux(video._stream))
        monkeypatch.setattr(video, "_container", Unplugged(video._container, packets))
        with pytest.raises(InputFileError, match=r"read on in '.*clip\.mp4' after 3 frames \(No such device\)"):
            list(video)


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "none.mp4", 25.0):
        pass
    assert not list(tmp_path.iterdir())


def test_the_rotation_of_phones_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV writes no rotation")
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(ramp(14), format="rgb24")))
        container.mux(stream.encode())
    with VideoReader(path) as video:
        image = next(iter(video)).image.float()
    assert image.shape == (3, 64, 48)
    # A quarter turn counter-clockwise takes the right to the top.
    assert image[:, :24].mean() > 150 > 50 > image[:, 40:].mean()


def test_damaged_parts_are_skipped_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [t / 25 for t in range(30)])
    whole = bytearray(path.read_bytes())
    at = whole.find(b"mdat") + 4
    with VideoReader(path) as video:
        positions = [(packet.pos, packet.size) for packet in video._container.demux(video._stream) if packet.size]
    start, size = positions[10]
    assert start > at
    whole[start : start + size] = b"\xff" * size
    path.write_bytes(whole)
    with VideoReader(path) as video, pytest.warns(VideoWarning, match="damaged part"):
        assert 15 <= len(list(video)) < 30


@pytest.mark.parametrize("content", [None, b"", b"not a video\n" * 50])
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"Expected a video .*clip\.mp4.*\(.+\)\.$"):
        list(VideoReader(path))


def test_a_missing_webcam_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def refuse(address: str, format: str | None) -> None:
        opened.append((address, format))
        raise OSError(2, "No such device")

    monkeypatch.setattr(frames_module.import_av(), "open", refuse)
    for platform in ("linux", "darwin"):
        monkeypatch.setattr(sys, "platform", platform)
        with pytest.raises(InputError, match="Expected a webcam at '.*987'.*No such device"):
            VideoReader("webcam:987")
    assert opened == [("/dev/video987", "v4l2"), ("987", "avfoundation")]
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="Expected the name of a webcam"):
        VideoReader("webcam")
    monkeypatch.setattr(sys, "platform", "emscripten")
    with pytest.raises(InputError, match="Expected a platform"):
        VideoReader("webcam")


def test_without_pyav_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'lgcn\[video\]'"):
        frames_module.import_av()


@pytest.mark.parametrize("name", ["a.mp4", "A.MOV", "x/y.webm", "webcam", "webcam:1", "webcam:HD Camera"])
def test_videos_are_known_by_name(name: str) -> None:
    assert is_video(name) and is_video(Path(name))


def test_images_are_not_taken_for_videos() -> None:
    assert not any(map(is_video, ("a.jpg", "mp4", "webcam.png", "-")))
