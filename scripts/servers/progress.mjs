// What goes on, for people: on a terminal one line for each server that changes in place, elsewhere a line per change.

const marks = { busy: '·', done: '✔', failed: '✖' }

/**
 * @param {NodeJS.WriteStream} stream
 * @param {readonly { title: string, label: string }[]} servers
 * @param {string} text  What each begins with.
 */
export function showProgress(stream, servers, text) {
  const lines = servers.map(({ title, label }) => ({ title, label, mark: 'busy', text }))
  const widths = ['title', 'label'].map((key) => Math.max(0, ...lines.map((line) => line[key].length)))
  const draw = ({ title, label, mark, text }) => {
    const line = `${marks[mark]} ${title.padEnd(widths[0])}  ${label.padEnd(widths[1])}  ${text}`
    return line.trimEnd()
  }

  const inPlace = stream.isTTY === true && process.env.TERM !== 'dumb'
  let drawn = 0
  const redraw = () => {
    // Lines that wrap would be counted wrongly, so none may be wider than the terminal.
    const rows = lines.map((line) => `\x1b[2K${draw(line).slice(0, (stream.columns || 80) - 1)}\n`)
    stream.write(`${drawn > 0 ? `\x1b[${drawn}A` : ''}${rows.join('')}`)
    drawn = rows.length
  }
  if (inPlace) redraw()

  return {
    /**
     * @param {number} index
     * @param {'busy' | 'done' | 'failed'} mark
     * @param {string} text
     */
    set(index, mark, text) {
      const line = lines[index]
      if (line.mark === mark && line.text === text) return
      Object.assign(line, { mark, text })

      if (inPlace) redraw()
      else stream.write(`${draw(line)}\n`)
    },
  }
}
