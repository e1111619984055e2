"""The error tree: the class says whose fault it is, the message what to do next.

::

    AioloaderError
    ├── OptionError (ValueError)            you: an option's value; names it, got, expected
    ├── DatasetError (ValueError)           you or the data's owner: what exists cannot be listed or read
    │   ├── EmptyDatasetError               no sample matches
    │   └── ManifestError                   a manifest's row, column or host
    ├── LoaderClosedError (RuntimeError)    you: used after close(), or in a forked child
    ├── StreamReplacedError (RuntimeError)  you: a second iterator of one loader took over
    ├── SampleError                         one sample; carries sample_id, key, byte_range, stage, attempts
    │   ├── StoreError (OSError)            the store or the way to it
    │   │   ├── ObjectNotFoundError         404; not retried
    │   │   ├── AccessDeniedError           401, 403; never skipped
    │   │   ├── ConnectFailedError          refused, unreachable, unknown host; never skipped
    │   │   ├── TLSRejectedError            certificate or handshake; never skipped
    │   │   ├── TransferStalledError        no bytes within the deadline
    │   │   ├── TruncatedBodyError          fewer bytes than announced
    │   │   ├── ThrottledError              429, 503
    │   │   ├── ServerFailedError           another status of 500 and above, or a broken answer
    │   │   ├── RequestRefusedError         another status of 400 and above; not retried
    │   │   ├── RangeNotHonouredError       other bytes than the ones asked for
    │   │   ├── RedirectRefusedError        a loop, a downgrade, another origin
    │   │   ├── BodyTooLargeError           more bytes than ``max_object_bytes``
    │   │   └── ObjectChangedError          another ETag or size than the listing's
    │   ├── DecodeError                     the decoder raised; the cause is chained
    │   │   ├── UnsafeImageError            more pixels than ``max_pixels``, or a refused format
    │   │   ├── ShapeMismatchError          does not fit the spec the first sample set
    │   │   └── WorkerDiedError             its decode ends worker processes; names it
    │   └── TransformError                  the user's transform raised; the cause is chained
    ├── SkipBudgetExceededError (RuntimeError)  ``on_error="skip"`` skipped more than ``max_error_rate``
    ├── StalledError (TimeoutError)         nothing moved within ``stall_timeout_s``; lists what was in flight
    ├── WorkersFailedError (RuntimeError)   worker processes cannot be started, or die without finishing a sample
    ├── RemoteError                         what a worker process raised, as text; only ever a cause
    └── InvariantError (RuntimeError)       us: a batch or an epoch did not add up; please report

Every error survives ``pickle``: fields are passed positionally to ``Exception.__init__``. No error holds a
secret: locations are redacted by the store before they get here.
"""

from __future__ import annotations

from typing import Self


class AioloaderError(Exception):
    """Base of everything aioloader raises on purpose."""


class OptionError(AioloaderError, ValueError):
    """An option has a value that cannot work.

    ``option`` is its name, ``got`` the repr of the value, ``expected`` what would do.
    """

    def __init__(self, option: str, got: str, expected: str) -> None:
        super().__init__(option, got, expected)
        self.option = option
        self.got = got
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.option}={self.got}: expected {self.expected}"


class DatasetError(AioloaderError, ValueError):
    """What exists could not be listed or read; the message says where and what to change."""


class EmptyDatasetError(DatasetError):
    """No sample matches; the message says what was looked for and where."""


class ManifestError(DatasetError):
    """A manifest's row, column or host is unusable; the message names it."""


class LoaderClosedError(AioloaderError, RuntimeError):
    """The loader was closed, or belongs to the parent of this forked process."""


class StreamReplacedError(AioloaderError, RuntimeError):
    """Another iterator of the same loader was opened; this one has ended."""


class SampleError(AioloaderError):
    """One sample failed.

    ``reason`` is a sentence without its full stop, ``key`` the redacted location, ``byte_range`` the half-open
    range asked for, ``stage`` one of ``"list"``, ``"fetch"``, ``"decode"``, ``"transform"``, ``attempts`` how
    often it was tried, ``hint`` the next step. ``sample_id`` is the index in the dataset, ``None`` where the error was
    raised outside a loader.
    """

    stage_default = "fetch"
    skippable = True
    """Whether ``on_error="skip"`` may stand in for the sample: a wrong key must not eat a dataset."""

    def __init__(
        self,
        reason: str,
        key: str = "",
        hint: str = "",
        byte_range: tuple[int, int] | None = None,
        attempts: int = 1,
        stage: str = "",
        sample_id: int | None = None,
    ) -> None:
        super().__init__(reason, key, hint, byte_range, attempts, stage or self.stage_default, sample_id)
        self.reason = reason
        self.key = key
        self.hint = hint
        self.byte_range = byte_range
        self.attempts = attempts
        self.stage = stage or self.stage_default
        self.sample_id = sample_id

    def with_sample(self, sample_id: int, key: str = "") -> Self:
        """The same error, naming the sample (and its redacted ``key``); cause and traceback are kept."""
        fields = self.reason, key or self.key, self.hint, self.byte_range, self.attempts, self.stage, sample_id
        kind = type(self)
        if kind.__init__ is SampleError.__init__:
            named = kind(*fields)
        else:  # a user's subclass with a constructor of its own, which knows nothing of these
            named = kind.__new__(kind, *self.args)
            named.__dict__.update(self.__dict__)
            named.key, named.sample_id = key or self.key, sample_id
        named.__cause__, named.__context__ = self.__cause__, self.__context__
        named.__suppress_context__ = self.__suppress_context__
        for note in getattr(self, "__notes__", ()):
            named.add_note(note)
        return named.with_traceback(self.__traceback__)

    def copied(self) -> Self:
        """Another error that says the same, for another who waited for it; without a traceback."""
        kind = type(self)
        other = kind.__new__(kind, *self.args)  # a user's subclass may have a constructor of its own
        other.__dict__.update(self.__dict__)
        other.args = self.args
        if hasattr(self, "__notes__"):
            other.__notes__ = list(self.__notes__)
        other.__cause__, other.__context__ = self.__cause__, self.__context__
        other.__suppress_context__ = self.__suppress_context__
        return other

    def __str__(self) -> str:
        where = self.key
        if self.byte_range is not None:
            where += f" bytes {self.byte_range[0]}-{self.byte_range[1]}"
        if self.sample_id is not None:
            head = f"sample {self.sample_id} ({where}): " if where else f"sample {self.sample_id}: "
        else:
            head = f"{where}: " if where else ""
        tries = f"; attempt {self.attempts}" if self.attempts > 1 else ""
        tail = f" {self.hint}" if self.hint else ""
        return f"{head}{self.stage} failed: {self.reason}{tries}.{tail}"


class StoreError(SampleError, OSError):
    """The store, or the way to it, did not give the bytes.

    ``is_transient`` says whether asking again may help; ``retry_after_s`` is how long the store asks to wait.
    ``partial`` is what came before a body broke off, for who asks for the rest; nobody else sees it.
    """

    is_transient = False
    retry_after_s: float | None = None
    partial: object | None = None

    def after(self, attempts: int, byte_range: tuple[int, int] | None) -> Self:
        """The same error as the last of ``attempts`` to get ``byte_range``; it lets go of what came."""
        self.attempts, self.byte_range, self.partial = attempts, byte_range, None
        if type(self).__init__ is SampleError.__init__:
            self.args = self.reason, self.key, self.hint, byte_range, attempts, self.stage, self.sample_id
        return self


class ObjectNotFoundError(StoreError):
    """The store has no such object."""


class AccessDeniedError(StoreError):
    """The store refused the credentials (401, 403). Never skipped.

    ``clock_ahead_s`` is how far this machine's clock is ahead of the store's, where the answer told the time.
    """

    skippable = False
    clock_ahead_s: float | None = None


class ConnectFailedError(StoreError):
    """No connection: refused, unreachable or an unknown host. Never skipped."""

    skippable = False
    is_transient = True


class TLSRejectedError(StoreError):
    """The certificate or the handshake was refused. Never skipped, never retried."""

    skippable = False


class TransferStalledError(StoreError):
    """No bytes came within the deadline, or too few."""

    is_transient = True


class TruncatedBodyError(StoreError):
    """The body ended before the announced length."""

    is_transient = True


class ThrottledError(StoreError):
    """The store asked for fewer requests (429, 503)."""

    is_transient = True


class ServerFailedError(StoreError):
    """The store answered with a failure, or with something that is not HTTP."""

    is_transient = True


class RequestRefusedError(StoreError):
    """The store answered 400 or another status of that kind: asking again changes nothing."""


class RangeNotHonouredError(StoreError):
    """Other bytes came than the range that was asked for."""


class RedirectRefusedError(StoreError):
    """A redirect that would loop, downgrade to plain HTTP or carry a signed request elsewhere."""


class BodyTooLargeError(StoreError):
    """The object is larger than ``max_object_bytes``."""


class ObjectChangedError(StoreError):
    """The object is no longer the one that was listed."""


class DecodeError(SampleError):
    """The decoder raised; ``__cause__`` is what it raised."""

    stage_default = "decode"


class UnsafeImageError(DecodeError):
    """An image with more pixels than ``max_pixels``, or in a format that is not on the list."""


class ShapeMismatchError(DecodeError):
    """A sample's shape or dtype is not that of the first one; ``hint`` says how to make them equal."""


class WorkerDiedError(DecodeError):
    """The worker process that decoded the sample died, and so did a fresh one that decoded nothing else."""


class RemoteError(AioloaderError):
    """What was raised in a worker process: the text of its traceback. Only ever the cause of another error."""

    def __str__(self) -> str:
        return f"in a worker process:\n{self.args[0]}"


class WorkersFailedError(AioloaderError, RuntimeError):
    """Worker processes cannot be started, or die one after another without finishing a sample."""


class TransformError(SampleError):
    """The user's transform raised; ``__cause__`` is what it raised."""

    stage_default = "transform"


class SkipBudgetExceededError(AioloaderError, RuntimeError):
    """More samples failed than ``max_error_rate`` allows, or a whole batch did; ``__cause__`` is the last."""


class StalledError(AioloaderError, TimeoutError):
    """Nothing moved for ``stall_timeout_s``; the message lists what was in flight and for how long."""


class InvariantError(AioloaderError, RuntimeError):
    """A count that must hold did not. This is a defect of aioloader; please report it with the message."""
