import type { Comparison, Row } from './compare.js'
import type { Machine } from './machine.js'
import type { Spread } from './statistics.js'

/** A comparison as a table, in Markdown that also reads well in a terminal. */
export function table({ title, unit, rows }: Comparison): string {
  const head = ['', unit, 'added', 'ours / this (min – max)', 'target', 'reached']
  const cells = [head, ...rows.map(cellsOf)]
  // A column that says nothing in any row is left out.
  const columns = head
    .map((_, column) => column)
    .filter((column) => column === 0 || cells.slice(1).some((line) => line[column] !== ''))
  const widths = head.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)))

  const line = (texts: readonly string[]) => `| ${columns.map((column) => texts[column]).join(' | ')} |`
  const padded = (texts: readonly string[]) => line(texts.map((text, column) => pad(text, widths[column]!, column)))
  const rule = line(widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)))
  return [`### ${title}`, '', padded(head), rule, ...cells.slice(1).map(padded)].join('\n')
}

export function machineLine({ node, cpu, cores, versions }: Machine): string {
  const peers = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return `Node ${node} on ${cpu} (${cores} cores). ${peers.join(', ')}.`
}

function cellsOf({ name, role, amount, added, ratio, target }: Row): string[] {
  return [
    role === 'ours' ? `**${name}**` : name,
    number(amount.median),
    added === undefined ? '' : number(added.median),
    ratio === undefined ? '' : ratioText(ratio),
    target === undefined ? '' : `${target.kind === 'goal' ? 'goal ' : ''}<= ${target.limit}`,
    target === undefined ? '' : target.reached ? 'yes' : 'NO',
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
