"""``s3://``: any S3 service, authorised by the usual AWS chain."""

from __future__ import annotations

import os
import re
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aioloader.errors import OptionError
from aioloader.redact import printable_key, redact_url
from aioloader.storage.http.options import (
    CONNECT_TIMEOUT_S,
    FLOOR_BYTES_PER_S,
    FLOOR_WINDOW_S,
    IDLE_TIMEOUT_S,
    MAX_CONNECTIONS,
    MAX_OBJECT_BYTES,
    TRANSPORT,
    HTTPOptions,
)
from aioloader.storage.opening import OpenedPerLoop
from aioloader.storage.pages import ask_once
from aioloader.storage.s3.credentials import check_endpoint
from aioloader.storage.s3.keys import S3Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from aioloader.storage.s3.client import S3Client
    from aioloader.types import Asker, ByteRange, ObjectMeta, Partial

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")


@dataclass(frozen=True, kw_only=True, repr=False)
class S3Options:
    """The validated options of an `S3Store`. Never printed: it holds keys."""

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    anonymous: bool = False
    request_payer: bool = False
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    http: HTTPOptions = field(default_factory=HTTPOptions)

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = "access_key_id" if self.access_key_id is None else "secret_access_key"
            raise OptionError(missing, "None", "both halves of the key, or neither")
        if self.session_token is not None and self.access_key_id is None:
            raise OptionError("access_key_id", "None", "the key that session_token belongs to")
        if self.profile is not None and (self.anonymous or self.access_key_id is not None):
            raise OptionError("profile", repr(self.profile), "no access_key_id and no anonymous=True beside it")
        if self.anonymous and self.access_key_id is not None:
            raise OptionError("anonymous", "True", "no access_key_id beside it")
        if self.anonymous and self.request_payer:
            raise OptionError("request_payer", "True", "credentials: an anonymous caller cannot pay")
        check_endpoint(self.endpoint, anonymous=self.anonymous)

    def keys(self) -> S3Keys | None:
        """The key given as options."""
        if self.access_key_id is None or self.secret_access_key is None:
            return None
        return S3Keys(
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            session_token=self.session_token,
        )


class S3Store:
    """Objects of an S3 bucket: ``S3Store(...)`` says how to connect, ``.at("s3://bucket/prefix/")`` where.

    ``endpoint`` is the service's address for anything but AWS (else ``AWS_ENDPOINT_URL_S3``,
    ``AWS_ENDPOINT_URL`` or the profile's). Credentials come from the options, the environment, ``profile``
    and the machine's role, in boto's order; ``anonymous=True`` sends none. Those of roles, and of profiles without
    static keys, are renewed in time, and where the service refuses them: what was refused is asked for once more.
    ``request_payer=True`` pays for requests to a requester-pays bucket. ``ca_file`` (PEM) is trusted besides the
    system's authorities. ``connect_timeout_s`` covers look-up, connection and handshake each, ``idle_timeout_s`` the
    wait between bytes; larger objects than ``max_object_bytes`` are refused. ``transport`` as in `HTTPStore`.
    Nothing is retried here.

    Raises `OptionError`.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        anonymous: bool = False,
        request_payer: bool = False,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        ca_file: str | Path | None = None,
        proxy: str | None = "env",
        max_connections: int = MAX_CONNECTIONS,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        floor_bytes_per_s: int = FLOOR_BYTES_PER_S,
        floor_window_s: float = FLOOR_WINDOW_S,
        max_object_bytes: int = MAX_OBJECT_BYTES,
        transport: str = TRANSPORT,
    ) -> None:
        http = HTTPOptions(
            ca_file=ca_file,
            proxy=proxy,
            max_connections=max_connections,
            connect_timeout_s=connect_timeout_s,
            idle_timeout_s=idle_timeout_s,
            floor_bytes_per_s=floor_bytes_per_s,
            floor_window_s=floor_window_s,
            max_object_bytes=max_object_bytes,
            transport=transport,
        )
        options = S3Options(
            endpoint=endpoint,
            region=region,
            profile=profile,
            anonymous=anonymous,
            request_payer=request_payer,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            http=http,
        )
        self._bind(options, "", "")

    def _bind(self, options: S3Options, bucket: str, root: str) -> None:
        self._options = options
        self._bucket = bucket
        self._root = root
        self._opened: OpenedPerLoop[S3Client] = OpenedPerLoop()

    def at(self, url: str) -> S3Store:
        """This store at ``s3://bucket/prefix/``; the prefix is a folder, with or without its slash.

        Nothing in it is an escape: ``%20`` is three characters. Raises `OptionError`.
        """
        bucket, key = split_s3_url(url)
        return _bound(self._options, bucket, key if not key or key.endswith("/") else key + "/")

    @property
    def transport(self) -> str:
        """The HTTP client in use: ``"aiohttp"`` or ``"fast"``."""
        return self._options.http.client

    @property
    def location(self) -> str:
        """``s3://bucket/prefix/``."""
        if not self._bucket:
            expected = "a place too: S3Store(...).at('s3://bucket/prefix/')"
            raise OptionError("store", repr(self), expected)
        return f"s3://{self._bucket}/{self._root}"

    @property
    def origin(self) -> str:
        """What shares limits: the service's endpoint, or the bucket on AWS."""
        endpoint = self._options.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint is None:
            return f"s3://{self._bucket}"
        scheme, _, rest = redact_url(endpoint).partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """All bytes of ``key``, or those of the half-open ``byte_range`` (cut at the object's end).

        Raises `StoreError`; `OptionError` where an option or profile cannot work. Cancelling drops the
        connection.
        """
        shown = self._shown(key)
        client = await self._opened.get(self._open)
        return await client.get(self._root + key, shown, byte_range)

    async def get_version(self, key: str, byte_range: ByteRange | None, etag: str) -> bytes:
        """The bytes of the object that has this ``etag``; see `aioloader.types.VersionedStore`."""
        shown = self._shown(key)
        client = await self._opened.get(self._open)
        return await client.get(self._root + key, shown, byte_range, etag)

    async def get_rest(self, key: str, partial: Partial) -> bytes:
        """The bytes of which ``partial`` came, with the rest; see `aioloader.types.ResumableStore`."""
        shown = self._shown(key)
        client = await self._opened.get(self._open)
        return await client.get_rest(self._root + key, shown, partial)

    def list(self, prefix: str = "") -> AsyncGenerator[ObjectMeta, None]:
        """Every object whose key starts with ``prefix``, page by page, in the service's order."""
        return self.list_pages(prefix, ask_once)

    async def list_pages(self, prefix: str, asker: Asker) -> AsyncGenerator[ObjectMeta, None]:
        """`list`, with each page asked for by ``asker``; see `aioloader.types.PagedStore`."""
        shown = self._shown(prefix)
        client = await self._opened.get(self._open)
        async with aclosing(client.list(self._root, prefix, shown, asker)) as found:
            async for meta in found:
                yield meta

    async def size(self, key: str) -> int:
        """Length of the object in bytes."""
        shown = self._shown(key)
        client = await self._opened.get(self._open)
        return await client.size(self._root + key, shown)

    async def aclose(self) -> None:
        """Close the running loop's connections; idempotent, and a later call opens new ones."""
        client = self._opened.take()
        if client is not None:
            await client.aclose()

    def _shown(self, key: str) -> str:
        return self.location + printable_key(key)

    def _open(self) -> S3Client:
        from aioloader.storage.s3.client import open_client  # obstore and aiohttp: 0.2 s of imports

        return open_client(self._options, self._bucket, origin=self.origin)

    def __repr__(self) -> str:
        shown = [f"{self.location!r}"] if self._bucket else []
        options = self._options
        for name in ("endpoint", "region", "profile"):
            value = getattr(options, name)
            if value is not None:
                shown.append(f"{name}={redact_url(value)!r}" if name == "endpoint" else f"{name}={value!r}")
        shown += [f"{name}=True" for name in ("anonymous", "request_payer") if getattr(options, name)]
        if options.access_key_id is not None:
            shown.append("access_key_id=…")
        return f"S3Store({', '.join(shown)})"

    def __reduce__(self) -> tuple[object, ...]:
        return _bound, (self._options, self._bucket, self._root)


def _bound(options: S3Options, bucket: str, root: str) -> S3Store:
    store = S3Store.__new__(S3Store)
    store._bind(options, bucket, root)
    return store


def split_s3_url(url: str) -> tuple[str, str]:
    """``(bucket, key)`` of ``s3://bucket/key``; the key is taken as it is. Raises `OptionError`."""
    scheme, separator, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if not separator or scheme.lower() not in ("s3", "s3a") or not _BUCKET.fullmatch(bucket):
        expected = "s3://bucket/prefix/, the bucket's name of 3 to 255 letters, digits, '.', '_' or '-'"
        raise OptionError("url", repr(redact_url(url)), expected)
    return bucket, key
