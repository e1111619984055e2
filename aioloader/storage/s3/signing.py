"""One event loop's signatures: obstore makes them, with keys that are static, a profile's, or of its own chain."""

from __future__ import annotations

import os
from collections import OrderedDict
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from yarl import URL

from aioloader.errors import StoreError
from aioloader.runtime.threads import DaemonThreads
from aioloader.storage.obstore.errors import translate, translated
from aioloader.storage.obstore.keys import split_at_empty_segment
from aioloader.storage.renewal import Renewal

if TYPE_CHECKING:
    from collections.abc import Callable

    import obstore.store

    from aioloader.storage.http.options import HTTPOptions
    from aioloader.storage.s3.credentials import S3Access
    from aioloader.storage.s3.keys import S3Keys
    from aioloader.storage.s3.profile_keys import ProfileKeys
    from aioloader.storage.s3.store import S3Options

SIGNED_FOR: Final = timedelta(minutes=15)
"""Longer than any one transfer, shorter than what a leaked URL should live."""
MAX_HEADS: Final = 16
"""Signers kept for odd folders; each is a connection pool of obstore's that is never used."""
LOOK_AGAIN_S = 300.0
"""After so long a profile's provider is asked again: boto3 renews what ends within ten minutes."""


class S3Signer:
    """Made in a thread (it reads files, and asks a profile's provider for its first keys); used on one loop."""

    def __init__(self, options: S3Options, access: S3Access, http: HTTPOptions, bucket: str, *, origin: str) -> None:
        self._options = options
        self._access = access
        self._http = http
        self._bucket = bucket
        self._origin = origin
        self.bucket_url = bucket_url(access.endpoint, access.region, bucket)
        self._authorities = Path(http.ca_file).read_bytes() if http.ca_file is not None else None
        provider = access.provider
        self._keys: S3Keys | None = access.keys if provider is None else provider(anew=False)
        self._looked_s = monotonic()
        self._is_looking = False
        self._has_signed = False
        self._stores: OrderedDict[str, obstore.store.S3Store] = OrderedDict()
        self.store = self._make_store(self.bucket_url)
        """obstore's, for the bucket; another one once the credentials were renewed."""
        self._renewal: Renewal | None = None

    @property
    def renewal(self) -> Renewal | None:
        """How refused credentials are renewed; None where they are static, or there are none."""
        if self._renewal is None and self._access.keys is None and not self._options.anonymous:
            self._renewal = Renewal(self._renew, origin=self._origin)
        return self._renewal

    async def url(self, method: str, key: str, shown: str) -> URL:
        """The signed address of the object with the full key ``key``. Raises `StoreError`."""
        parts = split_at_empty_segment(key)
        if parts is None:
            raise StoreError(
                "the key has a '.' or '..' segment or a control character, which no URL carries unchanged",
                shown,
                "Rename the object.",
            )
        if self._options.anonymous:
            return URL(f"{self.bucket_url}/{quote(key, safe='/~')}", encoded=True)
        if self._access.provider is not None and monotonic() - self._looked_s > LOOK_AGAIN_S:
            await self._look_again(self._access.provider)
        head, rest = parts
        store = self.store if head is None else self._store_below(head)
        return URL(await self._sign(store, method, rest, shown), encoded=True)

    def forget(self) -> None:
        """Let go of what odd folders need."""
        self._stores.clear()

    async def _sign(self, store: obstore.store.S3Store, method: Any, path: str, shown: str) -> str:
        import obstore

        if self._keys is None:
            # The credentials may have to be fetched first: never on the event loop's own time.
            try:
                signed = await translated(obstore.sign_async(store, method, path, SIGNED_FOR), shown)
            except StoreError as exc:
                exc.is_transient = self._has_signed  # who gives the credentials is down, and had some before
                raise
            self._has_signed = True
            return signed
        try:
            return obstore.sign(store, method, path, SIGNED_FOR)
        except Exception as exc:
            failure = translate(exc, shown)
        raise failure

    def _store_below(self, head: str) -> obstore.store.S3Store:
        """A signer for keys below ``head + "/"``, whose last slash is one that obstore would drop."""
        store = self._stores.pop(head, None)
        if store is None:
            store = self._make_store(f"{self.bucket_url}/{quote(head, safe='/~')}")
        self._stores[head] = store
        if len(self._stores) > MAX_HEADS:
            self._stores.popitem(last=False)
        return store

    async def _renew(self) -> bool:
        """New credentials; those that were refused stay where none are to be had."""
        provider = self._access.provider
        if provider is not None:
            return await self._ask(lambda: provider(anew=True))
        import obstore

        fresh = self._make_store(self.bucket_url)  # obstore keeps credentials as long as its store
        try:
            await translated(obstore.sign_async(fresh, "GET", "x", SIGNED_FOR), self._bucket)
        except StoreError:
            return False
        self._use(fresh)
        return True

    async def _look_again(self, provider: ProfileKeys) -> None:
        """Before the profile's keys end. One request waits for it, the others go on with what there is."""
        if self._is_looking:
            return
        self._is_looking = True
        try:
            if not await self._ask(lambda: provider(anew=False)):
                self._looked_s = monotonic() - 0.9 * LOOK_AGAIN_S  # soon: there is little time left
        finally:
            self._is_looking = False

    async def _ask(self, provider: Callable[[], S3Keys]) -> bool:
        threads = DaemonThreads("aioloader-credentials", 1)
        try:
            keys = await threads.run(provider)
        except Exception:  # boto3's, or what a program of the user's says: what there is may still be valid
            return False
        finally:
            threads.close()
        self._looked_s = monotonic()
        if keys != self._keys:
            self._keys = keys
            self._use(self._make_store(self.bucket_url))
        return True

    def _use(self, store: obstore.store.S3Store) -> None:
        self.store = store
        self._stores.clear()

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
            "connect_timeout": timedelta(seconds=self._http.connect_timeout_s),
            "read_timeout": timedelta(seconds=self._http.idle_timeout_s),
        }
        if self._authorities is not None:
            client["root_certificate"] = self._authorities
        if self._keys is not None:
            # A provider, because obstore adds the environment's session token to keys given as options.
            config["credential_provider"] = self._keys
        return obstore.store.S3Store(
            self._bucket,
            client_options=client,  # type: ignore[arg-type]  # a TypedDict of obstore's, built in steps
            retry_config={"max_retries": 0},
            **config,
        )


def bucket_url(endpoint: str | None, region: str, bucket: str) -> str:
    """The bucket's address, no final slash: path-style below an endpoint, else the bucket's own host."""
    if endpoint is not None:
        return f"{endpoint.rstrip('/')}/{bucket}"
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in bucket:  # one certificate covers one label
        return f"https://s3.{region}.{suffix}/{bucket}"
    return f"https://{bucket}.s3.{region}.{suffix}"
