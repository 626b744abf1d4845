import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { type Io, main } from './main.js'

/** The command, as it runs on a file of its own. */
export interface Run {
  readonly out: string[]
  readonly err: string[]
  readonly file: string
  readonly done: Promise<number>
  signal(name: string): void
  write(config: unknown): Promise<void>
}

/** Only this machine, on whatever port there is. */
export const listen: { readonly port: number; readonly host: string } = { port: 0, host: '127.0.0.1' }

/** Runs the command in this process, after `prepare`; it is ended with the test. `heard` gets what it says as it says it. */
export async function run(
  command: string,
  config: unknown,
  env: Io['env'] = {},
  prepare: (file: string) => Promise<void> = async () => {},
  heard: (text: string, signal: (name: string) => void) => void = () => {},
): Promise<Run> {
  const folder = await mkdtemp(join(tmpdir(), 'msx-gateway-'))
  const file = join(folder, 'config.json')
  const write = async (content: unknown): Promise<void> => {
    await writeFile(`${file}.new`, typeof content === 'string' ? content : JSON.stringify(content))
    await rename(`${file}.new`, file)
  }
  await write(config)
  await prepare(file)

  const out: string[] = []
  const err: string[] = []
  const handlers = new Map<string, () => void>()
  const signal = (name: string): void => handlers.get(name)?.()
  const done = main([command, file], {
    env,
    out(text) {
      out.push(text.replaceAll(file, 'config.json'))
      heard(text, signal)
    },
    err: (text) => err.push(text.replaceAll(file, 'config.json')),
    lines: { write: (text) => out.push(text) },
    onSignal(signal, handler) {
      handlers.set(signal, handler)
      return () => handlers.delete(signal)
    },
    isTerminal: true,
  })
  onTestFinished(async () => {
    signal('SIGTERM')
    await done
    await rm(folder, { recursive: true, force: true })
  })
  return { out, err, file, done, signal, write }
}

/** Where it listens, once it does. */
export async function urlOf({ out, err }: Run): Promise<string> {
  const listens = /msx-gateway listens on (\S+)/
  await expect.poll(() => out.concat(err).join('\n'), { timeout: 10_000 }).toMatch(/listens on|config\.json/)
  const url = listens.exec(out.join('\n'))?.[1]
  if (url === undefined) throw new Error(err.join('\n'))

  return url
}

/** Writes a config, and waits until the command has said what it thinks of it. */
export async function reload(running: Run, config: unknown): Promise<void> {
  const said = (): number => [...running.out, ...running.err].filter((text) => /in force|stays/.test(text)).length
  const before = said()
  await running.write(config)
  running.signal('SIGHUP')
  await expect.poll(said, { timeout: 10_000 }).toBeGreaterThan(before)
}
