"""What Keras' `fit`, `evaluate` and `predict` accept, and a callback that watches; README.md has the contract.

Importing it imports no Keras; touching `Monitor`, which is a Keras callback, does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioloader.fit.adapter import keras_adapter as keras_adapter
from aioloader.fit.adapter import require_keras

if TYPE_CHECKING:
    from aioloader.fit.monitor import Monitor as Monitor

__all__ = ["Monitor", "keras_adapter"]


def __getattr__(name: str) -> Any:
    if name != "Monitor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_keras("aioloader.keras.Monitor")
    from aioloader.fit.monitor import Monitor

    globals()[name] = Monitor
    return Monitor
