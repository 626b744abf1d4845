import type { IncomingMessage } from 'node:http'
import type { Metadata } from '@grpc/grpc-js'
import { contextOf } from '../context.js'
import { isIdentity } from '../headers.js'
import { listOfStrings } from '../internal/checks.js'
import type { Grpc } from './libraries.js'

/** What goes along whoever asks: what traces are made of. */
const always = ['traceparent', 'tracestate']

/** Said by HTTP/2 or by gRPC itself, or by the gateway alone. */
const reserved = new Set([
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  'x-request-id',
])

/** What is wrong with a list of headers that become metadata, or nothing. */
export function checkMetadata(names: unknown): string | undefined {
  const lists = Array.isArray(names) && (names.length === 0 || listOfStrings(names) === undefined)
  const valid =
    lists &&
    (names as string[]).every((name) => {
      const lower = name.toLowerCase()
      return (
        /^[a-z0-9_.-]+$/.test(lower) &&
        !lower.endsWith('-bin') &&
        !lower.startsWith('grpc-') &&
        !reserved.has(lower) &&
        !isIdentity(lower)
      )
    })

  return valid ? undefined : "a list of headers that gRPC does not use itself, without 'x-user-…', 'grpc-…' and '…-bin'"
}

/** What a header may say in metadata: printable ASCII. */
const harmless = /^[\x20-\x7e]*$/

/** The metadata of a call: the headers on the list, the trace, the request's id, and who asks. */
export function metadataOf(req: IncomingMessage, names: readonly string[], grpc: Grpc): Metadata {
  const metadata = new grpc.Metadata()
  const { requestId, identity } = contextOf(req)
  const set = (name: string, value: string): void => {
    if (harmless.test(value)) metadata.set(name, value)
  }

  for (const name of [...always, ...names]) {
    const value = req.headers[name]
    if (value !== undefined) set(name, Array.isArray(value) ? value.join(', ') : value)
  }
  if (requestId !== undefined) set('x-request-id', requestId)
  for (const [name, value] of Object.entries(identity?.headers ?? {})) set(name, value)

  return metadata
}
