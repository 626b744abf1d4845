import { styleText } from 'node:util'
import type { Endpoint } from '../endpoint.js'
import type { DiscoveryEvents } from '../events.js'

/** What is told of a service. */
export type Report =
  | ({ readonly event: 'change' } & DiscoveryEvents['change'])
  | ({ readonly event: 'stale' } & DiscoveryEvents['stale'])
  | ({ readonly event: 'error' } & DiscoveryEvents['error'])

/** One line of JSON. */
export function asJson(report: Report): string {
  const { event, service } = report
  const at = new Date().toISOString()
  if (report.event !== 'change') return printable(JSON.stringify({ at, event, service, error: report.error.message }))

  const { version, endpoints } = report.snapshot
  const [added, removed] = [report.added.map(idOf), report.removed.map(idOf)]
  return printable(JSON.stringify({ at, event, service, version, added, removed, endpoints }))
}

/** Lines for people: how many there are, and who came (+), went (-) or changed (~). */
export function asText(report: Report, colour: boolean): string {
  const style = (format: 'green' | 'red' | 'yellow' | 'dim', text: string) =>
    colour ? styleText(format, printable(text)) : printable(text)
  const time = style('dim', new Date().toTimeString().slice(0, 8))
  if (report.event === 'error') return `${time} ${style('red', `error: ${report.error.message}`)}`
  if (report.event === 'stale') {
    return `${time} ${style('yellow', `${report.service}: the source cannot be asked; what was known stays in use`)}`
  }

  const { endpoints } = report.snapshot
  const before = new Set(report.removed.map(idOf))
  const after = new Set(report.added.map(idOf))
  const count = endpoints.length === 1 ? '1 endpoint' : `${endpoints.length} endpoints`
  return [
    `${time} ${report.service}: ${count}`,
    ...report.removed.filter(({ id }) => !after.has(id)).map((endpoint) => style('red', `  - ${describe(endpoint)}`)),
    ...report.added.map((endpoint) =>
      before.has(endpoint.id)
        ? style('yellow', `  ~ ${describe(endpoint)}`)
        : style('green', `  + ${describe(endpoint)}`),
    ),
  ].join('\n')
}

function idOf({ id }: Endpoint): string {
  return id
}

/** The address, and what is not as usual. */
function describe({ id, url, host, port, weight, priority, zone, tags }: Endpoint): string {
  const facts = [
    id !== `${host}:${port}` && `id ${id}`,
    weight !== 1 && `weight ${weight}`,
    priority !== 0 && `priority ${priority}`,
    zone !== undefined && `zone ${zone}`,
    tags.length > 0 && `tags ${tags.join(', ')}`,
  ].filter((fact) => fact !== false)
  return facts.length === 0 ? url : `${url} (${facts.join('; ')})`
}

/** What others wrote into a registry must not move the cursor of who looks, nor look like a line of ours. */
function printable(text: string): string {
  const line = text.replace(/\s*\n\s*/g, ' ')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what it is about
  return line.replace(/[\0-\x1f\x7f-\x9f]/g, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
