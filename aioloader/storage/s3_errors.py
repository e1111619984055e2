"""What S3's own code words mean for the user: another error class, or a better next step."""

from __future__ import annotations

import re
from typing import Final

from aioloader.errors import AccessDeniedError, ObjectNotFoundError, RequestRefusedError, StoreError
from aioloader.storage.clock_skew import HINT

_CODE = re.compile(r"\(([A-Za-z0-9.]{1,64})\)$")
_REGION = "The bucket lies in another region: give its name with region=."
_EXPIRED = "The session's credentials have expired: renew them (for example `aws sso login`) and run again."

_MEANING: Final[dict[str, tuple[type[StoreError], str]]] = {
    "AuthorizationHeaderMalformed": (RequestRefusedError, _REGION),
    "AuthorizationQueryParametersError": (RequestRefusedError, _REGION),
    "ExpiredToken": (AccessDeniedError, _EXPIRED),
    "InvalidAccessKeyId": (
        AccessDeniedError,
        "The store does not know this access key; check endpoint= too.",
    ),
    "InvalidToken": (AccessDeniedError, _EXPIRED),
    "NoSuchBucket": (ObjectNotFoundError, "Check the bucket's name and endpoint=."),
    "PermanentRedirect": (RequestRefusedError, _REGION),
    "RequestTimeTooSkewed": (AccessDeniedError, HINT),
    "SignatureDoesNotMatch": (AccessDeniedError, "The secret key does not belong to this access key."),
    "TokenRefreshRequired": (AccessDeniedError, _EXPIRED),
}


# Neither newer credentials nor a later time change these.
_FINAL: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"})
_RENEWED: Final = "The credentials were renewed, and the store refuses the new ones too: check what they may read."


def may_be_renewed(error: StoreError) -> bool:
    """Whether ``error`` may be the end of the credentials' time: S3's own words for it differ from service to service,
    and an answer to HEAD has none."""
    if not isinstance(error, AccessDeniedError):
        return False
    code = _CODE.search(error.reason)
    return code is None or code[1] not in _FINAL


def refused_anew(error: StoreError) -> StoreError:
    """``error`` of a request with credentials that were renewed for it; it says so where it is about them."""
    code = _CODE.search(error.reason)
    if not isinstance(error, AccessDeniedError) or code is None or code[1] == "AccessDenied":
        return error
    return _like(error, type(error), _RENEWED)


def explained(error: StoreError) -> StoreError:
    """``error`` as the S3 code word in its reason explains it, or itself where there is none."""
    code = _CODE.search(error.reason)
    meaning = _MEANING.get(code[1]) if code is not None else None
    if meaning is None:
        return error
    return _like(error, *meaning)


def _like(error: StoreError, target: type[StoreError], hint: str) -> StoreError:
    better = target(error.reason, error.key, hint, error.byte_range, error.attempts)
    better.retry_after_s, better.partial = error.retry_after_s, error.partial
    better.__cause__ = error.__cause__
    better.__suppress_context__ = True
    return better
