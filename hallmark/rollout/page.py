"""A timeline as one static page for a person on call: no script, no network, and everything from outside escaped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from html import escape

from hallmark.rollout import chart
from hallmark.rollout.chart import SIGNS, TURNS, clock
from hallmark.rollout.timeline import Entry, Timeline

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --faint: #667077; --rule: #e3e6e8; --soft: #f5f6f7;
  --stable: #2558c9; --canary: #b4470a; --good: #17703a; --bad: #b3202c; --note: #7a5b00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e8eaec; --faint: #98a2a9; --rule: #2c3237;
  --soft: #1c2024; --stable: #86adff; --canary: #ff9d5c; --good: #5fca87; --bad: #ff7b82; --note: #e2bd55; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: .2rem 0; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .5rem; }
p { margin: .3rem 0; } .faint, small { color: var(--faint); }
.last { border-left: 4px solid var(--faint); padding: .5rem .8rem; background: var(--soft); margin: .8rem 0; }
.last.promote { border-color: var(--good); } .last.rollback, .last.trouble { border-color: var(--bad); }
.last.canary, .last.shadow, .last.hold { border-color: var(--canary); }
.chart { overflow-x: auto; } svg { display: block; width: 100%; min-width: 44rem; height: auto; }
.keys { display: flex; flex-wrap: wrap; gap: .3rem 1rem; list-style: none; margin: .4rem 0; padding: 0; font-size: .9rem; }
.keys svg { display: inline; width: 2rem; min-width: 0; height: 1.2rem; vertical-align: middle; }
svg text { font: 12px system-ui, sans-serif; fill: var(--faint); }
svg .name { font-size: 13px; font-weight: 600; fill: var(--ink); } svg .value { text-anchor: end; }
svg .name, svg .version { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
svg .hour, svg .none { text-anchor: middle; } svg .version { fill: var(--canary); font-weight: 600; }
.grid { stroke: var(--rule); stroke-width: 1; } .hover { fill: transparent; } .hover:hover { fill: var(--faint); opacity: .18; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .line.stable { stroke: var(--stable); }
.line.canary { stroke: var(--canary); stroke-dasharray: 6 3; } .area { fill: var(--canary); opacity: .16; }
.dot.stable { fill: var(--stable); } .dot.canary { fill: var(--canary); }
.turn { stroke: var(--faint); stroke-width: 1.5; } .turn.promote { stroke: var(--good); } .turn.rollback { stroke: var(--bad); }
.sign circle { fill: var(--faint); } .sign text { fill: var(--paper); font-weight: 700; text-anchor: middle; }
.sign.canary circle, .sign.shadow circle { fill: var(--canary); } .sign.promote circle { fill: var(--good); }
.sign.rollback circle, .sign.trouble circle { fill: var(--bad); } .sign.drift circle { fill: var(--note); }
details { border-top: 1px solid var(--rule); padding: .45rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
details:target { background: var(--soft); }
.kind { font-weight: 600; } .promote .kind { color: var(--good); } .rollback .kind, .trouble .kind { color: var(--bad); }
.canary .kind, .shadow .kind { color: var(--canary); } .drift .kind { color: var(--note); }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-top: 1px solid var(--rule); white-space: nowrap; }
td:last-child { white-space: normal; overflow-wrap: anywhere; width: 99%; }
td.against { color: var(--bad); font-weight: 600; } td.wait { color: var(--note); font-weight: 600; } td.ok { color: var(--good); }
code { font-size: .88em; overflow-wrap: anywhere; }
"""
_LINE = '<svg viewBox="0 0 40 12" aria-hidden="true"><path class="line {0}" d="M2,6H38"/></svg>{1}'


def page(timeline: Timeline, *, domain: str, made: datetime, zone: tzinfo = UTC) -> str:
    """The page as HTML. Times are in `zone`; `made` is when the timeline was read."""
    name = escape(domain)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{name}: timeline</title><style>{_STYLE}</style></head><body>",
        f"<h1>{name}: what happened, and why</h1>",
        f'<p class="faint">As of {clock(made, zone)}; all times are {escape(made.astimezone(zone).tzname() or "")}.</p>',
        *_last(timeline, zone),
        *_drawn(timeline, zone),
        *_listed(timeline, zone),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _last(timeline: Timeline, zone: tzinfo) -> Iterator[str]:
    """How things stand, first: the newest entry, and before it the newest of a rollout."""
    entries = timeline.entries
    if not entries:
        yield '<p class="last">Nothing was recorded yet: no drift, no training, no rollout.</p>'
        return
    turn = next((entry for entry in reversed(entries) if entry.kind in (*TURNS, "hold")), None)
    told = {"The last about a rollout": turn, "The last that happened": entries[-1]}
    for words, entry in told.items():
        if entry is None or (entry is entries[-1] and words == "The last about a rollout"):
            continue
        yield (
            f'<div class="last {entry.kind}"><p class="faint">{words}, {clock(entry.at, zone)}</p>'
            f"<p><strong>{escape(SIGNS[entry.kind][1])}</strong>{_which(entry)}: {escape(entry.text)}</p></div>"
        )


def _drawn(timeline: Timeline, zone: tzinfo) -> Iterator[str]:
    drawn = chart.svg(timeline, zone=zone)
    if not drawn:
        return
    used = dict.fromkeys(entry.kind for entry in timeline.entries)
    yield "<h2>Over time</h2>"
    yield '<ul class="keys">'
    yield f"<li>{_LINE.format('stable', ' stable')}</li><li>{_LINE.format('canary', ' candidate')}</li>"
    for kind, (letter, word) in SIGNS.items():
        if kind in used:
            sign = f'<svg class="sign {kind}" viewBox="0 0 24 24" aria-hidden="true"><g class="sign {kind}"><circle cx="12" cy="12" r="10"/>'
            yield f'<li>{sign}<text x="12" y="16.5">{letter}</text></g></svg>{escape(word)}</li>'
    yield "</ul>"
    yield f'<div class="chart" tabindex="0" role="group" aria-label="Chart, scrolls sideways">{drawn}</div>'
    yield '<p class="faint">Rest the pointer on the chart for the values; a sign leads to its entry.</p>'


def _listed(timeline: Timeline, zone: tzinfo) -> Iterator[str]:
    if not timeline.entries:
        return
    yield "<h2>Entries, the newest first</h2>"
    for place in reversed(range(len(timeline.entries))):
        yield from _entry(timeline.entries[place], place, zone)


def _entry(entry: Entry, place: int, zone: tzinfo) -> Iterator[str]:
    whole = " open" if entry.kind == "rollback" else ""
    yield (
        f'<details id="entry-{place}" class="{entry.kind}"{whole}><summary><small>{clock(entry.at, zone)}</small> '
        f'<span class="kind">{escape(SIGNS[entry.kind][1])}</span>{_which(entry)}: {escape(entry.text)}</summary>'
    )
    if entry.correlation:
        yield f'<p class="faint">correlation id <code>{escape(entry.correlation)}</code></p>'
    if entry.reasons:
        yield '<table><thead><tr><th scope="col">rule</th><th scope="col">says</th><th scope="col">because</th></tr></thead><tbody>'
        for reason in entry.reasons:
            yield (
                f'<tr><td>{escape(reason.rule)}</td><td class="{reason.outcome}">{reason.outcome}</td>'
                f"<td>{escape(reason.text)}</td></tr>"
            )
        yield "</tbody></table>"
    yield "</details>"


def _which(entry: Entry) -> str:
    words = [f"version {entry.version}"] if entry.version is not None else []
    if entry.percent is not None:
        words.append(f"{entry.percent}%")
    return f" <small>({', '.join(words)})</small>" if words else ""
