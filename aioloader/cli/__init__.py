"""The ``aioloader`` command; each subcommand has its file, and imports what is heavy when it runs."""

from __future__ import annotations
