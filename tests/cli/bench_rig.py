"""What tests of bench share: images, and which of its processes there are."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import psutil
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write_images(folder: Path, count: int) -> None:
    """``count`` small JPEGs of noise in two class folders."""
    noise = np.random.default_rng(3)
    for number in range(count):
        place = folder / f"class {number % 2}"
        place.mkdir(exist_ok=True)
        pixels = noise.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 72)).save(place / f"{number:04d}.jpg")


class Marked:
    """The processes that descend from this one since it was made, whoever's they are by now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._mark = uuid4().hex
        monkeypatch.setenv("AIOLOADER_TEST_MARK", self._mark)

    def commands(self) -> set[str]:
        """``pid command`` of each that runs."""
        found = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                is_ours = process.environ().get("AIOLOADER_TEST_MARK") == self._mark
                if is_ours and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                    found.add(f"{process.pid} {' '.join(process.cmdline())}")
        return found

    def wait_for(self, count: int, within_s: float = 30) -> set[str]:
        """What runs once it is ``count`` processes or more, or 0 where ``count`` is 0; or when the time is over."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = self.commands()
            if (len(found) >= count) if count else not found:
                break
            time.sleep(0.05)
        return self.commands()
