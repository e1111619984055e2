"""`Loader` and `AsyncLoader`: the faces of the package, and the only place where the floors are wired together."""

from __future__ import annotations

import secrets
import weakref
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from aioloader.dataset.samples import Dataset
from aioloader.decode.function import as_decoder, checked_spec
from aioloader.engine.iterate import AsyncEpochIterator, EpochIterator
from aioloader.engine.job import Job
from aioloader.engine.ledger import Ledger, LedgerEntry, read_skip_list
from aioloader.engine.session import Session
from aioloader.engine.workspace import Workspace
from aioloader.errors import EmptyDatasetError, OptionError
from aioloader.figures import Figures
from aioloader.monitor.cache_forecast import CacheForecast
from aioloader.monitor.stats import Counters
from aioloader.order.permutation import EpochOrder
from aioloader.runtime.machine import granted_cores, usable_cores
from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.cache.options import CacheOptions
from aioloader.storage.cache.store import CachingStore
from aioloader.storage.policies.retry import RETRY, Retry
from aioloader.storage.policies.stack import with_policies
from aioloader.tune.concurrency import START, search_of
from aioloader.tune.epoch_plan import checked_seed, rank_plan
from aioloader.tune.epoch_plan import describe as describe_plan
from aioloader.tune.knobs import Auto, Knobs, fixed_knobs, resolve, settings_of
from aioloader.tune.tuner import Tuner
from aioloader.tune.weights import class_weights, weight_column

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from aioloader.engine.options import OnError, Order
    from aioloader.types import Batch, Decoder, Transform, Tree


class _Base(Figures):
    """What both loaders are made of; see `Loader` for the options."""

    _starts_early: ClassVar[bool]
    """Whether worker processes start when the loader is made: it blocks for some milliseconds."""

    def __init__(
        self,
        data: Dataset,
        *,
        decode: Decoder | Any,
        transform: Transform | None = None,
        spec: Tree | None = None,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool | Auto = "auto",
        concurrency: int | Auto = "auto",
        workers: int | Auto = "auto",
        use_multiprocessing: bool | Auto = "auto",
        max_queue_size: int | Auto = "auto",
        order: Order = "strict",
        on_error: OnError = "raise",
        max_error_rate: float = 0.01,
        ledger: str | os.PathLike[str] | None = None,
        skip_list: str | os.PathLike[str] | Iterable[str] = (),
        max_memory: int | str | Auto = "auto",
        class_weight: Mapping[Any, float] | None = None,
        sample_weight: str | None = None,
        rank: int = 0,
        world_size: int = 1,
        retry: Retry = RETRY,
        cache: str | os.PathLike[str] | None = None,
        cache_size: int | str | Auto = "auto",
        stall_timeout_s: float = 300.0,
        close_timeout_s: float = 5.0,
    ) -> None:
        knobs = Knobs(
            batch_size=batch_size,
            concurrency=concurrency,
            workers=workers,
            use_multiprocessing=use_multiprocessing,
            max_queue_size=max_queue_size,
            order=order,
            on_error=on_error,
            max_error_rate=max_error_rate,
            max_memory=max_memory,
            stall_timeout_s=stall_timeout_s,
            close_timeout_s=close_timeout_s,
        )
        checked = checked_seed(seed, world_size=world_size)
        if not _is_dataset(data):
            expected = "a dataset, such as al.image_folder(url) or al.manifest(url)"
            raise OptionError("data", f"a {type(data).__name__}", expected)
        if not isinstance(retry, Retry):
            raise OptionError("retry", repr(retry), "al.Retry(...); al.Retry(attempts=1) never asks again")
        if cache is None and cache_size != "auto":
            raise OptionError("cache_size", repr(cache_size), 'cache="some/directory" beside it')
        cache_options = None if cache is None else CacheOptions.checked(cache, cache_size)
        if transform is not None and not callable(transform):
            raise OptionError("transform", f"a {type(transform).__name__}", "a function of (decoded, rng), or None")
        # The ledger first: a run that names one file as both finds it, empty the first time.
        ledger_of_run = Ledger(ledger)
        data = read_skip_list(skip_list).applied_to(data)
        if len(data) == 0:
            raise EmptyDatasetError(f"{data!r} has no sample to load; check the URL, split() or skip_list")
        origin = data.store.origin
        self._is_remote = is_remote = "://" in origin and not origin.startswith("file:")
        is_searched = is_remote and not origin.startswith("memory:") and knobs.concurrency == "auto"
        search = search_of(origin) if is_searched else None
        found = START if search is None else search.concurrency
        options = resolve(knobs, found_concurrency=found if is_remote else None)
        plan = rank_plan(len(data), knobs.batch_size, rank, world_size, shuffle=shuffle, drop_last=drop_last)
        self._data = data
        self._seed = secrets.randbits(32) if checked is None else checked
        decoder = as_decoder(decode)
        self._tuner = Tuner(
            settings_of(options),
            fixed=fixed_knobs(knobs),
            cores=usable_cores(),
            granted=granted_cores(),
            search=search,
        )
        self._knobs = {"decode": repr(decoder), "order": knobs.order, "drop_last": describe_plan(plan)}
        transport = getattr(data.store, "transport", None)
        if isinstance(transport, str):  # which HTTP client fetched belongs to the figures
            self._knobs["transport"] = transport
        store = with_policies(data.store, retry=retry, cache=cache_options)
        self._forecast: CacheForecast | None = None
        if cache_options is not None:
            self._knobs["cache"] = f"not used: {data.store.location} is on this machine"
        if cache_options is not None and isinstance(store, CachingStore):
            self._forecast = CacheForecast(plan.steps * plan.batch_size)
            self._knobs |= {"cache": cache_options.path, "cache_size": cache_options.shown_bound}
            if self._starts_early:
                store.prepare()  # a wrong directory is said where it was given; it blocks, so not on anybody's loop
        self._next_epoch = 0
        job = Job(
            samples=data,
            store=store,
            decoder=decoder,
            transform=transform,
            order=EpochOrder(len(data), seed=self._seed, shuffle=shuffle),
            plan=plan,
            options=options,
            workspace=Workspace(
                knobs.batch_size,
                options.max_queue_size,
                options.slab_bytes,
                queue_is_fixed=knobs.max_queue_size != "auto",
                memory_is_fixed=knobs.max_memory != "auto",
                in_shared_memory=options.use_multiprocessing,
            ),
            counters=Counters(),
            ledger=ledger_of_run,
            weights=weight_column(data, sample_weight),
            class_weights=class_weights(data, class_weight),
            is_padded=world_size > 1 and not plan.drop_last,
            spec=None if spec is None else checked_spec("spec", repr(spec), spec),
            controller=self._tuner,
            kind_is_open=knobs.use_multiprocessing == "auto",
        )
        self._open_session(job)
        if options.use_multiprocessing and self._starts_early:
            self._session.begin()  # interpreters take 0.2 to 0.4 s to start: while a model is being built

    def _open_session(self, job: Job) -> None:
        """What runs; a closed loader gets a new one when it is used again, with the numbers found so far."""
        self._session = Session(job)
        self._finalizer = weakref.finalize(self, self._session.holdings.leave_soon)
        self._finalizer.atexit = False  # the background loop ends everything at exit

    def _live_session(self) -> Session:
        if self._session.closed:
            self._open_session(self._session.job)
        return self._session

    # A wrong keyword's TypeError should name what the user called.
    __init__.__qualname__ = "Loader.__init__"

    @property
    def data(self) -> Dataset:
        """The dataset that is loaded, without what ``skip_list`` left out."""
        return self._data

    @property
    def batch_size(self) -> int:
        """Samples of a full batch on this rank."""
        return self._job.plan.batch_size

    @property
    def seed(self) -> int:
        """The seed of order and randomness: the one given, or the one drawn."""
        return self._seed

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch on this rank; exact."""
        return self._job.plan.steps

    @property
    def next_epoch(self) -> int:
        """The number of the epoch that is opened next, from 0."""
        return self._next_epoch

    @property
    def skipped(self) -> tuple[LedgerEntry, ...]:
        """What ``on_error="skip"`` skipped so far, in order."""
        return self._job.ledger.entries

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._data!r}, batch_size={self.batch_size}, decode={self._job.decoder!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} holds threads and connections and cannot be pickled; "
            "create it in the process that uses it"
        )

    def _begin_epoch(self, epoch: int | None) -> int:
        chosen = self._next_epoch if epoch is None else epoch
        if chosen < 0:
            raise OptionError("epoch", repr(epoch), "a number from 0")
        self._next_epoch = chosen + 1
        if self._forecast is not None:
            self._forecast.begin(self._session.engine_stats().cache)
        return chosen

    @property
    def _epochs_ahead(self) -> int:
        # A first plain loop makes exactly n requests; who loops again gets no gap between epochs.
        return 1 if self._job.counters.epochs else 0


class Loader(_Base):
    """Batches of a dataset, for a ``for`` loop or (by `to_keras`) for ``model.fit``.

    ::

        with al.Loader(data, decode=al.ImageDecoder(size=(224, 224)), batch_size=64, shuffle=True, seed=0) as loader:
            for images, labels in loader: ...

    Each ``for`` is one epoch, in the order that ``seed`` and the epoch's number give, whatever ``concurrency`` and
    ``workers`` are. A batch is a `Batch`: a tuple of numpy arrays with the batch axis first.

    Options: ``decode`` a `Decoder` or a function of ``(data[, sample[, rng]])``; ``transform(decoded, rng)`` is
    called after it. ``spec`` declares the fields of what they return (`FieldSpec`, or a tree of them) in the place
    of the first sample: for sides that differ (``FieldSpec((UpTo(512),), "int32")``: each batch is padded to its
    longest sample) and for text (``FieldSpec.text(max_bytes)``). ``batch_size`` samples a batch on this rank.
    ``shuffle`` with ``seed``; ``seed=None`` draws one. ``drop_last="auto"`` leaves a short last batch out when
    shuffling (unless it would be the only one). ``concurrency`` requests in flight ("auto": found by feedback),
    ``workers`` parallel decoders, ``use_multiprocessing`` processes instead of threads, ``max_queue_size`` finished
    batches: numbers, or "auto". ``order="strict"`` gives the same batches in every run; ``"window"`` and ``"any"``
    batch samples as they arrive, out of order by at most the look-ahead, or 16,384 samples: a slow one then delays
    nobody. ``on_error="raise"``, or ``"skip"``: a good sample of the same batch stands in, ``batch.valid`` is False
    there, the ``ledger`` file names it, and more than ``max_error_rate`` raises. ``skip_list`` is such a ledger (or
    keys) to leave out. ``max_memory`` bounds batches and fetched bodies ("2GB"). ``class_weight`` (class id or name
    to weight) and ``sample_weight`` (a column of the manifest) add a third array. ``rank`` of ``world_size``
    processes reads its share. ``retry`` (`Retry`) says how often and how long a failed request is made again.
    ``cache`` is a directory that keeps what was fetched, up to ``cache_size`` ("100GB"; "auto": half of what is free)
    over all loaders and processes that share it; what is full stays as it is.
    ``stall_timeout_s`` without any sample moving raises `StalledError`; ``close_timeout_s`` bounds `close`.

    Raises `OptionError` for a value that cannot work, `EmptyDatasetError` for no samples; while iterating, the
    failed sample's error, `StalledError`, `StreamReplacedError` or `LoaderClosedError`.
    """

    _starts_early = True

    def __iter__(self) -> EpochIterator:
        """The next epoch; a second live iterator replaces the first."""
        return self.open_epoch(epochs_ahead=self._epochs_ahead)

    def open_epoch(self, epoch: int | None = None, *, epochs_ahead: int = 0) -> EpochIterator:
        """Epoch ``epoch`` (default: the next); fetching may run on into the ``epochs_ahead`` after it."""
        return EpochIterator(self._live_session(), self._begin_epoch(epoch), epochs_ahead, self)

    def epochs(self, count: int) -> Iterator[Batch]:
        """The batches of ``count`` epochs, one after another without a gap between them."""
        for left in _countdown(count):
            epoch = self.open_epoch(epochs_ahead=left)
            try:
                yield from epoch
            finally:
                epoch.close()

    def to_keras(self) -> Any:
        """What ``model.fit``, ``evaluate`` and ``predict`` take: ``fit(loader.to_keras(), epochs=3)``.

        The batches are pulled in the main thread, without a copy on the way. Needs Keras >= 3.7.
        """
        from aioloader.fit.adapter import keras_adapter  # Keras takes seconds to import

        return keras_adapter(self)

    def close(self) -> None:
        """End everything of this loader and wait for it (at most ``close_timeout_s``). Idempotent.

        A loader that is used again after it was closed opens anew, with the next epoch.
        """
        self._session.close()
        self._finalizer.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncLoader(_Base):
    """The same for ``async for``, on any event loop; fetching stays on aioloader's own. Options as in `Loader`.

    ::

        async with al.AsyncLoader(data, decode=...) as batches:
            async for images, labels in batches: ...

    A cancelled ``__anext__`` loses nothing: the batch is there for the next.
    """

    _starts_early = False

    def __aiter__(self) -> AsyncEpochIterator:
        """The next epoch; a second live iterator replaces the first."""
        return self.open_epoch(epochs_ahead=self._epochs_ahead)

    def open_epoch(self, epoch: int | None = None, *, epochs_ahead: int = 0) -> AsyncEpochIterator:
        """Epoch ``epoch`` (default: the next); fetching may run on into the ``epochs_ahead`` after it."""
        return AsyncEpochIterator(self._live_session(), self._begin_epoch(epoch), epochs_ahead, self)

    async def epochs(self, count: int) -> AsyncIterator[Batch]:
        """The batches of ``count`` epochs, one after another without a gap between them."""
        for left in _countdown(count):
            epoch = self.open_epoch(epochs_ahead=left)
            try:
                async for batch in epoch:
                    yield batch
            finally:
                epoch.close()

    async def aclose(self) -> None:
        """End everything of this loader and wait for it (at most ``close_timeout_s``). Idempotent.

        A loader that is used again after it was closed opens anew, with the next epoch.
        """
        await _in_thread(self._session.close)
        self._finalizer.detach()

    async def __aenter__(self) -> Self:
        await _in_thread(self._live_session().begin)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


def _is_dataset(data: object) -> bool:
    return isinstance(data, Dataset)


def _countdown(count: int) -> range:
    """Epochs that are left after each of ``count``."""
    if count < 0:
        raise OptionError("count", repr(count), "a number of epochs, at least 0")
    return range(count - 1, -1, -1)


async def _in_thread(function: Callable[[], None]) -> None:
    """What starts or joins threads must not block the caller's loop."""
    threads = DaemonThreads("aioloader-session", max_threads=1)
    try:
        await threads.run(function)
    finally:
        threads.close()
