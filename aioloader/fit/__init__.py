"""What Keras' `fit`, `evaluate` and `predict` accept; README.md has the contract.

Importing it imports no Keras.
"""

from __future__ import annotations

from aioloader.fit.adapter import keras_adapter as keras_adapter

__all__ = ["keras_adapter"]
