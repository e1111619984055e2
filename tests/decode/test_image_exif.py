"""A JPEG's orientation read without Pillow says what Pillow says, or that Pillow must be asked."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aioloader.decode.image import ImageDecoder
from aioloader.decode.image_exif import orientation

if TYPE_CHECKING:
    from aioloader.types import SampleRef


def jpeg(exif: bytes = b"", height: int = 12, width: int = 20) -> bytes:
    buffer = io.BytesIO()
    ramp = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    Image.fromarray(ramp).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def with_segments(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments of one's own after its start."""
    blob = jpeg()
    own = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return blob[:2] + own + blob[2:]


def exif(*entries: tuple[int, int, int, int], order: str = "<") -> bytes:
    """An EXIF segment's body: entries are tag, kind, count, value."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        body += struct.pack(order + "HHI", tag, kind, count)
        body += struct.pack(order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
    return b"Exif\0\0" + head + body + bytes(4)


def by_pillow(blob: bytes) -> int:
    found: int = Image.open(io.BytesIO(blob)).getexif().get(274, 1)
    return found


XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation='1' tiff:Orientation=\"6\"/>"
APP1 = 0xE1


@dataclass(frozen=True)
class Case:
    id: str
    blob: bytes
    said: int | None
    """What is read without Pillow; None: Pillow is asked."""


CASES = [
    Case("no EXIF", jpeg(), 1),
    Case("other segments", with_segments((0xE0, b"x" * 20), (0xE2, b"ICC_PROFILE"), (0xFE, b"words")), 1),
    *(Case(f"orientation {value}", with_segments((APP1, exif((274, 3, 1, value)))), value) for value in range(1, 10)),
    Case("big-endian", with_segments((APP1, exif((274, 3, 1, 8), order=">"))), 8),
    Case("among others", with_segments((APP1, exif((256, 4, 1, 70_000), (274, 3, 1, 3), (305, 3, 1, 5)))), 3),
    Case("EXIF without it", with_segments((APP1, exif((256, 4, 1, 70_000)))), 1),
    Case("after another APP1", with_segments((APP1, b"http://x"), (APP1, exif((274, 3, 1, 6)))), 6),
    Case("EXIF goes before XMP", with_segments((APP1, XMP), (APP1, exif((274, 3, 1, 3)))), 3),
    Case("written by Pillow", jpeg(Image.Exif().tobytes()), 1),
    Case("XMP alone", with_segments((APP1, XMP)), None),
    Case("a long number", with_segments((APP1, exif((274, 4, 1, 6)))), None),
    Case("told twice", with_segments((APP1, exif((274, 3, 1, 6), (274, 3, 1, 3)))), None),
    Case("zero", with_segments((APP1, exif((274, 3, 1, 0)))), None),
    Case("no TIFF header", with_segments((APP1, b"Exif\0\0no TIFF header")), None),
    Case("ends too early", with_segments((APP1, exif((274, 3, 1, 6))[:20])), None),
    Case("in two segments", with_segments((APP1, exif((274, 3, 1, 6))), (APP1, exif((274, 3, 1, 3)))), None),
    Case("fill bytes between segments", jpeg()[:2] + b"\xff" + jpeg()[2:], None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_ordinary_orientations_are_read_and_others_left_to_pillow(case: Case) -> None:
    assert orientation(case.blob) == case.said
    assert orientation(memoryview(case.blob)) == case.said  # type: ignore[arg-type]  # what a slab hands out
    if case.said is not None:
        assert case.said == by_pillow(case.blob)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, while it opens the file for either backend
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_fast_backend_turns_every_one_as_pillow_does(case: Case, sample: SampleRef) -> None:
    pytest.importorskip("simplejpeg")
    pytest.importorskip("cv2")
    np.testing.assert_array_equal(
        ImageDecoder(backend="fast").decode(case.blob, sample), ImageDecoder().decode(case.blob, sample)
    )


ORDINARY = with_segments((APP1, exif((256, 4, 1, 70_000), (274, 3, 1, 6), (305, 3, 1, 5))))


@given(changes=st.lists(st.tuples(st.integers(2, 90), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_header_is_never_read_otherwise(changes: list[tuple[int, int]]) -> None:
    blob = bytearray(ORDINARY)
    for place, value in changes:
        blob[place] = value
    said = orientation(bytes(blob))
    if said is None:
        return
    try:
        pillow = by_pillow(bytes(blob))
    except Exception:  # unreadable metadata says nothing, as in viewers; an unreadable file is refused elsewhere
        return
    assert said == pillow or (said not in range(2, 9) and pillow not in range(2, 9))


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_cut_header_is_left_to_pillow(length: int) -> None:
    assert orientation(ORDINARY[:length]) is None
