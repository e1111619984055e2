"""``python -m aioloader`` is the ``aioloader`` command."""

from __future__ import annotations

import sys

from aioloader.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
