"""Trees of arrays: what a decoder returns, taken apart into fields and put together again.

A tree is an array (a *leaf*), or a tuple or dict of trees. Everything that is not a tuple or a dict is a
leaf; a list of numbers is an array. On top stands a decoder's result: ``x``, or a tuple ``(x, y)`` or ``(x,
y, sample_weight)``. Fields are named the way Python would reach them: ``x``, ``x.image``, ``y[0]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from aioloader.errors import DecodeError, ShapeMismatchError
from aioloader.types import FieldSpec, Tree, UpTo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

T = TypeVar("T")

TOP_NAMES = ("x", "y", "sample_weight")
"""What the places of a decoder's tuple mean."""


def flatten(tree: Tree) -> list[tuple[str, Any]]:
    """The leaves with their paths: tuples in order, dicts in their insertion order.

    Works on trees of arrays and of `FieldSpec` alike. Paths are unique within a tree. An empty tuple or dict
    has no leaves.
    """
    return list(_walk_top(tree))


def unflatten(like: Tree, leaves: Iterable[T]) -> Tree:
    """A tree of the structure of ``like`` with other ``leaves``, given in the order of ``flatten(like)``.

    A named tuple comes back as a plain tuple. Raises ValueError where the number of leaves differs.
    """
    queue = iter(leaves)
    tree = _rebuild(like, queue)
    if next(queue, queue) is not queue:
        raise ValueError("more leaves than the structure has places")
    return tree


def as_fields(decoded: Tree, *, key: str = "") -> tuple[Tree, ...]:
    """A decoder's result as the tuple ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.

    Raises `DecodeError` naming ``key`` where the tuple has another length.
    """
    if not isinstance(decoded, tuple):
        return (decoded,)
    if not 1 <= len(decoded) <= len(TOP_NAMES):
        raise DecodeError(
            f"the decoder returned a tuple of {len(decoded)}, not (x, y) or (x, y, sample_weight)",
            key,
            "Put several inputs into a dict: return {'a': a, 'b': b}, label.",
        )
    return tuple(decoded)


def spec_of(tree: Tree, *, key: str = "") -> Tree:
    """The tree of `FieldSpec` that ``tree`` has; ``key`` names the sample in errors.

    Leaves are read as ``np.asarray`` reads them: a Python int is int64, a float float64, a bool bool, each
    with shape ``()``. Byte order is always this machine's. Raises `DecodeError` for what no batch can hold:
    strings, None, objects, dates, ragged lists, an empty tuple or dict.
    """
    pairs = flatten(tree)
    if not pairs:
        raise DecodeError(f"the decoder returned an empty {type(tree).__name__}", key, "Return an array.")
    return unflatten(tree, [_spec_of_leaf(_as_array(leaf, path, key)) for path, leaf in pairs])


def check_fits(spec: Tree, tree: Tree, *, key: str = "", first_key: str | None = None) -> list[NDArray[np.generic]]:
    """The leaves of ``tree`` as arrays in ``flatten(spec)``'s order, if each has its field's shape and dtype.

    A dict's keys may come in another order than the spec's. ``key`` is this sample's, ``first_key`` that of
    the sample which set the spec, None where ``spec()`` declared it. Raises `ShapeMismatchError` naming both
    and the remedy, `DecodeError` for a leaf that is not numeric.
    """
    if isinstance(spec, FieldSpec) and type(tree) is np.ndarray and _fits(tree, spec):
        return [tree]  # the common case: one array
    whose = "its spec declares" if first_key is None else f"the first sample ({first_key}) set"
    arrays: list[NDArray[np.generic]] = []
    for path, field, leaf in _pair(spec, tree, "", lambda names: _other_fields(names, tree, whose, key)):
        array = _as_text(leaf, field, path, key) if field.is_text else _as_array(leaf, path, key)
        if not _fits(array, field):
            raise _other_leaf(_spec_of_leaf(array), field, path, whose, key)
        arrays.append(array)
    return arrays


def _walk_top(tree: Tree) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, tuple):
        for index, branch in enumerate(tree):
            yield from _walk(branch, _top_name(index))
    else:
        yield from _walk(tree, TOP_NAMES[0])


def _walk(tree: Tree, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for name, branch in tree.items():
            yield from _walk(branch, _under(path, name))
    elif isinstance(tree, tuple):
        for index, branch in enumerate(tree):
            yield from _walk(branch, f"{path}[{index}]")
    else:
        yield path, tree


def _top_name(index: int) -> str:
    return TOP_NAMES[index] if index < len(TOP_NAMES) else f"[{index}]"


def _under(path: str, name: object) -> str:
    plain = isinstance(name, str) and name.isidentifier()
    return f"{path}.{name}" if plain else f"{path}[{name!r}]"


def _rebuild(like: Tree, leaves: Iterator[Any]) -> Tree:
    if isinstance(like, dict):
        return {name: _rebuild(branch, leaves) for name, branch in like.items()}
    if isinstance(like, tuple):
        return tuple([_rebuild(branch, leaves) for branch in like])
    try:
        return next(leaves)
    except StopIteration:
        raise ValueError("fewer leaves than the structure has places") from None


def _pair(
    spec: Tree, tree: Tree, path: str, differs: Callable[[list[str]], ShapeMismatchError]
) -> Iterator[tuple[str, FieldSpec, Any]]:
    """Spec and sample side by side, in the spec's order."""
    at_top = not path
    if isinstance(spec, dict):
        if not isinstance(tree, dict) or spec.keys() != tree.keys():
            raise differs([name for name, _ in _walk(spec, path or TOP_NAMES[0])])
        for name, branch in spec.items():
            yield from _pair(branch, tree[name], _under(path or TOP_NAMES[0], name), differs)
    elif isinstance(spec, tuple):
        if not isinstance(tree, tuple) or len(spec) != len(tree):
            raise differs([name for name, _ in (_walk_top(spec) if at_top else _walk(spec, path))])
        for index, (branch, part) in enumerate(zip(spec, tree, strict=True)):
            yield from _pair(branch, part, _top_name(index) if at_top else f"{path}[{index}]", differs)
    elif isinstance(tree, (dict, tuple)):
        raise differs([path or TOP_NAMES[0]])
    else:
        yield path or TOP_NAMES[0], spec, tree


def _as_array(leaf: Any, path: str, key: str) -> NDArray[np.generic]:
    if leaf is None:
        raise DecodeError(f"the decoder returned None for {path}", key, "Is a `return` missing? Return numbers.")
    if isinstance(leaf, (str, bytes)):
        raise DecodeError(
            f"the decoder returned {type(leaf).__name__} for {path}",
            key,
            "Return numbers, map strings to ids, or declare text: Loader(..., spec=FieldSpec.text(max_bytes)).",
        )
    try:
        array = np.asarray(leaf)
    except (ValueError, TypeError) as exc:  # ragged lists; arrays that will not leave their device
        raise DecodeError(
            f"the {type(leaf).__name__} that the decoder returned for {path} is no array: {exc}",
            key,
            "Return numpy arrays.",
        ) from exc
    kind = array.dtype.kind
    # ml_dtypes (bfloat16, float8) are of kind V as well, but their scalars are not np.void.
    if kind in "biufc" or (kind == "V" and array.dtype.type is not np.void):
        return array
    what = type(leaf).__name__ if kind == "O" and array.ndim == 0 else f"an array of dtype {array.dtype}"
    hint = "Return numbers, or map strings to ids." if kind in "OUST" else "Return numbers."
    raise DecodeError(f"the decoder returned {what} for {path}", key, hint)


def _as_text(leaf: Any, field: FieldSpec, path: str, key: str) -> NDArray[np.uint8]:
    if not isinstance(leaf, str):
        raise DecodeError(f"the decoder returned {type(leaf).__name__} for {path}, which is text", key, "Return a str.")
    encoded = leaf.encode()
    if len(encoded) > field.shape[0]:
        raise ShapeMismatchError(
            f"{path} has {len(encoded)} bytes of UTF-8, and its field {field.shape[0]}",
            key,
            "Raise max_bytes, or cut it.",
        )
    return np.frombuffer(encoded, np.uint8)


def _spec_of_leaf(array: NDArray[np.generic]) -> FieldSpec:
    return FieldSpec(tuple(array.shape), array.dtype.newbyteorder("="))


def _fits(array: NDArray[Any], field: FieldSpec) -> bool:
    if array.shape != field.shape and not (field.is_variable and _fits_within(array.shape, field.shape)):
        return False
    return array.dtype == field.dtype or array.dtype.newbyteorder("=") == field.dtype


def _fits_within(shape: tuple[int, ...], bounds: tuple[int, ...]) -> bool:
    return len(shape) == len(bounds) and all(
        side <= bound if isinstance(bound, UpTo) else side == bound for side, bound in zip(shape, bounds, strict=True)
    )


def _other_fields(names: list[str], tree: Tree, whose: str, key: str) -> ShapeMismatchError:
    got = ", ".join(path for path, _ in flatten(tree)) or f"an empty {type(tree).__name__}"
    return ShapeMismatchError(
        f"it has the fields {got}, but {whose} {', '.join(names) or 'no fields'}",
        key,
        "Return the same fields for every sample.",
    )


def _other_leaf(got: FieldSpec, expected: FieldSpec, path: str, whose: str, key: str) -> ShapeMismatchError:
    if got.shape != expected.shape:
        hint = (
            "Resize to one size (ImageDecoder(size=(height, width))), or declare what may differ: "
            "Loader(..., spec=FieldSpec((UpTo(longest), ...), dtype)) pads each batch."
        )
        if expected.is_variable:
            hint = "Raise UpTo, or cut it."
    else:
        hint = f"Cast in the decoder or in transform=: .astype('{expected.dtype}')."
    return ShapeMismatchError(f"{path} is {got}, but {whose} {expected}", key, hint)
