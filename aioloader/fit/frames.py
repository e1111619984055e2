"""What a running Keras call was asked for, read from its frames.

Keras tells a data adapter neither who uses it nor for how many epochs, and drops `class_weight` for it in
silence. All of it stands in two frames of the call that reads ``num_batches``: ``EpochIterator.__init__``
and, above it, ``fit``, ``evaluate`` or ``predict``. No frame is kept.
"""

from __future__ import annotations

import reprlib
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from aioloader.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

Method = Literal["fit", "validation", "evaluate", "predict", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasCall:
    """One use of an adapter: a `fit`, its validation, an `evaluate`, a `predict`, or another one's loop.

    ``epochs`` and ``initial_epoch`` are `fit`'s, ``steps_per_epoch`` is None where not given. ``refused``
    holds what Keras would silently ignore, by the name the user wrote. ``model`` refers to the model.
    """

    method: Method = "other"
    epochs: int = 1
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    steps_per_execution: int = 1
    refused: Mapping[str, Any] = field(default_factory=dict)
    model: weakref.ReferenceType[Any] | None = None

    def first_epoch(self) -> int:
        """`fit`'s ``initial_epoch``, or what `BackupAndRestore` has put in its place by now; else 0."""
        if self.method != "fit":
            return 0
        model = self.model() if self.model is not None else None
        restored = getattr(model, "_initial_epoch", None)
        return int(restored or self.initial_epoch)

    def refuse(self) -> None:
        """Raise `OptionError` for the first option that Keras would ignore, naming the Loader's."""
        for option, value in self.refused.items():
            raise OptionError(option, reprlib.repr(value), _INSTEAD[option])


_INSTEAD = {
    "y": "nothing: the targets come from the loader; its decoder returns (x, y), or its dataset has labels",
    "class_weight": "nothing: Keras ignores it with a loader; pass aioloader.Loader(class_weight=...)",
    "sample_weight": "nothing: Keras ignores it with a loader; pass aioloader.Loader(sample_weight=...)",
    "batch_size": "nothing: Keras ignores it with a loader; pass aioloader.Loader(batch_size=...)",
    "validation_batch_size": "nothing: Keras ignores it with a loader; "
    "pass aioloader.Loader(batch_size=...) to the loader in validation_data=",
}


def epoch_iterator_of(frame: FrameType) -> object | None:
    """The Keras ``EpochIterator`` whose method ``frame`` runs, or None."""
    owner: object = frame.f_locals.get("self")
    for kind in type(owner).__mro__:
        if kind.__name__ == "EpochIterator" and kind.__module__.startswith("keras."):
            return owner
    return None


def read_call(frame: FrameType) -> KerasCall | None:
    """The call that ``frame`` opens, or None where ``frame`` is not ``EpochIterator.__init__``."""
    owner = epoch_iterator_of(frame)
    if owner is None or frame.f_code.co_name != "__init__":
        return None
    asked = frame.f_locals
    above = frame.f_back
    while above is not None and above.f_code.co_name == "__init__" and above.f_locals.get("self") is owner:
        above = above.f_back
    caller = {} if above is None else above.f_locals
    method = _method(above.f_code.co_name if above is not None else "", caller)
    return KerasCall(
        method=method,
        epochs=int(caller.get("epochs") or 0) if method == "fit" else 1,
        initial_epoch=int(caller.get("initial_epoch") or 0) if method == "fit" else 0,
        steps_per_epoch=asked.get("steps_per_epoch"),
        steps_per_execution=int(asked.get("steps_per_execution") or 1),
        refused=_refused(method, asked, caller),
        model=_weak(caller.get("self")),
    )


def _method(name: str, caller: Mapping[str, Any]) -> Method:
    if name == "fit":
        # fit makes its own iterator first, then, after the first epoch, the one for validation_data.
        return "validation" if caller.get("epoch_iterator") is not None else "fit"
    if name == "evaluate":
        return "evaluate"
    if name == "predict":
        return "predict"
    return "other"


def _refused(method: Method, asked: Mapping[str, Any], caller: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: asked.get(name) for name in ("y", "class_weight", "sample_weight", "batch_size")}
    if method == "validation":
        # batch_size= may be meant for fit's own arrays: Keras hands it on to the validation data.
        del given["batch_size"]
        given["validation_batch_size"] = caller.get("validation_batch_size")
    return {name: value for name, value in given.items() if value is not None}


def _weak(model: object) -> weakref.ReferenceType[Any] | None:
    try:
        return weakref.ref(model)
    except TypeError:  # None, or a class with slots
        return None
