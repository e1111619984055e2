"""What Google Cloud Storage and Azure Blob Storage share: obstore carries the bytes, its retries off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from aioloader.errors import AccessDeniedError, OptionError, RangeNotHonouredError, StoreError
from aioloader.redact import printable_key, redact_url
from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.cloud.body import body_of
from aioloader.storage.obstore.errors import NO_CREDENTIALS, translated
from aioloader.storage.obstore.keys import is_faithful
from aioloader.storage.obstore.listing import Listing
from aioloader.storage.opening import OpenedPerLoop
from aioloader.storage.pages import ask_once
from aioloader.storage.policies.resuming import rest_of
from aioloader.storage.ranges import check_range
from aioloader.storage.renewal import Renewal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import obstore.store

    from aioloader.storage.http.options import HTTPOptions
    from aioloader.types import Asker, ByteRange, ObjectMeta, Partial

T = TypeVar("T")

ObstoreClient: TypeAlias = "obstore.store.GCSStore | obstore.store.AzureStore"


@dataclass(frozen=True, kw_only=True, repr=False)
class CloudOptions:
    """What a cloud store passes to obstore; ``config`` may hold secrets and is never printed."""

    config: tuple[tuple[str, Any], ...]
    shown: tuple[str, ...]
    http: HTTPOptions
    http_endpoint: bool


class CloudClient:
    """One event loop's client; made in a thread."""

    def __init__(self, make: Callable[[], ObstoreClient], origin: str) -> None:
        self._make = make
        self.store = make()
        self.renewal = Renewal(self._renew, origin=origin)
        self.has_answered = False
        """Whether obstore ever had credentials for it."""

    async def _renew(self) -> bool:
        """Another store of obstore's: it fetches credentials when it is first asked, and keeps them."""
        threads = DaemonThreads("aioloader-open", 1)
        try:
            self.store = await threads.run(self._make)
        except OptionError:
            return False
        finally:
            threads.close()
        return True


class CloudStore:
    """What GCS and Azure share; the subclasses name the schemes and make the client.

    Where the credentials are obstore's to fetch and the service refuses them, they are fetched anew, once for all
    requests, and each is made once more.
    """

    _schemes: tuple[str, ...] = ()
    _example = ""
    _starts_after = True

    def _bind(self, options: CloudOptions, bucket: str, root: str) -> None:
        self._options = options
        self._bucket = bucket
        self._root = root
        self._opened: OpenedPerLoop[CloudClient] = OpenedPerLoop()

    @classmethod
    def _bound(cls, options: CloudOptions, bucket: str, root: str) -> Self:
        store = cls.__new__(cls)
        store._bind(options, bucket, root)
        return store

    def at(self, url: str) -> Self:
        """This store at a bucket's or container's folder. Nothing in the URL is an escape. `OptionError`."""
        scheme, separator, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        if not separator or scheme.lower() not in self._schemes or not bucket or "@" in bucket:
            raise OptionError("url", repr(redact_url(url)), self._example)
        if "?" in bucket or "#" in bucket:
            raise OptionError("url", repr(redact_url(url)), self._example)
        root = key if not key or key.endswith("/") else key + "/"
        return self._bound(self._options, bucket, root)

    @property
    def location(self) -> str:
        """The root, such as ``gs://bucket/prefix/``."""
        if not self._bucket:
            raise OptionError("store", repr(self), f"a place too: .at({self._example!r})")
        return f"{self._schemes[0]}://{self._bucket}/{self._root}" if self._bucket else f"{self._schemes[0]}://"

    @property
    def origin(self) -> str:
        """What shares limits: the bucket or container, of its account or at its endpoint."""
        config = dict(self._options.config)
        endpoint = config.get("base_url") or config.get("endpoint")
        if endpoint:
            return f"{redact_url(str(endpoint)).rstrip('/')}/{self._bucket}"
        account = config.get("account_name")
        return f"{self._schemes[0]}://{account}/{self._bucket}" if account else f"{self._schemes[0]}://{self._bucket}"

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """All bytes of ``key``, or those of the half-open ``byte_range`` (cut at the object's end).

        Raises `StoreError`. Cancelling drops the transfer.
        """
        return await self._get(key, byte_range, None)

    async def get_version(self, key: str, byte_range: ByteRange | None, etag: str) -> bytes:
        """The bytes of the object that has this ``etag``; see `aioloader.types.VersionedStore`."""
        return await self._get(key, byte_range, etag)

    async def get_rest(self, key: str, partial: Partial) -> bytes:
        """The bytes of which ``partial`` came, with the rest; see `aioloader.types.ResumableStore`."""
        return await rest_of(partial, lambda rest: self._get(key, rest, partial.etag, is_rest=True), self._shown(key))

    async def _get(self, key: str, byte_range: ByteRange | None, etag: str | None, *, is_rest: bool = False) -> bytes:
        shown = self._shown(key)
        if byte_range is not None:
            check_range(byte_range)
            if byte_range[0] == byte_range[1]:
                return b""
        path = self._path(key, shown)
        options: Any = {}
        if byte_range is not None:
            options["range"] = byte_range
        if etag is not None:
            options["if_match"] = etag

        async def ask(store: ObstoreClient) -> bytes:
            import obstore

            answer = await translated(obstore.get_async(store, path, options=options), shown, byte_range)
            most_bytes = self._options.http.max_object_bytes
            return await body_of(answer, shown, byte_range, most_bytes, etag, is_rest=is_rest)

        try:
            return await self._asked(ask)
        except RangeNotHonouredError:
            # The first bytes of an empty object are no range of it; they are empty all the same.
            if byte_range is not None and byte_range[0] == 0 and await self._head(path, shown) == 0:
                return b""
            raise

    def list(self, prefix: str = "") -> AsyncGenerator[ObjectMeta, None]:
        """Every object whose key starts with ``prefix``, page by page, in the service's order."""
        return self.list_pages(prefix, ask_once)

    async def list_pages(self, prefix: str, asker: Asker) -> AsyncGenerator[ObjectMeta, None]:
        """`list`, with each page asked for by ``asker``; see `aioloader.types.PagedStore`."""
        client = await self._client()
        listing = Listing(
            lambda: client.store,
            root=self._root,
            prefix=prefix,
            shown=self._shown(prefix),
            page_timeout_s=self._options.http.page_timeout_s,
            starts_after=self._starts_after,
        )

        async def page() -> list[ObjectMeta]:
            return await self._asked(lambda _: listing.next_page())

        while metas := await asker(page):
            for meta in metas:
                yield meta

    async def size(self, key: str) -> int:
        """Length of the object in bytes."""
        return await self._head(self._path(key, self._shown(key)), self._shown(key))

    async def aclose(self) -> None:
        """Let go of the running loop's client; idempotent. Its connections are obstore's and go with it."""
        self._opened.take()

    async def _head(self, path: str, shown: str) -> int:
        async def ask(store: ObstoreClient) -> int:
            import obstore

            return (await translated(obstore.head_async(store, path), shown))["size"]

        return await self._asked(ask)

    async def _asked(self, ask: Callable[[ObstoreClient], Awaitable[T]]) -> T:
        """What ``ask`` gives; asked once more where the credentials were refused and newer ones can be had."""
        client = await self._client()
        generation = client.renewal.generation
        try:
            answer = await ask(client.store)
        except AccessDeniedError as exc:
            refused = exc
        else:
            client.has_answered = True
            return answer
        try:
            if client.has_answered and refused.reason.startswith(NO_CREDENTIALS):
                refused.is_transient = True  # who gives them is down for a moment, and had some before
                raise refused
            if not self._is_renewable() or not await client.renewal.is_newer_than(generation):
                raise refused
        finally:
            del refused
        return await ask(client.store)

    def _is_renewable(self) -> bool:
        """Whether the credentials are obstore's to fetch, and so to fetch anew."""
        return False

    def _shown(self, key: str) -> str:
        return self.location + printable_key(key)

    def _path(self, key: str, shown: str) -> str:
        path = self._root + key
        if not is_faithful(path):
            raise StoreError(
                "obstore cannot address a key with an empty, '.' or '..' segment or a control character",
                shown,
                "Rename the object.",
            )
        return path

    async def _client(self) -> CloudClient:
        if not self._bucket:
            raise OptionError("store", repr(self), f"a store with a root: .at({self._example!r})")
        return await self._opened.get(self._open)

    def _open(self) -> CloudClient:
        return CloudClient(self._made, self.origin)

    def _made(self) -> ObstoreClient:
        try:
            return self._make()
        except OptionError:
            raise
        except Exception as exc:
            # obstore's message may quote the value: only its class is told.
            kind = type(exc).__name__
        raise OptionError("store", repr(self), f"options and environment that obstore accepts ({kind})")

    def _make(self) -> ObstoreClient:
        raise NotImplementedError(f"{type(self).__name__} does not say how to make its client")

    def _client_arguments(self) -> dict[str, Any]:
        http = self._options.http
        client: dict[str, Any] = {
            "allow_http": self._options.http_endpoint,
            "connect_timeout": timedelta(seconds=http.connect_timeout_s),
            "read_timeout": timedelta(seconds=http.idle_timeout_s),
        }
        if http.ca_file is not None:
            client["root_certificate"] = Path(http.ca_file).read_bytes()
        return {"client_options": client, "retry_config": {"max_retries": 0}, **dict(self._options.config)}

    def __repr__(self) -> str:
        shown = [f"{self.location!r}"] if self._bucket else []
        return f"{type(self).__name__}({', '.join([*shown, *self._options.shown])})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self)._bound, (self._options, self._bucket, self._root)
