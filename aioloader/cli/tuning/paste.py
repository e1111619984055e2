"""The settings as a program to paste."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioloader.cli.decode_option import code_of

if TYPE_CHECKING:
    from aioloader.cli.tuning.listing import Listed
    from aioloader.monitor.timeline import Settings


def program(
    listed: Listed, decode: str, batch_size: int, settings: Settings, *, largest_bytes: int | None = None
) -> str:
    """Complete: it imports what it needs. ``largest_bytes`` is the longest sample's length, for raw bytes."""
    imports, decoder, more = _decoder(decode, largest_bytes)
    lines = ["import aioloader as al", *imports, ""]
    if listed.hides_secrets:
        lines.append("# The address is shown without its secrets.")
    return "\n".join(
        [
            *lines,
            "loader = al.Loader(",
            f"    {listed.code},",
            f"    decode={decoder}",
            *more,
            f"    batch_size={batch_size},",
            f"    concurrency={settings.concurrency},",
            f"    workers={settings.workers},",
            f"    use_multiprocessing={settings.use_multiprocessing},",
            f"    max_queue_size={settings.max_queue_size},",
            ")",
        ]
    )


def _decoder(decode: str, largest_bytes: int | None) -> tuple[list[str], str, list[str]]:
    """Imports, what ``decode=`` is, and options beside it."""
    if decode == "none":
        return [], "len,  # fetched, not decoded: your decoder comes here", []
    if decode == "raw":
        return [], "al.RawDecoder(),", [f'    spec=al.FieldSpec((al.UpTo({largest_bytes}),), "uint8"),']
    if (made := code_of(decode)).startswith("al."):
        return [], f"{made},", []
    module, _, names = decode.partition(":")
    return [f"from {module} import {names.partition('.')[0]}"], f"{names},", []
