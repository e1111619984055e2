"""The error tree: one drawing, pickles whole, says which sample and what next."""

from __future__ import annotations

import builtins
import copy
import pickle
import re
from typing import Any

import pytest

from aioloader import errors
from aioloader.errors import AioloaderError, OptionError, SampleError, StoreError


def subclasses(root: type[AioloaderError]) -> list[type[AioloaderError]]:
    """``root`` and all below it, parents first."""
    found = [root]
    for child in root.__subclasses__():
        found += subclasses(child)
    return found


# A test elsewhere may define subclasses of its own.
CLASSES = [cls for cls in subclasses(AioloaderError) if cls.__module__ == errors.__name__]
SAMPLE_CLASSES = [cls for cls in CLASSES if issubclass(cls, SampleError)]
NEVER_SKIPPED = {"AccessDeniedError", "ConnectFailedError", "TLSRejectedError"}

SAMPLE_FIELDS = ("404 Not Found", "http://host/a.jpg", "Check the key.", (10, 20), 3, "decode", 7)


def example(cls: type[AioloaderError]) -> AioloaderError:
    """An instance with every field set."""
    if issubclass(cls, SampleError):
        return cls(*SAMPLE_FIELDS)
    if issubclass(cls, OptionError):
        return cls("batch_size", "0", "an integer of at least 1")
    return cls("something is wrong; do this")


def drawn_tree() -> list[tuple[str, str, str | None]]:
    """(name, parent's name, built-in base in brackets) of every line of the drawing."""
    assert errors.__doc__ is not None
    drawn = []
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ((?:[│ ]   )*(?:[├└]── )?)(\w+Error)(?: \((\w+)\))?", line)
        if match:
            depth = len(match[1]) // 4
            path = [*path[:depth], match[2]]
            drawn.append((match[2], path[-2] if depth else "Exception", match[3]))
    return drawn


def test_the_drawing_is_the_tree() -> None:
    actual = []
    for cls in CLASSES:
        ours, *foreign = cls.__bases__
        actual.append((cls.__name__, ours.__name__, foreign[0].__name__ if foreign else None))
    assert sorted(drawn_tree(), key=str) == sorted(actual, key=str)


def test_the_module_defines_no_class_outside_the_tree() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined == {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_says_what_it_means(cls: type[AioloaderError]) -> None:
    assert cls.__doc__
    assert "__doc__" in vars(cls)
    assert cls.__name__.endswith("Error")
    assert not hasattr(builtins, cls.__name__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_type_fields_and_text(cls: type[AioloaderError], protocol: int) -> None:
    error = example(cls)
    restored = pickle.loads(pickle.dumps(error, protocol))
    assert type(restored) is cls
    assert str(restored) == str(error)
    assert restored.args == error.args
    assert vars(restored) == vars(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_copy_keeps_type_fields_and_text(cls: type[AioloaderError]) -> None:
    error = example(cls)
    copied = copy.copy(error)
    assert type(copied) is cls
    assert str(copied) == str(error)
    assert vars(copied) == vars(error)


@pytest.mark.parametrize("cls", SAMPLE_CLASSES, ids=lambda cls: cls.__name__)
def test_a_sample_error_names_sample_range_stage_attempts_and_next_step(cls: type[SampleError]) -> None:
    text = str(example(cls))
    assert text == ("sample 7 (http://host/a.jpg bytes 10-20): decode failed: 404 Not Found; attempt 3. Check the key.")


@pytest.mark.parametrize("cls", SAMPLE_CLASSES, ids=lambda cls: cls.__name__)
def test_a_sample_error_with_a_reason_alone_is_one_sentence(cls: type[SampleError]) -> None:
    error = cls("it went wrong")
    assert str(error) == f"{cls.stage_default} failed: it went wrong."
    assert error.stage == cls.stage_default


@pytest.mark.parametrize("fields", [SAMPLE_FIELDS[:count] for count in range(1, 8)], ids=len)
def test_a_store_error_is_an_os_error_without_errno_or_filename(fields: tuple[Any, ...]) -> None:
    # OSError takes two to five arguments for errno, text and filename; that must not happen here.
    error = StoreError(*fields)
    assert isinstance(error, OSError)
    assert error.errno is None
    assert error.filename is None
    assert error.reason == fields[0]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("cls", SAMPLE_CLASSES, ids=lambda cls: cls.__name__)
def test_with_sample_keeps_type_cause_context_and_traceback(cls: type[SampleError]) -> None:
    cause = OSError("the reason behind it")
    with pytest.raises(cls) as caught:
        raise cls("it went wrong", "a.jpg", "Look.") from cause
    error = caught.value
    named = error.with_sample(41)
    assert type(named) is cls
    assert (named.sample_id, named.reason, named.key, named.hint) == (41, "it went wrong", "a.jpg", "Look.")
    assert named.__cause__ is cause
    assert named.__suppress_context__
    assert named.__traceback__ is error.__traceback__
    assert error.sample_id is None
    assert str(named) == f"sample 41 (a.jpg): {cls.stage_default} failed: it went wrong. Look."


def test_with_sample_keeps_notes() -> None:
    error = errors.DecodeError("it went wrong")
    error.add_note("seen by the user's decoder")
    assert error.with_sample(1).__notes__ == ["seen by the user's decoder"]


def test_only_credentials_connections_and_certificates_are_never_skipped() -> None:
    assert {cls.__name__ for cls in SAMPLE_CLASSES if not cls.skippable} == NEVER_SKIPPED


def test_an_option_error_prints_got_and_expected() -> None:
    error = OptionError("batch_size", "0", "an integer of at least 1")
    assert str(error) == "batch_size=0: expected an integer of at least 1"
    assert isinstance(error, ValueError)
