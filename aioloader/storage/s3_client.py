"""One event loop's S3 client: obstore lists and signs, the HTTP fetcher carries the bytes.

obstore's own ``get`` controls neither redirects nor name look-ups and loses resumption with its retries off;
a signed URL costs 13 microseconds and makes S3 one more HTTP origin.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from yarl import URL

from aioloader.errors import AccessDeniedError, RangeNotHonouredError, StoreError
from aioloader.storage.http_fetch import HTTPFetcher
from aioloader.storage.obstore_errors import translate, translated
from aioloader.storage.obstore_keys import split_at_empty_segment
from aioloader.storage.obstore_list import list_objects
from aioloader.storage.s3_credentials import S3Access, check_endpoint, find_access
from aioloader.storage.s3_errors import explained

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import obstore.store

    from aioloader.storage.http_options import HTTPOptions
    from aioloader.storage.s3 import S3Options
    from aioloader.types import ByteRange, ObjectMeta, Partial

SIGNED_FOR: Final = timedelta(minutes=15)
"""Longer than any one transfer, shorter than what a leaked URL should live."""
MAX_HEADS: Final = 16
"""Signers kept for odd folders; each is a connection pool of obstore's that is never used."""


class S3Client:
    """Made in a thread by `open_client` (it reads files and imports obstore); used on one loop."""

    def __init__(self, options: S3Options, bucket: str, access: S3Access, http: HTTPOptions) -> None:
        self._options = options
        self._access = access
        self._http_options = http
        self._bucket = bucket
        self.bucket_url = bucket_url(access.endpoint, access.region, bucket)
        self._authorities = Path(http.ca_file).read_bytes() if http.ca_file is not None else None
        self._fetcher = HTTPFetcher(http)
        self._store = self._make_store(self.bucket_url)
        self._heads: OrderedDict[str, obstore.store.S3Store] = OrderedDict()

    def _make_store(self, url: str) -> obstore.store.S3Store:
        """A store of obstore's whose keys lie below ``url``, which is sent as it is."""
        import obstore.store

        config: dict[str, Any] = {
            "endpoint": url,
            # With this, obstore takes the endpoint as the bucket's whole address and adds nothing.
            "virtual_hosted_style_request": True,
            "region": self._access.region,
            "skip_signature": self._options.anonymous,
        }
        if os.environ.get("AWS_ENDPOINT_URL_S3"):
            config["aws_endpoint_url_s3"] = url  # obstore would prefer the environment to ``endpoint``
        if self._options.request_payer:
            config["request_payer"] = True
        client: dict[str, Any] = {
            "allow_http": url.startswith("http://"),
            "connect_timeout": timedelta(seconds=self._http_options.connect_timeout_s),
            "read_timeout": timedelta(seconds=self._http_options.idle_timeout_s),
        }
        if self._authorities is not None:
            client["root_certificate"] = self._authorities
        # A provider, because obstore adds the environment's session token to keys given as options.
        provider = self._access.keys or self._access.provider
        if provider is not None:
            config["credential_provider"] = provider
        return obstore.store.S3Store(
            self._bucket,
            client_options=client,  # type: ignore[arg-type]  # a TypedDict of obstore's, built in steps
            retry_config={"max_retries": 0},
            **config,
        )

    async def get(self, key: str, shown: str, byte_range: ByteRange | None) -> bytes:
        """Bytes of the object with the full key ``key``."""
        url = await self._url("GET", key, shown)
        try:
            return await self._fetcher.fetch(url, shown=shown, byte_range=byte_range, signed=True)
        except RangeNotHonouredError:
            # S3 answers 416 to any range of an empty object; its first bytes are empty all the same.
            if byte_range is not None and byte_range[0] == 0 and await self.size(key, shown) == 0:
                return b""
            raise
        except StoreError as exc:
            failure = explained(exc)
        raise failure

    async def get_rest(self, key: str, shown: str, partial: Partial) -> bytes:
        """The rest of an object that broke off, after what came of it."""
        url = await self._url("GET", key, shown)
        try:
            return await self._fetcher.fetch_rest(url, partial, shown=shown, signed=True)
        except StoreError as exc:
            failure = explained(exc)
        raise failure

    async def size(self, key: str, shown: str) -> int:
        """Length of the object in bytes."""
        url = await self._url("HEAD", key, shown)
        try:
            return await self._fetcher.head_size(url, shown=shown, signed=True)
        except AccessDeniedError as exc:
            refused = exc
        except StoreError as exc:
            raise explained(exc) from exc.__cause__
        # An answer to HEAD has no body: only one to GET says why access is refused.
        await self.get(key, shown, (0, 1))
        raise refused

    async def list(self, root: str, prefix: str, shown: str) -> AsyncGenerator[ObjectMeta, None]:
        """Objects below ``root`` whose relative key starts with ``prefix``."""
        failure: StoreError | None = None
        try:
            async for meta in list_objects(self._store, root=root, prefix=prefix, shown=shown):
                yield meta
        except StoreError as exc:
            failure = explained(exc)
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        """Close the connections; obstore's own go with its objects."""
        self._heads.clear()
        await self._fetcher.aclose()

    async def _url(self, method: str, key: str, shown: str) -> URL:
        parts = split_at_empty_segment(key)
        if parts is None:
            raise StoreError(
                "the key has a '.' or '..' segment or a control character, which no URL carries unchanged",
                shown,
                "Rename the object.",
            )
        if self._options.anonymous:
            return URL(f"{self.bucket_url}/{quote(key, safe='/~')}", encoded=True)
        head, rest = parts
        store = self._store if head is None else self._store_below(head)
        return URL(await self._sign(store, method, rest, shown), encoded=True)

    def _store_below(self, head: str) -> obstore.store.S3Store:
        """A signer for keys below ``head + "/"``, whose last slash is one that obstore would drop."""
        store = self._heads.pop(head, None)
        if store is None:
            store = self._make_store(f"{self.bucket_url}/{quote(head, safe='/~')}")
        self._heads[head] = store
        if len(self._heads) > MAX_HEADS:
            self._heads.popitem(last=False)
        return store

    async def _sign(self, store: obstore.store.S3Store, method: Any, path: str, shown: str) -> str:
        import obstore

        if self._access.keys is None:
            # The credentials may have to be fetched first: never on the event loop's own time.
            return await translated(obstore.sign_async(store, method, path, SIGNED_FOR), shown)
        try:
            return obstore.sign(store, method, path, SIGNED_FOR)
        except Exception as exc:
            failure = translate(exc, shown)
        raise failure


def bucket_url(endpoint: str | None, region: str, bucket: str) -> str:
    """The bucket's address, no final slash: path-style below an endpoint, else the bucket's own host."""
    if endpoint is not None:
        return f"{endpoint.rstrip('/')}/{bucket}"
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in bucket:  # one certificate covers one label
        return f"https://s3.{region}.{suffix}/{bucket}"
    return f"https://{bucket}.s3.{region}.{suffix}"


def open_client(options: S3Options, bucket: str) -> S3Client:
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
    return S3Client(options, bucket, access, http)
