"""Encoded images -> arrays: every format and mode, and files that are broken."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagesets import encoded, picture
from zoo.engine.data.images import decode
from zoo.engine.errors import DataError

PIXELS = picture(0, 40, 60)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_their_pixels(kind: str, options: dict[str, Any]) -> None:
    found = decode(encoded(PIXELS, kind, **options))
    assert found.dtype == np.uint8 and found.flags.writeable
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize("kind, options", [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("GIF", {})])
def test_lossy_formats_give_what_pillow_gives(kind: str, options: dict[str, Any]) -> None:
    file = encoded(PIXELS, kind, **options)
    np.testing.assert_array_equal(decode(file), np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


def test_the_first_of_several_frames_is_taken() -> None:
    file = saved(Image.fromarray(PIXELS), "GIF", save_all=True, append_images=[Image.fromarray(255 - PIXELS)])
    np.testing.assert_array_equal(decode(file), np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(100)  # transparency is dropped: colours stay
    np.testing.assert_array_equal(decode(saved(image, "PNG")), np.asarray(image.convert("RGB")))


def test_grey_and_cmyk_jpeg_become_rgb() -> None:
    grey = decode(saved(Image.fromarray(PIXELS).convert("L"), "JPEG"))
    assert grey.shape == (40, 60, 3) and (grey[..., 0] == grey[..., 2]).all()
    cmyk = decode(saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(cmyk.astype(int) - PIXELS).mean() < 6


def test_16_bits_are_scaled_to_8() -> None:
    deep = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    for kind in ("PNG", "TIFF"):
        found = decode(saved(Image.fromarray(deep), kind))
        np.testing.assert_allclose(found[..., 1], deep / 257, atol=1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(kind: str, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x112] = orientation
    file = saved(Image.fromarray(PIXELS), kind, exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
    np.testing.assert_array_equal(decode(file), np.asarray(upright))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_a_truncated_file_is_an_error_with_its_name(kind: str, share: float) -> None:
    file = encoded(PIXELS, kind)
    cut = file[: int(len(file) * share)]
    with pytest.raises(DataError, match=rf"^a/b\.x cannot be decoded: this (?i:{kind}) .*(cut off|damaged)") as told:
        decode(cut, "a/b.x")
    if kind != "TIFF":  # whose end is not marked
        assert f"is cut off after {len(cut):,} bytes" in str(told.value)


@pytest.mark.parametrize(
    "content, told",
    [
        (b"", "it is empty"),
        (b"<html>404</html>", r"begins with b'<html>40' and is none of JPEG, PNG, WebP, BMP, GIF, TIFF"),
        (b"RIFF\x04\0\0\0WAVE", "is none of"),
        (b"\x89PNG\r\n\x1a\n", "cut off after 8 bytes"),
    ],
)
def test_what_is_no_image_says_so(content: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        decode(content)


def test_a_damaged_file_is_an_error() -> None:
    file = bytearray(encoded(PIXELS))
    file[len(file) // 2 : len(file) // 2 + 40] = bytes(40)
    with pytest.raises(DataError, match="is damaged, or of a kind that OpenCV does not know"):
        decode(bytes(file))


def test_any_buffer_is_taken() -> None:
    file = encoded(PIXELS)
    for buffer in (bytearray(file), memoryview(file), np.frombuffer(file, np.uint8)):
        np.testing.assert_array_equal(decode(buffer), PIXELS)


def test_decoding_says_nothing_and_changes_no_variables() -> None:
    cut = [encoded(PIXELS, kind)[:-20] for kind in ("PNG", "GIF", "TIFF")]
    program = (
        "import os; before = dict(os.environ)\n"
        "from zoo.engine.data.images import decode\n"
        "from zoo.engine.errors import DataError\n"
        f"for file in {cut}:\n"
        "    try: decode(file)\n"
        "    except DataError: print('refused')\n"
        "assert dict(os.environ) == before\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.stdout == "refused\n" * 3
    assert [line for line in done.stderr.splitlines() if "libpng" not in line] == []  # libpng itself cannot be asked


def test_more_pixels_than_a_picture_has_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "bomb.png"
    file.write_bytes(saved(Image.new("1", (20_000, 10_000)), "PNG"))
    assert file.stat().st_size < 1_000_000
    program = "import sys, zoo.engine.data.images as i; i.decode(open(sys.argv[1], 'rb').read(), 'bomb.png')"
    done = subprocess.run(  # OpenCV takes its limit when it is imported
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "bomb.png cannot be decoded: it has more than 178,956,970 pixels" in done.stderr
