"""`as_decoder`: whatever a user passes as ``decode=`` becomes one `BoundDecoder`."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aioloader.errors import InvariantError, OptionError
from aioloader.tree import flatten
from aioloader.types import Decoder, FieldSpec, SampleRef, Tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np

CHOICES = (
    "a decoder (ImageDecoder(size=(height, width)), NpyDecoder(), RawDecoder()) or a function of "
    "(data), (data, sample) or (data, sample, rng) that returns x or (x, y)"
)

_ARGUMENTS = ("data", "sample", "rng")


@dataclass(frozen=True)
class BoundDecoder:
    """A decoder and how to call it; what engines use.

    ``needs_rng``: whether a generator must be built for the call (about 10 µs), else pass None.
    ``writes_out``: whether ``out`` may be written to, else it is not passed on. ``is_async``: call
    `decode_async`, on the loop. ``runs_inline``: it takes no longer than handing the sample to a thread would, so it
    is called on the loop.
    """

    target: Callable[..., Any]
    argument_count: int
    needs_rng: bool
    writes_out: bool
    is_async: bool
    runs_inline: bool
    declared: Callable[[], Tree | None]
    name: str

    def __repr__(self) -> str:
        return self.name

    def spec(self) -> Tree | None:
        """The declared fields, or None; `OptionError` where a leaf is no `FieldSpec`."""
        spec = self.declared()
        return None if spec is None else checked_spec("decode", self.name, spec)

    def decode(self, data: bytes, sample: SampleRef, rng: np.random.Generator | None, out: Tree | None = None) -> Tree:
        """What the decoder returns for one sample; ``out`` itself where it was written."""
        if self.is_async:
            raise InvariantError(f"{self.name} is an async decoder and was called as a plain one")
        return self.target(*(data, sample, rng, out)[: self.argument_count])

    async def decode_async(
        self, data: bytes, sample: SampleRef, rng: np.random.Generator | None, out: Tree | None = None
    ) -> Tree:
        """The same for an async decoder. Cancelling cancels the user's coroutine and drops the sample."""
        return await cast("Awaitable[Tree]", self.target(*(data, sample, rng, out)[: self.argument_count]))


def checked_spec(option: str, got: str, spec: Tree) -> Tree:
    """``spec`` if it is a `FieldSpec` or a tree of them; `OptionError` naming ``option`` where it is not."""
    leaves = flatten(spec)
    for path, leaf in leaves:
        if not isinstance(leaf, FieldSpec):
            raise OptionError(option, got, f"a FieldSpec for {path}, not {leaf!r}")
    if not leaves:
        raise OptionError(option, got, "a FieldSpec, or a tree of them with at least one")
    return spec


def as_decoder(decode: object) -> BoundDecoder:
    """``decode`` bound: a `Decoder`, or a function of ``(data[, sample[, rng]])``.

    A function gets as many arguments as it requires, and ``sample`` and ``rng`` where optional parameters
    bear those names; it may be ``async def``. Functions without a signature get ``data`` alone. A `Decoder`
    may set the attributes ``needs_rng`` and ``writes_out`` to False, and ``runs_inline`` to True: then it is called
    on the event loop, which pays where it takes less than about 50 µs and holds all fetching up where it takes
    more. Raises `OptionError` for everything else.
    """
    if isinstance(decode, BoundDecoder):
        return decode
    if decode is None:
        raise OptionError("decode", "None", CHOICES)
    if inspect.isclass(decode) and hasattr(decode, "decode"):
        raise OptionError("decode", decode.__name__, f"an instance: {decode.__name__}(...)")
    if isinstance(decode, Decoder):
        return BoundDecoder(
            target=decode.decode,
            argument_count=4,
            needs_rng=bool(getattr(decode, "needs_rng", True)),
            writes_out=bool(getattr(decode, "writes_out", True)),
            is_async=inspect.iscoroutinefunction(decode.decode),
            runs_inline=bool(getattr(decode, "runs_inline", False)),
            declared=decode.spec,
            name=name_of(decode),
        )
    if not callable(decode):
        missing = "; this one has no spec()" if hasattr(decode, "decode") else ""
        raise OptionError("decode", f"a {type(decode).__qualname__}", CHOICES + missing)
    count = _argument_count(decode)
    return BoundDecoder(
        target=decode,
        argument_count=count,
        needs_rng=count >= 3,
        writes_out=False,
        is_async=_is_async(decode),
        runs_inline=False,
        declared=_undeclared,
        name=name_of(decode),
    )


def _undeclared() -> None:
    """A function's spec: the first sample sets it. Named, for a lambda could not be pickled."""


def _argument_count(function: Callable[..., Any]) -> int:
    name = name_of(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return 1  # builtins such as np.frombuffer do not tell
    must_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if must_name:
        given = ", ".join(f"{option}=..." for option in must_name)
        raise OptionError("decode", name, f"no required keyword: functools.partial({name}, {given})")
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    count = sum(p.default is p.empty for p in positional)
    # A parameter with a default is the function's own option unless it bears our name.
    while count < min(len(positional), 3) and (count == 0 or positional[count].name == _ARGUMENTS[count]):
        count += 1
    if count == 0:
        if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise OptionError("decode", name, "at least one argument, the sample's bytes")
        count = 1
    if count > 3:
        raise OptionError("decode", name, f"at most the arguments (data, sample, rng), not {count}")
    if count == 2 and len(positional) > 1 and positional[1].name == "rng":
        raise OptionError("decode", name, "rng as the third argument: (data, sample, rng)")
    return count


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - the method is wanted, not whether it exists
    )


def name_of(target: object) -> str:
    """What reports and errors print: our own decoders with their arguments, all others by their names alone.

    The arguments of a `functools.partial` or of a user's decoder may be secrets.
    """
    if isinstance(target, functools.partial):
        return name_of(target.func)
    if type(target).__module__.partition(".")[0] == "aioloader":
        return repr(target)
    name = getattr(target, "__qualname__", None)
    return name if isinstance(name, str) else type(target).__qualname__
