import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { missingPrograms, startOwnBroker } from '../../../../../tooling/own-broker.js'
import { missingPostgres, startOwnPostgres } from '../../../../../tooling/own-postgres.js'
import { type Books, booksIn, booksOn } from '../books.js'
import { newPremises, registrations, startFullShop } from '../full-process.js'
import { type Operator, operator, operatorToken } from '../operator.js'
import { freshFolder, startShop } from '../shop-process.js'

/** A server that may be killed, since nobody else uses it. */
export interface Killable {
  down(): Promise<void>
  up(): Promise<void>
}

/** A shop for a soak, and all that one may do to it. */
export interface Soaked {
  readonly url: string
  readonly pid: number
  readonly op: Operator
  /** What it has written so far: of its logs nothing, but of each service that ended by itself, why. */
  output(): string
  /** Has the garbage of a shop in one process collected, of which V8 lets several times as much lie as there is that lives. */
  collect(): Promise<void>
  /** Undefined where the shop has none. */
  readonly servers: { readonly broker: Killable; readonly database: Killable } | undefined
  /** What `/health/ready` of each service that has a database says, by itself; 0: it does not answer. */
  readiness(): Promise<Readonly<Record<string, number>>>
  /** Stops the shop, reads its books, and leaves nothing of it behind. Once: a second call has the same answer. */
  close(): Promise<Books>
}

export const keepers = ['user', 'product', 'order', 'payment', 'notification', 'analytics'].map(
  (name) => `${name}-service`,
)

const settings = { OPS_TOKEN: operatorToken, LOG_LEVEL: 'silent' }

const census = `--import ${new URL('../census.js', import.meta.url)}`

/** The shop in one process, in which one can count what lives. */
export async function oneProcess(): Promise<Soaked & { serversInMemory(): Promise<number> }> {
  const folder = await freshFolder()
  const shop = await startShop(folder.path, { ...settings, NODE_OPTIONS: census })
  const op = operator(shop.url)

  async function serversInMemory(): Promise<number> {
    const before = shop.output().length
    process.kill(shop.pid, 'SIGUSR2')
    for (;;) {
      const answer = /servers in memory: (\d+)\n/.exec(shop.output().slice(before))
      if (answer !== null) return Number(answer[1])
      await sleep(20)
    }
  }

  return {
    url: shop.url,
    pid: shop.pid,
    op,
    output: shop.output,
    serversInMemory,
    collect: async () => void (await serversInMemory()),
    servers: undefined,
    readiness: () => statusesOf(async (name) => (await op.request('GET', `/ops/services/${name}/health/ready`)).status),
    close: once(async () => {
      await shop.interrupt()
      const books = await booksIn(folder.path)
      await folder.remove()
      return books
    }),
  }
}

/** Why the shop of seven processes cannot be soaked here; undefined when it can. */
export function missingForSeven(): string | undefined {
  return missingPrograms() ?? missingPostgres()
}

/** The shop of seven processes, with a RabbitMQ and a PostgreSQL of its own, on the Redis and the Consul that are there. */
export async function sevenProcesses(): Promise<Soaked> {
  const [broker, database] = await Promise.all([startOwnBroker(), startOwnPostgres(askDatabase)])
  const stopServers = () => Promise.all([broker.stop(), database.stop()])
  const premises = await newPremises({ AMQP_URL: broker.url, DATABASE_URL: database.url })
  const shop = await startFullShop(premises, settings).catch(async (error: unknown) => {
    await stopServers()
    throw error
  })

  return {
    url: shop.url,
    pid: shop.pid,
    op: operator(shop.url),
    output: () => shop.output(),
    collect: async () => undefined,
    servers: { broker, database },

    // Not through the gateway, which sends nobody to a service that is not ready.
    async readiness() {
      const instances = await registrations(premises.shop)
      return statusesOf(async (name) => {
        const http = instances.find(({ service }) => service === name)?.http
        const response = await fetch(`${http}/health/ready`, { signal: AbortSignal.timeout(8_000) })
        await response.body?.cancel()
        return response.status
      })
    },

    close: once(async () => {
      try {
        await shop.end('SIGINT')
        const books = await booksOn(database.url, premises.shop)
        await premises.drop()
        return books
      } finally {
        await stopServers()
      }
    }),
  }
}

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined
  return () => {
    result ??= work()
    return result
  }
}

async function statusesOf(ask: (service: string) => Promise<number>): Promise<Record<string, number>> {
  const statuses = await Promise.all(keepers.map(async (name) => [name, await ask(name).catch(() => 0)] as const))
  return Object.fromEntries(statuses)
}

async function askDatabase(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 3_000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('SELECT 1')
  } finally {
    await client.end()
  }
}
