"""The door to Keras: nothing of it is imported before `keras_adapter` is called."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from aioloader.errors import OptionError

if TYPE_CHECKING:
    from aioloader.types import BatchSource

OLDEST_KERAS = (3, 7)
"""The first release whose `fit` takes a data adapter of one's own."""


def keras_adapter(source: BatchSource) -> Any:
    """What ``model.fit``, ``evaluate``, ``predict`` and ``validation_data=`` take to train on ``source``.

    The result is a Keras ``DataAdapter`` that yields plain tuples of TensorFlow tensors, ``(x,)``, ``(x, y)``
    or ``(x, y, sample_weight)``, without copying what is 64-byte aligned. Each `fit` goes on with the next
    epoch of the source. Raises ImportError where Keras is missing, older than 3.7 or has moved what is
    needed, and `OptionError` where Keras runs on another backend than TensorFlow.
    """
    require_keras("to_keras()")
    _require_tensorflow()
    try:
        from aioloader.fit.data_adapter import LoaderDataAdapter
    except ImportError as exc:
        raise ImportError(
            f"Keras {_keras_version()} does not have what aioloader feeds it through ({exc}); "
            "install a release that this aioloader knows, e.g. keras==3.15.*"
        ) from exc
    return LoaderDataAdapter(source)


def require_keras(what: str) -> None:
    """Import Keras; ImportError where ``what`` cannot have it, or it is older than 3.7."""
    try:
        importlib.import_module("keras")
    except ImportError as exc:
        raise ImportError(f"{what} needs Keras with TensorFlow: pip install 'aioloader[tensorflow]'") from exc
    if parse_version(_keras_version()) < OLDEST_KERAS:
        raise ImportError(f"Keras {_keras_version()} is too old: {what} needs Keras 3.7 or newer; pip install -U keras")


def _require_tensorflow() -> None:
    backend = importlib.import_module("keras").backend.backend()
    if backend != "tensorflow":
        raise OptionError("KERAS_BACKEND", repr(backend), "'tensorflow', the only backend that to_keras() feeds so far")


def _keras_version() -> str:
    return str(getattr(importlib.import_module("keras"), "__version__", "0"))


def parse_version(text: str) -> tuple[int, int]:
    """The first two numbers of a version; ``(0, 0)`` where there are none."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
