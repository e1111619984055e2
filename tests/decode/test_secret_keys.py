"""A decoder used outside of a loader names a presigned sample without its signature."""

from __future__ import annotations

import numpy as np
import pytest

from aioloader.decode.image import ImageDecoder
from aioloader.decode.npy import NpyDecoder
from aioloader.decode.raw import RawDecoder
from aioloader.errors import DecodeError
from aioloader.types import Decoder, SampleRef


@pytest.mark.parametrize("decoder", [ImageDecoder((8, 8)), NpyDecoder(), RawDecoder("float32")], ids=repr)
def test_a_signature_is_not_shown(decoder: Decoder) -> None:
    with pytest.raises(DecodeError) as caught:
        decoder.decode(
            b"abc", SampleRef(index=0, key="https://me:CANARY@host/a.bin?sig=CANARY"), np.random.default_rng(0)
        )
    assert caught.value.key == "https://host/a.bin?sig=…"
    assert "CANARY" not in str(caught.value)
