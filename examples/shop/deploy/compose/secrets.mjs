// Makes the passwords and the token of this machine's shop, once, in `.secrets`, which git does not see.
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const folder = process.argv[2] ?? fileURLToPath(new URL('.secrets', import.meta.url))
const services = ['user', 'product', 'payment', 'notification', 'analytics', 'order'].map((name) => `${name}-service`)

if (existsSync(folder)) {
  console.log(`${folder} is there already; delete it, and the volumes with it, to begin anew`)
  process.exit(0)
}

const secret = () => randomBytes(24).toString('base64url')
const write = (name, text) => writeFile(`${folder}/${name}`, text, { mode: 0o600 })

await mkdir(folder, { recursive: true, mode: 0o700 })
const broker = secret()
const passwords = Object.fromEntries(services.map((service) => [service, secret()]))
const role = (service) => `shop_${service.replaceAll('-', '_')}`

await write('shop.env', `OPS_TOKEN=${secret()}\nAMQP_URL=amqp://shop:${broker}@rabbitmq:5672\n`)
await write('rabbitmq.env', `RABBITMQ_DEFAULT_USER=shop\nRABBITMQ_DEFAULT_PASS=${broker}\n`)
await write('postgres.env', `POSTGRES_PASSWORD=${secret()}\n`)
await write('grafana.env', `GF_SECURITY_ADMIN_PASSWORD=${secret()}\n`)
for (const service of services) {
  const url = `postgres://${role(service)}:${passwords[service]}@postgres:5432/${role(service)}`
  await write(`${service}.env`, `DATABASE_URL=${url}\n`)
}
// Read by the database's container, which runs as another user than ours.
await writeFile(
  `${folder}/databases.sql`,
  services
    .map((service) => {
      const name = role(service)
      return [
        `CREATE ROLE ${name} LOGIN PASSWORD '${passwords[service]}';`,
        `CREATE DATABASE ${name} OWNER ${name} TEMPLATE template0;`,
        `REVOKE ALL ON DATABASE ${name} FROM PUBLIC;`,
      ].join('\n')
    })
    .concat('')
    .join('\n'),
  { mode: 0o644 },
)
console.log(`made ${folder}; OPS_TOKEN is in shop.env`)
