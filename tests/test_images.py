import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgcn.checks import InputError, InputFileError
from lgcn.images import as_image_tensor, image_to_tensor, read_image

RGB = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(48) * 5, np.arange(32) * 7), -1)[..., [0, 1, 0]].astype(np.uint8)


def pixels(image: torch.Tensor) -> np.ndarray:
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    assert image.is_contiguous()
    return image.permute(1, 2, 0).numpy()


def test_rgb_is_read_as_it_stands(tmp_path: Path) -> None:
    for suffix in (".png", ".bmp", ".tif"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(RGB).save(path)
        assert (pixels(read_image(path)) == RGB).all()
        assert (pixels(read_image(str(path))) == RGB).all()


def test_jpeg_is_read_nearly_as_it_stands(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(pixels(read_image(tmp_path / "a.jpg")).astype(int) - SMOOTH).mean() < 3


# What each EXIF orientation asks a viewer to do to the stored rows (EXIF 2.3, table 6).
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_obeyed(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert (pixels(read_image(tmp_path / "a.png")) == UPRIGHT[orientation](RGB)).all()


def test_grey_and_one_bit(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0]).save(tmp_path / "grey.png")
    assert (pixels(read_image(tmp_path / "grey.png")) == RGB[..., :1]).all()
    Image.fromarray(RGB[..., 0] > 127).save(tmp_path / "bits.png")
    assert Image.open(tmp_path / "bits.png").mode == "1"
    assert (pixels(read_image(tmp_path / "bits.png")) == np.where(RGB[..., :1] > 127, 255, 0)).all()


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 257], [32768, 65278, 65407, 65535]], dtype=np.uint16)
    for suffix in (".png", ".tif"):
        Image.fromarray(deep).save(tmp_path / f"deep{suffix}")
        read = pixels(read_image(tmp_path / f"deep{suffix}"))
        assert read[..., 0].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]
        assert (read == read[..., :1]).all()


def test_16_bit_rgb_is_scaled(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    values = np.array([[[0, 32768, 65535], [257 * 10, 257 * 20, 257 * 30]]], dtype=">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    png = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    assert pixels(read_image(tmp_path / "deep.png")).tolist() == [[[0, 128, 255], [10, 20, 30]]]


def test_transparency_is_laid_on_black(tmp_path: Path) -> None:
    alpha = np.array([[0, 128, 255]], dtype=np.uint8)
    colour = np.full((1, 3, 3), 200, dtype=np.uint8)
    expected = [[0] * 3, [100] * 3, [200] * 3]
    Image.fromarray(np.dstack([colour, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([colour[..., 0], alpha])).save(tmp_path / "la.png")
    for name, mode in (("rgba.png", "RGBA"), ("la.png", "LA")):
        assert Image.open(tmp_path / name).mode == mode
        assert pixels(read_image(tmp_path / name))[0].tolist() == expected


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=1)
    assert pixels(read_image(tmp_path / "plain.png"))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert pixels(read_image(tmp_path / "clear.png"))[0].tolist() == [[10, 20, 30], [0, 0, 0]]


def test_cmyk_and_lab(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert Image.open(tmp_path / "cmyk.jpg").mode == "CMYK"
    assert np.abs(pixels(read_image(tmp_path / "cmyk.jpg")).astype(int) - SMOOTH).mean() < 3
    Image.new("LAB", (3, 2), (255, 128, 128)).save(tmp_path / "lab.tif")
    assert pixels(read_image(tmp_path / "lab.tif")).min() > 250


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").flatten().tolist() == [1, 2, 3]


def test_truncated_images_are_refused(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png", ".bmp"):
        whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
        Image.fromarray(SMOOTH).save(whole)
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(InputFileError, match=rf"cut\{suffix}.*damaged or cut off"):
            read_image(cut)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    for name in ("text.jpg", "empty.png"):
        with pytest.raises(InputFileError, match=f"{name}.*convert it to JPEG or PNG"):
            read_image(tmp_path / name)
    with pytest.raises(InputFileError, match="absent.png.*no such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputFileError, match="folder"):
        read_image(tmp_path)


def test_a_image_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(InputFileError, match=r"locked\.png.*Change its permissions"):
        read_image(tmp_path / "locked.png")


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 0.5, dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(InputFileError, match=r"float\.tif.*floating point"):
        read_image(tmp_path / "float.tif")
    Image.new("I", (2, 2), 70000).save(tmp_path / "deep.tif")
    with pytest.raises(InputFileError, match=r"deep\.tif.*70000"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_bytes_give_a_image_or_an_input_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for name in ("a.jpg", "a.png", "a.tif"):
        Image.fromarray(SMOOTH).save(tmp_path / name)
        whole = np.frombuffer((tmp_path / name).read_bytes(), dtype=np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            where = rng.integers(0, min(len(damaged), 400), size=rng.integers(1, 8))
            damaged[where] = rng.integers(0, 256, size=len(where))
            (tmp_path / "damaged").write_bytes(damaged.tobytes())
            try:
                pixels(read_image(tmp_path / "damaged"))
            except InputFileError:
                refused += 1
    assert 10 < refused < 170


def test_all_kinds_of_input_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    expected = torch.from_numpy(RGB).permute(2, 0, 1)
    bgr = RGB[..., ::-1]
    for image in (path, os.fspath(path), Image.open(path), RGB, bgr[..., ::-1], np.asfortranarray(RGB), expected):
        result = as_image_tensor(image)
        assert result.dtype == torch.uint8
        assert torch.equal(result, expected)


def test_a_pillow_image_is_left_as_it_was(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    image = Image.open(tmp_path / "a.png")
    assert as_image_tensor(image).shape == (3, 5, 7)
    assert image.size == (5, 7)
    assert image_to_tensor(image).shape == (3, 5, 7)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3)), r"uint8.*got float64.*\(255 \* image\)"),
        (torch.zeros(3, 4, 5), r"uint8.*got float32.*to\(torch.uint8\)"),
        (np.zeros((4, 5, 3), dtype=np.int64), "got int64.*convert it to uint8"),
        (np.zeros((3, 4, 5), dtype=np.uint8), r"\[H, W, 3\] \(got \[3, 4, 5\]\).*transpose\(1, 2, 0\)"),
        (torch.zeros(4, 5, 3, dtype=torch.uint8), r"\[3, H, W\] \(got \[4, 5, 3\]\).*permute\(2, 0, 1\)"),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "one picture with three channels"),
        (np.zeros((4, 5), dtype=np.uint8), "one picture with three channels"),
        (np.zeros((0, 5, 3), dtype=np.uint8), r"\[0, 5, 3\]"),
        (None, "got NoneType"),
        ([[0]], "got list"),
    ],
)
def test_what_is_no_image_is_refused(image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_image_tensor(image)  # type: ignore[arg-type]
