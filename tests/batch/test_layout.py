"""Where fields lie: aligned, apart from each other, whatever the tree, the dtypes and the batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aioloader.batch.layout import ALIGNMENT, Layout
from aioloader.batch.slab import Slab
from aioloader.tree import flatten, unflatten
from aioloader.types import FieldSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPECS = st.builds(
    FieldSpec,
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    st.sampled_from([np.dtype(kind) for kind in ("bool", "uint8", "float16", "float32", "int64", "complex128")]),
)
TREES = st.recursive(
    SPECS,
    lambda trees: st.one_of(
        st.dictionaries(st.text("abc", min_size=1, max_size=2), trees, min_size=1, max_size=3),
        st.lists(trees, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=6,
)


def address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


@given(structure=TREES, batch_size=st.integers(1, 9))
def test_every_field_starts_aligned_and_overlaps_no_other(structure: Any, batch_size: int) -> None:
    layout = Layout.plan(structure, batch_size)
    spans = [(layout.positions_offset, 8 * batch_size), (layout.valid_offset, batch_size)]
    spans += [(place.offset, batch_size * place.spec.nbytes) for place in layout.fields]
    assert all(offset % ALIGNMENT == 0 for offset, _ in spans)
    end = 0
    for offset, nbytes in spans:  # they are planned one after another
        assert offset >= end
        end = offset + nbytes
    assert end <= layout.nbytes < end + ALIGNMENT
    assert [(place.path, place.spec) for place in layout.fields] == flatten(structure)


@given(structure=TREES, batch_size=st.integers(1, 9))
def test_a_slab_has_aligned_writable_arrays_of_the_fields_shapes_and_dtypes(structure: Any, batch_size: int) -> None:
    slab = Slab(Layout.plan(structure, batch_size))
    for field, (_, spec) in zip(slab.fields, flatten(structure), strict=True):
        assert (field.shape, field.dtype) == ((batch_size, *spec.shape), spec.dtype)
        assert field.flags.writeable
        assert field.flags.c_contiguous
        assert field.size == 0 or address(field) % ALIGNMENT == 0
    assert address(slab.positions) % ALIGNMENT == 0


@given(structure=TREES, batch_size=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_what_is_written_into_the_slots_is_what_the_fields_hold(structure: Any, batch_size: int, seed: int) -> None:
    slab = Slab(Layout.plan(structure, batch_size))
    rng = np.random.default_rng(seed)
    written = []
    for index in range(batch_size):
        samples = [rng.integers(0, 2, spec.shape).astype(spec.dtype) for _, spec in flatten(structure)]
        tree = slab.slot(index)
        assert tree_shape(tree) == tree_shape(unflatten(structure, samples))
        for (_, view), sample in zip(flatten(tree), samples, strict=True):
            assert isinstance(view, np.ndarray)  # a scalar's too, so that view[...] = value writes
            view[...] = sample
        slab.mark(index, 100 + index)
        written.append(samples)
    for place, field in enumerate(slab.fields):
        assert np.array_equal(field, np.stack([samples[place] for samples in written]))
    assert slab.positions.tolist() == [100 + index for index in range(batch_size)]
    assert slab.valid.all()


def tree_shape(tree: Any) -> Any:
    """The tree with its leaves' shapes in their place."""
    if isinstance(tree, dict):
        return {name: tree_shape(branch) for name, branch in tree.items()}
    if isinstance(tree, tuple):
        return tuple(tree_shape(branch) for branch in tree)
    return list(tree.shape)
