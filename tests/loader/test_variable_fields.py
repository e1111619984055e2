"""Fields whose samples differ in length, and text: padded to the batch's longest, in threads and in processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import aioloader as al
from aioloader import errors

N = 50
TEXTS = ["", "a", "Grüße", "日本語のテキスト", "e" * 30]


def data() -> al.Dataset:
    store = al.MemoryStore({f"{index:03}": str(index).encode() for index in range(N)})
    return al.from_samples([(f"{index:03}", index) for index in range(N)], store=store)


def decode(body: bytes) -> Any:
    index = int(body)
    return {
        "tokens": np.arange(index % 7, dtype=np.int32) + index,
        "boxes": np.full((index % 3, 4), index, np.float32),
        "text": TEXTS[index % len(TEXTS)],
        "id": index,
    }


SPEC = {
    "tokens": al.FieldSpec((al.UpTo(6),), np.dtype(np.int32), fill=-1),
    "boxes": al.FieldSpec((al.UpTo(2), 4), np.dtype(np.float32)),
    "text": al.FieldSpec.text(30),
    "id": al.FieldSpec((), np.dtype(np.int64)),
}


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_every_batch_is_as_long_as_its_longest_sample_and_padded_with_fill(*, use_multiprocessing: bool) -> None:
    seen = []
    with al.Loader(
        data(), decode=decode, spec=SPEC, batch_size=4, shuffle=True, seed=3, drop_last=False,
        use_multiprocessing=use_multiprocessing, workers=2,
    ) as loader:  # fmt: skip
        for _ in range(2):  # slabs are reused: nothing of a former batch shows
            for x, y in loader:
                assert x["id"].tolist() == y.tolist()
                assert x["tokens"].shape == (len(y), max(index % 7 for index in y.tolist()))
                assert x["boxes"].shape == (len(y), max(index % 3 for index in y.tolist()), 4)
                assert x["text"].tolist() == [TEXTS[index % len(TEXTS)] for index in y.tolist()]
                for row, index in enumerate(y.tolist()):
                    length = index % 7
                    assert x["tokens"][row, :length].tolist() == [index + place for place in range(length)]
                    assert (x["tokens"][row, length:] == -1).all()
                    assert (x["boxes"][row, : index % 3] == index).all()
                    assert (x["boxes"][row, index % 3 :] == 0).all()
                seen += y.tolist()
    assert sorted(seen) == sorted([*range(N)] * 2)


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_a_sample_longer_than_declared_is_named(*, use_multiprocessing: bool) -> None:
    spec = {**SPEC, "tokens": al.FieldSpec((al.UpTo(5),), np.dtype(np.int32))}
    with (
        al.Loader(data(), decode=decode, spec=spec, use_multiprocessing=use_multiprocessing) as loader,
        pytest.raises(errors.ShapeMismatchError, match=r"sample 6 \(006\).*x\.tokens is int32\[6\].*Raise UpTo"),
    ):
        list(loader)


def test_text_that_is_too_long_or_no_text_is_named() -> None:
    with (
        al.Loader(data(), decode=lambda body: "long" * int(body), spec=al.FieldSpec.text(10)) as loader,
        pytest.raises(errors.ShapeMismatchError, match=r"sample 3 .*12 bytes of UTF-8.*max_bytes"),
    ):
        list(loader)
    with (
        al.Loader(data(), decode=lambda body: int(body), spec=al.FieldSpec.text(10)) as loader,
        pytest.raises(errors.DecodeError, match="returned int for x, which is text"),
    ):
        list(loader)


def test_text_without_a_declaration_says_how_to_declare_it() -> None:
    with (
        al.Loader(data(), decode=lambda body: body.decode()) as loader,
        pytest.raises(errors.DecodeError, match=r"FieldSpec\.text\(max_bytes\)"),
    ):
        list(loader)


@pytest.mark.parametrize("use_multiprocessing", [False, True])
def test_objects_that_no_batch_can_hold_are_refused_with_a_sentence(*, use_multiprocessing: bool) -> None:
    with (
        al.Loader(data(), decode=lambda body: {"a": {1, 2}}, use_multiprocessing=use_multiprocessing) as loader,
        pytest.raises(errors.DecodeError, match=r"returned set for x\.a"),
    ):
        list(loader)


def test_a_stand_in_brings_its_own_length() -> None:
    def broken(body: bytes) -> Any:
        if int(body) == 1:
            raise ValueError("broken")
        return np.full(int(body) + 1, int(body), np.int64)

    spec = al.FieldSpec((al.UpTo(N),), np.dtype(np.int64), fill=-1)
    with al.Loader(
        data(), decode=broken, spec=spec, batch_size=2, on_error="skip", max_error_rate=1.0, drop_last=False
    ) as loader:
        (x, _), *_ = loader
    assert x.tolist() == [[0], [0]]


def test_a_spec_describes_what_the_transform_returns() -> None:
    spec = al.FieldSpec((al.UpTo(4),), np.dtype(np.float32))
    with al.Loader(
        data(),
        decode=lambda body: np.zeros(int(body) % 5, np.int64),
        transform=lambda x, rng: x[:4].astype(np.float32),
        spec=spec,
        batch_size=10,
    ) as loader:
        assert {x.shape for x, _ in loader} == {(10, 4)}


def test_a_spec_that_is_none_is_refused() -> None:
    with pytest.raises(errors.OptionError, match=r"spec=.*FieldSpec"):
        al.Loader(data(), decode=decode, spec={"a": (3, 4)})
