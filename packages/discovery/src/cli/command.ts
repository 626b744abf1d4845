import { parseArgs } from 'node:util'
import { consul } from '../consul.js'
import type { Source } from '../source.js'
import { dnsA } from '../sources/dns-a.js'
import { dnsSrv } from '../sources/dns-srv.js'

export const USAGE = `Usage: msx-discovery watch NAME --consul URL [--dc NAME] [--tag TAG]… [--all] [--json]
       msx-discovery watch NAME --dns NAME [--port PORT] [--server ADDRESS]… [--interval MS] [--json]

Prints the endpoints of a service, and each change as it comes, until it is interrupted.

  --consul URL      ask this Consul; its ACL token is read from CONSUL_HTTP_TOKEN
  --dc NAME         in this datacenter
  --tag TAG         only instances with this tag
  --all             also instances whose checks fail; they have weight 0
  --dns NAME        ask DNS for the SRV records of this name
  --port PORT       for its addresses instead, which are endpoints with this port
  --server ADDRESS  ask this DNS server, such as 127.0.0.1:8600, and not the machine's
  --interval MS     ask DNS at least so often (default 5000)
  --json            one JSON object per line`

/** What was asked for. */
export type Command =
  | { readonly do: 'help' }
  | { readonly do: 'watch'; readonly service: string; readonly source: Source; readonly json: boolean }

const OPTIONS = {
  consul: { type: 'string' },
  dc: { type: 'string' },
  tag: { type: 'string', multiple: true },
  all: { type: 'boolean' },
  dns: { type: 'string' },
  port: { type: 'string' },
  server: { type: 'string', multiple: true },
  interval: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

const OF_CONSUL = ['dc', 'tag', 'all'] as const
const OF_DNS = ['port', 'server', 'interval'] as const

/** Throws an error that says what is not understood. */
export function parseCommand(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Command {
  const { values, positionals } = parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true })
  if (values.help) return { do: 'help' }

  const [command, service, ...rest] = positionals
  if (command !== 'watch') throw new Error(`${command ?? 'nothing'} is no command; expected watch`)
  if (service === undefined) throw new Error('watch needs the name of a service')
  if (rest.length > 0) throw new Error(`watch does not take ${rest.join(' ')}`)
  if ((values.consul === undefined) === (values.dns === undefined)) throw new Error('give one of --consul and --dns')

  for (const name of values.consul === undefined ? OF_CONSUL : OF_DNS) {
    if (values[name] !== undefined) throw new Error(`--${name} has no meaning with --${values.dns ? 'dns' : 'consul'}`)
  }
  const source = values.dns === undefined ? viaConsul(values, env) : viaDns(values, values.dns)
  return { do: 'watch', service, source, json: values.json === true }
}

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']

function viaConsul({ consul: url, dc, tag: tags, all }: Values, env: Readonly<Record<string, string | undefined>>) {
  return consul({ url, dc, tags, passing: all !== true, token: env['CONSUL_HTTP_TOKEN'] || undefined })
}

function viaDns({ port, server: servers, interval }: Values, name: string): Source {
  const minInterval = numberOf('interval', interval)
  const maxInterval = minInterval === undefined ? undefined : Math.max(minInterval, 30_000)
  const options = { servers, minInterval, maxInterval, name: () => name }

  const number = numberOf('port', port)
  return number === undefined ? dnsSrv(options) : dnsA({ ...options, port: number })
}

function numberOf(option: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  if (!/^\d+$/.test(value)) throw new Error(`--${option} must be a number, got ${value}`)

  return Number(value)
}
