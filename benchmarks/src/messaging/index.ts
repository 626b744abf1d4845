import { type Benchmark, type Comparison, type Effort, judge, type Peer, THOROUGH } from '../harness/index.js'
import * as consumers from './consumers.js'
import { consume, type Flow, publish } from './flow.js'
import { type Order, orders } from './payload.js'
import { openPlace, type Place } from './place.js'
import * as publishers from './publishers.js'
import { type Flows, inTurns, type Plan } from './rounds.js'

/** The packages whose versions belong to the figures. */
export const MEASURED = [
  '@msx/messaging',
  'amqplib',
  'amqp-connection-manager',
  'rabbitmq-client',
  'rascal',
  'zod',
] as const

export const PUBLISHERS = {
  '@msx/messaging': publishers.msx('off'),
  '@msx/messaging, zod': publishers.msx('publish'),
  '@msx/messaging, publishMany': publishers.msxMany('off'),
  amqplib: publishers.amqplibAlone('same'),
  'amqplib, bare message': publishers.amqplibAlone('bare'),
  'rabbitmq-client': publishers.rabbitmqClient('same'),
  'rabbitmq-client, bare message': publishers.rabbitmqClient('bare'),
  'amqp-connection-manager': publishers.connectionManager('same'),
  'amqp-connection-manager, bare message': publishers.connectionManager('bare'),
  rascal: publishers.rascalBroker(),
}

export const CONSUMERS = {
  '@msx/messaging': consumers.msx('off'),
  '@msx/messaging, zod': consumers.msx('consume'),
  amqplib: consumers.amqplibAlone(),
  'rabbitmq-client': consumers.rabbitmqClient(),
  'amqp-connection-manager': consumers.connectionManager(),
  rascal: consumers.rascalBroker(),
}

type PublisherName = keyof typeof PUBLISHERS
type ConsumerName = keyof typeof CONSUMERS

/** Ours over each of them, in time per message: at most so much. Without a number it is there for information. */
type Limits<Name extends string> = { readonly [N in Name]?: number | undefined }

/**
 * 0.95 times as many messages per second as amqplib alone, also when that sends nothing but the body, with validation 0.8
 * times; and more than any other.
 */
const PUBLISHING: Limits<PublisherName> = {
  amqplib: 1.05,
  'amqplib, bare message': 1.05,
  'rabbitmq-client': 1,
  'rabbitmq-client, bare message': 1,
  'amqp-connection-manager': 1,
  'amqp-connection-manager, bare message': 1,
  rascal: 1,
}
const PUBLISHING_CHECKED: Limits<PublisherName> = { amqplib: 1.25 }
const PUBLISHING_MANY: Limits<PublisherName> = { '@msx/messaging': undefined, amqplib: 1.05 }

/** 0.9 times as many messages per second as amqplib alone, and more than any other. */
const CONSUMING: Limits<ConsumerName> = {
  amqplib: 1.11,
  'rabbitmq-client': 1,
  'amqp-connection-manager': 1,
  rascal: 1,
}
const CONSUMING_CHECKED: Limits<ConsumerName> = { amqplib: undefined }

/** About what an event has, and one with a long list. In bytes of JSON. */
const SIZES = [250, 2_000]

interface Plans {
  readonly thorough: Plan
  readonly quick: Plan
}

/** In ms. */
const PUBLISHING_PLANS: Plans = {
  thorough: { warmUp: 2, rounds: 7, turn: 400, limit: 60_000 },
  quick: { warmUp: 2, rounds: 3, turn: 200, limit: 10_000 },
}

/** In messages, of which V8 needs some ten thousand until it has done for a subject what it can. */
const CONSUMING_PLANS: Plans = {
  thorough: { warmUp: 3, rounds: 7, turn: 12_000, limit: 60_000 },
  quick: { warmUp: 2, rounds: 3, turn: 6_000, limit: 15_000 },
}

const publishing: Benchmark = {
  name: 'publish',
  async *run(effort) {
    yield* overSizes(effort, PUBLISHING_PLANS, async function* (place, made, plan, about) {
      const flows = await inTurns(PUBLISHERS, place, plan, async (publisher) => {
        const flow = await publish(publisher, made, { ms: plan.turn })
        await place.reaches(flow.messages)
        await place.empty()
        return flow
      })
      const what = `Publish and await the confirm: ${about}, window ${publishers.WINDOW}, ${roundsOf(flows)}`
      yield judged(what, flows, '@msx/messaging', PUBLISHING, duration)
      yield judged(`${what}; with zod`, flows, '@msx/messaging, zod', PUBLISHING_CHECKED, duration)
      yield judged(`${what}; 256 per call`, flows, '@msx/messaging, publishMany', PUBLISHING_MANY, duration)
      yield judged(`${what}; processor time of the client`, flows, '@msx/messaging', untargeted(PUBLISHING), cpu)
    })
  },
}

const consuming: Benchmark = {
  name: 'consume',
  async *run(effort) {
    yield* overSizes(effort, CONSUMING_PLANS, async function* (place, made, plan, about) {
      const flows = await inTurns(CONSUMERS, place, plan, async (consumer) => {
        await place.fill(made, plan.turn)
        const flow = await consume(consumer, plan.turn)
        await place.reaches(0)
        return flow
      })
      const what = `Consume and acknowledge: ${about}, prefetch ${consumers.PREFETCH}, ${roundsOf(flows)}`
      yield judged(what, flows, '@msx/messaging', CONSUMING, duration)
      yield judged(`${what}; with zod`, flows, '@msx/messaging, zod', CONSUMING_CHECKED, duration)
      yield judged(`${what}; processor time of the client`, flows, '@msx/messaging', untargeted(CONSUMING), cpu)
    })
  },
}

export const BENCHMARKS: readonly Benchmark[] = [publishing, consuming]

async function* overSizes(
  effort: Effort,
  plans: Plans,
  run: (place: Place, made: readonly Order[], plan: Plan, about: string) => AsyncIterable<Comparison>,
): AsyncIterable<Comparison> {
  const place = await openPlace('quorum')
  if (place === undefined) return

  try {
    for (const size of SIZES) {
      const made = orders(size)
      const about = `${JSON.stringify(made[0]).length} bytes, quorum queue of RabbitMQ ${place.version}`
      yield* run(place, made, effort === THOROUGH ? plans.thorough : plans.quick, about)
    }
  } finally {
    await place.close()
  }
}

function judged<Name extends string>(
  title: string,
  flows: Flows<Name>,
  ours: NoInfer<Name>,
  limits: Limits<NoInfer<Name>>,
  amount: (flow: Flow) => number,
): Comparison {
  const subject = (name: string): Peer => ({ name, run: () => Promise.reject(new Error('measured already')) })
  const names = Object.keys(limits) as Name[]
  const peers = new Map(names.map((name) => [name, { ...subject(name), target: limits[name] }]))
  const mine = subject(ours)
  const samples = new Map([[mine, amounts(flows, ours, amount)]])
  for (const [name, peer] of peers) samples.set(peer, amounts(flows, name, amount))

  return judge({ title, ours: mine, peers: [...peers.values()] }, samples, 'ns/message')
}

function roundsOf(flows: Flows<string>): string {
  const [one = []] = flows.values()

  return one.length === 1 ? '1 round' : `${one.length} rounds`
}

function amounts<Name extends string>(flows: Flows<Name>, name: Name, amount: (flow: Flow) => number): number[] {
  return flows.get(name)!.map((flow) => (amount(flow) * 1e6) / flow.messages)
}

function untargeted<L extends Readonly<Record<string, number | undefined>>>(
  limits: L,
): Readonly<Record<keyof L, undefined>> {
  return Object.fromEntries(Object.keys(limits).map((name) => [name, undefined])) as Readonly<
    Record<keyof L, undefined>
  >
}

const duration = (flow: Flow): number => flow.duration
const cpu = (flow: Flow): number => flow.cpu
