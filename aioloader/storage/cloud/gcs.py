"""``gs://``: Google Cloud Storage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aioloader.errors import OptionError
from aioloader.redact import redact_url
from aioloader.storage.cloud.store import CloudOptions, CloudStore
from aioloader.storage.http.options import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S, MAX_OBJECT_BYTES, HTTPOptions
from aioloader.storage.s3.credentials import check_endpoint

if TYPE_CHECKING:
    import obstore.store

_MAX_PATH_CHARS: Final = 1024


class GCSStore(CloudStore):
    """Objects of a Google Cloud Storage bucket; ``.at("gs://bucket/prefix/")`` binds it to a root.

    Credentials come from ``service_account_file`` (a key file), else from Google's usual chain:
    ``GOOGLE_APPLICATION_CREDENTIALS``, ``gcloud auth application-default login``, the machine's account.
    ``anonymous=True`` sends none. ``endpoint`` replaces ``https://storage.googleapis.com`` (emulators).
    The other options are those of `aioloader.S3Store`. Raises `OptionError`.
    """

    _schemes = ("gs", "gcs")
    _example = "gs://bucket/prefix/"

    def __init__(
        self,
        *,
        service_account_file: str | Path | None = None,
        anonymous: bool = False,
        endpoint: str | None = None,
        ca_file: str | Path | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        max_object_bytes: int = MAX_OBJECT_BYTES,
    ) -> None:
        config: dict[str, Any] = {"skip_signature": anonymous}
        if service_account_file is not None:
            if anonymous:
                raise OptionError("anonymous", "True", "no service_account_file beside it")
            config["service_account"] = _key_file(service_account_file)
        check_endpoint(endpoint, anonymous=anonymous)
        if endpoint is not None:
            config["base_url"] = endpoint
        http = HTTPOptions(
            ca_file=ca_file,
            connect_timeout_s=connect_timeout_s,
            idle_timeout_s=idle_timeout_s,
            max_object_bytes=max_object_bytes,
        )
        shown = [f"endpoint={redact_url(endpoint)!r}"] if endpoint is not None else []
        shown += ["anonymous=True"] if anonymous else []
        options = CloudOptions(
            config=tuple(config.items()),
            shown=tuple(shown),
            http=http,
            http_endpoint=(endpoint or "").startswith("http:"),
        )
        self._bind(options, "", "")

    def _is_renewable(self) -> bool:
        return not dict(self._options.config)["skip_signature"]

    def _make(self) -> obstore.store.GCSStore:
        import obstore.store

        return obstore.store.GCSStore(self._bucket, **self._client_arguments())


def _key_file(path: str | Path) -> str:
    text = str(path)
    if any(mark in text for mark in "{\n") or len(text) > _MAX_PATH_CHARS:
        # The key itself in place of its file: it is not shown.
        raise OptionError("service_account_file", f"a text of {len(text)} characters", "the path of a JSON key file")
    file = Path(text).expanduser()
    if not file.is_file():
        raise OptionError("service_account_file", repr(text), "the path of a JSON key file")
    return str(file)
