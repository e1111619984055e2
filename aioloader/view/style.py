"""The page's style: light and dark, wide and narrow. Text is 12 px and larger everywhere."""

from __future__ import annotations

from typing import Final

LIGHT: Final = {
    "background": "#ffffff",
    "text": "#1b1f24",
    "quiet": "#59626c",
    "grid": "#e3e6ea",
    "idle": "#c9ced6",
    "event": "#8a6d00",
}
DARK: Final = {
    "background": "#14171b",
    "text": "#e8eaed",
    "quiet": "#a3abb5",
    "grid": "#2c3138",
    "idle": "#3a414b",
    "event": "#e0b83a",
}
LIGHT_SERIES: Final = ("#0062c4", "#dd7000", "#16a36a", "#9a3779", "#6a3a0a", "#5f93dd", "#30363d")
DARK_SERIES: Final = ("#4f9ff5", "#d9742b", "#4ed594", "#d3b0d0", "#e3ee5a", "#6a6fb0", "#75806f")
"""Told apart by colour-blind people too, and three times as light or dark as the background; a test computes both."""


def _variables(colours: dict[str, str], series: tuple[str, ...]) -> str:
    named = [f"--{name}:{colour}" for name, colour in colours.items()]
    return ";".join(named + [f"--s{index}:{colour}" for index, colour in enumerate(series)])


_SERIES_CLASSES = "\n".join(f".s{index}{{color:var(--s{index})}}" for index in range(len(LIGHT_SERIES)))

STYLE: Final = f""":root{{{_variables(LIGHT, LIGHT_SERIES)};color-scheme:light dark}}
@media (prefers-color-scheme:dark){{:root{{{_variables(DARK, DARK_SERIES)}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--background);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere;
-webkit-text-size-adjust:100%}}
main{{max-width:1120px;margin:0 auto;padding:20px 16px 48px}}
h1{{font-size:22px;line-height:1.25;margin:8px 0}}
h2{{font-size:18px;line-height:1.3;margin:40px 0 4px}}
section>p{{margin:0 0 12px;color:var(--quiet);max-width:75ch}}
.lead{{font-size:18px;line-height:1.45;max-width:65ch;margin:8px 0 20px}}
.facts{{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px 20px;margin:0}}
.facts dt{{font-size:13px;color:var(--quiet)}}
.facts dd{{margin:0;overflow-wrap:break-word;font-size:18px;font-variant-numeric:tabular-nums}}
footer{{margin-top:48px;font-size:13px;color:var(--quiet)}}
.chart{{margin:20px 0 0;container-type:inline-size}}
figcaption{{font-weight:600;margin-bottom:4px}}
.empty{{color:var(--quiet);margin:0}}
.legend{{display:flex;flex-wrap:wrap;gap:2px 18px;list-style:none;margin:0 0 6px;padding:0;font-size:13px}}
.legend li{{display:flex;align-items:center;gap:6px;min-width:0}}
.legend svg{{flex:none}}
.plot{{display:block;width:100%;overflow:visible;font-size:12px;font-variant-numeric:tabular-nums}}
.tick,.unit{{fill:var(--quiet)}}
.grid{{stroke:var(--grid);stroke-width:1}}
.drawing{{overflow:visible}}
.line{{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;vector-effect:non-scaling-stroke}}
.quiet{{color:var(--idle)}}
.d1.line{{stroke-dasharray:7 3}}
.d2.line{{stroke-dasharray:2 3}}
.d3.line{{stroke-dasharray:9 3 2 3}}
.d4.line{{stroke-dasharray:4 2}}
.dot{{fill:currentColor}}
.area,.bar,.column{{fill:currentColor}}
.column{{stroke:var(--background);stroke-width:1;vector-effect:non-scaling-stroke}}
.whisker{{fill:none;stroke:var(--text);stroke-width:1.5;vector-effect:non-scaling-stroke}}
.work{{fill:currentColor;fill-opacity:.55}}
.hint{{fill:transparent;pointer-events:all}}
.hint:hover{{fill:var(--quiet);fill-opacity:.14}}
.event{{stroke:var(--event);stroke-width:1.25;stroke-dasharray:3 3}}
.badge{{fill:var(--event);font-weight:700}}
.events{{margin:6px 0 0;padding-left:28px;font-size:13px}}
.events li::marker{{color:var(--event);font-weight:700}}
details{{font-size:13px;margin-top:2px}}
summary{{cursor:pointer;color:var(--quiet)}}
.cut{{display:flex;gap:10px;font-size:13px;line-height:18px;white-space:nowrap}}
.cut b,.cut i{{overflow:hidden;text-overflow:ellipsis;min-width:0}}
.cut span{{flex:none;font-variant-numeric:tabular-nums}}
.cut i{{flex:0 9 auto;font-style:normal;color:var(--quiet)}}
.scrolls{{overflow-x:auto;margin:12px 0 0}}
table{{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}}
th,td{{text-align:left;padding:5px 16px 5px 0;border-bottom:1px solid var(--grid);vertical-align:top;
overflow-wrap:normal}}
.long{{min-width:14em;overflow-wrap:anywhere}}
th{{color:var(--quiet);font-weight:600}}
td.number,th.number{{text-align:right;white-space:nowrap}}
@container (max-width:640px){{.extra{{display:none}}}}
{_SERIES_CLASSES}
"""
