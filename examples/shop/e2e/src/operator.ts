import { expect } from 'vitest'
import { type Answer, request } from './customer.js'

export const operatorToken = 'e2e-operator-token-0001'

/** Somebody who keeps the shop running, with nothing but HTTP and the token. */
export interface Operator {
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  break(fault: Record<string, unknown>): Promise<void>
  /** One stop for all. */
  mend(): Promise<void>
  faults(): Promise<FaultLine[]>
  edge(from: string, to: string): Promise<EdgeLine | undefined>
}

export interface FaultLine {
  readonly id: string
  readonly service: string
  readonly route: string
  readonly effect: {
    readonly seen: number
    readonly delayed: number
    readonly failed: number
    readonly dropped: number
  }
}

export interface EdgeLine {
  readonly from: string
  readonly to: string
  readonly kind: string
  readonly rate: number
  readonly p95: number
  readonly retries: number
  readonly breaker?: string
  readonly breakers: readonly { readonly name: string; readonly state: string }[]
}

export function operator(url: string): Operator {
  const send: Operator['request'] = (method, path, body, headers = {}) =>
    request(url, method, path, body, { authorization: `Bearer ${operatorToken}`, ...headers })

  return {
    request: send,
    async break(fault) {
      const answer = await send('PUT', '/ops/faults', fault)
      expect(answer.body).toMatchObject({ items: expect.any(Array) })
      expect(answer.status).toBe(200)
    },
    async mend() {
      expect((await send('DELETE', '/ops/faults')).status).toBe(204)
    },
    faults: async () => (await send('GET', '/ops/faults')).body.items,
    async edge(from, to) {
      const { edges } = (await send('GET', '/ops/topology')).body as { edges: EdgeLine[] }
      return edges.find((edge) => edge.from === from && edge.to === to)
    },
  }
}

export interface StreamEvent {
  readonly id: string
  readonly event: string
  // What comes is looked at by the tests, field by field.
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came
  readonly data: any
}

/** The events of /ops/stream as they come, until the consumer has seen enough. */
export async function* stream(url: string, lastId?: string): AsyncGenerator<StreamEvent, void> {
  const response = await fetch(`${url}/ops/stream`, {
    headers: { authorization: `Bearer ${operatorToken}`, ...(lastId !== undefined && { 'last-event-id': lastId }) },
  })
  expect(response.headers.get('content-type')).toBe('text/event-stream')
  let text = ''
  for await (const chunk of (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream())) {
    text += chunk
    for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
      const block = text.slice(0, end)
      text = text.slice(end + 2)
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1]
      const data = field('data')
      if (data !== undefined) yield { id: field('id') ?? '', event: field('event') ?? '', data: JSON.parse(data) }
    }
  }
}
