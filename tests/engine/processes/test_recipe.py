"""What a loader's samples are made with: out of one process, into another, the same randomness."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aioloader.engine.processes.recipe import ChildRecipe, PackedRecipe
from aioloader.errors import OptionError
from aioloader.types import SampleRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.engine.job import Job

    MakeJob = Callable[..., Job]


def test_a_recipe_unpacks_to_the_same_store_decoder_and_transform(make_job: MakeJob) -> None:
    shift = 7
    job = make_job(decode=lambda data: np.array(int(data) + shift), transform=lambda decoded, rng: decoded * shift)
    packed = PackedRecipe(job)
    found = ChildRecipe(packed.payload, packed.seed)
    sample = SampleRef(index=3, key="0003")
    assert found.decoder.decode(b"3", sample, None) == 10
    assert found.transform is not None
    assert found.transform(np.array(2), np.random.default_rng(0)) == 14
    assert found.store.location == job.samples.store.location
    assert found.workspace.arena is None


def test_every_recipe_has_a_number_of_its_own(make_job: MakeJob) -> None:
    job = make_job()
    assert PackedRecipe(job).number != PackedRecipe(job).number


@pytest.mark.parametrize("option", ["decode", "transform"])
def test_what_cannot_be_packed_is_named(make_job: MakeJob, option: str) -> None:
    lock = threading.Lock()
    with pytest.raises(OptionError, match="use_multiprocessing=False") as caught:
        PackedRecipe(make_job(**{option: lambda *arguments: lock}))
    assert caught.value.option == option
    assert isinstance(caught.value.__cause__, TypeError)


def test_the_randomness_of_a_sample_is_that_of_the_training_process(make_job: MakeJob) -> None:
    def draw(data: bytes, sample: Any, rng: np.random.Generator) -> Any:
        return rng.random()

    job = make_job(decode=draw, seed=11)
    packed = PackedRecipe(job)
    found = ChildRecipe(packed.payload, packed.seed)
    for epoch, sample_id in ((0, 0), (0, 1), (5, 1)):
        ours, theirs = job.rng(epoch, sample_id), found.rng(epoch, sample_id)
        assert ours is not None
        assert theirs is not None
        assert ours.random(4).tolist() == theirs.random(4).tolist()


def test_nobody_pays_for_randomness_that_is_not_drawn_from(make_job: MakeJob) -> None:
    packed = PackedRecipe(make_job())
    assert ChildRecipe(packed.payload, packed.seed).rng(0, 0) is None
