"""Which slot a sample goes to: fixed by its position, or the next free one as samples arrive.

Both answer the same questions about tickets, under the stream's lock. A ticket numbers a sample of the stream in the
order of fetching, from 0 across its epochs; `Plan` says what position and sample it is.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Protocol

import numpy as np

from aioloader.engine.step import Step
from aioloader.errors import InvariantError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aioloader.order.permutation import EpochOrder
    from aioloader.order.ranks import RankPlan

NOT_PLACED = -1


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """The tickets of one step's length: their positions and sample ids, of which the first ``n_real`` count."""

    epoch: int
    number: int
    positions: NDArray[np.int64]
    sample_ids: NDArray[np.int64]
    n_real: int


class Plan:
    """Tickets to positions and samples, from step ``first_step`` of ``first_epoch`` on. Not locked.

    Made step by step, when first asked for. Epochs of the stream count from 0, the first of them may be cut short.
    """

    def __init__(self, order: EpochOrder, ranks: RankPlan, first_epoch: int, first_step: int = 0) -> None:
        self._order = order
        self._ranks = ranks
        self._first_epoch = first_epoch
        self._first_step = first_step
        self._skipped = first_step * ranks.batch_size  # only an epoch's last step is short, and it is no start
        self._made: dict[int, PlannedStep] = {}

    def locate(self, ticket: int) -> tuple[int, int]:
        """The index of the planned step, counted in the stream, and the place in it."""
        epochs, within = divmod(ticket + self._skipped, self._ranks.slots_per_epoch)
        number, place = divmod(within, self._ranks.batch_size)
        return self.first_index(epochs) + number, place

    def first_ticket(self, index: int) -> int:
        """The ticket that begins step ``index`` of the stream."""
        epochs, number = divmod(index + self._first_step, self._ranks.steps)
        return epochs * self._ranks.slots_per_epoch + number * self._ranks.batch_size - self._skipped

    def tickets_until(self, last_epoch: int) -> int:
        """How many there are up to the end of ``last_epoch``."""
        epochs = last_epoch + 1 - self._first_epoch
        return max(epochs * self._ranks.slots_per_epoch - self._skipped, 0)

    def epoch_and_number(self, index: int) -> tuple[int, int]:
        """What step ``index`` of the stream is called outside."""
        epochs, number = divmod(index + self._first_step, self._ranks.steps)
        return self._first_epoch + epochs, number

    def epoch_of(self, index: int) -> int:
        """The epoch of the stream that step ``index`` belongs to."""
        return (index + self._first_step) // self._ranks.steps

    def epoch_of_ticket(self, ticket: int) -> int:
        """The epoch of the stream that a ticket belongs to."""
        return (ticket + self._skipped) // self._ranks.slots_per_epoch

    def first_index(self, epoch: int) -> int:
        """The index of step 0 of the stream's ``epoch``; negative where that lies before the stream."""
        return epoch * self._ranks.steps - self._first_step

    def slots_before(self, epoch: int) -> int:
        """Slots of the stream's ``epoch`` that lie before the stream."""
        return 0 if epoch else self._skipped

    def step(self, index: int) -> PlannedStep:
        """Step ``index`` of the stream as it is planned."""
        planned = self._made.get(index)
        if planned is None:
            epoch, number = self.epoch_and_number(index)
            part = self._ranks.slice(number)
            ids = self._order.ids(epoch, part.positions)
            planned = self._made[index] = PlannedStep(epoch, number, part.positions, ids, part.n_real)
        return planned

    def forget_before(self, index: int) -> None:
        """Steps below ``index`` are not asked for again."""
        for old in [made for made in self._made if made < index]:
            del self._made[old]


class Placing(Protocol):
    """One order's rule."""

    def fetch_limit(self, next_index: int) -> int | None:
        """Tickets from here on must wait whatever the look-ahead says; None without such a bound."""
        ...

    def set_window(self, samples: int) -> None:
        """How many samples may be out of order from now on."""
        ...

    def place(self, ticket: int) -> tuple[Step, int]:
        """The step and slot of a ticket; where the order leaves that open, the next free slot becomes its own."""
        ...

    def is_placed(self, ticket: int) -> bool:
        """Whether its slot is decided."""
        ...

    def arrived(self, ticket: int) -> None:
        """The ticket's sample waits for a decoder."""
        ...

    def next_arrived(self, open_until: int) -> int | None:
        """Take the ticket to decode next: one whose step is below ``open_until``; None where there is none."""
        ...

    def take_arrived(self, ticket: int) -> bool:
        """Take this very ticket; False if it has not arrived."""
        ...

    def settled(self, ticket: int) -> None:
        """The ticket's slot is filled, or failed for good."""
        ...

    def take_step(self, index: int) -> None:
        """The consumer took step ``index``."""
        ...


class StrictPlacing:
    """The slot is the position's: batches are a pure function of seed and epoch, whatever arrives when."""

    def __init__(self, plan: Plan, steps: dict[int, Step]) -> None:
        self._plan = plan
        self._steps = steps
        self._arrived: list[int] = []

    def fetch_limit(self, next_index: int) -> None:
        """No bound but the look-ahead's."""

    def set_window(self, samples: int) -> None:
        """None is."""

    def place(self, ticket: int) -> tuple[Step, int]:
        """By arithmetic."""
        index, slot = self._plan.locate(ticket)
        step = self._steps.get(index)
        if step is None:
            planned = self._plan.step(index)
            step = self._steps[index] = Step(
                index=index,
                epoch=planned.epoch,
                number=planned.number,
                positions=planned.positions,
                n_real=planned.n_real,
                sample_ids=planned.sample_ids,
                remaining=len(planned.positions),
            )
        return step, slot

    def is_placed(self, ticket: int) -> bool:
        """Always."""
        return True

    def arrived(self, ticket: int) -> None:
        """Into the heap: the oldest is decoded first."""
        heappush(self._arrived, ticket)

    def next_arrived(self, open_until: int) -> int | None:
        """The oldest, if its step is open."""
        if not self._arrived or self._plan.locate(self._arrived[0])[0] >= open_until:
            return None
        return heappop(self._arrived)

    def take_arrived(self, ticket: int) -> bool:
        """Only asked for the oldest."""
        if not self._arrived or self._arrived[0] != ticket:
            return False
        heappop(self._arrived)
        return True

    def settled(self, ticket: int) -> None:
        """Nothing to keep: the step counts."""

    def take_step(self, index: int) -> None:
        """Its plan is not needed again."""
        self._plan.forget_before(index + 1)


class WindowPlacing:
    """Whichever sample arrives first takes the next slot of its epoch, at most ``window`` samples out of order.

    What is settled is a watermark (every ticket below it) and the set of those above it: less than ``window`` of them.
    Samples that stand in for another rank's keep their planned slots at the end of the epoch.
    """

    def __init__(self, plan: Plan, ranks: RankPlan, steps: dict[int, Step], window: int) -> None:
        self._plan = plan
        self._ranks = ranks
        self._steps = steps
        self._window = window
        self._places: dict[int, tuple[int, int]] = {}
        self._filled: dict[int, int] = {}  # epoch of the stream: real slots given away
        self._arrived: dict[int, deque[int]] = {}  # epoch of the stream: tickets, first come first
        self._arrived_stand_ins: list[int] = []
        self._watermark = 0
        self._above: set[int] = set()

    def fetch_limit(self, next_index: int) -> int:
        """``window`` samples beyond the oldest that is not settled."""
        return self._watermark + self._window

    def set_window(self, samples: int) -> None:
        """From the watermark on."""
        self._window = samples

    def place(self, ticket: int) -> tuple[Step, int]:
        """What the ticket was given before, or the next free slot of its epoch."""
        planned_index, planned_slot = self._plan.locate(ticket)
        planned = self._plan.step(planned_index)
        place = self._places.get(ticket)
        if place is None:
            if planned_slot >= planned.n_real:
                place = planned_index, planned_slot
            else:
                epoch = self._plan.epoch_of(planned_index)
                filled = self._filled_of(epoch)
                self._filled[epoch] = filled + 1
                number, slot = divmod(filled, self._ranks.batch_size)
                place = self._plan.first_index(epoch) + number, slot
            self._places[ticket] = place
        index, slot = place
        step = self._steps.get(index) or self._open(index)
        step.positions[slot] = planned.positions[planned_slot]
        step.sample_ids[slot] = planned.sample_ids[planned_slot]
        return step, slot

    def _filled_of(self, epoch: int) -> int:
        return self._filled.get(epoch, self._plan.slots_before(epoch))

    def _open(self, index: int) -> Step:
        planned = self._plan.step(index)
        slots = len(planned.positions)
        step = self._steps[index] = Step(
            index=index,
            epoch=planned.epoch,
            number=planned.number,
            positions=np.full(slots, NOT_PLACED, np.int64),
            n_real=planned.n_real,
            sample_ids=np.full(slots, NOT_PLACED, np.int64),
            remaining=slots,
        )
        return step

    def is_placed(self, ticket: int) -> bool:
        """Once `place` was called for it, until it is settled."""
        return ticket in self._places

    def arrived(self, ticket: int) -> None:
        """At the end of its epoch's line."""
        if self._is_real(ticket):
            self._arrived.setdefault(self._plan.epoch_of_ticket(ticket), deque()).append(ticket)
        else:
            heappush(self._arrived_stand_ins, ticket)

    def next_arrived(self, open_until: int) -> int | None:
        """The first in line whose slot lies in an open step; older epochs first."""
        for epoch in sorted(self._arrived):
            next_index = self._plan.first_index(epoch) + self._filled_of(epoch) // self._ranks.batch_size
            if next_index >= open_until:
                break
            line = self._arrived[epoch]
            ticket = line.popleft()
            if not line:
                del self._arrived[epoch]
            return ticket
        if self._arrived_stand_ins and self._plan.locate(self._arrived_stand_ins[0])[0] < open_until:
            return heappop(self._arrived_stand_ins)
        return None

    def _is_real(self, ticket: int) -> bool:
        index, slot = self._plan.locate(ticket)
        return slot < self._plan.step(index).n_real

    def take_arrived(self, ticket: int) -> bool:
        """From wherever in the line it stands."""
        if ticket in self._arrived_stand_ins:
            self._arrived_stand_ins.remove(ticket)
            heapify(self._arrived_stand_ins)
            return True
        epoch = self._plan.epoch_of_ticket(ticket)
        line = self._arrived.get(epoch, ())
        if ticket not in line:
            return False
        self._arrived[epoch].remove(ticket)
        if not self._arrived[epoch]:
            del self._arrived[epoch]
        return True

    def settled(self, ticket: int) -> None:
        """Raise the watermark as far as it goes. Raises `InvariantError` for a ticket that was settled before."""
        if ticket < self._watermark or ticket in self._above:
            raise InvariantError(f"sample number {ticket} of the stream was delivered twice; please report this")
        self._places.pop(ticket, None)
        self._above.add(ticket)
        while self._watermark in self._above:
            self._above.remove(self._watermark)
            self._watermark += 1

    def take_step(self, index: int) -> None:
        """Plans that neither a ticket nor a step needs go."""
        self._plan.forget_before(min(index + 1, self._plan.locate(self._watermark)[0]))
        epoch = self._plan.epoch_of(index + 1)
        for old in [known for known in self._filled if known < epoch]:
            del self._filled[old]
