"""A whole step becomes the consumer's batch: labels, stand-ins, weights, the count, the lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aioloader.engine.ledger import LedgerEntry
from aioloader.errors import InvariantError, LoaderClosedError, OptionError, SkipBudgetExceededError
from aioloader.order.keys import PURPOSE_STAND_IN, derive_key
from aioloader.redact import shown_key
from aioloader.tree import TOP_NAMES, flatten, unflatten
from aioloader.types import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.batch.slab import Slab
    from aioloader.engine.job import Job
    from aioloader.engine.step import Step
    from aioloader.errors import SampleError

PROBATION_SAMPLES = 100
"""Samples before a failure rate means anything: two bad ones of the first ten are not 20 %."""


def deliver(job: Job, step: Step) -> Batch:
    """The batch of a whole step.

    Raises the failure of the step's first failed slot that is not skipped, `SkipBudgetExceededError` where
    too many samples (or all of a batch) failed, `InvariantError` where a slot holds another position than planned.
    """
    counters = job.counters
    counters.decode.latency.record_all(step.decode_s)
    fatal = [failure for failure in step.failures if job.is_fatal(failure[1])]
    if fatal:
        _, error = min(fatal, key=lambda failure: failure[0])
        raise error
    slab = _complete(job, step)
    _verify(step, slab)
    valid = slab.valid[: step.slots].copy()
    valid[step.n_real :] = False  # another rank's samples, standing in so that all ranks have equal batches
    shapes = [None if known is None else known[: step.slots].copy() for known in slab.shapes]
    views = lend(job, slab)
    arrays = [
        array[: step.slots] if known is None else collate(array[: step.slots], known, is_text=place.spec.is_text)
        for array, known, place in zip(views, shapes, slab.layout.fields, strict=True)
    ]
    parts = unflatten(slab.layout.structure, arrays)
    if job.weights is not None or job.class_weights is not None or (job.is_padded and len(parts) == 2):
        parts = (*parts[:2], sample_weights(job, step, parts, valid))
    elif len(parts) == len(TOP_NAMES):
        for _, weights in flatten(parts[-1]):  # the decoder's own
            weights[~valid] = 0
    return Batch.build(parts, sample_ids=step.sample_ids, valid=valid, epoch=step.epoch, step=step.number)


def collate(array: NDArray[Any], shapes: NDArray[np.int64], *, is_text: bool) -> NDArray[Any]:
    """Samples of different shapes as one array: a view cut to the longest of each side, or an array of ``str``."""
    if is_text:
        return np.array([bytes(row[:length]).decode() for row, (length,) in zip(array, shapes.tolist(), strict=True)])
    return array[(slice(None), *map(slice, shapes.max(axis=0).tolist()))]


def lend(job: Job, slab: Slab) -> list[NDArray[Any]]:
    """The slab's fields as the consumer's views; the ring's figures are counted."""
    ring = job.workspace.ring
    if ring is None:
        raise LoaderClosedError("the loader was closed while a batch was being delivered")
    views = ring.lend(slab)
    job.counters.private_copies = ring.private_copies
    job.counters.slab_bytes = ring.allocated * ring.layout.nbytes
    return views


def _complete(job: Job, step: Step) -> Slab:
    slab = step.slab
    chosen = stand_ins(step, job.order.seed)
    if slab is None or (step.failures and not chosen):
        raise SkipBudgetExceededError(
            f"epoch {step.epoch}, step {step.number}: every sample of the batch failed, so none can stand in; "
            f"the first: {min(step.failures, key=lambda failure: failure[0])[1]}"
        ) from step.failures[0][1]
    if not job.workspace.decoder_fills_all:
        labels = job.samples.batch_labels(step.sample_ids)
        if labels is not None:
            slab.fields[-1][: step.slots] = labels
    for slot, source in chosen.items():
        slab.copy_slot(source, slot)
        slab.positions[slot] = step.positions[slot]
    if step.failures:
        _account(job, step, chosen)
    return slab


def stand_ins(step: Step, seed: int) -> dict[int, int]:
    """Failed slot to the good slot of the same batch that stands in; a function of (seed, epoch, position).

    Empty where nothing failed, or no slot is good.
    """
    failed = sorted(slot for slot, _ in step.failures)
    good = sorted(set(range(step.slots)) - set(failed)) if failed else []
    if not good:
        return {}
    return {
        slot: good[derive_key(seed, PURPOSE_STAND_IN, step.epoch, int(step.positions[slot])) % len(good)]
        for slot in failed
    }


def skipped_slots(step: Step) -> int:
    """How many of the step's own samples failed."""
    return sum(slot < step.n_real for slot, _ in step.failures)


def _account(job: Job, step: Step, chosen: dict[int, int]) -> None:
    errors = dict(step.failures)
    job.ledger.record(
        LedgerEntry(
            epoch=step.epoch,
            position=int(step.positions[slot]),
            sample_id=int(step.sample_ids[slot]),
            key=shown_key(job.samples[int(step.sample_ids[slot])].key),
            identity=job.samples.identity(int(step.sample_ids[slot])),
            stage=errors[slot].stage,
            error=errors[slot].reason,
            stand_in=int(step.sample_ids[source]),
        )
        for slot, source in chosen.items()
        if slot < step.n_real  # the sample of a pad is another rank's to deliver
    )
    counters = job.counters
    skipped, seen = counters.skipped + skipped_slots(step), counters.samples + step.n_real
    if seen >= PROBATION_SAMPLES:
        check_rate(job, skipped, seen, step.failures[-1][1])


def check_rate(job: Job, skipped: int, seen: int, last: SampleError | None = None) -> None:
    """Raise `SkipBudgetExceededError` where more of the ``seen`` samples were skipped than ``max_error_rate``."""
    if skipped > job.options.max_error_rate * seen:
        example = "" if last is None else f" The last: {last}"
        raise SkipBudgetExceededError(
            f"{skipped} of {seen} samples failed, more than max_error_rate={job.options.max_error_rate:g} allows."
            f"{example} Repair them, pass the ledger as skip_list=, or raise max_error_rate."
        ) from last


def _verify(step: Step, slab: Slab) -> None:
    """Loss is loud: every slot must hold the position that was planned for it."""
    held = slab.positions[: step.slots]
    if not np.array_equal(held, step.positions):
        wrong = int(np.flatnonzero(held != step.positions)[0])
        raise InvariantError(
            f"epoch {step.epoch}, step {step.number}, slot {wrong}: holds position {held[wrong]}, "
            f"planned was {step.positions[wrong]}; please report this with the versions you use"
        )


def sample_weights(job: Job, step: Step, parts: tuple[Any, ...], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """float32 ``(N,)``: the given weights times the class weights, 0 where a stand-in fills the slot.

    Where the decoder returns weights of its own they are multiplied in, and their shape is the result's. Raises
    `OptionError` where its tuple has no labels to weigh.
    """
    if len(parts) < 2:
        raise OptionError("decode", repr(job.decoder), "a tuple (x, y): sample weights need a y to weigh")
    weights = np.ones(step.slots, np.float32) if job.weights is None else job.weights[step.sample_ids]
    if job.class_weights is not None:
        if not isinstance(parts[1], np.ndarray) or parts[1].ndim > 2:
            raise OptionError(
                "class_weight",
                "a dict",
                "one class label a sample; for other targets return weights from the decoder: (x, y, sample_weight)",
            )
        labels = parts[1]
        classes = labels.argmax(axis=-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels.reshape(-1)
        weights = weights * np.array([job.class_weights.get(int(label), 1.0) for label in classes], dtype=np.float32)
    weights = np.where(valid, weights, np.float32(0))
    if len(parts) > 2:
        own = np.asarray(parts[2], np.float32)
        weights = own * weights.reshape(-1, *(1,) * (own.ndim - 1))
    return weights
