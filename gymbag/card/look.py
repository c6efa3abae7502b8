# SPDX-License-Identifier: LGPL-3.0-or-later
"""How a card looks, by day and by night; it names no font, image or sheet from elsewhere."""

STYLE = """\
:root {
  color-scheme: light dark;
  --page: #f6f5f1; --sheet: #ffffff; --ink: #1c2329; --soft: #66717a; --rule: #e3e1da;
  --accent: #0f766e; --band: rgba(15, 118, 110, .16); --mean: #b45309; --code: #f3f2ed;
  --share-0: #0f766e; --share-1: #d99a2b; --share-2: #5b7c99; --share-3: #9c6b98;
  --share-4: #b4534b; --share-5: #9aa3a9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101416; --sheet: #181d20; --ink: #e7eaeb; --soft: #94a0a7; --rule: #2a3136;
    --accent: #45b8ac; --band: rgba(69, 184, 172, .18); --mean: #e5a84b; --code: #20262a;
    --share-0: #45b8ac; --share-1: #e5b45c; --share-2: #86a9c6; --share-3: #c394bf;
    --share-4: #dd827a; --share-5: #6d777d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2.5rem 1.25rem 3rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 1080px; margin: 0 auto; }
header { margin-bottom: 1.75rem; }
.kind { margin: 0; color: var(--accent); font-size: .8rem; font-weight: 600;
  letter-spacing: .08em; text-transform: uppercase; }
h1 { margin: .1rem 0 .35rem; font-size: 2.3rem; line-height: 1.15; font-weight: 680;
  letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { margin: 0 0 .8rem; font-size: .95rem; font-weight: 620; }
.about { margin: 0 0 .4rem; max-width: 46rem; font-size: 1.08rem; white-space: pre-line;
  overflow-wrap: anywhere; }
.soft { margin: 0; color: var(--soft); font-size: .9rem; overflow-wrap: anywhere; }
.tiles, .plots { display: grid; gap: 1rem; margin-bottom: 1rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
.tile, section { background: var(--sheet); border: 1px solid var(--rule); border-radius: 12px; }
.tile { padding: .9rem 1.1rem 1rem; }
.tile b { display: block; font-size: 1.65rem; line-height: 1.2; font-weight: 640;
  letter-spacing: -.015em; }
.tile span { color: var(--soft); font-size: .85rem; }
.tile .what { display: block; margin-bottom: .15rem; }
section { padding: 1.1rem 1.25rem 1.25rem; margin-bottom: 1rem; overflow-x: auto; }
.plots section { margin: 0; }
.note { margin: 0 0 1rem; }
svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--rule); stroke-width: 1; }
.tick { fill: var(--soft); font-size: 12px; }
.unit { font-style: italic; }
.bar { fill: var(--accent); }
.mean { stroke: var(--mean); stroke-width: 1.5; stroke-dasharray: 4 3; }
.band { fill: var(--band); }
.line { fill: none; stroke: var(--accent); stroke-width: 1.8; stroke-linejoin: round; }
.dot { fill: var(--accent); }
.shares { height: 14px; border-radius: 7px; overflow: hidden; }
.terminated { fill: var(--share-0); } .truncated { fill: var(--share-1); }
.reset { fill: var(--share-2); } .closed { fill: var(--share-3); }
.interrupted { fill: var(--share-4); } .unknown { fill: var(--share-5); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: .75rem 0 0; padding: 0;
  list-style: none; font-size: .9rem; }
.legend svg { display: inline-block; width: 10px; height: 10px; margin-right: .45rem; }
.legend span, td span { color: var(--soft); }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(145px, 1fr)); gap: 1rem; }
figure { margin: 0; }
figure img { display: block; width: 100%; max-height: 260px; object-fit: contain;
  image-rendering: pixelated; background: #000; border-radius: 6px; }
figcaption { margin-top: .35rem; color: var(--soft); font-size: .82rem; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th { padding: 0 1.4rem .4rem 0; color: var(--soft); font-weight: 500; text-align: left;
  white-space: nowrap; border-bottom: 1px solid var(--rule); }
td { padding: .38rem 1.4rem .38rem 0; vertical-align: top; border-bottom: 1px solid var(--rule);
  overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; }
.right { text-align: right; white-space: nowrap; }
.key { color: var(--soft); }
.pairs td:first-child { width: 14rem; }
code, pre { font: .86em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { margin: .4rem 0 0; padding: .7rem .9rem; background: var(--code); border-radius: 8px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
pre + h2, .legend + h2, details { margin-top: 1rem; }
summary { cursor: pointer; color: var(--soft); font-size: .9rem; }
footer { margin-top: 1.5rem; color: var(--soft); font-size: .85rem; }
@media print { body { padding: 0; } section, .tile { break-inside: avoid; } }
"""
