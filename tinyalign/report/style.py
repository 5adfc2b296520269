"""The report's style sheet: calm, system fonts, light and dark, print, and no line wider than the screen."""

from __future__ import annotations

from collections.abc import Mapping

# Every ink is read on its ground at a contrast of at least 4.5 (tests compute it).
LIGHT: Mapping[str, str] = {
    "bg": "#faf9f7", "card": "#ffffff", "ink": "#1d2125", "muted": "#596069", "line": "#dcdad5",
    "soft": "#f2f1ed", "link": "#0a569f", "accent": "#3d5a80",
    "good": "#17652f", "good-bg": "#e6f3e9", "bad": "#a1211d", "bad-bg": "#fbe9e7",
    "open": "#7a5000", "open-bg": "#faf1d9", "neutral": "#565c64", "neutral-bg": "#eeedea",
    "ins": "#0f5a28", "ins-bg": "#d9efdf", "del": "#8f1d1a", "del-bg": "#f8dedb", "mark-bg": "#ffe08a",
    "mark": "#1d2125",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "bg": "#15171a", "card": "#1c1f23", "ink": "#e7e5e1", "muted": "#a5abb3", "line": "#363a40",
    "soft": "#24282d", "link": "#8dbcf2", "accent": "#9db8dc",
    "good": "#83d59b", "good-bg": "#17311f", "bad": "#ff9f96", "bad-bg": "#3c1d1b",
    "open": "#eac26a", "open-bg": "#362b12", "neutral": "#b3b8be", "neutral-bg": "#2b2f34",
    "ins": "#9be0ae", "ins-bg": "#1b3d27", "del": "#ffb0a8", "del-bg": "#48211f", "mark-bg": "#6b5310",
    "mark": "#fff6dc",
}  # fmt: skip

# Ink and ground as they meet on the page.
PAIRS = (
    *((ink, ground) for ink in ("ink", "muted", "link", "good", "bad", "open", "neutral")
      for ground in ("bg", "card", "soft")),
    ("good", "good-bg"), ("bad", "bad-bg"), ("open", "open-bg"), ("neutral", "neutral-bg"),
    ("ink", "good-bg"), ("ink", "bad-bg"), ("ink", "open-bg"), ("muted", "good-bg"),
    ("ins", "ins-bg"), ("del", "del-bg"), ("mark", "mark-bg"),
)  # fmt: skip


def _variables(palette: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in palette.items())


def _status(name: str) -> str:
    return (
        f".badge.{name},.hero.{name}{{--c:var(--{name});--b:var(--{name}-bg)}}"
        f".shape.{name}{{fill:var(--{name}-bg);stroke:var(--{name})}}.sign.{name}{{stroke:var(--{name})}}"
        f".interval.{name}{{stroke:var(--{name})}}.dot.{name}{{fill:var(--{name})}}"
        f".leaf.{name}{{border-left-color:var(--{name})}}"
    )


_BASE = """
*{box-sizing:border-box}
html{font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;color-scheme:light dark;
 background:var(--bg);color:var(--ink);-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;overflow-wrap:anywhere}
header,main,footer{max-width:60rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.25rem;color:var(--muted);font-size:.875rem}
main{padding-bottom:2rem}
footer{padding-top:1.25rem;padding-bottom:3rem;color:var(--muted);font-size:.875rem;
 border-top:1px solid var(--line)}
h1,h2,h3,h4{line-height:1.3;margin:0;text-wrap:pretty;font-weight:650}
h1{font-size:clamp(1.3rem,1rem + 1.6vw,1.8rem);letter-spacing:-.01em}
h2{font-size:1.25rem;margin:3rem 0 1rem}h3{font-size:1.0625rem}h4{font-size:.9375rem;margin:1.5rem 0 .5rem}
p{margin:.6rem 0}ul{margin:.6rem 0;padding-left:1.25rem}li{margin:.3rem 0}
a{color:var(--link);text-underline-offset:.15em;text-decoration-thickness:1px}
a:focus-visible,summary:focus-visible,pre:focus-visible{outline:2px solid var(--link);outline-offset:2px;
 border-radius:3px}
svg a:focus-visible .hit{stroke:var(--link);stroke-width:2}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--card);padding:.5rem 1rem}
.muted,.facts dt,figcaption,.crumb{color:var(--muted)}
.clauses{list-style:none;padding:0;font-size:.9375rem}
.small,figcaption,.crumb{font-size:.875rem}
code,pre,.hash{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
 font-size:.8125rem}
pre{background:var(--soft);border-radius:6px;padding:.75rem 1rem;margin:.6rem 0;white-space:pre-wrap}
.hero{margin-top:1rem;padding:1.5rem;border-radius:12px;background:var(--b);border:1px solid var(--c)}
.hero .word{color:var(--c)}.hero .word .icon{display:inline-block;vertical-align:-.2em;margin-right:.5rem}
.hero .tally{margin:.9rem 0 0}
.hero .badge{background:var(--card);margin-right:.2rem}
.hero ul{list-style:none;padding:0;margin:.5rem 0 0}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;padding:0;margin:1rem 0 0;
 font-size:.9375rem}
.badge{display:inline-block;color:var(--c);background:var(--b);border-radius:99px;padding:.05rem .6rem;
 font-size:.8125rem;font-weight:600;white-space:nowrap}
.card,.leaf{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.25rem}
.leaf{border-left-width:4px;margin:1rem 0}
.leaf:target,.card:target{box-shadow:0 0 0 2px var(--link)}
.leaf header{padding:0;margin:0;color:inherit;max-width:none;display:grid;grid-template-columns:auto 1fr;
 gap:.2rem .7rem;align-items:start;font-size:1rem}
.leaf header .icon{margin-top:.1rem}.leaf header .crumb{grid-column:2}.leaf header .badge{margin-left:.4rem}
.icon{flex:none;display:block}
.stack{display:grid;gap:1rem;align-content:start}.stack h3:not(:first-child){margin-top:1.25rem}
.split{display:grid;gap:1rem 2rem;grid-template-columns:minmax(0,1fr)}
.facts{display:grid;grid-template-columns:minmax(5.5rem,auto) minmax(0,1fr);gap:.3rem 1rem;margin:.6rem 0;
 font-size:.9375rem}
.facts dd{margin:0}.facts dt{font-size:.875rem}
figure{margin:.8rem 0 0}figcaption{margin-top:.25rem}
.figure{display:block;width:100%;max-width:32rem;height:auto;font-size:12px}
svg text{font-family:inherit;fill:var(--ink)}
svg .tick,svg .crumb,svg .how{fill:var(--muted)}svg .tick{font-size:11px}
svg .value,svg .series{font-size:12px}svg .value{font-weight:600}
svg .margin-label{font-size:12px;fill:var(--muted)}
.holds{fill:var(--good-bg)}.margin{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:3 2}
.axis{stroke:var(--line)}.zero{stroke:var(--muted);stroke-dasharray:2 3}
.interval{fill:none;stroke-width:2.5;stroke-linecap:round;stroke-linejoin:round}
.bar{fill:var(--accent)}.track{fill:var(--soft)}
.shape{stroke-width:1.5}.sign{fill:none;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.tree{display:block;width:100%;height:auto}.tree.narrow{max-width:36rem}.tree.wide{display:none}
.tree .branch{fill:none;stroke:var(--line);stroke-width:1.5}.tree a .id{fill:var(--link)}
.tree a:hover .name{text-decoration:underline}.tree .hit{fill:transparent}
.tree .id{font-weight:650}.tree .got{fill:var(--ink)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.4rem 1.2rem;padding:0;margin:1rem 0 0;
 font-size:.875rem;color:var(--muted)}
.legend li{display:flex;align-items:center;gap:.4rem;margin:0}
.text{white-space:pre-wrap;margin:.3rem 0 0;font-family:Georgia,"Times New Roman",serif;line-height:1.65}
.text .prompt{color:var(--muted)}
ins{color:var(--ins);background:var(--ins-bg);text-decoration:underline;text-decoration-thickness:1px;
 text-underline-offset:.2em;border-radius:2px}
del{color:var(--del);background:var(--del-bg);text-decoration:line-through;border-radius:2px}
mark{color:var(--mark);background:var(--mark-bg);font-weight:600;border-radius:2px;
 border-bottom:2px solid currentColor}
.story{margin:1rem 0}.counter{border-top:1px solid var(--line);margin-top:1rem;padding-top:1rem}
.label{font-size:.8125rem;font-weight:600;color:var(--muted);margin:.8rem 0 0}
summary{cursor:pointer;color:var(--link);padding:.25rem 0}
details{margin-top:.8rem}
.changes{max-height:22rem;overflow:auto}
@media(min-width:46rem){.pair{grid-template-columns:minmax(0,1fr) minmax(0,1fr)}
 .tree.wide{display:block}.tree.narrow{display:none}
 .result{grid-template-columns:minmax(0,1.15fr) minmax(0,1fr);align-items:start}}
@media(max-width:30rem){header,main,footer{padding-left:1rem;padding-right:1rem}.hero,.card,.leaf{padding:1rem}}
@media print{:root{--bg:#fff}html{font-size:10.5pt}.skip,nav{display:none}
 header,main,footer{max-width:none;padding:0}
 .leaf,.hero,.story,figure,.counter{break-inside:avoid}h2,h3,h4{break-after:avoid}
 details::details-content{content-visibility:visible;block-size:auto}.changes{max-height:none}
 .hero,.badge,.shape,.holds,.bar,mark,ins,del{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def style_sheet() -> str:
    """The whole style sheet; dark colours are for screens only."""
    return (
        f":root{{{_variables(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
        + _BASE
        + "".join(_status(name) for name in ("good", "bad", "open", "neutral"))
    )
