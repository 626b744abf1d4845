import type { Comparison, Row } from './compare.js'
import type { Machine } from './machine.js'
import type { Spread } from './statistics.js'

const HEAD = ['', 'ns/call', 'added', 'ours / this (min – max)', 'target', 'reached']

/** A comparison as a table, in Markdown that also reads well in a terminal. */
export function table({ title, rows }: Comparison): string {
  const cells = [HEAD, ...rows.map(cellsOf)]
  const widths = HEAD.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)))
  const lines = cells.map((line) => `| ${line.map((cell, column) => pad(cell, widths[column]!, column)).join(' | ')} |`)
  const rule = `| ${widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`

  return [`### ${title}`, '', lines[0], rule, ...lines.slice(1)].join('\n')
}

export function machineLine({ node, cpu, cores, versions }: Machine): string {
  const peers = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return `Node ${node} on ${cpu} (${cores} cores). ${peers.join(', ')}.`
}

function cellsOf({ name, role, time, overhead, ratio, target, reached }: Row): string[] {
  return [
    role === 'ours' ? `**${name}**` : name,
    number(time.median),
    overhead === undefined ? '' : number(overhead.median),
    ratio === undefined ? '' : ratioText(ratio),
    target === undefined ? '' : `<= ${target}`,
    reached === undefined ? '' : reached ? 'yes' : 'NO',
  ]
}

function ratioText({ min, median, max }: Spread): string {
  return `${factor(median)} (${factor(min)} – ${factor(max)})`
}

function factor(value: number): string {
  return Math.abs(value) < 0.1 ? value.toFixed(3) : value.toFixed(2)
}

/** `12 345`, with a space that does not break. */
function number(value: number): string {
  return Math.round(value).toLocaleString('en').replaceAll(',', '\u00a0')
}

function pad(cell: string, width: number, column: number): string {
  return column === 0 ? cell.padEnd(width) : cell.padStart(width)
}
