"""Photos as people have them, and files that are none."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dldl_fast.data import DataError, images
from dldl_fast.data.images import read_image
from dldl_fast.faces import open_picture

Image = pytest.importorskip("PIL.Image", reason="the extra faces is not installed")

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def opened(path: Path) -> NDArray[np.int64]:
    picture = open_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def png(
    width: int, height: int, rows: bytes, *chunks: tuple[bytes, bytes], depth: int = 8
) -> bytes:
    """An RGB file with these compressed rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


def tiff(tags: dict[int, int], data: bytes, *, order: str = "<") -> bytes:
    """A TIFF file; tag 273 or 324 is the place of the data."""
    place = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(order + "HHII", tag, 4, 1, place if tag in (273, 324) else value)
        for tag, value in sorted(tags.items())
    )
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return start + struct.pack(order + "H", len(tags)) + entries + bytes(4) + data


def zeros(size: int) -> bytes:
    """So many zeros, compressed to a thousandth."""
    return zlib.compress(bytes(size), 1)


TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),  # clockwise
    7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("end", ["png", "tif", "webp"])
def test_exif_orientation(tmp_path: Path, orientation: int, end: str) -> None:
    path = tmp_path / f"phone.{end}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if end == "webp" else {}
    Image.fromarray(PHOTO).save(path, exif=exif, **options)
    np.testing.assert_array_equal(opened(path), TURNED[orientation](PHOTO))
    picture = read_image(path, 8)
    assert picture.shape == (3, 8, 8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_of_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    red_above = np.zeros((40, 20, 3), np.uint8)
    red_above[:20, :, 0] = 255
    Image.fromarray(red_above).save(path, exif=exif, quality=95)
    picture = opened(path)
    assert picture.shape == (20, 40, 3)
    assert (picture[:, 24:, 0] > 200).all() and (picture[:, :16, 0] < 50).all()
    # Nothing in the EXIF data has to be right.
    damaged = path.read_bytes().replace(b"MM\0*\0\0\0\x08", b"MM\0*\xff\xff\xff\x08")
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    assert opened(path).shape == (40, 20, 3)


def test_grey_black_and_white_and_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    grey = PHOTO[..., 0]
    for picture in (Image.fromarray(grey), Image.fromarray(grey).quantize(256)):
        picture.save(path)
        expected = np.asarray(picture.convert("L")).astype(int)
        np.testing.assert_array_equal(opened(path), expected[..., None].repeat(3, 2))
        np.testing.assert_array_equal(read_image(path, 12, grey=True)[0], expected[:, 4:16])
    Image.fromarray(grey > 99).save(path)
    np.testing.assert_array_equal(opened(path), (grey > 99)[..., None].repeat(3, 2) * 255)
    Image.fromarray(PHOTO[:1, :1]).save(path)
    np.testing.assert_array_equal(opened(path), PHOTO[:1, :1])
    assert (read_image(path, 5) == PHOTO[0, 0][:, None, None]).all()


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    alpha = np.linspace(0, 255, 240).astype(np.uint8).reshape(12, 20, 1)
    opacity = alpha / 255
    Image.fromarray(np.concatenate([PHOTO, alpha], 2)).save(path)
    expected = opacity * PHOTO + (1 - opacity) * 255
    assert np.abs(opened(path) - expected).max() <= 1
    Image.fromarray(np.concatenate([PHOTO[..., :1], alpha], 2)).save(path)
    assert np.abs(opened(path) - expected[..., :1]).max() <= 1


def test_transparent_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    palette = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.save(path, transparency=bytes([255, 0, 51]))  # of every colour
    expected = [[10, 20, 30], [255, 255, 255], [218, 220, 222]]
    np.testing.assert_allclose(opened(path)[0], expected, atol=1)
    palette.save(path, transparency=2)  # one colour
    np.testing.assert_array_equal(opened(path)[0, :, 0], [10, 40, 255])
    Image.fromarray(PHOTO).save(path, transparency=tuple(PHOTO[3, 5].tolist()))
    expected_photo = PHOTO.copy()
    expected_photo[3, 5] = 255
    np.testing.assert_array_equal(opened(path), expected_photo)


def test_cmyk(tmp_path: Path) -> None:
    ink = np.concatenate([PHOTO, PHOTO[..., :1] // 2], 2)
    picture = Image.frombytes("CMYK", (20, 12), ink.tobytes())
    picture.save(tmp_path / "a.tif")
    expected = (255.0 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255
    assert np.abs(opened(tmp_path / "a.tif") - expected).max() <= 1
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(opened(tmp_path / "a.jpg") - [255, 0, 0]).max() <= 3


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (12, 20), dtype=np.uint16)
    deep[0, :4] = 0, 255, 256, 65535
    expected = np.rint(deep / 257)[..., None].repeat(3, 2)
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep).save(tmp_path / "little.tif")
    tags = {256: 20, 257: 12, 258: 16, 259: 1, 262: 1, 273: 0, 277: 1, 278: 12, 279: 480}
    (tmp_path / "big.tif").write_bytes(tiff(tags, deep.astype(">u2").tobytes(), order=">"))
    (tmp_path / "a.pgm").write_bytes(b"P5 20 12 65535\n" + deep.astype(">u2").tobytes())
    for name in ("a.png", "little.tif", "big.tif", "a.pgm"):
        np.testing.assert_array_equal(opened(tmp_path / name), expected, err_msg=name)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 12)[0], expected[:, 4:16, 0])
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(deep).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(opened(tmp_path / "turned.png"), np.rot90(expected))

    ten_bits = deep // 64
    (tmp_path / "ten.pgm").write_bytes(b"P5 20 12 1023\n" + ten_bits.astype(">u2").tobytes())
    assert np.abs(opened(tmp_path / "ten.pgm")[..., 0] - ten_bits / 1023 * 255).max() <= 0.51

    colours = np.random.default_rng(2).integers(0, 65536, (12, 20, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.tobytes() for row in colours.astype(">u2"))
    (tmp_path / "rgb.png").write_bytes(png(20, 12, zlib.compress(rows), depth=16))
    assert np.abs(opened(tmp_path / "rgb.png") - colours / 257).max() <= 1


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif: .*mode '{mode}'; expected 8 or 16 bits"):
        open_picture(tmp_path / "a.tif")


@pytest.mark.parametrize(("end", "kind"), [("jpg", "MPO"), ("png", "PNG"), ("webp", "WEBP")])
def test_of_several_pictures_it_is_the_first(tmp_path: Path, end: str, kind: str) -> None:
    path = tmp_path / f"a.{end}"
    others = [Image.new("RGB", (16, 8), "blue")]
    Image.new("RGB", (16, 8), "red").save(path, format=kind, save_all=True, append_images=others)
    assert np.abs(opened(path) - [255, 0, 0]).max() <= 3


def test_files_that_are_no_photos(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(photo)
    names = {
        "text.jpg": b"hello",
        "empty.jpg": b"",
        "drawing.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n",
    }
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: not a readable picture \(none of JPEG"):
            open_picture(tmp_path / name)
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(DataError, match=r"folder\.jpg: not a file"):
        open_picture(tmp_path / "folder.jpg")
    with pytest.raises(DataError, match=r"none\.jpg: no such file"):
        open_picture(tmp_path / "none.jpg")
    with pytest.raises(DataError, match=r"x\.jpg: not a readable picture .*too long"):
        open_picture(tmp_path / ("x" * 300 + "x.jpg"))


@pytest.mark.parametrize("end", ["jpg", "png", "webp", "bmp", "ppm", "tif"])
def test_truncated(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"a.{end}"
    Image.fromarray(PHOTO.repeat(8, 0).repeat(8, 1)).save(path)
    whole = path.read_bytes()
    assert opened(path).shape == (96, 160, 3)
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=rf"a\.{end}: not a readable picture"):
            open_picture(path)


@pytest.mark.filterwarnings("ignore:Image size")
def test_too_many_pixels_or_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    # Below Pillow's limit; where it warns; where it refuses.
    for width, height in ((8000, 7000), (10_000, 10_000), (50_000, 50_000)):
        path.write_bytes(png(width, height, b""))
        with pytest.raises(DataError, match=r"huge\.png: more pixels than the limit of 50,000,000"):
            open_picture(path)
    (tmp_path / "huge.bmp").write_bytes(
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 50_000, 50_000, 1, 24, *[0] * 6)
    )
    (tmp_path / "huge.ppm").write_bytes(b"P6 50000 50000 255\n")
    for name in ("huge.bmp", "huge.ppm"):
        with pytest.raises(DataError, match=rf"{name}: more pixels than the limit"):
            open_picture(tmp_path / name)
    monkeypatch.setattr(images, "MAX_BYTES", 50)
    with pytest.raises(DataError, match=r"huge\.png: more bytes than the limit of 50$"):
        open_picture(path)


LIMITED = """
import resource, sys
from pathlib import Path
from PIL import Image
from dldl_fast.data import DataError
from dldl_fast.data.images import open_picture

Image.init()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        print(path.name, open_picture(path).size)
    except DataError as error:
        print(error)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 60_000, f"{grown} KiB"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="KiB of memory, as Linux counts it")
def test_bombs_take_no_memory(tmp_path: Path) -> None:
    bomb = zeros(300_000_000)
    tiny = zlib.compress(bytes(4 * 10 * 10))
    files = {
        "text.png": png(10, 10, tiny, (b"zTXt", b"Comment\0\0" + bomb)),
        "itext.png": png(10, 10, tiny, (b"iTXt", b"Comment\0\1\0en\0x\0" + bomb)),
        "profile.png": png(10, 10, tiny, (b"iCCP", b"x\0\0" + bomb)),
        "rows.png": png(10, 10, bomb),
        "huge.png": png(50_000, 50_000, bomb),
    }
    grey = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1}
    tile = {322: 16_000, 323: 16_000, 324: 0, 325: len(bomb)}
    files["tile.tif"] = tiff(grey | tile, bomb)
    files["strip.tif"] = tiff(grey | {273: 0, 278: 2_000_000_000, 279: len(bomb)}, bomb)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    said = run.stdout.replace(f"{tmp_path}{os.sep}", "").splitlines()
    assert said[0].startswith("huge.png: more pixels than the limit")
    assert "itext.png: not a readable picture (Decompressed" in said[1]
    assert "profile.png: not a readable picture (Decompressed" in said[2]
    # They decode to what they claim, and not further.
    assert said[3:5] == ["rows.png (10, 10)", "strip.tif (10, 10)"]
    assert "text.png: not a readable picture (Decompressed" in said[5]
    assert said[6].startswith("tile.tif: more pixels than the limit of 50,000,000 (16000 x 16000)")
