// scripts/services: real RabbitMQ, PostgreSQL, Redis and Consul on this machine, for tests and for the shop's full
// mode. Plain JavaScript without dependencies, because it must run before anything is installed.

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { checkNode, root } from '../prepare.mjs'
import { readAddress, selectServers, serverNames, variables } from './addresses.mjs'
import { describeRecord, takeDown } from './down.mjs'
import { Failure, UsageError } from './errors.mjs'
import { withLock } from './lock.mjs'
import { showProgress } from './progress.mjs'
import { readState } from './state.mjs'
import { formatTable, readStatus } from './status.mjs'
import { bringUp, oneByOne } from './up.mjs'

const help = `Real servers for tests and for the shop's full mode.

  scripts/services up       uses what answers, starts what does not, waits until each does
  scripts/services down     stops what \`up\` started, and nothing else; data stay for the next \`up\`
  scripts/services status   who answers where, and who started it

Servers: ${serverNames.join(', ')}. All of them, or those named: \`up redis\`, \`up --only rabbitmq,consul\`.

Where:
${variables.map(({ variable, address }) => `  ${variable.padEnd(17)} default ${address}`).join('\n')}
\`up\` starts a server at the port of its address. One that is not on this machine is only asked whether it answers.

How: with Docker Compose where an engine runs, else from Debian's packages, which are installed when they are missing
and this is root, or sudo asks for no password. What is started, with its data and logs, is in .data/services, or in
the folder that MSX_SERVICES_DIR names.

Exit codes: 0 every server answers (down: nothing that was started here runs any more), 1 one does not, 2 wrong usage.
`

const commands = { up, down, status }

checkNode()
// Servers that were started go on, and are remembered: only the lock is given back, on exit.
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))
process.exitCode = await main(process.argv.slice(2))

async function main(args) {
  try {
    const { values, positionals } = readArguments(args)
    if (values.help || positionals[0] === 'help') {
      process.stdout.write(help)
      return 0
    }

    const [command = '', ...words] = positionals
    if (!Object.hasOwn(commands, command)) throw new UsageError(`Expected up, down or status, got "${command}".`)
    const names = selectServers([...(values.only ?? []), ...words])
    return (await commands[command](names, process.env.MSX_SERVICES_DIR || join(root, '.data', 'services'))) ? 0 : 1
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`${error.message}\nscripts/services --help says more.`)
      return 2
    }
    explain(error)
    return 1
  }
}

function readArguments(args) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: { only: { type: 'string', multiple: true }, help: { type: 'boolean', short: 'h' } },
    })
  } catch (error) {
    throw new UsageError(error.message)
  }
}

async function up(names, state) {
  const servers = names.map((name) => readAddress(name, process.env))
  const once = oneByOne()

  return withLock(
    state,
    () => {
      const progress = showProgress(process.stdout, servers, 'asking who is there')
      const tell = (server, text) => progress.set(servers.indexOf(server), 'busy', text)
      return inParallel(progress, servers, (server) => bringUp(server, { state, tell, once }))
    },
    { onWait: sayWaiting },
  )
}

async function down(names, state) {
  return withLock(
    state,
    () => {
      const records = readState(state).filter((record) => names.includes(record.server))
      if (records.length === 0) console.log('Nothing that was started here is running.')
      const progress = showProgress(process.stdout, records.map(describeRecord), 'stopping')
      return inParallel(progress, records, (record) => takeDown(record, state))
    },
    { onWait: sayWaiting },
  )
}

async function status(names, state) {
  const servers = names.map((name) => readAddress(name, process.env))
  const rows = await readStatus(servers, state)
  console.log(formatTable(rows))
  return rows.slice(0, servers.length).every((row) => row.isUp)
}

/** One that fails does not keep the others from their end; the reasons come last, where they are read. */
async function inParallel(progress, items, work) {
  const failures = []
  await Promise.all(
    items.map(async (item, index) => {
      try {
        progress.set(index, 'done', await work(item))
      } catch (error) {
        progress.set(index, 'failed', 'failed')
        failures.push(error)
      }
    }),
  )
  for (const error of failures) explain(error)
  return failures.length === 0
}

function explain(error) {
  console.error(error instanceof Failure ? `\n${error.message}\n${error.advice}` : error)
}

function sayWaiting(pid) {
  console.log(`Waiting for another scripts/services (pid ${pid}) to finish`)
}
