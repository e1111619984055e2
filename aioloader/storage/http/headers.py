"""The user's header fields for one request after another: as given, or from their function, which may renew a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.errors import AccessDeniedError, OptionError

if TYPE_CHECKING:
    from aioloader.storage.http.options import HTTPOptions


class UserHeaders:
    """``headers=`` of one store. A function is called for each request, and once more where a server has refused what
    it gave: by the first of all requests that were refused with it."""

    def __init__(self, options: HTTPOptions) -> None:
        self._options = options
        self._latest: dict[str, str] | None = None
        self.may_renew = callable(options.headers)
        """Whether a function gives them."""

    def for_request(self, shown: str) -> dict[str, str]:
        """What the next request carries. Where the function fails, what it gave before may still be valid."""
        if not callable(self._options.headers):
            return self._options.current_headers()
        try:
            self._latest = self._options.current_headers()
        except OptionError:
            raise
        except Exception as exc:  # the user's function
            if self._latest is None:
                raise _failed(exc, shown) from exc
        return self._latest

    def after_refusal(self, refused: dict[str, str], shown: str) -> tuple[dict[str, str] | None, bool]:
        """Newer ones than ``refused``, or None, and whether the function was asked for them."""
        if not callable(self._options.headers):
            return None, False
        if self._latest != refused:
            return self._latest, False
        try:
            self._latest = self._options.current_headers()
        except OptionError:
            raise
        except Exception as exc:  # the user's function
            raise _failed(exc, shown) from exc
        return (None, False) if self._latest == refused else (self._latest, True)

    def __reduce__(self) -> tuple[type[UserHeaders], tuple[HTTPOptions]]:
        return UserHeaders, (self._options,)  # without what the function gave


def _failed(exc: Exception, shown: str) -> AccessDeniedError:
    return AccessDeniedError(f"the headers= function raised {type(exc).__name__}", shown, "Correct the function.")
