import {
  type Attributes,
  type Context,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  type TextMapSetter,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { grpcCodes } from '../grpc/errors.js'
import type { AttemptSpan, AttemptWatch } from '../telemetry.js'

export type Propagator = Pick<TextMapPropagator, 'inject' | 'extract'> & { fields(): string[] }

/** What a trace travels by, under lower-case names. */
export function fieldsOf(within: Context, propagator: Propagator): Record<string, string> {
  const fields: Record<string, string> = Object.create(null)
  propagator.inject(within, fields, toRecord)
  return fields
}

const toRecord: TextMapSetter<Record<string, string>> = {
  set: (fields, name, value) => {
    fields[name.toLowerCase()] = value
  },
}

/** CLIENT spans below that of the request which is `within`, by the conventions for HTTP and for RPC. */
export function watchAttempts(tracer: Tracer, within: Context, propagator: Propagator): AttemptWatch {
  const start = (name: string, attributes: Attributes, outcomeOf: OutcomeOf): AttemptSpan => {
    const span = tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, within)
    return follow(span, fieldsOf(trace.setSpan(within, span), propagator), outcomeOf)
  }

  return {
    http: ({ method, origin, path, resends }) =>
      start(
        method,
        {
          'http.request.method': method,
          'url.full': origin + path.split('?', 1)[0]!,
          ...serverOf(new URL(origin)),
          'network.protocol.version': '1.1',
          ...(resends > 0 && { 'http.request.resend_count': resends }),
        },
        httpOutcome,
      ),
    grpc: ({ path, address }) => {
      const [, service = '', method = ''] = path.split('/')
      return start(
        `${service}/${method}`,
        {
          'rpc.system': 'grpc',
          'rpc.service': service,
          'rpc.method': method,
          ...serverOf(new URL(`http://${address}`)),
        },
        grpcOutcome,
      )
    },
  }
}

interface Outcome {
  readonly attributes: Attributes
  /** What the answer itself says went wrong. */
  readonly error: string | undefined
}

type OutcomeOf = (status: number) => Outcome

/** To a client what is 400 and above is an error, also where the server has done nothing wrong. */
const httpOutcome: OutcomeOf = (status) => ({
  attributes: { 'http.response.status_code': status },
  error: status >= 400 ? String(status) : undefined,
})

const grpcOutcome: OutcomeOf = (status) => ({
  attributes: { 'rpc.grpc.status_code': status },
  error: status === 0 ? undefined : grpcCodes[status],
})

function follow(span: Span, fields: Readonly<Record<string, string>>, outcomeOf: OutcomeOf): AttemptSpan {
  let answer: string | undefined

  return {
    fields,
    answered(status) {
      const { attributes, error } = outcomeOf(status)
      span.setAttributes(attributes)
      answer = error
    },
    end(error) {
      const errorType = answer ?? (error && (error.code ?? '_OTHER'))
      if (errorType !== undefined) span.setAttribute('error.type', errorType)
      // Nobody failed where the client itself did not wait.
      if (errorType !== undefined && errorType !== 'MSX_PROXY_CLIENT_GONE') {
        span.setStatus({ code: SpanStatusCode.ERROR })
      }
      span.end()
    },
  }
}

function serverOf({ hostname, port, protocol }: URL): Attributes {
  return { 'server.address': hostname, 'server.port': Number(port) || (protocol === 'https:' ? 443 : 80) }
}
