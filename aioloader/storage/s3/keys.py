"""One access key of S3's, as it is handed on to obstore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, repr=False)
class S3Keys:
    """One access key. Never printed."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __call__(self) -> dict[str, Any]:
        """The key as obstore asks its credential providers for it."""
        return {
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "token": self.session_token,
            "expires_at": None,
        }
