"""Where S3 credentials, region and endpoint come from: options, environment, shared files, then obstore.

The order is boto's: what is given; ``AWS_ACCESS_KEY_ID``; the profile of ``profile=`` or ``AWS_PROFILE``;
web identity and container roles; the default profile; the machine's metadata service. Static keys are read
here, because obstore does not know profiles; what comes from a service is obstore's to fetch and renew.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aioloader.errors import OptionError
from aioloader.redact import redact_url
from aioloader.storage.hosts import is_loopback_host
from aioloader.storage.s3.keys import S3Keys
from aioloader.storage.s3.profile_keys import ProfileKeys

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_REGION: Final = "us-east-1"
_ROLE_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(frozen=True, kw_only=True, repr=False)
class S3Access:
    """What was found: static ``keys``, or the ``provider`` of a profile's, or neither (obstore's chain)."""

    keys: S3Keys | None
    provider: ProfileKeys | None
    region: str
    endpoint: str | None


def find_access(
    *,
    keys: S3Keys | None,
    profile: str | None,
    region: str | None,
    endpoint: str | None,
    anonymous: bool,
    environment: Mapping[str, str],
) -> S3Access:
    """Follow the chain. Reads files, so it is called in a thread. Raises `OptionError` for ``profile``."""
    section = _profile_section(keys, profile, environment)
    provider: ProfileKeys | None = None
    if keys is None and not anonymous:
        keys = _keys_of_environment(environment) if profile is None else None
        if keys is None and section is not None:
            keys = _keys_of_section(section)
            if keys is None and _named_profile(profile, environment) is not None:
                provider = ProfileKeys(_named_profile(profile, environment) or "")
    found = section or {}
    return S3Access(
        keys=keys,
        provider=provider,
        region=region
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or found.get("region")
        or DEFAULT_REGION,
        endpoint=endpoint
        or environment.get("AWS_ENDPOINT_URL_S3")
        or environment.get("AWS_ENDPOINT_URL")
        or found.get("endpoint_url"),
    )


def check_endpoint(endpoint: str | None, *, anonymous: bool) -> None:
    """Raise `OptionError` unless requests to ``endpoint`` may carry what they would carry."""
    if endpoint is None:
        return
    try:
        url = urlsplit(endpoint)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
        usable = usable and "@" not in url.netloc and not url.query and not url.fragment
        host = url.hostname or ""
    except ValueError:
        usable, host = False, ""
    if not usable:
        # What has no user info or query holds no secret, and is shown as it was typed.
        typed = endpoint if not any(mark in endpoint for mark in "@?#") else redact_url(endpoint)
        raise OptionError(
            "endpoint",
            repr(typed),
            "an address with its scheme, such as 'https://s3.example.com', without user info or query",
        )
    if endpoint.lower().startswith("http:") and not anonymous and not is_loopback_host(host):
        raise OptionError(
            "endpoint",
            repr(redact_url(endpoint)),
            "https://, because plain http:// shows signed requests to everybody on the way; to this machine, "
            "or with anonymous=True, http:// works",
        )


def _named_profile(profile: str | None, environment: Mapping[str, str]) -> str | None:
    return profile or environment.get("AWS_PROFILE") or None


def _keys_of_environment(environment: Mapping[str, str]) -> S3Keys | None:
    key_id, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not key_id or not secret:
        return None
    return S3Keys(
        access_key_id=key_id,
        secret_access_key=secret,
        session_token=environment.get("AWS_SESSION_TOKEN") or None,
    )


def _keys_of_section(section: Mapping[str, str]) -> S3Keys | None:
    key_id, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
    if not key_id or not secret:
        return None
    return S3Keys(
        access_key_id=key_id,
        secret_access_key=secret,
        session_token=section.get("aws_session_token") or None,
    )


def _profile_section(keys: S3Keys | None, profile: str | None, environment: Mapping[str, str]) -> dict[str, str] | None:
    """The merged section of both shared files; None where no profile applies."""
    named = _named_profile(profile, environment)
    if named is None and (keys is not None or any(name in environment for name in _ROLE_VARIABLES)):
        return None
    home = Path(environment.get("HOME") or Path.home()) / ".aws"
    credentials = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials").expanduser()
    config = Path(environment.get("AWS_CONFIG_FILE") or home / "config").expanduser()
    wanted = named or "default"
    merged: dict[str, str] = {}
    found = False
    in_config = wanted if wanted == "default" else f"profile {wanted}"
    for path, section in ((config, in_config), (credentials, wanted)):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            # The parser's message quotes the line, which may hold a secret: it is not chained.
            raise OptionError("profile", repr(wanted), f"{str(path)!r} to be a readable INI file") from None
        if parser.has_section(section):
            merged.update(parser.items(section))
            found = True
    if not found and named is not None:
        raise OptionError("profile", repr(named), f"a profile of {str(credentials)!r} or {str(config)!r}")
    return merged if found else None
