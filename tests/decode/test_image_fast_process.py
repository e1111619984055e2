"""backend="fast" and the process it is in: imports, missing libraries, OpenCV's own threads."""

from __future__ import annotations

import base64
import io
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from aioloader.decode.image import ImageDecoder

if TYPE_CHECKING:
    from aioloader.types import SampleRef

pytest.importorskip("simplejpeg")
cv2 = pytest.importorskip("cv2")

FAST = ImageDecoder((10, 10), backend="fast")


def jpeg(height: int = 40, width: int = 52) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def run(program: str, *arguments: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "OPENCV_FOR_THREADS_NUM"}
    child = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**inherited, **environment},
    )
    return child.stdout


@dataclass(frozen=True)
class Missing:
    id: str
    module: str


@pytest.mark.parametrize("case", [Missing("simplejpeg", "simplejpeg"), Missing("OpenCV", "cv2")], ids=lambda c: c.id)
def test_a_missing_library_is_told_when_the_decoder_is_made(case: Missing) -> None:
    said = run(
        "import sys\n"
        "sys.modules[sys.argv[1]] = None\n"
        "import aioloader as al\n"
        "from aioloader.errors import OptionError\n"
        "try:\n"
        "    al.ImageDecoder((8, 8), backend='fast')\n"
        "except OptionError as exc:\n"
        "    print(exc.option, exc, repr(exc.__cause__), sep='|')\n",
        case.module,
    )
    option, sentence, cause = said.split("|")
    assert option == "backend"
    assert 'pip install "aioloader[fast]"' in sentence
    assert case.module in cause


def test_a_decoder_unpickled_where_a_library_is_missing_says_so() -> None:
    said = run(
        "import base64, pickle, sys\n"
        "sys.modules['cv2'] = None\n"
        "from aioloader.errors import OptionError\n"
        "from aioloader.types import SampleRef\n"
        "decoder = pickle.loads(base64.b64decode(sys.argv[1]))\n"
        "try:\n"
        "    decoder.decode(base64.b64decode(sys.argv[2]), SampleRef(index=0, key='a'))\n"
        "except OptionError as exc:\n"
        "    print(exc)\n",
        base64.b64encode(pickle.dumps(FAST)).decode(),
        base64.b64encode(jpeg()).decode(),
    )
    assert 'pip install "aioloader[fast]"' in said


@pytest.mark.parametrize(
    "statement",
    ["import aioloader", "import aioloader; aioloader.ImageDecoder((8, 8), dct_scale=True)"],
)
def test_nobody_else_imports_the_libraries(statement: str) -> None:
    said = run(f"import sys; {statement}; print(sorted({{'cv2', 'simplejpeg'}} & set(sys.modules)))")
    assert said.strip() == "[]"


@dataclass(frozen=True)
class Threads:
    id: str
    before: str
    after: str
    expected: int
    environment: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    "case",
    [
        Threads("nobody decided", "pass", "pass", 1),
        Threads("the user's cv2 came first", "import cv2; cv2.setNumThreads(3)", "pass", 3),
        Threads("the user's call came later", "pass", "cv2.setNumThreads(3)", 3),
        Threads("the environment says", "pass", "pass", 2, {"OPENCV_FOR_THREADS_NUM": "2"}),
    ],
    ids=lambda case: case.id,
)
def test_opencvs_threads_are_limited_only_where_nobody_decided(case: Threads) -> None:
    said = run(
        "import base64, sys\n"
        f"{case.before}\n"
        "from aioloader.decode.image import ImageDecoder\n"
        "from aioloader.types import SampleRef\n"
        "decoder = ImageDecoder((8, 8), backend='fast')\n"
        "import cv2\n"
        f"{case.after}\n"
        "decoder.decode(base64.b64decode(sys.argv[1]), SampleRef(index=0, key='a'))\n"
        "print(cv2.getNumThreads())\n",
        base64.b64encode(jpeg()).decode(),
        **case.environment,
    )
    assert int(said) == case.expected


@pytest.mark.parametrize("size", [(224, 224), (500, 400)])
def test_pixels_do_not_depend_on_opencvs_threads(size: tuple[int, int], sample: SampleRef) -> None:
    decoder = ImageDecoder(size, backend="fast")
    blob = jpeg(1200, 900)
    before = cv2.getNumThreads()
    try:
        pixels = []
        for count in (1, 2, 5):
            cv2.setNumThreads(count)
            pixels.append(decoder.decode(blob, sample))
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(pixels[0], pixels[1])
    np.testing.assert_array_equal(pixels[0], pixels[2])
