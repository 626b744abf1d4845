import type { AccessLogEntry } from './request-log.js'

/**
 * An entry of the access log as one line that a person reads: time, status, method, path, duration, and where it went.
 * What could move the cursor of a terminal is written as a code.
 *
 * @example
 * app.use(requestLog({ log: (entry) => console.log(accessLine(entry)) }))
 */
export function accessLine(entry: AccessLogEntry): string {
  const { time, method, path, status, duration, upstream, attempts, user, address, error } = entry
  const parts = [
    time.slice(11, 23),
    String(status),
    method.padEnd(6),
    path,
    `${duration.toFixed(1)} ms`,
    ...(upstream === undefined ? [] : [`-> ${upstream}${attempts > 1 ? ` (attempt ${attempts})` : ''}`]),
    user === undefined ? address : `${user} at ${address}`,
    ...(error === undefined ? [] : [error.cause === undefined ? error.code : `${error.code}: ${error.cause}`]),
  ]

  return printable(parts.join('  '))
}

const printable = (text: string): string =>
  text.replace(/[^\x20-\x7e]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)
