"""The charts, as markup for `page.page`; its style gives them their colours for light and dark."""

from __future__ import annotations

from aioloader.view.areas import area_chart as area_chart
from aioloader.view.bars import bar_chart as bar_chart
from aioloader.view.bins import histogram_chart as histogram_chart
from aioloader.view.lines import line_chart as line_chart
from aioloader.view.quantity import BYTES as BYTES
from aioloader.view.quantity import BYTES_PER_S as BYTES_PER_S
from aioloader.view.quantity import LATENCY as LATENCY
from aioloader.view.quantity import SAMPLES as SAMPLES
from aioloader.view.quantity import SAMPLES_PER_S as SAMPLES_PER_S
from aioloader.view.quantity import SHARE as SHARE
from aioloader.view.quantity import TIME as TIME
from aioloader.view.quantity import Quantity as Quantity
from aioloader.view.quantity import Unit as Unit
from aioloader.view.quantity import count_of as count_of
from aioloader.view.series import Bar as Bar
from aioloader.view.series import Event as Event
from aioloader.view.series import Layer as Layer
from aioloader.view.series import Series as Series
from aioloader.view.series import Work as Work
from aioloader.view.stages import stage_chart as stage_chart
