"""Importing TensorFlow without the lines that its C++ parts write before any log level counts."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Holds back what is written to descriptor 2, by native code too; shown after all if the block raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException as exc:
            # A package that is not installed speaks for itself, and so does Ctrl-C.
            if not isinstance(exc, ModuleNotFoundError | KeyboardInterrupt):
                held_back.seek(0)
                os.write(kept, held_back.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
