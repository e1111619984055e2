"""One fetched sample into its slot: decode, transform, check, write. Runs in a decode thread, or on the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aioloader.errors import DecodeError, OptionError, SampleError, TransformError
from aioloader.redact import shown_key
from aioloader.tree import as_fields, check_fits, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from aioloader.batch.slab import Slab
    from aioloader.decode.function import BoundDecoder
    from aioloader.engine.step import Item
    from aioloader.types import Transform, Tree


class Fields(Protocol):
    """What is known of a batch's fields."""

    @property
    def is_declared(self) -> bool:
        """Whether the decoder's ``spec()`` set them, not the first sample."""
        ...

    @property
    def first_key(self) -> str | None:
        """The sample that set them, as it may be shown."""
        ...

    @property
    def decoder_fills_all(self) -> bool:
        """Whether the decoder returns the batch's whole tuple; else the label is the dataset's."""
        ...


class Recipe(Protocol):
    """How a body becomes a slot's content: the same in the training process and in a worker process."""

    @property
    def decoder(self) -> BoundDecoder:
        """The user's decoder."""
        ...

    @property
    def transform(self) -> Transform | None:
        """What is called after it."""
        ...

    @property
    def workspace(self) -> Fields:
        """The fields of a batch, once known."""
        ...

    def rng(self, epoch: int, sample_id: int, /) -> np.random.Generator | None:
        """The sample's generator; None where nobody draws from it."""
        ...


def decode_item(recipe: Recipe, item: Item, settle: Callable[[Item, Tree], None]) -> None:
    """Fill the item's slot and mark it.

    The first sample has no slab yet: ``settle(item, spec)`` hears its spec and may give it one; without one the item
    is left decoded, to be written when it comes again. Raises `SampleError` naming the sample, its cause chained;
    `OptionError` where a batch does not fit the memory.
    """
    try:
        written = not item.is_decoded and produce(recipe, item)
        if item.slab is None:
            settle(item, spec_of(item.decoded, key=shown_key(item.sample.key)))
            if item.slab is None:
                return
        if not written:
            _write(recipe.workspace, item.slab, item)
        item.slab.mark(item.slot, item.position)
        item.decoded = None
    except SampleError as exc:
        raise exc.with_sample(item.sample.index, shown_key(item.sample.key)) from exc.__cause__
    except OptionError:
        raise
    except BaseException as exc:  # SystemExit in a decoder must not end our thread unheard
        raise wrap_foreign(exc, item, DecodeError, "the decoder raised") from exc


def wrap_foreign(exc: BaseException, item: Item, kind: type[SampleError], what: str) -> SampleError:
    """The user's exception as ours; the original becomes the cause at the ``raise ... from``."""
    reason = f"{what} {type(exc).__name__}: {exc}".replace(item.sample.key, shown_key(item.sample.key))
    hint = 'See the cause above; on_error="skip" goes on without such samples.'
    return kind(reason, shown_key(item.sample.key), hint, item.sample.byte_range, 1, "", item.sample.index)


def produce(recipe: Recipe, item: Item) -> bool:
    """Decode and transform; returns whether the slot was written already, else ``item.decoded`` has it.

    Without a slab nothing is written. Of an async decoder ``item.decoded`` is what it returned. Raises what user code
    raises, as it is or named.
    """
    decoder, sample, slab = recipe.decoder, item.sample, item.slab
    rng = recipe.rng(item.epoch, sample.index)
    out = None
    if slab is not None and recipe.workspace.is_declared and decoder.writes_out and not decoder.is_async:
        # Only where spec() promised the shape: another shape must be found out, not written.
        slot = slab.slot(item.slot)
        out = slot if recipe.workspace.decoder_fills_all else slot[0]
    if decoder.is_async:
        decoded = item.decoded  # it ran on the loop
    else:
        try:
            decoded = decoder.decode(item.body, sample, rng, out)
        except OptionError as exc:  # the user's, of this sample; that of `settle` ends the stream
            raise wrap_foreign(exc, item, DecodeError, "the decoder raised") from exc
        if slab is not None and out is not None and decoded is out and slab.is_slot(item.slot, out):
            return True  # there is no transform where the decoder's own spec() declared the fields
    if isinstance(decoded, tuple):
        decoded = as_fields(decoded, key=shown_key(sample.key))
    if recipe.transform is not None:
        assert rng is not None  # built whenever there is a transform
        try:
            decoded = recipe.transform(decoded, rng)
        except BaseException as exc:
            raise wrap_foreign(exc, item, TransformError, "the transform raised") from exc
        if isinstance(decoded, tuple):
            decoded = as_fields(decoded, key=shown_key(sample.key))
    item.decoded, item.is_decoded = decoded, True
    return False


def _write(fields: Fields, slab: Slab, item: Item) -> None:
    structure = slab.layout.structure
    expected = structure if fields.decoder_fills_all else structure[0]
    leaves = check_fits(expected, item.decoded, key=shown_key(item.sample.key), first_key=fields.first_key)
    slab.write(item.slot, leaves)
