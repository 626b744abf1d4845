import { SettingError } from '../settings.js'

/** Where the servers are. The same variables as those of `scripts/services`, and the same servers when they are not set. */
export interface Addresses {
  /** `AMQP_URL` */
  readonly rabbitmq: string
  /** `DATABASE_URL`: of whoever may make databases and roles, or of a service's own role in its own database. */
  readonly postgres: string
  /** `REDIS_URL` */
  readonly redis: string
  /** `CONSUL_HTTP_ADDR`, with or without its scheme. */
  readonly consul: string
}

export function readAddresses(env: NodeJS.ProcessEnv): Addresses {
  const consul = env['CONSUL_HTTP_ADDR'] || 'http://127.0.0.1:8500'
  return {
    // Without a user the client takes the one that RabbitMQ has for its own machine only.
    rabbitmq: address('AMQP_URL', env['AMQP_URL'] || 'amqp://127.0.0.1:5672'),
    postgres: address('DATABASE_URL', env['DATABASE_URL'] || 'postgres://postgres@127.0.0.1:5432/postgres'),
    redis: address('REDIS_URL', env['REDIS_URL'] || 'redis://127.0.0.1:6379'),
    consul: address('CONSUL_HTTP_ADDR', consul.includes('://') ? consul : `http://${consul}`),
  }
}

/** What a service's process is to find in its environment, so that `readAddresses` gives the same there. */
export function addressVariables({ rabbitmq, postgres, redis, consul }: Addresses): Record<string, string> {
  return { AMQP_URL: rabbitmq, DATABASE_URL: postgres, REDIS_URL: redis, CONSUL_HTTP_ADDR: consul }
}

/** The same server, as the role that owns the database of the same name. */
export function databaseUrl(server: string, name: string, password: string): string {
  const url = new URL(server)
  url.username = name
  url.password = password
  url.pathname = `/${name}`
  return url.href
}

function address(variable: string, text: string): string {
  if (URL.canParse(text) && new URL(text).hostname !== '') return text

  // The text is not repeated: it may hold a password.
  throw new SettingError(`${variable} is not an address; it must be something like scheme://user:password@host:port`)
}
