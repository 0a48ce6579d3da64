"""How the page for people looks, by day and by night, on a phone and on a screen."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f5f6f8; --card: #ffffff; --ink: #1b1f24; --soft: #555d66; --line: #e1e5e9;
  --track: #edf0f3; --hatch: #9aa3ad;
  --good: #0f6630; --good-paper: #dcf3e3; --good-bar: #2e9c5b;
  --busy: #0a559f; --busy-paper: #deecfb; --busy-bar: #3b86d1;
  --warn: #744700; --warn-paper: #fdeecb;
  --bad: #9c1526; --bad-paper: #fde4e6; --bad-bar: #cf3346;
  --calm: #4a525b; --calm-paper: #e9ecef; --calm-bar: #8d97a1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0f1216; --card: #171b20; --ink: #e6e9ed; --soft: #a3acb6; --line: #2a3037;
    --track: #22282f; --hatch: #6c7681;
    --good: #85dba4; --good-paper: #12321f; --good-bar: #3fae6c;
    --busy: #92c4ff; --busy-paper: #12304e; --busy-bar: #4b97e3;
    --warn: #f2c970; --warn-paper: #392a0a;
    --bad: #ffa5ad; --bad-paper: #421b20; --bad-bar: #e25a6a;
    --calm: #b4bcc5; --calm-paper: #262c33; --calm-bar: #6f7985;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; padding: 1.25rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
main, header, footer { max-width: 70rem; margin: 0 auto; }
code, .number { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { font-size: .8125rem; }
.number, .when, td { font-variant-numeric: tabular-nums; }
h1, h2 { line-height: 1.25; margin: 0; text-wrap: balance; }
h1 { font-size: 1.5rem; letter-spacing: -.01em; }
h2 { font-size: 1.0625rem; }
h2 small, .soft, small { color: var(--soft); font-weight: 400; font-size: .875rem; }
a { color: var(--busy); text-underline-offset: .2em; }
header .title { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem; }
nav { margin-top: .5rem; }
nav a { display: inline-block; padding: .375rem 1rem .375rem 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem;
  padding: 1rem; margin-top: 1rem; }
.badge { display: inline-block; padding: .0625rem .5rem; border-radius: 1rem; font-size: .8125rem;
  font-weight: 600; white-space: nowrap; color: var(--calm); background: var(--calm-paper); }
h1 + .badge { font-size: .9375rem; padding: .1875rem .75rem; }
.good { color: var(--good); background: var(--good-paper); }
.busy { color: var(--busy); background: var(--busy-paper); }
.warn { color: var(--warn); background: var(--warn-paper); }
.bad { color: var(--bad); background: var(--bad-paper); }
.notice { border-color: transparent; }
.notice ul { margin: .5rem 0 0; padding-left: 1.25rem; }
.notice li + li { margin-top: .25rem; }

dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr));
  gap: 1rem 1.25rem; margin: 0; }
dt { color: var(--soft); font-size: .8125rem; }
dd { margin: 0; font-weight: 600; }
dd small { display: block; line-height: 1.4; }

.steps { list-style: none; margin: .75rem 0 0; padding: 0; }
.steps li, .axis { display: grid; grid-template: "what state" "bar bar" "when when" / 1fr auto;
  gap: .125rem .75rem; padding: .5rem 0; border-top: 1px solid var(--line); }
.axis { border: 0; padding: .75rem 0 0; color: var(--soft); font-size: .8125rem; }
.axis + .steps { margin-top: .25rem; }
.axis .scale { grid-area: bar; display: flex; justify-content: space-between; }
.what { grid-area: what; min-width: 0; }
.what b { font-weight: 600; }
.state { grid-area: state; }
.when { grid-area: when; color: var(--soft); font-size: .875rem; }
.bar { grid-area: bar; align-self: center; position: relative; height: .625rem;
  border-radius: .3125rem; background: var(--track); overflow: hidden; }
.bar i { position: absolute; top: 0; bottom: 0; min-width: 3px; border-radius: .3125rem;
  background: var(--calm-bar); }
.done .bar i { background: var(--good-bar); }
.running .bar i { background: var(--busy-bar); }
.failed .bar i, .overdue .bar i { background: var(--bad-bar); }
.waiting .bar i { background: repeating-linear-gradient(
  135deg, var(--hatch) 0 3px, transparent 3px 7px); }
.open .bar i { border-top-right-radius: 0; border-bottom-right-radius: 0; }

table { width: 100%; margin-top: .25rem; border-collapse: collapse; text-align: left; }
caption { text-align: left; color: var(--soft); font-size: .875rem; padding-bottom: .5rem; }
th, td { padding: .5rem .75rem .5rem 0; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-size: .8125rem; font-weight: 400; }
tbody th { font-weight: 600; }
td .badge { white-space: normal; border-radius: .625rem; }
td .badge + .badge { margin-top: .25rem; }
td small, th small { display: block; line-height: 1.4; }
footer { margin-top: 1.25rem; color: var(--soft); font-size: .875rem; }
footer a { display: inline-block; padding: .375rem .75rem .375rem 0; }

@media (max-width: 63.99rem) {
  table, tbody, caption { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { display: grid; grid-template-columns: 1fr 1fr; gap: .25rem .75rem;
    padding: .75rem 0; border-top: 1px solid var(--line); }
  tbody th, tbody td { display: block; border: 0; padding: 0; }
  tbody th, tbody .wide { grid-column: 1 / -1; }
  tbody td { font-size: .875rem; }
  tbody td::before { content: attr(data-label) " "; color: var(--soft); }
  tbody td.plain::before { content: none; }
  tbody td:empty { display: none; }
}
@media (min-width: 48rem) {
  body { padding: 2rem 2rem 4rem; }
  section { padding: 1.25rem 1.5rem; }
  .steps li, .axis { grid-template: "what bar state when" / minmax(10rem, 1fr) 2fr 6rem 11rem;
    align-items: center; padding: .375rem 0; gap: 1rem; }
  .axis { padding-top: .75rem; }
  .when { text-align: right; }
  dl { grid-template-columns: repeat(4, 1fr); }
}
@media (min-width: 64rem) {
  table { table-layout: fixed; }
  .kept th:nth-child(1) { width: 24%; } .kept th:nth-child(2) { width: 11%; }
  .kept th:nth-child(3) { width: 27%; } .kept th:nth-child(4) { width: 11%; }
  .kept th:nth-child(5) { width: 9%; }
  .turns th:nth-child(1) { width: 25%; } .turns th:nth-child(2) { width: 13%; }
  .turns th:nth-child(4) { width: 11%; } .turns th:nth-child(5) { width: 12%; }
}
@media print { body { background: none; } section { break-inside: avoid-page; } }
"""
