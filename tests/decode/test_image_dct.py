"""dct_scale: JPEGs decoded smaller, by choice and never below the target."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aioloader.decode.image import ImageDecoder
from aioloader.decode.image_fit import EXIF_TURNS, UPRIGHT, Placement, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.types import SampleRef

BACKENDS = ["pillow", "fast"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "fast":
        pytest.importorskip("simplejpeg")
        pytest.importorskip("cv2")
    return name


def checkers(height: int, width: int, cell: int) -> Image.Image:
    """Black and white squares of ``cell`` pixels."""
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.where((rows // cell + columns // cell) % 2, 255, 0).astype(np.uint8))


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@dataclass(frozen=True)
class Case:
    id: str
    stored: tuple[int, int]
    size: tuple[int, int] | None
    divisor: int
    orientation: int = 1
    crop: bool = False
    pad: bool = False


@pytest.mark.parametrize(
    "case",
    [
        Case("ordinary photo", (375, 500), (224, 224), 1),
        Case("one side is large", (300, 4000), (224, 224), 1),
        Case("just twice", (448, 448), (224, 224), 2),
        Case("not quite twice", (447, 448), (224, 224), 1),
        Case("large photo", (2000, 3000), (224, 224), 8),
        Case("larger still: there is no less than an eighth", (20_000, 30_000), (224, 224), 8),
        Case("own size", (2000, 3000), None, 1),
        Case("enlarged", (100, 100), (224, 224), 1),
        Case("turned: rows are columns", (3000, 1000), (224, 600), 4, orientation=6),
        Case("not turned", (3000, 1000), (224, 600), 1),
        Case("the part that is cut out counts", (1000, 8000), (500, 500), 2, crop=True),
        Case("the part that is filled counts", (500, 4000), (500, 500), 8, pad=True),
        Case("stretched", (500, 4000), (500, 500), 1),
    ],
    ids=lambda case: case.id,
)
def test_the_divisor_leaves_at_least_the_target(case: Case) -> None:
    turn = EXIF_TURNS[case.orientation]
    assert place(case.stored, turn, case.size, crop=case.crop, pad=case.pad).dct_divisor() == case.divisor


sides = st.tuples(st.integers(1, 9000), st.integers(1, 9000))


@given(stored=sides, size=sides, orientation=st.integers(1, 8), fit=st.sampled_from(["stretch", "crop", "pad"]))
def test_it_never_enlarges_what_was_not(
    stored: tuple[int, int], size: tuple[int, int], orientation: int, fit: str
) -> None:
    placement = place(stored, EXIF_TURNS[orientation], size, crop=fit == "crop", pad=fit == "pad")
    divisor = placement.dct_divisor()
    left, top, right, bottom = placement.source
    shrinks = ((bottom - top) / placement.inner[0], (right - left) / placement.inner[1])
    assert divisor in (1, 2, 4, 8)
    assert divisor == 1 or min(shrinks) >= divisor
    assert divisor == 8 or min(shrinks) < 2 * divisor


def test_a_placement_at_its_own_size_is_the_identity() -> None:
    whole = place((3, 4), UPRIGHT, None, crop=False, pad=False)
    assert whole == Placement(UPRIGHT, (0, 0, 4, 3), (3, 4), (0, 0, 4, 3), (3, 4))


def test_scaled_pixels_are_the_means_of_blocks(backend: str, sample: SampleRef) -> None:
    # Squares of 8 x 8 are the blocks that a JPEG codes; an eighth of the size is their means.
    blob = jpeg(checkers(128, 192, 8))
    got = ImageDecoder((16, 24), mode="L", backend=backend, dct_scale=True).decode(blob, sample)
    np.testing.assert_allclose(got[..., 0], np.asarray(checkers(16, 24, 1), float), atol=2)
    # Decoded in full, Pillow's triangle of 16 x 16 pixels mixes them with their neighbours.
    full = ImageDecoder((16, 24), mode="L", backend="pillow", dct_scale=False).decode(blob, sample)
    assert full[1:-1, 1:-1].max() < 192


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "area"])
def test_pillow_resizes_its_own_draft(interpolation: str, mode: str, sample: SampleRef) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    blob = jpeg(Image.fromarray(noise).resize((961, 641), Image.Resampling.BICUBIC))
    decoder = ImageDecoder((150, 200), mode=mode, interpolation=interpolation, dct_scale=True)
    draft = Image.open(io.BytesIO(blob))
    draft.draft(None, (961 // 4, 641 // 4))
    assert draft.size == (241, 161)
    small = draft.convert(mode if mode == "L" else "RGB")
    resample = {"area": "BOX"}.get(interpolation, interpolation.upper())
    expected = small.resize((200, 150), Image.Resampling[resample], (0, 0, 961 / 4, 641 / 4)).convert(mode)
    np.testing.assert_array_equal(decoder.decode(blob, sample).squeeze(), np.asarray(expected))
    assert (decoder.decode(blob, sample) != replace(decoder, dct_scale=False).decode(blob, sample)).any()


@dataclass(frozen=True)
class Same:
    id: str
    picture: Image.Image
    options: dict[str, Any]


@pytest.mark.parametrize(
    "case",
    [
        Same("less than twice the target", checkers(375, 500, 3), {"size": (224, 224)}),
        Same("nearest: source pixels alone", checkers(375, 500, 3), {"size": (20, 20), "interpolation": "nearest"}),
        Same("own size", checkers(375, 500, 3), {}),
    ],
    ids=lambda case: case.id,
)
def test_the_option_changes_nothing_where_nothing_is_scaled(case: Same, backend: str, sample: SampleRef) -> None:
    decoder = ImageDecoder(**case.options, backend=backend)
    blob = jpeg(case.picture)
    pixels: list[NDArray[np.uint8]] = [
        replace(decoder, dct_scale=dct_scale).decode(blob, sample) for dct_scale in (None, True, False)
    ]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    np.testing.assert_array_equal(pixels[0], pixels[2])


def test_other_formats_are_never_scaled(backend: str, sample: SampleRef) -> None:
    buffer = io.BytesIO()
    checkers(375, 500, 3).save(buffer, "PNG")
    decoder = ImageDecoder((20, 20), backend=backend, dct_scale=True)
    expected = ImageDecoder((20, 20)).decode(buffer.getvalue(), sample)
    np.testing.assert_array_equal(decoder.decode(buffer.getvalue(), sample), expected)


def test_each_backend_has_its_own_default(backend: str, sample: SampleRef) -> None:
    blob = jpeg(checkers(375, 500, 5))
    decoder = ImageDecoder((30, 30), backend=backend)
    default = decoder.decode(blob, sample)
    explicit = replace(decoder, dct_scale=backend == "fast").decode(blob, sample)
    other = replace(decoder, dct_scale=backend != "fast").decode(blob, sample)
    np.testing.assert_array_equal(default, explicit)
    assert (default != other).any()


def test_cmyk_is_scaled_by_pillow(backend: str, sample: SampleRef) -> None:
    blob = jpeg(checkers(400, 480, 5).convert("CMYK"))
    decoder = ImageDecoder((50, 60), backend=backend, dct_scale=True)
    pillow = replace(decoder, backend="pillow")
    np.testing.assert_array_equal(decoder.decode(blob, sample), pillow.decode(blob, sample))
    assert (pillow.decode(blob, sample) != replace(pillow, dct_scale=False).decode(blob, sample)).any()
