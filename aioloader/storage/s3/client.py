"""One event loop's S3 client: obstore lists and signs, the HTTP fetcher carries the bytes.

obstore's own ``get`` controls neither redirects nor name look-ups and loses resumption with its retries off;
a signed URL costs 13 microseconds and makes S3 one more HTTP origin.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from yarl import URL

from aioloader.errors import AccessDeniedError, RangeNotHonouredError, StoreError
from aioloader.storage.http.fetch import HTTPFetcher
from aioloader.storage.obstore.listing import Listing
from aioloader.storage.s3.credentials import check_endpoint, find_access
from aioloader.storage.s3.errors import blames_the_clock, explained, may_be_renewed, refused_anew
from aioloader.storage.s3.signing import S3Signer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from aioloader.storage.http.options import HTTPOptions
    from aioloader.storage.s3.store import S3Options
    from aioloader.types import Asker, ByteRange, ObjectMeta, Partial

T = TypeVar("T")


class S3Client:
    """Made in a thread by `open_client` (it reads files and imports obstore); used on one loop."""

    def __init__(self, signer: S3Signer, http: HTTPOptions) -> None:
        self._signer = signer
        self._http = http
        self._fetcher = HTTPFetcher(http)

    async def get(self, key: str, shown: str, byte_range: ByteRange | None, etag: str | None = None) -> bytes:
        """Bytes of the object with the full key ``key``; only of the version ``etag``, where it is given."""
        fetch = partial(self._fetcher.fetch, shown=shown, byte_range=byte_range, signed=True, etag=etag)
        try:
            return await self._signed("GET", key, shown, fetch)
        except RangeNotHonouredError:
            # S3 answers 416 to any range of an empty object; its first bytes are empty all the same.
            if byte_range is not None and byte_range[0] == 0 and await self.size(key, shown) == 0:
                return b""
            raise

    async def get_rest(self, key: str, shown: str, so_far: Partial) -> bytes:
        """The rest of an object that broke off, after what came of it."""
        fetch = partial(self._fetcher.fetch_rest, begun=so_far, shown=shown, signed=True)
        return await self._signed("GET", key, shown, fetch)

    async def size(self, key: str, shown: str) -> int:
        """Length of the object in bytes."""

        async def head(url: URL) -> int:
            try:
                return await self._fetcher.head_size(url, shown=shown, signed=True)
            except AccessDeniedError as exc:
                refused = exc
            # An answer to HEAD has no body: only one to GET says why access is refused.
            url = await self._signer.url("GET", key, shown)
            await self._fetcher.fetch(url, shown=shown, byte_range=(0, 1), signed=True)
            raise refused

        return await self._signed("HEAD", key, shown, head)

    async def list(self, root: str, prefix: str, shown: str, asker: Asker) -> AsyncGenerator[ObjectMeta, None]:
        """Objects below ``root`` whose relative key starts with ``prefix``."""
        listing = Listing(
            lambda: self._signer.store, root=root, prefix=prefix, shown=shown, page_timeout_s=self._http.page_timeout_s
        )

        async def page() -> list[ObjectMeta]:
            generation = self._generation
            try:
                return await listing.next_page()
            except StoreError as exc:
                failure = explained(exc)
            if not await self._is_renewed(failure, generation):
                raise await self._by_the_clock(failure)
            try:
                return await listing.next_page()
            except StoreError as exc:
                failure = refused_anew(explained(exc))
            raise failure

        while metas := await asker(page):
            for meta in metas:
                yield meta

    async def _by_the_clock(self, failure: StoreError) -> StoreError:
        """``failure``, with the time by the server's clock where that is wanted and obstore did not tell it."""
        if not isinstance(failure, AccessDeniedError) or not blames_the_clock(failure) or failure.clock_ahead_s:
            return failure
        try:
            url = URL(self._signer.bucket_url, encoded=True)
            await self._fetcher.fetch(url, shown=failure.key, byte_range=(0, 1), signed=True)
        except AccessDeniedError as exc:
            failure.clock_ahead_s = exc.clock_ahead_s
        except StoreError:
            pass
        return explained(failure)

    async def aclose(self) -> None:
        """Close the connections; obstore's own go with its objects."""
        self._signer.forget()
        await self._fetcher.aclose()

    async def _signed(self, method: str, key: str, shown: str, ask: Callable[[URL], Awaitable[T]]) -> T:
        """What ``ask`` gives at the signed address; asked once more where renewed credentials may help."""
        generation = self._generation
        url = await self._signer.url(method, key, shown)
        try:
            return await ask(url)
        except StoreError as exc:
            failure = explained(exc)
        try:
            if not await self._is_renewed(failure, generation):
                raise failure
        finally:
            del failure  # its frames hold what came
        url = await self._signer.url(method, key, shown)
        try:
            return await ask(url)
        except StoreError as exc:
            failure = refused_anew(explained(exc))
        raise failure

    @property
    def _generation(self) -> int:
        renewal = self._signer.renewal
        return 0 if renewal is None else renewal.generation

    async def _is_renewed(self, failure: StoreError, generation: int) -> bool:
        """Whether there are credentials now that are newer than those of ``generation``, which ``failure`` refused."""
        renewal = self._signer.renewal
        return renewal is not None and may_be_renewed(failure) and await renewal.is_newer_than(generation)


def open_client(options: S3Options, bucket: str, *, origin: str) -> S3Client:
    """Find the credentials and make the client. Reads files: call it in a thread. Raises `OptionError`."""
    access = find_access(
        keys=options.keys(),
        profile=options.profile,
        region=options.region,
        endpoint=options.endpoint,
        anonymous=options.anonymous,
        environment=os.environ,
    )
    check_endpoint(access.endpoint, anonymous=options.anonymous)
    http = options.http
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if http.ca_file is None and bundle and Path(bundle).is_file():
        http = replace(http, ca_file=bundle)
    return S3Client(S3Signer(options, access, http, bucket, origin=origin), http)
