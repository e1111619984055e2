"""Where a redirect may lead: a pure decision, hop by hop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yarl import URL

from aioloader.errors import RedirectRefusedError
from aioloader.redact import redact_url

if TYPE_CHECKING:
    from aioloader.types import ByteRange

REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})
MAX_HOPS: Final = 5


def same_origin(one: URL, other: URL) -> bool:
    """Whether both have the same scheme, host and port."""
    return one is other or (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def next_hop(
    current: URL, location: str | None, *, hop: int, signed: bool, shown: str, byte_range: ByteRange | None
) -> URL:
    """The address that the ``hop``-th redirect (from 1) leads to.

    Raises `RedirectRefusedError` after `MAX_HOPS`, for another scheme than HTTP(S), from ``https`` to
    ``http``, and to another origin where the request is ``signed``.
    """

    def refused(reason: str, hint: str = "") -> RedirectRefusedError:
        return RedirectRefusedError(reason, shown, hint, byte_range)

    if hop > MAX_HOPS:
        raise refused(f"more than {MAX_HOPS} redirects", "They may form a loop; check the server.")
    if not location:
        raise refused("a redirect without a target", "Check the server.")
    try:
        target = current.join(URL(location, encoded=True)).with_fragment(None)
        target = target.with_user(None) if target.raw_user is not None else target
        usable = target.scheme in ("http", "https") and bool(target.host)
        _ = target.port
    except ValueError:
        usable, target = False, current
    if not usable:
        raise refused("a redirect to something that is not an http(s) address", "Check the server.")
    if current.scheme == "https" and target.scheme == "http":
        raise refused(
            f"a redirect from https to plain http ({redact_url(target)})", "Make the server redirect to https."
        )
    if signed and not same_origin(current, target):
        raise refused(
            f"a signed request was redirected to another server ({redact_url(target.origin())})",
            "Check endpoint= and region=.",
        )
    return target
