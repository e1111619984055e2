"""What S3's own code words mean for the user: another error class, or a better next step."""

from __future__ import annotations

import re
from typing import Final

from aioloader.errors import AccessDeniedError, ObjectNotFoundError, RequestRefusedError, StoreError
from aioloader.storage.clock_skew import in_words

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
    "SignatureDoesNotMatch": (AccessDeniedError, "The secret key does not belong to this access key."),
    "TokenRefreshRequired": (AccessDeniedError, _EXPIRED),
}


_SKEWED: Final = "RequestTimeTooSkewed"
_RAN_OUT: Final = "RequestExpired"
_SKEW_S: Final = 900.0
"""How long what we sign lasts, and what S3 tolerates."""
_SET_IT: Final = "Set it (NTP), and run again."

_FINAL: Final = frozenset({_SKEWED, _RAN_OUT, "SignatureDoesNotMatch"})
"""What newer credentials do not change."""
_RENEWED: Final = "The credentials were renewed, and the store refuses the new ones too: check what they may read."


def may_be_renewed(error: StoreError) -> bool:
    """Whether ``error`` may be the end of the credentials' time: S3's own words for it differ from service to service,
    and an answer to HEAD has none."""
    return isinstance(error, AccessDeniedError) and _code(error) not in _FINAL


def refused_anew(error: StoreError) -> StoreError:
    """``error`` of a request with credentials that were renewed for it; it says so where it is about them."""
    if not isinstance(error, AccessDeniedError) or _code(error) in (None, "AccessDenied", *_FINAL):
        return error
    return _like(error, type(error), _RENEWED)


def explained(error: StoreError) -> StoreError:
    """``error`` as the S3 code word in its reason explains it, or itself where there is none."""
    code = _code(error)
    if code is None:
        return error
    if isinstance(error, AccessDeniedError):
        by_the_clock = _by_the_clock(error, code)
        if by_the_clock is not None:
            return by_the_clock
    meaning = _MEANING.get(code)
    return error if meaning is None else _like(error, *meaning)


def blames_the_clock(error: StoreError) -> bool:
    """Whether S3 refused a request for the time at which it was signed."""
    return _code(error) == _SKEWED


def _by_the_clock(error: AccessDeniedError, code: str) -> StoreError | None:
    """The error that names this machine's clock; None where that is right, or the refusal has another cause."""
    ahead_s = error.clock_ahead_s
    if code == _SKEWED:
        return _like(error, AccessDeniedError, _SET_IT, f"{in_words(ahead_s)}, which refuses what it signs ({code})")
    if code != "AccessDenied" or ahead_s is None or abs(ahead_s) < _SKEW_S:
        return None
    if ahead_s < 0:
        return _like(error, AccessDeniedError, _SET_IT, f"{in_words(ahead_s)}: what it signs has run out ({_RAN_OUT})")
    # Some services take what was signed in their future: it may be a matter of rights.
    words = in_words(ahead_s)
    return _like(error, AccessDeniedError, f"{words[0].upper()}{words[1:]}: set it (NTP). {error.hint}")


def _code(error: StoreError) -> str | None:
    code = _CODE.search(error.reason)
    return None if code is None else code[1]


def _like(error: StoreError, target: type[StoreError], hint: str, reason: str = "") -> StoreError:
    better = target(reason or error.reason, error.key, hint, error.byte_range, error.attempts)
    better.retry_after_s, better.partial = error.retry_after_s, error.partial
    if isinstance(better, AccessDeniedError) and isinstance(error, AccessDeniedError):
        better.clock_ahead_s = error.clock_ahead_s
    better.__cause__ = error.__cause__
    better.__suppress_context__ = True
    return better
