import type { Catalogue, EventSpec } from '../catalogue.js'
import { MessagingError } from '../errors.js'
import type { WireMessage } from '../transport.js'
import { unknownEvent } from './encode.js'
import { type Envelope, parseBody, readData, readEnvelope } from './envelope.js'
import { invalid, validate } from './schema.js'

export interface Decoded {
  readonly envelope: Envelope
  readonly data: unknown
}

export type Decoder = (wire: WireMessage) => Decoded | Promise<Decoded>

/** Turns what travelled into an event: parsed, brought to this release's version, validated. */
export function createDecoder({ events }: Catalogue, validates: boolean): Decoder {
  const specs = new Map<string, EventSpec>(Object.entries(events))

  return (wire) => {
    const spec = specs.get(wire.type)
    if (spec === undefined) throw unknownEvent(wire.type)

    const json = parse(wire)
    const envelope = readEnvelope(wire, json)
    const data = upcast(wire.type, spec, readData(wire, json), envelope.version)
    if (!validates) return { envelope, data }

    const result = validate(spec.schema, data)
    return result instanceof Promise ? result.then(finish) : finish(result)

    function finish(checked: Awaited<typeof result>): Decoded {
      if (checked.issues !== undefined) throw invalid(wire.type, 'received', checked)
      return { envelope, data: checked.value }
    }
  }
}

function parse(wire: WireMessage): unknown {
  try {
    return parseBody(wire)
  } catch (cause) {
    throw new MessagingError('MSX_DECODE', `the body of a '${wire.type}' message is not JSON`, {
      retryable: false,
      cause,
      details: { type: wire.type },
    })
  }
}

function upcast(type: string, spec: EventSpec, json: unknown, version: number): unknown {
  const target = spec.version ?? 1
  if (version > target) {
    const problem = `'${type}' has version ${version}, this release understands up to ${target}`
    throw new MessagingError('MSX_UNSUPPORTED_VERSION', problem, {
      retryable: false,
      details: { type, version, target },
    })
  }

  let data = json
  for (let from = version; from < target; from += 1) {
    const step = spec.upcast?.[from]
    if (step === undefined) continue
    try {
      data = step(data)
    } catch (cause) {
      const problem = `'${type}' could not be brought from version ${from} to ${from + 1}`
      throw new MessagingError('MSX_UPCAST_FAILED', problem, {
        retryable: false,
        cause,
        details: { type, version, from },
      })
    }
  }

  return data
}
