const columns = [
  ['runtime', (row) => row.name],
  ['version', (row) => row.version ?? '-'],
  ['files', (row) => row.files],
  ['passed', (row) => row.passed],
  ['failed', (row) => row.failed],
  ['left out', (row) => row.leftOut],
  ['seconds', (row) => row.seconds.toFixed(1)],
]

/** The results as columns; numbers at the right. */
export function formatTable(rows) {
  const tested = rows.filter(({ skipped }) => skipped === undefined)
  const lines = [columns.map(([title]) => title), ...tested.map((row) => columns.map(([, cell]) => String(cell(row))))]
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index].length)))
  const pad = (cell, index) => (index < 2 ? cell.padEnd(widths[index]) : cell.padStart(widths[index]))
  return lines.map((line) => line.map(pad).join('  ').trimEnd()).join('\n')
}
