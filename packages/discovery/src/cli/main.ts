import { createDiscovery } from '../discovery.js'
import { keepAlive } from '../internal/keep-alive.js'
import { type Command, parseCommand, USAGE } from './command.js'
import { asJson, asText, type Report } from './report.js'

/** The process, as far as the command has to do with it. */
export interface Process {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly colour: boolean
  out(line: string): void
  err(line: string): void
  /** Aborts when the user wants it to end. */
  readonly signal: AbortSignal
}

/** Runs a command. Returns the exit code: 0, or 2 for a command that is not understood. */
export async function main(argv: readonly string[], process: Process): Promise<number> {
  let command: Command
  try {
    command = parseCommand(argv, process.env)
  } catch (error) {
    process.err(`msx-discovery: ${(error as Error).message}\n\n${USAGE}`)
    return 2
  }

  if (command.do === 'help') process.out(USAGE)
  else await watch(command, process)
  return 0
}

async function watch({ service, source, json }: Command & { do: 'watch' }, process: Process): Promise<void> {
  const { signal, colour } = process
  // What the source says is shown as it says it.
  const discovery = createDiscovery({ source, emptyGrace: 0 })
  const letGo = keepAlive()
  const report = (event: Report) => {
    if (!signal.aborted) process.out(json ? asJson(event) : asText(event, colour))
  }

  discovery.on('change', (event) => report({ event: 'change', ...event }))
  discovery.on('stale', (event) => report({ event: 'stale', ...event }))
  discovery.on('error', (event) => report({ event: 'error', ...event }))
  if (!signal.aborted) {
    const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
    discovery.service(service)
    await ended
  }

  letGo()
  await discovery.close()
}
