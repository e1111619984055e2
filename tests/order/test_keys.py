"""Keys and generators: frozen values, and no two purposes or counters that share one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aioloader.order import keys
from aioloader.order.keys import derive_key, mix_array, sample_rng

U64 = st.integers(0, 2**64 - 1)


def test_keys_are_frozen_for_every_later_release() -> None:
    assert derive_key(0, 1) == 0xE220A8397B1DCDAF  # SplitMix64's first output for seed 0
    assert derive_key(0, 1, 0) == 0xA706DD2F4D197E6F
    assert derive_key(1, 1, 3) == 0xC7061B1B93322BA9
    assert derive_key(2**64 - 1, 2, 5, 7) == 0xF3FE16438C12C45D


def test_the_random_numbers_of_a_sample_are_frozen() -> None:
    # The bit generator's words: numpy promises those, while what `integers` makes of them may change.
    assert sample_rng(0, 0, 0).bit_generator.random_raw(3).tolist() == [
        14816466992632436148,
        5271715651864095632,
        5505416532748939223,
    ]
    assert sample_rng(1, 3, 7).bit_generator.random_raw(2).tolist() == [15547775267541992038, 13160035260632064955]


def test_a_sample_has_the_same_numbers_whenever_it_is_asked_and_others_have_others() -> None:
    drawn = {
        (seed, epoch, sample): tuple(sample_rng(seed, epoch, sample).integers(0, 2**62, 4).tolist())
        for seed in range(4)
        for epoch in range(4)
        for sample in range(50)
    }
    assert len(set(drawn.values())) == len(drawn)
    assert tuple(sample_rng(3, 1, 20).integers(0, 2**62, 4).tolist()) == drawn[3, 1, 20]


def test_no_purpose_shares_a_key_with_another() -> None:
    purposes = (keys.PURPOSE_ORDER, keys.PURPOSE_SAMPLE, keys.PURPOSE_STAND_IN, keys.PURPOSE_ROUND)
    found = {
        derive_key(seed, purpose, *counters)
        for seed in range(20)
        for purpose in purposes
        for counters in [(), *((a,) for a in range(10)), *((a, b) for a in range(10) for b in range(10))]
    }
    assert len(found) == 20 * len(purposes) * 111


@given(key=U64, values=st.lists(U64, min_size=1, max_size=20, unique=True))
def test_mixing_an_array_is_a_bijection_and_agrees_with_the_single_form(key: int, values: list[int]) -> None:
    given_values = np.array(values, dtype=np.uint64)
    before = given_values.copy()
    mixed = mix_array(given_values, key)
    assert len(set(mixed.tolist())) == len(values)
    assert mixed.tolist() == [keys._finalize((value * keys._GOLDEN + key) % 2**64) for value in values]
    assert np.array_equal(given_values, before)
