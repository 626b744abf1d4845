import { toEndpoint } from '../endpoint.js'
import { checkDuration, wrongOption } from '../internal/options.js'
import type { HttpCheck, Registration, TtlCheck } from '../registry.js'
import { type CheckDefinition, goDuration, type ServiceDefinition } from './api.js'

/** A registration as Consul wants it. Throws a TypeError for a wrong one. */
export function defineService(registration: Registration): ServiceDefinition {
  const { name, host, port, tags = [], meta = {}, check, removeAfter } = registration ?? {}

  if (!isIdentifier(name)) throw wrongOption('name', name, `the name of a service: ${identifier}`)
  const endpoint = toEndpoint({ host, port }) // throws for what nobody could connect to
  if (/^(0\.0\.0\.0|[0:]+)$/.test(endpoint.host)) {
    throw wrongOption('host', host, 'an address that others can connect to, not the one to listen on all')
  }
  const { id = `${name}-${endpoint.host}-${port}` } = registration
  if (!isIdentifier(id)) throw wrongOption('id', id, `the name of an instance: ${identifier}`)
  if (!Array.isArray(tags) || !tags.every(isName)) throw wrongOption('tags', tags, 'an array of tags')
  if (typeof meta !== 'object' || meta === null || !Object.values(meta).every((value) => typeof value === 'string')) {
    throw wrongOption('meta', meta, 'an object of strings')
  }
  if (removeAfter !== undefined) {
    if (check === undefined) throw wrongOption('removeAfter', removeAfter, 'left out without a check that could fail')
    positive('removeAfter', removeAfter)
  }

  return {
    ID: id,
    Name: name,
    Address: endpoint.host,
    Port: port,
    Tags: [...tags],
    Meta: { ...meta },
    ...(check !== undefined && {
      Check: {
        ...defineCheck(check, id),
        ...(removeAfter !== undefined && { DeregisterCriticalServiceAfter: goDuration(removeAfter) }),
      },
    }),
  }
}

function defineCheck(check: HttpCheck | TtlCheck, instance: string): CheckDefinition {
  const { http, interval, ttl } = (check ?? {}) as Partial<HttpCheck & TtlCheck>
  const CheckID = `service:${instance}`

  if ((http === undefined) === (ttl === undefined)) throw wrongOption('check', check, '{ http, interval } or { ttl }')
  // A process that registers is alive; without the status it would be out of the lists until its first report.
  if (ttl !== undefined) return { CheckID, TTL: goDuration(positive('check.ttl', ttl)), Status: 'passing' }

  if (typeof http !== 'string' || !/^https?:\/\//.test(http) || !URL.canParse(http)) {
    throw wrongOption('check.http', http, 'an absolute http or https URL')
  }
  return { CheckID, HTTP: http, Interval: goDuration(positive('check.interval', interval)) }
}

function positive(option: string, value: unknown): number {
  const duration = checkDuration(option, value)
  if (duration === 0) throw wrongOption(option, value, 'more than 0 milliseconds')
  return duration
}

const identifier = 'a text without control characters, and without a part between slashes that is empty, . or ..'

/**
 * The agent takes any id into its catalogue, but names one in a path when it is to leave, and cleans that path first:
 * what would be another path afterwards could never be deregistered.
 */
function isIdentifier(value: unknown): value is string {
  if (!isName(value) || /\p{Cc}/u.test(value)) return false

  return value.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
