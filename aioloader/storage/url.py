"""From what a user typed to a store: the only place that knows every scheme."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import unquote

from aioloader.errors import OptionError
from aioloader.redact import redact_url
from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.http.store import HTTPStore
from aioloader.storage.local.store import LocalStore
from aioloader.storage.memory import MemoryStore
from aioloader.storage.policies.origin_state import state_of
from aioloader.storage.policies.repeating import repeated
from aioloader.storage.policies.retry import RETRY
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.storage.prefix import PrefixStore

if TYPE_CHECKING:
    from aioloader.types import Store

_KINDS: Final = {
    "http": "http",
    "https": "http",
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "azure": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
    "memory": "memory",
    "file": "file",
}
KNOWN: Final = "a path, or an address with file://, http(s)://, s3://, gs://, az:// or memory://"
# One letter before ":" is a Windows drive; file: and pipe: are known without slashes too.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://|(file|pipe):", re.IGNORECASE)
_UNESCAPED: Final = frozenset({"s3", "gcs", "azure"})


class _Rooted(Protocol):
    def at(self, url: str) -> Store: ...


def scheme_of(url: str) -> str | None:
    """The lower-case scheme of an address; None for a path or a key prefix."""
    match = _SCHEME.match(url)
    return (match[1] or match[2]).lower() if match is not None else None


def open_store(url: str | os.PathLike[str], store: Store | None = None) -> Store:
    """The store at ``url``: a path, or an address of a known scheme. Nothing is opened yet.

    With ``store``, that one's options are used: ``store.at(url)``. A ``url`` without a scheme is then a folder
    in the store (``""`` is all of it), which is how a store of the user's own class is used.
    Raises `OptionError` for an unknown scheme, or one that is not the store's.
    """
    if not isinstance(url, str | os.PathLike):
        raise OptionError("url", f"a {type(url).__name__}", KNOWN)
    text = os.fspath(url)
    scheme = scheme_of(text)
    if scheme is not None and scheme not in _KINDS:
        raise OptionError("url", repr(redact_url(text)), KNOWN)
    if store is None:
        return _default_store(_KINDS[scheme] if scheme is not None else "file").at(text)
    if scheme is None and not isinstance(store, LocalStore):
        return PrefixStore.of(store, text)
    if scheme is not None and isinstance(store, LocalStore) and _KINDS[scheme] != "file":
        raise OptionError("url", repr(redact_url(text)), "a path or file:// for LocalStore")
    if not hasattr(store, "at"):
        raise OptionError("url", repr(redact_url(text)), f"a folder in {store.location}, such as 'train/'")
    return cast(_Rooted, store).at(text)


def _default_store(kind: str) -> _Rooted:
    match kind:
        case "http":
            return HTTPStore()
        case "s3":
            from aioloader.storage.s3.store import S3Store

            return S3Store()
        case "gcs":
            from aioloader.storage.cloud.gcs import GCSStore

            return GCSStore()
        case "azure":
            from aioloader.storage.cloud.azure import AzureStore

            return AzureStore()
        case "memory":
            return MemoryStore()
        case _:
            return LocalStore()


async def read_object(url: str | os.PathLike[str], store: Store | None = None) -> bytes:
    """All bytes of the one object that ``url`` names, whatever its scheme; presigned addresses work.

    ``store`` is as in `open_store`. What may pass is asked for again. Nothing stays open, except what a store given
    for a plain key had open. Raises `StoreError`, `OptionError`.
    """
    text = os.fspath(url)
    scheme = scheme_of(text)
    if store is not None and scheme is None and not isinstance(store, LocalStore):
        return await RetryingStore(store, RETRY).get(text)
    if scheme is not None and scheme not in _KINDS:
        raise OptionError("url", repr(redact_url(text)), KNOWN)
    kind = _KINDS[scheme] if scheme is not None else "file"
    if kind == "http" and (store is None or isinstance(store, HTTPStore)):
        return await _read_http(text, store)
    parent, slash, name = text.rpartition("/")
    if not name:
        raise OptionError("url", repr(redact_url(text)), "the address of one object, not of a folder")
    if scheme is not None and kind not in _UNESCAPED:
        name = unquote(name, errors="surrogateescape")
    threads = DaemonThreads("aioloader-open", 1)
    try:
        # A relative path asks for the working folder, which is a call to the system.
        opened = await threads.run(open_store, parent + slash if slash else ".", store)
    finally:
        threads.close()
    try:
        return await RetryingStore(opened, RETRY).get(name)
    finally:
        await opened.aclose()


async def _read_http(text: str, store: HTTPStore | None) -> bytes:
    from aioloader.storage.http.fetch import HTTPFetcher
    from aioloader.storage.http.root import origin_of
    from aioloader.storage.http.whole_url import WholeURL

    options = (store or HTTPStore()).options
    whole = WholeURL.parse(text)
    whole.require_private_channel(options, with_options_headers=True)
    fetcher = HTTPFetcher(options)
    try:
        return await repeated(
            state_of(origin_of(whole.url)),
            RETRY,
            lambda _: fetcher.fetch(whole.url, shown=whole.shown, headers=whole.headers),
        )
    finally:
        await fetcher.aclose()
