"""What S3's own code words mean for the user: another error class, or a better next step."""

from __future__ import annotations

import re
from typing import Final

from aioloader.errors import AccessDeniedError, ObjectNotFoundError, RequestRefusedError, StoreError

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
    "RequestTimeTooSkewed": (AccessDeniedError, "Correct this machine's clock."),
    "SignatureDoesNotMatch": (AccessDeniedError, "The secret key does not belong to this access key."),
    "TokenRefreshRequired": (AccessDeniedError, _EXPIRED),
}


def explained(error: StoreError) -> StoreError:
    """``error`` as the S3 code word in its reason explains it, or itself where there is none."""
    code = _CODE.search(error.reason)
    meaning = _MEANING.get(code[1]) if code is not None else None
    if meaning is None:
        return error
    target, hint = meaning
    better = target(error.reason, error.key, hint, error.byte_range, error.attempts)
    better.retry_after_s, better.partial = error.retry_after_s, error.partial
    better.__cause__ = error.__cause__
    better.__suppress_context__ = True
    return better
