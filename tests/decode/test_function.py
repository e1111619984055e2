"""as_decoder: decoders and functions of every signature become one thing."""

from __future__ import annotations

import functools
import inspect
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.decode.function import as_decoder
from aioloader.decode.image import ImageDecoder
from aioloader.decode.npy import NpyDecoder
from aioloader.decode.raw import RawDecoder
from aioloader.errors import InvariantError, OptionError
from aioloader.types import FieldSpec, SampleRef, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = b"\x01\x02"


def of_data(data: bytes) -> Any:
    return (data,)


def of_data_with_own_option(data: bytes, scale: float = 2.0) -> Any:
    return (data, scale)


def of_sample(data: bytes, sample: SampleRef) -> Any:
    return (data, sample)


def of_any_names(a: bytes, b: SampleRef) -> Any:
    return (a, b)


def of_optional_sample(data: bytes, sample: SampleRef | None = None) -> Any:
    return (data, sample)


def of_rng(data: bytes, sample: SampleRef, rng: np.random.Generator) -> Any:
    return (data, sample, rng)


def of_optional_rng(data: bytes, sample: SampleRef, rng: np.random.Generator | None = None) -> Any:
    return (data, sample, rng)


def of_everything_optional(data: bytes = b"", sample: Any = None, rng: Any = None, other: int = 0) -> Any:
    assert other == 0
    return (data, sample, rng)


def of_star(*parts: Any) -> Any:
    return parts


def of_keyword(data: bytes, *, size: int) -> Any:
    return (data, size)


async def in_a_loop(data: bytes, sample: SampleRef) -> Any:
    return (data, sample)


class CallableObject:
    def __call__(self, data: bytes) -> Any:
        return (data,)


class AsyncCallableObject:
    async def __call__(self, data: bytes, sample: SampleRef, rng: np.random.Generator) -> Any:
        return (data, sample, rng)


class Plain:
    """A user's decoder that says nothing of itself."""

    def spec(self) -> Tree | None:
        return None

    def decode(self, data: bytes, sample: SampleRef, rng: np.random.Generator, out: Tree | None = None) -> Tree:
        return (data, sample, rng, out)

    def __repr__(self) -> str:
        return "Plain()"


class Modest(Plain):
    needs_rng = False
    writes_out = False


class Declaring(Plain):
    def __init__(self, declared: Any) -> None:
        self.declared = declared

    def spec(self) -> Tree | None:
        return self.declared


class Loopy:
    def spec(self) -> Tree | None:
        return None

    async def decode(self, data: bytes, sample: SampleRef, rng: Any, out: Any = None) -> Tree:
        return (data, sample, rng, out)


@dataclass(frozen=True)
class Case:
    id: str
    decode: object
    arguments: int
    needs_rng: bool = False
    writes_out: bool = False
    is_async: bool = False


CASES = [
    Case("data", of_data, 1),
    Case("own option", of_data_with_own_option, 1),
    Case("sample", of_sample, 2),
    Case("other names", of_any_names, 2),
    Case("optional sample", of_optional_sample, 2),
    Case("rng", of_rng, 3, needs_rng=True),
    Case("optional rng", of_optional_rng, 3, needs_rng=True),
    Case("all optional", of_everything_optional, 3, needs_rng=True),
    Case("star", of_star, 1),
    Case("partial of a keyword", functools.partial(of_keyword, size=3), 1),
    Case("partial of an async function", functools.partial(in_a_loop), 2, is_async=True),
    Case("lambda", lambda data: (data,), 1),
    Case("builtin", memoryview, 1),
    Case("object", CallableObject(), 1),
    Case("method", CallableObject().__call__, 1),
    Case("async", in_a_loop, 2, is_async=True),
    Case("async object", AsyncCallableObject(), 3, needs_rng=True, is_async=True),
    Case("decoder", Plain(), 4, needs_rng=True, writes_out=True),
    Case("modest decoder", Modest(), 4),
    Case("async decoder", Loopy(), 4, needs_rng=True, writes_out=True, is_async=True),
    Case("image", ImageDecoder((2, 2)), 4, writes_out=True),
    Case("npy", NpyDecoder(), 4, writes_out=True),
    Case("raw", RawDecoder(), 4, writes_out=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_decoder_needs_is_read_from_it(case: Case) -> None:
    bound = as_decoder(case.decode)
    assert bound.argument_count == case.arguments
    assert (bound.needs_rng, bound.writes_out, bound.is_async) == (
        case.needs_rng,
        case.writes_out,
        case.is_async,
    )
    assert as_decoder(bound) is bound


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if inspect.isroutine(case.decode) or type(case.decode) is Plain],
    ids=lambda case: case.id,
)
async def test_it_is_called_with_what_it_takes(case: Case, sample: SampleRef) -> None:
    bound = as_decoder(case.decode)
    rng = np.random.default_rng(0)
    out = np.zeros(2, np.uint8)
    given = (DATA, sample, rng, out)
    if case.is_async:
        got = await bound.decode_async(DATA, sample, rng, out)
        with pytest.raises(InvariantError, match="async"):
            bound.decode(DATA, sample, rng, out)
    else:
        got = bound.decode(DATA, sample, rng, out)
    if case.id == "own option":
        assert got == (DATA, 2.0)
    else:
        assert all(a is b for a, b in zip(got, given[: case.arguments], strict=True))


@dataclass(frozen=True)
class Refused:
    id: str
    decode: object
    says: str


def of_nothing() -> None: ...
def of_four(data: Any, sample: Any, rng: Any, out: Any) -> None: ...
def of_rng_second(data: Any, rng: Any) -> None: ...


class WithoutSpec:
    def decode(self, data: bytes) -> bytes:
        return data


@pytest.mark.parametrize(
    "case",
    [
        Refused("none", None, "ImageDecoder"),
        Refused("name", "image", "ImageDecoder"),
        Refused("class", ImageDecoder, r"instance: ImageDecoder\(\.\.\.\)"),
        Refused("no spec", WithoutSpec(), r"no spec\(\)"),
        Refused("no argument", of_nothing, "at least one"),
        Refused("four", of_four, r"\(data, sample, rng\), not 4"),
        Refused("keyword", of_keyword, r"functools.partial\(of_keyword, size=\.\.\.\)"),
        Refused("rng second", of_rng_second, r"\(data, sample, rng\)"),
    ],
    ids=lambda case: case.id,
)
def test_what_cannot_decode_is_refused(case: Refused) -> None:
    with pytest.raises(OptionError, match=case.says) as caught:
        as_decoder(case.decode)
    assert caught.value.option == "decode"


def test_a_declared_spec_must_be_of_field_specs() -> None:
    good = {"a": FieldSpec((2,), np.dtype("uint8"))}
    assert as_decoder(Declaring(good)).spec() == good
    assert as_decoder(of_data).spec() is None
    assert as_decoder(Plain()).spec() is None
    with pytest.raises(OptionError, match=r"x\.a, not \(2|x\.a\[0\], not 2"):
        as_decoder(Declaring({"a": (2,)})).spec()
    with pytest.raises(OptionError, match="tree of them"):
        as_decoder(Declaring({})).spec()


def test_names_tell_functions_and_options_apart() -> None:
    assert repr(as_decoder(of_data)) == "of_data"
    assert repr(as_decoder(RawDecoder())) == "RawDecoder(dtype='|u1', shape=None)"


@dataclass(frozen=True)
class WithToken:
    token: str

    def spec(self) -> None: ...

    def decode(self, data: bytes, sample: SampleRef, rng: np.random.Generator | None, out: Tree | None = None) -> Any:
        return self.token


@dataclass(frozen=True)
class CalledWithToken:
    token: str

    def __call__(self, data: bytes) -> Any:
        return self.token


@dataclass(frozen=True)
class OwnFromImage(ImageDecoder):
    token: str = ""


def of_token(data: bytes, *, token: str) -> Any:
    return (data, token)


@pytest.mark.parametrize(
    ("decode", "name"),
    [
        (functools.partial(of_token, token="SECRET123"), "of_token"),
        (functools.partial(functools.partial(of_token), token="SECRET123"), "of_token"),
        (functools.partial(CalledWithToken("SECRET123")), "CalledWithToken"),
        (CalledWithToken("SECRET123"), "CalledWithToken"),
        (WithToken("SECRET123"), "WithToken"),
        (WithToken("SECRET123").decode, "WithToken.decode"),
        (OwnFromImage((2, 2), token="SECRET123"), "OwnFromImage"),
    ],
)
def test_arguments_of_a_users_decoder_are_not_shown(decode: Any, name: str) -> None:
    assert repr(as_decoder(decode)) == name


def of_token_and_size(data: bytes, *, token: str, size: int) -> Any:
    return (data, token, size)


@dataclass(frozen=True)
class NoDecoder:
    token: str


@pytest.mark.parametrize(
    "decode",
    [
        NoDecoder("SECRET123"),
        "SECRET123",
        functools.partial(of_token_and_size, token="SECRET123"),
    ],
)
def test_what_is_refused_does_not_show_its_arguments(decode: Any) -> None:
    with pytest.raises(OptionError) as caught:
        as_decoder(decode)
    assert "SECRET123" not in str(caught.value)


@pytest.mark.parametrize("decode", [of_rng, ImageDecoder((2, 2))], ids=["function", "decoder"])
def test_a_bound_decoder_can_be_pickled(decode: Callable[..., Any] | ImageDecoder) -> None:
    bound = as_decoder(decode)
    again = pickle.loads(pickle.dumps(bound))
    assert repr(again) == repr(bound)
    assert again.argument_count == bound.argument_count
    assert again.needs_rng == bound.needs_rng
