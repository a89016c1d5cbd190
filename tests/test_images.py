import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from lgcn.checks import InputError, InputFileError
from lgcn.images import PixelRangeWarning, as_image_tensor, image_suffixes, image_to_tensor, list_images, read_image

RGB = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(48) * 5, np.arange(32) * 7), -1)[..., [0, 1, 0]].astype(np.uint8)


def pixels(image: torch.Tensor) -> np.ndarray:
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    assert image.is_contiguous()
    return image.permute(1, 2, 0).numpy()


def test_rgb_is_read_unchanged(tmp_path: Path) -> None:
    for suffix in (".png", ".bmp", ".tif"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(RGB).save(path)
        assert (pixels(read_image(path)) == RGB).all()
        assert (pixels(read_image(str(path))) == RGB).all()


def test_jpeg_is_read_nearly_unchanged(tmp_path: Path) -> None:
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
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
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
    values = np.array([[[0, 32768, 65535], [257 * 10, 257 * 20, 257 * 30]]])
    (tmp_path / "deep.png").write_bytes(png(values))
    assert pixels(read_image(tmp_path / "deep.png")).tolist() == [[[0, 128, 255], [10, 20, 30]]]


def test_transparency_is_composited_on_black(tmp_path: Path) -> None:
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


def test_files_other_than_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputFileError, match=r"text.jpg.*convert it to JPEG or PNG"):
        read_image(tmp_path / "text.jpg")
    for empty in (tmp_path / "empty.png", b""):
        with pytest.raises(InputFileError, match="it is empty"):
            as_image_tensor(empty)
    with pytest.raises(InputFileError, match="absent.png.*no such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputFileError, match="folder"):
        read_image(tmp_path)


def test_an_image_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "locked.png").touch()
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
def test_damaged_bytes_give_an_image_or_an_input_error(tmp_path: Path) -> None:
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


def test_a_pillow_image_is_not_changed(tmp_path: Path) -> None:
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
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "one image with three channels"),
        (np.zeros((4, 5), dtype=np.uint8), "one image with three channels"),
        (np.zeros((0, 5, 3), dtype=np.uint8), r"\[0, 5, 3\]"),
        (None, "got NoneType"),
        ([[0]], "got list"),
    ],
)
def test_other_types_are_refused(image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_image_tensor(image)  # type: ignore[arg-type]


def odd_exif(kind: int) -> bytes:
    """EXIF with orientation 6 and a resolution stored as a type that a resolution must not have."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = TiffImagePlugin.IFDRational(72, 1)
    content = bytearray(exif.tobytes())
    order = "<" if content[6:8] == b"II" else ">"
    place = content.find(struct.pack(f"{order}H", 0x011A))
    content[place + 2 : place + 4] = struct.pack(f"{order}H", kind)
    return bytes(content)


ASCII, SIGNED_RATIONAL = 2, 10


@pytest.mark.parametrize("kind", [ASCII, SIGNED_RATIONAL])
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_odd_exif_does_not_prevent_rotation(tmp_path: Path, kind: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x0112], tags[0x011A] = 6, 72.0
        Image.fromarray(RGB).save(path, tiffinfo=tags)
        content = bytearray(path.read_bytes())
        place = content.rfind(struct.pack("<H", 0x011A))
        content[place + 2 : place + 4] = struct.pack("<H", kind)
        path.write_bytes(content)
    else:
        Image.fromarray(RGB).save(path, exif=odd_exif(kind), lossless=True)
    with Image.open(path) as opened:
        for image in (path, path.read_bytes(), opened):
            assert (pixels(as_image_tensor(image)) == np.rot90(RGB, -1)).all()


def png(values: np.ndarray, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of 16-bit RGB values [H, W, 3], with more chunks before and after its pixels."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("colours", [1, 3])
def test_16_bit_files_of_fewer_significant_bits_are_stretched(tmp_path: Path, bits: int, colours: int) -> None:
    white = 2**bits - 1
    values = np.linspace(0, white, 64).round().astype(np.uint16).reshape(8, 8)
    if colours == 1:
        Image.fromarray(values).save(tmp_path / "deep.png")
    else:
        (tmp_path / "deep.png").write_bytes(png(np.stack([values, values[::-1], values.T], axis=-1)))
    with pytest.warns(PixelRangeWarning, match=rf"deep\.png' is {white}: it is read as {bits}-bit"):
        read = pixels(read_image(tmp_path / "deep.png"))
    assert (read[..., 0] == np.rint(values * 255.0 / white)).all()
    if colours == 3:
        assert (read[..., 2] == np.rint(values.T * 255.0 / white)).all()


def test_a_black_16_bit_image_stays_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 4), dtype=np.uint16)).save(tmp_path / "black.png")
    assert read_image(tmp_path / "black.png").max() == 0


@pytest.mark.parametrize("place", ["before", "after"])
def test_long_and_damaged_chunks_of_png_are_passed_over(tmp_path: Path, place: str) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**21)))
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2**21)))
    damaged = chunk(b"tEXt", b"a\0b")[:-1] + b"?"
    values = 257 * RGB.astype(np.uint16)
    for extra in (text, profile, damaged) if place == "before" else (text, profile):
        content = png(values, **{place: extra})
        (tmp_path / "a.png").write_bytes(content)
        assert (pixels(read_image(tmp_path / "a.png")) == RGB).all()
        assert (pixels(as_image_tensor(content)) == RGB).all()


def test_a_damaged_segment_of_jpeg_is_passed_over(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", quality=95)
    content = (tmp_path / "a.jpg").read_bytes()
    expected = read_image(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(content[:2] + b"\xff\xe0\x00\x07JFIF\0" + content[20:])
    assert torch.equal(read_image(tmp_path / "b.jpg"), expected)


def test_the_pixel_limit_is_reported_and_can_be_raised(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(RGB).save(path)
    with pytest.raises(InputFileError, match=r"large\.png.*at most 34 pixels \(got 5 x 7 = 35\).*'--max-pixels'"):
        read_image(path, max_pixels=34)
    with pytest.raises(InputFileError, match="at most 34 pixels"):
        as_image_tensor(path.read_bytes(), max_pixels=34)
    for enough in (35, None):
        assert read_image(path, max_pixels=enough).shape == (3, 7, 5)


def test_images_beyond_the_limit_of_pillow_are_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    for suffix in ("png", "tif"):
        Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", **({"compression": "tiff_lzw"} if suffix == "tif" else {}))
    # Pillow warns from 10 pixels on, and refuses more than 20.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for suffix in ("png", "tif"):
        assert (pixels(read_image(tmp_path / f"a.{suffix}")) == RGB).all()
    assert Image.MAX_IMAGE_PIXELS == 10
    assert not recwarn.list


def test_a_read_only_array_causes_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    locked = RGB.copy()
    locked.flags.writeable = False
    for array in (locked, locked[::-1], np.asarray(Image.fromarray(RGB))):
        assert (pixels(as_image_tensor(array)) == array).all()
    assert not recwarn.list


def test_a_pillow_image_that_cannot_be_decoded_is_an_input_error(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    with pytest.raises(InputError, match=r"Pillow image that can be decoded \(got OSError"):
        as_image_tensor(Image.open(io.BytesIO(content[: len(content) // 2])))


def test_lists_readable_images_and_describes_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lgcn.images.listing.has_heic", lambda: False)
    image_suffixes.cache_clear()
    deeper = tmp_path / "deeper" / "deepest"
    deeper.mkdir(parents=True)
    for name in ("b.GIF", "a.ppm", "c.jp2", ".hidden.png", "x.heic", "notes.txt", "bare", "deeper/d.avif"):
        (tmp_path / name).touch()
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    listing = list_images(tmp_path)
    assert [path.name for path in listing.images] == ["a.ppm", "b.GIF", "broken.png", "c.jp2"]
    assert [path.name for path in listing.others] == ["bare", "notes.txt", "x.heic"]
    assert listing.folders == [tmp_path / "deeper"]
    rest = "3 files that are not images (1 .heic, 1 .txt, 1 without suffix) and 1 folder"
    assert listing.describe_rest() == rest
    assert list_images(deeper).describe_rest() == ""
    monkeypatch.setattr("lgcn.images.listing.has_heic", lambda: True)
    image_suffixes.cache_clear()
    assert "x.heic" in [path.name for path in list_images(tmp_path).images]
    monkeypatch.undo()
    image_suffixes.cache_clear()


def test_lists_folders_in_folders_and_follows_links_once(tmp_path: Path) -> None:
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("root/z.png", "root/a/y.png", "elsewhere/x.png"):
        (tmp_path / name).touch()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
    listing = list_images(tmp_path / "root", recursive=True)
    names = [path.relative_to(tmp_path / "root").as_posix() for path in listing.images]
    assert names == ["z.png", "a/y.png", "link/x.png"]
    assert listing.folders == []
    assert list_images(tmp_path / "root").folders == [tmp_path / "root" / "a", tmp_path / "root" / "link"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_link_to_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    listing = list_images(tmp_path)
    assert listing.images == [] and [path.name for path in listing.others] == ["link.png", "pipe.png"]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_folder_that_may_not_be_listed_is_an_error(
    tmp_path: Path, recursive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    original = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputFileError, match=r"folder '.*locked' \(got: Permission denied\)"):
        list_images(tmp_path if recursive else tmp_path / "locked", recursive=recursive)
    with pytest.raises(InputFileError, match=r"nowhere' \(got: No such file"):
        list_images(tmp_path / "nowhere", recursive=recursive)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("bits", [10, 16])
def test_tiff_with_16_bits_and_one_plane_a_channel(tmp_path: Path, endian: str, bits: int) -> None:
    values = (np.linspace(0, 2**bits - 1, 48).reshape(4, 4, 3)).round().astype(np.uint16)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(values.transpose(2, 0, 1), endian, planes=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PixelRangeWarning)
        wanted = torch.from_numpy((values >> (bits - 8)).astype(np.int64)).permute(2, 0, 1)
        for image in (path, path.read_bytes(), Image.open(path)):
            assert (as_image_tensor(image) - wanted).abs().max() <= 1


@pytest.mark.parametrize("endian", ["<", ">"])
def test_16_bit_tiff_of_which_0_is_white_is_refused(tmp_path: Path, endian: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(np.full((1, 4, 4), 60000, dtype=np.uint16), endian, photometric=0))
    with pytest.raises(InputFileError):
        read_image(path)


def test_a_pillow_image_with_16_bit_colours_is_stretched_as_its_file_is(tmp_path: Path) -> None:
    values = np.linspace(0, 1023, 48).reshape(4, 4, 3).round().astype(np.uint16)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(values.reshape(1, 4, 12), "<", channels=3))
    with pytest.warns(PixelRangeWarning, match="1023"):
        image = image_to_tensor(Image.open(path))
    with pytest.warns(PixelRangeWarning, match="1023"):
        assert torch.equal(image, read_image(path))
    assert image.max() == 255


def test_the_reason_why_a_known_format_is_not_opened_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(np.zeros((1, 4, 4), dtype=np.float64), "<", sample_format=3))
    with pytest.raises(InputFileError, match=r"TIFF: unknown pixel mode.*convert it to 8-bit"):
        read_image(path)
    (tmp_path / "a.jpg").write_text("not an image")
    with pytest.raises(InputFileError, match="does not recognise the format"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "tags",
    [
        [(0x0112, 3, 2, struct.pack("<HH", 6, 1))],
        [(0x010F, 2, 100, struct.pack("<L", 10**6)), (0x0112, 3, 1, struct.pack("<HH", 6, 0))],
        [(0x0112, 1, 1, b"\6\0\0\0")],
    ],
    ids=["two values", "text outside of the file", "written as a byte"],
)
def test_odd_metadata_is_passed_over_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, tags: list[tuple[int, int, int, bytes]]
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, exif=b"Exif\0\0" + tiff_header(tags, "<"))
    upright = torch.rot90(torch.from_numpy(RGB).permute(2, 0, 1), -1, dims=(1, 2))
    assert torch.equal(read_image(path), upright)
    assert not recwarn.list


def test_transparency_that_is_cut_short_is_passed_over(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG")
    content, chunk = buffer.getvalue(), b"tRNS\0"
    chunk = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    place = content.index(b"IDAT") - 4
    assert torch.equal(
        as_image_tensor(content[:place] + chunk + content[place:]), torch.from_numpy(RGB).permute(2, 0, 1)
    )


def tiff_header(tags: list[tuple[int, int, int, bytes]], endian: str) -> bytes:
    """A TIFF file, or a block of EXIF, with one directory and nothing after it."""
    entries = b"".join(struct.pack(endian + "HHL", *tag[:3]) + tag[3] for tag in tags)
    start = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(endian + "LH", 8, len(tags))
    return start + entries + struct.pack(endian + "L", 0)


def tiff_of(
    planes_of: np.ndarray,
    endian: str,
    *,
    planes: bool = False,
    channels: int = 1,
    photometric: int | None = None,
    sample_format: int = 1,
) -> bytes:
    """An uncompressed TIFF of [planes, height, width * channels], which Pillow cannot write."""
    count, height, width = planes_of.shape
    samples = count * channels
    bits, pixels = 8 * planes_of.dtype.itemsize, planes_of.astype(planes_of.dtype.newbyteorder(endian)).tobytes()
    size = len(pixels) // count
    lists = 8 + 2 + 11 * 12 + 4  # where values lie that do not fit into an entry

    def number(value: int) -> bytes:
        return struct.pack(endian + "L", value)

    def short(value: int) -> bytes:
        return struct.pack(endian + "HH", value, 0)

    after = struct.pack(f"{endian}{samples}H", *samples * [bits])
    after += struct.pack(f"{endian}{samples}H", *samples * [sample_format])
    start = lists + len(after) + 8 * count
    after += struct.pack(f"{endian}{count}L", *(start + plane * size for plane in range(count)))
    after += struct.pack(f"{endian}{count}L", *count * [size])
    one = samples == 1
    tags = [
        (256, 4, 1, number(width // channels)),
        (257, 4, 1, number(height)),
        (258, 3, samples, short(bits) if one else number(lists)),
        (259, 3, 1, short(1)),
        (262, 3, 1, short((1 if one else 2) if photometric is None else photometric)),
        (273, 4, count, number(start) if count == 1 else number(lists + 4 * samples)),
        (277, 3, 1, short(samples)),
        (278, 4, 1, number(height)),
        (279, 4, count, number(size) if count == 1 else number(lists + 4 * samples + 4 * count)),
        (284, 3, 1, short(2 if planes else 1)),
        (339, 3, samples, short(sample_format) if one else number(lists + 2 * samples)),
    ]
    return tiff_header(tags, endian) + after + pixels


def test_heic_photos_are_read_upright(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.fromarray(SMOOTH).resize((96, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # seen after a quarter turn clockwise
    heif = pillow_heif.from_pillow(image.transpose(Image.Transpose.ROTATE_90))
    heif.save(tmp_path / "a.heic", quality=100, exif=exif.tobytes())
    for source in (tmp_path / "a.heic", (tmp_path / "a.heic").read_bytes()):
        read = pixels(as_image_tensor(source)).astype(int)
        assert read.shape == (64, 96, 3)
        assert np.abs(read - np.asarray(image).astype(int)).mean() < 4
    with pytest.raises(InputFileError, match="at most 100 pixels"):
        read_image(tmp_path / "a.heic", max_pixels=100)


def test_heic_without_its_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    monkeypatch.setattr("lgcn.images.read.has_heic", lambda: False)
    monkeypatch.setattr("lgcn.images.read.register_heic", lambda: False)
    monkeypatch.setattr(Image, "open", lambda *_: (_ for _ in ()).throw(UnidentifiedImageError()))
    with pytest.raises(InputFileError, match=r"pillow-heif.*lgcn\[heic\]"):
        read_image(tmp_path / "a.heic")


def test_streams_are_read(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        assert (pixels(as_image_tensor(file)) == SMOOTH).all()
    with pytest.raises(InputError, match="binary stream .got str.*'rb'"):
        as_image_tensor(io.StringIO("text"))  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "a.png")
    reader, writer = os.pipe()
    os.write(writer, (tmp_path / "a.png").read_bytes())
    os.close(writer)
    try:
        assert (pixels(read_image(f"/dev/fd/{reader}")) == SMOOTH).all()
    finally:
        os.close(reader)


@pytest.mark.parametrize("url", ["https://example.org/a.jpg", "s3://bucket/a.jpg"])
def test_urls_are_refused(url: str) -> None:
    with pytest.raises(InputFileError, match=r"URLs are not read.*Download it"):
        read_image(url)
