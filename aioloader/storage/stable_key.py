"""What a key is known by when its URL has been signed anew."""

from __future__ import annotations

from typing import Final

_SIGNATURES: Final = frozenset({"x-amz-signature", "x-goog-signature", "signature", "sig"})
# What comes with one of them: of Azure, of CloudFront, of the older S3 and Google signatures. Alone they may be ids.
_SIGNED_WITH: Final = frozenset(
    {"se", "sp", "spr", "sv", "sr", "st", "skoid", "sktid", "skt", "ske", "sks", "skv"}
    | {"expires", "key-pair-id", "policy", "awsaccesskeyid", "googleaccessid"}
)
_TOKENS: Final = frozenset({"token", "access_token", "sas_token", "security_token"})


def stable_key(key: str) -> str:
    """The part of ``key`` that stays when a URL is signed anew: all but signatures, their like, and tokens."""
    if "://" not in key or "?" not in key:
        return key
    address, _, query = key.partition("?")
    names = [pair.partition("=")[0].lower() for pair in query.split("&")]
    signed = not _SIGNATURES.isdisjoint(names)
    kept = [
        pair
        for pair, name in zip(query.split("&"), names, strict=True)
        if not _changes_when_signed(name, signed=signed)
    ]
    return "?".join([address, "&".join(kept)]) if kept else address


def _changes_when_signed(name: str, *, signed: bool) -> bool:
    if name in _TOKENS or name.startswith(("x-amz-", "x-goog-")):
        return True
    return signed and (name in _SIGNATURES or name in _SIGNED_WITH)
