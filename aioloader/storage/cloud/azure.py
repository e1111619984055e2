"""``az://``: Azure Blob Storage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from aioloader.errors import OptionError
from aioloader.redact import redact_url
from aioloader.storage.cloud.store import CloudOptions, CloudStore
from aioloader.storage.http.options import CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S, MAX_OBJECT_BYTES, HTTPOptions
from aioloader.storage.s3.credentials import check_endpoint

if TYPE_CHECKING:
    from pathlib import Path

    import obstore.store

# Keys and signatures that obstore takes from the environment.
_STATIC_VARIABLES: Final = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_MASTER_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
)
_HOSTS: Final = (".blob.core.windows.net", ".dfs.core.windows.net")


class AzureStore(CloudStore):
    """Blobs of an Azure container; ``.at("az://container/prefix/")`` binds it to a root.

    ``account`` is the storage account (else ``AZURE_STORAGE_ACCOUNT_NAME``). Credentials are ``access_key``,
    a ``sas_token``, or Azure's usual chain (``AZURE_*`` variables, managed identity); ``use_azure_cli=True``
    asks the ``az`` command. ``anonymous=True`` sends none. ``endpoint`` replaces the account's own address
    (emulators). ``abfss://container@account.dfs.core.windows.net/prefix/`` names the account itself.
    The other options are those of `aioloader.S3Store`. Raises `OptionError`.
    """

    _schemes = ("az", "azure", "abfs", "abfss", "adl")
    _example = "az://container/prefix/"
    _starts_after = False  # obstore sends "startFrom", which accounts of the usual kind may not know

    def __init__(
        self,
        *,
        account: str | None = None,
        access_key: str | None = None,
        sas_token: str | None = None,
        use_azure_cli: bool = False,
        anonymous: bool = False,
        endpoint: str | None = None,
        ca_file: str | Path | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        max_object_bytes: int = MAX_OBJECT_BYTES,
    ) -> None:
        given = [
            name
            for name, value in (
                ("access_key", access_key),
                ("sas_token", sas_token),
                ("use_azure_cli", use_azure_cli),
                ("anonymous", anonymous),
            )
            if value
        ]
        if len(given) > 1:
            raise OptionError(given[1], "…", f"no {given[0]} beside it")
        named: dict[str, Any] = {
            "account_name": account,
            "account_key": access_key,
            "sas_key": sas_token.lstrip("?") if sas_token else None,
            "use_azure_cli": use_azure_cli or None,
            "endpoint": endpoint,
            "skip_signature": anonymous,
        }
        config = {name: value for name, value in named.items() if value is not None}
        check_endpoint(endpoint, anonymous=anonymous)
        http = HTTPOptions(
            ca_file=ca_file,
            connect_timeout_s=connect_timeout_s,
            idle_timeout_s=idle_timeout_s,
            max_object_bytes=max_object_bytes,
        )
        shown = [f"account={account!r}"] if account is not None else []
        shown += [f"endpoint={redact_url(endpoint)!r}"] if endpoint is not None else []
        shown += [f"{name}=…" for name in given]
        options = CloudOptions(
            config=tuple(config.items()),
            shown=tuple(shown),
            http=http,
            http_endpoint=(endpoint or "").startswith("http:"),
        )
        self._bind(options, "", "")

    def at(self, url: str) -> AzureStore:
        """This store at a container's folder. Nothing in the URL is an escape. Raises `OptionError`."""
        scheme, separator, rest = url.partition("://")
        authority, _, key = rest.partition("/")
        container, at_sign, host = authority.partition("@")
        account = host.partition(".")[0]
        if not at_sign or not account or not host.endswith(_HOSTS):
            return super().at(url)
        config = dict(self._options.config)
        if config.setdefault("account_name", account) != account:
            raise OptionError("url", repr(redact_url(url)), f"the account {config['account_name']!r}")
        bound = super().at(f"{scheme}{separator}{container}/{key}")
        options = CloudOptions(
            config=tuple(config.items()),
            shown=(
                f"account={account!r}",
                *(s for s in bound._options.shown if not s.startswith("account=")),
            ),
            http=bound._options.http,
            http_endpoint=bound._options.http_endpoint,
        )
        return self._bound(options, bound._bucket, bound._root)

    def _is_renewable(self) -> bool:
        config = dict(self._options.config)
        static = config["skip_signature"] or "account_key" in config or "sas_key" in config
        return not static and not any(name in os.environ for name in _STATIC_VARIABLES)

    def _make(self) -> obstore.store.AzureStore:
        import obstore.store

        return obstore.store.AzureStore(self._bucket, **self._client_arguments())
