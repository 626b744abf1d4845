import { styleText } from 'node:util'

/** Columns as wide as what is in them; the last one is cut at the end of the line. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[], isTerminal: boolean): string {
  const seen = rows.map((cells) => cells.map(visible))
  const widths = heads.map((head, i) => Math.max(head.length, ...seen.map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join('  ')
      .trimEnd()
  const head = line(heads)

  return [isTerminal ? styleText('bold', head) : head, ...seen.map(line)].join('\n')
}

const LONGEST_CELL = 80

export function oneLine(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')

  return line.length > LONGEST_CELL ? `${line.slice(0, LONGEST_CELL - 1)}…` : line
}

/** What moves a cursor, colours a line or turns the direction of writing: control and format characters, but line ends. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

/** Text of anybody's, for a terminal: what would not be seen is written out. */
export function visible(text: string): string {
  return text.replaceAll(UNSEEN, writtenOut)
}

/** The same for text of several lines, such as JSON, which may have been written with any of them in a string. */
export function visibleLines(text: string): string {
  return text.split('\n').map(visible).join('\n')
}

/** As in a string of JSON. */
function writtenOut(character: string): string {
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('')
}
