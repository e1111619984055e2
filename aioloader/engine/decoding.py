"""One fetched sample into its slot: decode, transform, check, write. Runs in a decode thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.errors import DecodeError, OptionError, SampleError, TransformError
from aioloader.redact import shown_key
from aioloader.tree import as_fields, check_fits, spec_of

if TYPE_CHECKING:
    from aioloader.batch.slab import Slab
    from aioloader.engine.job import Job
    from aioloader.engine.step import Item
    from aioloader.types import Tree


def decode_item(job: Job, item: Item) -> None:
    """Fill the item's slot and mark it.

    Raises `SampleError` naming the sample, its cause chained; `OptionError` where a batch does not fit the memory.
    """
    try:
        _decode(job, item)
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


def _decode(job: Job, item: Item) -> None:
    decoder, sample, slab = job.decoder, item.sample, item.step.slab
    rng = job.rng(item.step.epoch, sample.index)
    out = None
    if decoder.is_async:
        decoded = item.decoded
    else:
        if slab is not None and job.workspace.is_declared and decoder.writes_out:
            # Only where spec() promised the shape: another shape must be found out, not written.
            slot = slab.slot(item.slot)
            out = slot if job.workspace.decoder_fills_all else slot[0]
        try:
            decoded = decoder.decode(item.body, sample, rng, out)
        except OptionError as exc:  # the user's, of this sample; ours below ends the stream
            raise wrap_foreign(exc, item, DecodeError, "the decoder raised") from exc
    written = out is not None and decoded is out
    if isinstance(decoded, tuple):
        decoded = as_fields(decoded, key=shown_key(sample.key))
    if job.transform is not None:
        assert rng is not None  # built above whenever there is a transform
        try:
            decoded = job.transform(decoded, rng)
        except BaseException as exc:
            raise wrap_foreign(exc, item, TransformError, "the transform raised") from exc
        if isinstance(decoded, tuple):
            decoded = as_fields(decoded, key=shown_key(sample.key))
    if slab is None:
        job.workspace.settle(spec_of(decoded, key=shown_key(sample.key)), job.samples.label_spec, shown_key(sample.key))
        slab = job.workspace.slab_for(item.step)
    if not written:
        _write(job, slab, item, decoded)
    slab.mark(item.slot, int(item.step.positions[item.slot]))


def _write(job: Job, slab: Slab, item: Item, decoded: Tree) -> None:
    structure = slab.layout.structure
    expected = structure if job.workspace.decoder_fills_all else structure[0]
    leaves = check_fits(expected, decoded, key=shown_key(item.sample.key), first_key=job.workspace.first_key)
    for field, leaf in zip(slab.fields, leaves, strict=False):  # the label's field may follow
        field[item.slot] = leaf
