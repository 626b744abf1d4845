import { setTimeout as sleep } from 'node:timers/promises'
import type { Operator } from '../operator.js'
import { type Killable, keepers, type Soaked } from './premises.js'

/** Something that is broken for a while. */
export interface Trouble {
  readonly name: string
  /** Breaks it, and mends it before `until`, by the clock of `performance.now()`. Resolves with what was seen of it. */
  run(shop: Soaked, until: number): Promise<string>
}

/** How long a server stays away, in milliseconds. */
const absence = 5_000

/** How long a service may take to notice, in milliseconds: that a server has gone, and that it has come back. */
const noticing = 10_000
const recovering = 30_000

/** It is killed when it has answered that it will be; until then it says that it is ready. In milliseconds. */
const dying = 150

export const nothing: Trouble = {
  name: 'nothing is broken',
  run: async (_, until) => {
    await rest(until)
    return ''
  },
}

/** As `PUT /ops/faults` takes it. */
export function fault(service: string, what: Readonly<Record<string, unknown>>): Trouble {
  const words = Object.entries(what).map(([name, value]) => `${name} ${value}`)

  return {
    name: `${service}: ${words.join(', ')}`,
    async run({ op }, until) {
      await taken(op, { service, ...what })
      await rest(until)
      const effects = (await op.faults()).map(({ effect: { seen, ...others } }) => {
        const struck = Object.entries(others).filter(([, count]) => count > 0)
        return `${struck.map(([kind, count]) => `${count} ${kind}`).join(', ') || 'none struck'} of ${seen}`
      })
      await op.mend()
      return effects.join('; ')
    },
  }
}

/** The service ends without a warning, and whoever runs it starts it again. */
export function kill(service: string): Trouble {
  return {
    name: `${service} is killed`,
    async run(shop, until) {
      const began = performance.now()
      await taken(shop.op, { service, kill: true })
      await sleep(dying)
      await until200(shop)
      const back = seconds(performance.now() - began)
      await rest(until)
      return `all ready ${back} later`
    },
  }
}

/** The gateway is what one would ask for the fault: its answer may be the last thing that it does. */
export const killGateway: Trouble = {
  name: 'api-gateway is killed',
  async run(shop, until) {
    const began = performance.now()
    await shop.op.request('PUT', '/ops/faults', { service: 'api-gateway', kill: true }).catch(() => undefined)
    await sleep(dying)
    await eventually(
      'the gateway is back',
      () =>
        fetch(`${shop.url}/health/ready`).then(
          ({ status }) => status === 200,
          () => false,
        ),
      recovering,
    )
    const back = seconds(performance.now() - began)
    await rest(until)
    return `ready ${back} later`
  },
}

/** While it is away no service that needs it says that it is ready, and all of them do soon after it is back. */
export function away(what: 'broker' | 'database'): Trouble {
  return {
    name: `the ${what} is killed, and away for ${absence / 1_000} s`,
    async run(shop, until) {
      const server = shop.servers?.[what] as Killable // only seven processes have troubles with servers
      await server.down()
      const down = performance.now()
      await eventually(`no service is ready without its ${what}`, everySays(shop, 503), noticing)
      const noticed = seconds(performance.now() - down)
      await sleep(Math.max(0, down + absence - performance.now()))

      await server.up()
      const up = performance.now()
      await until200(shop)
      const back = seconds(performance.now() - up)
      await rest(until)
      return `all unready after ${noticed}, ready ${back} after it was back`
    },
  }
}

/** On a machine with no time left a service may not answer an operator at once, either. */
function taken(op: Operator, fault: Readonly<Record<string, unknown>>): Promise<void> {
  const put = async () => {
    const { status, body } = await op.request('PUT', '/ops/faults', fault)
    return status === 200 || JSON.stringify(body)
  }
  return eventually('the fault is taken', put, recovering)
}

function until200(shop: Soaked): Promise<void> {
  return eventually('every service is ready', everySays(shop, 200), recovering)
}

function everySays(shop: Soaked, status: number): () => Promise<string | true> {
  return async () => {
    const statuses = await shop.readiness()
    return keepers.every((name) => statuses[name] === status) || JSON.stringify(statuses)
  }
}

/** `holds` answers true, or with what is so instead. */
async function eventually(what: string, holds: () => Promise<unknown>, patience: number): Promise<void> {
  const deadline = performance.now() + patience
  for (;;) {
    const answer = await holds()
    if (answer === true) return
    if (performance.now() > deadline) throw new Error(`not within ${patience} ms: ${what}; ${answer}`)
    await sleep(100)
  }
}

async function rest(until: number): Promise<void> {
  await sleep(Math.max(0, until - performance.now()))
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1_000).toFixed(1)} s`
}
