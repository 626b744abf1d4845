/** The servers that tests may want, by their name for `scripts/services`. */
const servers = {
  rabbitmq: { title: 'RabbitMQ', variable: 'AMQP_URL' },
  postgres: { title: 'PostgreSQL', variable: 'DATABASE_URL' },
  redis: { title: 'Redis', variable: 'REDIS_URL' },
  consul: { title: 'Consul', variable: 'CONSUL_HTTP_ADDR' },
} as const

/**
 * What a suite does when the server it needs does not answer: says so aloud, with what would start it, and skips; or
 * fails, where MSX_REQUIRE_SERVICES says that every server must be there. Returns undefined for the caller to return.
 */
export function missingServer(server: keyof typeof servers, url: string, cause: unknown): undefined {
  const { title, variable } = servers[server]
  const reason = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : cause
  const why = `no ${title} answers at ${new URL(url).host}: ${reason}`
  if (process.env['MSX_REQUIRE_SERVICES'] === '1') throw new Error(why, { cause })

  console.warn(`\n  SKIPPED: ${why}\n  Start one with \`scripts/services up ${server}\`, or set ${variable}.\n`)
  return undefined
}
