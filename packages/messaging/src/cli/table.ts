import { styleText } from 'node:util'

/** Columns as wide as what is in them; the last one is cut at the end of the line. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[], isTerminal: boolean): string {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join('  ')
      .trimEnd()
  const head = line(heads)

  return [isTerminal ? styleText('bold', head) : head, ...rows.map(line)].join('\n')
}

const LONGEST_CELL = 80

export function oneLine(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')

  return line.length > LONGEST_CELL ? `${line.slice(0, LONGEST_CELL - 1)}…` : line
}
