import { randomBytes, randomUUID } from 'node:crypto'
import type { Seen, SeenEdge, SeenOrder } from './judge.js'
import type { Expectation, FaultOrder, Load } from './scenario.js'

export interface ShopAddress {
  /** `http://127.0.0.1:8080` */
  readonly url: string
  /** The shop's OPS_TOKEN. */
  readonly token: string
}

/** A customer and an operator in one, who knows of the shop what it answers over HTTP. */
export interface Visitor {
  break(fault: FaultOrder): Promise<void>
  /** Mends everything; what was seen of edges and services is forgotten, as it is of before. */
  mend(): Promise<void>
  load(load: Load): Promise<void>
  replay(group: string): Promise<void>
  /** One more try of whether it works again, unless it was seen to. */
  tryAgain(of: 'orders' | 'reads'): Promise<void>
  /** Asks for what is needed to judge these: every question is load, too. */
  look(expectations: readonly Expectation[]): Promise<Seen>
}

const ordered = 'espresso-cup'
/** Of another product, so that the count of the first one is of the load alone. */
const orderedAgain = 'dotted-notebook'

interface Taken {
  readonly id: string
  readonly traceId: string
}

// What the shop answers is read field by field.
// biome-ignore lint/suspicious/noExplicitAny: JSON of somebody else's
type Json = any

export async function visit({ url, token }: ShopAddress): Promise<Visitor> {
  const operator = { authorization: `Bearer ${token}` }
  const ask = async (method: string, path: string, headers: Record<string, string>, body?: unknown) => {
    const json = body === undefined ? {} : { 'content-type': 'application/json' }
    const began = performance.now()
    const response = await fetch(url + path, {
      method,
      headers: { ...json, ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const ms = performance.now() - began
    return { status: response.status, ms, body: parsed(text) }
  }
  const expect = async (status: number, answer: ReturnType<typeof ask>): Promise<Json> => {
    const { status: got, body } = await answer
    if (got !== status) throw new Error(`the shop answered ${got} instead of ${status}: ${JSON.stringify(body)}`)
    return body
  }
  const operate = (path: string) => expect(200, ask('GET', `/ops${path}`, operator))

  const email = `${randomUUID()}@example.test`
  const password = randomUUID()
  const user = await expect(201, ask('POST', '/api/users', {}, { email, password, name: 'Scenario' }))
  const session = await expect(200, ask('POST', '/api/sessions', {}, { email, password }))
  const customer = { authorization: `Bearer ${session.token}` }

  const order = async (productId: string, paymentMethod: string, quantity: number) => {
    const traceId = randomBytes(16).toString('hex')
    const traceparent = `00-${traceId}-${randomBytes(8).toString('hex')}-01`
    const headers = { ...customer, 'idempotency-key': randomUUID(), traceparent }
    const answer = await ask('POST', '/api/orders', headers, { items: [{ productId, quantity }], paymentMethod })
    return { ...answer, traceId }
  }
  const stock = async (): Promise<number | undefined> => (await ask('GET', `/api/products/${ordered}`, {})).body?.stock
  const deadLetters = async (): Promise<Record<string, number>> => {
    const { items } = await operate('/dead-letters')
    return Object.fromEntries(items.map(({ group, count }: Json) => [group, count]))
  }

  const stockAtFirst = (await stock()) ?? 0
  const deadAtFirst = await deadLetters()
  const answers: { status: number; ms: number }[] = []
  const taken: Taken[] = []
  let edges: Record<string, SeenEdge> = {}
  let services: Record<string, readonly string[]> = {}
  const effect = { delayed: 0, failed: 0, dropped: 0 }
  let stockNow = stockAtFirst
  let recovered = false

  async function lookAtOrder(
    { id, traceId }: Taken,
    letters: Json,
    wanted: ReadonlySet<Expectation['see']>,
  ): Promise<SeenOrder> {
    const [view, saga, trace] = await Promise.all([
      wanted.has('orders') ? ask('GET', `/api/orders/${id}`, customer) : undefined,
      wanted.has('sagas') ? ask('GET', `/api/orders/${id}/saga`, customer) : undefined,
      wanted.has('spans') ? ask('GET', `/ops/traces/${traceId}`, operator) : undefined,
    ])
    const steps = (saga?.body?.steps ?? []) as { kind: string; name: string }[]
    const spans = (trace?.body?.spans ?? []) as { name: string; kind: string }[]
    return {
      id,
      status: view?.body?.status ?? `not to be seen (${view?.status})`,
      reason: view?.body?.reason ?? '',
      saga: { status: saga?.body?.status ?? '', steps: steps.map(({ kind, name }) => `${kind} ${name}`) },
      told: letters.filter((one: Json) => one.orderId === id).map(({ type }: Json) => type),
      spans: spans.filter(({ kind }) => kind === 'server').map(({ name }) => name),
    }
  }

  function note({ nodes, edges: drawn }: Json): void {
    for (const { from, to, breaker, retries, rejected } of drawn) {
      const before = edges[`${from} ${to}`]
      edges[`${from} ${to}`] = {
        states: followed(before?.states ?? [], breaker),
        retries: Math.max(before?.retries ?? 0, retries),
        rejected: Math.max(before?.rejected ?? 0, rejected),
      }
    }
    for (const { name, status } of nodes) services[name] = followed(services[name] ?? [], status)
  }

  return {
    async break(fault) {
      await expect(200, ask('PUT', '/ops/faults', operator, fault))
    },

    async mend() {
      await expect(204, ask('DELETE', '/ops/faults', operator))
      edges = {}
      services = {}
    },

    async load(load) {
      const one = async () => {
        if ('reads' in load) return void answers.push(await ask('GET', load.path, {}))

        const answer = await order(ordered, load.paymentMethod, load.quantity ?? 1)
        answers.push(answer)
        if (answer.status === 202) taken.push({ id: answer.body.id, traceId: answer.traceId })
      }
      await Promise.all(Array.from({ length: 'reads' in load ? load.reads : load.orders }, one))
    },

    async replay(group) {
      await expect(200, ask('POST', `/ops/dead-letters/${group}/replay`, operator, {}))
    },

    async tryAgain(of) {
      if (recovered) return
      if (of === 'reads') {
        recovered = (await ask('GET', '/api/products', {})).status === 200
        return
      }

      const { status, body } = await order(orderedAgain, 'card-ok', 1)
      if (status !== 202) return
      const ended = async () => (await ask('GET', `/api/orders/${body.id}`, customer)).body?.status
      let now = await ended()
      for (let looks = 0; now === 'PENDING' && looks < 100; looks += 1) {
        await new Promise((resolve) => setTimeout(resolve, 100))
        now = await ended()
      }
      recovered = now === 'CONFIRMED'
    },

    async look(expectations) {
      const wanted = new Set(expectations.map(({ see }) => see))
      const when = <T>(kinds: readonly Expectation['see'][], question: () => Promise<T>) =>
        kinds.some((kind) => wanted.has(kind)) ? question() : undefined
      const [topology, faults, dead, letters, left] = await Promise.all([
        operate('/topology'),
        when(['effect'], () => operate('/faults')),
        when(['dead-letters'], deadLetters),
        when(['told'], () => ask('GET', `/ops/notifications?userId=${user.id}`, operator)),
        when(['stock'], stock),
      ])
      note(topology)
      for (const kind of ['delayed', 'failed', 'dropped'] as const) {
        const now = (faults?.items ?? []).reduce((sum: number, fault: Json) => sum + fault.effect[kind], 0)
        effect[kind] = Math.max(effect[kind], now)
      }
      stockNow = left ?? stockNow
      const orders = await Promise.all(taken.map((one) => lookAtOrder(one, letters?.body?.items ?? [], wanted)))
      const more = Object.entries(dead ?? {}).map(([group, count]) => [group, count - (deadAtFirst[group] ?? 0)])

      return {
        answers,
        orders,
        edges,
        effect,
        services,
        stockTaken: stockAtFirst - stockNow,
        deadLetters: Object.fromEntries(more),
        recovered,
      }
    },
  }
}

/** With the latest behind, unless it is the same as before. */
function followed(states: readonly string[], now: string | undefined): readonly string[] {
  return now === undefined || states.at(-1) === now ? states : [...states, now]
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
