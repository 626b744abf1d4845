import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Answer, Customer } from '../customer.js'

const methods = ['card-ok', 'card-ok', 'card-ok', 'card-ok', 'card-declined', 'card-timeout-after-charge'] as const

/** How often somebody orders who gets no answer, with the same key, and how long they wait between, in milliseconds. */
const attempts = 4
const pause = 1_000

/** What became of the orders since one looked last. */
export interface Takings {
  readonly answered: number
  /** Orders whose customers gave up. */
  readonly turnedAway: number
  /** Of the answers with 202, in milliseconds, from the first attempt on. */
  readonly p50: number
  readonly p95: number
}

export interface Crowd {
  /** The orders that were answered with 202, each once. */
  readonly answered: ReadonlySet<string>
  turnedAway(): number
  /** Since it was last asked. */
  takings(): Takings
  /** No new ones come; resolves when the last one has an answer, or has given up. */
  leave(): Promise<void>
}

/** Customers come at a rate of their own, `rate` a second, however slowly the shop answers. Each has a key, and insists. */
export function crowd(buyer: Customer, products: readonly string[], rate: number): Crowd {
  const answered = new Set<string>()
  const running = new Set<Promise<void>>()
  const wrong: unknown[] = []
  let lost = 0
  let times: number[] = []
  let lostLately = 0
  let count = 0
  let isOpen = true

  async function insist(): Promise<void> {
    const productId = products[count % products.length] ?? ''
    const method = methods[count % methods.length] ?? 'card-ok'
    count += 1
    const key = randomUUID()
    const began = performance.now()

    for (let attempt = 1; attempt <= attempts; attempt += 1) {
      const answer = await buyer.order([{ productId, quantity: 1 }], method, key).catch(() => undefined)
      if (answer?.status === 202) {
        answered.add(answer.body.id)
        times.push(performance.now() - began)
        return
      }
      if (answer !== undefined && answer.status < 500) throw new Error(`an order was answered with ${shown(answer)}`)
      if (attempt < attempts) await sleep(pause)
    }
    lost += 1
    lostLately += 1
  }

  async function come(): Promise<void> {
    const began = performance.now()
    for (let due = 0; isOpen; due += 1_000 / rate) {
      // By the clock, so that a late timer does not make them fewer.
      await sleep(Math.max(0, began + due - performance.now()))
      const one: Promise<void> = insist()
        .catch((error: unknown) => void wrong.push(error))
        .then(() => void running.delete(one))
      running.add(one)
    }
  }
  const coming = come()

  return {
    answered,
    turnedAway: () => lost,
    takings() {
      const sorted = times.sort((a, b) => a - b)
      const at = (share: number) => Math.round(sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0)
      const takings = { answered: sorted.length, turnedAway: lostLately, p50: at(0.5), p95: at(0.95) }
      times = []
      lostLately = 0
      return takings
    },
    async leave() {
      isOpen = false
      await coming
      await Promise.all(running)
      if (wrong.length > 0) throw wrong[0]
    },
  }
}

function shown({ status, body }: Answer): string {
  return `${status}: ${JSON.stringify(body)}`
}
